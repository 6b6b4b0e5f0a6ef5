//! Writes on the queue: claiming, cancelling and expiring jobs.

use std::time::Duration;

use sqlx::{Row, SqliteConnection};

use super::rows::{ClaimedRow, PromptIdRow, claimed_columns, decode, decode_all, to_json};
use super::write::{StoreWrite, WriteError, WriteTransaction};
use crate::domain::failure::{Failure, FailureCode};
use crate::domain::id::PromptId;
use crate::domain::retry::FARTHEST_WAIT;
use crate::domain::time::UnixMillis;
use crate::store::claims::{CancelOutcome, ClaimedJob, JobClaim};
use crate::store::error::StoreError;

/// The condition on `not_before` is [`is_due`](crate::domain::retry::is_due) in SQL: a moment too far ahead
/// was set by a clock that has since been corrected.
const CLAIM: &str = concat!(
    "UPDATE jobs SET state = 'running', attempt = attempt + 1, queue_deadline = NULL,
         attempt_id = CASE attempt WHEN 0 THEN prompt_id ELSE ?1 END,
         backend = ?2, lease_owner = ?3, lease_until = ?4, started_at = ?5
     WHERE prompt_id = ?6 AND state = 'queued' AND (not_before <= ?5 OR not_before > ?7) AND awaits_inputs = 0
     RETURNING ",
    claimed_columns!()
);

const INSERT_ATTEMPT: &str =
    "INSERT INTO attempts (seq, number, attempt_id, backend, started_at) VALUES (?1, ?2, ?3, ?4, ?5)";

/// Starts an attempt for each claim whose job can run.
pub(super) struct ClaimJobs {
    pub claims: Vec<JobClaim>,
    pub now: UnixMillis,
}

impl StoreWrite for ClaimJobs {
    type Reply = Vec<ClaimedJob>;

    async fn apply(&self, transaction: &mut WriteTransaction<'_>) -> Result<Vec<ClaimedJob>, WriteError> {
        let connection = &mut *transaction.connection;
        let mut claimed = Vec::with_capacity(self.claims.len());
        for claim in &self.claims {
            let row = sqlx::query(CLAIM)
                .bind(claim.attempt_id.to_string())
                .bind(claim.backend.as_str().to_owned())
                .bind(claim.lease.owner.to_string())
                .bind(claim.lease.until.as_millis())
                .bind(self.now.as_millis())
                .bind(claim.prompt_id.to_string())
                .bind(self.now.plus(FARTHEST_WAIT).as_millis())
                .fetch_optional(&mut *connection)
                .await?;
            let Some(row) = row else { continue };
            let seq: i64 = row.try_get("seq")?;
            match decode::<ClaimedRow, ClaimedJob>(&row) {
                Ok(job) => {
                    insert_attempt(connection, seq, &job).await?;
                    claimed.push(job);
                }
                Err(error) => fail_damaged(connection, seq, &error, self.now).await?,
            }
        }
        Ok(claimed)
    }
}

async fn insert_attempt(
    connection: &mut SqliteConnection,
    seq: i64,
    job: &ClaimedJob,
) -> Result<(), sqlx::Error> {
    sqlx::query(INSERT_ATTEMPT)
        .bind(seq)
        .bind(job.attempt.number)
        .bind(job.attempt.id.to_string())
        .bind(job.attempt.backend.as_str().to_owned())
        .bind(job.attempt.started_at.as_millis())
        .execute(connection)
        .await?;
    Ok(())
}

/// How long a job that failed because of damaged data is kept.
const DAMAGED_RETENTION: Duration = Duration::from_hours(7 * 24);

