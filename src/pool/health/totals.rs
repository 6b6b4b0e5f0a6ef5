//! Counts how the runs of one backend ended since the process started.

use std::collections::VecDeque;

/// Runs from which the error rate is computed.
const RECENT_RUNS: usize = 50;

/// How a run ended, as the scheduler reports it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunOutcome {
    /// The run completed.
    Completed,
    /// The run failed because of the job itself, or was cancelled. Its end says nothing about the backend.
    Failed,
    /// The backend failed the run; the reason is in words for people.
    BackendFault(String),
}

/// The ended runs of a backend since the process started.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RunTotals {
    /// Completed runs.
    pub completed: u64,
    /// Runs that failed because of their job, or were cancelled.
    pub failed: u64,
    /// Runs that the backend failed.
    pub backend_faults: u64,
    /// For each of the last [`RECENT_RUNS`] runs, whether the backend failed it.
    recent: VecDeque<bool>,
}

impl RunTotals {
    pub(in crate::pool) fn count(&mut self, outcome: &RunOutcome) {
        match outcome {
            RunOutcome::Completed => self.completed += 1,
            RunOutcome::Failed => self.failed += 1,
            RunOutcome::BackendFault(_) => self.backend_faults += 1,
        }
        if self.recent.len() == RECENT_RUNS {
            self.recent.pop_front();
        }
        self.recent.push_back(matches!(outcome, RunOutcome::BackendFault(_)));
    }

    /// The share of backend faults among the last 50 runs, from 0 to 1; `None` before the first run.
    #[must_use]
    pub fn error_rate(&self) -> Option<f64> {
        let faults = self.recent.iter().filter(|fault| **fault).count();
        // Neither number exceeds 50, so the conversion never saturates.
        let as_float = |count: usize| f64::from(u32::try_from(count).unwrap_or(u32::MAX));
        (!self.recent.is_empty()).then(|| as_float(faults) / as_float(self.recent.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_outcome_is_counted_as_what_it_is() {
        let mut totals = RunTotals::default();
        assert_eq!(totals.error_rate(), None);
        for outcome in [
            RunOutcome::Completed,
            RunOutcome::Completed,
            RunOutcome::Failed,
            RunOutcome::BackendFault("x".to_owned()),
        ] {
            totals.count(&outcome);
        }
        assert_eq!((totals.completed, totals.failed, totals.backend_faults), (2, 1, 1));
        assert_eq!(totals.error_rate(), Some(0.25));
    }

    #[test]
    fn the_error_rate_forgets_old_runs() {
        let mut totals = RunTotals::default();
        for _ in 0..RECENT_RUNS {
            totals.count(&RunOutcome::BackendFault(String::new()));
        }
        assert_eq!(totals.error_rate(), Some(1.0));
        for _ in 0..RECENT_RUNS {
            totals.count(&RunOutcome::Completed);
        }
        assert_eq!((totals.error_rate(), totals.backend_faults), (Some(0.0), 50));
    }
}
