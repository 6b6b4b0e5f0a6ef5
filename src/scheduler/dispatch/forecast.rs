//! Estimates when each waiting job starts and ends.

use std::collections::HashMap;
use std::time::Duration;

use super::backend_queue::BackendQueue;
use super::estimates::RunEstimates;
use super::job_group::GroupKey;
use super::placement::BackendQueues;
use super::waiting_queue::WaitingQueue;
use crate::domain::forecast::{BlockedReason, JobForecast};
use crate::domain::id::PromptId;
use crate::domain::time::UnixMillis;

/// The forecast of every waiting and every assigned job.
#[derive(Debug, Clone, Default)]
pub struct QueueForecast {
    waiting: HashMap<PromptId, JobForecast>,
    ends: HashMap<PromptId, UnixMillis>,
}

impl QueueForecast {
    /// The forecast of a waiting or assigned job.
    #[must_use]
    pub fn of_job(&self, id: PromptId) -> Option<JobForecast> {
        if let Some(prospect) = self.waiting.get(&id) {
            return Some(prospect.clone());
        }
        let end = self.ends.get(&id)?;
        Some(JobForecast { position: None, start: None, end: Some(*end), blocked: None })
    }
}

/// A backend and when its assigned jobs are done; `None` if that cannot be estimated.
struct BackendLane<'s> {
    backend: &'s BackendQueue,
    free_at: Option<UnixMillis>,
}

pub(super) fn forecast(
    line: &WaitingQueue,
    backends: &BackendQueues,
    times: &RunEstimates,
    now: UnixMillis,
) -> QueueForecast {
    let mut forecast = QueueForecast::default();
    let mut lanes: Vec<BackendLane<'_>> = Vec::new();
    for backend in backends.values() {
        let mut at = Some(now);
        for job in &backend.jobs {
            at = at.zip(job.remaining(now)).map(|(at, lasts)| at.plus(lasts));
            forecast.ends.extend(at.map(|at| (job.id, at)));
        }
        if backend.is_open() {
            lanes.push(BackendLane { backend, free_at: at.filter(|_| backend.snapshot.foreign == 0) });
        }
    }
    let mut blocked: HashMap<*const GroupKey, Option<BlockedReason>> = HashMap::new();
    for (position, entry) in (0u64..).zip(line.in_claim_order(|needs| times.estimate_any(needs))) {
        let blocked = blocked
            .entry(std::sync::Arc::as_ptr(&entry.key))
            .or_insert_with(|| entry.key.blocked_reason(backends.values()))
            .clone();
        let first_free = lanes
            .iter_mut()
            .filter(|lane| entry.key.can_run_on(lane.backend))
            .min_by_key(|lane| (lane.free_at.is_none(), lane.free_at));
        let expected = times.estimate(&entry.needs, false);
        let (start, end) = first_free.map_or((None, None), |lane| take(lane, expected, entry.not_before));
        forecast.waiting.insert(entry.id, JobForecast { position: Some(position), start, end, blocked });
    }
    forecast
}

/// Appends a job to a lane.
fn take(
    lane: &mut BackendLane<'_>,
    expected: Option<Duration>,
    not_before: UnixMillis,
) -> (Option<UnixMillis>, Option<UnixMillis>) {
    let start = lane.free_at.map(|free| free.max(not_before));
    let end = start.zip(expected).map(|(start, expected)| start.plus(expected));
    lane.free_at = end;
    (start, end)
}
