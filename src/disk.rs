//! The free space of a folder's disk, and a part of it that is held in reserve.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};

use crate::lock::LockExt;

/// The disk of a folder, and the bytes of it that must stay free.
#[derive(Debug, Clone)]
pub struct Disk {
    folder: PathBuf,
    reserve: u64,
}

impl Disk {
    /// The disk of `folder`, of which `reserve` bytes must stay free.
    #[must_use]
    pub fn new(folder: &Path, reserve: u64) -> Self {
        Self { folder: folder.to_owned(), reserve }
    }

    /// Whether `bytes` more leave the reserve untouched. A disk whose free space is unknown counts as having
    /// room, because the write itself fails if there is none.
    #[must_use]
    pub fn has_room_for(&self, bytes: u64) -> bool {
        self.free().is_none_or(|free| free >= self.reserve.saturating_add(bytes))
    }

    /// The free bytes that this process may use, if the system reports them.
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

/// A file without content that occupies a part of a disk. Giving it up makes room for the writes that must
/// succeed when the disk is full.
#[derive(Debug)]
pub struct Ballast {
    path: PathBuf,
    bytes: u64,
    held: Mutex<bool>,
}

impl Ballast {
    /// A ballast of `bytes` bytes in the file at `path`, which an earlier process may have left.
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

    /// Allocates the ballast, unless it is allocated. Returns `false` if the disk is too full.
    pub fn hold(&self) -> bool {
        let mut held = self.lock();
        if *held || self.bytes == 0 {
            return true;
        }
        match self.occupy() {
            Ok(()) => *held = true,
            Err(error) => {
                // A partial ballast is useless, and a missing file is no failure.
                let _: io::Result<()> = std::fs::remove_file(&self.path);
                if is_full(&error) {
                    return false;
                }
                tracing::warn!(%error, "no room could be set aside for a full disk");
            }
        }
        true
    }

    /// Frees the ballast. Returns whether it was allocated.
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
        // On systems that cannot allocate space, the ballast is written.
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