/// Fails a job whose stored data is damaged; otherwise every later claim or adoption would hit the same error.
pub(super) async fn fail_damaged(
    connection: &mut SqliteConnection,
    seq: i64,
    error: &StoreError,
    now: UnixMillis,
) -> Result<(), sqlx::Error> {
    tracing::error!(seq, %error, "a job's row cannot be read; the job fails");
    let failure =
        Failure::new(FailureCode::Internal, "the gateway's record of this job is damaged; submit it again");
    sqlx::query(
        "UPDATE jobs SET state = 'failed', finished_at = ?2, expires_at = ?3, failure = ?4, msg = ?5,
             lease_owner = NULL, lease_until = NULL
         WHERE seq = ?1",
    )
    .bind(seq)
    .bind(now.as_millis())
    .bind(now.plus(DAMAGED_RETENTION).as_millis())
    .bind(to_json(&failure))
    .bind(failure.message)
    .execute(&mut *connection)
    .await?;
    sqlx::query("UPDATE attempts SET ended_at = ?2, outcome = ?3 WHERE seq = ?1 AND ended_at IS NULL")
        .bind(seq)
        .bind(now.as_millis())
        .bind(failure.code.as_str())
        .execute(connection)
        .await?;
    Ok(())
}

/// Cancels a queued job, or records the request on a running one.
pub(super) struct RequestCancel {
    pub id: PromptId,
    pub at: UnixMillis,
    pub expires_at: Option<UnixMillis>,
}

impl StoreWrite for RequestCancel {
    type Reply = CancelOutcome;

    async fn apply(&self, transaction: &mut WriteTransaction<'_>) -> Result<CancelOutcome, WriteError> {
        let id = self.id.to_string();
        let cancelled = sqlx::query(
            "UPDATE jobs SET state = 'cancelled', finished_at = ?2, expires_at = ?3, queue_deadline = NULL,
                 msg = 'cancelled while queued'
             WHERE prompt_id = ?1 AND state = 'queued'",
        )
        .bind(&id)
        .bind(self.at.as_millis())
        .bind(self.expires_at.map(UnixMillis::as_millis))
        .execute(&mut *transaction.connection)
        .await?;
        if cancelled.rows_affected() > 0 {
            return Ok(CancelOutcome::Cancelled);
        }
        let requested =
            sqlx::query("UPDATE jobs SET cancel_requested = 1 WHERE prompt_id = ?1 AND state = 'running'")
                .bind(&id)
                .execute(&mut *transaction.connection)
                .await?;
        if requested.rows_affected() > 0 {
            return Ok(CancelOutcome::Requested);
        }
        let known = sqlx::query("SELECT 1 FROM jobs WHERE prompt_id = ?1")
            .bind(&id)
            .fetch_optional(&mut *transaction.connection)
            .await?;
        Ok(if known.is_some() { CancelOutcome::AlreadyTerminal } else { CancelOutcome::NotFound })
    }
}

/// Clears the excluded backends of all queued jobs.
pub(super) struct ClearNotOn;

impl StoreWrite for ClearNotOn {
    type Reply = ();

    async fn apply(&self, transaction: &mut WriteTransaction<'_>) -> Result<(), WriteError> {
        sqlx::query("UPDATE jobs SET not_on = NULL WHERE state = 'queued' AND not_on IS NOT NULL")
            .execute(&mut *transaction.connection)
            .await?;
        Ok(())
    }
}

/// Fails queued jobs whose deadline has passed.
pub(super) struct ExpireQueued {
    pub now: UnixMillis,
    pub failure: Failure,
    pub expires_at: Option<UnixMillis>,
}

impl StoreWrite for ExpireQueued {
    type Reply = Vec<PromptId>;

    async fn apply(&self, transaction: &mut WriteTransaction<'_>) -> Result<Vec<PromptId>, WriteError> {
        let expired = sqlx::query(
            "UPDATE jobs SET state = 'failed', finished_at = ?1, expires_at = ?2, failure = ?3, msg = ?4,
                 queue_deadline = NULL
             WHERE state = 'queued' AND queue_deadline <= ?1 RETURNING seq, prompt_id",
        )
        .bind(self.now.as_millis())
        .bind(self.expires_at.map(UnixMillis::as_millis))
        .bind(to_json(&self.failure))
        .bind(self.failure.message.clone())
        .fetch_all(&mut *transaction.connection)
        .await?;
        Ok(decode_all::<PromptIdRow, _>(&expired)?)
    }
}
