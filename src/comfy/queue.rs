//! The queue of a backend: reading it with `GET /queue`, and deleting a waiting job.

use super::client::ComfyClient;
use super::error::ComfyError;
use super::loose::{self, LooseObject};
use super::routes::ComfyRoute;

const QUEUE: ComfyRoute = ComfyRoute::get("/queue");
const CHANGE_QUEUE: ComfyRoute = ComfyRoute::post("/queue");

/// The running and the waiting jobs of a backend, of all clients.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct QueueSnapshot {
    /// The ids of the running jobs. ComfyUI runs one at a time; only modified versions run more.
    pub running: Vec<String>,
    /// The ids of the waiting jobs, in the order in which they will run.
    pub pending: Vec<String>,
    /// The same jobs in the same order, with their clients and numbers.
    pub jobs: Vec<ListedPrompt>,
}

/// A job in the queue of a backend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedPrompt {
    /// The id under which ComfyUI runs the job.
    pub prompt_id: String,
    /// The client that submitted the job, if it gave its id.
    pub client_id: Option<String>,
    /// The number that ComfyUI gave to the job, counting from 0 after each start; negative for a job put to
    /// the front.
    pub number: Option<i64>,
}

impl QueueSnapshot {
    /// Whether the job runs or waits.
    #[must_use]
    pub fn contains(&self, prompt_id: &str) -> bool {
        self.running.iter().chain(&self.pending).any(|id| id == prompt_id)
    }
}

impl ComfyClient {
    /// Reads the queue.
    ///
    /// # Errors
    /// The call fails with any [`super::CallFault`].
    pub async fn queue(&self) -> Result<QueueSnapshot, ComfyError> {
        let request = self.call(QUEUE, None, &[]).await?;
        let body = self.read_json(QUEUE, request).await?;
        read(&body).map_err(|reason| self.malformed(QUEUE, reason))
    }

    /// Deletes a waiting job. A running or unknown job is left alone.
    ///
    /// ComfyUI answers with success in every case and sends no event, so call [`Self::queue`] to see the result.
    ///
    /// # Errors
    /// The call fails with any [`super::CallFault`].
    pub async fn delete_queued(&self, prompt_id: &str) -> Result<(), ComfyError> {
        let request = self.call(CHANGE_QUEUE, None, &[]).await?;
        self.complete(CHANGE_QUEUE, request.json(&serde_json::json!({ "delete": [prompt_id] }))).await
    }
}

fn read(body: &str) -> Result<QueueSnapshot, String> {
    let answer = LooseObject::parse(body).map_err(|error| error.to_string())?;
    // An answer without the lists is not an empty queue. Read as one, it would make every job count as lost.
    if answer.raw("queue_running").is_none() || answer.raw("queue_pending").is_none() {
        return Err("`queue_running` or `queue_pending` is missing".to_owned());
    }
    let (running, pending) = (jobs(&answer, "queue_running")?, jobs(&answer, "queue_pending")?);
    let ids = |jobs: &[ListedPrompt]| jobs.iter().map(|job| job.prompt_id.clone()).collect();
    let (running_ids, pending_ids) = (ids(&running), ids(&pending));
    let jobs = running.into_iter().chain(pending).collect();
    Ok(QueueSnapshot { running: running_ids, pending: pending_ids, jobs })
}

/// Reads a list of `[number, id, graph, extra_data, …]` and sorts it by number. ComfyUI sends its heap as it is in
/// memory, in which only the first element is at its place.
fn jobs(answer: &LooseObject<'_>, key: &str) -> Result<Vec<ListedPrompt>, String> {
    let mut jobs = Vec::new();
    for job in answer.list(key) {
        let [number, id, ref rest @ ..] = loose::list(job)[..] else {
            return Err(format!("an entry of `{key}` is not a job"));
        };
        let prompt_id = loose::text(id).ok_or_else(|| format!("an entry of `{key}` has no id"))?;
        let extra = rest.get(1).and_then(|extra| LooseObject::parse(extra.get()).ok());
        let client_id = extra.and_then(|extra| extra.text("client_id"));
        let place = loose::number(number).unwrap_or(f64::INFINITY);
        jobs.push((place, ListedPrompt { prompt_id, client_id, number: whole_number(place) }));
    }
    jobs.sort_by(|(one, _), (other, _)| one.total_cmp(other));
    Ok(jobs.into_iter().map(|(_, job)| job).collect())
}

/// ComfyUI writes whole numbers as `7` or `7.0`. A client may have chosen any other number, which gives `None`.
fn whole_number(number: f64) -> Option<i64> {
    format!("{number}").parse().ok()
}

#[cfg(test)]
#[path = "queue_tests.rs"]
mod tests;
