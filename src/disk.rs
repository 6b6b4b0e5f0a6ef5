//! How much room a folder's disk has left, and a part of it that is set aside.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};

use crate::lock::LockExt;

/// The disk of a folder, and how much of it must stay free.
#[derive(Debug, Clone)]
pub struct Disk {
    folder: PathBuf,
    reserve: u64,
}

impl Disk {
    /// The disk that `folder` lies on, of which `reserve` bytes must stay free.
    #[must_use]
    pub fn new(folder: &Path, reserve: u64) -> Self {
        Self { folder: folder.to_owned(), reserve }
    }

    /// Whether `bytes` more leave the reserve untouched. A disk that does not tell counts as having room: the write
    /// itself fails if there is none.
    #[must_use]
    pub fn has_room_for(&self, bytes: u64) -> bool {
        self.free().is_none_or(|free| free >= self.reserve.saturating_add(bytes))
    }

    /// The free bytes that this process may use, where the system tells.
    #[must_use]
    pub fn free(&self) -> Option<u64> {
        #[cfg(unix)]
        {
            let told = rustix::fs::statvfs(&self.folder).ok()?;
            Some(told.f_bavail.saturating_mul(told.f_frsize))
        }
        #[cfg(not(unix))]
        None
    }
}

/// Whether a write failed because the disk, or this process's share of it, is full.
#[must_use]
pub fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
}

/// A file without content that keeps some of a disk occupied, so that giving it up makes room for what must still be
/// written when everything else is full.
#[derive(Debug)]
pub struct Ballast {
    path: PathBuf,
    bytes: u64,
    held: Mutex<bool>,
}

impl Ballast {
    /// A ballast of `bytes` bytes in the file at `path`, which may be left from an earlier process.
    #[must_use]
    pub fn new(path: PathBuf, bytes: u64) -> Self {
        let held = bytes > 0 && std::fs::metadata(&path).is_ok_and(|file| file.len() == bytes);
        Self { path, bytes, held: Mutex::new(held) }
    }

    /// Its size in bytes.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Occupies its room unless it has it. Returns `false` if the disk is too full for that.
    pub fn hold(&self) -> bool {
        let mut held = self.lock();
        if *held || self.bytes == 0 {
            return true;
        }
        match self.occupy() {
            Ok(()) => *held = true,
            Err(error) => {
                // A part of it is of no use, and a file that is not there is no failure.
                let _: io::Result<()> = std::fs::remove_file(&self.path);
                if is_full(&error) {
                    return false;
                }
                tracing::warn!(%error, "no room could be set aside for a full disk");
            }
        }
        true
    }

    /// Gives its room up; whether it had any.
    pub fn release(&self) -> bool {
        let mut held = self.lock();
        let had = std::mem::take(&mut *held);
        if had && let Err(error) = std::fs::remove_file(&self.path) {
            tracing::warn!(%error, "the room that was set aside cannot be given up");
            return false;
        }
        had
    }

    fn lock(&self) -> MutexGuard<'_, bool> {
        self.held.lock_anyway()
    }

    fn occupy(&self) -> io::Result<()> {
        let file = File::create(&self.path)?;
        #[cfg(target_os = "linux")]
        if rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, self.bytes).is_ok() {
            return Ok(());
        }
        // Where room cannot be asked for it is taken.
        io::copy(&mut io::Read::take(io::repeat(0), self.bytes), &mut &file)?;
        file.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_has_room_until_its_reserve_is_reached() {
        let dir = tempfile::tempdir().unwrap();
        assert!(Disk::new(dir.path(), 1).has_room_for(1));
        assert!(!Disk::new(dir.path(), u64::MAX).has_room_for(0));
        assert!(!Disk::new(dir.path(), 1).has_room_for(u64::MAX));
        assert!(Disk::new(&dir.path().join("nowhere"), u64::MAX).has_room_for(0), "it does not tell");
    }

    #[test]
    fn a_ballast_occupies_room_gives_it_up_once_and_is_found_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ballast");
        let ballast = Ballast::new(path.clone(), 1 << 20);
        assert!(!ballast.release());
        assert!(ballast.hold() && ballast.hold());
        assert_eq!(std::fs::metadata(&path).unwrap().len(), 1 << 20);
        assert!(Ballast::new(path.clone(), 1 << 20).release());
        assert!(!path.exists());
        let none = Ballast::new(path.clone(), 0);
        assert!(none.hold() && !none.release() && !path.exists());
    }
}
