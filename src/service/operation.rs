//! Readiness, metrics and the list of backends, for operators and load balancers.

use std::sync::Arc;
use std::time::Duration;

use super::state::Service;
use crate::domain::job::JobStatus;
use crate::metrics::BackendFigures;
use crate::pool::Backend;
use crate::store::StoreError;

/// Why the gateway is not ready.
#[derive(Debug, thiserror::Error)]
pub enum NotReady {
    /// The store does not respond.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The free space on the database's disk is below the reserve.
    #[error("the disk of the database is full")]
    DatabaseDiskFull,
    /// The free space on the media files' disk is below the reserve.
    #[error("the disk of the media files is full")]
    MediaDiskFull,
    /// No backend accepts jobs now.
    #[error("no backend accepts jobs")]
    NoBackend,
}

impl Service {
    /// Checks that the gateway can accept and run jobs: the store responds, both disks have free space, and at least one
    /// backend accepts jobs.
    ///
    /// # Errors
    /// The first of these conditions that does not hold.
    pub async fn check_readiness(&self) -> Result<(), NotReady> {
        self.core.store.ping().await?;
        if !self.core.store.has_room() {
            return Err(NotReady::DatabaseDiskFull);
        }
        if !self.core.media.has_room_for(0) {
            return Err(NotReady::MediaDiskFull);
        }
        let is_any_ready = self.backends().iter().any(|backend| backend.can_take_work());
        if is_any_ready { Ok(()) } else { Err(NotReady::NoBackend) }
    }

    /// Every backend: the configured ones in their order, then those added at run time.
    #[must_use]
    pub fn backends(&self) -> Arc<[Arc<Backend>]> {
        self.core.pool.backends()
    }

    /// The metrics in the OpenMetrics text format. Gauges are read from the store and the pool first.
    ///
    /// # Errors
    /// The store failed.
    pub async fn metrics_text(&self) -> Result<String, StoreError> {
        let stats = self.core.store.stats().await?;
        let metrics = &self.core.metrics;
        for status in JobStatus::ALL {
            let jobs =
                stats.by_status.iter().find(|(known, _)| *known == status).map_or(0, |(_, jobs)| *jobs);
            metrics.set_jobs(status, jobs);
        }
        let now = self.core.clock.now();
        metrics.set_oldest_queued(stats.oldest_queued.map_or(Duration::ZERO, |since| now.since(since)));
        let backends = self.backends();
        metrics.set_backends(backends.iter().map(|backend| {
            let figures = BackendFigures {
                up: backend.health().is_usable(),
                slots: backend.usable_slots(),
                running: backend.feeds().count(),
                foreign: backend.health().foreign_jobs(),
                faults: backend.health().totals().backend_faults,
            };
            (backend.name().as_str(), figures)
        }));
        Ok(metrics.encode())
    }
}
