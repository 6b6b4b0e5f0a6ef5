//! A job and its states as data. What may follow what stands in `transition`; how it is kept, in the store.

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

/// One try to run a job on one server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// 1 for the first; grows with every attempt of the job and never repeats.
    pub number: u32,
    /// What ComfyUI knows this run as (`prompt_id`).
    pub id: AttemptId,
    /// The server it runs on.
    pub backend: BackendName,
    /// Who watches it.
    pub lease: Lease,
    /// When it was claimed.
    pub started_at: UnixMillis,
}

impl Attempt {
    /// What a change of the running job must match to be allowed.
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

/// Where a job stands, with what belongs to that state alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JobState {
    /// On disk, waiting for a server.
    Queued {
        /// Not to be claimed before this moment (back-off).
        not_before: UnixMillis,
        /// Fails with `queue_timeout` when it still waits then.
        deadline: Option<UnixMillis>,
    },
    /// Handed to a server.
    Running {
        /// The attempt under way.
        attempt: Attempt,
        /// A caller asked to cancel it; the server has not confirmed yet.
        cancel_requested: bool,
    },
    /// Ended well.
    Completed {
        /// When.
        finished_at: UnixMillis,
    },
    /// Ended badly.
    Failed {
        /// When.
        finished_at: UnixMillis,
        /// Why.
        failure: Failure,
    },
    /// Ended because a caller asked for it.
    Cancelled {
        /// When.
        finished_at: UnixMillis,
    },
}

/// A state's name, without its data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum JobStatus {
    /// Waiting for a server.
    Queued,
    /// Handed to a server.
    Running,
    /// Ended well.
    Completed,
    /// Ended badly.
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

    /// The status of that name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == text)
    }

    /// Whether nothing can follow.
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
    /// Higher runs first.
    pub priority: i32,
    /// How long it may run.
    pub run_timeout: Duration,
    /// How long it may wait for a server, each time it waits.
    pub queue_timeout: Option<Duration>,
    /// The caller's own data as JSON, given back verbatim.
    pub metadata: Option<Box<RawValue>>,
    /// Seeds the gateway drew, by node id, in the graph's order.
    pub seeds: Vec<(String, u64)>,
    /// Files for it; while one is still to be fetched the job is not claimed.
    pub files: Vec<JobInput>,
    /// The registered workflow it runs, as `name@version`.
    pub workflow: Option<String>,
    /// Servers that cannot run its graph.
    pub not_on: Vec<BackendName>,
    /// Whose it is: the jobs of one priority are shared out between callers. Empty unless told.
    pub caller: String,
    /// What it asks of its server.
    pub needs: JobNeeds,
    /// How many of its attempts may fail; as many as the gateway's setting says, if `None`.
    pub max_attempts: Option<u32>,
    /// Whether it may run although some of its outputs cannot.
    pub partial: bool,
    /// What its result says while it waits, if there is something to say.
    pub msg: Option<String>,
    /// When it was accepted.
    pub created_at: UnixMillis,
}

impl NewJob {
    /// Whether a file is still to be fetched.
    #[must_use]
    pub fn awaits_inputs(&self) -> bool {
        self.files.iter().any(|file| matches!(file, JobInput::Remote(_)))
    }
}

/// Seconds by phase of the attempt that ended the job, in milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PhaseTimings {
    /// From the job's acceptance to the attempt's start.
    pub queued_ms: Option<i64>,
    /// From the attempt's start until ComfyUI had accepted it.
    pub preparing_ms: Option<i64>,
    /// ComfyUI's own execution time; the result's `duration`.
    pub executing_ms: Option<i64>,
    /// From ComfyUI's end until every file was in the media store.
    pub collecting_ms: Option<i64>,
}

/// How a running job ended.
#[derive(Debug, Clone)]
pub enum JobEnding {
    /// All went well; `msg` tells of dropped outputs, where there were any.
    Completed {
        /// What the caller should know besides.
        msg: Option<String>,
    },
    /// It failed for good.
    Failed(Failure),
    /// A requested cancel was confirmed.
    Cancelled,
}

impl JobEnding {
    /// The status this ending leads to.
    #[must_use]
    pub const fn status(&self) -> JobStatus {
        match self {
            Self::Completed { .. } => JobStatus::Completed,
            Self::Failed(_) => JobStatus::Failed,
            Self::Cancelled => JobStatus::Cancelled,
        }
    }
}

/// All that is written when a job ends.
#[derive(Debug, Clone)]
pub struct JobFinish {
    /// How it ended.
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
    /// When.
    pub finished_at: UnixMillis,
    /// When the job may be forgotten; never, if `None`.
    pub expires_at: Option<UnixMillis>,
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
