//! Applies a changed configuration to the configured backends while the gateway runs.

use std::sync::{Arc, MutexGuard};
use std::time::Duration;

use super::backends::BackendError;
use super::state::{Service, WantedBackends};
use crate::domain::id::BackendName;
use crate::lock::LockExt;
use crate::pool::{Backend, BackendMode, BackendSettings};
use crate::store::StoreError;

/// The time between two checks whether a backend that is being removed still has jobs.
const DRAIN_POLL: Duration = Duration::from_secs(1);

impl Service {
    /// Replaces the wanted configured backends. [`Self::apply_backends`] then makes the changes. Backends that were added at
    /// run time stay.
    ///
    /// # Errors
    /// A backend clashes with one that was added at run time; nothing was changed.
    pub fn configure_backends(&self, backends: Vec<BackendSettings>) -> Result<(), BackendError> {
        let present = self.core.pool.backends();
        let added = present.iter().filter(|backend| !backend.is_configured());
        for wanted in &backends {
            wanted
                .check_clash(added.clone().map(|backend| backend.settings()))
                .map_err(|clash| BackendError::Exists(clash.to_string()))?;
        }
        let mut wanted = self.wanted();
        wanted.backends = backends;
        wanted.generation += 1;
        Ok(())
    }

    /// Drains, removes and adds backends until the configured backends are those of the last call of
    /// [`Self::configure_backends`]. Returns early when a newer configuration arrives, or at shutdown.
    ///
    /// # Errors
    /// The store failed.
    pub async fn apply_backends(&self) -> Result<(), StoreError> {
        let generation = self.wanted().generation;
        let is_outdated = || self.wanted().generation != generation;
        while !is_outdated() {
            if self.apply_once().await? {
                break;
            }
            tokio::select! {
                () = self.stopping.cancelled() => break,
                () = self.core.clock.sleep(DRAIN_POLL) => {}
            }
        }
        Ok(())
    }

    /// Makes the changes that are possible now. Returns whether all changes are made.
    async fn apply_once(&self) -> Result<bool, StoreError> {
        let modes = self.core.store.backend_modes().await?;
        let mode = |name: &BackendName| {
            modes.iter().find(|(known, _)| known == name).map_or(BackendMode::Open, |(_, mode)| *mode)
        };
        let mut wanted = self.wanted();
        let mut settled = true;
        for backend in self.core.pool.backends().iter().filter(|backend| backend.is_configured()) {
            let name = backend.name();
            let stays = wanted.backends.iter().any(|wanted| wanted.is_same(backend.settings()));
            let was_drained = wanted.drained.contains(name);
            if stays && was_drained {
                wanted.drained.retain(|drained| drained != name);
                backend.set_mode(mode(name));
            } else if !stays {
                settled &= self.remove_or_drain(backend, &mut wanted);
            }
        }
        for settings in &wanted.backends {
            if self.core.pool.find(&settings.name).is_some_and(|present| settings.is_same(present.settings()))
            {
                continue;
            }
            match self.core.pool.add_configured(settings.clone()) {
                Ok(backend) => {
                    backend.set_mode(mode(&settings.name));
                    tracing::info!(backend = %settings.name, url = settings.endpoint.shown_url(), "a backend was added");
                }
                // It replaces a backend that is still draining.
                Err(_) => settled = false,
            }
        }
        Ok(settled)
    }

    /// Removes a backend that has no jobs, and drains any other. Returns whether the backend was removed.
    fn remove_or_drain(&self, backend: &Arc<Backend>, wanted: &mut WantedBackends) -> bool {
        let name = backend.name();
        // Set the mode before checking for jobs, so that no job is dispatched to it after the check.
        backend.set_mode(BackendMode::Draining);
        if backend.feeds().count() > 0 {
            if !wanted.drained.contains(name) {
                tracing::info!(backend = %name, jobs = backend.feeds().count(), "a backend is draining before its removal");
                wanted.drained.push(name.clone());
            }
            return false;
        }
        wanted.drained.retain(|drained| drained != name);
        self.core.pool.remove(name);
        tracing::info!(backend = %name, "a backend was removed");
        true
    }

    fn wanted(&self) -> MutexGuard<'_, WantedBackends> {
        self.wanted.lock_anyway()
    }
}
