//! The dispatcher's task: turns wakeups into events, asks the pure machine, and does what it says.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::attempt::{Attempt, Origin};
use super::dispatch::{Action, BackendIndex, Event, State, handle};
use super::{Parts, fetching, reaper};
use crate::lifecycle::Tasks;
use crate::pool::Backend;
use crate::store::{Adopt, Claim, ClaimedJob, Requeue, StoreError};

/// Between two looks at the queue that no wakeup asked for; half of it again as jitter.
const POLL: Duration = Duration::from_secs(1);
/// Ended attempts the dispatcher has not heard of yet; more of them wait.
const ENDINGS: usize = 256;

/// The scheduler of one process.
#[derive(Debug)]
pub struct Scheduler {
    parts: Arc<Parts>,
    tasks: Tasks,
    ended: mpsc::Sender<BackendIndex>,
    /// Every server that ever was in the pool, by its position for the machine.
    roster: Mutex<Vec<Arc<Backend>>>,
}

impl Scheduler {
    /// Takes over what an earlier process left running, then claims and runs jobs until `tasks` stop.
    pub fn start(parts: Arc<Parts>, tasks: &Tasks) {
        let (ended, endings) = mpsc::channel(ENDINGS);
        for (name, reaper) in reaper::tasks(&parts, &tasks.stopping()) {
            tasks.spawn(name, reaper);
        }
        let fetching = fetching::run(parts.clone(), tasks.stopping());
        tasks.spawn("fetching of inputs", fetching);
        let scheduler = Self { parts, tasks: tasks.clone(), ended, roster: Mutex::default() };
        tasks.spawn("dispatcher", async move { scheduler.run(endings).await });
    }

    async fn run(self, mut endings: mpsc::Receiver<BackendIndex>) -> Result<(), StoreError> {
        let stopping = self.tasks.stopping();
        let mut state = State::new(self.roster().len());
        let mut actions = self.take_over(&mut state, Adopt::All).await?;
        let mut changes = self.parts.pool.changes();
        let mut capabilities = self.parts.pool.capability_changes();
        // What changed before this start has not been told of.
        capabilities.mark_changed();
        actions.extend(handle(&mut state, self.pool_event()));
        let period = self.parts.settings.lease / 3;
        let mut takeover = self.parts.clock.now().plus(period);
        loop {
            self.perform(&mut state, actions).await;
            let event = tokio::select! {
                // First of all: at a stop attempts end too, and their slots must not be filled again.
                biased;
                () = stopping.cancelled() => return Ok(()),
                () = self.parts.clock.sleep_until(takeover) => {
                    let now = self.parts.clock.now();
                    takeover = now.plus(period);
                    actions = self.take_over(&mut state, Adopt::ExpiredAt(now)).await.unwrap_or_else(|error| {
                        tracing::error!(%error, "expired leases could not be looked for; trying again");
                        Vec::new()
                    });
                    continue;
                }
                Some(index) = endings.recv() => Event::Ended(index),
                () = self.parts.hub.work() => Event::Work,
                Ok(()) = changes.changed() => self.pool_event(),
                Ok(()) = capabilities.changed() => {
                    self.let_all_run_everywhere().await;
                    Event::Work
                }
                () = self.poll() => Event::Work,
            };
            actions = handle(&mut state, event);
        }
    }

    /// What a server could not run it may be able to run now; if not, that will show again.
    async fn let_all_run_everywhere(&self) {
        if let Err(error) = self.parts.store.clear_not_on().await {
            tracing::error!(%error, "queued jobs could not be offered to all servers again");
        }
    }

    async fn poll(&self) {
        self.parts.clock.sleep(POLL.mul_f64(1.0 + self.parts.random.fraction() / 2.0)).await;
    }

    /// Every server that ever was in the pool; its new ones are put last.
    fn roster(&self) -> Vec<Arc<Backend>> {
        let mut roster = self.roster.lock().unwrap_or_else(PoisonError::into_inner);
        for backend in self.parts.pool.backends().iter() {
            if !roster.iter().any(|known| Arc::ptr_eq(known, backend)) {
                roster.push(backend.clone());
            }
        }
        roster.clone()
    }

    fn pool_event(&self) -> Event {
        let present = self.parts.pool.backends();
        let offer = |backend: &Arc<Backend>| {
            let is_present = present.iter().any(|other| Arc::ptr_eq(other, backend));
            (if is_present { backend.slots_now() } else { 0 }, backend.queue_remaining())
        };
        Event::Pool(self.roster().iter().map(offer).collect())
    }

