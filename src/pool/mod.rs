//! The ComfyUI servers: whether each is usable, what it works on, and what its websocket tells.
//! It must not know of the store, of leases, or of who may run what.

mod backend;
mod capabilities;
mod catalogue;
mod feed;
mod fit;
mod health;
mod monitor;
mod refresh;
mod turn;

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;

use tokio::sync::watch;

pub use backend::{Backend, BackendSettings};
pub use feed::AttemptFeed;
pub use health::Health;
pub use turn::Turn;

use self::catalogue::Catalogue;
use crate::clock::Clock;
use crate::comfy::EndpointError;
use crate::domain::id::{BackendName, GatewayId};
use crate::domain::object_info::ObjectInfo;
use crate::lifecycle::Tasks;

/// All servers, in the order of the configuration.
#[derive(Debug)]
pub struct Pool {
    backends: Vec<Arc<Backend>>,
    changes: watch::Sender<u64>,
    catalogue: Arc<Catalogue>,
}

impl Pool {
    /// A pool of the given servers; nothing is asked of them yet. ComfyUI knows the gateway by `gateway_id`.
    ///
    /// # Errors
    /// A server's address or credentials cannot be used.
    pub fn new(
        settings: Vec<BackendSettings>,
        gateway_id: GatewayId,
        clock: &Arc<dyn Clock>,
    ) -> Result<Self, EndpointError> {
        let changes = watch::Sender::new(0);
        let catalogue = Arc::new(Catalogue::default());
        let backends = settings
            .into_iter()
            .map(|settings| {
                let (changes, catalogue) = (changes.clone(), catalogue.clone());
                Backend::new(settings, gateway_id, clock.clone(), changes, catalogue).map(Arc::new)
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { backends, changes, catalogue })
    }

    /// Watches every server on `tasks` until they stop.
    pub fn watch(&self, tasks: &Tasks) {
        for backend in &self.backends {
            tasks.spawn("backend health", monitor::health(backend.clone(), tasks.stopping()));
            tasks.spawn("backend capabilities", refresh::capabilities(backend.clone(), tasks.stopping()));
            tasks.spawn("backend events", monitor::events(backend.clone(), tasks.stopping()));
        }
    }

    /// The servers.
    #[must_use]
    pub fn backends(&self) -> &[Arc<Backend>] {
        &self.backends
    }

    /// The server of that name and its position.
    #[must_use]
    pub fn find(&self, name: &BackendName) -> Option<(usize, &Arc<Backend>)> {
        self.backends.iter().enumerate().find(|(_, backend)| backend.name() == name)
    }

    /// The node classes of every server that has told them, in the servers' order.
    #[must_use]
    pub fn object_infos(&self) -> Vec<Arc<ObjectInfo>> {
        let mut all: Vec<Arc<ObjectInfo>> = Vec::new();
        for info in self.backends.iter().filter_map(|backend| backend.object_info()) {
            if !all.iter().any(|known| Arc::ptr_eq(known, &info)) {
                all.push(info);
            }
        }
        all
    }

    /// Asks every usable server anew what it can run, unless that is younger than `age`. Those that do not answer keep
    /// what is known of them.
    pub async fn refresh_object_infos(&self, age: Duration) {
        let asked = self.backends.iter().filter(|backend| backend.is_usable());
        for answer in join_all(asked.map(|backend| backend.refresh_object_info(age))).await {
            if let Err(error) = answer {
                tracing::debug!(%error, "a server did not tell what it can run");
            }
        }
    }

    /// Changes whenever what a server can run does.
    #[must_use]
    pub fn capability_changes(&self) -> watch::Receiver<u64> {
        self.catalogue.changes()
    }

    /// Changes whenever the usability of a server does.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }
}
