//! The ComfyUI servers: whether each is usable, what it works on, and what its websocket tells.
//! It must not know of the store, of leases, or of who may run what.

mod backend;
mod feed;
mod health;
mod monitor;
mod turn;

use std::sync::Arc;

use tokio::sync::watch;

pub use backend::{Backend, BackendSettings};
pub use feed::AttemptFeed;
pub use health::Health;
pub use turn::Turn;

use crate::clock::Clock;
use crate::comfy::EndpointError;
use crate::domain::id::{BackendName, GatewayId};
use crate::lifecycle::Tasks;

/// All servers, in the order of the configuration.
#[derive(Debug)]
pub struct Pool {
    backends: Vec<Arc<Backend>>,
    changes: watch::Sender<u64>,
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
        let backends = settings
            .into_iter()
            .map(|settings| Backend::new(settings, gateway_id, clock.clone(), changes.clone()).map(Arc::new))
            .collect::<Result<_, _>>()?;
        Ok(Self { backends, changes })
    }

    /// Watches every server on `tasks` until they stop.
    pub fn watch(&self, tasks: &Tasks) {
        for backend in &self.backends {
            tasks.spawn("backend health", monitor::health(backend.clone(), tasks.stopping()));
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

    /// Changes whenever the usability of a server does.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }
}
