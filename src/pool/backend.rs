//! One server: its client, what an operator wants of it, and what it offers. It must not probe.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::comfy::{ComfyClient, EndpointError};
use crate::domain::id::{BackendName, GatewayId};
use crate::domain::mode::BackendMode;
use crate::domain::time::UnixMillis;
use crate::lock::LockExt;
use crate::pool::capabilities::catalogue::ClassCatalogue;
use crate::pool::capabilities::object_info::BackendCapabilities;
use crate::pool::feed::AttemptFeeds;
use crate::pool::health::breaker::BreakerPhase;
use crate::pool::health::facts::HealthFacts;
use crate::pool::health::state::BackendHealth;
use crate::pool::health::totals::RunTotals;
use crate::pool::notes::{BackendFacts, BackendOffer, DeviceMemory};
use crate::pool::settings::BackendSettings;
use crate::pool::turns::{SubmitTurn, SubmitTurns};
use crate::random::Random;

/// What the servers of a pool share.
#[derive(Debug, Clone)]
pub(super) struct PoolShared {
    pub gateway_id: GatewayId,
    pub clock: Arc<dyn Clock>,
    /// For jitter.
    pub random: Arc<Random>,
    pub catalogue: Arc<ClassCatalogue>,
    pub changes: watch::Sender<u64>,
}

/// One server of the pool.
#[derive(Debug)]
pub struct Backend {
    settings: BackendSettings,
    configured: bool,
    client: ComfyClient,
    client_id: String,
    shared: PoolShared,
    health: watch::Sender<BackendHealth>,
    /// Whether it answers, be it given work or not.
    answers: watch::Sender<bool>,
    mode: watch::Sender<BackendMode>,
    facts: Mutex<BackendFacts>,
    turns: SubmitTurns,
    pub(super) feeds: AttemptFeeds,
    pub(super) capabilities: BackendCapabilities,
    pub(super) queue_remaining: AtomicU64,
    /// Times the websocket told the length of the queue.
    pub(super) statuses: AtomicU64,
    pub(super) listening: AtomicBool,
    /// Since when, in milliseconds.
    pub(super) listening_since: AtomicI64,
    /// Something went wrong there: ask at once.
    pub(super) probe_now: Notify,
    /// Somebody else may have given it a job: ask soon.
    pub(super) probe_soon: Notify,
    /// The server may have been restarted: ask anew what it can run.
    pub(super) restarts: watch::Sender<u64>,
    /// The websocket keeps silent about what HTTP tells: open another.
    pub(super) deaf: Notify,
    /// It was taken out of the pool.
    pub(super) retired: CancellationToken,
}

impl Backend {
    pub(super) fn new(
        settings: BackendSettings,
        configured: bool,
        shared: PoolShared,
    ) -> Result<Self, EndpointError> {
        Ok(Self {
            client: ComfyClient::new(settings.endpoint.clone(), shared.clock.clone())?,
            client_id: shared.gateway_id.to_string(),
            settings,
            configured,
            shared,
            health: watch::Sender::new(BackendHealth::Starting),
            answers: watch::Sender::new(false),
            mode: watch::Sender::new(BackendMode::Open),
            facts: Mutex::default(),
            turns: SubmitTurns::new(),
            feeds: AttemptFeeds::default(),
            capabilities: BackendCapabilities::default(),
            queue_remaining: AtomicU64::new(0),
            statuses: AtomicU64::new(0),
            listening: AtomicBool::new(false),
            listening_since: AtomicI64::new(0),
            probe_now: Notify::new(),
            probe_soon: Notify::new(),
            restarts: watch::Sender::new(0),
            deaf: Notify::new(),
            retired: CancellationToken::new(),
        })
    }

    /// Its name.
    #[must_use]
    pub const fn name(&self) -> &BackendName {
        &self.settings.name
    }

    /// How it was set up.
    #[must_use]
    pub const fn settings(&self) -> &BackendSettings {
        &self.settings
    }

    /// Whether it stands in the configuration, rather than having been added later.
    #[must_use]
    pub const fn is_configured(&self) -> bool {
        self.configured
    }

    /// Its client.
    #[must_use]
    pub const fn client(&self) -> &ComfyClient {
        &self.client
    }

    /// Jobs it is given at once when all is well.
    #[must_use]
    pub const fn slots(&self) -> usize {
        self.settings.slots
    }

    /// What it is called besides.
    #[must_use]
    pub fn labels(&self) -> &[String] {
        &self.settings.labels
    }

    /// What ComfyUI knows this gateway as.
    #[must_use]
    pub fn client_id(&self) -> &str {
        &self.client_id
    }

    /// Its health now.
    #[must_use]
    pub fn health(&self) -> BackendHealth {
        self.health.borrow().clone()
    }

