//! Rows of the table `jobs` that are claimed or wait to be claimed.

use std::time::Duration;

use sqlx::FromRow;

use super::decode::{ColumnError, InColumn, TableRow, from_json, raw_json, required, required_time};
use crate::domain::id::{AttemptId, BackendName, LeaseOwner, PromptId};
use crate::domain::input::{JobInput, StoredInput};
use crate::domain::job::{Attempt, Lease};
use crate::domain::time::UnixMillis;
use crate::store::claims::{ClaimedJob, QueuePlace, WaitingJob};

/// The columns of the latest attempt.
#[derive(FromRow)]
pub(super) struct LatestAttempt<'r> {
    #[sqlx(rename = "attempt")]
    pub(super) number: u32,
    attempt_id: Option<&'r str>,
    backend: Option<&'r str>,
    lease_owner: Option<&'r str>,
    lease_until: Option<i64>,
    pub(super) started_at: Option<i64>,
}

impl LatestAttempt<'_> {
    pub(super) fn backend(&self) -> Result<Option<BackendName>, ColumnError> {
        self.backend.map(BackendName::parse).transpose().in_column("backend")
    }

    /// The attempt of a running job.
    pub(super) fn running(&self) -> Result<Attempt, ColumnError> {
        let id = required("attempt_id", self.attempt_id)?;
        let owner = required("lease_owner", self.lease_owner)?;
        Ok(Attempt {
            number: self.number,
            id: AttemptId::parse(id).in_column("attempt_id")?,
            backend: required("backend", self.backend()?)?,
            lease: Lease {
                owner: LeaseOwner::parse(owner).in_column("lease_owner")?,
                until: required_time("lease_until", self.lease_until)?,
            },
            started_at: required_time("started_at", self.started_at)?,
        })
    }
}

/// The columns of [`ClaimedRow`], for the `RETURNING` clause of an update of `jobs`.
macro_rules! claimed_columns {
    () => {
        "seq, prompt_id, attempt, attempt_id, backend, lease_owner, lease_until, started_at, created_at, run_timeout_ms,
         queue_timeout_ms, failures, cancel_requested, max_attempts, downed, refusals, fresh, partial, needs,
         (SELECT graph FROM job_inputs WHERE job_inputs.seq = jobs.seq) AS graph,
         (SELECT files FROM job_inputs WHERE job_inputs.seq = jobs.seq) AS files"
    };
}
pub(in crate::store::sqlite) use claimed_columns;

/// A running job with its graph and input files.
#[derive(FromRow)]
pub(in crate::store::sqlite) struct ClaimedRow<'r> {
    prompt_id: &'r str,
    #[sqlx(flatten)]
    attempt: LatestAttempt<'r>,
    created_at: i64,
    run_timeout_ms: i64,
    queue_timeout_ms: Option<i64>,
    failures: u32,
    cancel_requested: bool,
    max_attempts: Option<u32>,
    downed: Option<&'r str>,
    refusals: u32,
    fresh: bool,
    partial: bool,
    needs: Option<&'r str>,
    graph: Option<String>,
    files: Option<&'r str>,
}

impl TableRow for ClaimedRow<'_> {
    const TABLE: &'static str = "jobs";
    const KEY: &'static [&'static str] = &["seq"];
    const JOINED: &'static [(&'static str, &'static str)] =
        &[("graph", "job_inputs"), ("files", "job_inputs")];
}

impl TryFrom<ClaimedRow<'_>> for ClaimedJob {
    type Error = ColumnError;

    fn try_from(row: ClaimedRow<'_>) -> Result<Self, ColumnError> {
        let duration =
            |column, millis: i64| u64::try_from(millis).map(Duration::from_millis).in_column(column);
        Ok(Self {
            prompt_id: PromptId::parse(row.prompt_id).in_column("prompt_id")?,
            attempt: row.attempt.running()?,
            graph: raw_json("graph", required("graph", row.graph)?)?,
            files: fetched(row.files)?,
            created_at: UnixMillis::from_millis(row.created_at),
            run_timeout: duration("run_timeout_ms", row.run_timeout_ms)?,
            queue_timeout: row.queue_timeout_ms.map(|ms| duration("queue_timeout_ms", ms)).transpose()?,
            failures: row.failures,
            cancel_requested: row.cancel_requested,
            max_attempts: row.max_attempts,
            downed: from_json("downed", row.downed)?,
            refusals: row.refusals,
            defeats_cache: row.fresh,
            partial: row.partial,
            needs: from_json("needs", row.needs)?,
        })
    }
}

/// The input files of a job that can run, all of which are stored.
fn fetched(files: Option<&str>) -> Result<Vec<StoredInput>, ColumnError> {
    let stored = |file| match file {
        JobInput::Stored(file) => Ok(file),
        JobInput::Remote(_) => Err(ColumnError::new("files", "a file was never fetched")),
    };
    from_json::<Vec<JobInput>>("files", files)?.into_iter().map(stored).collect()
}

/// The columns of [`WaitingRow`].
macro_rules! waiting_columns {
    () => {
        "rev, seq, prompt_id, priority, caller, created_at, not_before, awaits_inputs, not_on, backend, failures, needs"
    };
}
pub(in crate::store::sqlite) use waiting_columns;

/// A queued job.
#[derive(FromRow)]
pub(in crate::store::sqlite) struct WaitingRow<'r> {
    rev: i64,
    seq: i64,
    prompt_id: &'r str,
    priority: i32,
    caller: String,
    created_at: i64,
    not_before: i64,
    awaits_inputs: bool,
    not_on: Option<&'r str>,
    backend: Option<&'r str>,
    failures: u32,
    needs: Option<&'r str>,
}

impl TableRow for WaitingRow<'_> {
    const TABLE: &'static str = "jobs";
    const KEY: &'static [&'static str] = &["seq"];
}

impl TryFrom<WaitingRow<'_>> for WaitingJob {
    type Error = ColumnError;

    fn try_from(row: WaitingRow<'_>) -> Result<Self, ColumnError> {
        let backend = row.backend.map(BackendName::parse).transpose().in_column("backend")?;
        Ok(Self {
            place: QueuePlace { rev: row.rev, seq: row.seq },
            prompt_id: PromptId::parse(row.prompt_id).in_column("prompt_id")?,
            priority: row.priority,
            caller: row.caller,
            created_at: UnixMillis::from_millis(row.created_at),
            not_before: UnixMillis::from_millis(row.not_before),
            awaits_inputs: row.awaits_inputs,
            // A damaged list or requirement does not hide the job from the dispatcher: claiming the job fails it.
            not_on: from_json("not_on", row.not_on).unwrap_or_default(),
            failed_on: backend.filter(|_| row.failures > 0),
            needs: from_json("needs", row.needs).unwrap_or_default(),
        })
    }
}
