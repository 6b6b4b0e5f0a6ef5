//! Whether a server's worker moves, by what its `/queue` shows from look to look, as a pure machine. A ComfyUI whose
//! worker thread has died answers HTTP as ever. It must not ask anything itself.

use std::time::Duration;

use crate::comfy::QueueSnapshot;
use crate::domain::time::UnixMillis;

/// Looks that must all show waiting jobs and none that runs.
const LOOKS: u32 = 3;
/// The time they must span: between two jobs a worker tidies up.
const SPAN: Duration = Duration::from_secs(10);

/// What the looks at a queue have shown of its worker.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::pool) struct WorkerWatch {
    still: Option<StillQueue>,
    dead: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct StillQueue {
    since: UnixMillis,
    looks: u32,
    waiting: Vec<String>,
}

impl WorkerWatch {
    /// Takes one look in.
    pub fn see(&mut self, now: UnixMillis, queue: &QueueSnapshot) {
        if !queue.running.is_empty() {
            *self = Self::default();
            return;
        }
        // Once it counts as dead, an empty queue is no sign of life: its jobs were taken away.
        if queue.pending.is_empty() {
            self.still = None;
            return;
        }
        let stands = |still: &StillQueue| still.waiting.iter().all(|id| queue.pending.contains(id));
        let still = match self.still.take().filter(stands) {
            Some(still) => StillQueue { looks: still.looks + 1, waiting: queue.pending.clone(), ..still },
            None => StillQueue { since: now, looks: 1, waiting: queue.pending.clone() },
        };
        self.dead |= still.looks >= LOOKS && now.since(still.since) >= SPAN;
        self.still = Some(still);
    }

    /// Whether it does not move.
    pub const fn is_dead(&self) -> bool {
        self.dead
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(running: &[&str], pending: &[&str]) -> QueueSnapshot {
        let own = |ids: &[&str]| ids.iter().map(ToString::to_string).collect();
        QueueSnapshot { running: own(running), pending: own(pending), ..QueueSnapshot::default() }
    }

    fn at(seconds: u64) -> UnixMillis {
        UnixMillis::from_millis(0).plus(Duration::from_secs(seconds))
    }

    fn dead() -> WorkerWatch {
        let mut worker = WorkerWatch::default();
        for seconds in [0, 5, 10] {
            worker.see(at(seconds), &queue(&[], &["a"]));
        }
        assert!(worker.is_dead());
        worker
    }

    #[test]
    fn waiting_jobs_and_none_that_runs_for_long_enough_mean_that_it_is_dead() {
        let mut worker = WorkerWatch::default();
        worker.see(at(0), &queue(&[], &["a"]));
        worker.see(at(5), &queue(&[], &["a", "b"]));
        assert!(!worker.is_dead());
        worker.see(at(9), &queue(&[], &["a", "b"]));
        assert!(!worker.is_dead(), "three looks are not enough in so short a time");
        worker.see(at(10), &queue(&[], &["a", "b"]));
        assert!(worker.is_dead());
    }

    #[test]
    fn a_long_time_between_two_looks_is_not_enough() {
        let mut worker = WorkerWatch::default();
        worker.see(at(0), &queue(&[], &["a"]));
        worker.see(at(100), &queue(&[], &["a"]));
        assert!(!worker.is_dead());
    }

    #[test]
    fn a_queue_that_moves_between_the_looks_is_alive() {
        let mut worker = WorkerWatch::default();
        for look in 0..20u64 {
            let (first, second) = (format!("job-{look}"), format!("job-{}", look + 1));
            worker.see(at(look * 5), &queue(&[], &[&first, &second]));
        }
        assert!(!worker.is_dead());
    }

    #[test]
    fn a_job_that_runs_is_a_sign_of_life_however_long_it_runs() {
        let mut worker = WorkerWatch::default();
        for look in 0..20u64 {
            worker.see(at(look * 5), &queue(&["loading"], &["a"]));
        }
        assert!(!worker.is_dead());
    }

    #[test]
    fn a_dead_one_is_not_alive_because_its_jobs_were_taken_away_but_because_one_runs() {
        let mut worker = dead();
        worker.see(at(15), &queue(&[], &[]));
        worker.see(at(20), &queue(&[], &["c"]));
        assert!(worker.is_dead());
        worker.see(at(25), &queue(&["c"], &[]));
        assert!(!worker.is_dead());
    }
}
