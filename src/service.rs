//! The use cases: submit, fetch, list, cancel, delete. It must not know of HTTP.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::value::RawValue;
use tokio_util::sync::CancellationToken;

use crate::domain::id::PromptId;
use crate::domain::job::{NewJob, Status};
use crate::domain::media::MediaFile;
use crate::domain::params::Params;
use crate::domain::progress::Progress;
use crate::domain::time::UnixMillis;
use crate::domain::workflow::{Fault, Workflow};
use crate::media::{MediaError, Source};
use crate::scheduler::Parts;
use crate::store::{CancelOutcome, Cursor, DeleteOutcome, JobRecord, Lookup, StoreError};

/// Between two counts of the queue.
const COUNT_QUEUE: Duration = Duration::from_secs(1);

/// What callers may ask for.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Queued jobs beyond which no more are accepted.
    pub max_queued: u64,
    /// How long a job may run whose caller does not say.
    pub default_timeout: Duration,
}

/// A job as a caller wants it run.
#[derive(Debug)]
pub struct Submission<'a> {
    /// The API-format graph.
    pub workflow: &'a str,
    /// Values for the parameters it declares.
    pub params: Vec<(String, &'a RawValue)>,
    /// Higher runs first.
    pub priority: i32,
    /// How long it may run.
    pub timeout: Option<Duration>,
    /// How long it may wait for a server.
    pub queue_timeout: Option<Duration>,
    /// The caller's own data.
    pub metadata: Option<Box<RawValue>>,
}

/// Why a job was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum SubmitError {
    /// The workflow cannot be run by any ComfyUI.
    #[error("the workflow is not valid")]
    InvalidWorkflow(Vec<Fault>),
    /// The parameters do not fit the workflow.
    #[error("the parameters do not fit the workflow")]
    InvalidParams(Vec<Fault>),
    /// Too many jobs wait.
    #[error("the queue is full")]
    QueueFull {
        /// How many may wait.
        limit: u64,
    },
    /// The store failed; nothing was accepted.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a job cannot be told of.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// Never heard of.
    #[error("there is no such job")]
    Unknown,
    /// Deleted, or its retention ended.
    #[error("the job was deleted or its retention ended")]
    Gone,
    /// It has not ended yet.
    #[error("the job has not ended yet")]
    Unfinished,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The media store failed.
    #[error(transparent)]
    Media(#[from] MediaError),
}

/// A job as it stands now.
#[derive(Debug)]
pub struct JobView {
    /// What the store has.
    pub record: JobRecord,
    /// How far it has come, while it runs.
    pub progress: Option<Progress>,
}

/// A page of jobs, newest first.
#[derive(Debug)]
pub struct JobPage {
    /// The jobs.
    pub jobs: Vec<JobView>,
    /// Where the next page begins.
    pub next: Option<Cursor>,
}

/// The gateway's use cases.
#[derive(Debug)]
pub struct Service {
    parts: Arc<Parts>,
    limits: Limits,
    stopping: CancellationToken,
    /// Jobs in the queue, as counted at a moment, and those accepted since.
    queued: Mutex<Option<(UnixMillis, u64)>>,
}

impl Service {
    /// Use cases on `parts`; who waits is answered at once when `stopping` is cancelled.
    #[must_use]
    pub const fn new(parts: Arc<Parts>, limits: Limits, stopping: CancellationToken) -> Self {
        Self { parts, limits, stopping, queued: Mutex::new(None) }
    }

    /// What the use cases work with.
    #[must_use]
    pub fn parts(&self) -> &Parts {
        &self.parts
    }

    /// Accepts a job: it is on disk when this returns.
    ///
    /// # Errors
    /// See [`SubmitError`]; nothing was accepted.
    pub async fn submit(&self, submission: Submission<'_>) -> Result<PromptId, SubmitError> {
        let workflow = Workflow::parse(submission.workflow).map_err(SubmitError::InvalidWorkflow)?;
        let params = Params::declared_in(&workflow).map_err(SubmitError::InvalidWorkflow)?;
        let bound = params
            .bind(&submission.params, &mut || self.parts.random.seed())
            .map_err(SubmitError::InvalidParams)?;
        let created_at = self.parts.clock.now();
        self.admit(created_at).await?;
        let prompt_id = self.parts.random.prompt_id(created_at);
        let job = NewJob {
            prompt_id,
            graph: bound.graph.into(),
            priority: submission.priority,
            run_timeout: submission.timeout.unwrap_or(self.limits.default_timeout),
            queue_timeout: submission.queue_timeout,
            metadata: submission.metadata,
            seeds: bound.seeds,
            created_at,
        };
        self.parts.store.insert(job).await?;
        self.parts.metrics.job_accepted();
        self.parts.hub.work_came();
        tracing::info!(%prompt_id, priority = submission.priority, "job accepted");
        Ok(prompt_id)
    }

    /// Refuses a job when the queue is full. The queue is counted anew once a second at most; in between, every
    /// accepted job adds to the count and none is taken off it.
    async fn admit(&self, now: UnixMillis) -> Result<(), SubmitError> {
        let limit = self.limits.max_queued;
        let known = *self.queued.lock().unwrap_or_else(PoisonError::into_inner);
        let count = match known {
            Some((at, count)) if now.since(at) < COUNT_QUEUE => (at, count),
            _ => (now, self.parts.store.queued().await?),
        };
        if count.1 >= limit {
            return Err(SubmitError::QueueFull { limit });
        }
        let mut known = self.queued.lock().unwrap_or_else(PoisonError::into_inner);
        *known = match *known {
            Some((at, others)) if at >= count.0 => Some((at, others + 1)),
            _ => Some((count.0, count.1 + 1)),
        };
        Ok(())
    }

