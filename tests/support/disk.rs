//! A small file system that a test can fill completely.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A file system in memory, unmounted when dropped.
pub struct SmallDisk {
    dir: tempfile::TempDir,
}

impl SmallDisk {
    /// Mounts one of this many MiB. Returns `None` and prints a note if this process may not mount file
    /// systems.
    pub fn new(mib: u32) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let size = format!("size={mib}m");
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(dir.path()).output();
        if mounted.is_ok_and(|mounted| mounted.status.success()) {
            return Some(Self { dir });
        }
        eprintln!("skipped: mounting a file system is not allowed here");
        None
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Fills the disk to its last byte.
    pub fn fill(&self) {
        let filler = std::fs::File::create(self.filler()).unwrap();
        // That it ends with an error is what is wanted.
        let _full: std::io::Result<u64> = std::io::copy(&mut std::io::repeat(1), &mut &filler);
    }

    /// Removes the file that filled it.
    pub fn clear(&self) {
        std::fs::remove_file(self.filler()).unwrap();
    }

    fn filler(&self) -> PathBuf {
        self.path().join("filler")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _unmounted = Command::new("umount").arg("-l").arg(self.path()).status();
    }
}
