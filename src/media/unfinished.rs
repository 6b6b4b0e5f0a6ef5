//! A file that is being written, and is removed unless it is completed.

use std::io::ErrorKind;
use std::path::PathBuf;

/// Removes a file when its writing fails or is abandoned.
#[derive(Debug)]
pub(super) struct UnfinishedFile(pub Option<PathBuf>);

impl UnfinishedFile {
    /// The path of the file.
    pub fn path(&self) -> PathBuf {
        self.0.clone().unwrap_or_default()
    }
}

impl Drop for UnfinishedFile {
    fn drop(&mut self) {
        if let Some(path) = self.0.take()
            && let Err(error) = std::fs::remove_file(&path)
            && error.kind() != ErrorKind::NotFound
        {
            tracing::warn!(path = %path.display(), %error, "an unfinished media file stays behind until the next start");
        }
    }
}
