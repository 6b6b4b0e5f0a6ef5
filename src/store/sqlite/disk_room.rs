//! Disk space of the database. Growth is refused before the disk is full, so that jobs can still end and be
//! deleted.

use std::path::Path;

use crate::disk::{Ballast, Disk};

/// The largest ballast in bytes. SQLite moves its write-ahead log into the database once the log reaches
/// about 4 MiB, so this is enough for many small writes.
const LARGEST_BALLAST: u64 = 16 << 20;

/// The reserve on the disk of one database. A part of it, the ballast, is occupied in advance by a file.
#[derive(Debug)]
pub(super) struct DiskRoom {
    disk: Disk,
    ballast: Ballast,
}

impl DiskRoom {
    /// Room for the database at `path`, on whose disk `reserve` bytes must stay free.
    pub fn new(path: &Path, reserve: u64) -> Self {
        let folder = path.parent().unwrap_or(path);
        let ballast = Ballast::new(path.with_extension("reserve"), (reserve / 4).min(LARGEST_BALLAST));
        Self { disk: Disk::new(folder, reserve), ballast }
    }

    /// Releases the ballast if the disk is so full that SQLite might not be able to open the database.
    pub fn make_room_to_open(&self) {
        if self.disk.free().is_some_and(|free| free < self.ballast.bytes()) {
            self.release_ballast();
        }
    }

    /// Whether the database may grow. Occupies the ballast again if it was released.
    pub fn allows_growth(&self) -> bool {
        self.disk.has_room_for(0) && self.ballast.hold()
    }

    /// Releases the ballast; `false` if it was released before.
    pub fn release_ballast(&self) -> bool {
        let released = self.ballast.release();
        if released {
            tracing::error!(
                "the disk of the database is full; the reserved space is released for writes that end or delete jobs"
            );
        }
        released
    }
}