    async fn perform(&self, state: &mut State, mut actions: Vec<Action>) {
        while let Some(Action::Claim(asked)) = actions.pop() {
            let roster = self.roster();
            let mut claimed = self.claim(&roster, &asked).await;
            let mut slots = Vec::with_capacity(asked.len());
            for index in asked {
                let name = roster[index].name();
                let of_this_server = claimed.iter().position(|job| job.attempt.backend == *name);
                slots.push((index, of_this_server.is_some()));
                let Some(job) = of_this_server.map(|at| claimed.remove(at)) else { continue };
                if self.tasks.stopping().is_cancelled() {
                    self.put_back(&job, "the gateway was stopped").await;
                } else {
                    self.spawn(index, &roster[index], job, Origin::Fresh);
                }
            }
            actions.extend(handle(state, Event::Claimed(slots)));
        }
    }

    async fn claim(&self, roster: &[Arc<Backend>], asked: &[BackendIndex]) -> Vec<ClaimedJob> {
        let lease = self.parts.lease();
        let claims = asked.iter().map(|&index| Claim {
            attempt_id: self.parts.random.attempt_id(),
            backend: roster[index].name().clone(),
            lease,
        });
        match self.parts.store.claim(claims.collect(), self.parts.clock.now()).await {
            Ok(jobs) => jobs,
            Err(error) => {
                tracing::error!(%error, "no job could be claimed; trying again");
                Vec::new()
            }
        }
    }

    fn spawn(&self, index: BackendIndex, backend: &Arc<Backend>, job: ClaimedJob, origin: Origin) {
        let attempt = Attempt::begin(self.parts.clone(), backend.clone(), job);
        let stopping: CancellationToken = self.tasks.stopping();
        let ended = self.ended.clone();
        // At the highest level, so that its fields stand in the lines of every log filter.
        let span = tracing::error_span!(
            "attempt",
            prompt_id = %attempt.job.prompt_id,
            attempt = attempt.job.attempt.number,
            backend = %attempt.backend.name()
        );
        self.tasks.spawn("attempt", async move {
            attempt.run(origin, stopping).instrument(span).await;
            // The dispatcher is gone only when the process stops.
            let _: Result<(), _> = ended.send(index).await;
            Ok::<(), StoreError>(())
        });
    }

    /// Takes over running jobs of processes that are gone.
    async fn take_over(&self, state: &mut State, which: Adopt) -> Result<Vec<Action>, StoreError> {
        let mut actions = Vec::new();
        for job in self.parts.store.adopt(which, self.parts.lease(), self.parts.clock.now()).await? {
            if let Some(index) = self.adopt(job).await? {
                actions.extend(handle(state, Event::Adopted(index)));
            }
        }
        Ok(actions)
    }

    /// Goes on watching an attempt of an earlier process; one on a server that is not configured any more
    /// cannot be asked for and goes back to the queue.
    async fn adopt(&self, job: ClaimedJob) -> Result<Option<BackendIndex>, StoreError> {
        let roster = self.roster();
        if let Some(index) = roster.iter().position(|backend| *backend.name() == job.attempt.backend) {
            tracing::info!(prompt_id = %job.prompt_id, backend = %job.attempt.backend, "a running job is taken over");
            self.spawn(index, &roster[index], job, Origin::Adopted);
            return Ok(Some(index));
        }
        let reason = format!("the server {} is not configured any more", job.attempt.backend);
        reaper::give_back(&self.parts, &job, self.requeue(&job, reason)).await?;
        Ok(None)
    }

    /// Puts a job back that was claimed when the stop came: no server has heard of it.
    async fn put_back(&self, job: &ClaimedJob, reason: &str) {
        let requeue = self.requeue(job, reason.to_owned());
        if let Err(error) = reaper::give_back(&self.parts, job, requeue).await {
            tracing::warn!(prompt_id = %job.prompt_id, %error, "a claimed job is left to the next start");
        }
    }

    fn requeue(&self, job: &ClaimedJob, reason: String) -> Requeue {
        let now = self.parts.clock.now();
        let deadline = job.queue_timeout.map(|timeout| now.plus(timeout));
        Requeue { counts: false, not_before: now, deadline, reason, not_on: None, at: now }
    }
}
