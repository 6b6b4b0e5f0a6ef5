//! The queue and the history: in memory and lost with the process, as in ComfyUI.

use std::sync::{Arc, Mutex};

use serde_json::{Map, Value, json};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::lock::LockExt;

/// The most history entries; the oldest are dropped first.
const HISTORY: usize = 10_000;

/// One accepted prompt.
#[derive(Debug)]
pub(super) struct QueuedPrompt {
    pub(super) order: f64,
    /// The number as it is echoed: an integer if the simulator chose it, and otherwise a float.
    pub(super) number: Value,
    pub(super) id: String,
    pub(super) graph: Map<String, Value>,
    pub(super) extra: Map<String, Value>,
    pub(super) outputs: Vec<String>,
    pub(super) client_id: Option<String>,
    /// Cancelled when the job is to vanish without a trace.
    pub(super) forgotten: CancellationToken,
}

impl QueuedPrompt {
    /// `[number, id, graph, extra_data, outputs]`, as in `/queue` and `/history`.
    pub(super) fn to_json(&self) -> Value {
        json!([self.number, self.id, self.graph, self.extra, self.outputs])
    }
}

#[derive(Debug, Default)]
struct QueueState {
    pending: Vec<Arc<QueuedPrompt>>,
    running: Option<Arc<QueuedPrompt>>,
    history: Map<String, Value>,
    next_number: i64,
}

/// The queue, the running job and the history.
#[derive(Debug, Default)]
pub(super) struct PromptQueue {
    state: Mutex<QueueState>,
    changed: Notify,
}

impl PromptQueue {
    /// The number for the next prompt, which is used up even if the prompt is then refused.
    pub(super) fn next_number(&self) -> i64 {
        let mut state = self.state.lock_anyway();
        state.next_number += 1;
        state.next_number - 1
    }

    /// Adds a job. False when one with the same number and id is pending: ComfyUI then answers 500, and yet
    /// runs it.
    pub(super) fn put(&self, job: QueuedPrompt) -> bool {
        let mut state = self.state.lock_anyway();
        let clash =
            state.pending.iter().any(|other| other.order.total_cmp(&job.order).is_eq() && other.id == job.id);
        let before = |other: &Arc<QueuedPrompt>| {
            other.order.total_cmp(&job.order).then_with(|| other.id.cmp(&job.id)).is_le()
        };
        let at = state.pending.partition_point(before);
        state.pending.insert(at, Arc::new(job));
        drop(state);
        self.changed.notify_one();
        !clash
    }

    /// Waits for the next job and makes it the running one.
    pub(super) async fn take(&self) -> Arc<QueuedPrompt> {
        loop {
            let changed = self.changed.notified();
            {
                let mut state = self.state.lock_anyway();
                if !state.pending.is_empty() {
                    let job = state.pending.remove(0);
                    state.running = Some(Arc::clone(&job));
                    return job;
                }
            }
            changed.await;
        }
    }

    /// Ends the running job and adds `entry` to the history, unless the job was dropped. Returns whether it
    /// was added.
    pub(super) fn done(&self, job: &QueuedPrompt, entry: Value) -> bool {
        let mut state = self.state.lock_anyway();
        state.running = None;
        if job.forgotten.is_cancelled() {
            return false;
        }
        if state.history.len() >= HISTORY
            && let Some(oldest) = state.history.keys().next().cloned()
        {
            state.history.shift_remove(&oldest);
        }
        state.history.insert(job.id.clone(), entry);
        true
    }

    /// Pending and running jobs together, as `queue_remaining` counts them.
    pub(super) fn remaining(&self) -> usize {
        let state = self.state.lock_anyway();
        state.pending.len() + usize::from(state.running.is_some())
    }

    /// The running job's id.
    pub(super) fn running(&self) -> Option<String> {
        self.state.lock_anyway().running.as_ref().map(|job| job.id.clone())
    }

