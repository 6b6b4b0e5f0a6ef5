//! Groups of jobs that every backend treats alike: where they can run, and which models they load.

use super::backend_queue::BackendQueue;
use crate::domain::forecast::BlockedReason;
use crate::domain::id::BackendName;
use crate::store::WaitingJob;

/// The properties that all jobs of a group share.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct GroupKey {
    /// Backends that cannot run them, sorted.
    pub not_on: Vec<BackendName>,
    /// The only backend allowed, if the caller named one.
    pub backend: Option<BackendName>,
    /// Labels that the backend must have.
    pub labels: Vec<String>,
    /// The models they load.
    pub models: Vec<String>,
    /// The backend of their last failed attempt.
    pub failed_on: Option<BackendName>,
    /// A device memory in bytes that is known to be too small.
    pub outgrown: Option<u64>,
}

impl GroupKey {
    pub fn of(job: &WaitingJob, outgrown: Option<u64>) -> Self {
        let mut not_on = job.not_on.clone();
        not_on.sort_unstable();
        Self {
            not_on,
            backend: job.needs.backend.clone(),
            labels: job.needs.labels.clone(),
            models: job.needs.models.clone(),
            failed_on: job.failed_on.clone(),
            outgrown,
        }
    }

    /// Whether a backend can run them at all.
    pub fn can_run_on(&self, server: &BackendQueue) -> bool {
        self.is_asked_for(server) && !self.not_on.contains(&server.snapshot.name)
    }

    fn is_asked_for(&self, server: &BackendQueue) -> bool {
        self.backend.as_ref().is_none_or(|name| *name == server.snapshot.name) && self.has_labels(server)
    }

    fn has_labels(&self, server: &BackendQueue) -> bool {
        self.labels.iter().all(|label| server.snapshot.labels.contains(label))
    }

    /// Whether a backend has enough memory, as far as is known.
    pub fn is_allowed_on(&self, server: &BackendQueue) -> bool {
        self.outgrown.is_none_or(|outgrown| server.snapshot.vram.is_none_or(|vram| vram > outgrown))
    }

    /// Whether their last attempt failed on this backend.
    pub fn has_failed_on(&self, server: &BackendQueue) -> bool {
        self.failed_on.as_ref() == Some(&server.snapshot.name)
    }

    /// Why none of `servers` can run them now; `None` if one can.
    pub fn blocked_reason<'s>(
        &self,
        servers: impl Iterator<Item = &'s BackendQueue> + Clone,
    ) -> Option<BlockedReason> {
        let servers = servers.filter(|server| !server.is_removed);
        let names = |servers: Vec<&BackendQueue>| {
            servers.into_iter().map(|server| server.snapshot.name.clone()).collect()
        };
        let able: Vec<&BackendQueue> = servers.clone().filter(|server| self.can_run_on(server)).collect();
        if able.iter().any(|server| server.is_open()) {
            return None;
        }
        if !able.is_empty() {
            return Some(BlockedReason::Away(names(able)));
        }
        if servers.clone().next().is_none() {
            return Some(BlockedReason::NoServers);
        }
        let asked_for: Vec<&BackendQueue> =
            servers.clone().filter(|server| self.is_asked_for(server)).collect();
        if !asked_for.is_empty() {
            return Some(BlockedReason::Unable(names(asked_for)));
        }
        let backend = self.backend.clone();
        let absent = backend.filter(|name| servers.clone().all(|server| server.snapshot.name != *name));
        Some(
            absent.map_or_else(
                || BlockedReason::NoSuchLabels(self.labels.clone()),
                BlockedReason::NoSuchBackend,
            ),
        )
    }
}
