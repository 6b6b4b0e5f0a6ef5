//! Rows of the table `shapes`.

use sqlx::FromRow;

use super::decode::{ColumnError, TableRow};
use crate::domain::time::UnixMillis;
use crate::store::records::ShapeRecord;

#[derive(FromRow)]
pub(in crate::store::sqlite) struct ShapeRow {
    shape: String,
    warm_ms: Option<i64>,
    cold_ms: Option<i64>,
    oom_vram: Option<i64>,
    used_at: i64,
}

impl TableRow for ShapeRow {
    const TABLE: &'static str = "shapes";
    const KEY: &'static [&'static str] = &["shape"];
}

impl TryFrom<ShapeRow> for ShapeRecord {
    type Error = ColumnError;

    fn try_from(row: ShapeRow) -> Result<Self, ColumnError> {
        Ok(Self {
            shape: row.shape,
            warm_ms: row.warm_ms,
            cold_ms: row.cold_ms,
            oom_vram: row.oom_vram,
            used_at: UnixMillis::from_millis(row.used_at),
        })
    }
}
