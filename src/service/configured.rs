//! The servers of the configuration, brought in line with a configuration that has changed since the start.

use std::sync::{Arc, MutexGuard};
use std::time::Duration;

use super::{BackendError, Service};
use crate::domain::id::BackendName;
use crate::lock::LockExt;
use crate::pool::{Backend, BackendMode, BackendSettings};
use crate::store::StoreError;

/// Between two looks whether a server that is to go still has jobs.
const LOOK: Duration = Duration::from_secs(1);

/// The servers that the configuration wants, and those that are drained for it.
#[derive(Debug, Default)]
pub(super) struct WantedBackends {
    servers: Vec<BackendSettings>,
    drained: Vec<BackendName>,
    /// Counts the configurations, so that the work for one ends when the next comes.
    generation: u64,
}

impl Service {
    /// Makes the configured servers those of `servers`. One that is no longer there, or set up differently, is drained
    /// first if it has jobs; [`Self::settle_servers`] does the rest. Servers added at run time stay.
    ///
    /// # Errors
    /// A server clashes with one that was added at run time; nothing was changed.
    pub fn configure_servers(&self, servers: Vec<BackendSettings>) -> Result<(), BackendError> {
        let present = self.parts.pool.backends();
        let added = present.iter().filter(|backend| !backend.is_configured());
        for server in &servers {
            server
                .check_clash(added.clone().map(|backend| backend.settings()))
                .map_err(|clash| BackendError::Exists(clash.to_string()))?;
        }
        let mut wanted = self.wanted();
        wanted.servers = servers;
        wanted.generation += 1;
        Ok(())
    }

    /// Drains, removes and adds servers until the configured ones are those of the last
    /// [`Self::configure_servers`], or of a later one.
    ///
    /// # Errors
    /// The store failed.
    pub async fn settle_servers(&self) -> Result<(), StoreError> {
        let generation = self.wanted().generation;
        let is_outdated = || self.wanted().generation != generation;
        while !is_outdated() {
            if self.settle_once().await? {
                break;
            }
            tokio::select! {
                () = self.stopping.cancelled() => break,
                () = self.parts.clock.sleep(LOOK) => {}
            }
        }
        Ok(())
    }

    /// Does what can be done now; whether nothing is left to do.
    async fn settle_once(&self) -> Result<bool, StoreError> {
        let modes = self.parts.store.backend_modes().await?;
        let mode = |name: &BackendName| {
            modes.iter().find(|(known, _)| known == name).map_or(BackendMode::Open, |(_, mode)| *mode)
        };
        let mut wanted = self.wanted();
        let mut settled = true;
        for backend in self.parts.pool.backends().iter().filter(|backend| backend.is_configured()) {
            let name = backend.name();
            let stays = wanted.servers.iter().any(|server| server.is_same(backend.settings()));
            let was_drained = wanted.drained.contains(name);
            if stays && was_drained {
                wanted.drained.retain(|drained| drained != name);
                backend.set_mode(mode(name));
            } else if !stays {
                settled &= self.let_go(backend, &mut wanted);
            }
        }
        for server in &wanted.servers {
            if self.parts.pool.find(&server.name).is_some_and(|there| server.is_same(there.settings())) {
                continue;
            }
            match self.parts.pool.add_configured(server.clone()) {
                Ok(backend) => {
                    backend.set_mode(mode(&server.name));
                    tracing::info!(backend = %server.name, url = server.endpoint.shown_url(), "a server was added");
                }
                // It takes the place of one that is still being drained.
                Err(_) => settled = false,
            }
        }
        Ok(settled)
    }

    /// Removes a server if it has no jobs, else drains it; whether it is gone.
    fn let_go(&self, backend: &Arc<Backend>, wanted: &mut WantedBackends) -> bool {
        let name = backend.name();
        // Before the look: nothing is given to it after that.
        backend.set_mode(BackendMode::Draining);
        if backend.feeds().count() > 0 {
            if !wanted.drained.contains(name) {
                tracing::info!(backend = %name, jobs = backend.feeds().count(), "a server is drained before it is removed");
                wanted.drained.push(name.clone());
            }
            return false;
        }
        wanted.drained.retain(|drained| drained != name);
        self.parts.pool.remove(name);
        tracing::info!(backend = %name, "a server was removed");
        true
    }

    fn wanted(&self) -> MutexGuard<'_, WantedBackends> {
        self.wanted.lock_anyway()
    }
}
