//! Short constructors for jobs, claims and results.

use std::any::Any;
use std::time::Duration;

use comfy_gateway::domain::failure::{Failure, FailureCode};
use comfy_gateway::domain::id::{AttemptId, BackendName, LeaseOwner, PromptId};
use comfy_gateway::domain::input::{JobInput, RemoteInput, StoredInput};
use comfy_gateway::domain::job::{Fence, JobEnding, JobFinish, Lease, NamedText, NewJob};
use comfy_gateway::domain::media::{MediaFile, MediaKind};
use comfy_gateway::domain::requeue::RequeueCause;
use comfy_gateway::domain::time::UnixMillis;
use comfy_gateway::store::{
    ClaimedJob, GatewayStore, JobClaim, JobLookup, JobRecord, JobStore, Requeue, WaitingJob,
};
use serde_json::value::RawValue;

/// An empty store, and a guard that must live as long as the store.
pub struct Fixture {
    pub store: Box<dyn GatewayStore>,
    pub _keep_alive: Box<dyn Any + Send>,
}

pub fn at(millis: i64) -> UnixMillis {
    UnixMillis::from_millis(millis)
}

pub fn id(n: u8) -> PromptId {
    PromptId::from_parts(at(i64::from(n)), [n; 10])
}

pub fn owner(n: u8) -> LeaseOwner {
    LeaseOwner::from_random([n; 16])
}

pub fn attempt_id(n: u8) -> AttemptId {
    AttemptId::from_random([n; 16])
}

pub fn json(text: &str) -> Box<RawValue> {
    RawValue::from_string(text.to_owned()).unwrap()
}

/// A job accepted at `n` milliseconds.
pub fn job(n: u8) -> NewJob {
    NewJob {
        run_timeout: Duration::from_mins(1),
        ..NewJob::new(id(n), r#"{"1":{"class_type":"X","inputs":{}}}"#.into(), at(i64::from(n)))
    }
}

/// A free slot on `gpu-1`. The lease of the owner ends at `owner_number` seconds. The caller sets the job.
pub fn slot(n: u8, owner_number: u8) -> JobClaim {
    let lease = Lease { owner: owner(owner_number), until: at(i64::from(owner_number) * 1_000) };
    JobClaim {
        prompt_id: id(0),
        attempt_id: attempt_id(n),
        backend: BackendName::parse("gpu-1").unwrap(),
        lease,
    }
}

/// A free slot of owner 1 on another backend.
pub fn slot_on(n: u8, backend: &str) -> JobClaim {
    JobClaim { backend: BackendName::parse(backend).unwrap(), ..slot(n, 1) }
}

pub fn stored_input(n: u8) -> StoredInput {
    StoredInput { sha256: format!("{n:064x}"), bytes: u64::from(n), name: format!("cg-{n}.png") }
}

pub fn remote_input(url: &str) -> JobInput {
    JobInput::Remote(RemoteInput {
        url: url.to_owned(),
        placeholder: "p".to_owned(),
        param: "photo".to_owned(),
    })
}

/// Inserts jobs with these numbers, one after the other.
pub async fn accept_jobs(store: &dyn JobStore, numbers: impl IntoIterator<Item = u8>) {
    for n in numbers {
        store.insert(job(n)).await.unwrap();
    }
}

/// Assigns each slot the oldest queued job that its backend can run, and claims all of them at once.
pub async fn claim_for_slots(store: &dyn JobStore, slots: Vec<JobClaim>, now: UnixMillis) -> Vec<ClaimedJob> {
    let mut waiting = store.queued_jobs(None, 1_000).await.unwrap();
    waiting.sort_by_key(|job| job.place.seq);
    let mut claims = Vec::new();
    for slot in slots {
        let due = |job: &WaitingJob| {
            job.not_before <= now && !job.awaits_inputs && !job.not_on.contains(&slot.backend)
        };
        if let Some(at) = waiting.iter().position(due) {
            claims.push(JobClaim { prompt_id: waiting.remove(at).prompt_id, ..slot });
        }
    }
    store.claim(claims, now).await.unwrap()
}

/// Claims job `n` for this owner at `now`.
pub async fn claim_one(store: &dyn JobStore, n: u8, owner_number: u8, now: UnixMillis) -> Option<ClaimedJob> {
    store.claim(vec![JobClaim { prompt_id: id(n), ..slot(200, owner_number) }], now).await.unwrap().pop()
}

/// Claims the oldest queued job for this owner at 1,000 ms.
pub async fn claim_next(store: &dyn JobStore, owner_number: u8) -> Option<ClaimedJob> {
    claim_for_slots(store, vec![slot(200, owner_number)], at(1_000)).await.pop()
}

/// Accepts job `n`, claims it for owner 1 and returns its fence.
pub async fn start_job(store: &dyn JobStore, n: u8) -> Fence {
    accept_jobs(store, [n]).await;
    let claimed = claim_one(store, n, 1, at(1_000)).await.unwrap();
    assert_eq!(claimed.prompt_id, id(n));
    claimed.attempt.fence(claimed.prompt_id)
}

pub async fn stored_job(store: &dyn JobStore, n: u8) -> JobRecord {
    match store.get(id(n)).await.unwrap() {
        JobLookup::Found(job) => *job,
        other => panic!("{other:?}"),
    }
}

pub fn failure() -> Failure {
    let mut failure = Failure::new(FailureCode::NodeError, "boom \u{1f4a5}");
    failure.node_id = Some("4".to_owned());
    failure.node_errors = Some(r#"{"4":1}"#.into());
    failure
}

pub fn completed() -> JobEnding {
    JobEnding::Completed { msg: None }
}

/// A result without outputs at 2,000 ms.
pub fn finish_with(ending: JobEnding) -> JobFinish {
    JobFinish::without_outputs(ending, at(2_000), None)
}

/// A requeue for `cause` at 1,500 ms that allows the next claim at 1,000 ms.
pub fn requeue_for(cause: RequeueCause) -> Requeue {
    let reason = "the backend gpu-1 was lost".to_owned();
    Requeue { not_before: at(1_000), ..Requeue::immediate(cause, reason, at(1_500)) }
}

/// A requeue that counts against the retry budget, or one that does not.
pub fn backend_lost(counts: bool) -> Requeue {
    requeue_for(if counts { RequeueCause::OutOfReach } else { RequeueCause::Recalled })
}

pub fn named_text(var: &str, text: &str) -> NamedText {
    NamedText { var: var.to_owned(), text: text.to_owned() }
}

pub fn picture(n: usize) -> MediaFile {
    MediaFile {
        var: "cover".to_owned(),
        node_id: "9".to_owned(),
        kind: MediaKind::Image,
        stored_as: format!("cover_{n}.png"),
        filename: format!("cöver {n}.png"),
        content_type: "image/png".to_owned(),
        bytes: 1 << 40,
        sha256: format!("{n:064x}"),
    }
}
