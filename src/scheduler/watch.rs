//! Watching a run until its end is proven. The websocket says when to look; HTTP says what is.

use std::time::Duration;

use super::attempt::Attempt;
use super::verdict::{EarlyEnd, Retry, Verdict};
use crate::comfy::{ComfyError, HistoryEntry};
use crate::domain::time::UnixMillis;

/// Silence of the websocket after which the server's queue is asked too.
const SILENCE: Duration = Duration::from_millis(1_500);
/// The first wait when the end was heard but the history has no entry yet; it doubles.
const SETTLING: Duration = Duration::from_millis(5);
/// Looks in a row that must miss a run before it counts as lost.
const MISSES: u32 = 2;
/// Between two interrupts of a run that goes on.
const INTERRUPT_AGAIN: Duration = Duration::from_secs(2);

/// What one look at the server showed.
#[derive(Debug)]
pub(super) enum Sighting {
    /// It ended.
    Ended(Box<HistoryEntry>),
    /// It runs.
    Running,
    /// It waits in the server's queue.
    Pending,
    /// Neither the queue nor the history has it.
    Absent,
    /// Nothing listens: if that stays so, whatever the server had is gone with it.
    Refused,
    /// There was no clear answer.
    Unreachable(ComfyError),
}

/// What a watch remembers from look to look.
#[derive(Debug, Default)]
struct Memory {
    /// The server has or had the run.
    sighted: bool,
    misses: u32,
    refused_since: Option<UnixMillis>,
    unreachable_since: Option<UnixMillis>,
    looks_after_end: u32,
    running_since: Option<UnixMillis>,
    ending: Option<(EarlyEnd, UnixMillis)>,
    interrupted_at: Option<UnixMillis>,
}

impl Attempt {
    /// Watches until the run's end is proven. `doubtful`: the server may not have the run at all (adoption).
    pub(super) async fn watch(&self, doubtful: bool) -> Verdict {
        let began = self.now();
        let mut memory = Memory { sighted: !doubtful, ..Memory::default() };
        let mut wait = if doubtful { Duration::ZERO } else { self.parts.settings.poll };
        loop {
            self.wait(wait, &memory).await;
            self.note_ending(&mut memory);
            let asked_queue =
                !memory.sighted || memory.ending.is_some() || memory.misses > 0 || self.is_silent(began);
            let sighting = if asked_queue { self.look().await } else { self.glance().await };
            if let Some(verdict) = self.judge(sighting, asked_queue, &mut memory).await {
                return verdict;
            }
            wait = self.next_wait(&memory);
        }
    }

    async fn wait(&self, wait: Duration, memory: &Memory) {
        tokio::select! {
            () = self.parts.clock.sleep(wait) => {}
            () = self.feed.ended(), if memory.looks_after_end == 0 => {}
            () = self.cancel.cancelled(), if memory.ending.is_none() => {}
        }
    }

    fn next_wait(&self, memory: &Memory) -> Duration {
        let poll = self.parts.settings.poll;
        if self.feed.has_ended() {
            return SETTLING.saturating_mul(1 << memory.looks_after_end.min(10)).min(poll);
        }
        if memory.ending.is_some() || memory.refused_since.is_some() {
            return poll / 4;
        }
        let running_since = self.feed.started_at().or(memory.running_since);
        let overdue_at = running_since.map(|since| since.plus(self.job.run_timeout));
        overdue_at.map_or(poll, |moment| poll.min(moment.since(self.now())))
    }

    /// Nothing was heard of the run for a while.
    fn is_silent(&self, began: UnixMillis) -> bool {
        self.now().since(self.feed.last_at().unwrap_or(began)) >= SILENCE
    }

    /// Decides whether the run is to be ended early from now on.
    fn note_ending(&self, memory: &mut Memory) {
        if memory.ending.is_some() {
            return;
        }
        let now = self.now();
        memory.running_since = self.feed.started_at().or(memory.running_since);
        if self.cancel.is_cancelled() {
            memory.ending = Some((EarlyEnd::Cancel, now));
        } else if memory.running_since.is_some_and(|since| now.since(since) >= self.job.run_timeout) {
            memory.ending = Some((EarlyEnd::Timeout, now));
        }
    }

    /// Asks the history alone.
    async fn glance(&self) -> Sighting {
        match self.backend.client().history(&self.id()).await {
            Ok(Some(entry)) => Sighting::Ended(Box::new(entry)),
            // Nothing doubtful was heard: as far as is known, it runs.
            Ok(None) => Sighting::Running,
            Err(error) => sighting_of(error),
        }
    }

