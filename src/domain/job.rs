//! A job and its states as data. `transition` specifies which state may follow which.

use std::sync::Arc;
use std::time::Duration;

use serde_json::value::RawValue;

use super::failure::Failure;
use super::id::{AttemptId, BackendName, LeaseOwner, PromptId};
use super::input::JobInput;
use super::media::MediaFile;
use super::needs::JobNeeds;
use super::time::UnixMillis;

/// The right of one gateway process to act on a running job until a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    /// The process that holds it.
    pub owner: LeaseOwner,
    /// When it ends unless it is renewed.
    pub until: UnixMillis,
}

/// One try to run a job on one backend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// 1 for the first; grows with every attempt of the job and never repeats.
    pub number: u32,
    /// The `prompt_id` of the run at ComfyUI.
    pub id: AttemptId,
    /// The backend that runs it.
    pub backend: BackendName,
    /// The lease of the process that watches it.
    pub lease: Lease,
    /// When it was claimed.
    pub started_at: UnixMillis,
}

impl Attempt {
    /// What a change of the running job must match to be applied.
    #[must_use]
    pub fn fence(&self, prompt_id: PromptId) -> Fence {
        Fence { prompt_id, attempt: self.number, owner: self.lease.owner }
    }
}

/// Names one attempt under one owner: a late result of any other is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fence {
    /// The job.
    pub prompt_id: PromptId,
    /// The number of the attempt.
    pub attempt: u32,
    /// The process that holds the lease.
    pub owner: LeaseOwner,
}

/// The state of a job, with the data of that state alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JobState {
    /// On disk, waiting for a backend.
    Queued {
        /// Not to be claimed before this moment (back-off).
        not_before: UnixMillis,
        /// Fails with `queue_timeout` when it still waits then.
        deadline: Option<UnixMillis>,
    },
    /// Assigned to a backend.
    Running {
        /// The attempt under way.
        attempt: Attempt,
        /// A caller requested a cancel that the backend has not confirmed yet.
        cancel_requested: bool,
    },
    /// Ended successfully.
    Completed {
        /// When it ended.
        finished_at: UnixMillis,
    },
    /// Ended with a failure.
    Failed {
        /// When it ended.
        finished_at: UnixMillis,
        /// The failure.
        failure: Failure,
    },
    /// Ended because a caller asked for it.
    Cancelled {
        /// When it ended.
        finished_at: UnixMillis,
    },
}

/// A state's name, without its data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum JobStatus {
    /// Waiting for a backend.
    Queued,
    /// Assigned to a backend.
    Running,
    /// Ended successfully.
    Completed,
    /// Ended with a failure.
    Failed,
    /// Ended on request.
    Cancelled,
}

impl JobStatus {
    /// Every status, in the order of a job's life.
    pub const ALL: [Self; 5] = [Self::Queued, Self::Running, Self::Completed, Self::Failed, Self::Cancelled];

    /// The name that clients and the store use.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// The status of that name; `None` for any other text.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == text)
    }

    /// Whether the state is final.
    #[must_use]
    pub const fn is_terminal(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled)
    }
}

impl JobState {
    /// This state's name.
    #[must_use]
    pub const fn status(&self) -> JobStatus {
        match self {
            Self::Queued { .. } => JobStatus::Queued,
            Self::Running { .. } => JobStatus::Running,
            Self::Completed { .. } => JobStatus::Completed,
            Self::Failed { .. } => JobStatus::Failed,
            Self::Cancelled { .. } => JobStatus::Cancelled,
        }
    }
}

/// A job as it is accepted.
#[derive(Debug)]
pub struct NewJob {
    /// Its public id.
    pub prompt_id: PromptId,
    /// The API-format graph with all parameters bound: the exact text that ComfyUI gets.
    pub graph: Arc<str>,
    /// Jobs of higher priority run first.
    pub priority: i32,
    /// The longest execution time.
    pub run_timeout: Duration,
    /// The longest wait in the queue, counted anew after each requeue; `None` for no limit.
    pub queue_timeout: Option<Duration>,
    /// The caller's own data as JSON, returned verbatim.
    pub metadata: Option<Box<RawValue>>,
    /// Seeds the gateway drew, by node id, in the graph's order.
    pub seeds: Vec<(String, u64)>,
    /// Its input files. The job is not claimed while one of them is still to be fetched.
    pub files: Vec<JobInput>,
    /// The registered workflow it runs, as `name@version`.
    pub workflow: Option<String>,
    /// Backends that cannot run its graph.
    pub not_on: Vec<BackendName>,
    /// The caller's name, which may be empty. Jobs of one priority are shared fairly between callers.
    pub caller: String,
    /// What it needs of a backend.
    pub needs: JobNeeds,
    /// How many of its attempts may fail; `None` takes the gateway's setting.
    pub max_attempts: Option<u32>,
    /// Whether it may run although some of its outputs cannot be made.
    pub partial: bool,
    /// The `msg` of its result while it waits, if any.
    pub msg: Option<String>,
    /// When it was accepted.
    pub created_at: UnixMillis,
}

