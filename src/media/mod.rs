//! Where the files of finished jobs lie: the [`MediaStore`] trait and its implementation on a file system.
//! It must not know of ComfyUI or of the database; names it is given are safe already (`domain::media`).

pub mod content_type;
pub mod fs;

use std::ops::Range;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;

use crate::domain::id::PromptId;

pub use fs::FsMediaStore;

/// Whatever stopped the source of a file.
pub type SourceError = Box<dyn std::error::Error + Send + Sync>;

/// The bytes of a file on their way in.
pub type Source<'a> = BoxStream<'a, Result<Bytes, SourceError>>;

/// What a stored file turned out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Its length in bytes.
    pub bytes: u64,
    /// The lowercase hexadecimal SHA-256 of its bytes.
    pub sha256: String,
    /// Its media type, told by its first bytes, else by its name.
    pub content_type: String,
}

/// Why a file is not stored or not read.
#[derive(Debug, thiserror::Error)]
pub enum MediaError {
    /// The bytes stopped coming; nothing was kept.
    #[error("the file broke off: {0}")]
    Source(SourceError),
    /// The store itself failed (disk full, permissions); nothing was kept.
    #[error("the media store failed: {0}")]
    Storage(#[from] std::io::Error),
}

/// Files of jobs, by prompt id and safe name.
#[async_trait]
pub trait MediaStore: Send + Sync + std::fmt::Debug {
    /// Stores a file as a whole, durably, replacing one of the same name. It is not there before it is complete.
    async fn put(&self, id: PromptId, name: &str, source: Source<'_>) -> Result<Stored, MediaError>;

    /// The bytes of `range` of a file; `None` if there is no such file.
    async fn read(
        &self,
        id: PromptId,
        name: &str,
        range: Range<u64>,
    ) -> Result<Option<Source<'static>>, MediaError>;

    /// Forgets all files of a job. A job without files is no error.
    async fn remove(&self, id: PromptId) -> Result<(), MediaError>;

    /// Every job that has files, in any order.
    async fn jobs(&self) -> Result<Vec<PromptId>, MediaError>;
}
