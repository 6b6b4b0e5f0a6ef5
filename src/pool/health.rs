//! What is known of a server's health. It must not probe.

use crate::domain::time::UnixMillis;

/// Whether a server can be given work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// Not asked yet.
    Starting,
    /// It answers.
    Up {
        /// Since when.
        since: UnixMillis,
        /// Its ComfyUI version, where it tells.
        version: Option<String>,
    },
    /// It does not answer, or not as ComfyUI does.
    Down {
        /// Since when.
        since: UnixMillis,
        /// Why, in words for people.
        reason: String,
    },
}

impl Health {
    /// Whether it may be given work.
    #[must_use]
    pub const fn is_usable(&self) -> bool {
        matches!(self, Self::Up { .. })
    }

    /// The state's name.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Up { .. } => "up",
            Self::Down { .. } => "down",
        }
    }
}