    /// Asks the queue first and the history second: a run that moves from one to the other in between is seen.
    pub(super) async fn look(&self) -> Sighting {
        let id = self.id();
        let queue = match self.backend.client().queue().await {
            Ok(queue) => queue,
            Err(error) => return sighting_of(error),
        };
        if queue.running.contains(&id) {
            return Sighting::Running;
        }
        if queue.pending.contains(&id) {
            return Sighting::Pending;
        }
        match self.backend.client().history(&id).await {
            Ok(Some(entry)) => Sighting::Ended(Box::new(entry)),
            Ok(None) => Sighting::Absent,
            Err(error) => sighting_of(error),
        }
    }

    async fn judge(&self, sighting: Sighting, asked_queue: bool, memory: &mut Memory) -> Option<Verdict> {
        if self.feed.has_ended() {
            memory.looks_after_end += 1;
        }
        if !matches!(sighting, Sighting::Unreachable(_)) {
            memory.unreachable_since = None;
        }
        if !matches!(sighting, Sighting::Refused) {
            memory.refused_since = None;
        }
        match sighting {
            Sighting::Ended(entry) => {
                return Some(Verdict::Ended { entry, early: memory.ending.map(|(why, _)| why) });
            }
            Sighting::Running | Sighting::Pending => {
                (memory.misses, memory.sighted) = (0, true);
                let running = matches!(sighting, Sighting::Running);
                if running && asked_queue && memory.running_since.is_none() {
                    memory.running_since = Some(self.now());
                }
                if memory.ending.is_some() {
                    return self.end_early(running, memory).await;
                }
            }
            Sighting::Absent => {
                memory.misses += 1;
                if memory.misses >= MISSES {
                    return Some(
                        self.gone(memory, "the server no longer knows the job; it was probably restarted")
                            .await,
                    );
                }
            }
            Sighting::Refused => {
                let since = *memory.refused_since.get_or_insert_with(|| self.now());
                if self.now().since(since) >= self.parts.settings.refused_for {
                    return Some(self.gone(memory, "the server went away in mid-job").await);
                }
            }
            Sighting::Unreachable(error) => {
                let since = *memory.unreachable_since.get_or_insert_with(|| self.now());
                tracing::debug!(%error, "no answer about a run");
                if self.now().since(since) >= self.parts.settings.lost_after {
                    return Some(self.gone(memory, "the server could not be reached for too long").await);
                }
            }
        }
        None
    }

    /// The server does not have the run any more.
    async fn gone(&self, memory: &Memory, reason: &str) -> Verdict {
        match memory.ending {
            Some((EarlyEnd::Cancel, _)) => Verdict::Cancelled,
            Some((EarlyEnd::Timeout, _)) => Verdict::Failed(self.overdue()),
            None => {
                self.withdraw().await;
                let reason = format!("{} ({reason})", self.backend.name());
                // One that was taken over before it was sent has cost the server nothing.
                Verdict::Retry(if memory.sighted {
                    Retry::lost(reason)
                } else {
                    Retry::not_delivered(reason)
                })
            }
        }
    }

    /// Takes the run out of the server's queue, or interrupts it if it is the one running.
    async fn end_early(&self, running: bool, memory: &mut Memory) -> Option<Verdict> {
        let (ending, since) = memory.ending?;
        let now = self.now();
        if now.since(since) >= self.parts.settings.interrupt_grace {
            tracing::warn!("the server does not give up a run");
            return Some(if ending == EarlyEnd::Cancel {
                Verdict::Cancelled
            } else {
                Verdict::Failed(self.overdue())
            });
        }
        if memory.interrupted_at.is_some_and(|at| now.since(at) < INTERRUPT_AGAIN) {
            return None;
        }
        let client = self.backend.client();
        let sent = if running {
            memory.interrupted_at = Some(now);
            client.interrupt(&self.id()).await
        } else {
            client.delete_queued(&self.id()).await
        };
        if let Err(error) = sent {
            tracing::debug!(%error, "a run could not be ended early yet");
        }
        None
    }

    /// Makes sure that a run given up cannot start later: a request that broke off may still be under way there.
    pub(super) async fn withdraw(&self) {
        if let Err(error) = self.backend.client().delete_queued(&self.id()).await {
            tracing::debug!(%error, "a lost run could not be withdrawn");
        }
    }
}

fn sighting_of(error: ComfyError) -> Sighting {
    if error.is_refused() { Sighting::Refused } else { Sighting::Unreachable(error) }
}
