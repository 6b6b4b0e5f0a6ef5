//! Measurements of runs, by the shape of their workflow.

use sqlx::SqlitePool;

use super::rows::{ShapeRow, decode_all};
use super::write::{StoreWrite, WriteError, WriteTransaction};
use crate::store::error::StoreError;
use crate::store::records::ShapeRecord;

/// Stores measurements and drops all but the `keep` most recently used records.
pub(super) struct StoreShapes {
    pub shapes: Vec<ShapeRecord>,
    pub keep: u32,
}

impl StoreWrite for StoreShapes {
    type Reply = ();

    async fn apply(&self, transaction: &mut WriteTransaction<'_>) -> Result<(), WriteError> {
        for shape in &self.shapes {
            sqlx::query(
                "INSERT INTO shapes (shape, warm_ms, cold_ms, oom_vram, used_at) VALUES (?1, ?2, ?3, ?4, ?5)
                 ON CONFLICT (shape) DO UPDATE SET warm_ms = ?2, cold_ms = ?3, oom_vram = ?4, used_at = ?5",
            )
            .bind(shape.shape.clone())
            .bind(shape.warm_ms)
            .bind(shape.cold_ms)
            .bind(shape.oom_vram)
            .bind(shape.used_at.as_millis())
            .execute(&mut *transaction.connection)
            .await?;
        }
        sqlx::query(
            "DELETE FROM shapes
             WHERE shape IN (SELECT shape FROM shapes ORDER BY used_at DESC LIMIT -1 OFFSET ?1)",
        )
        .bind(self.keep)
        .execute(&mut *transaction.connection)
        .await?;
        Ok(())
    }
}

pub(super) async fn latest_shapes(pool: &SqlitePool, limit: u32) -> Result<Vec<ShapeRecord>, StoreError> {
    let query =
        "SELECT shape, warm_ms, cold_ms, oom_vram, used_at FROM shapes ORDER BY used_at DESC LIMIT ?1";
    let found = sqlx::query(query).bind(limit).fetch_all(pool).await?;
    decode_all::<ShapeRow, _>(&found)
}
