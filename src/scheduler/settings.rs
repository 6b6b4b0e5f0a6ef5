//! The settings of the scheduler.

use std::time::Duration;

use super::dispatch::DispatchSettings;
use crate::domain::retry::RetryPolicy;
use crate::fetch::FetchLimits;

/// How attempts, retries and leases behave.
#[derive(Debug, Clone)]
pub struct SchedulerSettings {
    /// The retry budget, and the back-off between attempts.
    pub retry: RetryPolicy,
    /// Between two looks at a run while the websocket reports nothing.
    pub poll: Duration,
    /// A run is lost when its backend has not answered for this long.
    pub lost_after: Duration,
    /// A run is lost when its backend has refused connections for this long. The backend's memory is then
    /// gone, unless only a proxy in front of it was restarted.
    pub refused_for: Duration,
    /// A cancelled or overdue run that its backend does not end within this time is left running there.
    pub interrupt_grace: Duration,
    /// A run that reports no progress for this long, although its websocket is open, is interrupted and
    /// requeued.
    pub stall: Duration,
    /// The length of a lease, which is renewed every third of it.
    pub lease: Duration,
    /// Output files of one job downloaded at the same time.
    pub downloads: usize,
    /// The most bytes of one output file.
    pub max_output_file: u64,
    /// A text output with more bytes becomes a file.
    pub inline_text: usize,
    /// ComfyUI's `outputs` with more bytes become a file, and so do texts that exceed this together.
    pub inline_outputs: usize,
    /// The limits of one input fetched from a URL.
    pub inputs: FetchLimits,
    /// How jobs are placed on backends.
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
