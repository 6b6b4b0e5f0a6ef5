//! The settings of the scheduler.

use std::time::Duration;

use super::dispatch::DispatchSettings;
use crate::domain::retry::RetryPolicy;
use crate::fetch::FetchLimits;

/// How the scheduler behaves.
#[derive(Debug, Clone)]
pub struct SchedulerSettings {
    /// Attempts and the waits between them.
    pub retry: RetryPolicy,
    /// Between two looks at a run of which nothing is heard.
    pub poll: Duration,
    /// A run whose server gives no answer for that long is lost.
    pub lost_after: Duration,
    /// A run whose server refuses connections for that long is lost: nothing listens there, so the server's memory is
    /// gone, unless it is only a proxy before it that was restarted.
    pub refused_for: Duration,
    /// A cancelled or overdue run that its server does not give up within that time is left to it.
    pub interrupt_grace: Duration,
    /// A run that shows no progress for that long, although it could be heard, is ended and tried again.
    pub stall: Duration,
    /// How long a lease lasts unless it is renewed.
    pub lease: Duration,
    /// Files of one job fetched at the same time.
    pub downloads: usize,
    /// The most bytes of one output file.
    pub max_output_file: u64,
    /// A text of more bytes is kept as a file.
    pub inline_text: usize,
    /// ComfyUI's outputs of more bytes are kept as a file, and so are texts of more bytes together.
    pub inline_outputs: usize,
    /// What one file that a URL points at may take.
    pub inputs: FetchLimits,
    /// How jobs are placed.
    pub dispatch: DispatchSettings,
}

impl Default for SchedulerSettings {
    fn default() -> Self {
        Self {
            retry: RetryPolicy::default(),
            poll: Duration::from_secs(1),
            lost_after: Duration::from_mins(1),
            refused_for: Duration::from_secs(2),
            interrupt_grace: Duration::from_mins(1),
            stall: Duration::from_mins(10),
            lease: Duration::from_mins(1),
            downloads: 4,
            max_output_file: 8 << 30,
            inline_text: 1 << 20,
            inline_outputs: 16 << 20,
            inputs: FetchLimits::default(),
            dispatch: DispatchSettings::default(),
        }
    }
}
