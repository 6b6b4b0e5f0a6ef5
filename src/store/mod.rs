//! Where jobs live: the [`JobStore`] trait, what its verbs promise, and its implementations below.
//! It must not know of ComfyUI, HTTP or the media store's files.
//!
//! # To add a verb
//! Add it to [`JobStore`] with its promise, to `sqlite/op.rs` and a file of `sqlite/` if it writes or to
//! `sqlite/query.rs` if it reads, and a case to `tests/store_conformance`.

pub mod backends;
pub mod error;
pub mod files;
pub mod sqlite;
pub mod workflows;

use std::time::Duration;

use async_trait::async_trait;
use serde_json::value::RawValue;

use crate::domain::failure::Failure;
use crate::domain::id::{AttemptId, BackendName, GatewayId, LeaseOwner, PromptId};
use crate::domain::input::StoredInput;
use crate::domain::job::{Attempt, Fence, Finish, JobState, Lease, NamedText, NewJob, Status, Timings};
use crate::domain::media::MediaFile;
use crate::domain::registered::WorkflowRef;
use crate::domain::time::UnixMillis;

pub use backends::{BackendStore, StoredBackend};
pub use error::StoreError;
pub use files::{AwaitingJob, FileRecord, InputStore};
pub use workflows::{NewWorkflow, Registered, WorkflowRecord, WorkflowStore, WorkflowSummary};

/// Everything the gateway keeps.
pub trait Store: JobStore + InputStore + WorkflowStore + BackendStore {}

impl<S: JobStore + InputStore + WorkflowStore + BackendStore> Store for S {}

/// Where counting a job's place in the queue stops: asking must not cost more in a longer queue.
pub const FARTHEST_POSITION: u64 = 1_000;

/// A free slot that asks for a job.
#[derive(Debug, Clone)]
pub struct Claim {
    /// The id of the attempt, unless it is the job's first: that one carries the job's own id.
    pub attempt_id: AttemptId,
    /// The server with the free slot.
    pub backend: BackendName,
    /// Who will watch the attempt.
    pub lease: Lease,
}

/// A running job as the process that watches it needs it.
#[derive(Debug)]
pub struct ClaimedJob {
    /// The job.
    pub prompt_id: PromptId,
    /// Its attempt under way.
    pub attempt: Attempt,
    /// The exact graph for ComfyUI.
    pub graph: Box<RawValue>,
    /// The files it names, to be on the server before it.
    pub files: Vec<StoredInput>,
    /// When the job was accepted.
    pub created_at: UnixMillis,
    /// How long it may run.
    pub run_timeout: Duration,
    /// How long it may wait each time it waits.
    pub queue_timeout: Option<Duration>,
    /// Attempts that counted against the retry budget so far.
    pub failures: u32,
    /// Whether a caller asked to cancel it.
    pub cancel_requested: bool,
}

/// How a job goes back to the queue.
#[derive(Debug, Clone)]
pub struct Requeue {
    /// Whether the attempt counts against the retry budget.
    pub counts: bool,
    /// The earliest next claim.
    pub not_before: UnixMillis,
    /// The new end of the wait.
    pub deadline: Option<UnixMillis>,
    /// Why, for the attempt's record and the job's `msg`.
    pub reason: String,
    /// A server that is not to claim it again, as it cannot run it.
    pub not_on: Option<BackendName>,
    /// When.
    pub at: UnixMillis,
}

/// What a cancel request came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CancelOutcome {
    /// The job was queued and is cancelled now.
    Cancelled,
    /// The job runs; whoever watches it must be told.
    Requested,
    /// The job had ended before.
    AlreadyTerminal,
    /// There is no such job.
    NotFound,
}

/// What a deletion came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeleteOutcome {
    /// The job is gone; its files may go.
    Deleted,
    /// The job has not ended.
    Unfinished,
    /// There is no such job.
    NotFound,
}

/// Which running jobs a process takes over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Adopt {
    /// Every one held by somebody else: the caller knows that no other process lives.
    All,
    /// Those whose lease ended at this moment or before.
    ExpiredAt(UnixMillis),
}

/// Whether a prompt id is known.
#[derive(Debug)]
pub enum Lookup {
    /// The job.
    Found(Box<JobRecord>),
    /// It was deleted, or its retention ended.
    Gone,
    /// Never heard of.
    Unknown,
}

/// A job as clients are told of it.
#[derive(Debug)]
pub struct JobRecord {
    /// Its id.
    pub prompt_id: PromptId,
    /// Its state.
    pub state: JobState,
    /// Its priority.
    pub priority: i32,
    /// The number of its latest attempt; 0 before the first.
    pub attempts: u32,
    /// The server of its latest attempt.
    pub backend: Option<BackendName>,
    /// When its latest attempt started.
    pub started_at: Option<UnixMillis>,
    /// When it was accepted.
    pub created_at: UnixMillis,
    /// When it may be forgotten.
    pub expires_at: Option<UnixMillis>,
    /// The registered workflow it runs, as `name@version`.
    pub workflow: Option<String>,
    /// One sentence for people.
    pub msg: Option<String>,
    /// Where the time went.
    pub timings: Timings,
    /// The caller's own data.
    pub metadata: Option<Box<RawValue>>,
    /// Seeds the gateway drew, as a JSON object by node id.
    pub seeds: Option<Box<RawValue>>,
    /// ComfyUI's outputs, verbatim.
    pub outputs: Option<Box<RawValue>>,
    /// Its texts.
    pub texts: Vec<NamedText>,
    /// Its files.
    pub media: Vec<MediaFile>,
    /// Jobs that will be claimed before it, while it is queued; [`FARTHEST_POSITION`] stands for that many or more.
    pub queue_position: Option<u64>,
}

