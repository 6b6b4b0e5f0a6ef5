//! Room for the database: what makes it grow is refused before its disk is full, so that jobs can still end and be
//! deleted.

use std::path::Path;

use crate::disk::{Ballast, Disk};

/// The largest part of the reserve that is occupied in advance. SQLite's log of writes is taken into the database at
/// 4 MiB, so that many small writes get by with this.
const BALLAST: u64 = 16 << 20;

/// The room of one database.
#[derive(Debug)]
pub(super) struct DiskRoom {
    disk: Disk,
    ballast: Ballast,
}

impl DiskRoom {
    /// Room for the database at `path`, on whose disk `reserve` bytes must stay free.
    pub fn new(path: &Path, reserve: u64) -> Self {
        let folder = path.parent().unwrap_or(path);
        let ballast = Ballast::new(path.with_extension("reserve"), (reserve / 4).min(BALLAST));
        Self { disk: Disk::new(folder, reserve), ballast }
    }

    /// Makes the room without which a database cannot even be opened.
    pub fn prepare(&self) {
        if self.disk.free().is_some_and(|free| free < self.ballast.bytes()) {
            self.give_up();
        }
    }

    /// Whether the database may grow.
    pub fn allows_growth(&self) -> bool {
        self.disk.has_room_for(0) && self.ballast.hold()
    }

    /// Gives the ballast up because a write found the disk full; whether that made room.
    pub fn give_up(&self) -> bool {
        let released = self.ballast.release();
        if released {
            tracing::error!(
                "the disk of the database is full; room set aside is given up for ends and deletions"
            );
        }
        released
    }
}
