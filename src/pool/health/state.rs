//! The health of a backend as one of four states with a reason.

use crate::domain::mode::BackendMode;
use crate::domain::time::UnixMillis;

/// Whether a backend can be given work, as far as its health decides that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BackendHealth {
    /// The backend has not been probed yet.
    Starting,
    /// The backend answers and nothing is wrong.
    Up {
        /// When this state began.
        since: UnixMillis,
    },
    /// The backend answers and can be given work, but something is wrong.
    Degraded {
        /// When this state began.
        since: UnixMillis,
        /// Everything that is wrong, in words for people.
        reason: String,
    },
    /// The backend does not answer, does not answer as ComfyUI does, or does not run its jobs.
    Down {
        /// When this state began.
        since: UnixMillis,
        /// Why, in words for people.
        reason: String,
    },
}

impl BackendHealth {
    /// Whether the backend can be given work.
    #[must_use]
    pub const fn is_usable(&self) -> bool {
        matches!(self, Self::Up { .. } | Self::Degraded { .. })
    }

    /// The name of the state, as in the API and in logs.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Up { .. } => "up",
            Self::Degraded { .. } => "degraded",
            Self::Down { .. } => "down",
        }
    }

    /// The name to show for a backend in `mode`: the mode's name if only the mode keeps work away, otherwise the
    /// state's name.
    #[must_use]
    pub fn name_in_mode(&self, mode: BackendMode) -> &'static str {
        if self.is_usable() && mode != BackendMode::Open { mode.as_str() } else { self.as_str() }
    }

    /// When the state began; `None` before the first probe.
    #[must_use]
    pub const fn since(&self) -> Option<UnixMillis> {
        match self {
            Self::Starting => None,
            Self::Up { since } | Self::Degraded { since, .. } | Self::Down { since, .. } => Some(*since),
        }
    }

    /// The problem, in words for people; `None` while nothing is wrong.
    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Starting | Self::Up { .. } => None,
            Self::Degraded { reason, .. } | Self::Down { reason, .. } => Some(reason),
        }
    }

    /// The health after the facts were judged again at `now`. `since` stays while the state has the same name, even
    /// if the reason changes.
    pub(in crate::pool) fn followed_by(&self, verdict: HealthVerdict, now: UnixMillis) -> Self {
        let next = match verdict {
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

/// The health that follows from the facts of one moment, with the reason if something is wrong.
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
        let shown = [&degraded, &second].map(|health| health.name_in_mode(BackendMode::Draining));
        assert_eq!((shown, degraded.name_in_mode(BackendMode::Open)), (["draining", "down"], "degraded"));
    }
}
