//! Rows of the table `jobs` as readers see them.

use sqlx::FromRow;

use super::claims::LatestAttempt;
use super::decode::{ColumnError, InColumn, TableRow, from_json, raw_json, required, required_time};
use crate::domain::id::PromptId;
use crate::domain::job::{JobState, JobStatus, PhaseTimings};
use crate::domain::time::UnixMillis;
use crate::store::records::JobRecord;

const TABLE: &str = "jobs";
const KEY: &[&str] = &["seq"];

/// The columns of [`JobRow`].
macro_rules! job_columns {
    () => {
        "seq, prompt_id, state, priority, attempt, attempt_id, backend, lease_owner, lease_until, started_at, created_at,
         not_before, queue_deadline, cancel_requested, finished_at, expires_at, failure, workflow, msg, queued_ms,
         preparing_ms, executing_ms, collecting_ms, metadata, seeds, outputs, texts, dropped_outputs"
    };
}
pub(in crate::store::sqlite) use job_columns;

/// A job joined with its rows in `job_inputs` and `job_outputs`.
#[derive(FromRow)]
pub(in crate::store::sqlite) struct JobRow<'r> {
    prompt_id: &'r str,
    priority: i32,
    #[sqlx(flatten)]
    state: StateColumns<'r>,
    #[sqlx(flatten)]
    attempt: LatestAttempt<'r>,
    created_at: i64,
    expires_at: Option<i64>,
    workflow: Option<String>,
    msg: Option<String>,
    queued_ms: Option<i64>,
    preparing_ms: Option<i64>,
    executing_ms: Option<i64>,
    collecting_ms: Option<i64>,
    metadata: Option<String>,
    seeds: Option<String>,
    outputs: Option<String>,
    texts: Option<&'r str>,
    dropped_outputs: Option<&'r str>,
}

impl TableRow for JobRow<'_> {
    const TABLE: &'static str = TABLE;
    const KEY: &'static [&'static str] = KEY;
    const JOINED: &'static [(&'static str, &'static str)] = &[
        ("metadata", "job_inputs"),
        ("seeds", "job_inputs"),
        ("outputs", "job_outputs"),
        ("texts", "job_outputs"),
        ("dropped_outputs", "job_outputs"),
    ];
}

impl TryFrom<JobRow<'_>> for JobRecord {
    type Error = ColumnError;

    /// Leaves the media files and the history empty; they are in tables of their own.
    fn try_from(row: JobRow<'_>) -> Result<Self, ColumnError> {
        let raw = |column, text: Option<String>| text.map(|text| raw_json(column, text)).transpose();
        Ok(Self {
            prompt_id: PromptId::parse(row.prompt_id).in_column("prompt_id")?,
            state: row.state.with_attempt(&row.attempt)?,
            priority: row.priority,
            attempts: row.attempt.number,
            backend: row.attempt.backend()?,
            started_at: row.attempt.started_at.map(UnixMillis::from_millis),
            created_at: UnixMillis::from_millis(row.created_at),
            expires_at: row.expires_at.map(UnixMillis::from_millis),
            workflow: row.workflow,
            msg: row.msg,
            timings: PhaseTimings {
                queued_ms: row.queued_ms,
                preparing_ms: row.preparing_ms,
                executing_ms: row.executing_ms,
                collecting_ms: row.collecting_ms,
            },
            metadata: raw("metadata", row.metadata)?,
            seeds: raw("seeds", row.seeds)?,
            outputs: raw("outputs", row.outputs)?,
            outputs_file: None,
            texts: from_json("texts", row.texts)?,
            media: Vec::new(),
            dropped_outputs: from_json("dropped_outputs", row.dropped_outputs)?,
            history: Vec::new(),
        })
    }
}

/// The columns of a job's state, apart from its latest attempt.
#[derive(FromRow)]
struct StateColumns<'r> {
    state: &'r str,
    not_before: i64,
    queue_deadline: Option<i64>,
    cancel_requested: bool,
    finished_at: Option<i64>,
    failure: Option<&'r str>,
}

impl StateColumns<'_> {
    fn with_attempt(&self, attempt: &LatestAttempt<'_>) -> Result<JobState, ColumnError> {
        let finished_at = || required_time("finished_at", self.finished_at);
        Ok(match status(self.state)? {
            JobStatus::Queued => JobState::Queued {
                not_before: UnixMillis::from_millis(self.not_before),
                deadline: self.queue_deadline.map(UnixMillis::from_millis),
            },
            JobStatus::Running => {
                JobState::Running { attempt: attempt.running()?, cancel_requested: self.cancel_requested }
            }
            JobStatus::Completed => JobState::Completed { finished_at: finished_at()? },
            JobStatus::Failed => {
                let failure = required("failure", self.failure)?;
                let failure = serde_json::from_str(failure).in_column("failure")?;
                JobState::Failed { finished_at: finished_at()?, failure }
            }
            JobStatus::Cancelled => JobState::Cancelled { finished_at: finished_at()? },
        })
    }
}

fn status(name: &str) -> Result<JobStatus, ColumnError> {
    JobStatus::parse(name).ok_or_else(|| ColumnError::new("state", format!("unknown: {name:?}")))
}

/// A job's id alone.
#[derive(FromRow)]
pub(in crate::store::sqlite) struct PromptIdRow<'r> {
    prompt_id: &'r str,
}

impl TableRow for PromptIdRow<'_> {
    const TABLE: &'static str = TABLE;
    const KEY: &'static [&'static str] = KEY;
}

impl TryFrom<PromptIdRow<'_>> for PromptId {
    type Error = ColumnError;

    fn try_from(row: PromptIdRow<'_>) -> Result<Self, ColumnError> {
        Self::parse(row.prompt_id).in_column("prompt_id")
    }
}

/// A job's status alone.
#[derive(FromRow)]
pub(in crate::store::sqlite) struct StatusRow<'r> {
    state: &'r str,
}

impl TableRow for StatusRow<'_> {
    const TABLE: &'static str = TABLE;
    const KEY: &'static [&'static str] = KEY;
}

impl TryFrom<StatusRow<'_>> for JobStatus {
    type Error = ColumnError;

    fn try_from(row: StatusRow<'_>) -> Result<Self, ColumnError> {
        status(row.state)
    }
}

/// The number of jobs of one status. Its key is the first of those jobs.
#[derive(FromRow)]
pub(in crate::store::sqlite) struct StatusCountRow<'r> {
    state: &'r str,
    jobs: i64,
}

impl TableRow for StatusCountRow<'_> {
    const TABLE: &'static str = TABLE;
    const KEY: &'static [&'static str] = KEY;
}

impl TryFrom<StatusCountRow<'_>> for (JobStatus, u64) {
    type Error = ColumnError;

    fn try_from(row: StatusCountRow<'_>) -> Result<Self, ColumnError> {
        Ok((status(row.state)?, u64::try_from(row.jobs).in_column("jobs")?))
    }
}
