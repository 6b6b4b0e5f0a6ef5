//! The use cases: submit, fetch, list, cancel, delete, and files for later. It must not know of HTTP.

mod backends;
mod configured;
mod earlier;
mod files;
mod fitness;
mod folder;
mod gather;
mod outlook;
mod source;
mod submit;
mod validate;
mod workflows;

pub use backends::{BackendError, restore_backends, unusable};
pub use files::KeepError;
pub use fitness::{BackendFitness, UnfitWorkflow};
pub use folder::WorkflowFolder;
pub use gather::RequestFile;
pub use source::WorkflowSource;
pub use submit::{JobOptions, JobRequirements, JobSubmission, SubmitError};
pub use validate::ValidationReport;
pub use workflows::{NamedOutput, NewRegistration, WorkflowView};

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use self::configured::WantedBackends;
use self::source::WorkflowCache;
use crate::domain::id::PromptId;
use crate::domain::job::JobStatus;
use crate::domain::media::MediaFile;
use crate::domain::progress::Progress;
use crate::domain::registered::WorkflowRef;
use crate::domain::time::UnixMillis;
use crate::domain::workflow::WorkflowLimits;
use crate::media::{ByteSource, MediaError};
use crate::metrics::BackendFigures;
use crate::scheduler::SchedulerDeps;
pub use crate::scheduler::dispatch::JobForecast;
use crate::store::{CancelOutcome, DeleteOutcome, JobLookup, JobRecord, PageCursor, StoreError};

/// What callers may ask for.
#[derive(Debug, Clone)]
pub struct SubmissionLimits {
    /// Queued jobs beyond which no more are accepted.
    pub max_queued: u64,
    /// How long a job may run whose caller does not say.
    pub default_timeout: Duration,
    /// The most bytes of one file that comes with a request.
    pub max_file: u64,
    /// The most files of one job.
    pub max_inputs: usize,
    /// The most bytes of a workflow that is fetched.
    pub max_workflow: u64,
    /// What one workflow may have.
    pub workflow: WorkflowLimits,
    /// Whether values of file inputs may be paths on a ComfyUI server, or files of its output and temp folders.
    pub allow_backend_paths: bool,
    /// Whether a folder of workflow files is followed: what came from it is changed there.
    pub follows_folder: bool,
    /// Whether callers are told tracebacks and paths of the machines that ComfyUI runs on.
    pub expose_tracebacks: bool,
    /// How long uploaded files are kept; for ever, if `None`.
    pub file_retention: Option<Duration>,
}

/// Why a job cannot be told of.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
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
    /// What it may expect, until it has ended.
    pub expectation: Option<JobForecast>,
}

/// A page of jobs, newest first.
#[derive(Debug)]
pub struct JobPage {
    /// The jobs.
    pub jobs: Vec<JobView>,
    /// Where the next page begins.
    pub next: Option<PageCursor>,
}

/// The gateway's use cases.
#[derive(Debug)]
pub struct Service {
    parts: Arc<SchedulerDeps>,
    limits: SubmissionLimits,
    stopping: CancellationToken,
    /// Jobs in the queue, as counted at a moment, and those accepted since.
    queued: Mutex<Option<(UnixMillis, u64)>>,
    fetched: WorkflowCache,
    wanted: Mutex<WantedBackends>,
}

impl Service {
    /// Use cases on `parts`; who waits is answered at once when `stopping` is cancelled.
    #[must_use]
    pub fn new(parts: Arc<SchedulerDeps>, limits: SubmissionLimits, stopping: CancellationToken) -> Self {
        Self {
            parts,
            limits,
            stopping,
            queued: Mutex::new(None),
            fetched: WorkflowCache::default(),
            wanted: Mutex::default(),
        }
    }

    /// What callers may ask for.
    #[must_use]
    pub const fn limits(&self) -> &SubmissionLimits {
        &self.limits
    }

    /// What the use cases work with.
    #[must_use]
    pub fn parts(&self) -> &SchedulerDeps {
        &self.parts
    }

