//! Forgetting: deletion on request, retention, and the memory of ids that are gone.

use std::time::Duration;

use sqlx::SqliteConnection;

use super::op::{Reply, WriteError};
use super::rows;
use crate::domain::id::PromptId;
use crate::domain::time::UnixMillis;
use crate::store::DeleteOutcome;

pub(super) async fn delete(
    connection: &mut SqliteConnection,
    id: PromptId,
    at: UnixMillis,
) -> Result<DeleteOutcome, WriteError> {
    let id = id.to_string();
    let deleted = sqlx::query(
        "DELETE FROM jobs WHERE prompt_id = ?1 AND state IN ('completed', 'failed', 'cancelled')",
    )
    .bind(&id)
    .execute(&mut *connection)
    .await?;
    if deleted.rows_affected() > 0 {
        bury(connection, &id, at).await?;
        return Ok(DeleteOutcome::Deleted);
    }
    let known =
        sqlx::query("SELECT 1 FROM jobs WHERE prompt_id = ?1").bind(&id).fetch_optional(connection).await?;
    Ok(if known.is_some() { DeleteOutcome::Unfinished } else { DeleteOutcome::NotFound })
}

pub(super) async fn purge(
    connection: &mut SqliteConnection,
    now: UnixMillis,
    tombstones_before: UnixMillis,
    limit: u32,
) -> Result<Vec<PromptId>, WriteError> {
    let purged = sqlx::query(
        "DELETE FROM jobs WHERE seq IN (SELECT seq FROM jobs WHERE expires_at <= ?1 ORDER BY expires_at LIMIT ?2)
         RETURNING seq, prompt_id",
    )
    .bind(now.as_millis())
    .bind(limit)
    .fetch_all(&mut *connection)
    .await?;
    let ids: Vec<PromptId> = purged.iter().map(rows::prompt_id).collect::<Result<_, _>>()?;
    for id in &ids {
        bury(connection, &id.to_string(), now).await?;
    }
    sqlx::query("DELETE FROM tombstones WHERE gone_at < ?1")
        .bind(tombstones_before.as_millis())
        .execute(connection)
        .await?;
    Ok(ids)
}

/// Lets the jobs of a part of the table, and all uploaded files, expire no later than `retention` after their end.
pub(super) async fn shorten_retention(
    connection: &mut SqliteConnection,
    retention: Duration,
    after: i64,
    up_to: i64,
) -> Result<Reply, WriteError> {
    let retention = i64::try_from(retention.as_millis()).unwrap_or(i64::MAX);
    sqlx::query(
        "UPDATE jobs SET expires_at = finished_at + ?1 WHERE seq > ?2 AND seq <= ?3 AND finished_at IS NOT NULL
         AND (expires_at IS NULL OR expires_at > finished_at + ?1)",
    )
    .bind(retention)
    .bind(after)
    .bind(up_to)
    .execute(&mut *connection)
    .await?;
    sqlx::query(
        "UPDATE files SET expires_at = created_at + ?1 WHERE expires_at IS NULL OR expires_at > created_at + ?1",
    )
    .bind(retention)
    .execute(connection)
    .await?;
    Ok(Reply::Done)
}

async fn bury(connection: &mut SqliteConnection, id: &str, at: UnixMillis) -> Result<(), sqlx::Error> {
    sqlx::query("INSERT INTO tombstones (prompt_id, gone_at) VALUES (?1, ?2) ON CONFLICT DO NOTHING")
        .bind(id.to_owned())
        .bind(at.as_millis())
        .execute(connection)
        .await?;
    Ok(())
}
