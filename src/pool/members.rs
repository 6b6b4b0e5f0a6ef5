//! The pool itself: which backends are in it, and the tasks that watch them.

use std::convert::Infallible;
use std::sync::{Arc, OnceLock, RwLock};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::watch;

use super::backend::{Backend, PoolShared};
use super::settings::{BackendClash, BackendSettings};
use super::tasks::{events, probe, refresh};
use crate::clock::Clock;
use crate::comfy::EndpointError;
use crate::domain::id::{BackendName, GatewayId};
use crate::domain::object_info::ObjectInfo;
use crate::lifecycle::TaskOwner;
use crate::lock::RwLockExt;
use crate::random::Random;

/// All backends: those of the configuration in its order, then those that were added later.
#[derive(Debug)]
pub struct Pool {
    backends: RwLock<Arc<[Arc<Backend>]>>,
    shared: PoolShared,
    /// The owner of the backends' tasks, once [`Self::watch`] was called.
    tasks: OnceLock<TaskOwner>,
}

/// Why a backend cannot be added.
#[derive(Debug, thiserror::Error)]
pub enum AddError {
    /// Its name or address is that of another backend.
    #[error(transparent)]
    Clash(#[from] BackendClash),
    /// Its address or credentials cannot be used.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
}

impl Pool {
    /// A pool of the configured backends, to which nothing is sent before [`Self::watch`].
    ///
    /// `gateway_id` becomes the client id at every ComfyUI. `random` is the source of jitter.
    ///
    /// # Errors
    /// The address or the credentials of a backend cannot be used.
    pub fn new(
        settings: Vec<BackendSettings>,
        gateway_id: GatewayId,
        clock: &Arc<dyn Clock>,
        random: &Arc<Random>,
    ) -> Result<Self, EndpointError> {
        let shared = PoolShared {
            gateway_id,
            clock: clock.clone(),
            random: random.clone(),
            catalogue: Arc::default(),
            changes: watch::Sender::new(0),
        };
        let backends = settings
            .into_iter()
            .map(|settings| Backend::new(settings, true, shared.clone()).map(Arc::new))
            .collect::<Result<_, _>>()?;
        Ok(Self { backends: RwLock::new(backends), shared, tasks: OnceLock::new() })
    }

    /// Starts the tasks of every backend on `tasks`, and those of each backend that is added later. Call it once.
    pub fn watch(&self, tasks: &TaskOwner) {
        // Under the lock, so that a backend that is added at the same time gets its tasks exactly once.
        let backends = self.backends.write_anyway();
        let tasks = self.tasks.get_or_init(|| tasks.clone());
        backends.iter().for_each(|backend| spawn_tasks(backend, tasks));
    }

    /// Adds a backend through the API, and starts its tasks if those of the others run.
    ///
    /// # Errors
    /// See [`AddError`].
    pub fn add(&self, settings: BackendSettings) -> Result<Arc<Backend>, AddError> {
        self.add_one(settings, false)
    }

    /// Adds a backend of the configuration, and starts its tasks if those of the others run.
    ///
    /// # Errors
    /// See [`AddError`].
    pub fn add_configured(&self, settings: BackendSettings) -> Result<Arc<Backend>, AddError> {
        self.add_one(settings, true)
    }

    fn add_one(&self, settings: BackendSettings, configured: bool) -> Result<Arc<Backend>, AddError> {
        let backend = {
            let mut backends = self.backends.write_anyway();
            settings.check_clash(backends.iter().map(|backend| backend.settings()))?;
            let backend = Arc::new(Backend::new(settings, configured, self.shared.clone())?);
            *backends = backends.iter().chain([&backend]).cloned().collect();
            if let Some(tasks) = self.tasks.get() {
                spawn_tasks(&backend, tasks);
            }
            backend
        };
        // Another backend may have had this name before, and jobs that it could not run.
        self.shared.catalogue.announce_change();
        self.announce_change();
        Ok(backend)
    }

    /// Removes a backend and ends its tasks; `None` if none has that name. Attempts there keep polling their runs.
    pub fn remove(&self, name: &BackendName) -> Option<Arc<Backend>> {
        let removed = {
            let mut backends = self.backends.write_anyway();
            let removed = backends.iter().find(|backend| backend.name() == name)?.clone();
            *backends = backends.iter().filter(|backend| backend.name() != name).cloned().collect();
            removed
        };
        removed.retired().cancel();
        self.announce_change();
        Some(removed)
    }

    /// A snapshot of the backends, which later changes of the pool do not affect.
    #[must_use]
    pub fn backends(&self) -> Arc<[Arc<Backend>]> {
        self.backends.read_anyway().clone()
    }

    /// The backend of that name.
    #[must_use]
    pub fn find(&self, name: &BackendName) -> Option<Arc<Backend>> {
        self.backends().iter().find(|backend| backend.name() == name).cloned()
    }

    /// The distinct sets of node classes that backends have reported, in the order of the backends.
    #[must_use]
    pub fn object_infos(&self) -> Vec<Arc<ObjectInfo>> {
        let mut all: Vec<Arc<ObjectInfo>> = Vec::new();
        for info in self.backends().iter().filter_map(|backend| backend.capabilities().object_info()) {
            if !all.iter().any(|known| Arc::ptr_eq(known, &info)) {
                all.push(info);
            }
        }
        all
    }

    /// Refreshes the node classes of every usable backend whose classes are not younger than `age`. A backend that
    /// does not answer keeps those that are known.
    pub async fn refresh_object_infos(&self, age: Duration) {
        let backends = self.backends();
        let asked = backends.iter().filter(|backend| backend.health().is_usable());
        for answer in join_all(asked.map(|backend| backend.capabilities().refresh(age))).await {
            if let Err(error) = answer {
                tracing::debug!(%error, "the node classes of a backend cannot be read");
            }
        }
    }

    /// A counter that changes when a backend can run other workflows than before.
    #[must_use]
    pub fn capability_changes(&self) -> watch::Receiver<u64> {
        self.shared.catalogue.changes()
    }

    /// A counter that changes when a backend is added or removed, or when its health, its mode, its trial or its
    /// number of foreign jobs changes how much work it can take.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.shared.changes.subscribe()
    }

    fn announce_change(&self) {
        self.shared.changes.send_modify(|generation| *generation += 1);
    }
}

fn spawn_tasks(backend: &Arc<Backend>, tasks: &TaskOwner) {
    spawn_task(backend, tasks, "backend health", probe::run(backend.clone()));
    spawn_task(backend, tasks, "backend capabilities", refresh::run(backend.clone()));
    spawn_task(backend, tasks, "backend events", events::run(backend.clone()));
}

/// Runs one task of a backend until the process stops or the backend is removed.
fn spawn_task(
    backend: &Backend,
    tasks: &TaskOwner,
    name: &'static str,
    task: impl Future<Output = Infallible> + Send + 'static,
) {
    let (stopping, retired) = (tasks.stopping(), backend.retired().clone());
    tasks.spawn(name, async move {
        tokio::select! {
            () = stopping.cancelled() => {}
            () = retired.cancelled() => {}
            never = task => match never {},
        }
        Ok::<(), Infallible>(())
    });
}

#[cfg(test)]
#[path = "members_tests.rs"]
mod tests;
