//! Typed result rows, by table, and their conversion into domain values.
//!
//! # To add a row type
//! Derive `sqlx::FromRow` on a struct with one field per selected column. Implement `TableRow` with the table's key,
//! and `TryFrom` for the domain type, which reports each invalid value as a `ColumnError`. Queries that use the row
//! select its columns by name, its key included, and pass their results to [`decode()`].

mod attempts;
mod backends;
mod claims;
mod decode;
mod inputs;
mod jobs;
mod media;
mod shapes;
mod workflows;

pub(super) use attempts::AttemptRow;
pub(super) use backends::{BackendModeRow, BackendRow};
pub(super) use claims::{ClaimedRow, WaitingRow, claimed_columns, waiting_columns};
pub(super) use decode::{decode, decode_all, to_json};
pub(super) use inputs::{AwaitingRow, FileRow, InputFilesRow};
pub(super) use jobs::{JobRow, PromptIdRow, StatusCountRow, StatusRow, job_columns};
pub(super) use media::{JobFile, MediaRow};
pub(super) use shapes::ShapeRow;
pub(super) use workflows::{SummaryRow, VersionRow, WorkflowRow};
