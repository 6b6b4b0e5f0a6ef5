//! The writes as data: what callers hand to the writer task and what it hands back.

use std::time::Duration;

use serde_json::value::RawValue;
use tokio::sync::oneshot;

use crate::domain::failure::Failure;
use crate::domain::id::{BackendName, FileId, LeaseOwner, PromptId};
use crate::domain::input::StoredInput;
use crate::domain::job::{Fence, Finish, Lease, NewJob};
use crate::domain::mode::Mode;
use crate::domain::registered::WorkflowName;
use crate::domain::time::UnixMillis;
use crate::store::{
    AdoptScope, CancelOutcome, ClaimedJob, DeleteOutcome, FileRecord, JobClaim, NewWorkflow,
    RegistrationOutcome, Requeue, ShapeRecord, StoreError, StoredBackend,
};

/// One write.
#[derive(Debug)]
pub(super) enum Op {
    Insert(Box<NewJob>),
    Claim { claims: Vec<JobClaim>, now: UnixMillis },
    Adopt { which: AdoptScope, lease: Lease, now: UnixMillis },
    Renew { owner: LeaseOwner, until: UnixMillis },
    Finish { fence: Fence, finish: Box<Finish> },
    Requeue { fence: Fence, requeue: Requeue },
    RequestCancel { id: PromptId, at: UnixMillis, expires_at: Option<UnixMillis> },
    ExpireQueued { now: UnixMillis, failure: Box<Failure>, expires_at: Option<UnixMillis> },
    Delete { id: PromptId, at: UnixMillis },
    ClearNotOn,
    Learn { shapes: Vec<ShapeRecord>, keep: u32 },
    InsertFile(FileRecord),
    DeleteFile(FileId),
    InputsReady { id: PromptId, graph: Box<RawValue>, files: Vec<StoredInput> },
    InputsFailed { id: PromptId, failure: Box<Failure>, at: UnixMillis, expires_at: Option<UnixMillis> },
    PutWorkflow(Box<NewWorkflow>),
    DeleteWorkflow(WorkflowName),
    AddBackend(Box<StoredBackend>),
    DeleteBackend(BackendName),
    SetBackendMode { name: BackendName, mode: Mode },
    ReleaseInputs { now: UnixMillis },
    ShortenRetention { retention: Duration, after: i64, up_to: i64 },
    Purge { now: UnixMillis, tombstones_before: UnixMillis, limit: u32 },
}

impl Op {
    /// Whether it takes up something new that will need more room, rather than going on with what is here.
    pub(super) const fn grows(&self) -> bool {
        matches!(self, Self::Insert(_) | Self::InsertFile(_) | Self::PutWorkflow(_) | Self::AddBackend(_))
    }
}

/// What came of a write.
#[derive(Debug)]
pub(super) enum Reply {
    Done,
    Claimed(Vec<ClaimedJob>),
    Ids(Vec<PromptId>),
    Cancel(CancelOutcome),
    Delete(DeleteOutcome),
    Registered(RegistrationOutcome),
    /// Whether there was anything to change.
    Changed(bool),
}

/// A write and who waits for it.
#[derive(Debug)]
pub(super) struct Envelope {
    pub op: Op,
    pub reply: oneshot::Sender<Result<Reply, StoreError>>,
}

/// Why one write of a batch did not happen.
#[derive(Debug)]
pub(super) enum WriteError {
    /// The batch cannot be committed.
    Sql(sqlx::Error),
    /// This write alone is refused; it changed nothing.
    Refused(StoreError),
}

impl From<sqlx::Error> for WriteError {
    fn from(error: sqlx::Error) -> Self {
        Self::Sql(error)
    }
}

impl From<StoreError> for WriteError {
    fn from(error: StoreError) -> Self {
        Self::Refused(error)
    }
}

/// SQLite's code for a write that found the disk full.
const SQLITE_FULL: &str = "13";

pub(super) fn unavailable(error: &sqlx::Error) -> StoreError {
    if error
        .as_database_error()
        .and_then(sqlx::error::DatabaseError::code)
        .is_some_and(|code| code == SQLITE_FULL)
    {
        return StoreError::DiskFull;
    }
    StoreError::Unavailable(error.to_string())
}
