//! The dispatcher's task: turns wakeups into events, asks the pure machine, and does what it says.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tracing::Instrument;

use super::{
    BackendSnapshot, DispatchAction, DispatchEvent, DispatchState, KEPT_SHAPES, QueueForecast, RunEstimates,
    RunObservation, handle,
};
use crate::domain::id::{BackendName, PromptId};
use crate::domain::time::UnixMillis;
use crate::lifecycle::TaskOwner;
use crate::pool::{Backend, BackendHealth};
use crate::scheduler::attempt::{AttemptOrigin, AttemptTask};
use crate::scheduler::hub::ForecastRequest;
use crate::scheduler::{SchedulerDeps, input_fetch, maintenance};
use crate::store::{AdoptScope, ClaimedJob, JobClaim, QueuePlace, Requeue, StoreError};

/// Between two looks at the queue that no wakeup asked for; half of it again as jitter.
const POLL: Duration = Duration::from_secs(1);
/// Between two looks at the whole queue, however sure the dispatcher is of what it knows: nothing is handed out while a
/// long one is read.
const WHOLE: Duration = Duration::from_mins(10);
/// Jobs read at once.
const PAGE: u32 = 512;
/// Ended attempts the dispatcher has not heard of yet; more of them wait.
const ENDINGS: usize = 256;
/// What is told of more jobs than this may be so old for every so many of them: to foretell them all takes time.
const FEW: usize = 256;
const STALE: (Duration, usize) = (Duration::from_millis(250), 10_000);

/// An attempt that ended: its job, its server, and what is to be learned from it.
pub(super) type EndedAttempt = (PromptId, BackendName, RunObservation);

/// The scheduler of one process.
#[derive(Debug)]
pub struct DispatcherTask {
    parts: Arc<SchedulerDeps>,
    tasks: TaskOwner,
    ended: mpsc::Sender<EndedAttempt>,
    state: DispatchState,
    /// The last place in the queue that was read.
    read: Option<QueuePlace>,
    /// When the whole queue is read again.
    reread_at: UnixMillis,
    /// What was last told of the waiting jobs, and when.
    told: Option<(UnixMillis, QueueForecast)>,
}

impl DispatcherTask {
    /// Takes over what an earlier process left running, then claims and runs jobs until `tasks` stop.
    pub fn start(parts: Arc<SchedulerDeps>, tasks: &TaskOwner) {
        let (ended, endings) = mpsc::channel(ENDINGS);
        for (name, reaper) in maintenance::tasks(&parts, &tasks.stopping()) {
            tasks.spawn(name, reaper);
        }
        let fetching = input_fetch::run(parts.clone(), tasks.stopping());
        tasks.spawn("fetching of inputs", fetching);
        let reread_at = parts.clock.now();
        let (state, told) = (DispatchState::default(), None);
        let scheduler = Self { parts, tasks: tasks.clone(), ended, state, read: None, reread_at, told };
        tasks.spawn("dispatcher", async move { scheduler.run(endings).await });
    }

    async fn run(mut self, mut endings: mpsc::Receiver<EndedAttempt>) -> Result<(), StoreError> {
        let stopping = self.tasks.stopping();
        // Nobody asks a second dispatcher.
        let mut questions = self.parts.hub.take_questions().unwrap_or_else(|| mpsc::channel(1).1);
        let parts = self.parts.clone();
        let times = RunEstimates::from_records(parts.store.shapes(KEPT_SHAPES).await?);
        self.state = DispatchState::new(parts.settings.dispatch, times);
        self.take_over(AdoptScope::All).await?;
        let mut changes = parts.pool.changes();
        let mut capabilities = parts.pool.capability_changes();
        // What changed before this start has not been told of.
        capabilities.mark_changed();
        self.learn_servers().await;
        let period = parts.settings.lease / 3;
        let mut takeover = parts.clock.now().plus(period);
        loop {
            self.read_on().await;
            tokio::select! {
                // First of all: at a stop attempts end too, and their slots must not be filled again.
                biased;
                () = stopping.cancelled() => {
                    self.keep_learned().await;
                    return Ok(());
                }
                () = parts.clock.sleep_until(takeover) => {
                    let now = parts.clock.now();
                    takeover = now.plus(period);
                    if let Err(error) = self.take_over(AdoptScope::ExpiredAt(now)).await {
                        tracing::error!(%error, "expired leases could not be looked for; trying again");
                    }
                    self.keep_learned().await;
                }
                Some((id, backend, run)) = endings.recv() => {
                    self.happen(DispatchEvent::Ended { id, backend: backend.clone(), run }).await;
                    self.tell_loaded(&backend);
                }
                Some(question) = questions.recv() => self.answer(question).await,
                // Before the work that a claim for a server which has gone makes by being put back: or it is claimed again.
                Ok(()) = changes.changed() => self.learn_servers().await,
                () = parts.hub.work() => {}
                Ok(()) = capabilities.changed() => self.let_all_run_everywhere().await,
                () = self.until_due() => self.happen(DispatchEvent::Tick).await,
            }
        }
    }

