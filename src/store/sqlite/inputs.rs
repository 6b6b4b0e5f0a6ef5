//! Writes about files on their way in: those uploaded for later, and those that queued jobs wait for.

use serde_json::value::RawValue;
use sqlx::{Row, SqliteConnection};

use super::op::{Reply, WriteError};
use super::rows;
use crate::domain::failure::Failure;
use crate::domain::id::{FileId, PromptId};
use crate::domain::input::{JobInput, StoredInput};
use crate::domain::time::UnixMillis;
use crate::store::FileRecord;

pub(super) async fn insert_file(
    connection: &mut SqliteConnection,
    file: &FileRecord,
) -> Result<Reply, WriteError> {
    sqlx::query(
        "INSERT INTO files (file_id, sha256, bytes, filename, content_type, created_at, expires_at, extension)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    )
    .bind(file.id.to_string())
    .bind(file.sha256.clone())
    .bind(i64::try_from(file.bytes).unwrap_or(i64::MAX))
    .bind(file.filename.clone())
    .bind(file.content_type.clone())
    .bind(file.created_at.as_millis())
    .bind(file.expires_at.map(UnixMillis::as_millis))
    .bind(file.extension.clone())
    .execute(connection)
    .await?;
    Ok(Reply::Done)
}

pub(super) async fn delete_file(connection: &mut SqliteConnection, id: FileId) -> Result<Reply, WriteError> {
    let deleted =
        sqlx::query("DELETE FROM files WHERE file_id = ?1").bind(id.to_string()).execute(connection).await?;
    Ok(Reply::Changed(deleted.rows_affected() > 0))
}

pub(super) async fn ready(
    connection: &mut SqliteConnection,
    id: PromptId,
    graph: &RawValue,
    files: &[StoredInput],
    rev: i64,
) -> Result<Reply, WriteError> {
    let row = sqlx::query(
        "UPDATE jobs SET awaits_inputs = 0, rev = ?2 WHERE prompt_id = ?1 AND state = 'queued' AND awaits_inputs = 1 RETURNING seq",
    )
    .bind(id.to_string())
    .bind(rev)
    .fetch_optional(&mut *connection)
    .await?;
    let Some(row) = row else { return Ok(Reply::Changed(false)) };
    let files: Vec<JobInput> = files.iter().cloned().map(JobInput::Stored).collect();
    sqlx::query("UPDATE job_inputs SET graph = ?2, files = ?3 WHERE seq = ?1")
        .bind(row.try_get::<i64, _>("seq")?)
        .bind(graph.get().to_owned())
        .bind(rows::to_json(&files))
        .execute(connection)
        .await?;
    Ok(Reply::Changed(true))
}

pub(super) async fn failed(
    connection: &mut SqliteConnection,
    id: PromptId,
    failure: &Failure,
    at: UnixMillis,
    expires_at: Option<UnixMillis>,
) -> Result<Reply, WriteError> {
    let failed = sqlx::query(
        "UPDATE jobs SET state = 'failed', finished_at = ?2, expires_at = ?3, failure = ?4, msg = ?5, queue_deadline = NULL
         WHERE prompt_id = ?1 AND state = 'queued' AND awaits_inputs = 1",
    )
    .bind(id.to_string())
    .bind(at.as_millis())
    .bind(expires_at.map(UnixMillis::as_millis))
    .bind(rows::to_json(failure))
    .bind(failure.summary().to_owned())
    .execute(connection)
    .await?;
    Ok(Reply::Changed(failed.rows_affected() > 0))
}

pub(super) async fn release(connection: &mut SqliteConnection, now: UnixMillis) -> Result<Reply, WriteError> {
    sqlx::query("DELETE FROM files WHERE expires_at <= ?1")
        .bind(now.as_millis())
        .execute(&mut *connection)
        .await?;
    // Where a URL carried a signature, this forgets it, too.
    sqlx::query(
        "UPDATE job_inputs SET files = NULL WHERE files IS NOT NULL
         AND seq IN (SELECT seq FROM jobs WHERE state NOT IN ('queued', 'running'))",
    )
    .execute(connection)
    .await?;
    Ok(Reply::Done)
}
