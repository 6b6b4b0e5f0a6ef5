//! What every task of the scheduler has at hand.

use std::sync::Arc;

use super::settings::SchedulerSettings;
use crate::core::GatewayCore;
use crate::domain::id::LeaseOwner;
use crate::domain::job::Lease;

/// The shared parts, the scheduler's settings, and this process's name on leases.
#[derive(Debug)]
pub struct SchedulerContext {
    /// Stores, backends, wakeups and ambient services.
    pub core: Arc<GatewayCore>,
    /// How attempts, retries and leases behave.
    pub settings: SchedulerSettings,
    /// This process, as the owner of leases.
    pub owner: LeaseOwner,
}

impl SchedulerContext {
    /// A lease of this process that begins now.
    pub(super) fn lease(&self) -> Lease {
        Lease { owner: self.owner, until: self.core.clock.now().plus(self.settings.lease) }
    }

    /// Waits until the disk of the media files has room for `bytes` more. It polls with back-off, because no
    /// operating system reports when a disk gets room.
    pub(super) async fn until_room(&self, bytes: u64) {
        loop {
            self.core.clock.sleep(self.settings.retry.delay(3, self.core.random.fraction())).await;
            if self.core.media.has_room_for(bytes) {
                return;
            }
        }
    }
}
