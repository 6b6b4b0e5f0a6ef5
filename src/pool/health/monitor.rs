//! Keeps the facts about one backend, judges them after each change, and announces the result.

use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::{Notify, watch};

use super::breaker::BreakerPhase;
use super::facts::{AnswerState, HealthFacts, QuarantinedRun};
use super::state::BackendHealth;
use super::totals::{RunOutcome, RunTotals};
use crate::clock::Clock;
use crate::domain::id::{AttemptId, BackendName};
use crate::domain::mode::BackendMode;
use crate::domain::time::UnixMillis;
use crate::lock::LockExt;

/// Everything that decides how much work a backend is offered. A change of it is a change of the pool.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct BackendOffer {
    usable: bool,
    mode: BackendMode,
    on_trial: bool,
    foreign_jobs: u64,
}

#[derive(Debug, Default)]
struct JudgedFacts {
    facts: HealthFacts,
    /// The offer that was last announced.
    offer: BackendOffer,
}

/// The health and the mode of one backend.
#[derive(Debug)]
pub struct HealthMonitor {
    name: BackendName,
    clock: Arc<dyn Clock>,
    /// The change counter of the whole pool.
    pool_changes: watch::Sender<u64>,
    health: watch::Sender<BackendHealth>,
    /// Whether the backend answers HTTP, whether or not it is given work.
    answers: watch::Sender<bool>,
    mode: watch::Sender<BackendMode>,
    judged: Mutex<JudgedFacts>,
    totals: Mutex<RunTotals>,
    probe_now: Notify,
    probe_soon: Notify,
}

impl HealthMonitor {
    pub(in crate::pool) fn new(
        name: BackendName,
        clock: Arc<dyn Clock>,
        pool_changes: watch::Sender<u64>,
    ) -> Self {
        Self {
            name,
            clock,
            pool_changes,
            health: watch::Sender::new(BackendHealth::Starting),
            answers: watch::Sender::new(false),
            mode: watch::Sender::new(BackendMode::Open),
            judged: Mutex::default(),
            totals: Mutex::default(),
            probe_now: Notify::new(),
            probe_soon: Notify::new(),
        }
    }

    /// The current health.
    #[must_use]
    pub fn current(&self) -> BackendHealth {
        self.health.borrow().clone()
    }

