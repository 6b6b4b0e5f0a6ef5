//! One attempt as a pure machine, from the submit to the proof of its end: it decides what to ask the backend
//! next, and what the answers mean. It does no I/O, reads no clock and draws no random numbers.
//!
//! ```text
//!  fresh ──▶ Submit ──accepted──▶ watching ◀──────────── adopted (the backend may never have had the run)
//!               │ unclear            │ Wait, Look, Glance
//!               ▼                    ▼
//!            doubting ──found──▶  in history · gone · stuck · requeue
//! ```
//!
//! The websocket says when to look ([`AttemptSignals`]); only HTTP answers say what is the case
//! ([`RunSighting`]).

use std::time::Duration;

use crate::domain::requeue::RequeueCause;
use crate::domain::time::UnixMillis;

/// A websocket that is silent for this long makes a look ask the backend's queue, too.
const SILENCE: Duration = Duration::from_millis(1_500);
/// The first wait when the end was reported but the history has no entry yet. It doubles with each look.
const SETTLING: Duration = Duration::from_millis(5);
/// Looks in a row that must miss a run before it counts as lost.
const MISSES: u32 = 2;
/// The same for a run that the backend may never have had: a request that broke off may still be at work
/// there.
const DOUBTFUL_MISSES: u32 = 3;
/// Between two interrupts of a run that continues.
const INTERRUPT_AGAIN: Duration = Duration::from_secs(2);

/// The time limits of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AttemptLimits {
    /// Between two looks at a run while the websocket reports nothing.
    pub poll: Duration,
    /// A run is lost when its backend has not answered for this long.
    pub lost_after: Duration,
    /// A run is lost when its backend has refused connections for this long.
    pub refused_for: Duration,
    /// A run that is to be stopped and does not end within this time is left to its backend.
    pub interrupt_grace: Duration,
    /// How long the run may execute.
    pub run_timeout: Duration,
    /// How long the run may execute without progress.
    pub stall: Duration,
}

/// What is reported and requested besides the backend's answers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "facts of one moment that have nothing to do with each other"
)]
pub struct AttemptSignals {
    /// A caller requested a cancel.
    pub cancelled: bool,
    /// The job is wanted back unless it runs, because its backend is drained or another one is idle.
    pub recalled: bool,
    /// The websocket reported the end of the run.
    pub end_heard: bool,
    /// When the websocket reported the start of the run.
    pub started_at: Option<UnixMillis>,
    /// When the websocket last reported anything about the run.
    pub heard_at: Option<UnixMillis>,
    /// No other run is known to be ahead of this one on its backend.
    pub at_front: bool,
    /// Since when a websocket is open that could report.
    pub listening_since: Option<UnixMillis>,
}

impl AttemptSignals {
    /// The same signals with no moment after `now`, because the clock may have been set back.
    fn until(&self, now: UnixMillis) -> Self {
        let until = |moment: Option<UnixMillis>| moment.map(|moment| moment.min(now));
        // A report with a moment in the future has an unknown age.
        let heard_at = self.heard_at.map(|at| if at > now { UnixMillis::from_millis(0) } else { at });
        Self {
            heard_at,
            started_at: until(self.started_at),
            listening_since: until(self.listening_since),
            ..*self
        }
    }
}

/// What one look at the backend showed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunSighting {
    /// The run ended: the history has it.
    Ended,
    /// The run executes.
    Running,
    /// The run waits in the backend's queue.
    Pending,
    /// Neither the queue nor the history has the run; or the history alone was asked and lacks it.
    Absent,
    /// Nothing listens. If that stays so, the backend's memory is gone.
    Refused,
    /// There was no clear answer.
    Unreachable,
}

/// The outcome of a submit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SubmitOutcome {
    /// The backend accepted the job.
    Accepted,
    /// The backend accepted only a part of the job, and the job is not `partial`.
    InPart,
    /// Nothing listens, so the backend never received the job.
    NotDelivered,
    /// The backend did not accept the job.
    TurnedAway,
    /// There was no clear answer: the backend may have the job.
    Unclear,
}

