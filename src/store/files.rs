//! Files on their way in: those that were uploaded for later, and those that queued jobs wait for.
//! It must not know where the bytes lie.

use std::collections::HashSet;

use async_trait::async_trait;
use serde_json::value::RawValue;

use super::StoreError;
use crate::domain::failure::Failure;
use crate::domain::id::{FileId, PromptId};
use crate::domain::input::{JobInput, StoredInput};
use crate::domain::time::UnixMillis;

/// A file that was uploaded for later.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileRecord {
    /// Its id: whoever knows it may use the file.
    pub id: FileId,
    /// The lowercase hexadecimal SHA-256 of its bytes.
    pub sha256: String,
    /// Its length in bytes.
    pub bytes: u64,
    /// The caller's name for it, safe to show and to save under.
    pub filename: String,
    /// Its media type, told by its content.
    pub content_type: String,
    /// The extension that goes with it, without the dot; empty if none is known.
    pub extension: String,
    /// When it came.
    pub created_at: UnixMillis,
    /// When it may be forgotten; never, if `None`.
    pub expires_at: Option<UnixMillis>,
}

/// A queued job that waits for its files.
#[derive(Debug)]
pub struct AwaitingJob {
    /// The job.
    pub prompt_id: PromptId,
    /// Its graph, with placeholders for the files that are still to be fetched.
    pub graph: Box<RawValue>,
    /// All its files.
    pub files: Vec<JobInput>,
}

/// Files for jobs, durable. Promises as those of [`super::JobStore`].
#[async_trait]
pub trait InputStore: Send + Sync + std::fmt::Debug {
    /// Remembers an uploaded file.
    async fn insert_file(&self, file: FileRecord) -> Result<(), StoreError>;

    /// An uploaded file.
    async fn file(&self, id: FileId) -> Result<Option<FileRecord>, StoreError>;

    /// Forgets an uploaded file; whether it was known. Jobs that took it keep its bytes.
    async fn delete_file(&self, id: FileId) -> Result<bool, StoreError>;

    /// Up to `limit` queued jobs that wait for files, the oldest first.
    async fn awaiting(&self, limit: u32) -> Result<Vec<AwaitingJob>, StoreError>;

    /// A job has all its files: it may be claimed. `graph` is the one for ComfyUI, with every name in place.
    /// Whether the job still waited for them.
    async fn inputs_ready(
        &self,
        id: PromptId,
        graph: Box<RawValue>,
        files: Vec<StoredInput>,
    ) -> Result<bool, StoreError>;

    /// Fails a queued job that waits for files. Whether it still did.
    async fn inputs_failed(
        &self,
        id: PromptId,
        failure: Failure,
        at: UnixMillis,
        expires_at: Option<UnixMillis>,
    ) -> Result<bool, StoreError>;

    /// Forgets uploaded files whose time has come, and the files of jobs that have ended.
    async fn release_inputs(&self, now: UnixMillis) -> Result<(), StoreError>;

    /// The SHA-256 of every file that an uploaded file or a job that has not ended still needs.
    async fn needed_inputs(&self) -> Result<HashSet<String>, StoreError>;
}
