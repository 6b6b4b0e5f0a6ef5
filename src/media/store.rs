//! The [`MediaStore`] trait and its values.

use std::ops::Range;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;

use super::unfinished::UnfinishedFile;
use crate::disk::is_full;
use crate::domain::id::PromptId;
use crate::domain::time::UnixMillis;

/// An error of the source of a file's bytes.
pub type SourceError = Box<dyn std::error::Error + Send + Sync>;

/// The bytes of an arriving file.
pub type ByteSource<'a> = BoxStream<'a, Result<Bytes, SourceError>>;

/// The limits on the size of a file, and what is known of its size in advance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SizeBounds {
    /// The most bytes that it may have.
    pub limit: u64,
    /// The bytes that are announced, or that an earlier try needed at least; 0 if unknown.
    pub expected: u64,
}

impl SizeBounds {
    /// A file of up to `limit` bytes and unknown size.
    #[must_use]
    pub const fn up_to(limit: u64) -> Self {
        Self { limit, expected: 0 }
    }

    /// A file of exactly `bytes` bytes.
    #[must_use]
    pub const fn exactly(bytes: u64) -> Self {
        Self { limit: bytes, expected: bytes }
    }
}

/// The properties of a stored file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredFile {
    /// Its length in bytes.
    pub bytes: u64,
    /// The lowercase hexadecimal SHA-256 of its bytes.
    pub sha256: String,
    /// Its media type, by its first bytes, or else by its name.
    pub content_type: String,
    /// The matching file extension without the dot; empty if unknown.
    pub extension: String,
}

/// A file that has arrived completely and is not stored yet. Dropping it deletes it.
#[derive(Debug)]
pub struct IncomingFile {
    /// Its properties.
    pub stored: StoredFile,
    /// The temporary file.
    pub(super) file: UnfinishedFile,
}

/// Why a file could not be stored or read. Nothing of it is kept.
#[derive(Debug, thiserror::Error)]
pub enum MediaError {
    /// The source failed.
    #[error("the file broke off: {0}")]
    Source(SourceError),
    /// The file exceeds its limit.
    #[error("the file has more than {limit} bytes")]
    TooLarge {
        /// The limit in bytes.
        limit: u64,
    },
    /// The disk has no room for the file, or only its reserve is left.
    #[error("the disk of the media files is full: {needed} more bytes do not fit")]
    DiskFull {
        /// The bytes of the file that must fit at least.
        needed: u64,
    },
    /// The store itself failed, for example because of permissions or a broken disk.
    #[error("the media store failed: {0}")]
    Storage(std::io::Error),
}

impl From<std::io::Error> for MediaError {
    fn from(error: std::io::Error) -> Self {
        if is_full(&error) { Self::DiskFull { needed: 0 } } else { Self::Storage(error) }
    }
}

/// Stores output files by prompt id and safe name, and input files by the SHA-256 of their bytes.
#[async_trait]
pub trait MediaStore: Send + Sync + std::fmt::Debug {
    /// Stores a complete file durably, and replaces one of the same name. An incomplete file is never
    /// visible.
    async fn put(
        &self,
        id: PromptId,
        name: &str,
        source: ByteSource<'_>,
        extent: SizeBounds,
    ) -> Result<StoredFile, MediaError>;

    /// Receives a file of up to `limit` bytes, to be stored once its bytes are known. `name` helps to detect
    /// its type.
    async fn receive(
        &self,
        name: &str,
        source: ByteSource<'_>,
        limit: u64,
    ) -> Result<IncomingFile, MediaError>;

    /// Stores a received file durably as an input under its SHA-256. Equal bytes are stored once. `at`
    /// becomes its last use.
    async fn keep_input(&self, incoming: IncomingFile, at: UnixMillis) -> Result<StoredFile, MediaError>;

    /// Stores a job's output file with that SHA-256 as an input, too. Returns `false` if there is no such
    /// file.
    async fn keep_output_as_input(
        &self,
        id: PromptId,
        name: &str,
        sha256: &str,
        at: UnixMillis,
    ) -> Result<bool, MediaError>;

    /// Sets an input's last use to `at`. Returns `false` if there is no such input.
    async fn renew_input(&self, sha256: &str, at: UnixMillis) -> Result<bool, MediaError>;

    /// Reads `range` of an input; `None` if there is no such input.
    async fn read_input(
        &self,
        sha256: &str,
        range: Range<u64>,
    ) -> Result<Option<ByteSource<'static>>, MediaError>;

    /// The SHA-256 of every input last used before `cutoff`.
    async fn inputs_before(&self, cutoff: UnixMillis) -> Result<Vec<String>, MediaError>;

    /// Removes an input, unless it was used since `cutoff`. Returns whether it was removed.
    async fn remove_input(&self, sha256: &str, cutoff: UnixMillis) -> Result<bool, MediaError>;

    /// Reads `range` of an output file; `None` if there is no such file.
    async fn read(
        &self,
        id: PromptId,
        name: &str,
        range: Range<u64>,
    ) -> Result<Option<ByteSource<'static>>, MediaError>;

    /// Whether the disk has room for `bytes` more besides its reserve.
    fn has_room_for(&self, bytes: u64) -> bool;

    /// Removes all files of a job. A job without files is no error.
    async fn remove(&self, id: PromptId) -> Result<(), MediaError>;

    /// All jobs that have files, in any order.
    async fn jobs(&self) -> Result<Vec<PromptId>, MediaError>;
}
