//! [`InputStore`]: uploaded files, and the input files of queued jobs. The store holds their metadata, not
//! their bytes.

use std::collections::HashSet;

use async_trait::async_trait;
use serde_json::value::RawValue;

use super::error::StoreError;
use crate::domain::failure::Failure;
use crate::domain::id::{FileId, PromptId};
use crate::domain::input::{JobInput, StoredInput};
use crate::domain::time::UnixMillis;

/// A file uploaded for use by later jobs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileRecord {
    /// The file's id. It works as a capability: a caller that knows the id may use the file.
    pub id: FileId,
    /// The SHA-256 of the bytes, in lowercase hexadecimal.
    pub sha256: String,
    /// The length in bytes.
    pub bytes: u64,
    /// The caller's name for the file, sanitized for display and for saving.
    pub filename: String,
    /// The media type detected from the content.
    pub content_type: String,
    /// The matching file extension without the dot; empty if none is known.
    pub extension: String,
    /// When the file was uploaded.
    pub created_at: UnixMillis,
    /// When the record may be deleted; `None` means never.
    pub expires_at: Option<UnixMillis>,
}

/// A queued job that cannot be claimed until its input files are fetched.
#[derive(Debug)]
pub struct AwaitingJob {
    /// The job's id.
    pub prompt_id: PromptId,
    /// The graph, with a placeholder for each file that is still to be fetched.
    pub graph: Box<RawValue>,
    /// All input files of the job, fetched or not.
    pub files: Vec<JobInput>,
}

/// Input files, durable. The guarantees of [`JobStore`](super::JobStore) apply.
#[async_trait]
pub trait InputStore: Send + Sync + std::fmt::Debug {
    /// Stores the record of an uploaded file.
    async fn insert_file(&self, file: FileRecord) -> Result<(), StoreError>;

    /// The record of an uploaded file; `None` if the id is unknown.
    async fn file(&self, id: FileId) -> Result<Option<FileRecord>, StoreError>;

    /// Deletes the record of an uploaded file; `false` if the id is unknown. Jobs that use the file keep its bytes.
    async fn delete_file(&self, id: FileId) -> Result<bool, StoreError>;

    /// Up to `limit` queued jobs that await input files, oldest first.
    async fn awaiting(&self, limit: u32) -> Result<Vec<AwaitingJob>, StoreError>;

    /// Stores a job's fetched files and its final graph, after which the job can be claimed. `false` means that the
    /// job no longer awaited files; nothing changed.
    async fn inputs_ready(
        &self,
        id: PromptId,
        graph: Box<RawValue>,
        files: Vec<StoredInput>,
    ) -> Result<bool, StoreError>;

    /// Fails a queued job whose input files cannot be fetched. `false` means that the job no longer awaited files;
    /// nothing changed.
    async fn inputs_failed(
        &self,
        id: PromptId,
        failure: Failure,
        at: UnixMillis,
        expires_at: Option<UnixMillis>,
    ) -> Result<bool, StoreError>;

    /// Deletes expired records of uploaded files, and the file lists of jobs that have ended.
    async fn release_inputs(&self, now: UnixMillis) -> Result<(), StoreError>;

    /// The SHA-256 of every file that an upload or an unfinished job still needs.
    async fn needed_inputs(&self) -> Result<HashSet<String>, StoreError>;
}
