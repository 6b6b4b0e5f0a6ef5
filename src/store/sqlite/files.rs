//! [`InputStore`] on SQLite: its reads, and its writes as messages to the writer task.

use std::collections::HashSet;

use async_trait::async_trait;
use serde_json::value::RawValue;

use super::op::{Op, Reply, unavailable};
use super::{SqliteStore, mismatch, rows};
use crate::domain::failure::Failure;
use crate::domain::id::{FileId, PromptId};
use crate::domain::input::{JobInput, StoredInput};
use crate::domain::time::UnixMillis;
use crate::store::{AwaitingJob, FileRecord, InputStore, StoreError};

impl SqliteStore {
    pub(super) async fn write_changed(&self, op: Op) -> Result<bool, StoreError> {
        match self.write(op).await? {
            Reply::Changed(changed) => Ok(changed),
            other => Err(mismatch(&other)),
        }
    }
}

#[async_trait]
impl InputStore for SqliteStore {
    async fn insert_file(&self, file: FileRecord) -> Result<(), StoreError> {
        self.write(Op::InsertFile(file)).await.map(|_| ())
    }

    async fn file(&self, id: FileId) -> Result<Option<FileRecord>, StoreError> {
        let row = sqlx::query("SELECT * FROM files WHERE file_id = ?1")
            .bind(id.to_string())
            .fetch_optional(&self.readers)
            .await
            .map_err(|error| unavailable(&error))?;
        row.as_ref().map(rows::file).transpose()
    }

    async fn delete_file(&self, id: FileId) -> Result<bool, StoreError> {
        self.write_changed(Op::DeleteFile(id)).await
    }

    async fn awaiting(&self, limit: u32) -> Result<Vec<AwaitingJob>, StoreError> {
        let found = sqlx::query(
            "SELECT jobs.seq, jobs.prompt_id, job_inputs.graph, job_inputs.files
             FROM jobs JOIN job_inputs USING (seq)
             WHERE jobs.state = 'queued' AND jobs.awaits_inputs = 1 ORDER BY jobs.seq LIMIT ?1",
        )
        .bind(limit)
        .fetch_all(&self.readers)
        .await
        .map_err(|error| unavailable(&error))?;
        let one = |row| {
            Ok(AwaitingJob {
                prompt_id: rows::prompt_id(row)?,
                graph: rows::graph(row)?,
                files: rows::files(row)?,
            })
        };
        found.iter().map(one).collect()
    }

    async fn inputs_ready(
        &self,
        id: PromptId,
        graph: Box<RawValue>,
        files: Vec<StoredInput>,
    ) -> Result<bool, StoreError> {
        self.write_changed(Op::InputsReady { id, graph, files }).await
    }

    async fn inputs_failed(
        &self,
        id: PromptId,
        failure: Failure,
        at: UnixMillis,
        expires_at: Option<UnixMillis>,
    ) -> Result<bool, StoreError> {
        self.write_changed(Op::InputsFailed { id, failure: Box::new(failure), at, expires_at }).await
    }

    async fn release_inputs(&self, now: UnixMillis) -> Result<(), StoreError> {
        self.write(Op::ReleaseInputs { now }).await.map(|_| ())
    }

    async fn needed_inputs(&self) -> Result<HashSet<String>, StoreError> {
        let unavailable = |error| unavailable(&error);
        let uploaded: Vec<String> = sqlx::query_scalar("SELECT sha256 FROM files")
            .fetch_all(&self.readers)
            .await
            .map_err(unavailable)?;
        let mut needed: HashSet<String> = uploaded.into_iter().collect();
        let jobs = sqlx::query(
            "SELECT job_inputs.seq, job_inputs.files FROM job_inputs JOIN jobs USING (seq)
             WHERE job_inputs.files IS NOT NULL AND jobs.state IN ('queued', 'running')",
        )
        .fetch_all(&self.readers)
        .await
        .map_err(unavailable)?;
        for row in &jobs {
            needed.extend(rows::files(row)?.into_iter().filter_map(|file| match file {
                JobInput::Stored(file) => Some(file.sha256),
                JobInput::Remote(_) => None,
            }));
        }
        Ok(needed)
    }
}
