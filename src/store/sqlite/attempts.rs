//! Writes of a lease owner about running jobs. A write on one job is guarded by its fence.

use sqlx::{Row, SqliteConnection};

use super::outputs::insert_outputs;
use super::queue::fail_damaged;
use super::rows::{ClaimedRow, claimed_columns, decode, to_json};
use super::write::{StoreWrite, WriteError, WriteTransaction};
use crate::domain::id::LeaseOwner;
use crate::domain::job::{Fence, JobEnding, JobFinish, Lease};
use crate::domain::time::UnixMillis;
use crate::store::claims::{AdoptScope, ClaimedJob, Requeue};
use crate::store::error::StoreError;

const ADOPT: &str = concat!(
    "UPDATE jobs SET lease_owner = ?1, lease_until = ?2
     WHERE state = 'running' AND lease_owner <> ?1 AND lease_until <= ?3
     RETURNING ",
    claimed_columns!()
);

/// Takes over running jobs of other owners.
pub(super) struct AdoptJobs {
    pub which: AdoptScope,
    pub lease: Lease,
    pub now: UnixMillis,
}

impl StoreWrite for AdoptJobs {
    type Reply = Vec<ClaimedJob>;

    async fn apply(&self, transaction: &mut WriteTransaction<'_>) -> Result<Vec<ClaimedJob>, WriteError> {
        let latest_end = match self.which {
            AdoptScope::All => i64::MAX,
            AdoptScope::ExpiredAt(now) => now.as_millis(),
        };
        let adopted = sqlx::query(ADOPT)
            .bind(self.lease.owner.to_string())
            .bind(self.lease.until.as_millis())
            .bind(latest_end)
            .fetch_all(&mut *transaction.connection)
            .await?;
        let mut jobs = Vec::with_capacity(adopted.len());
        for row in &adopted {
            match decode::<ClaimedRow, ClaimedJob>(row) {
                Ok(job) => jobs.push(job),
                Err(error) => {
                    fail_damaged(transaction.connection, row.try_get("seq")?, &error, self.now).await?;
                }
            }
        }
        Ok(jobs)
    }
}

/// Sets the end of all leases of one owner.
pub(super) struct RenewLeases {
    pub owner: LeaseOwner,
    pub until: UnixMillis,
}

impl StoreWrite for RenewLeases {
    type Reply = ();

    async fn apply(&self, transaction: &mut WriteTransaction<'_>) -> Result<(), WriteError> {
        sqlx::query("UPDATE jobs SET lease_until = ?2 WHERE state = 'running' AND lease_owner = ?1")
            .bind(self.owner.to_string())
            .bind(self.until.as_millis())
            .execute(&mut *transaction.connection)
            .await?;
        Ok(())
    }
}

/// Ends a running job and stores its results.
pub(super) struct FinishJob {
    pub fence: Fence,
    pub finish: JobFinish,
}

impl StoreWrite for FinishJob {
    type Reply = ();

