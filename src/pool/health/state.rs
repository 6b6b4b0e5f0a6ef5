//! What is known of a server's health, in one word and a reason. It must not probe.

use crate::domain::mode::BackendMode;
use crate::domain::time::UnixMillis;

/// Whether a server can be given work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BackendHealth {
    /// Not asked yet.
    Starting,
    /// All is well.
    Up {
        /// Since when.
        since: UnixMillis,
    },
    /// It answers and may be given work, but something is wrong.
    Degraded {
        /// Since when.
        since: UnixMillis,
        /// What, in words for people.
        reason: String,
    },
    /// It does not answer, not as ComfyUI does, or does not run what it is given.
    Down {
        /// Since when.
        since: UnixMillis,
        /// Why, in words for people.
        reason: String,
    },
}

impl BackendHealth {
    /// Whether it may be given work.
    #[must_use]
    pub const fn is_usable(&self) -> bool {
        matches!(self, Self::Up { .. } | Self::Degraded { .. })
    }

    /// The state's name.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Up { .. } => "up",
            Self::Degraded { .. } => "degraded",
            Self::Down { .. } => "down",
        }
    }

    /// The state's name for a server in that mode: the mode's, if that alone keeps it from having work.
    #[must_use]
    pub fn under(&self, mode: BackendMode) -> &'static str {
        if self.is_usable() && mode != BackendMode::Open { mode.as_str() } else { self.as_str() }
    }

    /// Since when it is so; `None` before it was asked.
    #[must_use]
    pub const fn since(&self) -> Option<UnixMillis> {
        match self {
            Self::Starting => None,
            Self::Up { since } | Self::Degraded { since, .. } | Self::Down { since, .. } => Some(*since),
        }
    }

    /// What is wrong, in words for people.
    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Starting | Self::Up { .. } => None,
            Self::Degraded { reason, .. } | Self::Down { reason, .. } => Some(reason),
        }
    }

    /// What follows on `self` at `now`: the moment it began stays as long as the state's name does.
    pub(in crate::pool) fn followed_by(&self, judged: HealthVerdict, now: UnixMillis) -> Self {
        let next = match judged {
            HealthVerdict::Starting => Self::Starting,
            HealthVerdict::Up => Self::Up { since: now },
            HealthVerdict::Degraded(reason) => Self::Degraded { since: now, reason },
            HealthVerdict::Down(reason) => Self::Down { since: now, reason },
        };
        match (self, next) {
            (Self::Up { since }, Self::Up { .. }) => Self::Up { since: *since },
            (Self::Degraded { since, .. }, Self::Degraded { reason, .. }) => {
                Self::Degraded { since: *since, reason }
            }
            (Self::Down { since, .. }, Self::Down { reason, .. }) => Self::Down { since: *since, reason },
            (_, next) => next,
        }
    }
}

/// What the facts of a moment come to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::pool) enum HealthVerdict {
    Starting,
    Up,
    Degraded(String),
    Down(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_begins_when_its_name_changes_and_not_with_each_new_reason() {
        let at = UnixMillis::from_millis;
        let down = |reason: &str| HealthVerdict::Down(reason.to_owned());
        let first = BackendHealth::Starting.followed_by(down("refused"), at(1));
        let second = first.followed_by(down("500"), at(2));
        assert_eq!((second.since(), second.reason()), (Some(at(1)), Some("500")));
        let up = second.followed_by(HealthVerdict::Up, at(3)).followed_by(HealthVerdict::Up, at(4));
        assert_eq!((up.since(), up.reason(), up.as_str()), (Some(at(3)), None, "up"));
        let degraded = up.followed_by(HealthVerdict::Degraded("slow".to_owned()), at(5));
        assert!(degraded.is_usable() && !second.is_usable() && !BackendHealth::Starting.is_usable());
        assert_eq!(degraded.since(), Some(at(5)));
        let shown = [&degraded, &second].map(|health| health.under(BackendMode::Draining));
        assert_eq!((shown, degraded.under(BackendMode::Open)), (["draining", "down"], "degraded"));
    }
}
