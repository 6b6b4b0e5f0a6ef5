//! Uploaded files, which later submissions use as parameter values.

use std::ops::Range;

use super::jobs::ReadError;
use super::state::Service;
use crate::domain::id::FileId;
use crate::domain::media::display_name;
use crate::media::{ByteSource, IncomingFile, MediaError, StoredFile};
use crate::store::{FileRecord, StoreError};

/// Why a file was not stored.
#[derive(Debug, thiserror::Error)]
pub enum KeepError {
    /// The file is incomplete or too large, or the media store failed.
    #[error(transparent)]
    Media(#[from] MediaError),
    /// The store failed; the file was not stored.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Service {
    /// Receives a file that comes with a request. The file is temporary until a job or [`Service::keep_file`] stores it;
    /// dropping it deletes it.
    ///
    /// # Errors
    /// See [`MediaError`]; the file was deleted.
    pub async fn receive(&self, filename: &str, source: ByteSource<'_>) -> Result<IncomingFile, MediaError> {
        self.core.media.receive(filename, source, self.limits.max_file).await
    }

    /// Stores a received file under a new id.
    ///
    /// # Errors
    /// See [`KeepError`].
    pub async fn keep_file(&self, filename: &str, incoming: IncomingFile) -> Result<FileRecord, KeepError> {
        let created_at = self.core.clock.now();
        let StoredFile { bytes, sha256, content_type, extension } =
            self.core.media.keep_input(incoming, created_at).await?;
        let file = FileRecord {
            id: self.core.random.file_id(),
            sha256,
            bytes,
            filename: display_name(filename),
            content_type,
            extension,
            created_at,
            expires_at: self.limits.file_retention.map(|kept| created_at.plus(kept)),
        };
        self.core.store.insert_file(file.clone()).await?;
        Ok(file)
    }

    /// The record of an uploaded file.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub async fn uploaded(&self, id: FileId) -> Result<FileRecord, ReadError> {
        self.core.store.file(id).await?.ok_or(ReadError::Unknown)
    }

    /// The bytes of `range` of an uploaded file.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub async fn uploaded_bytes(
        &self,
        file: &FileRecord,
        range: Range<u64>,
    ) -> Result<ByteSource<'static>, ReadError> {
        self.core.media.read_input(&file.sha256, range).await?.ok_or(ReadError::Unknown)
    }

    /// Deletes an uploaded file. Unfinished jobs that use it keep its bytes until they end.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub async fn delete_file(&self, id: FileId) -> Result<(), ReadError> {
        if self.core.store.delete_file(id).await? { Ok(()) } else { Err(ReadError::Unknown) }
    }
}
