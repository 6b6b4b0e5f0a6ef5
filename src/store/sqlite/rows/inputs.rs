//! Rows of the table `files`, and of the files in `job_inputs`.

use sqlx::FromRow;

use super::decode::{ColumnError, InColumn, TableRow, from_json, raw_json};
use crate::domain::id::{FileId, PromptId};
use crate::domain::input::JobInput;
use crate::domain::time::UnixMillis;
use crate::store::inputs::{AwaitingJob, FileRecord};

#[derive(FromRow)]
pub(in crate::store::sqlite) struct FileRow<'r> {
    file_id: &'r str,
    sha256: String,
    bytes: i64,
    filename: String,
    content_type: String,
    extension: String,
    created_at: i64,
    expires_at: Option<i64>,
}

impl TableRow for FileRow<'_> {
    const TABLE: &'static str = "files";
    const KEY: &'static [&'static str] = &["file_id"];
}

impl TryFrom<FileRow<'_>> for FileRecord {
    type Error = ColumnError;

    fn try_from(row: FileRow<'_>) -> Result<Self, ColumnError> {
        Ok(Self {
            id: FileId::parse(row.file_id).in_column("file_id")?,
            sha256: row.sha256,
            bytes: u64::try_from(row.bytes).in_column("bytes")?,
            filename: row.filename,
            content_type: row.content_type,
            extension: row.extension,
            created_at: UnixMillis::from_millis(row.created_at),
            expires_at: row.expires_at.map(UnixMillis::from_millis),
        })
    }
}

/// A row of `job_inputs` joined with `jobs`, for a job that awaits input files.
#[derive(FromRow)]
pub(in crate::store::sqlite) struct AwaitingRow<'r> {
    prompt_id: &'r str,
    graph: String,
    files: Option<&'r str>,
}

impl TableRow for AwaitingRow<'_> {
    const TABLE: &'static str = "job_inputs";
    const KEY: &'static [&'static str] = &["seq"];
    const JOINED: &'static [(&'static str, &'static str)] = &[("prompt_id", "jobs")];
}

impl TryFrom<AwaitingRow<'_>> for AwaitingJob {
    type Error = ColumnError;

    fn try_from(row: AwaitingRow<'_>) -> Result<Self, ColumnError> {
        Ok(Self {
            prompt_id: PromptId::parse(row.prompt_id).in_column("prompt_id")?,
            graph: raw_json("graph", row.graph)?,
            files: from_json("files", row.files)?,
        })
    }
}

/// The input files of one job, fetched or not.
#[derive(FromRow)]
pub(in crate::store::sqlite) struct InputFilesRow<'r> {
    files: Option<&'r str>,
}

impl TableRow for InputFilesRow<'_> {
    const TABLE: &'static str = "job_inputs";
    const KEY: &'static [&'static str] = &["seq"];
}

impl TryFrom<InputFilesRow<'_>> for Vec<JobInput> {
    type Error = ColumnError;

    fn try_from(row: InputFilesRow<'_>) -> Result<Self, ColumnError> {
        from_json("files", row.files)
    }
}
