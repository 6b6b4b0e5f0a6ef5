//! Deletion on request, retention, and tombstones of deleted jobs.

use std::time::Duration;

use sqlx::SqliteConnection;

use super::rows::{PromptIdRow, decode_all};
use super::write::{StoreWrite, WriteError, WriteTransaction};
use crate::domain::id::PromptId;
use crate::domain::time::UnixMillis;
use crate::store::claims::DeleteOutcome;

/// Deletes a job that has ended.
pub(super) struct DeleteJob {
    pub id: PromptId,
    pub at: UnixMillis,
}

impl StoreWrite for DeleteJob {
    type Reply = DeleteOutcome;

    async fn apply(&self, transaction: &mut WriteTransaction<'_>) -> Result<DeleteOutcome, WriteError> {
        let id = self.id.to_string();
        let deleted = sqlx::query(
            "DELETE FROM jobs WHERE prompt_id = ?1 AND state IN ('completed', 'failed', 'cancelled')",
        )
        .bind(&id)
        .execute(&mut *transaction.connection)
        .await?;
        if deleted.rows_affected() > 0 {
            insert_tombstone(transaction.connection, &id, self.at).await?;
            return Ok(DeleteOutcome::Deleted);
        }
        let known = sqlx::query("SELECT 1 FROM jobs WHERE prompt_id = ?1")
            .bind(&id)
            .fetch_optional(&mut *transaction.connection)
            .await?;
        Ok(if known.is_some() { DeleteOutcome::Unfinished } else { DeleteOutcome::NotFound })
    }
}

/// Deletes expired jobs and old tombstones.
pub(super) struct PurgeJobs {
    pub now: UnixMillis,
    pub tombstones_before: UnixMillis,
    pub limit: u32,
}

impl StoreWrite for PurgeJobs {
    type Reply = Vec<PromptId>;

    async fn apply(&self, transaction: &mut WriteTransaction<'_>) -> Result<Vec<PromptId>, WriteError> {
        let purged = sqlx::query(
            "DELETE FROM jobs
             WHERE seq IN (SELECT seq FROM jobs WHERE expires_at <= ?1 ORDER BY expires_at LIMIT ?2)
             RETURNING seq, prompt_id",
        )
        .bind(self.now.as_millis())
        .bind(self.limit)
        .fetch_all(&mut *transaction.connection)
        .await?;
        let ids: Vec<PromptId> = decode_all::<PromptIdRow, _>(&purged)?;
        for id in &ids {
            insert_tombstone(transaction.connection, &id.to_string(), self.now).await?;
        }
        sqlx::query("DELETE FROM tombstones WHERE gone_at < ?1")
            .bind(self.tombstones_before.as_millis())
            .execute(&mut *transaction.connection)
            .await?;
        Ok(ids)
    }
}

/// Caps the retention of all uploaded files, and of the ended jobs with `after < seq <= up_to`.
pub(super) struct ShortenRetention {
    pub retention: Duration,
    pub after: i64,
    pub up_to: i64,
}

impl StoreWrite for ShortenRetention {
    type Reply = ();

    async fn apply(&self, transaction: &mut WriteTransaction<'_>) -> Result<(), WriteError> {
        let retention = i64::try_from(self.retention.as_millis()).unwrap_or(i64::MAX);
        sqlx::query(
            "UPDATE jobs SET expires_at = finished_at + ?1
             WHERE seq > ?2 AND seq <= ?3 AND finished_at IS NOT NULL
               AND (expires_at IS NULL OR expires_at > finished_at + ?1)",
        )
        .bind(retention)
        .bind(self.after)
        .bind(self.up_to)
        .execute(&mut *transaction.connection)
        .await?;
        sqlx::query(
            "UPDATE files SET expires_at = created_at + ?1
             WHERE expires_at IS NULL OR expires_at > created_at + ?1",
        )
        .bind(retention)
        .execute(&mut *transaction.connection)
        .await?;
        Ok(())
    }
}

async fn insert_tombstone(
    connection: &mut SqliteConnection,
    id: &str,
    at: UnixMillis,
) -> Result<(), sqlx::Error> {
    sqlx::query("INSERT INTO tombstones (prompt_id, gone_at) VALUES (?1, ?2) ON CONFLICT DO NOTHING")
        .bind(id.to_owned())
        .bind(at.as_millis())
        .execute(connection)
        .await?;
    Ok(())
}
