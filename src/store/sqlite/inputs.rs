//! [`InputStore`] on SQLite: uploaded files, and the input files of queued jobs.

use std::collections::HashSet;

use async_trait::async_trait;
use serde_json::value::RawValue;
use sqlx::Row;

use super::database::SqliteStore;
use super::rows::{AwaitingRow, FileRow, InputFilesRow, decode, decode_all, to_json};
use super::write::{StoreWrite, WriteError, WriteTransaction};
use crate::domain::failure::Failure;
use crate::domain::id::{FileId, PromptId};
use crate::domain::input::{JobInput, StoredInput};
use crate::domain::time::UnixMillis;
use crate::store::error::StoreError;
use crate::store::inputs::{AwaitingJob, FileRecord, InputStore};

struct InsertFile(FileRecord);

impl StoreWrite for InsertFile {
    type Reply = ();

    fn needs_room(&self) -> bool {
        true
    }

    async fn apply(&self, transaction: &mut WriteTransaction<'_>) -> Result<(), WriteError> {
        let file = &self.0;
        sqlx::query(
            "INSERT INTO files (file_id, sha256, bytes, filename, content_type, created_at, expires_at, extension)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        )
        .bind(file.id.to_string())
        .bind(file.sha256.clone())
        .bind(i64::try_from(file.bytes).unwrap_or(i64::MAX))
        .bind(file.filename.clone())
        .bind(file.content_type.clone())
        .bind(file.created_at.as_millis())
        .bind(file.expires_at.map(UnixMillis::as_millis))
        .bind(file.extension.clone())
        .execute(&mut *transaction.connection)
        .await?;
        Ok(())
    }
}

struct DeleteFile(FileId);

impl StoreWrite for DeleteFile {
    type Reply = bool;

    async fn apply(&self, transaction: &mut WriteTransaction<'_>) -> Result<bool, WriteError> {
        let deleted = sqlx::query("DELETE FROM files WHERE file_id = ?1")
            .bind(self.0.to_string())
            .execute(&mut *transaction.connection)
            .await?;
        Ok(deleted.rows_affected() > 0)
    }
}

/// Makes a job claimable once all its input files are stored.
struct InputsReady {
    id: PromptId,
    graph: Box<RawValue>,
    files: Vec<StoredInput>,
}

impl StoreWrite for InputsReady {
    type Reply = bool;

    async fn apply(&self, transaction: &mut WriteTransaction<'_>) -> Result<bool, WriteError> {
        let row = sqlx::query(
            "UPDATE jobs SET awaits_inputs = 0, rev = ?2
             WHERE prompt_id = ?1 AND state = 'queued' AND awaits_inputs = 1 RETURNING seq",
        )
        .bind(self.id.to_string())
        .bind(transaction.rev)
        .fetch_optional(&mut *transaction.connection)
        .await?;
        let Some(row) = row else { return Ok(false) };
        let files: Vec<JobInput> = self.files.iter().cloned().map(JobInput::Stored).collect();
        sqlx::query("UPDATE job_inputs SET graph = ?2, files = ?3 WHERE seq = ?1")
            .bind(row.try_get::<i64, _>("seq")?)
            .bind(self.graph.get().to_owned())
            .bind(to_json(&files))
            .execute(&mut *transaction.connection)
            .await?;
        Ok(true)
    }
}

/// Fails a job whose input files cannot be fetched.
struct InputsFailed {
    id: PromptId,
    failure: Failure,
    at: UnixMillis,
    expires_at: Option<UnixMillis>,
}

impl StoreWrite for InputsFailed {
    type Reply = bool;

