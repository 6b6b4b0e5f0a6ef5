//! Arguments and results of the [`JobStore`](super::JobStore) operations that move a job between states.

use std::time::Duration;

use serde_json::value::RawValue;

use crate::domain::id::{AttemptId, BackendName, PromptId};
use crate::domain::input::StoredInput;
use crate::domain::job::{Attempt, Lease};
use crate::domain::needs::JobNeeds;
use crate::domain::requeue::RequeueCause;
use crate::domain::time::UnixMillis;

/// A request to run one queued job in a free slot of a backend.
#[derive(Debug, Clone)]
pub struct JobClaim {
    /// The job to claim.
    pub prompt_id: PromptId,
    /// The id of the new attempt. A job's first attempt ignores it and takes the job's own id.
    pub attempt_id: AttemptId,
    /// The backend that has the free slot.
    pub backend: BackendName,
    /// The lease under which the claimer holds the attempt.
    pub lease: Lease,
}

/// A running job with everything its lease owner needs to run it.
#[derive(Debug)]
pub struct ClaimedJob {
    /// The job's id.
    pub prompt_id: PromptId,
    /// The running attempt.
    pub attempt: Attempt,
    /// The graph to submit to ComfyUI, byte for byte.
    pub graph: Box<RawValue>,
    /// The input files the graph names. The backend must have them before the graph is submitted.
    pub files: Vec<StoredInput>,
    /// When the gateway accepted the job.
    pub created_at: UnixMillis,
    /// The time limit of one attempt.
    pub run_timeout: Duration,
    /// The time limit of one stay in the queue; `None` means no limit.
    pub queue_timeout: Option<Duration>,
    /// The number of earlier attempts that count against the retry budget.
    pub failures: u32,
    /// Whether a caller asked to cancel the job.
    pub cancel_requested: bool,
    /// The job's own retry budget; `None` means the configured one applies.
    pub max_attempts: Option<u32>,
    /// The backends that went down while they ran this job, one entry per incident.
    pub downed: Vec<BackendName>,
    /// How many times a backend rejected this job without a reason although it validated other submissions.
    pub refusals: u32,
    /// Whether the next run must not use ComfyUI's cache.
    pub defeats_cache: bool,
    /// Whether the job may run although some of its outputs cannot be made.
    pub partial: bool,
    /// The job's requirements on a backend.
    pub needs: JobNeeds,
}

/// A position in the sequence of changes that make jobs claimable or queued. Later changes have greater places.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct QueuePlace {
    /// The revision of the transaction that made the change. Jobs of one transaction share it.
    pub rev: i64,
    /// The job's position in the order of acceptance; unique per job.
    pub seq: i64,
}

/// A queued job with everything the dispatcher needs to choose a backend for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WaitingJob {
    /// The place to pass to [`JobStore::queued_jobs`](super::JobStore::queued_jobs) to read the jobs after
    /// this one.
    pub place: QueuePlace,
    /// The job's id.
    pub prompt_id: PromptId,
    /// The job's priority; higher values run first.
    pub priority: i32,
    /// The caller the job is accounted to; empty if the request named none.
    pub caller: String,
    /// When the gateway accepted the job.
    pub created_at: UnixMillis,
    /// The earliest moment at which the job may be claimed.
    pub not_before: UnixMillis,
    /// Whether some of the job's input files are still to be fetched.
    pub awaits_inputs: bool,
    /// The backends that cannot run the job.
    pub not_on: Vec<BackendName>,
    /// The backend of the latest attempt if any attempt counted as a failure. Another backend is preferred.
    pub failed_on: Option<BackendName>,
    /// The job's requirements on a backend.
    pub needs: JobNeeds,
}

/// How a running job returns to the queue.
#[derive(Debug, Clone)]
pub struct Requeue {
    /// Why. The retry budget, the crash count and the excluded backends follow from it.
    pub cause: RequeueCause,
    /// The cause as a sentence, for the attempt's record and the job's `msg`.
    pub reason: String,
    /// The earliest moment of the next claim.
    pub not_before: UnixMillis,
    /// When the job fails if it is still queued; `None` means never.
    pub deadline: Option<UnixMillis>,
    /// When the attempt ended.
    pub at: UnixMillis,
}

impl Requeue {
    /// A requeue at `now`, claimable at once and without a deadline.
    #[must_use]
    pub const fn immediate(cause: RequeueCause, reason: String, now: UnixMillis) -> Self {
        Self { cause, reason, not_before: now, deadline: None, at: now }
    }
}

/// The result of a cancel request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CancelOutcome {
    /// The job was queued and is now cancelled.
    Cancelled,
    /// The job is running. The request is recorded; the lease owner has to interrupt the run.
    Requested,
    /// The job had already ended.
    AlreadyTerminal,
    /// The store has no such job.
    NotFound,
}

/// The result of a deletion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeleteOutcome {
    /// The job is deleted; its media files may be removed.
    Deleted,
    /// The job has not ended, so it stays.
    Unfinished,
    /// The store has no such job.
    NotFound,
}

/// Which running jobs of other owners [`JobStore::adopt`](super::JobStore::adopt) takes over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AdoptScope {
    /// All of them. The caller knows that no other owner is alive.
    All,
    /// Those whose lease ended at this moment or earlier.
    ExpiredAt(UnixMillis),
}
