//! The queue's own writes: handing jobs to free slots, cancelling and expiring those that wait.

use std::time::Duration;

use sqlx::{Row, SqliteConnection};

use super::op::{Reply, WriteError};
use super::rows;
use crate::domain::failure::{Failure, FailureCode};
use crate::domain::id::PromptId;
use crate::domain::retry::FARTHEST_WAIT;
use crate::domain::time::UnixMillis;
use crate::store::{CancelOutcome, ClaimedJob, JobClaim, StoreError};

const CLAIM: &str = "UPDATE jobs SET state = 'running', attempt = attempt + 1, queue_deadline = NULL,
    attempt_id = CASE attempt WHEN 0 THEN prompt_id ELSE ?1 END,
    backend = ?2, lease_owner = ?3, lease_until = ?4, started_at = ?5
    WHERE prompt_id = ?6 AND state = 'queued' AND (not_before <= ?5 OR not_before > ?7) AND awaits_inputs = 0
    RETURNING *, (SELECT graph FROM job_inputs WHERE job_inputs.seq = jobs.seq) AS graph,
        (SELECT files FROM job_inputs WHERE job_inputs.seq = jobs.seq) AS files";

const RECORD_ATTEMPT: &str =
    "INSERT INTO attempts (seq, number, attempt_id, backend, started_at) VALUES (?1, ?2, ?3, ?4, ?5)";

pub(super) async fn claim(
    connection: &mut SqliteConnection,
    claims: &[JobClaim],
    now: UnixMillis,
) -> Result<Vec<ClaimedJob>, WriteError> {
    let mut claimed = Vec::with_capacity(claims.len());
    for claim in claims {
        let row = sqlx::query(CLAIM)
            .bind(claim.attempt_id.to_string())
            .bind(claim.backend.as_str().to_owned())
            .bind(claim.lease.owner.to_string())
            .bind(claim.lease.until.as_millis())
            .bind(now.as_millis())
            .bind(claim.prompt_id.to_string())
            .bind(now.plus(FARTHEST_WAIT).as_millis())
            .fetch_optional(&mut *connection)
            .await?;
        let Some(row) = row else { continue };
        let seq: i64 = row.try_get("seq")?;
        match rows::claimed(&row) {
            Ok(job) => {
                record_attempt(connection, seq, &job).await?;
                claimed.push(job);
            }
            Err(error) => condemn(connection, seq, &error, now).await?,
        }
    }
    Ok(claimed)
}

async fn record_attempt(
    connection: &mut SqliteConnection,
    seq: i64,
    job: &ClaimedJob,
) -> Result<(), sqlx::Error> {
    sqlx::query(RECORD_ATTEMPT)
        .bind(seq)
        .bind(job.attempt.number)
        .bind(job.attempt.id.to_string())
        .bind(job.attempt.backend.as_str().to_owned())
        .bind(job.attempt.started_at.as_millis())
        .execute(connection)
        .await?;
    Ok(())
}

/// How long a job is kept that failed because its row is damaged.
const CONDEMNED: Duration = Duration::from_hours(7 * 24);

/// Fails a job whose row cannot be read: it would come back to every claim for ever.
pub(super) async fn condemn(
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
    .bind(now.plus(CONDEMNED).as_millis())
    .bind(rows::to_json(&failure))
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

pub(super) async fn request_cancel(
    connection: &mut SqliteConnection,
    id: PromptId,
    at: UnixMillis,
    expires_at: Option<UnixMillis>,
) -> Result<CancelOutcome, WriteError> {
    let id = id.to_string();
    let cancelled = sqlx::query(
        "UPDATE jobs SET state = 'cancelled', finished_at = ?2, expires_at = ?3, queue_deadline = NULL, msg = 'cancelled while queued'
         WHERE prompt_id = ?1 AND state = 'queued'",
    )
    .bind(&id)
    .bind(at.as_millis())
    .bind(expires_at.map(UnixMillis::as_millis))
    .execute(&mut *connection)
    .await?;
    if cancelled.rows_affected() > 0 {
        return Ok(CancelOutcome::Cancelled);
    }
    let requested =
        sqlx::query("UPDATE jobs SET cancel_requested = 1 WHERE prompt_id = ?1 AND state = 'running'")
            .bind(&id)
            .execute(&mut *connection)
            .await?;
    if requested.rows_affected() > 0 {
        return Ok(CancelOutcome::Requested);
    }
    let known =
        sqlx::query("SELECT 1 FROM jobs WHERE prompt_id = ?1").bind(&id).fetch_optional(connection).await?;
    Ok(if known.is_some() { CancelOutcome::AlreadyTerminal } else { CancelOutcome::NotFound })
}

pub(super) async fn clear_not_on(connection: &mut SqliteConnection) -> Result<Reply, WriteError> {
    sqlx::query("UPDATE jobs SET not_on = NULL WHERE state = 'queued' AND not_on IS NOT NULL")
        .execute(connection)
        .await?;
    Ok(Reply::Done)
}

pub(super) async fn expire(
    connection: &mut SqliteConnection,
    now: UnixMillis,
    failure: &Failure,
    expires_at: Option<UnixMillis>,
) -> Result<Vec<PromptId>, WriteError> {
    let expired = sqlx::query(
        "UPDATE jobs SET state = 'failed', finished_at = ?1, expires_at = ?2, failure = ?3, msg = ?4, queue_deadline = NULL
         WHERE state = 'queued' AND queue_deadline <= ?1 RETURNING seq, prompt_id",
    )
    .bind(now.as_millis())
    .bind(expires_at.map(UnixMillis::as_millis))
    .bind(rows::to_json(failure))
    .bind(failure.message.clone())
    .fetch_all(connection)
    .await?;
    Ok(expired.iter().map(rows::prompt_id).collect::<Result<_, _>>()?)
}
