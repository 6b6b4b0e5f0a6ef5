//! Jobs, attempts and statistics as the store returns them to readers.

use serde_json::value::RawValue;

use crate::domain::failure::Failure;
use crate::domain::id::{BackendName, PromptId};
use crate::domain::job::{DroppedOutput, JobState, JobStatus, NamedText, PhaseTimings};
use crate::domain::media::MediaFile;
use crate::domain::time::UnixMillis;

/// The result of looking a job up by its id.
#[derive(Debug)]
pub enum JobLookup {
    /// The store has the job.
    Found(Box<JobRecord>),
    /// The job was deleted or its retention ended; the store still remembers the id.
    Gone,
    /// The store does not know the id.
    Unknown,
}

/// A job with its result.
#[derive(Debug)]
pub struct JobRecord {
    /// The job's id.
    pub prompt_id: PromptId,
    /// The state with its data.
    pub state: JobState,
    /// The job's priority; higher values run first.
    pub priority: i32,
    /// The number of the latest attempt; 0 before the first.
    pub attempts: u32,
    /// The backend of the latest attempt.
    pub backend: Option<BackendName>,
    /// When the latest attempt was claimed.
    pub started_at: Option<UnixMillis>,
    /// When the gateway accepted the job.
    pub created_at: UnixMillis,
    /// When the job may be purged; `None` while it has not ended, or if it is kept forever.
    pub expires_at: Option<UnixMillis>,
    /// The registered workflow the job runs, as `name@version`.
    pub workflow: Option<String>,
    /// One sentence about the job for people.
    pub msg: Option<String>,
    /// How long each phase of the latest attempt took, in milliseconds.
    pub timings: PhaseTimings,
    /// The caller's own JSON, byte for byte.
    pub metadata: Option<Box<RawValue>>,
    /// The seeds the gateway drew, as a JSON object keyed by node id.
    pub seeds: Option<Box<RawValue>>,
    /// ComfyUI's outputs, byte for byte; `None` if there are none or if [`Self::outputs_file`] holds them.
    pub outputs: Option<Box<RawValue>>,
    /// The media file that holds ComfyUI's outputs if they are too large for a row.
    pub outputs_file: Option<MediaFile>,
    /// The texts the run produced.
    pub texts: Vec<NamedText>,
    /// The media files the run produced, in the order they were collected.
    pub media: Vec<MediaFile>,
    /// The outputs that a completed job did not make.
    pub dropped_outputs: Vec<DroppedOutput>,
    /// The latest attempts (at most 20), oldest first.
    pub history: Vec<AttemptRecord>,
}

impl JobRecord {
    /// The reason for the failure; `None` unless the job failed.
    #[must_use]
    pub const fn failure(&self) -> Option<&Failure> {
        match &self.state {
            JobState::Failed { failure, .. } => Some(failure),
            _ => None,
        }
    }
}

/// One attempt of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttemptRecord {
    /// The attempt's number within its job, starting at 1.
    pub number: u32,
    /// The backend it was claimed for.
    pub backend: BackendName,
    /// When it was claimed.
    pub started_at: UnixMillis,
    /// When it ended; `None` while it runs.
    pub ended_at: Option<UnixMillis>,
    /// `completed`, `cancelled`, a failure code, or the reason code of a requeue; `None` while it runs.
    pub outcome: Option<String>,
    /// The outcome as a sentence, if there is more to say than its word.
    pub reason: Option<String>,
}

/// Measurements of the runs whose workflows share one shape or family
/// ([`JobNeeds`](crate::domain::needs::JobNeeds)).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShapeRecord {
    /// The hash of the shape or family.
    pub shape: String,
    /// Execution time in milliseconds with the models already loaded.
    pub warm_ms: Option<i64>,
    /// Execution time in milliseconds including loading the models.
    pub cold_ms: Option<i64>,
    /// The largest device memory, in bytes, on which such a run ran out of memory.
    pub oom_vram: Option<i64>,
    /// When such a workflow last ran.
    pub used_at: UnixMillis,
}

/// One page of the job list.
#[derive(Debug)]
pub struct RecordPage {
    /// The jobs, newest first.
    pub jobs: Vec<JobRecord>,
    /// The cursor of the next page; `None` on the last page.
    pub next: Option<PageCursor>,
}

/// The `seq` of the last job on a page. The next page holds the jobs accepted before that one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageCursor(pub i64);

/// How many jobs there are, and how long the oldest has been queued.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct QueueStats {
    /// The number of jobs per status; a status without jobs is absent.
    pub by_status: Vec<(JobStatus, u64)>,
    /// When the oldest queued job was accepted.
    pub oldest_queued: Option<UnixMillis>,
}