    /// Until time alone changes something, or a wakeup may have been missed.
    async fn until_due(&self) {
        let now = self.parts.clock.now();
        let poll = now.plus(POLL.mul_f64(1.0 + self.parts.random.fraction() / 2.0));
        let due = self.state.next_wake(now).map_or(poll, |due| due.min(poll));
        self.parts.clock.sleep_until(due).await;
    }

    /// Lets an event happen and does what follows from it.
    async fn happen(&mut self, event: DispatchEvent) {
        let mut events = vec![event];
        while let Some(event) = events.pop() {
            let now = self.parts.clock.now();
            if self.state.waiting() <= FEW {
                self.told = None;
            }
            for action in handle(&mut self.state, now, event) {
                match action {
                    DispatchAction::Claim(claims) => events.push(self.claim(claims, now).await),
                    DispatchAction::Recall(id) => self.parts.hub.recall(id),
                }
            }
        }
    }

    /// Reads what has come to wait, and hears what has left.
    async fn read_on(&mut self) {
        let now = self.parts.clock.now();
        if now >= self.reread_at {
            (self.read, self.reread_at) = (None, now.plus(WHOLE));
        }
        loop {
            // Before the jobs are read: one that leaves in between is heard of next time.
            let left = self.parts.hub.take_left();
            match self.parts.store.queued_jobs(self.read, PAGE).await {
                Ok(jobs) => {
                    self.read = jobs.last().map(|job| job.place).or(self.read);
                    let whole = jobs.len() < PAGE as usize;
                    if !jobs.is_empty() {
                        self.happen(DispatchEvent::Queued(jobs)).await;
                    }
                    if !left.is_empty() {
                        self.happen(DispatchEvent::Left(left)).await;
                    }
                    if whole {
                        return;
                    }
                }
                Err(error) => {
                    tracing::error!(%error, "the queue could not be read; trying again");
                    self.parts.hub.put_left(left);
                    return;
                }
            }
        }
    }

    async fn learn_servers(&mut self) {
        let views = self.parts.pool.backends().iter().map(|backend| view(backend)).collect();
        self.happen(DispatchEvent::Servers(views)).await;
    }

    /// What a server could not run it may be able to run now; if not, that will show again.
    async fn let_all_run_everywhere(&mut self) {
        if let Err(error) = self.parts.store.clear_not_on().await {
            tracing::error!(%error, "queued jobs could not be offered to all servers again");
        }
        self.happen(DispatchEvent::CapabilitiesChanged).await;
    }

    /// Keeps what was learned of run times; what cannot be kept is learned again.
    async fn keep_learned(&mut self) {
        let learned = self.state.take_learned();
        if learned.is_empty() {
            return;
        }
        if let Err(error) = self.parts.store.learn(learned, KEPT_SHAPES).await {
            tracing::warn!(%error, "what runs took could not be kept");
        }
    }

    async fn answer(&mut self, question: ForecastRequest) {
        let unknown = |id: &PromptId| !self.state.knows(*id);
        if question.ids.iter().any(unknown) {
            self.read_on().await;
        }
        let now = self.parts.clock.now();
        let waiting = self.state.waiting();
        let (age, jobs) = STALE;
        let age = age.saturating_mul(u32::try_from(1 + waiting / jobs).unwrap_or(u32::MAX));
        let fresh = |(at, _): &(UnixMillis, QueueForecast)| waiting > FEW && now.since(*at) < age;
        if !self.told.as_ref().is_some_and(fresh) {
            self.told = Some((now, self.state.forecast(now)));
        }
        let told = self.told.as_ref().map(|(_, forecast)| forecast);
        let answers = question.ids.iter().map(|id| told.and_then(|told| told.expectation(*id))).collect();
        // Whoever asked may have left.
        let _: Result<(), _> = question.answer.send(answers);
    }

