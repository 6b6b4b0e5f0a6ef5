//! The course of one attempt as a pure machine, from the hand-over to the proof of its end: what was asked of the server
//! next, and what the answers mean. No I/O, no clock, no randomness.
//!
//! ```text
//!  fresh ──▶ Submit ──accepted──▶ watching ◀──────────── adopted (doubtful: the server may never have had it)
//!               │ unclear            │ Wait, Look, Glance
//!               ▼                    ▼
//!            doubting ──found──▶  ended · cancelled · overdue · stalled · wanted back · lost
//! ```
//! The websocket says when to look ([`AttemptSignals`]); only HTTP says what is ([`RunSighting`]).

use std::time::Duration;

use crate::domain::requeue::RequeueCause;
use crate::domain::time::UnixMillis;

/// Silence of the websocket after which the server's queue is asked too.
const SILENCE: Duration = Duration::from_millis(1_500);
/// The first wait when the end was heard but the history has no entry yet; it doubles.
const SETTLING: Duration = Duration::from_millis(5);
/// Looks in a row that must miss a run before it counts as lost.
const MISSES: u32 = 2;
/// The same when it is not known that the server ever had it: a request that broke off may still be at work there.
const DOUBTFUL_MISSES: u32 = 3;
/// Between two interrupts of a run that goes on.
const INTERRUPT_AGAIN: Duration = Duration::from_secs(2);

/// How long a course waits for what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AttemptLimits {
    /// Between two looks at a run of which nothing is heard.
    pub poll: Duration,
    /// A run whose server gives no answer for that long is lost.
    pub lost_after: Duration,
    /// A run whose server refuses connections for that long is lost.
    pub refused_for: Duration,
    /// A run that is to end early and is not given up within that time is left to its server.
    pub interrupt_grace: Duration,
    /// How long it may run.
    pub run_timeout: Duration,
    /// How long it may run without any sign of progress.
    pub stall: Duration,
}

/// What is heard and wanted besides the server's answers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "facts of one moment that have nothing to do with each other"
)]
pub struct AttemptSignals {
    /// A caller wants it cancelled.
    pub cancelled: bool,
    /// It is wanted back unless it runs: its server is drained, or another has nothing to do.
    pub recalled: bool,
    /// The websocket told its end.
    pub end_heard: bool,
    /// When the websocket told its start.
    pub started_at: Option<UnixMillis>,
    /// When the websocket last told anything of it.
    pub heard_at: Option<UnixMillis>,
    /// No other run is known to be before it on its server.
    pub at_front: bool,
    /// Since when there is a websocket that could tell.
    pub listening_since: Option<UnixMillis>,
}

impl AttemptSignals {
    /// The same, with nothing later than `now`: the clock may have been set back since.
    fn until(&self, now: UnixMillis) -> Self {
        let until = |moment: Option<UnixMillis>| moment.map(|moment| moment.min(now));
        // What was heard at a moment that is yet to come was heard nobody knows when.
        let heard_at = self.heard_at.map(|at| if at > now { UnixMillis::from_millis(0) } else { at });
        Self {
            heard_at,
            started_at: until(self.started_at),
            listening_since: until(self.listening_since),
            ..*self
        }
    }
}

/// What one look at the server showed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunSighting {
    /// It ended: the history has it.
    Ended,
    /// It runs.
    Running,
    /// It waits in the server's queue.
    Pending,
    /// Neither the queue nor the history has it; or the history alone was asked and has it not.
    Absent,
    /// Nothing listens: if that stays so, whatever the server had is gone with it.
    Refused,
    /// There was no clear answer.
    Unreachable,
}

/// What came of a submit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SubmitOutcome {
    /// The server has it.
    Accepted,
    /// The server has it, but runs only a part of it, which is not wanted.
    InPart,
    /// Nothing listens: the server never heard of it.
    NotDelivered,
    /// The server did not take it.
    TurnedAway,
    /// There was no clear answer: it may have it.
    Unclear,
}

/// What the course learns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MachineInput {
    /// It begins.
    Begin,
    /// The submit was answered, or not.
    Submitted(SubmitOutcome),
    /// The look was answered, or not.
    Seen(RunSighting),
    /// A request that ends the run was answered, or not: only a look tells what came of it.
    Asked,
    /// The wait is over, or something was heard or wanted.
    Woke,
}

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum NextStep {
    /// Hand it to the server.
    Submit,
    /// Ask the queue first and the history second: a run that moves from one to the other in between is seen.
    Look,
    /// Ask the history alone.
    Glance,
    /// Wait, at most that long, for something to be heard or wanted.
    Wait(Duration),
    /// Interrupt the run, if it is the one that runs.
    Interrupt,
    /// Take it out of the server's queue.
    Withdraw,
    /// Nothing was heard for long: open another websocket.
    Relisten,
    /// It is over.
    End(AttemptEnd),
}

/// Why a run is ended before its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EarlyEnd {
    /// A caller asked for it.
    Cancel,
    /// It ran longer than it may.
    Timeout,
    /// It showed no progress for too long.
    Stall,
    /// The server accepted only a part of it.
    InPart,
}

