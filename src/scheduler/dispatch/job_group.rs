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
    pub fn can_run_on(&self, backend: &BackendQueue) -> bool {
        self.is_asked_for(backend) && !self.not_on.contains(&backend.snapshot.name)
    }

    fn is_asked_for(&self, backend: &BackendQueue) -> bool {
        self.backend.as_ref().is_none_or(|name| *name == backend.snapshot.name) && self.has_labels(backend)
    }

    fn has_labels(&self, backend: &BackendQueue) -> bool {
        self.labels.iter().all(|label| backend.snapshot.labels.contains(label))
    }

    /// Whether a backend has enough memory, as far as is known.
    pub fn is_allowed_on(&self, backend: &BackendQueue) -> bool {
        self.outgrown.is_none_or(|outgrown| backend.snapshot.vram.is_none_or(|vram| vram > outgrown))
    }

    /// Whether their last attempt failed on this backend.
    pub fn has_failed_on(&self, backend: &BackendQueue) -> bool {
        self.failed_on.as_ref() == Some(&backend.snapshot.name)
    }

    /// Why none of `backends` can run them now; `None` if one can.
    pub fn blocked_reason<'s>(
        &self,
        backends: impl Iterator<Item = &'s BackendQueue> + Clone,
    ) -> Option<BlockedReason> {
        let backends = backends.filter(|backend| !backend.is_removed);
        let names = |backends: Vec<&BackendQueue>| {
            backends.into_iter().map(|backend| backend.snapshot.name.clone()).collect()
        };
        let able: Vec<&BackendQueue> = backends.clone().filter(|backend| self.can_run_on(backend)).collect();
        if able.iter().any(|backend| backend.is_open()) {
            return None;
        }
        if !able.is_empty() {
            return Some(BlockedReason::Away(names(able)));
        }
        if backends.clone().next().is_none() {
            return Some(BlockedReason::NoServers);
        }
        let asked_for: Vec<&BackendQueue> =
            backends.clone().filter(|backend| self.is_asked_for(backend)).collect();
        if !asked_for.is_empty() {
            return Some(BlockedReason::Unable(names(asked_for)));
        }
        let backend = self.backend.clone();
        let absent = backend.filter(|name| backends.clone().all(|backend| backend.snapshot.name != *name));
        Some(
            absent.map_or_else(
                || BlockedReason::NoSuchLabels(self.labels.clone()),
                BlockedReason::NoSuchBackend,
            ),
        )
    }
}
