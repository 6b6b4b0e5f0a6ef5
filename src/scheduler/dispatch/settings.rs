//! The settings of the dispatcher.

use std::time::Duration;

/// How the dispatcher decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DispatchSettings {
    /// How long the first job in line may be passed over by jobs whose models are loaded; zero for never.
    pub patience: Duration,
}

impl Default for DispatchSettings {
    fn default() -> Self {
        Self { patience: Duration::from_secs(30) }
    }
}
