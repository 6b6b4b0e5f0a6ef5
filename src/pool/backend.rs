//! One backend of the pool. Its responsibilities are in parts; this file joins them where one event concerns
//! several.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::capabilities::catalogue::ClassCatalogue;
use super::capabilities::object_info::BackendCapabilities;
use super::feeds::AttemptFeeds;
use super::health::facts::{AnswerState, HealthFacts};
use super::health::monitor::HealthMonitor;
use super::health::totals::RunOutcome;
use super::memory::BackendMemory;
use super::settings::BackendSettings;
use super::turns::SubmitTurns;
use super::websocket::WebsocketState;
use crate::clock::Clock;
use crate::comfy::{ComfyClient, ComfyError, EndpointError, QueueSnapshot, SystemStats};
use crate::domain::id::{BackendName, GatewayId};
use crate::domain::mode::BackendMode;
use crate::random::Random;

/// Everything that the backends of one pool share.
#[derive(Debug, Clone)]
pub(super) struct PoolShared {
    pub gateway_id: GatewayId,
    pub clock: Arc<dyn Clock>,
    /// The source of jitter.
    pub random: Arc<Random>,
    pub catalogue: Arc<ClassCatalogue>,
    /// Counts the changes of the pool.
    pub changes: watch::Sender<u64>,
}

/// One backend of the pool.
#[derive(Debug)]
pub struct Backend {
    settings: BackendSettings,
    configured: bool,
    client: ComfyClient,
    client_id: String,
    clock: Arc<dyn Clock>,
    random: Arc<Random>,
    health: HealthMonitor,
    capabilities: BackendCapabilities,
    feeds: AttemptFeeds,
    memory: BackendMemory,
    turns: SubmitTurns,
    websocket: WebsocketState,
    restarts: watch::Sender<u64>,
    retired: CancellationToken,
}

impl Backend {
    pub(super) fn new(
        settings: BackendSettings,
        configured: bool,
        shared: PoolShared,
    ) -> Result<Self, EndpointError> {
        let PoolShared { gateway_id, clock, random, catalogue, changes } = shared;
        let (name, client) =
            (settings.name.clone(), ComfyClient::new(settings.endpoint.clone(), clock.clone())?);
        Ok(Self {
            health: HealthMonitor::new(name.clone(), clock.clone(), changes),
            capabilities: BackendCapabilities::new(name, client.clone(), clock.clone(), catalogue),
            feeds: AttemptFeeds::new(clock.clone()),
            memory: BackendMemory::default(),
            turns: SubmitTurns::new(),
            websocket: WebsocketState::default(),
            restarts: watch::Sender::new(0),
            retired: CancellationToken::new(),
            client_id: gateway_id.to_string(),
            client,
            configured,
            settings,
            clock,
            random,
        })
    }

    /// Its name, unique in the pool.
    #[must_use]
    pub const fn name(&self) -> &BackendName {
        &self.settings.name
    }

    /// Its settings, which never change: a backend with other settings is another [`Backend`].
    #[must_use]
    pub const fn settings(&self) -> &BackendSettings {
        &self.settings
    }

    /// Whether it comes from the configuration. Otherwise it was added through the API.
    #[must_use]
    pub const fn is_configured(&self) -> bool {
        self.configured
    }

    /// The client for its ComfyUI.
    #[must_use]
    pub const fn client(&self) -> &ComfyClient {
        &self.client
    }

    /// The client id under which this gateway submits jobs and opens websockets.
    #[must_use]
    pub fn client_id(&self) -> &str {
        &self.client_id
    }

    /// Its health and the facts behind it.
    #[must_use]
    pub const fn health(&self) -> &HealthMonitor {
        &self.health
    }

    /// Its node classes and version.
    #[must_use]
    pub const fn capabilities(&self) -> &BackendCapabilities {
        &self.capabilities
    }

    /// The feeds of our attempts on it.
    #[must_use]
    pub const fn feeds(&self) -> &AttemptFeeds {
        &self.feeds
    }

    /// Its memory and the models loaded there.
    #[must_use]
    pub const fn memory(&self) -> &BackendMemory {
        &self.memory
    }

    /// The order in which jobs are submitted to it.
    #[must_use]
    pub const fn turns(&self) -> &SubmitTurns {
        &self.turns
    }

    /// The state of its websocket.
    #[must_use]
    pub const fn websocket(&self) -> &WebsocketState {
        &self.websocket
    }

    /// The mode that an operator has set.
    #[must_use]
    pub fn mode(&self) -> BackendMode {
        self.health.mode()
    }

    /// Sets the mode. [`BackendMode::Open`] also closes its circuit breaker, so that it gets work at once.
    pub fn set_mode(&self, mode: BackendMode) {
        self.health.set_mode(mode);
    }