    /// A job as it stands; waits up to `wait` for it to end.
    ///
    /// # Errors
    /// See [`FetchError`].
    pub async fn result(&self, id: PromptId, wait: Duration) -> Result<JobView, FetchError> {
        let mut subscription = (!wait.is_zero()).then(|| self.parts.hub.subscribe(id));
        let deadline = self.parts.clock.now().plus(wait);
        loop {
            let view = self.view(id).await?;
            let Some(subscription) = &mut subscription else { return Ok(view) };
            let status = view.record.state.status();
            if status.is_terminal() || self.parts.clock.now() >= deadline || self.stopping.is_cancelled() {
                return Ok(view);
            }
            tokio::select! {
                () = subscription.changed() => {}
                () = self.parts.clock.sleep_until(deadline) => {}
                () = self.stopping.cancelled() => {}
            }
        }
    }

    async fn view(&self, id: PromptId) -> Result<JobView, FetchError> {
        match self.parts.store.get(id).await? {
            Lookup::Found(record) => Ok(self.with_progress(*record)),
            Lookup::Gone => Err(FetchError::Gone),
            Lookup::Unknown => Err(FetchError::Unknown),
        }
    }

    fn with_progress(&self, record: JobRecord) -> JobView {
        let running = record.state.status() == Status::Running;
        let progress = if running { self.parts.hub.progress(record.prompt_id) } else { None };
        JobView { record, progress }
    }

    /// Jobs newest first.
    ///
    /// # Errors
    /// The store failed.
    pub async fn list(
        &self,
        status: Option<Status>,
        cursor: Option<Cursor>,
        limit: u32,
    ) -> Result<JobPage, FetchError> {
        let page = self.parts.store.list(status, cursor, limit).await?;
        let jobs = page.jobs.into_iter().map(|record| self.with_progress(record)).collect();
        Ok(JobPage { jobs, next: page.next })
    }

    /// Cancels a job: at once if it waits, else as soon as its server confirms. A job that has ended stays as it is.
    ///
    /// # Errors
    /// See [`FetchError`].
    pub async fn cancel(&self, id: PromptId) -> Result<JobView, FetchError> {
        let now = self.parts.clock.now();
        let expires_at = self.parts.expiry(now);
        match self.parts.store.request_cancel(id, now, expires_at).await? {
            CancelOutcome::Cancelled => {
                tracing::info!(prompt_id = %id, outcome = "cancelled", "job ended");
                self.parts.metrics.job_finished(Status::Cancelled);
                self.parts.hub.job_changed(id);
            }
            CancelOutcome::Requested => self.parts.hub.cancel(id),
            CancelOutcome::AlreadyTerminal | CancelOutcome::NotFound => {}
        }
        let view = self.view(id).await?;
        if view.record.state.status().is_terminal() {
            self.parts.hub.forget_cancel(id);
        }
        Ok(view)
    }

    /// Forgets a job that has ended, and its files.
    ///
    /// # Errors
    /// See [`FetchError`].
    pub async fn delete(&self, id: PromptId) -> Result<(), FetchError> {
        match self.parts.store.delete(id, self.parts.clock.now()).await? {
            DeleteOutcome::Deleted => Ok(self.parts.media.remove(id).await?),
            DeleteOutcome::Unfinished => Err(FetchError::Unfinished),
            DeleteOutcome::NotFound => Err(self.view(id).await.err().unwrap_or(FetchError::Unknown)),
        }
    }

    /// A stored file of a job.
    ///
    /// # Errors
    /// See [`FetchError`].
    pub async fn file(&self, id: PromptId, stored_as: &str) -> Result<MediaFile, FetchError> {
        match self.parts.store.media(id, stored_as).await? {
            Some(file) => Ok(file),
            None => match self.parts.store.get(id).await? {
                Lookup::Gone => Err(FetchError::Gone),
                Lookup::Found(_) | Lookup::Unknown => Err(FetchError::Unknown),
            },
        }
    }

    /// The bytes of `range` of a stored file.
    ///
    /// # Errors
    /// See [`FetchError`].
    pub async fn bytes(
        &self,
        id: PromptId,
        stored_as: &str,
        range: std::ops::Range<u64>,
    ) -> Result<Source<'static>, FetchError> {
        self.parts.media.read(id, stored_as, range).await?.ok_or(FetchError::Unknown)
    }

    /// Brings the metrics that are looked up, rather than counted, up to date.
    ///
    /// # Errors
    /// The store failed.
    pub async fn measure(&self) -> Result<(), StoreError> {
        let stats = self.parts.store.stats().await?;
        for status in Status::ALL {
            let jobs =
                stats.by_status.iter().find(|(known, _)| *known == status).map_or(0, |(_, jobs)| *jobs);
            self.parts.metrics.set_jobs(status, jobs);
        }
        let now = self.parts.clock.now();
        self.parts
            .metrics
            .set_oldest_queued(stats.oldest_queued.map_or(Duration::ZERO, |since| now.since(since)));
        for backend in self.parts.pool.backends() {
            let name = backend.name().as_str();
            self.parts.metrics.set_backend(name, backend.is_usable(), backend.slots(), backend.in_flight());
        }
        Ok(())
    }
}
