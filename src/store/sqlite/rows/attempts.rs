//! Rows of the table `attempts`.

use sqlx::FromRow;

use super::decode::{ColumnError, InColumn, TableRow};
use crate::domain::id::BackendName;
use crate::domain::time::UnixMillis;
use crate::store::records::AttemptRecord;

#[derive(FromRow)]
pub(in crate::store::sqlite) struct AttemptRow<'r> {
    number: u32,
    backend: &'r str,
    started_at: i64,
    ended_at: Option<i64>,
    outcome: Option<String>,
    reason: Option<String>,
}

impl TableRow for AttemptRow<'_> {
    const TABLE: &'static str = "attempts";
    const KEY: &'static [&'static str] = &["seq", "number"];
}

impl TryFrom<AttemptRow<'_>> for AttemptRecord {
    type Error = ColumnError;

    fn try_from(row: AttemptRow<'_>) -> Result<Self, ColumnError> {
        Ok(Self {
            number: row.number,
            backend: BackendName::parse(row.backend).in_column("backend")?,
            started_at: UnixMillis::from_millis(row.started_at),
            ended_at: row.ended_at.map(UnixMillis::from_millis),
            outcome: row.outcome,
            reason: row.reason,
        })
    }
}
