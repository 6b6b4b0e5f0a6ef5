//! [`JobStore`] on SQLite: each method is one write of the writer task or one read.

use std::time::Duration;

use async_trait::async_trait;

use super::attempts::{AdoptJobs, FinishJob, RenewLeases, RequeueJob};
use super::cleanup::{DeleteJob, PurgeJobs, ShortenRetention};
use super::database::SqliteStore;
use super::insert::InsertJob;
use super::queue::{ClaimJobs, ClearNotOn, ExpireQueued, RequestCancel};
use super::reads;
use super::shapes::{StoreShapes, latest_shapes};
use crate::domain::failure::Failure;
use crate::domain::id::{GatewayId, LeaseOwner, PromptId};
use crate::domain::job::{Fence, JobFinish, JobStatus, Lease, NewJob};
use crate::domain::media::MediaFile;
use crate::domain::registered::WorkflowRef;
use crate::domain::time::UnixMillis;
use crate::store::claims::{
    AdoptScope, CancelOutcome, ClaimedJob, DeleteOutcome, JobClaim, QueuePlace, Requeue, WaitingJob,
};
use crate::store::error::StoreError;
use crate::store::jobs::JobStore;
use crate::store::records::{JobLookup, PageCursor, QueueStats, RecordPage, ShapeRecord};

/// The number of `seq` values that one transaction covers when the retention is shortened.
const RETENTION_PART: i64 = 10_000;

#[async_trait]
impl JobStore for SqliteStore {
    fn gateway_id(&self) -> GatewayId {
        self.id()
    }

    async fn insert(&self, job: NewJob) -> Result<(), StoreError> {
        self.write(InsertJob(job)).await
    }

    async fn queued_jobs(
        &self,
        after: Option<QueuePlace>,
        limit: u32,
    ) -> Result<Vec<WaitingJob>, StoreError> {
        reads::queued_jobs(self.readers(), after, limit).await
    }

    async fn claim(&self, claims: Vec<JobClaim>, now: UnixMillis) -> Result<Vec<ClaimedJob>, StoreError> {
        self.write(ClaimJobs { claims, now }).await
    }

    async fn adopt(
        &self,
        which: AdoptScope,
        lease: Lease,
        now: UnixMillis,
    ) -> Result<Vec<ClaimedJob>, StoreError> {
        self.write(AdoptJobs { which, lease, now }).await
    }

    async fn renew(&self, owner: LeaseOwner, until: UnixMillis) -> Result<(), StoreError> {
        self.write(RenewLeases { owner, until }).await
    }

    async fn finish(&self, fence: Fence, finish: JobFinish) -> Result<(), StoreError> {
        self.write(FinishJob { fence, finish }).await
    }

    async fn requeue(&self, fence: Fence, requeue: Requeue) -> Result<(), StoreError> {
        self.write(RequeueJob { fence, requeue }).await
    }

    async fn clear_not_on(&self) -> Result<(), StoreError> {
        self.write(ClearNotOn).await
    }

    async fn learn(&self, shapes: Vec<ShapeRecord>, keep: u32) -> Result<(), StoreError> {
        self.write(StoreShapes { shapes, keep }).await
    }

    async fn shapes(&self, limit: u32) -> Result<Vec<ShapeRecord>, StoreError> {
        latest_shapes(self.readers(), limit).await
    }

    async fn request_cancel(
        &self,
        id: PromptId,
        at: UnixMillis,
        expires_at: Option<UnixMillis>,
    ) -> Result<CancelOutcome, StoreError> {
        self.write(RequestCancel { id, at, expires_at }).await
    }

    async fn expire_queued(
        &self,
        now: UnixMillis,
        failure: Failure,
        expires_at: Option<UnixMillis>,
    ) -> Result<Vec<PromptId>, StoreError> {
        self.write(ExpireQueued { now, failure, expires_at }).await
    }

    async fn delete(&self, id: PromptId, at: UnixMillis) -> Result<DeleteOutcome, StoreError> {
        self.write(DeleteJob { id, at }).await
    }

    async fn purge(
        &self,
        now: UnixMillis,
        tombstones_before: UnixMillis,
        limit: u32,
    ) -> Result<Vec<PromptId>, StoreError> {
        self.write(PurgeJobs { now, tombstones_before, limit }).await
    }

    async fn shorten_retention(&self, retention: Duration) -> Result<(), StoreError> {
        let last = reads::last_seq(self.readers()).await?;
        let mut after = 0;
        while after <= last {
            let up_to = after.saturating_add(RETENTION_PART);
            self.write(ShortenRetention { retention, after, up_to }).await?;
            after = up_to;
        }
        Ok(())
    }

    async fn shrink(&self) -> Result<bool, StoreError> {
        self.return_free_pages().await
    }

    async fn get(&self, id: PromptId) -> Result<JobLookup, StoreError> {
        reads::job(self.readers(), id).await
    }

    async fn status(&self, id: PromptId) -> Result<Option<JobStatus>, StoreError> {
        reads::status(self.readers(), id).await
    }

    async fn list(
        &self,
        status: Option<JobStatus>,
        workflow: Option<&WorkflowRef>,
        cursor: Option<PageCursor>,
        limit: u32,
    ) -> Result<RecordPage, StoreError> {
        reads::list(self.readers(), status, workflow, cursor, limit).await
    }

    async fn media(&self, id: PromptId, stored_as: &str) -> Result<Option<MediaFile>, StoreError> {
        reads::media(self.readers(), id, stored_as).await
    }

    async fn stats(&self) -> Result<QueueStats, StoreError> {
        reads::stats(self.readers()).await
    }

    async fn queued(&self) -> Result<u64, StoreError> {
        reads::queued(self.readers()).await
    }

    async fn ping(&self) -> Result<(), StoreError> {
        reads::ping(self.readers()).await
    }

    fn has_room(&self) -> bool {
        self.allows_growth()
    }
}