    async fn apply(&self, transaction: &mut WriteTransaction<'_>) -> Result<(), WriteError> {
        let (fence, finish) = (self.fence, &self.finish);
        let (msg, failure) = match &finish.ending {
            JobEnding::Completed { msg } => (msg.clone(), None),
            JobEnding::Failed(failure) => (Some(failure.summary().to_owned()), Some(to_json(failure))),
            JobEnding::Cancelled => (Some("cancelled while running".to_owned()), None),
        };
        let row = sqlx::query(
            "UPDATE jobs SET state = ?4, finished_at = ?5, expires_at = ?6, msg = ?7, failure = ?8,
                 queued_ms = ?9, preparing_ms = ?10, executing_ms = ?11, collecting_ms = ?12,
                 lease_owner = NULL, lease_until = NULL
             WHERE prompt_id = ?1 AND state = 'running' AND attempt = ?2 AND lease_owner = ?3
               AND (?4 <> 'cancelled' OR cancel_requested = 1)
             RETURNING seq",
        )
        .bind(fence.prompt_id.to_string())
        .bind(fence.attempt)
        .bind(fence.owner.to_string())
        .bind(finish.ending.status().as_str())
        .bind(finish.finished_at.as_millis())
        .bind(finish.expires_at.map(UnixMillis::as_millis))
        .bind(msg)
        .bind(failure)
        .bind(finish.timings.queued_ms)
        .bind(finish.timings.preparing_ms)
        .bind(finish.timings.executing_ms)
        .bind(finish.timings.collecting_ms)
        .fetch_optional(&mut *transaction.connection)
        .await?;
        let Some(row) = row else { return Err(StoreError::LeaseLost.into()) };
        let seq: i64 = row.try_get("seq")?;
        let (outcome, reason) = match &finish.ending {
            JobEnding::Failed(failure) => (failure.code.as_str(), Some(failure.summary())),
            other => (other.status().as_str(), None),
        };
        let end = OutcomeColumns { outcome, reason, at: finish.finished_at };
        end_attempt(transaction.connection, seq, fence, end).await?;
        insert_outputs(transaction.connection, seq, finish).await?;
        Ok(())
    }
}

/// Returns a running job to the queue.
pub(super) struct RequeueJob {
    pub fence: Fence,
    pub requeue: Requeue,
}

impl StoreWrite for RequeueJob {
    type Reply = ();

    async fn apply(&self, transaction: &mut WriteTransaction<'_>) -> Result<(), WriteError> {
        let (fence, requeue) = (self.fence, &self.requeue);
        let cause = requeue.cause;
        let row = sqlx::query(
            "UPDATE jobs SET state = 'queued', rev = ?9, failures = failures + ?4,
                 downed = CASE ?10 WHEN 1 THEN json_insert(coalesce(downed, '[]'), '$[#]', backend) ELSE downed END,
                 fresh = max(fresh, ?11), refusals = refusals + ?12, not_before = ?5, queue_deadline = ?6, msg = ?7,
                 lease_owner = NULL, lease_until = NULL,
                 not_on = CASE ?8 WHEN 1 THEN json_insert(coalesce(not_on, '[]'), '$[#]', backend) ELSE not_on END
             WHERE prompt_id = ?1 AND state = 'running' AND attempt = ?2 AND lease_owner = ?3
               AND cancel_requested = 0
             RETURNING seq",
        )
        .bind(fence.prompt_id.to_string())
        .bind(fence.attempt)
        .bind(fence.owner.to_string())
        .bind(i64::from(cause.counts()))
        .bind(requeue.not_before.as_millis())
        .bind(requeue.deadline.map(UnixMillis::as_millis))
        .bind(requeue.reason.clone())
        .bind(i64::from(cause.is_exclusion()))
        .bind(transaction.rev)
        .bind(i64::from(cause.is_crash()))
        .bind(i64::from(cause.is_stale_cache()))
        .bind(i64::from(cause.is_refusal()))
        .fetch_optional(&mut *transaction.connection)
        .await?;
        let Some(row) = row else { return Err(StoreError::LeaseLost.into()) };
        let end = OutcomeColumns { outcome: cause.outcome(), reason: Some(&requeue.reason), at: requeue.at };
        end_attempt(transaction.connection, row.try_get("seq")?, fence, end).await?;
        Ok(())
    }
}

/// The columns of `attempts` that are set when an attempt ends.
struct OutcomeColumns<'a> {
    outcome: &'a str,
    reason: Option<&'a str>,
    at: UnixMillis,
}

async fn end_attempt(
    connection: &mut SqliteConnection,
    seq: i64,
    fence: Fence,
    end: OutcomeColumns<'_>,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "UPDATE attempts SET ended_at = ?3, outcome = ?4, reason = ?5 WHERE seq = ?1 AND number = ?2",
    )
    .bind(seq)
    .bind(fence.attempt)
    .bind(end.at.as_millis())
    .bind(end.outcome.to_owned())
    .bind(end.reason.map(str::to_owned))
    .execute(connection)
    .await?;
    Ok(())
}
