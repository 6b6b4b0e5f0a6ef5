//! ComfyUI's own queue: `GET /queue`, and taking a waiting job out of it. It must not look into the jobs'
//! workflows.

use super::client::ComfyClient;
use super::error::ComfyError;
use super::loose::{self, LooseObject};
use super::routes::ComfyRoute;

const QUEUE: ComfyRoute = ComfyRoute::get("/queue");
const CHANGE_QUEUE: ComfyRoute = ComfyRoute::post("/queue");

/// The ids of the jobs that a server runs and that wait there, of all clients.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct QueueSnapshot {
    /// The job that runs; more than one only on unusual servers.
    pub running: Vec<String>,
    /// The waiting jobs, the next one first.
    pub pending: Vec<String>,
    /// All of them once more, with whose they are.
    pub jobs: Vec<ListedPrompt>,
}

/// A job in a server's queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedPrompt {
    /// What the server knows it as.
    pub prompt_id: String,
    /// Who submitted it, where they said so.
    pub client_id: Option<String>,
    /// The server's running number of it, from 0 after each start; negative for a job put to the front.
    pub number: Option<i64>,
}

impl QueueSnapshot {
    /// Whether the job runs or waits there.
    #[must_use]
    pub fn contains(&self, prompt_id: &str) -> bool {
        self.running.iter().chain(&self.pending).any(|id| id == prompt_id)
    }
}

impl ComfyClient {
    /// What runs and what waits.
    ///
    /// # Errors
    /// Every [`super::CallFault`] of a call.
    pub async fn queue(&self) -> Result<QueueSnapshot, ComfyError> {
        let request = self.call(QUEUE, None, &[]).await?;
        let body = self.json(QUEUE, request).await?;
        read(&body).map_err(|reason| self.malformed(QUEUE, reason))
    }

    /// Takes a waiting job out of the queue. Success says nothing: a job that runs or is not known stays as
    /// it is, so ask [`Self::queue`] afterwards. The websocket tells nothing of a deletion.
    ///
    /// # Errors
    /// Every [`super::CallFault`] of a call.
    pub async fn delete_queued(&self, prompt_id: &str) -> Result<(), ComfyError> {
        let request = self.call(CHANGE_QUEUE, None, &[]).await?;
        self.done(CHANGE_QUEUE, request.json(&serde_json::json!({ "delete": [prompt_id] }))).await
    }
}

fn read(body: &str) -> Result<QueueSnapshot, String> {
    let answer = LooseObject::parse(body).map_err(|error| error.to_string())?;
    // An answer that lacks the lists must not read as an empty queue: jobs would count as lost.
    if answer.raw("queue_running").is_none() || answer.raw("queue_pending").is_none() {
        return Err("queue_running or queue_pending is missing".to_owned());
    }
    let (running, pending) = (jobs(&answer, "queue_running")?, jobs(&answer, "queue_pending")?);
    let ids = |jobs: &[ListedPrompt]| jobs.iter().map(|job| job.prompt_id.clone()).collect();
    let (running_ids, pending_ids) = (ids(&running), ids(&pending));
    let jobs = running.into_iter().chain(pending).collect();
    Ok(QueueSnapshot { running: running_ids, pending: pending_ids, jobs })
}

/// A list of `[number, id, graph, extra_data, …]` by the numbers. ComfyUI keeps the list as a heap: only its first
/// element is sure to be in its place.
fn jobs(answer: &LooseObject<'_>, key: &str) -> Result<Vec<ListedPrompt>, String> {
    let mut jobs = Vec::new();
    for job in answer.list(key) {
        let [number, id, ref rest @ ..] = loose::list(job)[..] else {
            return Err(format!("an entry of {key} is no job"));
        };
        let prompt_id = loose::text(id).ok_or_else(|| format!("an entry of {key} has no id"))?;
        let extra = rest.get(1).and_then(|extra| LooseObject::parse(extra.get()).ok());
        let client_id = extra.and_then(|extra| extra.text("client_id"));
        let place = loose::number(number).unwrap_or(f64::INFINITY);
        jobs.push((place, ListedPrompt { prompt_id, client_id, number: whole(place) }));
    }
    jobs.sort_by(|(one, _), (other, _)| one.total_cmp(other));
    Ok(jobs.into_iter().map(|(_, job)| job).collect())
}

/// Numbers come as `7` and as `7.0`; those that callers chose may be anything.
fn whole(number: f64) -> Option<i64> {
    format!("{number}").parse().ok()
}

#[cfg(test)]
#[path = "queue_tests.rs"]
mod tests;
