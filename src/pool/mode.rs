//! What an operator wants of a server. It must not know how the server is.

use serde::Serialize;

/// Whether an operator lets a server have work.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// It gets work.
    #[default]
    Open,
    /// It gets no new work; what it has it keeps.
    Cordoned,
    /// It gets no new work, finishes what runs, and gives back what only waits in its queue.
    Draining,
}

impl Mode {
    /// The mode's name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Cordoned => "cordoned",
            Self::Draining => "draining",
        }
    }
}
