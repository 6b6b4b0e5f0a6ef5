//! One attempt in the simulation: the real attempt machine, with each of its requests as a step of its own.

use comfy_gateway::domain::failure::{Failure, FailureCode};
use comfy_gateway::domain::job::{Fence, JobEnding};
use comfy_gateway::domain::requeue::RequeueCause;
use comfy_gateway::domain::time::UnixMillis;
use comfy_gateway::scheduler::attempt::machine::{
    AttemptEnd, AttemptLimits, AttemptMachine, AttemptSignals, EarlyEnd, MachineInput, NextStep, RunSighting,
    SubmitOutcome,
};
use comfy_gateway::scheduler::dispatch;
use comfy_gateway::store::ClaimedJob;
use rand::RngExt;
use rand::rngs::StdRng;
use std::time::Duration;

use crate::server::{Run, RunEnd, Server};

pub const PATIENCE: AttemptLimits = AttemptLimits {
    poll: Duration::from_secs(1),
    lost_after: Duration::from_secs(20),
    refused_for: Duration::from_secs(3),
    interrupt_grace: Duration::from_secs(10),
    run_timeout: Duration::from_secs(40),
    stall: Duration::from_secs(15),
};

/// The next step of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doing {
    Ask(NextStep),
    /// Waits until this moment of the simulation's clock.
    Wait(i64),
    Settle(AttemptEnd, Option<RunEnd>),
}

pub struct Attempt {
    pub job: ClaimedJob,
    pub course: AttemptMachine,
    pub doing: Doing,
    pub cancelled: bool,
    pub recalled: bool,
    pub run: Run,
    /// When the websocket reported the start.
    pub started_at: Option<UnixMillis>,
    pub end_heard: bool,
    /// The last series of looks without an answer: its beginning, its end so far, and whether it goes on.
    pub silence: (i64, i64, bool),
}

/// How an ended attempt changes its job.
pub enum Settlement {
    Finish(JobEnding),
    Requeue(RequeueCause),
}

impl Attempt {
    pub fn took(&self) -> Duration {
        Duration::from_millis(self.run.takes.unsigned_abs())
    }

    pub fn fence(&self) -> Fence {
        self.job.attempt.fence(self.job.prompt_id)
    }

    /// Reads the backend's websocket, if it reports anything.
    pub fn listen(&mut self, server: &Server, now: UnixMillis) {
        if server.deaf || !server.answers() {
            return;
        }
        let id = self.job.attempt.id;
        if server.is_running(id) {
            self.started_at.get_or_insert(now);
        }
        self.end_heard |= server.history.contains_key(&id);
    }

    pub fn signals(&self, server: &Server) -> AttemptSignals {
        AttemptSignals {
            cancelled: self.cancelled,
            recalled: self.recalled,
            end_heard: self.end_heard,
            started_at: self.started_at,
            heard_at: self.started_at,
            at_front: server.is_running(self.job.attempt.id),
            listening_since: (!server.deaf && server.answers()).then(|| UnixMillis::from_millis(0)),
        }
    }

    /// Whether it can take a step at the moment `now` of the simulation's clock.
    pub fn is_ready(&self, now: i64) -> bool {
        match self.doing {
            Doing::Ask(_) | Doing::Settle(..) => true,
            Doing::Wait(until) => {
                until <= now
                    || (self.cancelled && self.course.is_open_to_cancel())
                    || (self.recalled && self.course.is_open_to_recall())
                    || (self.end_heard && self.course.is_waiting_for_end())
            }
        }
    }

