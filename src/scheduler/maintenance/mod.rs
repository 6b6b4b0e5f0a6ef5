//! Periodic work besides running jobs: leases, deadlines, retention, and files that nobody needs.

mod orphans;
mod reaper;

pub use orphans::{SweepError, sweep_orphans};
pub(super) use reaper::{give_back, tasks};