    /// Whether the health allows work, regardless of the mode.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        self.health.borrow().is_usable()
    }

    /// Whether the backend gets at most one job at a time because its circuit breaker has just opened.
    #[must_use]
    pub fn is_on_trial(&self) -> bool {
        self.breaker_phase() == BreakerPhase::Trial
    }

    /// Whether waiting jobs will not run there: a run is in quarantine, or the worker of ComfyUI is dead.
    #[must_use]
    pub fn is_stuck(&self) -> bool {
        let judged = self.judged();
        !judged.facts.quarantined.is_empty() || judged.facts.worker.is_dead()
    }

    /// Jobs in the backend's queue, as of the last probe, that no attempt of this gateway watches.
    #[must_use]
    pub fn foreign_jobs(&self) -> u64 {
        self.judged().facts.foreign_jobs
    }

    /// How the ended runs ended.
    #[must_use]
    pub fn totals(&self) -> RunTotals {
        self.totals.lock_anyway().clone()
    }

    /// Stops giving work to the backend until a queue snapshot no longer lists `run`, a run that it does not end.
    pub fn quarantine(&self, reason: String, run: AttemptId) {
        let held = QuarantinedRun { run: run.to_string(), reason };
        self.change(|facts| {
            facts.quarantined.retain(|known| known.run != held.run);
            facts.quarantined.push(held);
        });
        self.request_probe();
    }

    pub(in crate::pool) fn mode(&self) -> BackendMode {
        *self.mode.borrow()
    }

    /// Sets the mode. [`BackendMode::Open`] also closes the circuit breaker: an operator vouches for the backend.
    pub(in crate::pool) fn set_mode(&self, mode: BackendMode) {
        self.mode.send_if_modified(|current| std::mem::replace(current, mode) != mode);
        self.change(|facts| {
            if mode == BackendMode::Open {
                facts.breaker.close();
            }
        });
    }

    pub(in crate::pool) fn state_name(&self) -> &'static str {
        self.health.borrow().name_in_mode(self.mode())
    }

    /// Counts an ended run; `others` of our runs are still in flight there.
    pub(in crate::pool) fn count_run(&self, outcome: RunOutcome, others: usize) {
        self.totals.lock_anyway().count(&outcome);
        let now = self.clock.now();
        self.change(|facts| match outcome {
            RunOutcome::Completed => facts.breaker.close(),
            RunOutcome::Failed => facts.breaker.count_neutral(),
            RunOutcome::BackendFault(reason) => {
                facts.breaker.count_fault(now, reason, others);
                self.request_probe();
            }
        });
    }

    pub(in crate::pool) fn mark_down(&self, reason: String) {
        self.change(|facts| {
            facts.answers = AnswerState::No(reason);
            facts.missing_websocket = None;
            facts.foreign_jobs = 0;
        });
    }

    /// Whether any run is in quarantine.
    pub(in crate::pool) fn has_quarantined_runs(&self) -> bool {
        !self.judged().facts.quarantined.is_empty()
    }

    /// The ids of the runs in quarantine.
    pub(in crate::pool) fn quarantined_runs(&self) -> Vec<String> {
        self.judged().facts.quarantined.iter().map(|held| held.run.clone()).collect()
    }

    /// When the open circuit breaker allows a trial; `None` while it is not open.
    pub(in crate::pool) fn trial_at(&self) -> Option<UnixMillis> {
        match self.breaker_phase() {
            BreakerPhase::Open(until) => Some(until),
            BreakerPhase::Closed | BreakerPhase::Trial => None,
        }
    }

    /// Waits until the backend answers; returns at once if it does.
    pub(in crate::pool) async fn until_answering(&self) {
        // The sender is part of `self`, so it outlives this wait and the wait cannot fail.
        let mut answers = self.answers.subscribe();
        drop(answers.wait_for(|answers| *answers).await);
    }

    /// Ends the current wait between two probes.
    pub(in crate::pool) fn request_probe(&self) {
        self.probe_now.notify_one();
    }

    /// Shortens the current wait between two probes, because another client may have submitted a job.
    pub(in crate::pool) fn request_probe_soon(&self) {
        self.probe_soon.notify_one();
    }

    /// Waits for [`Self::request_probe`] and consumes the request.
    pub(in crate::pool) async fn until_probe_requested(&self) {
        self.probe_now.notified().await;
    }

    /// Waits for [`Self::request_probe_soon`] and consumes the request.
    pub(in crate::pool) async fn until_probe_soon_requested(&self) {
        self.probe_soon.notified().await;
    }

    /// Changes the facts, judges them again, and announces what follows. The facts stay locked until the new health
    /// is visible, so changes are announced in the order in which they were made.
    pub(in crate::pool) fn change<T>(&self, change: impl FnOnce(&mut HealthFacts) -> T) -> T {
        let now = self.clock.now();
        let mut judged = self.judged();
        let value = change(&mut judged.facts);
        self.publish_health(&judged.facts, now);
        let answers = judged.facts.answers == AnswerState::Yes;
        self.answers.send_if_modified(|known| std::mem::replace(known, answers) != answers);
        let offer = BackendOffer {
            usable: self.is_usable(),
            mode: self.mode(),
            on_trial: judged.facts.breaker.phase(now) == BreakerPhase::Trial,
            foreign_jobs: judged.facts.foreign_jobs,
        };
        let changed = std::mem::replace(&mut judged.offer, offer) != offer;
        drop(judged);
        if changed {
            self.pool_changes.send_modify(|generation| *generation += 1);
        }
        value
    }

    fn publish_health(&self, facts: &HealthFacts, now: UnixMillis) {
        let verdict = facts.judge(now);
        let before = self.health.borrow().as_str();
        self.health.send_if_modified(|health| {
            let next = health.followed_by(verdict, now);
            std::mem::replace(health, next) != *health
        });
        let health = self.health.borrow();
        let (name, state, reason) = (&self.name, health.as_str(), health.reason().unwrap_or_default());
        match &*health {
            _ if state == before => {}
            BackendHealth::Down { .. } => tracing::warn!(backend = %name, reason, "the backend is down"),
            BackendHealth::Degraded { .. } => {
                tracing::warn!(backend = %name, reason, "the backend is degraded");
            }
            BackendHealth::Starting | BackendHealth::Up { .. } => {
                tracing::info!(backend = %name, "the backend is {state}");
            }
        }
    }

    fn breaker_phase(&self) -> BreakerPhase {
        self.judged().facts.breaker.phase(self.clock.now())
    }

    fn judged(&self) -> MutexGuard<'_, JudgedFacts> {
        self.judged.lock_anyway()
    }
}
