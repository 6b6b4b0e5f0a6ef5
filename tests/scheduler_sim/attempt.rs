//! One attempt in the simulation: the real course, each of its requests a step of its own.

use comfy_gateway::domain::failure::{Failure, FailureCode};
use comfy_gateway::domain::job::{Ending, Fence};
use comfy_gateway::domain::time::UnixMillis;
use comfy_gateway::scheduler::attempt::machine::{
    Course, Delivery, EarlyEnd, End, Input, Loss, Next, NotRun, Patience, Sighting, Signals,
};
use comfy_gateway::scheduler::dispatch;
use comfy_gateway::store::ClaimedJob;
use rand::RngExt;
use rand::rngs::StdRng;
use std::time::Duration;

use crate::server::{Run, RunEnd, Server};

pub const PATIENCE: Patience = Patience {
    poll: Duration::from_secs(1),
    lost_after: Duration::from_secs(20),
    refused_for: Duration::from_secs(3),
    interrupt_grace: Duration::from_secs(10),
    run_timeout: Duration::from_secs(40),
    stall: Duration::from_secs(15),
};

/// What an attempt is about to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doing {
    Ask(Next),
    /// Until that moment of the simulation's clock.
    Wait(i64),
    Settle(End, Option<RunEnd>),
}

pub struct Attempt {
    pub job: ClaimedJob,
    pub course: Course,
    pub doing: Doing,
    pub cancelled: bool,
    pub recalled: bool,
    pub run: Run,
    /// When the websocket told its start.
    pub started_at: Option<UnixMillis>,
    pub end_heard: bool,
    /// The last series of looks without an answer: its beginning, its end so far, and whether it goes on.
    pub silence: (i64, i64, bool),
}

/// How a settled attempt changes its job.
pub enum Settlement {
    Finish(Ending),
    Requeue { counts: bool, downed: bool },
}

impl Attempt {
    pub fn took(&self) -> Duration {
        Duration::from_millis(self.run.takes.unsigned_abs())
    }

    pub fn fence(&self) -> Fence {
        self.job.attempt.fence(self.job.prompt_id)
    }

    /// Takes in what the server's websocket tells, if it tells anything.
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

    pub fn signals(&self, server: &Server) -> Signals {
        Signals {
            cancelled: self.cancelled,
            wanted_back: self.recalled,
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
                    || (self.cancelled && self.course.listens_for_cancel())
                    || (self.recalled && self.course.listens_for_recall())
                    || (self.end_heard && self.course.listens_for_end())
            }
        }
    }

    /// Does what it is about to do, unless that is to settle.
    pub fn step(&mut self, server: &mut Server, random: &mut StdRng, now: i64, wall: UnixMillis) {
        self.listen(server, wall);
        let id = self.job.attempt.id;
        let input = match self.doing {
            Doing::Settle(..) => return,
            Doing::Wait(_) => Input::Woke,
            Doing::Ask(next) => match next {
                Next::Submit => Input::Submitted(self.submit(server, random, now)),
                Next::Look => {
                    let seen = server.in_queue(id);
                    // Between the two questions the server may go on.
                    if random.random_bool(0.3) {
                        server.work(now + 1);
                    }
                    Input::Seen(seen.unwrap_or_else(|| server.in_history(id, now)))
                }
                Next::Glance => match server.in_history(id, now) {
                    Sighting::Running => Input::Seen(Sighting::Absent),
                    seen => Input::Seen(seen),
                },
                Next::Interrupt => {
                    server.interrupt(id, now);
                    Input::Asked
                }
                Next::Withdraw => {
                    server.withdraw(id);
                    Input::Asked
                }
                Next::Relisten => Input::Asked,
                Next::Wait(_) | Next::End(_) => unreachable!("not kept"),
            },
        };
        match input {
            Input::Seen(Sighting::Refused | Sighting::Unreachable) => {
                let (since, _, goes_on) = self.silence;
                self.silence = (if goes_on { since } else { now }, now, true);
            }
            Input::Seen(_) => self.silence.2 = false,
            _ => {}
        }
        self.take(server, wall, now, input);
    }

    /// Tells the course what was learned and keeps what it says.
    pub fn take(&mut self, server: &Server, wall: UnixMillis, now: i64, input: Input) {
        let signals = self.signals(server);
        self.doing = match self.course.step(wall, &signals, input) {
            Next::Wait(wait) => Doing::Wait(now + i64::try_from(wait.as_millis()).unwrap().max(1)),
            Next::End(end) => Doing::Settle(end, server.remembers(self.job.attempt.id, now)),
            next => Doing::Ask(next),
        };
    }

    fn submit(&self, server: &mut Server, random: &mut StdRng, now: i64) -> Delivery {
        if !server.up {
            return Delivery::NotDelivered;
        }
        if server.partitioned {
            // The request may have gone through, or be on its way.
            if random.random_bool(0.5) {
                server.late.push((now + random.random_range(0..800), self.run));
            }
            return Delivery::Unclear;
        }
        match random.random_range(0..20) {
            0 => Delivery::TurnedAway,
            1 => Delivery::Unclear,
            2 => {
                server.accept(self.run, now);
                Delivery::Unclear
            }
            3 => {
                server.accept(self.run, now);
                Delivery::InPart
            }
            _ => {
                server.accept(self.run, now);
                Delivery::Accepted
            }
        }
    }
}

/// What the end of a course means for the job, and what is learned from it.
pub fn settlement(end: End, run: Option<RunEnd>, took: Duration) -> (Settlement, dispatch::Run) {
    let failed = |code| Settlement::Finish(Ending::Failed(Failure::new(code, "it failed")));
    let early = |early| match early {
        EarlyEnd::Cancel => Settlement::Finish(Ending::Cancelled),
        EarlyEnd::Timeout => failed(FailureCode::Timeout),
        EarlyEnd::Stall => Settlement::Requeue { counts: true, downed: false },
        EarlyEnd::InPart => failed(FailureCode::InvalidWorkflow),
    };
    let settled = match (end, run) {
        (End::InHistory(Some(EarlyEnd::InPart)), _) => early(EarlyEnd::InPart),
        (End::InHistory(_), Some(RunEnd::Success)) => Settlement::Finish(Ending::Completed { msg: None }),
        (End::InHistory(_), Some(RunEnd::NodeError)) => failed(FailureCode::NodeError),
        (End::InHistory(_), Some(RunEnd::OutOfMemory)) => Settlement::Requeue { counts: true, downed: false },
        (End::InHistory(Some(why)) | End::Gone(why) | End::Stuck(why), _) => early(why),
        (End::InHistory(None), _) => failed(FailureCode::Interrupted),
        (End::NotRun(NotRun::Unreachable | NotRun::NeverArrived | NotRun::Recalled), _) => {
            Settlement::Requeue { counts: false, downed: false }
        }
        (End::Lost(loss), _) => Settlement::Requeue {
            counts: true,
            downed: matches!(loss, Loss::WentAway { running: true } | Loss::Forgotten { running: true }),
        },
    };
    let learned = match run {
        Some(RunEnd::Success) => dispatch::Run::Took(took),
        Some(RunEnd::OutOfMemory) => dispatch::Run::OutOfMemory,
        _ => dispatch::Run::Nothing,
    };
    (settled, learned)
}
