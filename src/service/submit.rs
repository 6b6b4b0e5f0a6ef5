//! Accepting a job: the workflow read, the parameters bound, its files gathered, all of it on disk.

use std::time::Duration;

use serde_json::value::RawValue;

use super::Service;
use super::fitness::{BackendFitness, UnfitWorkflow, nobody_can, unable, unfit};
use super::gather::RequestFile;
use super::source::{ResolvedWorkflow, WorkflowSource};
use crate::convert::ConvertFault;
use crate::domain::binding::{BindingPlan, GivenValue};
use crate::domain::fault::WorkflowFaults;
use crate::domain::id::{BackendName, PromptId};
use crate::domain::job::NewJob;
use crate::domain::needs::JobNeeds;
use crate::domain::params::Params;
use crate::domain::registered::WorkflowName;
use crate::domain::time::UnixMillis;
use crate::domain::workflow::Workflow;
use crate::lock::LockExt;
use crate::media::MediaError;
use crate::pool::Backend;
use crate::store::StoreError;

/// Between two counts of the queue.
const COUNT_QUEUE: Duration = Duration::from_secs(1);

/// A job as a caller wants it run.
#[derive(Debug)]
pub struct JobSubmission<'a> {
    /// The workflow, in any form.
    pub workflow: WorkflowSource<'a>,
    /// Values for the parameters it declares.
    pub params: Vec<(String, GivenValue<'a>)>,
    /// The files that came with the request, where [`GivenValue::Parts`] points.
    pub parts: Vec<RequestFile>,
    /// What the gateway's own media URLs begin with.
    pub own_url: &'a str,
    /// How it is to be run.
    pub options: JobOptions,
}

/// How a caller wants a job run.
#[derive(Debug, Default)]
pub struct JobOptions {
    /// Higher runs first.
    pub priority: i32,
    /// How long it may run.
    pub timeout: Option<Duration>,
    /// How long it may wait for a server.
    pub queue_timeout: Option<Duration>,
    /// Whose it is: the jobs of one priority are shared out between callers.
    pub caller: String,
    /// What it asks of its server besides what its workflow needs.
    pub requires: JobRequirements,
    /// How many of its attempts may fail.
    pub max_attempts: Option<u32>,
    /// Whether it may run although some of its outputs cannot.
    pub partial: bool,
    /// The caller's own data.
    pub metadata: Option<Box<RawValue>>,
}

/// What a job asks of its server besides what its workflow needs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct JobRequirements {
    /// Labels that the server must all have.
    pub labels: Vec<String>,
    /// The one server that may run it.
    pub backend: Option<BackendName>,
}

impl JobRequirements {
    /// Whether a server is what was asked for.
    fn accept(&self, backend: &Backend) -> bool {
        self.backend.as_ref().is_none_or(|name| name == backend.name())
            && self.labels.iter().all(|label| backend.settings().labels.contains(label))
    }
}

/// Why a job was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum SubmitError {
    /// The workflow cannot be run by any ComfyUI.
    #[error("the workflow is not valid")]
    InvalidWorkflow(WorkflowFaults),
    /// No server can run it.
    #[error("no server can run the workflow")]
    Unfit(UnfitWorkflow),
    /// The parameters do not fit the workflow.
    #[error("the parameters do not fit the workflow")]
    InvalidParams(WorkflowFaults),
    /// No registered workflow is called so; one sentence that says what there is instead.
    #[error("{0}")]
    UnknownWorkflow(String),
    /// The workflow is in the editor's format and cannot be converted.
    #[error("the workflow cannot be converted")]
    Unconvertible(Vec<ConvertFault>),
    /// The workflow is in the editor's format, and no server has told its node classes yet.
    #[error("no server has told its node classes yet")]
    ServersUnknown,
    /// The workflow could not be fetched; where and why.
    #[error("the workflow could not be fetched from {0}")]
    WorkflowUnavailable(String),
    /// The workflow comes from the folder of workflow files and is changed there.
    #[error("the workflow {0} comes from the folder of workflow files")]
    FromFolder(WorkflowName),
    /// Too many jobs wait.
    #[error("the queue is full")]
    QueueFull {
        /// How many may wait.
        limit: u64,
    },
    /// A file could not be kept; nothing was accepted.
    #[error(transparent)]
    Media(#[from] MediaError),
    /// The store failed; nothing was accepted.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl SubmitError {
    /// Whether the workflow itself is at fault, so that the same one is refused again.
    #[must_use]
    pub const fn is_the_workflows(&self) -> bool {
        matches!(self, Self::InvalidWorkflow(_))
    }

    /// The error with its first fault, as one sentence.
    #[must_use]
    pub fn in_words(&self) -> String {
        let first = match self {
            Self::InvalidWorkflow(faults) | Self::InvalidParams(faults) => {
                faults.first().map(|fault| format!("{}: {}", fault.pointer, fault.message))
            }
            Self::Unconvertible(faults) => faults.first().map(|fault| {
                let node = fault.node_id.as_ref().map(|id| format!("node {id}: ")).unwrap_or_default();
                format!("{node}{}", fault.message)
            }),
            _ => None,
        };
        first.map_or_else(|| self.to_string(), |first| format!("{self}: {first}"))
    }
}

