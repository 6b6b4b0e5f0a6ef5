//! Writes of what runs took, by the shape of their workflow.

use sqlx::SqliteConnection;

use super::op::{Reply, WriteError};
use crate::store::ShapeRecord;

pub(super) async fn learn(
    connection: &mut SqliteConnection,
    shapes: &[ShapeRecord],
    keep: u32,
) -> Result<Reply, WriteError> {
    for shape in shapes {
        sqlx::query(
            "INSERT INTO shapes (shape, warm_ms, cold_ms, oom_vram, used_at) VALUES (?1, ?2, ?3, ?4, ?5)
             ON CONFLICT (shape) DO UPDATE SET warm_ms = ?2, cold_ms = ?3, oom_vram = ?4, used_at = ?5",
        )
        .bind(shape.shape.clone())
        .bind(shape.warm_ms)
        .bind(shape.cold_ms)
        .bind(shape.oom_vram)
        .bind(shape.used_at.as_millis())
        .execute(&mut *connection)
        .await?;
    }
    sqlx::query(
        "DELETE FROM shapes WHERE shape IN (SELECT shape FROM shapes ORDER BY used_at DESC LIMIT -1 OFFSET ?1)",
    )
    .bind(keep)
    .execute(connection)
    .await?;
    Ok(Reply::Done)
}