impl NewJob {
    /// A job without inputs, metadata or needs, of priority 0, that may run for 10 minutes and wait without limit.
    #[must_use]
    pub fn new(prompt_id: PromptId, graph: Arc<str>, created_at: UnixMillis) -> Self {
        Self {
            prompt_id,
            graph,
            priority: 0,
            run_timeout: Duration::from_mins(10),
            queue_timeout: None,
            metadata: None,
            seeds: Vec::new(),
            files: Vec::new(),
            workflow: None,
            not_on: Vec::new(),
            caller: String::new(),
            needs: JobNeeds::default(),
            max_attempts: None,
            partial: false,
            msg: None,
            created_at,
        }
    }

    /// Whether an input is still to be fetched.
    #[must_use]
    pub fn awaits_inputs(&self) -> bool {
        self.files.iter().any(|file| matches!(file, JobInput::Remote(_)))
    }
}

/// Milliseconds per phase of the attempt that ended the job.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PhaseTimings {
    /// From the job's acceptance to the attempt's start.
    pub queued_ms: Option<i64>,
    /// From the attempt's start until ComfyUI accepted the job.
    pub preparing_ms: Option<i64>,
    /// ComfyUI's own execution time; the result's `duration`.
    pub executing_ms: Option<i64>,
    /// From ComfyUI's end until every file was in the media store.
    pub collecting_ms: Option<i64>,
}

/// How a running job ended.
#[derive(Debug, Clone)]
pub enum JobEnding {
    /// All went well.
    Completed {
        /// A sentence for the caller, for example about dropped outputs.
        msg: Option<String>,
    },
    /// The job failed for good.
    Failed(Failure),
    /// The backend confirmed a requested cancel.
    Cancelled,
}

impl JobEnding {
    /// The status that follows.
    #[must_use]
    pub const fn status(&self) -> JobStatus {
        match self {
            Self::Completed { .. } => JobStatus::Completed,
            Self::Failed(_) => JobStatus::Failed,
            Self::Cancelled => JobStatus::Cancelled,
        }
    }
}

/// Everything that is written when a job ends.
#[derive(Debug, Clone)]
pub struct JobFinish {
    /// How the job ended.
    pub ending: JobEnding,
    /// ComfyUI's `outputs`, verbatim JSON; `None` if there are none or they are a file.
    pub outputs: Option<Box<RawValue>>,
    /// The file with ComfyUI's `outputs`, where they are too large for a row.
    pub outputs_file: Option<MediaFile>,
    /// Texts in order, with the names they go by.
    pub texts: Vec<NamedText>,
    /// Files in order; they lie in the media store already.
    pub media: Vec<MediaFile>,
    /// Outputs of the workflow that were not made, in the workflow's order.
    pub dropped_outputs: Vec<DroppedOutput>,
    /// Where the time went.
    pub timings: PhaseTimings,
    /// When it ended.
    pub finished_at: UnixMillis,
    /// When the job may be forgotten; never, if `None`.
    pub expires_at: Option<UnixMillis>,
}

impl JobFinish {
    /// The end of a job without outputs and timings.
    #[must_use]
    pub fn without_outputs(
        ending: JobEnding,
        finished_at: UnixMillis,
        expires_at: Option<UnixMillis>,
    ) -> Self {
        Self {
            ending,
            outputs: None,
            outputs_file: None,
            texts: Vec::new(),
            media: Vec::new(),
            dropped_outputs: Vec::new(),
            timings: PhaseTimings::default(),
            finished_at,
            expires_at,
        }
    }
}

/// An output of a workflow that was not made although the job completed.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct DroppedOutput {
    /// The output node.
    pub node_id: String,
    /// The `$output.NAME` that its outputs go by, or the node's id.
    pub var: String,
    /// Why it was not made, as a sentence for people.
    pub reason: String,
}

/// A text output and the name it goes by.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct NamedText {
    /// The `$output.NAME`, or the node's id.
    pub var: String,
    /// The text.
    pub text: String,
}