/// The servers that cannot run a job, and what its caller is told of it.
struct UnableBackends {
    not_on: Vec<BackendName>,
    msg: Option<String>,
}

impl Service {
    /// Accepts a job: it is on disk when this returns.
    ///
    /// # Errors
    /// See [`SubmitError`]; nothing was accepted.
    pub async fn submit(&self, submission: JobSubmission<'_>) -> Result<PromptId, SubmitError> {
        let ResolvedWorkflow { graph, label } = self.resolve(submission.workflow).await?;
        let workflow =
            Workflow::parse_within(&graph, self.limits.workflow).map_err(SubmitError::InvalidWorkflow)?;
        let params = Params::declared_in(&workflow, &self.parts.pool.object_infos())
            .map_err(SubmitError::InvalidWorkflow)?;
        let plan = params.plan(&submission.params).map_err(SubmitError::InvalidParams)?;
        let created_at = self.parts.clock.now();
        self.admit(created_at).await?;
        // Judged before any file is kept: what is refused leaves nothing behind.
        let options = submission.options;
        let UnableBackends { not_on, msg } = self.unable(&plan, &options).await?;
        let prompt_id = self.parts.random.prompt_id(created_at);
        let gathered = self.gather(prompt_id, plan.media(), submission.parts, submission.own_url).await?;
        let bound = plan.bind(&gathered.names, &mut || self.parts.random.seed());
        let needs = Workflow::parse(&bound.graph).map(|workflow| JobNeeds::of(&workflow)).unwrap_or_default();
        let JobRequirements { labels, backend } = options.requires;
        let job = NewJob {
            prompt_id,
            needs: JobNeeds { labels, backend, ..needs },
            graph: bound.graph.into(),
            priority: options.priority,
            run_timeout: options.timeout.unwrap_or(self.limits.default_timeout),
            queue_timeout: options.queue_timeout,
            metadata: options.metadata,
            caller: options.caller,
            max_attempts: options.max_attempts,
            partial: options.partial,
            msg,
            seeds: bound.seeds,
            files: gathered.files,
            workflow: label,
            not_on,
            created_at,
        };
        let awaits_inputs = job.awaits_inputs();
        self.parts.store.insert(job).await?;
        self.parts.metrics.job_accepted();
        if awaits_inputs {
            self.parts.hub.inputs_wanted();
        } else {
            self.parts.hub.work_came();
        }
        tracing::info!(%prompt_id, priority = options.priority, "job accepted");
        Ok(prompt_id)
    }

    /// The servers that cannot run it, and what to say if only absent ones can.
    ///
    /// # Errors
    /// [`SubmitError::Unfit`] when none can, or none of those that were asked for.
    async fn unable(
        &self,
        plan: &BindingPlan<'_, '_>,
        options: &JobOptions,
    ) -> Result<UnableBackends, SubmitError> {
        let mut fits = self.fits_of(plan, options.partial).await?;
        let not_on = unable(&fits);
        let found = |fit: &BackendFitness| self.parts.pool.find(&fit.backend);
        fits.retain(|fit| found(fit).is_some_and(|backend| options.requires.accept(&backend)));
        if nobody_can(&fits) {
            return Err(SubmitError::Unfit(unfit(&fits, plan)));
        }
        fits.retain(|fit| found(fit).is_some_and(|backend| backend.health().is_usable()));
        let missing = nobody_can(&fits).then(|| unfit(&fits, plan).faults.into_iter().next()).flatten();
        let msg = missing.map(|fault| format!("the servers that are up cannot run it: {}", fault.message));
        Ok(UnableBackends { not_on, msg })
    }

    /// Refuses a job when the queue is full. The queue is counted anew once a second at most; in between, every
    /// accepted job adds to the count and none is taken off it.
    async fn admit(&self, now: UnixMillis) -> Result<(), SubmitError> {
        let limit = self.limits.max_queued;
        let known = *self.queued.lock_anyway();
        let count = match known {
            Some((at, count)) if now.since(at) < COUNT_QUEUE => (at, count),
            _ => (now, self.parts.store.queued().await?),
        };
        if count.1 >= limit {
            return Err(SubmitError::QueueFull { limit });
        }
        let mut known = self.queued.lock_anyway();
        *known = match *known {
            Some((at, others)) if at >= count.0 => Some((at, others + 1)),
            _ => Some((count.0, count.1 + 1)),
        };
        Ok(())
    }
}
