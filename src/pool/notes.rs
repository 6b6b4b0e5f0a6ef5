//! What is known of one server, and what those tell of it who deal with it: the monitor, the scheduler's attempts. It
//! must not ask the server anything.

use std::sync::Arc;

use crate::comfy::{ComfyError, QueueSnapshot, SystemStats};
use crate::domain::id::{AttemptId, PromptId};
use crate::domain::mode::BackendMode;
use crate::domain::progress::ProgressTracker;
use crate::pool::backend::Backend;
use crate::pool::feed::AttemptFeed;
use crate::pool::health::facts::{AnswerState, HealthFacts, QuarantinedRun};
use crate::pool::health::totals::{RunOutcome, RunTotals};

/// Looks in a row at which the websocket has told another length of the queue than HTTP, and nothing in between.
const DEAF_LOOKS: u32 = 2;

/// The memory of a server's first device, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceMemory {
    /// All of it.
    pub total: u64,
    /// What is free, as last told.
    pub free: u64,
}

/// What those who give work go by; a change of it is a change of the pool.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct BackendOffer {
    pub usable: bool,
    pub mode: BackendMode,
    pub on_trial: bool,
    pub foreign: u64,
}

/// All that is known of a server.
#[derive(Debug, Default)]
pub(super) struct BackendFacts {
    pub standing: HealthFacts,
    pub totals: RunTotals,
    pub version: Option<String>,
    pub vram: Option<DeviceMemory>,
    pub loaded: Vec<String>,
    pub offer: BackendOffer,
    ear: SocketHearing,
}

/// Whether the websocket tells what HTTP does.
#[derive(Debug, Default)]
struct SocketHearing {
    statuses: u64,
    misses: u32,
}

impl SocketHearing {
    /// Takes a look at the queue in; whether the websocket is deaf.
    fn is_deaf(&mut self, statuses: u64, told: u64, is: usize) -> bool {
        let missed = told != is as u64 && statuses == self.statuses;
        self.misses = if missed { self.misses + 1 } else { 0 };
        self.statuses = statuses;
        self.misses >= DEAF_LOOKS
    }
}

impl Backend {
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

    /// A run that it had has vanished: whatever was known of its memory may be over.
    pub fn found_restarted(&self) {
        self.note(|facts| facts.standing.has_restarted());
        self.may_have_restarted();
        self.probe_now.notify_one();
    }

    /// Tells how a run there ended. Call it before the run's feed is closed.
    pub fn report(&self, outcome: RunOutcome) {
        let (now, others) = (self.clock().now(), self.in_flight().saturating_sub(1));
        self.note(|facts| {
            facts.totals.count(&outcome);
            let breaker = &mut facts.standing.breaker;
            match outcome {
                RunOutcome::Completed => breaker.success(),
                RunOutcome::Failed => breaker.neutral(),
                RunOutcome::ServerFault(reason) => {
                    breaker.fault(now, reason, others);
                    self.probe_now.notify_one();
                }
            }
        });
    }

    /// It does not give a run up: it takes no work until its queue does not list that run any more.
    pub fn quarantine(&self, reason: String, run: AttemptId) {
        let held = QuarantinedRun { run: run.to_string(), reason };
        self.note(|facts| {
            facts.standing.quarantined.retain(|known| known.run != held.run);
            facts.standing.quarantined.push(held);
        });
        self.probe_now.notify_one();
    }

    /// Whether it holds a run that it does not give up, or its worker does not move: what waits there will not run.
    #[must_use]
    pub fn is_stuck(&self) -> bool {
        let facts = self.facts();
        !facts.standing.quarantined.is_empty() || facts.standing.worker.is_dead()
    }

    /// Opens the feed of an attempt, before it is submitted. [`Backend::close_feed`] ends it.
    #[must_use]
    pub fn open_feed(
        &self,
        attempt: AttemptId,
        prompt_id: PromptId,
        progress: ProgressTracker,
    ) -> Arc<AttemptFeed> {
        self.feeds.open(&attempt.to_string(), prompt_id, progress, self.clock().clone())
    }