    /// Whether its health lets it have work, whatever its mode.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        self.health.borrow().is_usable()
    }

    /// A view of its health that tells of changes.
    #[must_use]
    pub fn watch_health(&self) -> watch::Receiver<BackendHealth> {
        self.health.subscribe()
    }

    /// What an operator wants of it.
    #[must_use]
    pub fn mode(&self) -> BackendMode {
        *self.mode.borrow()
    }

    /// A view of its mode that tells of changes.
    #[must_use]
    pub fn watch_mode(&self) -> watch::Receiver<BackendMode> {
        self.mode.subscribe()
    }

    /// Changes what is wanted of it. To open it also ends what its circuit breaker holds against it.
    pub fn set_mode(&self, mode: BackendMode) {
        self.mode.send_if_modified(|known| std::mem::replace(known, mode) != mode);
        self.note(|facts| {
            if mode == BackendMode::Open {
                facts.standing.breaker.success();
            }
        });
    }

    /// Whether it may be given work now: its health allows it and its mode is [`BackendMode::Open`].
    #[must_use]
    pub fn takes_work(&self) -> bool {
        self.mode() == BackendMode::Open && self.is_usable()
    }

    /// Jobs it may have from us at once now: none if it takes no work, one while it is on trial, else its slots.
    #[must_use]
    pub fn slots_now(&self) -> usize {
        if !self.takes_work() {
            return 0;
        }
        let on_trial = self.facts().standing.breaker.phase(self.clock().now()) == BreakerPhase::Trial;
        if on_trial { 1 } else { self.slots() }
    }

    /// Whether it was told to drain and has done so: nothing of ours is left there.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        self.mode() == BackendMode::Draining
            && self.in_flight() == 0
            && self.facts().standing.quarantined.is_empty()
    }

    /// Jobs of others in its queue, as last seen.
    #[must_use]
    pub fn foreign(&self) -> u64 {
        self.facts().standing.foreign
    }

    /// Its ComfyUI version, where it told.
    #[must_use]
    pub fn version(&self) -> Option<String> {
        self.facts().version.clone()
    }

    /// The memory of its first device, where it told.
    #[must_use]
    pub fn vram(&self) -> Option<DeviceMemory> {
        self.facts().vram
    }

    /// The model files that it has loaded, as far as the scheduler knows; empty after a restart.
    #[must_use]
    pub fn loaded(&self) -> Vec<String> {
        self.facts().loaded.clone()
    }

    /// Says which model files it has loaded.
    pub fn set_loaded(&self, models: Vec<String>) {
        self.facts().loaded = models;
    }

    /// What became of its runs.
    #[must_use]
    pub fn totals(&self) -> RunTotals {
        self.facts().totals.clone()
    }

    /// Whether it has work of ours that it is to give back unless it runs: it is drained, or runs nothing any more.
    #[must_use]
    pub fn gives_back(&self) -> bool {
        self.mode() == BackendMode::Draining || self.is_stuck()
    }

    /// Its health's name; its mode's, if that alone keeps it from having work.
    #[must_use]
    pub fn state(&self) -> &'static str {
        self.health.borrow().under(self.mode())
    }

    /// Changes whenever it may have been restarted.
    #[must_use]
    pub fn restart_count(&self) -> u64 {
        *self.restarts.borrow()
    }

    /// Since when its websocket stands; `None` while it does not.
    #[must_use]
    pub fn listening_since(&self) -> Option<UnixMillis> {
        let since = self.listening_since.load(Ordering::Relaxed);
        (self.is_listening() && since > 0).then(|| UnixMillis::from_millis(since))
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
        self.feeds.len()
    }

    /// A job's place in the order in which the server is given its jobs.
    #[must_use]
    pub fn take_turn(&self) -> SubmitTurn {
        self.turns.take()
    }

    pub(super) const fn clock(&self) -> &Arc<dyn Clock> {
        &self.shared.clock
    }

    pub(super) fn catalogue(&self) -> &ClassCatalogue {
        &self.shared.catalogue
    }

    /// A view of whether it answers that tells of changes.
    pub(super) fn watch_answers(&self) -> watch::Receiver<bool> {
        self.answers.subscribe()
    }

    /// About `wait`: servers that went down together are not asked at the same moment for ever.
    pub(super) fn jittered(&self, wait: Duration) -> Duration {
        wait.mul_f64(0.9 + self.shared.random.fraction() / 5.0)
    }

    /// The moment at which its circuit breaker lets it try again, if it must wait for one.
    pub(super) fn trial_at(&self) -> Option<UnixMillis> {
        match self.facts().standing.breaker.phase(self.clock().now()) {
            BreakerPhase::Open(until) => Some(until),
            BreakerPhase::Closed | BreakerPhase::Trial => None,
        }
    }

    pub(super) fn facts(&self) -> MutexGuard<'_, BackendFacts> {
        self.facts.lock_anyway()
    }

    /// Changes facts, judges them anew, and tells whoever goes by them.
    pub(super) fn note<T>(&self, change: impl FnOnce(&mut BackendFacts) -> T) -> T {
        let now = self.clock().now();
        let mut facts = self.facts();
        let value = change(&mut facts);
        let answers = facts.standing.answers == crate::pool::health::facts::AnswerState::Yes;
        self.publish(&facts.standing, now);
        self.answers.send_if_modified(|known| std::mem::replace(known, answers) != answers);
        let usable = self.health.borrow().is_usable();
        let mode = self.mode();
        let offer = BackendOffer {
            usable,
            mode,
            on_trial: facts.standing.breaker.phase(now) == BreakerPhase::Trial,
            foreign: facts.standing.foreign,
        };
        let changed = std::mem::replace(&mut facts.offer, offer) != offer;
        drop(facts);
        if changed {
            self.shared.changes.send_modify(|generation| *generation += 1);
        }
        value
    }

    fn publish(&self, standing: &HealthFacts, now: UnixMillis) {
        let judged = standing.judge(now);
        let before = self.health.borrow().as_str();
        self.health.send_if_modified(|health| {
            let next = health.followed_by(judged, now);
            std::mem::replace(health, next) != *health
        });
        let health = self.health.borrow();
        let (name, state, reason) = (self.name(), health.as_str(), health.reason().unwrap_or_default());
        match &*health {
            _ if state == before => {}
            BackendHealth::Down { .. } => tracing::warn!(backend = %name, reason, "the server is down"),
            BackendHealth::Degraded { .. } => {
                tracing::warn!(backend = %name, reason, "the server is degraded")
            }
            BackendHealth::Starting | BackendHealth::Up { .. } => {
                tracing::info!(backend = %name, "the server is {state}")
            }
        }
    }
}
