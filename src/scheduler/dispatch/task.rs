//! The dispatcher's task: turns wakeups into events for the pure machine, and carries out its actions.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tracing::Instrument;

use super::{
    BackendSnapshot, DispatchAction, DispatchEvent, DispatchState, KEPT_SHAPES, QueueForecast, RunEstimates,
    RunObservation, handle,
};
use crate::domain::id::{BackendName, PromptId};
use crate::domain::requeue::RequeueCause;
use crate::domain::time::UnixMillis;
use crate::hub::ForecastRequest;
use crate::lifecycle::TaskOwner;
use crate::pool::{Backend, BackendHealth};
use crate::scheduler::attempt::{AttemptOrigin, AttemptTask};
use crate::scheduler::{SchedulerContext, input_fetch, maintenance};
use crate::store::{AdoptScope, ClaimedJob, JobClaim, QueuePlace, Requeue, StoreError};

/// Between two looks at the queue that no wakeup asked for; up to half of it is added as jitter.
const POLL: Duration = Duration::from_secs(1);
/// Between two reads of the whole queue, which correct any drift of the memory. No job is claimed while a
/// long queue is read.
const WHOLE: Duration = Duration::from_mins(10);
/// Jobs read at once.
const PAGE: u32 = 512;
/// Ended attempts that the dispatcher has not processed yet; further ones wait.
const ENDINGS: usize = 256;
/// Queues longer than this reuse a cached forecast, up to 250 ms old per 10,000 jobs: recomputing it walks
/// the whole queue.
const FEW: usize = 256;
const STALE: (Duration, usize) = (Duration::from_millis(250), 10_000);

/// An ended attempt: its job, its backend, and what the run teaches.
pub(super) type EndedAttempt = (PromptId, BackendName, RunObservation);

/// The dispatcher's task of one process.
#[derive(Debug)]
pub struct DispatcherTask {
    context: Arc<SchedulerContext>,
    tasks: TaskOwner,
    ended: mpsc::Sender<EndedAttempt>,
    state: DispatchState,
    /// The place in the queue up to which it was read.
    last_read: Option<QueuePlace>,
    /// When the whole queue is read again.
    reread_at: UnixMillis,
    /// The last forecast, and when it was computed.
    cached_forecast: Option<(UnixMillis, QueueForecast)>,
}

impl DispatcherTask {
    /// Adopts the running jobs of earlier processes, then claims and runs jobs until `tasks` stop.
    pub fn start(context: Arc<SchedulerContext>, tasks: &TaskOwner) {
        let (ended, endings) = mpsc::channel(ENDINGS);
        for (name, reaper) in maintenance::tasks(&context, &tasks.stopping()) {
            tasks.spawn(name, reaper);
        }
        let fetching = input_fetch::run(context.clone(), tasks.stopping());
        tasks.spawn("fetching of inputs", fetching);
        let reread_at = context.core.clock.now();
        let (state, told) = (DispatchState::default(), None);
        let scheduler = Self {
            context,
            tasks: tasks.clone(),
            ended,
            state,
            last_read: None,
            reread_at,
            cached_forecast: told,
        };
        tasks.spawn("dispatcher", async move { scheduler.run(endings).await });
    }

    async fn run(mut self, mut endings: mpsc::Receiver<EndedAttempt>) -> Result<(), StoreError> {
        let stopping = self.tasks.stopping();
        // Only one dispatcher answers requests; another one gets none.
        let mut questions =
            self.context.core.hub.take_forecast_requests().unwrap_or_else(|| mpsc::channel(1).1);
        let context = self.context.clone();
        let times = RunEstimates::from_records(context.core.store.shapes(KEPT_SHAPES).await?);
        self.state = DispatchState::new(context.settings.dispatch, times);
        self.adopt_jobs(AdoptScope::All).await?;
        let mut changes = context.core.pool.changes();
        let mut capabilities = context.core.pool.capability_changes();
        // Changes before this start were not processed yet.
        capabilities.mark_changed();
        self.refresh_backends().await;
        let period = context.settings.lease / 3;
        let mut takeover = context.core.clock.now().plus(period);
        loop {
            self.read_queue().await;
            tokio::select! {
                // The stop comes first: attempts end at a stop, and their slots must not be filled again.
                biased;
                () = stopping.cancelled() => {
                    self.save_estimates().await;
                    return Ok(());
                }
                () = context.core.clock.sleep_until(takeover) => {
                    let now = context.core.clock.now();
                    takeover = now.plus(period);
                    if let Err(error) = self.adopt_jobs(AdoptScope::ExpiredAt(now)).await {
                        tracing::error!(%error, "expired leases could not be read; trying again");
                    }
                    self.save_estimates().await;
                }
                Some((id, backend, run)) = endings.recv() => {
                    self.apply(DispatchEvent::Ended { id, backend: backend.clone(), run }).await;
                    self.publish_loaded_models(&backend);
                }
                Some(question) = questions.recv() => self.answer_forecast(question).await,
                // Handle pool changes before new work. Otherwise a job requeued because its backend left is
                // claimed for that backend again.
                Ok(()) = changes.changed() => self.refresh_backends().await,
                () = context.core.hub.wait_for_work() => {}
                Ok(()) = capabilities.changed() => self.clear_exclusions().await,
                () = self.until_due() => self.apply(DispatchEvent::Tick).await,
            }
        }
    }