    /// Ends the feed of an attempt.
    pub fn close_feed(&self, attempt: AttemptId) {
        self.feeds.close(&attempt.to_string());
    }

    /// The feeds of our attempts there, in the order in which they were opened.
    #[must_use]
    pub fn open_feeds(&self) -> Vec<Arc<AttemptFeed>> {
        self.feeds.all()
    }

    /// It answers, and says this of itself.
    pub(super) fn is_up(&self, stats: SystemStats) {
        let device = stats.devices.first();
        let vram = device
            .and_then(|device| Some(DeviceMemory { total: device.vram_total?, free: device.vram_free? }));
        let now = self.clock().now();
        let came_back = self.note(|facts| {
            (facts.version, facts.vram) = (stats.version, vram);
            let before = std::mem::replace(&mut facts.standing.answers, AnswerState::Yes);
            if before != AnswerState::Yes && facts.standing.no_websocket.is_none() && !self.is_listening() {
                facts.standing.no_websocket = Some((now, "it has not been opened yet".to_owned()));
            }
            let came_back = before != AnswerState::Yes;
            if came_back {
                facts.standing.has_restarted();
                facts.loaded.clear();
            }
            came_back
        });
        if came_back {
            self.may_have_restarted();
        }
    }

    /// It does not answer, or not as ComfyUI does.
    pub(super) fn is_down(&self, reason: String) {
        self.note(|facts| {
            facts.standing.answers = AnswerState::No(reason);
            facts.standing.no_websocket = None;
            facts.standing.foreign = 0;
        });
    }

    /// Its websocket stands, or why it does not.
    pub(super) fn has_websocket(&self, stands: Result<(), String>) {
        self.listening_since.store(self.clock().now().as_millis(), std::sync::atomic::Ordering::Relaxed);
        self.listening.store(stands.is_ok(), std::sync::atomic::Ordering::Relaxed);
        let now = self.clock().now();
        self.note(|facts| {
            let since = facts.standing.no_websocket.take().map_or(now, |(since, _)| since);
            facts.standing.no_websocket = stands.err().map(|reason| (since, reason));
        });
    }

    /// The runs that are in quarantine.
    pub(super) fn quarantined(&self) -> Vec<String> {
        self.facts().standing.quarantined.iter().map(|held| held.run.clone()).collect()
    }

    /// Takes in what its queue showed; `asked_with` are the runs that were in quarantine when it was asked.
    pub(super) fn queue_showed(&self, queue: &QueueSnapshot, asked_with: &[String]) {
        let (now, open) = (self.clock().now(), self.feeds.ids());
        self.feeds.seen_running(&queue.running);
        let statuses = self.statuses.load(std::sync::atomic::Ordering::Relaxed);
        let (restarted, deaf) = self.note(|facts| {
            let restarted = facts.standing.see_queue(now, queue, self.client_id(), &open, asked_with);
            if restarted {
                facts.standing.has_restarted();
            }
            (restarted, facts.ear.is_deaf(statuses, self.queue_remaining(), queue.jobs.len()))
        });
        if restarted {
            tracing::info!(backend = %self.name(), "the server was restarted");
            self.may_have_restarted();
        }
        if deaf {
            self.found_deaf();
        }
    }

    /// What was known of what it can run and of what it has loaded may be over.
    pub(super) fn may_have_restarted(&self) {
        self.facts().loaded.clear();
        self.restarts.send_modify(|count| *count += 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_websocket_is_deaf_when_it_twice_missed_what_http_tells_and_said_nothing_in_between() {
        let mut ear = SocketHearing::default();
        assert!(!ear.is_deaf(1, 0, 1), "the word may be on its way");
        assert!(!ear.is_deaf(2, 0, 2), "it said something since");
        assert!(!ear.is_deaf(2, 2, 2));
        assert!(!ear.is_deaf(2, 2, 3));
        assert!(ear.is_deaf(2, 2, 3));
    }
}