    async fn apply(&self, transaction: &mut WriteTransaction<'_>) -> Result<bool, WriteError> {
        let failed = sqlx::query(
            "UPDATE jobs SET state = 'failed', finished_at = ?2, expires_at = ?3, failure = ?4, msg = ?5,
                 queue_deadline = NULL
             WHERE prompt_id = ?1 AND state = 'queued' AND awaits_inputs = 1",
        )
        .bind(self.id.to_string())
        .bind(self.at.as_millis())
        .bind(self.expires_at.map(UnixMillis::as_millis))
        .bind(to_json(&self.failure))
        .bind(self.failure.summary().to_owned())
        .execute(&mut *transaction.connection)
        .await?;
        Ok(failed.rows_affected() > 0)
    }
}

struct ReleaseInputs {
    now: UnixMillis,
}

impl StoreWrite for ReleaseInputs {
    type Reply = ();

    async fn apply(&self, transaction: &mut WriteTransaction<'_>) -> Result<(), WriteError> {
        sqlx::query("DELETE FROM files WHERE expires_at <= ?1")
            .bind(self.now.as_millis())
            .execute(&mut *transaction.connection)
            .await?;
        // This also removes any signature in the URL of an input.
        sqlx::query(
            "UPDATE job_inputs SET files = NULL WHERE files IS NOT NULL
             AND seq IN (SELECT seq FROM jobs WHERE state NOT IN ('queued', 'running'))",
        )
        .execute(&mut *transaction.connection)
        .await?;
        Ok(())
    }
}

#[async_trait]
impl InputStore for SqliteStore {
    async fn insert_file(&self, file: FileRecord) -> Result<(), StoreError> {
        self.write(InsertFile(file)).await
    }

    async fn file(&self, id: FileId) -> Result<Option<FileRecord>, StoreError> {
        let query = "SELECT file_id, sha256, bytes, filename, content_type, extension, created_at, expires_at
                     FROM files WHERE file_id = ?1";
        let row = sqlx::query(query).bind(id.to_string()).fetch_optional(self.readers()).await?;
        row.as_ref().map(decode::<FileRow, _>).transpose()
    }

    async fn delete_file(&self, id: FileId) -> Result<bool, StoreError> {
        self.write(DeleteFile(id)).await
    }

    async fn awaiting(&self, limit: u32) -> Result<Vec<AwaitingJob>, StoreError> {
        let query = "SELECT jobs.seq, jobs.prompt_id, job_inputs.graph, job_inputs.files
                     FROM jobs JOIN job_inputs USING (seq)
                     WHERE jobs.state = 'queued' AND jobs.awaits_inputs = 1 ORDER BY jobs.seq LIMIT ?1";
        let found = sqlx::query(query).bind(limit).fetch_all(self.readers()).await?;
        decode_all::<AwaitingRow, _>(&found)
    }

    async fn inputs_ready(
        &self,
        id: PromptId,
        graph: Box<RawValue>,
        files: Vec<StoredInput>,
    ) -> Result<bool, StoreError> {
        self.write(InputsReady { id, graph, files }).await
    }

    async fn inputs_failed(
        &self,
        id: PromptId,
        failure: Failure,
        at: UnixMillis,
        expires_at: Option<UnixMillis>,
    ) -> Result<bool, StoreError> {
        self.write(InputsFailed { id, failure, at, expires_at }).await
    }

    async fn release_inputs(&self, now: UnixMillis) -> Result<(), StoreError> {
        self.write(ReleaseInputs { now }).await
    }

    async fn needed_inputs(&self) -> Result<HashSet<String>, StoreError> {
        let uploaded: Vec<String> =
            sqlx::query_scalar("SELECT sha256 FROM files").fetch_all(self.readers()).await?;
        let mut needed: HashSet<String> = uploaded.into_iter().collect();
        let unfinished = sqlx::query(
            "SELECT job_inputs.seq, job_inputs.files FROM job_inputs JOIN jobs USING (seq)
             WHERE job_inputs.files IS NOT NULL AND jobs.state IN ('queued', 'running')",
        )
        .fetch_all(self.readers())
        .await?;
        for row in &unfinished {
            let files: Vec<JobInput> = decode::<InputFilesRow, _>(row)?;
            needed.extend(files.into_iter().filter_map(|file| match file {
                JobInput::Stored(file) => Some(file.sha256),
                JobInput::Remote(_) => None,
            }));
        }
        Ok(needed)
    }
}
