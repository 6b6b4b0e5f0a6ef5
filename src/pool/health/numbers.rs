//! Detects a restart of ComfyUI from the numbers that it gives to its jobs, as a pure state machine.

use std::collections::HashSet;

use crate::comfy::QueueSnapshot;

/// How much lower than the highest known number a new number must be to show a restart. ComfyUI numbers a job
/// before it validates it, so jobs submitted together can enter the queue slightly out of order.
const DISORDER: i64 = 8;

/// The numbers of our jobs in one backend's queue.
#[derive(Debug, Default)]
pub(in crate::pool) struct JobNumbers {
    highest: i64,
    /// The numbered jobs of the last snapshot that had any.
    seen: HashSet<String>,
}

impl JobNumbers {
    /// Takes a snapshot into account and returns whether ComfyUI was restarted since the last one.
    ///
    /// ComfyUI numbers its jobs from 0 after each start. Only the jobs submitted with `client_id`, our own, count:
    /// other clients may choose any number, and a job put to the front has a negative one.
    pub fn observe(&mut self, queue: &QueueSnapshot, client_id: &str) -> bool {
        let ours = queue.jobs.iter().filter(|job| job.client_id.as_deref() == Some(client_id));
        let numbered: Vec<(i64, &str)> = ours
            .filter_map(|job| Some((job.number.filter(|number| *number >= 0)?, &*job.prompt_id)))
            .collect();
        let Some(highest) = numbered.iter().map(|(number, _)| *number).max() else { return false };
        let restarted = numbered
            .iter()
            .any(|(number, id)| !self.seen.contains(*id) && number.saturating_add(DISORDER) < self.highest);
        self.highest = if restarted { highest } else { highest.max(self.highest) };
        self.seen = numbered.iter().map(|(_, id)| (*id).to_owned()).collect();
        restarted
    }
}
