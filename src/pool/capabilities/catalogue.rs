//! The node classes of all servers together, each set of them held once. It must not know which server has which.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, Weak};

use tokio::sync::watch;

use crate::domain::object_info::ObjectInfo;
use crate::lock::LockExt;

/// The SHA-256 of what a server told.
pub(in crate::pool) type ObjectInfoHash = [u8; 32];

/// The node classes of all servers; those that tell the same share it, for it may be many megabytes.
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
    /// What was told with that hash, while a server still has it.
    pub fn known(&self, hash: &ObjectInfoHash) -> Option<Arc<ObjectInfo>> {
        self.shared.lock_anyway().get(hash)?.upgrade()
    }

    /// Shares what was told.
    pub fn share(&self, hash: ObjectInfoHash, info: &Arc<ObjectInfo>) {
        let mut shared = self.shared.lock_anyway();
        shared.retain(|_, info| info.strong_count() > 0);
        shared.insert(hash, Arc::downgrade(info));
    }

    /// Says that what a server can run has changed.
    pub fn has_changed(&self) {
        self.changes.send_modify(|generation| *generation += 1);
    }

    /// Changes whenever what a server can run does.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }
}