    /// A job as it stands; waits up to `wait` for it to end.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub async fn result(&self, id: PromptId, wait: Duration) -> Result<JobView, ReadError> {
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

    async fn view(&self, id: PromptId) -> Result<JobView, ReadError> {
        match self.parts.store.get(id).await? {
            JobLookup::Found(record) => self.views(vec![*record]).await.pop().ok_or(ReadError::Unknown),
            JobLookup::Gone => Err(ReadError::Gone),
            JobLookup::Unknown => Err(ReadError::Unknown),
        }
    }

    /// Jobs newest first.
    ///
    /// # Errors
    /// The store failed.
    pub async fn list(
        &self,
        status: Option<JobStatus>,
        workflow: Option<&WorkflowRef>,
        cursor: Option<PageCursor>,
        limit: u32,
    ) -> Result<JobPage, ReadError> {
        let page = self.parts.store.list(status, workflow, cursor, limit).await?;
        Ok(JobPage { jobs: self.views(page.jobs).await, next: page.next })
    }

    /// Cancels a job: at once if it waits, else as soon as its server confirms. A job that has ended stays as it is.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub async fn cancel(&self, id: PromptId) -> Result<JobView, ReadError> {
        let now = self.parts.clock.now();
        let expires_at = self.parts.expiry(now);
        match self.parts.store.request_cancel(id, now, expires_at).await? {
            CancelOutcome::Cancelled => {
                tracing::info!(prompt_id = %id, outcome = "cancelled", "job ended");
                self.parts.metrics.job_finished(JobStatus::Cancelled);
                self.parts.hub.left_queue(id);
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
    /// See [`ReadError`].
    pub async fn delete(&self, id: PromptId) -> Result<(), ReadError> {
        match self.parts.store.delete(id, self.parts.clock.now()).await? {
            DeleteOutcome::Deleted => Ok(self.parts.media.remove(id).await?),
            DeleteOutcome::Unfinished => Err(ReadError::Unfinished),
            DeleteOutcome::NotFound => Err(self.view(id).await.err().unwrap_or(ReadError::Unknown)),
        }
    }

    /// A stored file of a job.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub async fn file(&self, id: PromptId, stored_as: &str) -> Result<MediaFile, ReadError> {
        match self.parts.store.media(id, stored_as).await? {
            Some(file) => Ok(file),
            None => match self.parts.store.get(id).await? {
                JobLookup::Gone => Err(ReadError::Gone),
                JobLookup::Found(_) | JobLookup::Unknown => Err(ReadError::Unknown),
            },
        }
    }

    /// The bytes of `range` of a stored file.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub async fn bytes(
        &self,
        id: PromptId,
        stored_as: &str,
        range: std::ops::Range<u64>,
    ) -> Result<ByteSource<'static>, ReadError> {
        self.parts.media.read(id, stored_as, range).await?.ok_or(ReadError::Unknown)
    }

    /// Brings the metrics that are looked up, rather than counted, up to date.
    ///
    /// # Errors
    /// The store failed.
    pub async fn measure(&self) -> Result<(), StoreError> {
        let stats = self.parts.store.stats().await?;
        for status in JobStatus::ALL {
            let jobs =
                stats.by_status.iter().find(|(known, _)| *known == status).map_or(0, |(_, jobs)| *jobs);
            self.parts.metrics.set_jobs(status, jobs);
        }
        let now = self.parts.clock.now();
        self.parts
            .metrics
            .set_oldest_queued(stats.oldest_queued.map_or(Duration::ZERO, |since| now.since(since)));
        let backends = self.parts.pool.backends();
        self.parts.metrics.set_backends(backends.iter().map(|backend| {
            let figures = BackendFigures {
                up: backend.health().is_usable(),
                slots: backend.usable_slots(),
                running: backend.feeds().count(),
                foreign: backend.health().foreign_jobs(),
                faults: backend.health().totals().backend_faults,
            };
            (backend.name().as_str(), figures)
        }));
        Ok(())
    }
}
