//! Periodic work beside running jobs: lease renewal, queue deadlines, retention, and unused files.

mod orphans;
mod reaper;

pub use orphans::{SweepError, sweep_orphans};
pub(super) use reaper::{give_back, tasks};
