//! The settings of the dispatcher.

use std::time::Duration;

/// How the dispatcher places jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DispatchSettings {
    /// How long jobs with loaded models may be preferred to the first job of the queue; zero for never.
    pub patience: Duration,
}

impl Default for DispatchSettings {
    fn default() -> Self {
        Self { patience: Duration::from_secs(30) }
    }
}
