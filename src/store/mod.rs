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
use crate::domain::job::{
    Attempt, DroppedOutput, Fence, Finish, JobState, Lease, NamedText, NewJob, Status, Timings,
};
use crate::domain::media::MediaFile;
use crate::domain::needs::Needs;
use crate::domain::registered::WorkflowRef;
use crate::domain::time::UnixMillis;

pub use backends::{BackendStore, StoredBackend};
pub use error::StoreError;
pub use files::{AwaitingJob, FileRecord, InputStore};
pub use workflows::{NewWorkflow, RegistrationOutcome, WorkflowRecord, WorkflowStore, WorkflowSummary};

/// Everything the gateway keeps.
pub trait GatewayStore: JobStore + InputStore + WorkflowStore + BackendStore {}

impl<S: JobStore + InputStore + WorkflowStore + BackendStore> GatewayStore for S {}

/// A job for a free slot.
#[derive(Debug, Clone)]
pub struct JobClaim {
    /// The job.
    pub prompt_id: PromptId,
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
    /// How many attempts may fail, if it has a number of its own.
    pub max_attempts: Option<u32>,
    /// Servers that went down while they ran it, so far.
    pub downed: Vec<BackendName>,
    /// How often a server turned it away without a reason, although it judged other submissions.
    pub refusals: u32,
    /// Whether its run is not to take anything from ComfyUI's cache.
    pub defeats_cache: bool,
    /// Whether it may run although some of its outputs cannot.
    pub partial: bool,
    /// What it asks of its server.
    pub needs: Needs,
}

/// Where a waiting job stands among the changes of the queue: later ones come after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct QueuePlace {
    /// The revision that let it wait.
    pub rev: i64,
    /// Its place in the order of acceptance.
    pub seq: i64,
}

/// A waiting job as whoever hands out slots needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WaitingJob {
    /// Where to read on after it.
    pub place: QueuePlace,
    /// The job.
    pub prompt_id: PromptId,
    /// Higher runs first.
    pub priority: i32,
    /// Whose it is.
    pub caller: String,
    /// When it was accepted.
    pub created_at: UnixMillis,
    /// Not to be claimed before this moment.
    pub not_before: UnixMillis,
    /// Whether files of it are still to be fetched.
    pub awaits_inputs: bool,
    /// Servers that cannot run it.
    pub not_on: Vec<BackendName>,
    /// The server of its last attempt, if that failed: another is preferred.
    pub failed_on: Option<BackendName>,
    /// What it asks of its server.
    pub needs: Needs,
}

/// One attempt as clients are told of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttemptRecord {
    /// Its number, from 1.
    pub number: u32,
    /// Its server.
    pub backend: BackendName,
    /// When it was claimed.
    pub started_at: UnixMillis,
    /// When it ended.
    pub ended_at: Option<UnixMillis>,
    /// What became of it: `completed`, `cancelled`, a failure's code, or why the job went back to the queue.
    pub outcome: Option<String>,
    /// The same in words.
    pub reason: Option<String>,
}

/// What runs of one shape took.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShapeRecord {
    /// The shape or family ([`Needs`]).
    pub shape: String,
    /// Milliseconds of execution with its models loaded before.
    pub warm_ms: Option<i64>,
    /// The same when they had to be loaded.
    pub cold_ms: Option<i64>,
    /// The most bytes of memory of a device on which it ran out of memory.
    pub oom_vram: Option<i64>,
    /// When it was last run.
    pub used_at: UnixMillis,
}

/// How a job goes back to the queue.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "facts that do not exclude each other")]
pub struct Requeue {
    /// Whether the attempt counts against the retry budget.
    pub counts: bool,
    /// The earliest next claim.
    pub not_before: UnixMillis,
    /// The new end of the wait.
    pub deadline: Option<UnixMillis>,
    /// Why, as the attempt's record has it in one word.
    pub outcome: &'static str,
    /// Why, for the attempt's record and the job's `msg`.
    pub reason: String,
    /// Whether its server went down while it ran the job.
    pub downed: bool,
    /// Whether its next run is not to take anything from ComfyUI's cache.
    pub fresh: bool,
    /// Whether its server turned the job away without a reason, although it judged other submissions.
    pub refused: bool,
    /// A server that is not to claim it again, as it cannot run it.
    pub not_on: Option<BackendName>,
    /// When.
    pub at: UnixMillis,
}

