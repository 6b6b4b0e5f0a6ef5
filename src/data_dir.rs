//! The data directory of a gateway: its lock against a second gateway, and the paths of the database and the media
//! files.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

/// A gateway holds the lock of this file while it uses the directory. The file contains its process id.
const LOCK: &str = "gateway.lock";
/// The file name of the database.
const DATABASE: &str = "gateway.db";

/// A locked data directory. The lock lasts until this value is dropped or the process ends, even by a crash.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    /// Holds the lock, which the operating system releases when the file is closed.
    _lock: File,
}

/// The reasons why a data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// Another process holds the lock.
    #[error(
        "the data directory {} is in use by another comfy-gateway{}; stop that one, or give this one a `data_dir` of its own",
        path.display(),
        pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default()
    )]
    InUse {
        /// The path of the directory.
        path: PathBuf,
        /// The process id in the lock file, if it is readable.
        pid: Option<u32>,
    },
    /// The directory cannot be created, read or written.
    #[error("the data directory {} cannot be used: {reason}", path.display())]
    Unusable {
        /// The path of the directory.
        path: PathBuf,
        /// The error of the operating system.
        reason: io::Error,
    },
}

impl DataDir {
    /// Locks the directory at `path`, and creates it with its parents if it is missing.
    ///
    /// # Errors
    /// [`DataDirError::InUse`] if another gateway holds the lock, [`DataDirError::Unusable`] if the directory cannot be
    /// created or written.
    pub fn open(path: &Path) -> Result<Self, DataDirError> {
        let unusable = |reason| DataDirError::Unusable { path: path.to_owned(), reason };
        std::fs::create_dir_all(path).map_err(unusable)?;
        let mut lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path.join(LOCK))
            .map_err(unusable)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(DataDirError::InUse { path: path.to_owned(), pid: noted_pid(&mut lock) });
            }
            Err(TryLockError::Error(reason)) => return Err(unusable(reason)),
        }
        note_pid(&mut lock).map_err(unusable)?;
        Ok(Self { path: path.to_owned(), _lock: lock })
    }

    /// Tests whether a gateway could use or create the directory at `path`. It leaves the directory unchanged and does
    /// not take the lock, because a gateway may be running on it.
    ///
    /// # Errors
    /// [`DataDirError::Unusable`] if it is not a directory, or cannot be created or written.
    pub fn probe(path: &Path) -> Result<(), DataDirError> {
        let unusable = |reason| DataDirError::Unusable { path: path.to_owned(), reason };
        // The parent of a relative path such as `data` is the empty path: the working directory.
        let or_here =
            |path: &Path| if path.as_os_str().is_empty() { PathBuf::from(".") } else { path.to_owned() };
        let nearest = path.ancestors().map(or_here).find(|path| path.symlink_metadata().is_ok());
        let nearest = nearest.ok_or_else(|| unusable(io::ErrorKind::NotFound.into()))?;
        let trial = nearest.join(format!(".comfy-gateway-check-{}", std::process::id()));
        OpenOptions::new().write(true).create_new(true).open(&trial).map_err(unusable)?;
        std::fs::remove_file(&trial).map_err(unusable)?;
        for file in [LOCK, DATABASE] {
            match OpenOptions::new().read(true).write(true).open(path.join(file)) {
                Err(reason) if reason.kind() != io::ErrorKind::NotFound => return Err(unusable(reason)),
                _ => {}
            }
        }
        Ok(())
    }

    /// The path of the directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The path of the database file.
    #[must_use]
    pub fn database(&self) -> PathBuf {
        self.path.join(DATABASE)
    }

    /// The path of the folder of media files, which the media store creates.
    #[must_use]
    pub fn media(&self) -> PathBuf {
        self.path.join("media")
    }
}

fn note_pid(lock: &mut File) -> io::Result<()> {
    lock.set_len(0)?;
    writeln!(lock, "{}", std::process::id())
}

fn noted_pid(lock: &mut File) -> Option<u32> {
    let mut text = String::new();
    lock.take(32).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_created_with_its_parents() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b");
        let opened = DataDir::open(&path).unwrap();
        assert!(opened.path().is_dir());
        assert_eq!(opened.database(), path.join("gateway.db"));
        assert_eq!(opened.media(), path.join("media"));
    }

    #[test]
    fn a_second_gateway_is_rejected_with_the_pid_of_the_first_until_that_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let first = DataDir::open(dir.path()).unwrap();
        let refused = DataDir::open(dir.path()).unwrap_err().to_string();
        let pid = std::process::id();
        assert!(refused.contains(&format!("is in use by another comfy-gateway (pid {pid})")), "{refused}");
        assert!(refused.contains(&dir.path().display().to_string()), "{refused}");
        drop(first);
        DataDir::open(dir.path()).unwrap();
    }

    #[test]
    fn a_probe_says_whether_it_is_usable_and_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let fresh = dir.path().join("a/b");
        DataDir::probe(&fresh).unwrap();
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        let opened = DataDir::open(&fresh).unwrap();
        DataDir::probe(&fresh).unwrap();
        assert!(DataDir::open(&fresh).is_err(), "the lock is held as before");
        drop(opened);
        let file = dir.path().join("file");
        std::fs::write(&file, "").unwrap();
        for bad in [file.clone(), file.join("below")] {
            let refused = DataDir::probe(&bad).unwrap_err().to_string();
            assert!(refused.contains("cannot be used"), "{refused}");
        }
        std::fs::create_dir(fresh.join(DATABASE)).unwrap();
        DataDir::probe(&fresh).unwrap_err();
    }

    #[test]
    fn a_path_that_is_not_a_directory_is_rejected_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        std::fs::write(&path, "").unwrap();
        let refused = DataDir::open(&path).unwrap_err().to_string();
        assert!(refused.contains("cannot be used") && refused.contains("file"), "{refused}");
    }
}
