//! Detects a dead ComfyUI worker from successive `/queue` snapshots, as a pure state machine.
//!
//! ComfyUI runs jobs on one worker thread. If that thread dies, the process still answers HTTP and accepts
//! jobs, but none of them ever runs.

use std::time::Duration;

use crate::comfy::QueueSnapshot;
use crate::domain::time::UnixMillis;

/// Consecutive snapshots that must all show waiting jobs and no running one.
const SNAPSHOTS: u32 = 3;
/// The time those snapshots must span, because a live worker cleans up between two jobs.
const SPAN: Duration = Duration::from_secs(10);

/// Whether the worker of a backend still takes jobs from its queue.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::pool) struct WorkerWatch {
    still: Option<StillQueue>,
    dead: bool,
}

/// A queue from which no job was taken since a first snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
struct StillQueue {
    since: UnixMillis,
    snapshots: u32,
    waiting: Vec<String>,
}

impl WorkerWatch {
    /// Takes the queue into account as it was at `now`. A running job proves that the worker is alive.
    pub fn observe(&mut self, now: UnixMillis, queue: &QueueSnapshot) {
        if !queue.running.is_empty() {
            *self = Self::default();
            return;
        }
        // An empty queue does not revive a dead worker: the jobs may have been deleted.
        if queue.pending.is_empty() {
            self.still = None;
            return;
        }
        let is_unmoved = |still: &StillQueue| still.waiting.iter().all(|id| queue.pending.contains(id));
        let still = match self.still.take().filter(is_unmoved) {
            Some(still) => {
                StillQueue { snapshots: still.snapshots + 1, waiting: queue.pending.clone(), ..still }
            }
            None => StillQueue { since: now, snapshots: 1, waiting: queue.pending.clone() },
        };
        self.dead |= still.snapshots >= SNAPSHOTS && now.since(still.since) >= SPAN;
        self.still = Some(still);
    }

    /// Whether the worker is taken to be dead. Only a running job or a restart changes that.
    pub const fn is_dead(&self) -> bool {
        self.dead
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(running: &[&str], pending: &[&str]) -> QueueSnapshot {
        let owned = |ids: &[&str]| ids.iter().map(ToString::to_string).collect();
        QueueSnapshot { running: owned(running), pending: owned(pending), ..QueueSnapshot::default() }
    }

    fn at(seconds: u64) -> UnixMillis {
        UnixMillis::from_millis(0).plus(Duration::from_secs(seconds))
    }

    fn dead_worker() -> WorkerWatch {
        let mut worker = WorkerWatch::default();
        for seconds in [0, 5, 10] {
            worker.observe(at(seconds), &queue(&[], &["a"]));
        }
        assert!(worker.is_dead());
        worker
    }

    #[test]
    fn waiting_jobs_and_none_that_runs_for_long_enough_mean_that_it_is_dead() {
        let mut worker = WorkerWatch::default();
        worker.observe(at(0), &queue(&[], &["a"]));
        worker.observe(at(5), &queue(&[], &["a", "b"]));
        assert!(!worker.is_dead());
        worker.observe(at(9), &queue(&[], &["a", "b"]));
        assert!(!worker.is_dead(), "three snapshots within 10 s are not enough");
        worker.observe(at(10), &queue(&[], &["a", "b"]));
        assert!(worker.is_dead());
    }

    #[test]
    fn a_long_time_between_two_snapshots_is_not_enough() {
        let mut worker = WorkerWatch::default();
        worker.observe(at(0), &queue(&[], &["a"]));
        worker.observe(at(100), &queue(&[], &["a"]));
        assert!(!worker.is_dead());
    }

    #[test]
    fn a_queue_that_moves_between_snapshots_is_alive() {
        let mut worker = WorkerWatch::default();
        for snapshot in 0..20u64 {
            let (first, second) = (format!("job-{snapshot}"), format!("job-{}", snapshot + 1));
            worker.observe(at(snapshot * 5), &queue(&[], &[&first, &second]));
        }
        assert!(!worker.is_dead());
    }

    #[test]
    fn a_job_that_runs_is_a_sign_of_life_however_long_it_runs() {
        let mut worker = WorkerWatch::default();
        for snapshot in 0..20u64 {
            worker.observe(at(snapshot * 5), &queue(&["loading"], &["a"]));
        }
        assert!(!worker.is_dead());
    }

    #[test]
    fn a_dead_one_is_not_alive_because_its_jobs_were_taken_away_but_because_one_runs() {
        let mut worker = dead_worker();
        worker.observe(at(15), &queue(&[], &[]));
        worker.observe(at(20), &queue(&[], &["c"]));
        assert!(worker.is_dead());
        worker.observe(at(25), &queue(&["c"], &[]));
        assert!(!worker.is_dead());
    }
}
