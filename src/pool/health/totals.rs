//! What became of a server's runs: counted since the process started. It must not draw conclusions.

use std::collections::VecDeque;

/// Runs of which the error rate tells.
const LAST: usize = 50;

/// How a run ended, as the scheduler tells of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunOutcome {
    /// It completed.
    Completed,
    /// It failed by the job's own fault, or was cancelled: that says nothing of the server.
    Failed,
    /// The server failed it; why, in words for people.
    ServerFault(String),
}

/// A server's runs since the process started.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RunTotals {
    /// Runs that completed.
    pub completed: u64,
    /// Runs that failed by the job's own fault, or were cancelled.
    pub failed: u64,
    /// Runs that the server failed.
    pub server_faults: u64,
    /// Whether each of the last runs was a fault of the server.
    last: VecDeque<bool>,
}

impl RunTotals {
    pub(in crate::pool) fn count(&mut self, outcome: &RunOutcome) {
        match outcome {
            RunOutcome::Completed => self.completed += 1,
            RunOutcome::Failed => self.failed += 1,
            RunOutcome::ServerFault(_) => self.server_faults += 1,
        }
        if self.last.len() == LAST {
            self.last.pop_front();
        }
        self.last.push_back(matches!(outcome, RunOutcome::ServerFault(_)));
    }

    /// The share of faults of the server among its last 50 runs, 0 to 1; `None` before the first.
    #[must_use]
    pub fn error_rate(&self) -> Option<f64> {
        let faults = self.last.iter().filter(|fault| **fault).count();
        // At most 50 of each.
        let share = |count: usize| f64::from(u32::try_from(count).unwrap_or(u32::MAX));
        (!self.last.is_empty()).then(|| share(faults) / share(self.last.len()))
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
            RunOutcome::ServerFault("x".to_owned()),
        ] {
            totals.count(&outcome);
        }
        assert_eq!((totals.completed, totals.failed, totals.server_faults), (2, 1, 1));
        assert_eq!(totals.error_rate(), Some(0.25));
    }

    #[test]
    fn the_error_rate_forgets_what_is_long_ago() {
        let mut totals = RunTotals::default();
        for _ in 0..LAST {
            totals.count(&RunOutcome::ServerFault(String::new()));
        }
        assert_eq!(totals.error_rate(), Some(1.0));
        for _ in 0..LAST {
            totals.count(&RunOutcome::Completed);
        }
        assert_eq!((totals.error_rate(), totals.server_faults), (Some(0.0), 50));
    }
}
