//! One server: its client, its health, and the feeds of what runs on it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use tokio::sync::{Notify, watch};

use super::capabilities::Capabilities;
use super::catalogue::Catalogue;
use super::feed::{AttemptFeed, Feeds};
use super::health::Health;
use super::turn::{Turn, Turns};
use crate::clock::Clock;
use crate::comfy::{ComfyClient, ComfyEndpoint, ComfyError, EndpointError};
use crate::domain::id::{AttemptId, BackendName, GatewayId};
use crate::domain::progress::ProgressTracker;

/// A server as it is configured.
#[derive(Debug, Clone)]
pub struct BackendSettings {
    /// Its name; unique in the pool.
    pub name: BackendName,
    /// Where it is.
    pub endpoint: ComfyEndpoint,
    /// Jobs it is given at once: the running one and those in its own queue.
    pub slots: usize,
    /// What it is called besides, for callers that ask for a kind of server.
    pub labels: Vec<String>,
}

/// One server of the pool.
#[derive(Debug)]
pub struct Backend {
    name: BackendName,
    client: ComfyClient,
    slots: usize,
    labels: Vec<String>,
    client_id: String,
    clock: Arc<dyn Clock>,
    health: watch::Sender<Health>,
    pool_changes: watch::Sender<u64>,
    feeds: Feeds,
    turns: Turns,
    in_flight: AtomicUsize,
    pub(super) capabilities: Capabilities,
    pub(super) catalogue: Arc<Catalogue>,
    pub(super) queue_remaining: AtomicU64,
    pub(super) listening: AtomicBool,
    /// Something went wrong there: ask at once.
    pub(super) probe_now: Notify,
    /// The server may have been restarted: ask anew what it can run.
    pub(super) restarts: watch::Sender<u64>,
    /// The websocket kept silent about what HTTP told: open another.
    pub(super) deaf: Notify,
}

impl Backend {
    pub(super) fn new(
        settings: BackendSettings,
        gateway_id: GatewayId,
        clock: Arc<dyn Clock>,
        pool_changes: watch::Sender<u64>,
        catalogue: Arc<Catalogue>,
    ) -> Result<Self, EndpointError> {
        Ok(Self {
            name: settings.name,
            client: ComfyClient::new(settings.endpoint, clock.clone())?,
            slots: settings.slots,
            labels: settings.labels,
            client_id: gateway_id.to_string(),
            clock,
            health: watch::Sender::new(Health::Starting),
            pool_changes,
            feeds: Feeds::default(),
            turns: Turns::new(),
            in_flight: AtomicUsize::new(0),
            capabilities: Capabilities::default(),
            catalogue,
            queue_remaining: AtomicU64::new(0),
            listening: AtomicBool::new(false),
            probe_now: Notify::new(),
            restarts: watch::Sender::new(0),
            deaf: Notify::new(),
        })
    }

    /// Its name.
    #[must_use]
    pub const fn name(&self) -> &BackendName {
        &self.name
    }

    /// Its client.
    #[must_use]
    pub const fn client(&self) -> &ComfyClient {
        &self.client
    }

    /// Jobs it is given at once.
    #[must_use]
    pub const fn slots(&self) -> usize {
        self.slots
    }

    /// What it is called besides.
    #[must_use]
    pub fn labels(&self) -> &[String] {
        &self.labels
    }

    /// What ComfyUI knows this gateway as.
    #[must_use]
    pub fn client_id(&self) -> &str {
        &self.client_id
    }

    /// Its health now.
    #[must_use]
    pub fn health(&self) -> Health {
        self.health.borrow().clone()
    }

    /// Whether it may be given work.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        self.health.borrow().is_usable()
    }

    /// A view of its health that tells of changes.
    #[must_use]
    pub fn watch_health(&self) -> watch::Receiver<Health> {
        self.health.subscribe()
    }

    /// Whether its websocket stands.
    #[must_use]
    pub fn is_listening(&self) -> bool {
        self.listening.load(Ordering::Relaxed)
    }

    /// Jobs in its own queue, of all its clients, as last heard.
    #[must_use]
    pub fn queue_remaining(&self) -> u64 {
        self.queue_remaining.load(Ordering::Relaxed)
    }

    /// Our attempts there.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// A call found nothing listening there: it gets no work until a probe finds it again.
    pub fn found_down(&self, reason: &ComfyError) {
        self.is_down(reason.to_string());
        self.probe_now.notify_one();
    }

    /// HTTP told the end of a run of which the websocket had told nothing.
    pub fn found_deaf(&self) {
        if self.is_listening() {
            self.deaf.notify_one();
        }
    }

    /// A job's place in the order in which the server is given its jobs.
    #[must_use]
    pub fn take_turn(&self) -> Turn {
        self.turns.take()
    }

    /// Opens the feed of an attempt, before it is submitted. [`Backend::close_feed`] ends it.
    #[must_use]
    pub fn open_feed(&self, attempt: AttemptId, progress: ProgressTracker) -> Arc<AttemptFeed> {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        self.feeds.open(&attempt.to_string(), progress, self.clock.clone())
    }

    /// Ends the feed of an attempt.
    pub fn close_feed(&self, attempt: AttemptId) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
        self.feeds.close(&attempt.to_string());
    }

    /// Whatever was known of what it can run may be over.
    pub(super) fn may_have_restarted(&self) {
        self.restarts.send_modify(|count| *count += 1);
    }

    pub(super) fn feeds(&self) -> &Feeds {
        &self.feeds
    }

    pub(super) const fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    pub(super) fn is_up(&self, version: Option<String>) {
        let since = self.clock.now();
        if !self.is_usable() {
            self.may_have_restarted();
        }
        self.change(|health| match health {
            Health::Up { version: known, .. } if *known == version => None,
            Health::Up { since, .. } => Some(Health::Up { since: *since, version }),
            _ => Some(Health::Up { since, version }),
        });
    }

    pub(super) fn is_down(&self, reason: String) {
        let since = self.clock.now();
        self.change(|health| match health {
            Health::Down { reason: known, .. } if *known == reason => None,
            Health::Down { since, .. } => Some(Health::Down { since: *since, reason }),
            _ => Some(Health::Down { since, reason }),
        });
    }

    fn change(&self, next: impl FnOnce(&Health) -> Option<Health>) {
        let was_usable = self.is_usable();
        let changed = self.health.send_if_modified(|health| match next(health) {
            Some(next) => {
                *health = next;
                true
            }
            None => false,
        });
        if changed && was_usable != self.is_usable() {
            let health = self.health();
            if let Health::Down { reason, .. } = &health {
                tracing::warn!(backend = %self.name, reason, "the server is down");
            } else {
                tracing::info!(backend = %self.name, "the server is {}", health.as_str());
            }
            self.pool_changes.send_modify(|generation| *generation += 1);
        }
    }
}