    /// Sleeps until time alone changes something, or a wakeup may have been missed.
    async fn until_due(&self) {
        let now = self.context.core.clock.now();
        let poll = now.plus(POLL.mul_f64(1.0 + self.context.core.random.fraction() / 2.0));
        let due = self.state.next_wake(now).map_or(poll, |due| due.min(poll));
        self.context.core.clock.sleep_until(due).await;
    }

    /// Applies an event and carries out the actions that follow.
    async fn apply(&mut self, event: DispatchEvent) {
        let mut events = vec![event];
        while let Some(event) = events.pop() {
            let now = self.context.core.clock.now();
            if self.state.waiting() <= FEW {
                self.cached_forecast = None;
            }
            for action in handle(&mut self.state, now, event) {
                match action {
                    DispatchAction::Claim(claims) => events.push(self.claim(claims, now).await),
                    DispatchAction::Recall(id) => self.context.core.hub.recall(id),
                }
            }
        }
    }

    /// Reads the jobs that were queued since the last read, and removes those that left the queue.
    async fn read_queue(&mut self) {
        let now = self.context.core.clock.now();
        if now >= self.reread_at {
            (self.last_read, self.reread_at) = (None, now.plus(WHOLE));
        }
        loop {
            // Taken before the jobs are read, so that a job that leaves in between is removed at the next
            // read.
            let left = self.context.core.hub.take_left();
            match self.context.core.store.queued_jobs(self.last_read, PAGE).await {
                Ok(jobs) => {
                    self.last_read = jobs.last().map(|job| job.place).or(self.last_read);
                    let whole = jobs.len() < PAGE as usize;
                    if !jobs.is_empty() {
                        self.apply(DispatchEvent::Queued(jobs)).await;
                    }
                    if !left.is_empty() {
                        self.apply(DispatchEvent::Left(left)).await;
                    }
                    if whole {
                        return;
                    }
                }
                Err(error) => {
                    tracing::error!(%error, "the queue could not be read; trying again");
                    self.context.core.hub.return_left(left);
                    return;
                }
            }
        }
    }

    async fn refresh_backends(&mut self) {
        let views = self.context.core.pool.backends().iter().map(|backend| snapshot(backend)).collect();
        self.apply(DispatchEvent::Backends(views)).await;
    }

    /// Offers all jobs to all backends again. A backend that still cannot run a job excludes itself again.
    async fn clear_exclusions(&mut self) {
        if let Err(error) = self.context.core.store.clear_not_on().await {
            tracing::error!(%error, "queued jobs could not be offered to all backends again");
        }
        self.apply(DispatchEvent::CapabilitiesChanged).await;
    }

    /// Writes changed estimates to the store. Estimates that are lost are learned again.
    async fn save_estimates(&mut self) {
        let learned = self.state.take_new_estimates();
        if learned.is_empty() {
            return;
        }
        if let Err(error) = self.context.core.store.learn(learned, KEPT_SHAPES).await {
            tracing::warn!(%error, "the run time estimates could not be saved");
        }
    }