/// What the machine is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MachineInput {
    /// The attempt begins.
    Begin,
    /// The submit ended.
    Submitted(SubmitOutcome),
    /// The look ended.
    Seen(RunSighting),
    /// A request that stops the run ended. Only a look tells whether it had an effect.
    Asked,
    /// The wait is over, or a signal changed.
    Woke,
}

/// What the driver does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum NextStep {
    /// Submit the job.
    Submit,
    /// Ask the queue first and the history second, so that a run that moves from one to the other in between
    /// is seen.
    Look,
    /// Ask the history alone.
    Glance,
    /// Wait at most this long for a signal to change.
    Wait(Duration),
    /// Interrupt the run, if it is the one that executes.
    Interrupt,
    /// Remove the run from the backend's queue.
    Withdraw,
    /// Nothing was reported for long: open a new websocket.
    Relisten,
    /// The attempt is over.
    End(AttemptEnd),
}

/// Why a run is stopped before its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EarlyEnd {
    /// A caller requested it.
    Cancel,
    /// The run exceeded its `timeout`.
    Timeout,
    /// The run showed no progress for too long.
    Stall,
    /// The backend accepted only a part of the workflow.
    InPart,
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttemptEnd {
    /// The history has the run, which may have been interrupted.
    InHistory(Option<EarlyEnd>),
    /// The run was stopped and left no trace.
    Gone(EarlyEnd),
    /// The run was to be stopped, and its backend does not end it.
    Stuck(EarlyEnd),
    /// The backend does not have the run. The job returns to the queue.
    Requeue(RequeueCause),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum AttemptPhase {
    Submitting,
    /// The submit had no clear answer.
    Doubting,
    Watching,
    /// The run was given up and withdrawn, so that it cannot start later. One last look follows.
    Leaving(AttemptEnd),
}

/// How a backend has been silent for too long.
enum BackendSilence {
    Refusing,
    Unreachable,
}

/// The state of one attempt.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "facts that do not exclude each other, all its own")]
pub struct AttemptMachine {
    limits: AttemptLimits,
    phase: AttemptPhase,
    began: UnixMillis,
    /// The backend is known to have, or to have had, the run.
    sighted: bool,
    /// The last look asked the queue, too.
    asked_queue: bool,
    misses: u32,
    refused_since: Option<UnixMillis>,
    unreachable_since: Option<UnixMillis>,
    looks_after_end: u32,
    running_since: Option<UnixMillis>,
    /// Whether the run executed when it was last seen.
    runs: bool,
    /// Whether no other run was ahead of this one when the backend last answered.
    at_front: bool,
    ending: Option<(EarlyEnd, UnixMillis)>,
    interrupted_at: Option<UnixMillis>,
    /// A recall was noticed.
    recall_heard: bool,
    /// A recall came, but the run already executes.
    too_late_to_recall: bool,
    withdrawn: bool,
    relistened_at: Option<UnixMillis>,
}

impl AttemptMachine {
    /// An attempt that begins at `now`. An `adopted` one may have been submitted by another process.
    #[must_use]
    pub const fn new(patience: AttemptLimits, adopted: bool, now: UnixMillis) -> Self {
        Self {
            limits: patience,
            phase: if adopted { AttemptPhase::Watching } else { AttemptPhase::Submitting },
            began: now,
            sighted: !adopted,
            asked_queue: false,
            misses: 0,
            refused_since: None,
            unreachable_since: None,
            looks_after_end: 0,
            running_since: None,
            runs: false,
            at_front: false,
            ending: None,
            interrupted_at: None,
            recall_heard: false,
            too_late_to_recall: false,
            withdrawn: false,
            relistened_at: None,
        }
    }

    /// Whether a cancel would change anything now.
    #[must_use]
    pub const fn is_open_to_cancel(&self) -> bool {
        // While it is unknown whether the backend has the run, there is nothing to stop.
        matches!(self.phase, AttemptPhase::Watching) && self.ending.is_none()
    }

    /// Whether a recall would change anything now.
    #[must_use]
    pub const fn is_open_to_recall(&self) -> bool {
        matches!(self.phase, AttemptPhase::Watching) && self.ending.is_none() && !self.recall_heard
    }

    /// Whether a report of the end would change anything. After the first one, only the history is awaited.
    #[must_use]
    pub const fn is_waiting_for_end(&self) -> bool {
        self.looks_after_end == 0
    }

    /// Takes one input at `now` and returns the next step.
    pub fn step(&mut self, now: UnixMillis, signals: &AttemptSignals, input: MachineInput) -> NextStep {
        self.clamp_moments(now);
        let signals = &signals.until(now);
        // A backend that does not answer may give up the runs ahead first, so the last known place counts.
        if self.misses == 0 && self.unreachable_since.is_none() {
            self.at_front = signals.at_front;
        }
        match (self.phase, input) {
            (AttemptPhase::Leaving(end), MachineInput::Seen(sighting)) => {
                self.judge_last_look(now, signals, end, sighting)
            }
            (AttemptPhase::Submitting, MachineInput::Submitted(delivery)) => {
                self.take_submit_outcome(now, delivery)
            }
            (AttemptPhase::Submitting, _) => NextStep::Submit,
            (AttemptPhase::Doubting, MachineInput::Seen(sighting)) => {
                self.judge_doubtful(now, signals, sighting)
            }
            (AttemptPhase::Leaving(_) | AttemptPhase::Doubting, _) => NextStep::Look,
            (AttemptPhase::Watching, MachineInput::Seen(sighting)) => {
                self.judge_sighting(now, signals, sighting)
            }
            (AttemptPhase::Watching, MachineInput::Submitted(_) | MachineInput::Asked) => {
                NextStep::Wait(self.next_wait(now, signals))
            }
            // An adopted run may be anywhere, so it is looked for at once.
            (AttemptPhase::Watching, MachineInput::Begin | MachineInput::Woke) => {
                self.choose_look(now, signals)
            }
        }
    }

    /// After the clock was set back, no recorded moment is later than now. Waits begin again.
    fn clamp_moments(&mut self, now: UnixMillis) {
        self.began = self.began.min(now);
        self.ending = self.ending.map(|(early, since)| (early, since.min(now)));
        for moment in [
            &mut self.refused_since,
            &mut self.unreachable_since,
            &mut self.running_since,
            &mut self.interrupted_at,
            &mut self.relistened_at,
        ] {
            *moment = moment.map(|moment| moment.min(now));
        }
    }

    const fn take_submit_outcome(&mut self, now: UnixMillis, delivery: SubmitOutcome) -> NextStep {
        match delivery {
            SubmitOutcome::Accepted => {
                self.phase = AttemptPhase::Watching;
                NextStep::Wait(self.limits.poll)
            }
            SubmitOutcome::InPart => {
                self.phase = AttemptPhase::Watching;
                self.ending = Some((EarlyEnd::InPart, now));
                NextStep::Withdraw
            }
            SubmitOutcome::NotDelivered => NextStep::End(AttemptEnd::Requeue(RequeueCause::Unreachable)),
            SubmitOutcome::TurnedAway => NextStep::End(AttemptEnd::Requeue(RequeueCause::NotAccepted)),
            SubmitOutcome::Unclear => {
                self.phase = AttemptPhase::Doubting;
                NextStep::Look
            }
        }
    }

    fn judge_doubtful(
        &mut self,
        now: UnixMillis,
        signals: &AttemptSignals,
        sighting: RunSighting,
    ) -> NextStep {
        let heard = signals.started_at.is_some() || signals.end_heard;
        if heard || matches!(sighting, RunSighting::Ended | RunSighting::Running | RunSighting::Pending) {
            (self.phase, self.misses, self.asked_queue) = (AttemptPhase::Watching, 0, true);
            return self.judge_sighting(now, signals, sighting);
        }
        self.misses += u32::from(sighting == RunSighting::Absent);
        if self.misses >= DOUBTFUL_MISSES || self.note_silence(now, sighting).is_some() {
            return self.give_up(AttemptEnd::Requeue(RequeueCause::NotAccepted));
        }
        NextStep::Wait(self.limits.poll / 2)
    }

    /// Whether a backend that does not answer has been silent for too long.
    fn note_silence(&mut self, now: UnixMillis, sighting: RunSighting) -> Option<BackendSilence> {
        let refused = sighting == RunSighting::Refused;
        let silent = refused || sighting == RunSighting::Unreachable;
        self.unreachable_since = silent.then(|| self.unreachable_since.unwrap_or(now));
        self.refused_since = refused.then(|| self.refused_since.unwrap_or(now));
        let over = |since: Option<UnixMillis>, patience| since.is_some_and(|at| now.since(at) >= patience);
        if over(self.refused_since, self.limits.refused_for) {
            return Some(BackendSilence::Refusing);
        }
        over(self.unreachable_since, self.limits.lost_after).then_some(BackendSilence::Unreachable)
    }

    const fn ended(&self) -> NextStep {
        NextStep::End(AttemptEnd::InHistory(match self.ending {
            Some((early, _)) => Some(early),
            None => None,
        }))
    }

    /// Withdraws a run that is given up, because a request that broke off may still be under way and start it
    /// later.
    const fn give_up(&mut self, end: AttemptEnd) -> NextStep {
        self.phase = AttemptPhase::Leaving(end);
        NextStep::Withdraw
    }

    /// A backend that comes back at the last moment, with the run, has not lost it.
    fn judge_last_look(
        &mut self,
        now: UnixMillis,
        signals: &AttemptSignals,
        end: AttemptEnd,
        sighting: RunSighting,
    ) -> NextStep {
        if matches!(sighting, RunSighting::Absent | RunSighting::Refused | RunSighting::Unreachable) {
            return NextStep::End(end);
        }
        self.phase = AttemptPhase::Watching;
        self.asked_queue = true;
        self.judge_sighting(now, signals, sighting)
    }

    fn choose_look(&mut self, now: UnixMillis, signals: &AttemptSignals) -> NextStep {
        self.note_early_end(now, signals);
        self.recall_heard |= signals.recalled;
        if self.is_deaf(now, signals) {
            self.relistened_at = Some(now);
            return NextStep::Relisten;
        }
        self.asked_queue = !self.sighted
            || self.ending.is_some()
            || self.misses > 0
            || (signals.recalled && !self.too_late_to_recall)
            || now.since(signals.heard_at.unwrap_or(self.began)) >= SILENCE;
        if self.asked_queue { NextStep::Look } else { NextStep::Glance }
    }

    /// Decides whether the run is to be stopped from now on.
    fn note_early_end(&mut self, now: UnixMillis, signals: &AttemptSignals) {
        if self.ending.is_some() {
            return;
        }
        self.running_since = signals.started_at.or(self.running_since);
        let overdue = self.running_since.is_some_and(|since| now.since(since) >= self.limits.run_timeout);
        let silent = self.silent_since(signals).map(|since| now.since(since));
        let early = if signals.cancelled {
            EarlyEnd::Cancel
        } else if overdue {
            EarlyEnd::Timeout
        } else if self.runs && silent.is_some_and(|silence| silence >= self.limits.stall) {
            EarlyEnd::Stall
        } else {
            return;
        };
        self.ending = Some((early, now));
    }

    /// Since when an executing run has reported nothing; `None` if no websocket could report.
    fn silent_since(&self, signals: &AttemptSignals) -> Option<UnixMillis> {
        let listening = signals.listening_since?;
        // A websocket that was reopened because nothing was reported is no progress.
        let in_vain = self.relistened_at.is_some_and(|at| signals.heard_at.is_none_or(|heard| heard <= at));
        let listening = if in_vain { self.began } else { listening };
        let running = self.running_since?;
        Some(listening.max(running).max(signals.heard_at.unwrap_or(running)))
    }

    /// Half of the time for a stall has passed in silence, so perhaps only the websocket is deaf.
    fn is_deaf(&self, now: UnixMillis, signals: &AttemptSignals) -> bool {
        let silence = self.silent_since(signals).map_or(Duration::ZERO, |since| now.since(since));
        let again = self.relistened_at.is_none_or(|at| signals.heard_at.is_some_and(|heard| heard > at));
        self.ending.is_none() && self.runs && again && silence >= self.limits.stall / 2
    }

    fn judge_sighting(
        &mut self,
        now: UnixMillis,
        signals: &AttemptSignals,
        sighting: RunSighting,
    ) -> NextStep {
        if signals.end_heard {
            self.looks_after_end += 1;
        }
        match self.note_silence(now, sighting) {
            Some(BackendSilence::Refusing) => {
                let crashed = self.was_running(signals);
                return self.lose_run(RequeueCause::WentAway { crashed });
            }
            Some(BackendSilence::Unreachable) => return self.lose_run(RequeueCause::OutOfReach),
            None => {}
        }
        match sighting {
            RunSighting::Ended => return self.ended(),
            // Only the history was asked, so as far as is known the run executes.
            RunSighting::Absent if !self.asked_queue => {}
            RunSighting::Running | RunSighting::Pending => {
                let running = sighting == RunSighting::Running;
                (self.misses, self.sighted, self.runs) = (0, true, running);
                self.at_front &= running;
                if running {
                    self.running_since.get_or_insert(now);
                    self.too_late_to_recall |= signals.recalled;
                }
                if self.ending.is_some() {
                    return self.stop_run(now, signals, running);
                }
                if !running && signals.recalled {
                    self.withdrawn = true;
                    return NextStep::Withdraw;
                }
                self.withdrawn &= !running;
            }
            RunSighting::Absent => {
                self.misses += 1;
                let enough = if self.sighted { MISSES } else { DOUBTFUL_MISSES };
                if self.misses >= enough {
                    return self.lose_run(RequeueCause::Forgotten { crashed: self.was_running(signals) });
                }
            }
            RunSighting::Refused | RunSighting::Unreachable => {}
        }
        NextStep::Wait(self.next_wait(now, signals))
    }

    /// Whether the backend worked on this run when it was last heard of.
    fn was_running(&self, signals: &AttemptSignals) -> bool {
        (self.runs || signals.started_at.is_some() || self.at_front) && !signals.end_heard
    }

    /// The backend no longer has the run.
    fn lose_run(&mut self, cause: RequeueCause) -> NextStep {
        match self.ending {
            Some((early, _)) => NextStep::End(AttemptEnd::Gone(early)),
            None if self.withdrawn => self.give_up(AttemptEnd::Requeue(RequeueCause::Recalled)),
            // An adopted run that was never submitted has cost the backend nothing.
            None if !self.sighted && cause != RequeueCause::OutOfReach => {
                self.give_up(AttemptEnd::Requeue(RequeueCause::NeverSubmitted))
            }
            None => self.give_up(AttemptEnd::Requeue(cause)),
        }
    }

    /// Removes the run from the backend's queue, or interrupts it if it executes.
    fn stop_run(&mut self, now: UnixMillis, signals: &AttemptSignals, running: bool) -> NextStep {
        let Some((early, since)) = self.ending else { return NextStep::Wait(self.next_wait(now, signals)) };
        if now.since(since) >= self.limits.interrupt_grace {
            return NextStep::End(AttemptEnd::Stuck(early));
        }
        if !running {
            return NextStep::Withdraw;
        }
        if self.interrupted_at.is_some_and(|at| now.since(at) < INTERRUPT_AGAIN) {
            return NextStep::Wait(self.next_wait(now, signals));
        }
        self.interrupted_at = Some(now);
        NextStep::Interrupt
    }

    /// How long to wait for the next look.
    fn next_wait(&self, now: UnixMillis, signals: &AttemptSignals) -> Duration {
        let poll = self.limits.poll;
        if signals.end_heard {
            return SETTLING.saturating_mul(1 << self.looks_after_end.min(10)).min(poll);
        }
        if self.ending.is_some() || self.withdrawn || self.refused_since.is_some() {
            return poll / 4;
        }
        let running_since = signals.started_at.or(self.running_since);
        let overdue_at = running_since.map(|since| since.plus(self.limits.run_timeout));
        overdue_at.map_or(poll, |moment| poll.min(moment.since(now)))
    }
}

#[cfg(test)]
#[path = "machine_tests.rs"]
mod tests;
