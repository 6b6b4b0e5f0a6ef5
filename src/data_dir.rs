//! The directory a gateway keeps its data in, and the lock that makes it the only one there.

use std::fs::{File, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};

/// A data directory that is in use by this process.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    /// The lock lasts as long as the file is open; the operating system ends it with the process.
    _lock: File,
}

/// Why a data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// Another process uses it.
    #[error("the data directory {path} is in use by another comfy-gateway (process {holder}); stop that one, or give this one another data_dir", path = path.display())]
    InUse {
        /// The directory.
        path: PathBuf,
        /// The other process's id, as it wrote it down.
        holder: String,
    },
    /// It cannot be made or written to.
    #[error("the data directory {path} cannot be used: {error}", path = path.display())]
    Io {
        /// The directory.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
}

impl DataDir {
    /// Makes the directory if need be and takes it for this process alone.
    ///
    /// # Errors
    /// [`DataDirError::InUse`] when another process has it.
    pub fn open(path: &Path) -> Result<Self, DataDirError> {
        let io = |error| DataDirError::Io { path: path.to_owned(), error };
        std::fs::create_dir_all(path).map_err(io)?;
        let mut options = File::options();
        let options = options.read(true).write(true).create(true).truncate(false);
        let mut lock = options.open(path.join("gateway.lock")).map_err(io)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                lock.read_to_string(&mut holder).map_err(io)?;
                return Err(DataDirError::InUse { path: path.to_owned(), holder: holder.trim().to_owned() });
            }
            Err(TryLockError::Error(error)) => return Err(io(error)),
        }
        lock.set_len(0)
            .and_then(|()| lock.rewind())
            .and_then(|()| writeln!(lock, "{}", std::process::id()))
            .map_err(io)?;
        Ok(Self { path: path.to_owned(), _lock: lock })
    }

    /// The database's file.
    #[must_use]
    pub fn database(&self) -> PathBuf {
        self.path.join("gateway.db")
    }

    /// The folder of the media store.
    #[must_use]
    pub fn media(&self) -> PathBuf {
        self.path.join("media")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_made_and_belongs_to_one_at_a_time() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("a/b");
        let first = DataDir::open(&path).unwrap();
        let refused = DataDir::open(&path).unwrap_err().to_string();
        assert!(refused.contains(&format!("process {}", std::process::id())), "{refused}");
        drop(first);
        DataDir::open(&path).unwrap();
    }

    #[test]
    fn a_file_in_the_way_is_told() {
        let parent = tempfile::tempdir().unwrap();
        std::fs::write(parent.path().join("data"), "").unwrap();
        assert!(matches!(DataDir::open(&parent.path().join("data")), Err(DataDirError::Io { .. })));
    }
}