impl JobRecord {
    /// The failure, if it failed.
    #[must_use]
    pub const fn failure(&self) -> Option<&Failure> {
        match &self.state {
            JobState::Failed { failure, .. } => Some(failure),
            _ => None,
        }
    }
}

/// A page of jobs.
#[derive(Debug)]
pub struct Page {
    /// The jobs, newest first.
    pub jobs: Vec<JobRecord>,
    /// Where the next page begins; `None` after the last.
    pub next: Option<Cursor>,
}

/// A place in the list of jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor(pub i64);

/// The queue at a glance.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct QueueStats {
    /// How many jobs stand in each status.
    pub by_status: Vec<(Status, u64)>,
    /// When the oldest queued job was accepted.
    pub oldest_queued: Option<UnixMillis>,
}

/// The jobs and their results, durable.
///
/// Every verb is one transaction: it happened as a whole when it returns `Ok`, and is on disk; on an error
/// nothing happened. Changes of a running job name their [`Fence`] and fail with [`StoreError::LeaseLost`]
/// when another attempt or owner holds the job. Dropping a verb's future does not break it in half.
#[async_trait]
pub trait JobStore: Send + Sync + std::fmt::Debug {
    /// The id of the gateway that this database belongs to; the same over restarts.
    fn gateway_id(&self) -> GatewayId;

    /// Accepts a job: it is queued and on disk.
    async fn insert(&self, job: NewJob) -> Result<(), StoreError>;

    /// Hands the next jobs to `claims`, in order of priority, then acceptance; the first job to the first claim that
    /// may have it. Jobs whose inputs are still fetched are passed over, and for each claim those that its server
    /// cannot run. Returns fewer jobs than claims when fewer are due.
    async fn claim(&self, claims: Vec<Claim>, now: UnixMillis) -> Result<Vec<ClaimedJob>, StoreError>;

    /// Takes over running jobs of other owners under `lease`.
    async fn adopt(&self, which: Adopt, lease: Lease, now: UnixMillis)
    -> Result<Vec<ClaimedJob>, StoreError>;

    /// Prolongs every lease of `owner`.
    async fn renew(&self, owner: LeaseOwner, until: UnixMillis) -> Result<(), StoreError>;

    /// Ends a running job.
    async fn finish(&self, fence: Fence, finish: Finish) -> Result<(), StoreError>;

    /// Puts a running job back into the queue. A job whose cancel was requested does not go back: that is
    /// [`StoreError::LeaseLost`], and the caller finishes it as cancelled.
    async fn requeue(&self, fence: Fence, requeue: Requeue) -> Result<(), StoreError>;

    /// Lets every queued job be claimed by any server again: what servers can run has changed.
    async fn clear_not_on(&self) -> Result<(), StoreError>;

    /// Cancels a queued job, or notes the wish for a running one.
    async fn request_cancel(
        &self,
        id: PromptId,
        at: UnixMillis,
        expires_at: Option<UnixMillis>,
    ) -> Result<CancelOutcome, StoreError>;

    /// Fails queued jobs whose deadline has come with `failure`; returns them.
    async fn expire_queued(
        &self,
        now: UnixMillis,
        failure: Failure,
        expires_at: Option<UnixMillis>,
    ) -> Result<Vec<PromptId>, StoreError>;

    /// Forgets a terminal job but for its id.
    async fn delete(&self, id: PromptId, at: UnixMillis) -> Result<DeleteOutcome, StoreError>;

    /// Forgets up to `limit` jobs whose retention has ended, and ids forgotten before `tombstones_before`; returns
    /// the jobs.
    async fn purge(
        &self,
        now: UnixMillis,
        tombstones_before: UnixMillis,
        limit: u32,
    ) -> Result<Vec<PromptId>, StoreError>;

    /// One job with its result.
    async fn get(&self, id: PromptId) -> Result<Lookup, StoreError>;

    /// A job's state and nothing of its result; `None` when unknown or gone.
    async fn status(&self, id: PromptId) -> Result<Option<Status>, StoreError>;

    /// Jobs newest first, up to `limit`, from `cursor` on, of one status and of one registered workflow if given.
    async fn list(
        &self,
        status: Option<Status>,
        workflow: Option<&WorkflowRef>,
        cursor: Option<Cursor>,
        limit: u32,
    ) -> Result<Page, StoreError>;

    /// One stored file of a job.
    async fn media(&self, id: PromptId, stored_as: &str) -> Result<Option<MediaFile>, StoreError>;

    /// The queue at a glance.
    async fn stats(&self) -> Result<QueueStats, StoreError>;

    /// How many jobs are queued.
    async fn queued(&self) -> Result<u64, StoreError>;

    /// Whether the store answers.
    async fn ping(&self) -> Result<(), StoreError>;
}