    async fn answer_forecast(&mut self, question: ForecastRequest) {
        let unknown = |id: &PromptId| !self.state.is_waiting(*id);
        if question.ids.iter().any(unknown) {
            self.read_queue().await;
        }
        let now = self.context.core.clock.now();
        let waiting = self.state.waiting();
        let (age, jobs) = STALE;
        let age = age.saturating_mul(u32::try_from(1 + waiting / jobs).unwrap_or(u32::MAX));
        let fresh = |(at, _): &(UnixMillis, QueueForecast)| waiting > FEW && now.since(*at) < age;
        if !self.cached_forecast.as_ref().is_some_and(fresh) {
            self.cached_forecast = Some((now, self.state.forecast(now)));
        }
        let told = self.cached_forecast.as_ref().map(|(_, forecast)| forecast);
        let answers = question.ids.iter().map(|id| told.and_then(|told| told.of_job(*id))).collect();
        // The caller may have gone.
        let _: Result<(), _> = question.answer.send(answers);
    }

    fn publish_loaded_models(&self, name: &BackendName) {
        if let Some(backend) = self.context.core.pool.find(name) {
            backend.memory().set_loaded_models(self.state.loaded(name));
        }
    }

    /// Claims jobs and starts their attempts. Returns the result as an event.
    async fn claim(&mut self, asked: Vec<(PromptId, BackendName)>, now: UnixMillis) -> DispatchEvent {
        let lease = self.context.lease();
        let claims = asked.iter().map(|(id, backend)| JobClaim {
            prompt_id: *id,
            attempt_id: self.context.core.random.attempt_id(),
            backend: backend.clone(),
            lease,
        });
        let mut claimed = match self.context.core.store.claim(claims.collect(), now).await {
            Ok(jobs) => jobs,
            Err(error) => {
                tracing::error!(%error, "no job could be claimed; trying again");
                Vec::new()
            }
        };
        if claimed.len() < asked.len() {
            // Most often a caller cancelled. A job that still waits is found when the whole queue is read
            // again.
            self.reread_at = self.reread_at.min(now.plus(POLL));
        }
        let mut answers = Vec::with_capacity(asked.len());
        for (id, backend) in asked {
            let job = claimed.iter().position(|job| job.prompt_id == id).map(|at| claimed.swap_remove(at));
            let begun = match job {
                Some(job) => self.start_attempt(job, AttemptOrigin::Fresh).await,
                None => false,
            };
            answers.push((id, backend, begun));
        }
        DispatchEvent::Claimed(answers)
    }

    /// Starts an attempt, unless the process stops or the backend was removed. Returns whether it started.
    async fn start_attempt(&self, job: ClaimedJob, origin: AttemptOrigin) -> bool {
        if self.tasks.stopping().is_cancelled() {
            self.return_to_queue(&job, RequeueCause::GatewayStopped, "the gateway was stopped".to_owned())
                .await;
            return false;
        }
        let Some(backend) = self.context.core.pool.find(&job.attempt.backend) else {
            self.return_to_queue(
                &job,
                RequeueCause::BackendRemoved,
                format!("the backend {} was removed", job.attempt.backend),
            )
            .await;
            return false;
        };
        let (id, stopping, ended) = (job.prompt_id, self.tasks.stopping(), self.ended.clone());
        let attempt = AttemptTask::begin(self.context.clone(), backend, job);
        // The span has the highest level, so that its fields appear under every log filter.
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

    /// Adopts the running jobs of processes that are gone. A job whose backend was removed returns to the
    /// queue.
    async fn adopt_jobs(&mut self, which: AdoptScope) -> Result<(), StoreError> {
        for job in
            self.context.core.store.adopt(which, self.context.lease(), self.context.core.clock.now()).await?
        {
            let (id, backend, needs) = (job.prompt_id, job.attempt.backend.clone(), job.needs.clone());
            tracing::info!(prompt_id = %id, %backend, "a running job was adopted");
            if self.start_attempt(job, AttemptOrigin::Adopted).await {
                self.apply(DispatchEvent::Adopted { id, backend, needs }).await;
            }
        }
        Ok(())
    }

    /// Returns a claimed job without an attempt to the queue.
    async fn return_to_queue(&self, job: &ClaimedJob, cause: RequeueCause, reason: String) {
        let now = self.context.core.clock.now();
        let deadline = job.queue_timeout.map(|timeout| now.plus(timeout));
        let requeue = Requeue { deadline, ..Requeue::immediate(cause, reason, now) };
        if let Err(error) = maintenance::give_back(&self.context, job, requeue).await {
            tracing::warn!(prompt_id = %job.prompt_id, %error, "a claimed job is left to the next start");
        }
    }
}

fn snapshot(backend: &Backend) -> BackendSnapshot {
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
