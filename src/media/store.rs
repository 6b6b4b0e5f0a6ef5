//! The [`MediaStore`] trait and its values.

use std::ops::Range;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;

use super::unfinished::UnfinishedFile;
use crate::disk::is_full;
use crate::domain::id::PromptId;
use crate::domain::time::UnixMillis;

/// Whatever stopped the source of a file.
pub type SourceError = Box<dyn std::error::Error + Send + Sync>;

/// The bytes of a file on their way in.
pub type ByteSource<'a> = BoxStream<'a, Result<Bytes, SourceError>>;

/// How large a file may be, and what is known of its size before it comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SizeBounds {
    /// The most bytes it may have.
    pub limit: u64,
    /// The bytes that are announced, or that an earlier try needed at least; 0 if nothing is known.
    pub expected: u64,
}

impl SizeBounds {
    /// A file of up to `limit` bytes of which nothing else is known.
    #[must_use]
    pub const fn up_to(limit: u64) -> Self {
        Self { limit, expected: 0 }
    }

    /// A file that is here already and has `bytes` bytes.
    #[must_use]
    pub const fn exactly(bytes: u64) -> Self {
        Self { limit: bytes, expected: bytes }
    }
}

/// What a stored file turned out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredFile {
    /// Its length in bytes.
    pub bytes: u64,
    /// The lowercase hexadecimal SHA-256 of its bytes.
    pub sha256: String,
    /// Its media type, told by its first bytes, else by its name.
    pub content_type: String,
    /// The extension that goes with it, without the dot; empty if none is known.
    pub extension: String,
}

/// A file that has come whole and is not kept yet. Dropped, it is gone.
#[derive(Debug)]
pub struct IncomingFile {
    /// What it turned out to be.
    pub stored: StoredFile,
    /// Where it lies meanwhile.
    pub(super) file: UnfinishedFile,
}

/// Why a file is not stored or not read.
#[derive(Debug, thiserror::Error)]
pub enum MediaError {
    /// The bytes stopped coming; nothing was kept.
    #[error("the file broke off: {0}")]
    Source(SourceError),
    /// There was more than there may be; nothing was kept.
    #[error("the file has more than {limit} bytes")]
    TooLarge {
        /// The most that there may be.
        limit: u64,
    },
    /// The disk has no room for the file, or only its reserve is left; nothing was kept.
    #[error("the disk of the media files is full: {needed} more bytes do not fit")]
    DiskFull {
        /// What of the file must fit at least, in bytes.
        needed: u64,
    },
    /// The store itself failed (permissions, a broken disk); nothing was kept.
    #[error("the media store failed: {0}")]
    Storage(std::io::Error),
}

impl From<std::io::Error> for MediaError {
    fn from(error: std::io::Error) -> Self {
        if is_full(&error) { Self::DiskFull { needed: 0 } } else { Self::Storage(error) }
    }
}

/// Files of jobs, by prompt id and safe name, and inputs for jobs, by the SHA-256 of their bytes.
#[async_trait]
pub trait MediaStore: Send + Sync + std::fmt::Debug {
    /// Stores a file as a whole, durably, replacing one of the same name. It is not there before it is complete.
    async fn put(
        &self,
        id: PromptId,
        name: &str,
        source: ByteSource<'_>,
        extent: SizeBounds,
    ) -> Result<StoredFile, MediaError>;

    /// Receives a file of up to `limit` bytes that is kept, or not, when its bytes are known. `name` helps to tell its
    /// type.
    async fn receive(
        &self,
        name: &str,
        source: ByteSource<'_>,
        limit: u64,
    ) -> Result<IncomingFile, MediaError>;

    /// Keeps a received file as an input, durably, under its SHA-256; the same bytes are kept once. `at` makes it young.
    async fn keep_input(&self, incoming: IncomingFile, at: UnixMillis) -> Result<StoredFile, MediaError>;

    /// Keeps a job's stored file of that SHA-256 as an input, too; `false` if there is no such file.
    async fn keep_output_as_input(
        &self,
        id: PromptId,
        name: &str,
        sha256: &str,
        at: UnixMillis,
    ) -> Result<bool, MediaError>;

    /// Makes an input young again; `false` if there is no such input.
    async fn renew_input(&self, sha256: &str, at: UnixMillis) -> Result<bool, MediaError>;

    /// The bytes of `range` of an input; `None` if there is no such input.
    async fn read_input(
        &self,
        sha256: &str,
        range: Range<u64>,
    ) -> Result<Option<ByteSource<'static>>, MediaError>;

    /// The SHA-256 of every input that was kept before `cutoff` and not again since.
    async fn inputs_before(&self, cutoff: UnixMillis) -> Result<Vec<String>, MediaError>;

    /// Removes an input unless it was kept again since `cutoff`; whether it was removed.
    async fn remove_input(&self, sha256: &str, cutoff: UnixMillis) -> Result<bool, MediaError>;

    /// The bytes of `range` of a file; `None` if there is no such file.
    async fn read(
        &self,
        id: PromptId,
        name: &str,
        range: Range<u64>,
    ) -> Result<Option<ByteSource<'static>>, MediaError>;

    /// Whether the disk has room for a file of `bytes` bytes besides its reserve.
    fn has_room_for(&self, bytes: u64) -> bool;

    /// Forgets all files of a job. A job without files is no error.
    async fn remove(&self, id: PromptId) -> Result<(), MediaError>;

    /// Every job that has files, in any order.
    async fn jobs(&self) -> Result<Vec<PromptId>, MediaError>;
}
