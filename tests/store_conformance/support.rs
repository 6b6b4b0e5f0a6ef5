//! Jobs, claims and endings to write down with few words.

use std::any::Any;
use std::time::Duration;

use comfy_gateway::domain::failure::{Failure, FailureCode};
use comfy_gateway::domain::id::{AttemptId, BackendName, LeaseOwner, PromptId};
use comfy_gateway::domain::input::{JobInput, RemoteInput, StoredInput};
use comfy_gateway::domain::job::{Fence, JobEnding, JobFinish, Lease, NamedText, NewJob, PhaseTimings};
use comfy_gateway::domain::media::{MediaFile, MediaKind};
use comfy_gateway::domain::needs::JobNeeds;
use comfy_gateway::domain::requeue::RequeueCause;
use comfy_gateway::domain::time::UnixMillis;
use comfy_gateway::store::{
    ClaimedJob, GatewayStore, JobClaim, JobLookup, JobRecord, JobStore, Requeue, WaitingJob,
};
use serde_json::value::RawValue;

/// An empty store and what must live as long.
pub struct Fixture {
    pub store: Box<dyn GatewayStore>,
    pub _kept: Box<dyn Any + Send>,
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
        prompt_id: id(n),
        graph: r#"{"1":{"class_type":"X","inputs":{}}}"#.into(),
        priority: 0,
        run_timeout: Duration::from_mins(1),
        queue_timeout: None,
        metadata: None,
        seeds: Vec::new(),
        files: Vec::new(),
        workflow: None,
        not_on: Vec::new(),
        caller: String::new(),
        needs: JobNeeds::default(),
        max_attempts: None,
        partial: false,
        msg: None,
        created_at: at(i64::from(n)),
    }
}

/// A free slot of owner `who`, whose lease lasts until `who` seconds; [`hand_out`] says for which job.
pub fn slot(n: u8, who: u8) -> JobClaim {
    let lease = Lease { owner: owner(who), until: at(i64::from(who) * 1_000) };
    JobClaim {
        prompt_id: id(0),
        attempt_id: attempt_id(n),
        backend: BackendName::parse("gpu-1").unwrap(),
        lease,
    }
}

/// A free slot of another server.
pub fn slot_of(n: u8, backend: &str) -> JobClaim {
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

/// Inserts jobs of these numbers, one after the other.
pub async fn accept(store: &dyn JobStore, numbers: impl IntoIterator<Item = u8>) {
    for n in numbers {
        store.insert(job(n)).await.unwrap();
    }
}

/// Gives each slot the next waiting job that its server may have, and claims them all.
pub async fn hand_out(store: &dyn JobStore, slots: Vec<JobClaim>, now: UnixMillis) -> Vec<ClaimedJob> {
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

/// Claims the job `n` for owner `who` at `now`.
pub async fn claim_job(store: &dyn JobStore, n: u8, who: u8, now: UnixMillis) -> Option<ClaimedJob> {
    store.claim(vec![JobClaim { prompt_id: id(n), ..slot(200, who) }], now).await.unwrap().pop()
}

/// Claims one job for owner `who` at 1,000 ms.
pub async fn claim(store: &dyn JobStore, who: u8) -> Option<ClaimedJob> {
    hand_out(store, vec![slot(200, who)], at(1_000)).await.pop()
}

/// Accepts job `n` and claims it for owner 1.
pub async fn running(store: &dyn JobStore, n: u8) -> Fence {
    accept(store, [n]).await;
    let claimed = claim_job(store, n, 1, at(1_000)).await.unwrap();
    assert_eq!(claimed.prompt_id, id(n));
    claimed.attempt.fence(claimed.prompt_id)
}

pub async fn found(store: &dyn JobStore, n: u8) -> JobRecord {
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

/// An ending at 2,000 ms with nothing made.
pub fn ended(ending: JobEnding) -> JobFinish {
    JobFinish {
        ending,
        outputs: None,
        outputs_file: None,
        texts: Vec::new(),
        media: Vec::new(),
        dropped_outputs: Vec::new(),
        timings: PhaseTimings::default(),
        finished_at: at(2_000),
        expires_at: None,
    }
}

/// A requeue for `cause` at 1,500 ms that allows the next claim at 1,000 ms.
pub fn requeue_for(cause: RequeueCause) -> Requeue {
    let reason = "the backend gpu-1 was lost".to_owned();
    Requeue { not_before: at(1_000), ..Requeue::immediate(cause, reason, at(1_500)) }
}

/// A requeue that counts against the retry budget, or one that does not.
pub fn requeue(counts: bool) -> Requeue {
    requeue_for(if counts { RequeueCause::OutOfReach } else { RequeueCause::Recalled })
}

pub fn text(var: &str, text: &str) -> NamedText {
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
