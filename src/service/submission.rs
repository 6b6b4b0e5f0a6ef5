//! The vocabulary of a submission: a workflow, its parameters and files, and how the job is to run.

use std::fmt;
use std::time::Duration;

use serde_json::value::RawValue;

use crate::domain::binding::GivenValue;
use crate::domain::id::BackendName;
use crate::domain::registered::WorkflowRef;
use crate::domain::workflow::WorkflowLimits;
use crate::media::IncomingFile;
use crate::pool::Backend;

/// A job as a caller submits it.
#[derive(Debug)]
pub struct JobSubmission<'a> {
    /// The workflow, in any form.
    pub workflow: WorkflowSource<'a>,
    /// Values for the parameters that the workflow declares.
    pub params: Vec<(String, GivenValue<'a>)>,
    /// The files that came with the request. [`GivenValue::Parts`] holds indices into this list.
    pub parts: Vec<RequestFile>,
    /// The prefix of the gateway's own media URLs.
    pub own_url: &'a str,
    /// How the job is to run.
    pub options: JobOptions,
}

/// How a caller wants a job to run.
#[derive(Debug, Default)]
pub struct JobOptions {
    /// The priority. Jobs of a higher priority run first.
    pub priority: i32,
    /// The longest time the job may run; `None` uses the default of the limits.
    pub timeout: Option<Duration>,
    /// The longest time the job may wait in the queue; `None` for no limit.
    pub queue_timeout: Option<Duration>,
    /// The caller on whose behalf the job runs. Within one priority, callers take turns.
    pub caller: String,
    /// Restricts which backends may run the job.
    pub requires: JobRequirements,
    /// The number of attempts that may fail; `None` uses the configured number.
    pub max_attempts: Option<u32>,
    /// Whether the job may run if some of its outputs cannot.
    pub partial: bool,
    /// The caller's own data, a JSON object that is returned with the result.
    pub metadata: Option<Box<RawValue>>,
}

/// Restricts which backends may run a job, beyond the needs of its workflow.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct JobRequirements {
    /// Labels that the backend must have, all of them.
    pub labels: Vec<String>,
    /// The only backend that may run the job.
    pub backend: Option<BackendName>,
}

impl JobRequirements {
    /// Whether these requirements allow the backend.
    pub(super) fn accept(&self, backend: &Backend) -> bool {
        self.backend.as_ref().is_none_or(|name| name == backend.name())
            && self.labels.iter().all(|label| backend.settings().labels.contains(label))
    }
}

/// A file that came with a request.
#[derive(Debug)]
pub struct RequestFile {
    /// The file name given by the caller.
    pub filename: String,
    /// The received file. The first parameter value that refers to it takes it.
    pub incoming: Option<IncomingFile>,
}

/// The workflow of a request, in one of its forms.
#[derive(Clone)]
pub enum WorkflowSource<'a> {
    /// A graph or an editor file.
    Inline(&'a str),
    /// A registered workflow.
    Registered(WorkflowRef),
    /// The URL of a graph or an editor file.
    Url(String),
}

impl fmt::Debug for WorkflowSource<'_> {
    /// Writes neither the workflow nor a URL, which may contain a signature.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inline(_) => f.write_str("Inline(..)"),
            Self::Registered(which) => f.debug_tuple("Registered").field(which).finish(),
            Self::Url(_) => f.write_str("Url(..)"),
        }
    }
}

impl<'a> WorkflowSource<'a> {
    /// Reads the field `workflow` of a request.
    ///
    /// # Errors
    /// The reason why a text is neither a name nor a URL.
    pub fn read(raw: &'a RawValue) -> Result<Self, String> {
        let Ok(text) = serde_json::from_str::<String>(raw.get()) else { return Ok(Self::Inline(raw.get())) };
        if text.contains("://") {
            return Ok(Self::Url(text));
        }
        WorkflowRef::parse(&text).map(Self::Registered).map_err(|error| error.to_string())
    }
}

/// The limits of submissions and uploads.
#[derive(Debug, Clone)]
pub struct SubmissionLimits {
    /// The most queued jobs. A further job is rejected with
    /// [`SubmitError::QueueFull`](super::SubmitError::QueueFull).
    pub max_queued: u64,
    /// The longest run of a job without a `timeout` of its own.
    pub default_timeout: Duration,
    /// The largest file that comes with a request, in bytes.
    pub max_file: u64,
    /// The most inputs of a job.
    pub max_inputs: usize,
    /// The largest workflow that is fetched from a URL or read from the folder, in bytes.
    pub max_workflow: u64,
    /// The limits of a workflow's graph.
    pub workflow: WorkflowLimits,
    /// Whether node inputs may name paths on a backend, or files in its output and temp folders.
    pub allow_backend_paths: bool,
    /// Whether a folder of workflow files is followed. Its workflows can then only be changed there.
    pub follows_folder: bool,
    /// Whether results may contain tracebacks and paths of the backends' machines.
    pub expose_tracebacks: bool,
    /// How long uploaded files are kept; `None` keeps them until they are deleted on request.
    pub file_retention: Option<Duration>,
}
