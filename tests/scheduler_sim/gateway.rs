//! One life of the gateway: the dispatcher's machine and its attempts, each thing they do a step that a crash
//! may forestall.

use std::collections::VecDeque;

use comfy_gateway::domain::id::{AttemptId, BackendName, LeaseOwner, PromptId};
use comfy_gateway::domain::job::{JobEnding, Lease};
use comfy_gateway::domain::time::UnixMillis;
use comfy_gateway::scheduler::attempt::machine::{AttemptMachine, MachineInput};
use comfy_gateway::scheduler::dispatch::{
    BackendSnapshot, DispatchAction, DispatchEvent, DispatchSettings, DispatchState, RunEstimates, handle,
};
use comfy_gateway::store::{AdoptScope, ClaimedJob, JobClaim, JobStore, QueuePlace, Requeue, StoreError};
use rand::RngExt;
use rand::rngs::StdRng;
use std::time::Duration;

use crate::attempt::{Attempt, Doing, PATIENCE, Settlement, settlement};
use crate::server::Server;

/// The settings of the dispatcher in the simulation.
pub const SETTINGS: DispatchSettings = DispatchSettings { patience: Duration::from_secs(4) };
/// Between two looks that no wakeup asked for.
pub const POLL: i64 = 1_500;
const MAX_ATTEMPTS: u32 = 4;

pub struct Gateway {
    pub state: DispatchState,
    pub attempts: Vec<Attempt>,
    pub owner: LeaseOwner,
    read: Option<QueuePlace>,
    /// Whether the next look reads the whole queue again.
    reread: bool,
    /// Whether a wakeup is pending.
    pub woken: bool,
    pub next_poll: i64,
    /// Actions of the dispatcher that are not carried out yet.
    pub todo: VecDeque<Decided>,
    pub left: Vec<PromptId>,
}

/// Jobs to claim with their backends, and the moment of the decision.
type Decided = (UnixMillis, Vec<(PromptId, BackendName)>);

/// How a step changed a job.
pub enum Settled {
    Nothing,
    /// It ended with this status.
    Ended(PromptId),
    /// It waits again and is due at this moment.
    Requeued(PromptId, UnixMillis),
    /// The store refused the change, because another attempt holds the job.
    LeaseLost,
}

fn lease(owner: LeaseOwner, wall: UnixMillis) -> Lease {
    Lease { owner, until: wall.plus(Duration::from_mins(1)) }
}

impl Gateway {
    /// Starts on the data of an earlier life.
    pub async fn start(
        store: &dyn JobStore,
        random: &mut StdRng,
        run_of: impl Fn(&ClaimedJob) -> crate::server::Run,
        servers: &[Server],
        wall: UnixMillis,
        now: i64,
    ) -> Self {
        let owner = LeaseOwner::from_random(random.random());
        let times = RunEstimates::from_records(store.shapes(100).await.unwrap());
        let mut gateway = Self {
            state: DispatchState::new(SETTINGS, times),
            attempts: Vec::new(),
            owner,
            read: None,
            reread: false,
            woken: true,
            next_poll: now,
            todo: VecDeque::new(),
            left: Vec::new(),
        };
        let mut adopted = store.adopt(AdoptScope::All, lease(owner, wall), wall).await.unwrap();
        adopted.sort_by_key(|job| job.prompt_id);
        for job in adopted {
            let (id, backend, needs) = (job.prompt_id, job.attempt.backend.clone(), job.needs.clone());
            let run = run_of(&job);
            gateway.begin(job, run, true, servers, wall, now);
            gateway.happen(DispatchEvent::Adopted { id, backend, needs }, wall);
        }
        gateway.learn_servers(servers, wall);
        gateway
    }

    fn begin(
        &mut self,
        job: ClaimedJob,
        run: crate::server::Run,
        adopted: bool,
        servers: &[Server],
        wall: UnixMillis,
        now: i64,
    ) {
        let mut attempt = Attempt {
            course: AttemptMachine::new(PATIENCE, adopted, wall),
            doing: Doing::Wait(now),
            cancelled: job.cancel_requested,
            recalled: false,
            run,
            started_at: None,
            end_heard: false,
            silence: (now, now, false),
            job,
        };
        let server = servers.iter().find(|server| server.name == attempt.job.attempt.backend).unwrap();
        attempt.take(server, wall, now, MachineInput::Begin);
        self.attempts.push(attempt);
    }

    /// Applies an event. The actions are carried out later, unless a crash comes first.
    pub fn happen(&mut self, event: DispatchEvent, wall: UnixMillis) {
        for action in handle(&mut self.state, wall, event) {
            match action {
                DispatchAction::Claim(claims) => self.todo.push_back((wall, claims)),
                DispatchAction::Recall(id) => {
                    for attempt in self.attempts.iter_mut().filter(|attempt| attempt.job.prompt_id == id) {
                        attempt.recalled = true;
                    }
                }
            }
        }
    }