    /// The name of its state: that of the mode if only the mode keeps work away, otherwise that of the health.
    #[must_use]
    pub fn state_name(&self) -> &'static str {
        self.health.state_name()
    }

    /// Whether its health and its mode both allow work.
    #[must_use]
    pub fn can_take_work(&self) -> bool {
        self.mode() == BackendMode::Open && self.health.is_usable()
    }

    /// The most jobs it may have from this gateway now: none if it takes no work, one on trial, else all its slots.
    #[must_use]
    pub fn usable_slots(&self) -> usize {
        if !self.can_take_work() {
            return 0;
        }
        if self.health.is_on_trial() { 1 } else { self.settings.slots }
    }

    /// Whether it is draining and none of our runs is left on it.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        self.mode() == BackendMode::Draining && self.feeds.count() == 0 && !self.health.has_quarantined_runs()
    }

    /// Whether attempts must withdraw their jobs that wait in its queue, because it drains or will not run them.
    #[must_use]
    pub fn is_recalling_jobs(&self) -> bool {
        self.mode() == BackendMode::Draining || self.health.is_stuck()
    }

    /// A counter that changes with every possible restart of its ComfyUI.
    #[must_use]
    pub fn restart_count(&self) -> u64 {
        *self.restarts.borrow()
    }

    /// Marks it down because a call could not reach it, until a probe succeeds. That probe is made at once.
    pub fn mark_down(&self, error: &ComfyError) {
        self.health.mark_down(error.to_string());
        self.health.request_probe();
    }

    /// Assumes that its ComfyUI was restarted, because a run vanished or the websocket was lost.
    pub fn mark_restarted(&self) {
        self.health.change(HealthFacts::forget_process);
        self.announce_restart();
        self.health.request_probe();
    }

    /// Counts an ended run. Call this before the feed of its attempt is closed, because the breaker takes the
    /// number of other open feeds into account.
    pub fn record_run(&self, outcome: RunOutcome) {
        self.health.count_run(outcome, self.feeds.count().saturating_sub(1));
    }

    pub(super) const fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    /// Cancelled when the backend is removed from the pool.
    pub(super) const fn retired(&self) -> &CancellationToken {
        &self.retired
    }

    pub(super) fn subscribe_to_restarts(&self) -> watch::Receiver<u64> {
        self.restarts.subscribe()
    }

    /// `wait`, changed by up to 10 % either way, so that backends that went down together are not all asked
    /// at once.
    pub(super) fn jitter(&self, wait: Duration) -> Duration {
        wait.mul_f64(0.9 + self.random.fraction() / 5.0)
    }

    /// Records a successful probe. A backend that did not answer before may have been restarted meanwhile.
    pub(super) fn mark_up(&self, stats: SystemStats) {
        self.memory.set_vram(&stats);
        self.capabilities.set_version(stats.version);
        let now = self.clock.now();
        let came_back = self.health.change(|facts| {
            let before = std::mem::replace(&mut facts.answers, AnswerState::Yes);
            let came_back = before != AnswerState::Yes;
            if came_back && facts.missing_websocket.is_none() && !self.websocket.is_open() {
                facts.missing_websocket = Some((now, "it has not been opened yet".to_owned()));
            }
            if came_back {
                facts.forget_process();
                self.memory.forget_models();
            }
            came_back
        });
        if came_back {
            self.announce_restart();
        }
    }

    /// Records that the websocket was opened, or why there is none.
    pub(super) fn set_websocket(&self, opened: Result<(), String>) {
        let now = self.clock.now();
        self.websocket.set_open(opened.is_ok(), now);
        self.health.change(|facts| {
            let since = facts.missing_websocket.take().map_or(now, |(since, _)| since);
            facts.missing_websocket = opened.err().map(|reason| (since, reason));
        });
    }

    /// Records a queue snapshot. `asked_with` are the runs that were in quarantine when it was requested.
    pub(super) fn record_queue(&self, queue: &QueueSnapshot, asked_with: &[String]) {
        let (now, watched) = (self.clock.now(), self.feeds.ids());
        self.feeds.mark_running(&queue.running);
        let restarted = self.health.change(|facts| {
            let restarted = facts.observe_queue(now, queue, &self.client_id, &watched, asked_with);
            if restarted {
                facts.forget_process();
            }
            restarted
        });
        if restarted {
            tracing::info!(backend = %self.name(), "the backend was restarted");
            self.announce_restart();
        }
        self.websocket.compare_queue(queue.jobs.len());
    }

    fn announce_restart(&self) {
        self.memory.forget_models();
        self.restarts.send_modify(|count| *count += 1);
    }
}
