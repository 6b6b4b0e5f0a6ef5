//! Rows of the table `workflows`.

use sqlx::FromRow;

use super::decode::{ColumnError, InColumn, TableRow};
use crate::domain::registered::WorkflowName;
use crate::domain::time::UnixMillis;
use crate::store::workflows::{NewWorkflow, WorkflowRecord, WorkflowSummary};

const TABLE: &str = "workflows";
const KEY: &[&str] = &["name", "version"];

/// A version with its graph.
#[derive(FromRow)]
pub(in crate::store::sqlite) struct WorkflowRow<'r> {
    name: &'r str,
    version: u32,
    title: Option<String>,
    description: Option<String>,
    graph: String,
    source: Option<String>,
    from_folder: bool,
    created_at: i64,
}

impl TableRow for WorkflowRow<'_> {
    const TABLE: &'static str = TABLE;
    const KEY: &'static [&'static str] = KEY;
}

impl TryFrom<WorkflowRow<'_>> for WorkflowRecord {
    type Error = ColumnError;

    fn try_from(row: WorkflowRow<'_>) -> Result<Self, ColumnError> {
        Ok(Self {
            version: row.version,
            workflow: NewWorkflow {
                name: WorkflowName::parse(row.name).in_column("name")?,
                title: row.title,
                description: row.description,
                graph: row.graph,
                source: row.source,
                from_folder: row.from_folder,
                created_at: UnixMillis::from_millis(row.created_at),
            },
        })
    }
}

/// A version without its graph.
#[derive(FromRow)]
pub(in crate::store::sqlite) struct SummaryRow<'r> {
    name: &'r str,
    version: u32,
    title: Option<String>,
    description: Option<String>,
    from_folder: bool,
    created_at: i64,
}

impl TableRow for SummaryRow<'_> {
    const TABLE: &'static str = TABLE;
    const KEY: &'static [&'static str] = KEY;
}

impl TryFrom<SummaryRow<'_>> for WorkflowSummary {
    type Error = ColumnError;

    fn try_from(row: SummaryRow<'_>) -> Result<Self, ColumnError> {
        Ok(Self {
            name: WorkflowName::parse(row.name).in_column("name")?,
            version: row.version,
            title: row.title,
            description: row.description,
            from_folder: row.from_folder,
            created_at: UnixMillis::from_millis(row.created_at),
        })
    }
}

/// A version's number and age.
#[derive(FromRow)]
pub(in crate::store::sqlite) struct VersionRow {
    version: u32,
    created_at: i64,
}

impl TableRow for VersionRow {
    const TABLE: &'static str = TABLE;
    const KEY: &'static [&'static str] = KEY;
}

impl TryFrom<VersionRow> for (u32, UnixMillis) {
    type Error = ColumnError;

    fn try_from(row: VersionRow) -> Result<Self, ColumnError> {
        Ok((row.version, UnixMillis::from_millis(row.created_at)))
    }
}