    fn tell_loaded(&self, backend: &BackendName) {
        if let Some(server) = self.parts.pool.find(backend) {
            server.memory().set_loaded_models(self.state.loaded(backend));
        }
    }

    /// Claims jobs and starts their attempts; what came of it.
    async fn claim(&mut self, asked: Vec<(PromptId, BackendName)>, now: UnixMillis) -> DispatchEvent {
        let lease = self.parts.lease();
        let claims = asked.iter().map(|(id, backend)| JobClaim {
            prompt_id: *id,
            attempt_id: self.parts.random.attempt_id(),
            backend: backend.clone(),
            lease,
        });
        let mut claimed = match self.parts.store.claim(claims.collect(), now).await {
            Ok(jobs) => jobs,
            Err(error) => {
                tracing::error!(%error, "no job could be claimed; trying again");
                Vec::new()
            }
        };
        if claimed.len() < asked.len() {
            // Most often somebody cancelled; a job that still waits is found when the whole queue is read again.
            self.reread_at = self.reread_at.min(now.plus(POLL));
        }
        let mut answers = Vec::with_capacity(asked.len());
        for (id, backend) in asked {
            let job = claimed.iter().position(|job| job.prompt_id == id).map(|at| claimed.swap_remove(at));
            let begun = match job {
                Some(job) => self.begin(job, AttemptOrigin::Fresh).await,
                None => false,
            };
            answers.push((id, backend, begun));
        }
        DispatchEvent::Claimed(answers)
    }

    /// Starts an attempt, unless there is nobody to run it.
    async fn begin(&self, job: ClaimedJob, origin: AttemptOrigin) -> bool {
        if self.tasks.stopping().is_cancelled() {
            self.put_back(&job, "the gateway was stopped".to_owned()).await;
            return false;
        }
        let Some(backend) = self.parts.pool.find(&job.attempt.backend) else {
            self.put_back(&job, format!("there is no server {} any more", job.attempt.backend)).await;
            return false;
        };
        let (id, stopping, ended) = (job.prompt_id, self.tasks.stopping(), self.ended.clone());
        let attempt = AttemptTask::begin(self.parts.clone(), backend, job);
        // At the highest level, so that its fields stand in the lines of every log filter.
        let span = tracing::error_span!(
            "attempt",
            prompt_id = %id,
            attempt = attempt.job.attempt.number,
            backend = %attempt.backend.name()
        );
        self.tasks.spawn("attempt", async move {
            let name = attempt.backend.name().clone();
            let run = attempt.run(origin, stopping).instrument(span).await;
            // The dispatcher is gone only when the process stops.
            let _: Result<(), _> = ended.send((id, name, run)).await;
            Ok::<(), StoreError>(())
        });
        true
    }

    /// Takes over running jobs of processes that are gone. One on a server that is not there any more cannot be asked
    /// for and goes back to the queue.
    async fn take_over(&mut self, which: AdoptScope) -> Result<(), StoreError> {
        for job in self.parts.store.adopt(which, self.parts.lease(), self.parts.clock.now()).await? {
            let (id, backend, needs) = (job.prompt_id, job.attempt.backend.clone(), job.needs.clone());
            tracing::info!(prompt_id = %id, %backend, "a running job is taken over");
            if self.begin(job, AttemptOrigin::Adopted).await {
                self.happen(DispatchEvent::Adopted { id, backend, needs }).await;
            }
        }
        Ok(())
    }

    /// Puts a job back that nobody watches.
    async fn put_back(&self, job: &ClaimedJob, reason: String) {
        let now = self.parts.clock.now();
        let deadline = job.queue_timeout.map(|timeout| now.plus(timeout));
        let requeue = Requeue { deadline, ..Requeue::for_free(reason, now) };
        if let Err(error) = maintenance::give_back(&self.parts, job, requeue).await {
            tracing::warn!(prompt_id = %job.prompt_id, %error, "a claimed job is left to the next start");
        }
    }
}

fn view(backend: &Backend) -> BackendSnapshot {
    BackendSnapshot {
        name: backend.name().clone(),
        slots: backend.usable_slots(),
        labels: backend.settings().labels.clone(),
        vram: backend.memory().vram().map(|vram| vram.total),
        foreign: backend.health().foreign_jobs(),
        degraded: matches!(backend.health().current(), BackendHealth::Degraded { .. }),
        restarts: backend.restart_count(),
    }
}
