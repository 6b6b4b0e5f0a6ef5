//! ComfyUI's own queue: `GET /queue`, and taking a waiting job out of it. It must not look into the jobs'
//! workflows.

use super::client::ComfyClient;
use super::error::ComfyError;
use super::loose::{self, Object};
use super::routes::Route;

const QUEUE: Route = Route::get("/queue");
const CHANGE_QUEUE: Route = Route::post("/queue");

/// The ids of the jobs that a server runs and that wait there, of all clients.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct QueueSnapshot {
    /// The job that runs; more than one only on unusual servers.
    pub running: Vec<String>,
    /// The waiting jobs, the next one first.
    pub pending: Vec<String>,
    /// All of them once more, with whose they are.
    pub jobs: Vec<QueuedJob>,
}

/// A job in a server's queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueuedJob {
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
    /// Every [`super::Fault`] of a call.
    pub async fn queue(&self) -> Result<QueueSnapshot, ComfyError> {
        let request = self.call(QUEUE, None, &[]).await?;
        let body = self.json(QUEUE, request).await?;
        read(&body).map_err(|reason| self.malformed(QUEUE, reason))
    }

    /// Takes a waiting job out of the queue. Success says nothing: a job that runs or is not known stays as
    /// it is, so ask [`Self::queue`] afterwards. The websocket tells nothing of a deletion.
    ///
    /// # Errors
    /// Every [`super::Fault`] of a call.
    pub async fn delete_queued(&self, prompt_id: &str) -> Result<(), ComfyError> {
        let request = self.call(CHANGE_QUEUE, None, &[]).await?;
        self.done(CHANGE_QUEUE, request.json(&serde_json::json!({ "delete": [prompt_id] }))).await
    }
}

fn read(body: &str) -> Result<QueueSnapshot, String> {
    let answer = Object::parse(body).map_err(|error| error.to_string())?;
    // An answer that lacks the lists must not read as an empty queue: jobs would count as lost.
    if answer.raw("queue_running").is_none() || answer.raw("queue_pending").is_none() {
        return Err("queue_running or queue_pending is missing".to_owned());
    }
    let (running, pending) = (jobs(&answer, "queue_running")?, jobs(&answer, "queue_pending")?);
    let ids = |jobs: &[QueuedJob]| jobs.iter().map(|job| job.prompt_id.clone()).collect();
    let (running_ids, pending_ids) = (ids(&running), ids(&pending));
    let jobs = running.into_iter().chain(pending).collect();
    Ok(QueueSnapshot { running: running_ids, pending: pending_ids, jobs })
}

/// A list of `[number, id, graph, extra_data, …]` by the numbers. ComfyUI keeps the list as a heap: only its first
/// element is sure to be in its place.
fn jobs(answer: &Object<'_>, key: &str) -> Result<Vec<QueuedJob>, String> {
    let mut jobs = Vec::new();
    for job in answer.list(key) {
        let [number, id, ref rest @ ..] = loose::list(job)[..] else {
            return Err(format!("an entry of {key} is no job"));
        };
        let prompt_id = loose::text(id).ok_or_else(|| format!("an entry of {key} has no id"))?;
        let extra = rest.get(1).and_then(|extra| Object::parse(extra.get()).ok());
        let client_id = extra.and_then(|extra| extra.text("client_id"));
        let place = loose::number(number).unwrap_or(f64::INFINITY);
        jobs.push((place, QueuedJob { prompt_id, client_id, number: whole(place) }));
    }
    jobs.sort_by(|(one, _), (other, _)| one.total_cmp(other));
    Ok(jobs.into_iter().map(|(_, job)| job).collect())
}

/// Numbers come as `7` and as `7.0`; those that callers chose may be anything.
fn whole(number: f64) -> Option<i64> {
    format!("{number}").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::super::mutilate;
    use super::*;

    #[test]
    fn waiting_jobs_are_in_the_order_they_will_run() {
        let body = r#"{"queue_running":[[3,"r",{"1":{"class_type":"X"}},{},["1"]]],
            "queue_pending":[[4,"a",{},{},[]],[9,"d",{}],[5.5,"b",{}],[7,"c",{}],[null,"nan",{}],[-1,"front",{}]]}"#;
        let queue = read(body).unwrap();
        assert_eq!(queue.running, ["r"]);
        assert_eq!(queue.pending, ["front", "a", "b", "c", "d", "nan"]);
        assert!(queue.contains("r") && queue.contains("c") && !queue.contains("x"));
    }

    #[test]
    fn the_queues_of_both_versions_are_read() {
        for body in [
            include_str!("../../tests/fixtures/comfyui/0.24.0/queue.json"),
            include_str!("../../tests/fixtures/comfyui/0.3.64/queue.json"),
        ] {
            let queue = read(body).unwrap();
            assert!(queue.running.len() == 1 && queue.pending.len() >= 2, "{queue:?}");
            assert!(queue.running.iter().chain(&queue.pending).all(|id| id.len() == 36), "{queue:?}");
            let told = |job: &QueuedJob| job.number.is_some() && job.client_id.is_some();
            assert!(queue.jobs.len() == queue.running.len() + queue.pending.len(), "{queue:?}");
            assert!(queue.jobs.iter().all(told), "{queue:?}");
        }
    }

    #[test]
    fn a_queue_in_which_a_part_is_odd_never_lacks_a_job_silently() {
        let body = include_str!("../../tests/fixtures/comfyui/0.24.0/queue.json");
        let whole = read(body).unwrap();
        for changed in mutilate::variants(body) {
            let Ok(queue) = read(&changed) else { continue };
            for id in whole.running.iter().chain(&whole.pending) {
                // Its workflow, numbers and extras may be odd, but a job whose entry is there is found.
                let entry = changed.contains(&format!("\"{id}\",{{"));
                assert!(!entry || queue.contains(id), "{id}: {changed}");
            }
        }
        assert!(mutilate::beginnings(body.trim_end()).all(|cut| read(cut).is_err()));
    }

    #[test]
    fn an_answer_that_is_no_queue_is_never_an_empty_queue() {
        for body in [
            "{}",
            "[]",
            "<html>",
            r#"{"queue_running":[]}"#,
            r#"{"queue_running":[],"queue_pending":null}"#,
            r#"{"queue_running":[7],"queue_pending":[]}"#,
            r#"{"queue_running":[[7,null]],"queue_pending":[]}"#,
        ] {
            assert!(read(body).is_err(), "{body}");
        }
        assert_eq!(read(r#"{"queue_running":[],"queue_pending":[]}"#).unwrap(), QueueSnapshot::default());
    }
}