    /// The body of `GET /queue`.
    pub(super) fn to_json(&self) -> Value {
        let state = self.state.lock_anyway();
        let list = |jobs: &mut dyn Iterator<Item = &Arc<QueuedPrompt>>| {
            jobs.map(|job| job.to_json()).collect::<Vec<_>>()
        };
        json!({
            "queue_running": list(&mut state.running.iter()),
            "queue_pending": list(&mut state.pending.iter()),
        })
    }

    /// Running and pending jobs with their state as `/api/jobs` names it.
    pub(super) fn jobs(&self) -> Vec<(Arc<QueuedPrompt>, &'static str)> {
        let state = self.state.lock_anyway();
        let running = state.running.iter().map(|job| (Arc::clone(job), "in_progress"));
        running.chain(state.pending.iter().map(|job| (Arc::clone(job), "pending"))).collect()
    }

    /// Removes pending jobs that match; tells whether there were any.
    pub(super) fn remove_pending(&self, matches: impl Fn(&str) -> bool) -> bool {
        let mut state = self.state.lock_anyway();
        let before = state.pending.len();
        state.pending.retain(|job| !matches(&job.id));
        state.pending.len() != before
    }

    /// One history entry.
    pub(super) fn history_of(&self, id: &str) -> Option<Value> {
        self.state.lock_anyway().history.get(id).cloned()
    }

    /// The history from `offset` on, at most `max` entries; without an offset, the newest ones. Oldest first.
    pub(super) fn history(&self, max: Option<usize>, offset: Option<usize>) -> Map<String, Value> {
        let state = self.state.lock_anyway();
        let count = state.history.len();
        let skip = offset.unwrap_or_else(|| max.map_or(0, |max| count.saturating_sub(max)));
        let taken = state.history.iter().skip(skip).take(max.unwrap_or(count));
        taken.map(|(id, entry)| (id.clone(), entry.clone())).collect()
    }

    /// Removes history entries that match.
    pub(super) fn remove_history(&self, matches: impl Fn(&str) -> bool) {
        self.state.lock_anyway().history.retain(|id, _| !matches(id));
    }

    /// Makes every trace of the job vanish: pending, running and in history.
    pub(super) fn forget(&self, id: &str) {
        self.remove_pending(|pending| pending == id);
        let mut state = self.state.lock_anyway();
        state.history.shift_remove(id);
        if let Some(running) = state.running.take_if(|running| running.id == id) {
            running.forgotten.cancel();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(order: f64, id: &str) -> QueuedPrompt {
        QueuedPrompt {
            order,
            number: json!(order),
            id: id.to_owned(),
            graph: Map::new(),
            extra: Map::new(),
            outputs: Vec::new(),
            client_id: None,
            forgotten: CancellationToken::new(),
        }
    }

    #[tokio::test]
    async fn jobs_come_by_number_then_id() {
        let queue = PromptQueue::default();
        for (order, id) in [(2.0, "b"), (2.0, "a"), (-1.0, "z"), (5.5, "c")] {
            assert!(queue.put(job(order, id)));
        }
        assert!(!queue.put(job(5.5, "c")), "the same number and id clash, but it is queued");
        let mut order = Vec::new();
        for _ in 0..5 {
            let next = queue.take().await;
            order.push(next.id.clone());
            assert!(queue.done(&next, json!({})));
        }
        assert_eq!(order, ["z", "a", "b", "c", "c"]);
        assert_eq!(queue.history(None, None).keys().collect::<Vec<_>>(), ["z", "a", "b", "c"]);
        assert_eq!(queue.history(Some(1), None).keys().collect::<Vec<_>>(), ["c"]);
        assert_eq!(queue.history(Some(2), Some(1)).keys().collect::<Vec<_>>(), ["a", "b"]);
    }

    #[tokio::test]
    async fn a_forgotten_job_leaves_no_trace() {
        let queue = PromptQueue::default();
        queue.put(job(0.0, "a"));
        let running = queue.take().await;
        queue.forget("a");
        assert_eq!(queue.remaining(), 0);
        assert!(!queue.done(&running, json!({})));
        assert_eq!(queue.history_of("a"), None);
    }
}