    pub fn learn_servers(&mut self, servers: &[Server], wall: UnixMillis) {
        let view = |server: &Server| BackendSnapshot {
            name: server.name.clone(),
            slots: if server.answers() { 2 } else { 0 },
            labels: server.labels.clone(),
            vram: Some(8),
            foreign: 0,
            degraded: server.deaf,
            restarts: server.restarts,
        };
        self.happen(DispatchEvent::Backends(servers.iter().map(view).collect()), wall);
    }

    /// Reads the jobs queued since the last look.
    pub async fn read_on(&mut self, store: &dyn JobStore, wall: UnixMillis, now: i64) {
        self.woken = false;
        if now >= self.next_poll && std::mem::take(&mut self.reread) {
            self.read = None;
        }
        self.next_poll = now + POLL;
        let left = std::mem::take(&mut self.left);
        let jobs = store.queued_jobs(self.read, 512).await.unwrap();
        self.read = jobs.last().map(|job| job.place).or(self.read);
        self.happen(DispatchEvent::Queued(jobs), wall);
        self.happen(DispatchEvent::Left(left), wall);
    }

    /// Carries out the dispatcher's next action.
    pub async fn claim(
        &mut self,
        store: &dyn JobStore,
        random: &mut StdRng,
        run_of: impl Fn(&ClaimedJob) -> crate::server::Run,
        servers: &[Server],
        (wall, now): (UnixMillis, i64),
    ) -> Vec<ClaimedHere> {
        // As the dispatcher's task does: claimed at the moment for which it was decided.
        let Some((decided, asked)) = self.todo.pop_front() else { return Vec::new() };
        let claims = asked.iter().map(|(id, backend)| JobClaim {
            prompt_id: *id,
            attempt_id: AttemptId::from_random(random.random()),
            backend: backend.clone(),
            lease: lease(self.owner, decided),
        });
        let mut claimed = store.claim(claims.collect(), decided).await.unwrap();
        let mut answers = Vec::new();
        let mut here = Vec::new();
        for (id, backend) in asked {
            let at = claimed.iter().position(|job| job.prompt_id == id);
            if let Some(at) = at {
                let job = claimed.swap_remove(at);
                here.push(ClaimedHere { id, attempt: job.attempt.id, backend: backend.clone() });
                let run = run_of(&job);
                self.begin(job, run, false, servers, wall, now);
            }
            answers.push((id, backend, at.is_some()));
        }
        if here.len() < answers.len() {
            // As the dispatcher's task does: a job that still waits is found when the whole queue is read again.
            self.reread = true;
        }
        self.happen(DispatchEvent::Claimed(answers), wall);
        here
    }

    /// Records the outcome of an attempt.
    pub async fn settle(
        &mut self,
        at: usize,
        store: &dyn JobStore,
        random: &mut StdRng,
        wall: UnixMillis,
    ) -> Settled {
        let attempt = &self.attempts[at];
        let Doing::Settle(end, run) = attempt.doing else { return Settled::Nothing };
        let (settlement, learned) = settlement(end, run, attempt.took());
        let settled = write(attempt, settlement, store, random, wall).await;
        let attempt = self.attempts.swap_remove(at);
        let (id, backend) = (attempt.job.prompt_id, attempt.job.attempt.backend.clone());
        self.happen(DispatchEvent::Ended { id, backend, run: learned }, wall);
        self.woken = true;
        settled
    }
}

/// A claimed job and its backend.
pub struct ClaimedHere {
    pub id: PromptId,
    pub attempt: AttemptId,
    pub backend: BackendName,
}

/// Writes the outcome of an attempt, which may belong to an earlier life.
pub async fn write(
    attempt: &Attempt,
    settlement: Settlement,
    store: &dyn JobStore,
    random: &mut StdRng,
    wall: UnixMillis,
) -> Settled {
    let (fence, id) = (attempt.fence(), attempt.job.prompt_id);
    let failures = attempt.job.failures;
    let settlement = match settlement {
        Settlement::Requeue(cause)
            if failures + u32::from(cause.counts()) >= MAX_ATTEMPTS
                || attempt.job.downed.len() + usize::from(cause.is_crash()) >= 2 =>
        {
            let failure = crate::world::spent();
            Settlement::Finish(JobEnding::Failed(failure))
        }
        other => other,
    };
    let finish = |ending| crate::world::ended(ending, wall);
    let written = match settlement {
        Settlement::Finish(ending) => store.finish(fence, finish(ending)).await.map(|()| Settled::Ended(id)),
        Settlement::Requeue(cause) => {
            let wait = if cause.counts() { random.random_range(500..3_000) } else { 0 };
            let not_before = wall.plus(Duration::from_millis(wait));
            let requeue = Requeue { not_before, ..Requeue::immediate(cause, "it was lost".to_owned(), wall) };
            match store.requeue(fence, requeue).await {
                // Refused when a cancel came meanwhile: the server does not have the job, so it is confirmed.
                Err(StoreError::LeaseLost) => {
                    store.finish(fence, finish(JobEnding::Cancelled)).await.map(|()| Settled::Ended(id))
                }
                other => other.map(|()| Settled::Requeued(id, not_before)),
            }
        }
    };
    match written {
        Ok(settled) => settled,
        Err(StoreError::LeaseLost) => Settled::LeaseLost,
        Err(other) => panic!("{other}"),
    }
}
