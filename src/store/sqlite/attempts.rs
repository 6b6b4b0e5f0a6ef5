//! Writes by whoever watches a running job: every one is guarded by its fence.

use sqlx::{QueryBuilder, Row, Sqlite, SqliteConnection};

use super::op::{Reply, WriteError};
use super::{queue, rows};
use crate::domain::id::LeaseOwner;
use crate::domain::job::{Ending, Fence, Finish, Lease};
use crate::domain::media::MediaFile;
use crate::domain::time::UnixMillis;
use crate::store::{AdoptScope, ClaimedJob, Requeue, StoreError};

pub(super) async fn adopt(
    connection: &mut SqliteConnection,
    which: AdoptScope,
    lease: Lease,
    now: UnixMillis,
) -> Result<Vec<ClaimedJob>, WriteError> {
    let expired_at = match which {
        AdoptScope::All => i64::MAX,
        AdoptScope::ExpiredAt(now) => now.as_millis(),
    };
    let adopted = sqlx::query(
        "UPDATE jobs SET lease_owner = ?1, lease_until = ?2
         WHERE state = 'running' AND lease_owner <> ?1 AND lease_until <= ?3
         RETURNING *, (SELECT graph FROM job_inputs WHERE job_inputs.seq = jobs.seq) AS graph,
             (SELECT files FROM job_inputs WHERE job_inputs.seq = jobs.seq) AS files",
    )
    .bind(lease.owner.to_string())
    .bind(lease.until.as_millis())
    .bind(expired_at)
    .fetch_all(&mut *connection)
    .await?;
    let mut jobs = Vec::with_capacity(adopted.len());
    for row in &adopted {
        match rows::claimed(row) {
            Ok(job) => jobs.push(job),
            Err(error) => queue::condemn(connection, row.try_get("seq")?, &error, now).await?,
        }
    }
    Ok(jobs)
}

pub(super) async fn renew(
    connection: &mut SqliteConnection,
    owner: LeaseOwner,
    until: UnixMillis,
) -> Result<Reply, WriteError> {
    sqlx::query("UPDATE jobs SET lease_until = ?2 WHERE state = 'running' AND lease_owner = ?1")
        .bind(owner.to_string())
        .bind(until.as_millis())
        .execute(connection)
        .await?;
    Ok(Reply::Done)
}

pub(super) async fn finish(
    connection: &mut SqliteConnection,
    fence: Fence,
    finish: &Finish,
) -> Result<Reply, WriteError> {
    let (msg, failure) = match &finish.ending {
        Ending::Completed { msg } => (msg.clone(), None),
        Ending::Failed(failure) => (Some(failure.summary().to_owned()), Some(rows::to_json(failure))),
        Ending::Cancelled => (Some("cancelled while running".to_owned()), None),
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
    .fetch_optional(&mut *connection)
    .await?;
    let Some(row) = row else { return Err(StoreError::LeaseLost.into()) };
    let seq: i64 = row.try_get("seq")?;
    let (outcome, reason) = match &finish.ending {
        Ending::Failed(failure) => (failure.code.as_str(), Some(failure.summary())),
        other => (other.status().as_str(), None),
    };
    let end = AttemptEnd { outcome, reason, at: finish.finished_at };
    end_attempt(connection, seq, fence, end).await?;
    keep_outputs(connection, seq, finish).await?;
    Ok(Reply::Done)
}

/// What became of an attempt.
struct AttemptEnd<'a> {
    outcome: &'a str,
    reason: Option<&'a str>,
    at: UnixMillis,
}

async fn end_attempt(
    connection: &mut SqliteConnection,
    seq: i64,
    fence: Fence,
    end: AttemptEnd<'_>,
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

async fn keep_outputs(
    connection: &mut SqliteConnection,
    seq: i64,
    finish: &Finish,
) -> Result<(), WriteError> {
    if finish.outputs.is_some() || !finish.texts.is_empty() || !finish.dropped_outputs.is_empty() {
        sqlx::query("INSERT INTO job_outputs (seq, outputs, texts, dropped_outputs) VALUES (?1, ?2, ?3, ?4)")
            .bind(seq)
            .bind(finish.outputs.as_ref().map(|json| json.get().to_owned()))
            .bind((!finish.texts.is_empty()).then(|| rows::to_json(&finish.texts)))
            .bind((!finish.dropped_outputs.is_empty()).then(|| rows::to_json(&finish.dropped_outputs)))
            .execute(&mut *connection)
            .await?;
    }
    // SQLite takes 32,766 values a statement; a job may have made thousands of frames.
    let files: Vec<(&MediaFile, bool)> = finish
        .media
        .iter()
        .map(|file| (file, false))
        .chain(finish.outputs_file.iter().map(|file| (file, true)))
        .collect();
    for (chunk, files) in files.chunks(1_000).enumerate() {
        let first = i64::try_from(chunk * 1_000).unwrap_or(i64::MAX);
        let mut rows = QueryBuilder::<Sqlite>::new(
            "INSERT INTO media (seq, position, var, node_id, kind, stored_as, filename, content_type, bytes, sha256, is_outputs) ",
        );
        rows.push_values((first..).zip(files), |mut row, (position, (file, is_outputs))| {
            row.push_bind(seq)
                .push_bind(position)
                .push_bind(file.var.clone())
                .push_bind(file.node_id.clone())
                .push_bind(file.kind.as_str())
                .push_bind(file.stored_as.clone())
                .push_bind(file.filename.clone())
                .push_bind(file.content_type.clone())
                .push_bind(i64::try_from(file.bytes).unwrap_or(i64::MAX))
                .push_bind(file.sha256.clone())
                .push_bind(i64::from(*is_outputs));
        });
        rows.build().execute(&mut *connection).await?;
    }
    Ok(())
}

pub(super) async fn requeue(
    connection: &mut SqliteConnection,
    fence: Fence,
    requeue: &Requeue,
    rev: i64,
) -> Result<Reply, WriteError> {
    let row = sqlx::query(
        "UPDATE jobs SET state = 'queued', rev = ?9, failures = failures + ?4, downed = CASE ?10 WHEN 1 THEN json_insert(coalesce(downed, '[]'), '$[#]', backend) ELSE downed END, fresh = max(fresh, ?11), refusals = refusals + ?12, not_before = ?5, queue_deadline = ?6, msg = ?7,
             lease_owner = NULL, lease_until = NULL,
             not_on = CASE WHEN ?8 IS NULL THEN not_on ELSE json_insert(coalesce(not_on, '[]'), '$[#]', ?8) END
         WHERE prompt_id = ?1 AND state = 'running' AND attempt = ?2 AND lease_owner = ?3 AND cancel_requested = 0
         RETURNING seq",
    )
    .bind(fence.prompt_id.to_string())
    .bind(fence.attempt)
    .bind(fence.owner.to_string())
    .bind(i64::from(requeue.counts))
    .bind(requeue.not_before.as_millis())
    .bind(requeue.deadline.map(UnixMillis::as_millis))
    .bind(requeue.reason.clone())
    .bind(requeue.not_on.as_ref().map(|name| name.as_str().to_owned()))
    .bind(rev)
    .bind(i64::from(requeue.downed))
    .bind(i64::from(requeue.fresh))
    .bind(i64::from(requeue.refused))
    .fetch_optional(&mut *connection)
    .await?;
    let Some(row) = row else { return Err(StoreError::LeaseLost.into()) };
    let end = AttemptEnd { outcome: requeue.outcome, reason: Some(&requeue.reason), at: requeue.at };
    end_attempt(connection, row.try_get("seq")?, fence, end).await?;
    Ok(Reply::Done)
}