impl Requeue {
    /// One that costs the job nothing: its server never ran it.
    #[must_use]
    pub const fn for_free(reason: String, now: UnixMillis) -> Self {
        Self {
            counts: false,
            not_before: now,
            deadline: None,
            outcome: "not_run",
            reason,
            downed: false,
            fresh: false,
            refused: false,
            not_on: None,
            at: now,
        }
    }
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
pub enum AdoptScope {
    /// Every one held by somebody else: the caller knows that no other process lives.
    All,
    /// Those whose lease ended at this moment or before.
    ExpiredAt(UnixMillis),
}

/// Whether a prompt id is known.
#[derive(Debug)]
pub enum JobLookup {
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
    /// ComfyUI's outputs, verbatim; `None` if there are none or they are a file.
    pub outputs: Option<Box<RawValue>>,
    /// The file with ComfyUI's outputs, where they are too large for a row.
    pub outputs_file: Option<MediaFile>,
    /// Its texts.
    pub texts: Vec<NamedText>,
    /// Its files.
    pub media: Vec<MediaFile>,
    /// Outputs that were not made.
    pub dropped_outputs: Vec<DroppedOutput>,
    /// Its last attempts, in order.
    pub history: Vec<AttemptRecord>,
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
pub struct RecordPage {
    /// The jobs, newest first.
    pub jobs: Vec<JobRecord>,
    /// Where the next page begins; `None` after the last.
    pub next: Option<PageCursor>,
}

/// A place in the list of jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageCursor(pub i64);

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

    /// Waiting jobs in the order in which they came to wait, those after `after` only, up to `limit`: whoever reads on
    /// from the last place misses none.
    async fn queued_jobs(&self, after: Option<QueuePlace>, limit: u32)
    -> Result<Vec<WaitingJob>, StoreError>;

    /// Hands jobs to slots. Those that do not wait any more, are not due or have not all their files are left out of
    /// what it returns.
    async fn claim(&self, claims: Vec<JobClaim>, now: UnixMillis) -> Result<Vec<ClaimedJob>, StoreError>;

    /// Takes over running jobs of other owners under `lease`.
    async fn adopt(
        &self,
        which: AdoptScope,
        lease: Lease,
        now: UnixMillis,
    ) -> Result<Vec<ClaimedJob>, StoreError>;

    /// Prolongs every lease of `owner`.
    async fn renew(&self, owner: LeaseOwner, until: UnixMillis) -> Result<(), StoreError>;

    /// Ends a running job.
    async fn finish(&self, fence: Fence, finish: Finish) -> Result<(), StoreError>;

    /// Puts a running job back into the queue. A job whose cancel was requested does not go back: that is
    /// [`StoreError::LeaseLost`], and the caller finishes it as cancelled.
    async fn requeue(&self, fence: Fence, requeue: Requeue) -> Result<(), StoreError>;

    /// Lets every queued job be claimed by any server again: what servers can run has changed.
    async fn clear_not_on(&self) -> Result<(), StoreError>;

    /// Keeps what runs of these shapes took; of all shapes the `keep` that were used last stay.
    async fn learn(&self, shapes: Vec<ShapeRecord>, keep: u32) -> Result<(), StoreError>;

    /// The shapes that were used last, up to `limit`.
    async fn shapes(&self, limit: u32) -> Result<Vec<ShapeRecord>, StoreError>;

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

    /// Lets ended jobs and uploaded files that would be kept for longer than `retention` expire earlier. What expires
    /// earlier already stays so.
    async fn shorten_retention(&self, retention: Duration) -> Result<(), StoreError>;

    /// Gives a part of the room of forgotten jobs back to the disk; whether there is more.
    async fn shrink(&self) -> Result<bool, StoreError>;

    /// One job with its result.
    async fn get(&self, id: PromptId) -> Result<JobLookup, StoreError>;

    /// A job's state and nothing of its result; `None` when unknown or gone.
    async fn status(&self, id: PromptId) -> Result<Option<Status>, StoreError>;

    /// Jobs newest first, up to `limit`, from `cursor` on, of one status and of one registered workflow if given.
    async fn list(
        &self,
        status: Option<Status>,
        workflow: Option<&WorkflowRef>,
        cursor: Option<PageCursor>,
        limit: u32,
    ) -> Result<RecordPage, StoreError>;

    /// One stored file of a job.
    async fn media(&self, id: PromptId, stored_as: &str) -> Result<Option<MediaFile>, StoreError>;

    /// The queue at a glance.
    async fn stats(&self) -> Result<QueueStats, StoreError>;

    /// How many jobs are queued.
    async fn queued(&self) -> Result<u64, StoreError>;

    /// Whether the store answers.
    async fn ping(&self) -> Result<(), StoreError>;

    /// Whether the store's disk has room for new jobs. Verbs that end, delete or go on with jobs work all the same.
    fn has_room(&self) -> bool;
}