    /// Carries out the next step, unless that is to record the end.
    pub fn step(&mut self, server: &mut Server, random: &mut StdRng, now: i64, wall: UnixMillis) {
        self.listen(server, wall);
        let id = self.job.attempt.id;
        let input = match self.doing {
            Doing::Settle(..) => return,
            Doing::Wait(_) => MachineInput::Woke,
            Doing::Ask(next) => match next {
                NextStep::Submit => MachineInput::Submitted(self.submit(server, random, now)),
                NextStep::Look => {
                    let seen = server.in_queue(id);
                    // Between the two questions the server may go on.
                    if random.random_bool(0.3) {
                        server.work(now + 1);
                    }
                    MachineInput::Seen(seen.unwrap_or_else(|| server.in_history(id, now)))
                }
                NextStep::Glance => match server.in_history(id, now) {
                    RunSighting::Running => MachineInput::Seen(RunSighting::Absent),
                    seen => MachineInput::Seen(seen),
                },
                NextStep::Interrupt => {
                    server.interrupt(id, now);
                    MachineInput::Asked
                }
                NextStep::Withdraw => {
                    server.withdraw(id);
                    MachineInput::Asked
                }
                NextStep::Relisten => MachineInput::Asked,
                NextStep::Wait(_) | NextStep::End(_) => unreachable!("not kept"),
            },
        };
        match input {
            MachineInput::Seen(RunSighting::Refused | RunSighting::Unreachable) => {
                let (since, _, goes_on) = self.silence;
                self.silence = (if goes_on { since } else { now }, now, true);
            }
            MachineInput::Seen(_) => self.silence.2 = false,
            _ => {}
        }
        self.take(server, wall, now, input);
    }

    /// Feeds the machine one input and keeps the step that it returns.
    pub fn take(&mut self, server: &Server, wall: UnixMillis, now: i64, input: MachineInput) {
        let signals = self.signals(server);
        self.doing = match self.course.step(wall, &signals, input) {
            NextStep::Wait(wait) => Doing::Wait(now + i64::try_from(wait.as_millis()).unwrap().max(1)),
            NextStep::End(end) => Doing::Settle(end, server.remembers(self.job.attempt.id, now)),
            next => Doing::Ask(next),
        };
    }

    fn submit(&self, server: &mut Server, random: &mut StdRng, now: i64) -> SubmitOutcome {
        if !server.up {
            return SubmitOutcome::NotDelivered;
        }
        if server.partitioned {
            // The request may have gone through, or be on its way.
            if random.random_bool(0.5) {
                server.late.push((now + random.random_range(0..800), self.run));
            }
            return SubmitOutcome::Unclear;
        }
        match random.random_range(0..20) {
            0 => SubmitOutcome::TurnedAway,
            1 => SubmitOutcome::Unclear,
            2 => {
                server.accept(self.run, now);
                SubmitOutcome::Unclear
            }
            3 => {
                server.accept(self.run, now);
                SubmitOutcome::InPart
            }
            _ => {
                server.accept(self.run, now);
                SubmitOutcome::Accepted
            }
        }
    }
}

/// What the end of an attempt means for the job, and what the dispatcher learns from it.
pub fn settlement(
    end: AttemptEnd,
    run: Option<RunEnd>,
    took: Duration,
) -> (Settlement, dispatch::RunObservation) {
    let failed = |code| Settlement::Finish(JobEnding::Failed(Failure::new(code, "it failed")));
    let early = |early| match early {
        EarlyEnd::Cancel => Settlement::Finish(JobEnding::Cancelled),
        EarlyEnd::Timeout => failed(FailureCode::Timeout),
        EarlyEnd::Stall => Settlement::Requeue(RequeueCause::Stalled),
        EarlyEnd::InPart => failed(FailureCode::InvalidWorkflow),
    };
    let settled = match (end, run) {
        (AttemptEnd::InHistory(Some(EarlyEnd::InPart)), _) => early(EarlyEnd::InPart),
        (AttemptEnd::InHistory(_), Some(RunEnd::Success)) => {
            Settlement::Finish(JobEnding::Completed { msg: None })
        }
        (AttemptEnd::InHistory(_), Some(RunEnd::NodeError)) => failed(FailureCode::NodeError),
        (AttemptEnd::InHistory(_), Some(RunEnd::OutOfMemory)) => {
            Settlement::Requeue(RequeueCause::RunFailed(FailureCode::OutOfMemory))
        }
        (AttemptEnd::InHistory(Some(why)) | AttemptEnd::Gone(why) | AttemptEnd::Stuck(why), _) => early(why),
        (AttemptEnd::InHistory(None), _) => failed(FailureCode::Interrupted),
        (AttemptEnd::Requeue(cause), _) => Settlement::Requeue(cause),
    };
    let learned = match run {
        Some(RunEnd::Success) => dispatch::RunObservation::Took(took),
        Some(RunEnd::OutOfMemory) => dispatch::RunObservation::OutOfMemory,
        _ => dispatch::RunObservation::Nothing,
    };
    (settled, learned)
}
