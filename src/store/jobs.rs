//! [`JobStore`]: every operation on jobs.

use std::time::Duration;

use async_trait::async_trait;

use super::claims::{
    AdoptScope, CancelOutcome, ClaimedJob, DeleteOutcome, JobClaim, QueuePlace, Requeue, WaitingJob,
};
use super::error::StoreError;
use super::records::{JobLookup, PageCursor, QueueStats, RecordPage, ShapeRecord};
use crate::domain::failure::Failure;
use crate::domain::id::{GatewayId, LeaseOwner, PromptId};
use crate::domain::job::{Fence, JobFinish, JobStatus, Lease, NewJob};
use crate::domain::media::MediaFile;
use crate::domain::registered::WorkflowRef;
use crate::domain::time::UnixMillis;

/// Jobs and their results, durable.
///
/// Every write is atomic. On `Ok` all of it is on disk; on an error none of it is, unless the method says
/// otherwise. A write that the caller stops waiting for still happens as a whole or not at all. Changes of a
/// running job name their [`Fence`] and fail with [`StoreError::LeaseLost`] if another attempt or owner holds
/// the job. Every method may fail with [`StoreError::Unavailable`], and reads of damaged rows with
/// [`StoreError::Inconsistent`]. Writes may fail with [`StoreError::DiskFull`]; those that add data do so as
/// soon as the free space falls below the reserve.
#[async_trait]
pub trait JobStore: Send + Sync + std::fmt::Debug {
    /// The id of the gateway that owns this database; it survives restarts.
    fn gateway_id(&self) -> GatewayId;

    /// Accepts a job into the queue.
    async fn insert(&self, job: NewJob) -> Result<(), StoreError>;

    /// Up to `limit` queued jobs whose place is after `after`, ordered by place. Passing the last place of
    /// each result finds every job, including those queued in the meantime.
    async fn queued_jobs(&self, after: Option<QueuePlace>, limit: u32)
    -> Result<Vec<WaitingJob>, StoreError>;

    /// Starts an attempt for each claim. The result omits jobs that are not queued, are not due at `now`, or still
    /// await input files. A job whose stored data is damaged fails instead of running.
    async fn claim(&self, claims: Vec<JobClaim>, now: UnixMillis) -> Result<Vec<ClaimedJob>, StoreError>;

    /// Takes over running jobs of other owners under `lease`. A job whose stored data is damaged fails at
    /// `now` instead.
    async fn adopt(
        &self,
        which: AdoptScope,
        lease: Lease,
        now: UnixMillis,
    ) -> Result<Vec<ClaimedJob>, StoreError>;

    /// Sets the end of every lease of `owner` to `until`.
    async fn renew(&self, owner: LeaseOwner, until: UnixMillis) -> Result<(), StoreError>;

    /// Ends a running job and stores its results. [`StoreError::LeaseLost`] also means that the job was to end as
    /// cancelled although no caller asked for it.
    async fn finish(&self, fence: Fence, finish: JobFinish) -> Result<(), StoreError>;

    /// Ends the attempt and returns the job to the queue. A job with a requested cancel is not requeued: the
    /// result is [`StoreError::LeaseLost`], and the caller has to finish the job as cancelled.
    async fn requeue(&self, fence: Fence, requeue: Requeue) -> Result<(), StoreError>;

    /// Clears the excluded backends of every queued job, because the capabilities of the backends have changed.
    async fn clear_not_on(&self) -> Result<(), StoreError>;

    /// Stores measurements of runs and drops all but the `keep` most recently used records.
    async fn learn(&self, shapes: Vec<ShapeRecord>, keep: u32) -> Result<(), StoreError>;

    /// Up to `limit` measurements of runs, most recently used first.
    async fn shapes(&self, limit: u32) -> Result<Vec<ShapeRecord>, StoreError>;

    /// Cancels a queued job, or records the request on a running one. `expires_at` applies to a job cancelled here.
    async fn request_cancel(
        &self,
        id: PromptId,
        at: UnixMillis,
        expires_at: Option<UnixMillis>,
    ) -> Result<CancelOutcome, StoreError>;

    /// Fails every queued job whose deadline is at or before `now`, with `failure`; returns their ids.
    async fn expire_queued(
        &self,
        now: UnixMillis,
        failure: Failure,
        expires_at: Option<UnixMillis>,
    ) -> Result<Vec<PromptId>, StoreError>;

    /// Deletes a job that has ended and keeps a tombstone of its id.
    async fn delete(&self, id: PromptId, at: UnixMillis) -> Result<DeleteOutcome, StoreError>;

    /// Deletes up to `limit` jobs whose retention has ended, and every tombstone set before `tombstones_before`;
    /// returns the ids of the deleted jobs, which keep a tombstone.
    async fn purge(
        &self,
        now: UnixMillis,
        tombstones_before: UnixMillis,
        limit: u32,
    ) -> Result<Vec<PromptId>, StoreError>;

    /// Caps the remaining retention: ended jobs expire `retention` after their end, uploaded files
    /// `retention` after their upload. Earlier expiry times stay. Works in parts: after an error some jobs
    /// may already be changed.
    async fn shorten_retention(&self, retention: Duration) -> Result<(), StoreError>;

    /// Returns some of the space of deleted rows to the disk. `true` means that more can be returned.
    async fn shrink(&self) -> Result<bool, StoreError>;

    /// One job with its result.
    async fn get(&self, id: PromptId) -> Result<JobLookup, StoreError>;

    /// The status of a job; `None` if the store does not have the job.
    async fn status(&self, id: PromptId) -> Result<Option<JobStatus>, StoreError>;

    /// Up to `limit` jobs, newest first, starting after `cursor`; filtered by status and registered workflow.
    /// A reference without a version matches every version.
    async fn list(
        &self,
        status: Option<JobStatus>,
        workflow: Option<&WorkflowRef>,
        cursor: Option<PageCursor>,
        limit: u32,
    ) -> Result<RecordPage, StoreError>;

    /// The media file of a job that is stored under this name.
    async fn media(&self, id: PromptId, stored_as: &str) -> Result<Option<MediaFile>, StoreError>;

    /// The number of jobs per status and the age of the queue.
    async fn stats(&self) -> Result<QueueStats, StoreError>;

    /// The number of queued jobs.
    async fn queued(&self) -> Result<u64, StoreError>;

    /// Succeeds if the store can be read.
    async fn ping(&self) -> Result<(), StoreError>;

    /// Whether the disk has room for new jobs, files, workflows and backends. Other writes do not need it.
    fn has_room(&self) -> bool;
}