/// How a course ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttemptEnd {
    /// The history has it; perhaps because it was interrupted.
    InHistory(Option<EarlyEnd>),
    /// It was ended early and is gone without a trace.
    Gone(EarlyEnd),
    /// It was to end early and its server does not give it up.
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
    /// Given up: it was withdrawn, so that it cannot start later, and is looked for once more.
    Leaving(AttemptEnd),
}

/// How a server is silent for too long.
enum BackendSilence {
    Refusing,
    Unreachable,
}

/// One attempt under way.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "facts that do not exclude each other, all its own")]
pub struct AttemptMachine {
    limits: AttemptLimits,
    phase: AttemptPhase,
    began: UnixMillis,
    /// The server has or had the run.
    sighted: bool,
    /// The last look asked the queue, too.
    asked_queue: bool,
    misses: u32,
    refused_since: Option<UnixMillis>,
    unreachable_since: Option<UnixMillis>,
    looks_after_end: u32,
    running_since: Option<UnixMillis>,
    /// Whether it ran when it was last seen.
    runs: bool,
    /// Whether no other run was before it when the server last answered.
    at_front: bool,
    ending: Option<(EarlyEnd, UnixMillis)>,
    interrupted_at: Option<UnixMillis>,
    /// It was heard that it is wanted back.
    recall_heard: bool,
    /// It was wanted back, but runs.
    too_late_to_recall: bool,
    withdrawn: bool,
    relistened_at: Option<UnixMillis>,
}

impl AttemptMachine {
    /// One that begins `now`: to be submitted, or, if `adopted`, perhaps submitted by another process.
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

    /// Whether a caller's cancel is news.
    #[must_use]
    pub const fn is_open_to_cancel(&self) -> bool {
        // While it is not known whether the server has it, there is nothing to be ended yet.
        matches!(self.phase, AttemptPhase::Watching) && self.ending.is_none()
    }

    /// Whether being wanted back is news.
    #[must_use]
    pub const fn is_open_to_recall(&self) -> bool {
        matches!(self.phase, AttemptPhase::Watching) && self.ending.is_none() && !self.recall_heard
    }

    /// Whether hearing the end changes anything: once it was heard, only the history is waited for.
    #[must_use]
    pub const fn is_waiting_for_end(&self) -> bool {
        self.looks_after_end == 0
    }

    /// Takes in what was learned and says what is to be done next.
    pub fn step(&mut self, now: UnixMillis, signals: &AttemptSignals, input: MachineInput) -> NextStep {
        self.clamp_moments(now);
        let signals = &signals.until(now);
        // Once the server gives no answer, who was before it may be given up first.
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
            // One that was taken over may be anywhere: it is looked for at once.
            (AttemptPhase::Watching, MachineInput::Begin | MachineInput::Woke) => {
                self.choose_look(now, signals)
            }
        }
    }

    /// After the clock was set back nothing of before is later than now: what was waited for is waited for anew.
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

    /// Whether a server that gives no answer has given none for too long.
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

    /// Makes sure that a run given up cannot start later: a request that broke off may still be under way there.
    const fn give_up(&mut self, end: AttemptEnd) -> NextStep {
        self.phase = AttemptPhase::Leaving(end);
        NextStep::Withdraw
    }

    /// A server that comes back at the last moment, with the run, has not lost it.
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

    /// Decides whether the run is to be ended early from now on.
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

    /// Since when a running job that could be heard was not; `None` if it cannot be heard at all.
    fn silent_since(&self, signals: &AttemptSignals) -> Option<UnixMillis> {
        let listening = signals.listening_since?;
        // A websocket that was opened anew because nothing was heard is no progress.
        let in_vain = self.relistened_at.is_some_and(|at| signals.heard_at.is_none_or(|heard| heard <= at));
        let listening = if in_vain { self.began } else { listening };
        let running = self.running_since?;
        Some(listening.max(running).max(signals.heard_at.unwrap_or(running)))
    }

    /// Half of the time for a stall has gone in silence: perhaps only the websocket is deaf.
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
            // The history alone was asked: as far as is known, it runs.
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

    /// Whether it was the run that the server worked on when it was last heard of.
    fn was_running(&self, signals: &AttemptSignals) -> bool {
        (self.runs || signals.started_at.is_some() || self.at_front) && !signals.end_heard
    }

    /// The server does not have the run any more.
    fn lose_run(&mut self, cause: RequeueCause) -> NextStep {
        match self.ending {
            Some((early, _)) => NextStep::End(AttemptEnd::Gone(early)),
            None if self.withdrawn => self.give_up(AttemptEnd::Requeue(RequeueCause::Recalled)),
            // One that was taken over before it was sent has cost the server nothing.
            None if !self.sighted && cause != RequeueCause::OutOfReach => {
                self.give_up(AttemptEnd::Requeue(RequeueCause::NeverSubmitted))
            }
            None => self.give_up(AttemptEnd::Requeue(cause)),
        }
    }

    /// Takes the run out of the server's queue, or interrupts it if it is the one running.
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
