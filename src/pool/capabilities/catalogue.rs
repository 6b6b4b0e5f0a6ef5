//! The node classes of all backends, of which equal sets are held in memory once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, Weak};

use tokio::sync::watch;

use crate::domain::object_info::ObjectInfo;
use crate::lock::LockExt;

/// The SHA-256 of an `/object_info` answer, after `NaN` in it was replaced by `null`.
pub(in crate::pool) type ObjectInfoHash = [u8; 32];

/// Shares equal sets of node classes between backends, because one set can take many megabytes.
#[derive(Debug)]
pub(in crate::pool) struct ClassCatalogue {
    shared: Mutex<HashMap<ObjectInfoHash, Weak<ObjectInfo>>>,
    changes: watch::Sender<u64>,
}

impl Default for ClassCatalogue {
    fn default() -> Self {
        Self { shared: Mutex::default(), changes: watch::Sender::new(0) }
    }
}

impl ClassCatalogue {
    /// The classes that were read from an answer with this hash, while any backend still has them.
    pub fn find(&self, hash: &ObjectInfoHash) -> Option<Arc<ObjectInfo>> {
        self.shared.lock_anyway().get(hash)?.upgrade()
    }

    /// Makes `info` available to other backends, and drops entries that no backend has any more.
    pub fn share(&self, hash: ObjectInfoHash, info: &Arc<ObjectInfo>) {
        let mut shared = self.shared.lock_anyway();
        shared.retain(|_, info| info.strong_count() > 0);
        shared.insert(hash, Arc::downgrade(info));
    }

    /// Announces that some backend can run other workflows than before.
    pub fn announce_change(&self) {
        self.changes.send_modify(|generation| *generation += 1);
    }

    /// A counter that changes with every announcement.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }
}
