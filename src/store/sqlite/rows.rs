//! Rows into domain values; whatever breaks the schema's rules names its table, column and row.

use std::fmt::Display;
use std::time::Duration;

use serde_json::value::RawValue;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use crate::domain::id::{AttemptId, BackendName, FileId, LeaseOwner, PromptId};
use crate::domain::input::{JobInput, StoredInput};
use crate::domain::job::{Attempt, JobState, Lease, Status, Timings};
use crate::domain::media::{MediaFile, MediaKind};
use crate::domain::needs::Needs;
use crate::domain::time::UnixMillis;
use crate::store::{
    AttemptRecord, ClaimedJob, FileRecord, JobRecord, QueuePlace, ShapeRecord, StoreError, WaitingJob,
};

/// A column of `jobs` that holds what no valid row holds.
fn wrong(row: &SqliteRow, column: &'static str, reason: impl Display) -> StoreError {
    let key = row.try_get::<i64, _>("seq").map_or_else(|_| "?".to_owned(), |seq| seq.to_string());
    StoreError::Inconsistent { table: "jobs", column, row: key, reason: reason.to_string() }
}

fn get<'r, T>(row: &'r SqliteRow, column: &'static str) -> Result<T, StoreError>
where
    T: sqlx::Decode<'r, sqlx::Sqlite> + sqlx::Type<sqlx::Sqlite>,
{
    row.try_get(column).map_err(|error| wrong(row, column, error))
}

/// A column that rows of this state always have.
fn required<'r, T>(row: &'r SqliteRow, column: &'static str) -> Result<T, StoreError>
where
    T: sqlx::Decode<'r, sqlx::Sqlite> + sqlx::Type<sqlx::Sqlite>,
{
    get::<Option<T>>(row, column)?.ok_or_else(|| wrong(row, column, "missing in this state"))
}

fn moment(row: &SqliteRow, column: &'static str) -> Result<UnixMillis, StoreError> {
    required(row, column).map(UnixMillis::from_millis)
}

fn moment_maybe(row: &SqliteRow, column: &'static str) -> Result<Option<UnixMillis>, StoreError> {
    Ok(get::<Option<i64>>(row, column)?.map(UnixMillis::from_millis))
}

fn json(row: &SqliteRow, column: &'static str, text: String) -> Result<Box<RawValue>, StoreError> {
    RawValue::from_string(text).map_err(|error| wrong(row, column, error))
}

fn json_maybe(row: &SqliteRow, column: &'static str) -> Result<Option<Box<RawValue>>, StoreError> {
    get::<Option<String>>(row, column)?.map(|text| json(row, column, text)).transpose()
}

/// A list of plain data of ours; `NULL` is an empty one.
fn list<T: serde::de::DeserializeOwned>(row: &SqliteRow, column: &'static str) -> Result<Vec<T>, StoreError> {
    let list = get::<Option<&str>>(row, column)?.map(serde_json::from_str).transpose();
    Ok(list.map_err(|error| wrong(row, column, error))?.unwrap_or_default())
}

/// Plain data of ours as JSON text.
pub(super) fn to_json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).unwrap_or_else(|_| "null".to_owned())
}

pub(super) fn prompt_id(row: &SqliteRow) -> Result<PromptId, StoreError> {
    PromptId::parse(get(row, "prompt_id")?).map_err(|error| wrong(row, "prompt_id", error))
}

fn attempt(row: &SqliteRow) -> Result<Attempt, StoreError> {
    let id = required(row, "attempt_id")?;
    let owner = required(row, "lease_owner")?;
    Ok(Attempt {
        number: get(row, "attempt")?,
        id: AttemptId::parse(id).map_err(|error| wrong(row, "attempt_id", error))?,
        backend: backend(row)?.ok_or_else(|| wrong(row, "backend", "missing in this state"))?,
        lease: Lease {
            owner: LeaseOwner::parse(owner).map_err(|error| wrong(row, "lease_owner", error))?,
            until: moment(row, "lease_until")?,
        },
        started_at: moment(row, "started_at")?,
    })
}

fn backend(row: &SqliteRow) -> Result<Option<BackendName>, StoreError> {
    let name = get::<Option<&str>>(row, "backend")?;
    name.map(|name| BackendName::parse(name).map_err(|error| wrong(row, "backend", error))).transpose()
}

fn state(row: &SqliteRow) -> Result<JobState, StoreError> {
    let name: &str = get(row, "state")?;
    Ok(match Status::parse(name).ok_or_else(|| wrong(row, "state", format!("unknown: {name:?}")))? {
        Status::Queued => JobState::Queued {
            not_before: moment(row, "not_before")?,
            deadline: moment_maybe(row, "queue_deadline")?,
        },
        Status::Running => {
            JobState::Running { attempt: attempt(row)?, cancel_requested: get(row, "cancel_requested")? }
        }
        Status::Completed => JobState::Completed { finished_at: moment(row, "finished_at")? },
        Status::Failed => {
            let failure = serde_json::from_str(required(row, "failure")?)
                .map_err(|error| wrong(row, "failure", error))?;
            JobState::Failed { finished_at: moment(row, "finished_at")?, failure }
        }
        Status::Cancelled => JobState::Cancelled { finished_at: moment(row, "finished_at")? },
    })
}

pub(super) fn status(row: &SqliteRow) -> Result<Status, StoreError> {
    let name: &str = get(row, "state")?;
    Status::parse(name).ok_or_else(|| wrong(row, "state", format!("unknown: {name:?}")))
}

fn duration(row: &SqliteRow, column: &'static str) -> Result<Option<Duration>, StoreError> {
    let millis = get::<Option<i64>>(row, column)?;
    Ok(millis.map(|millis| Duration::from_millis(u64::try_from(millis).unwrap_or(0))))
}

/// The files of a row with the column `files`, fetched or still to be fetched.
pub(super) fn files(row: &SqliteRow) -> Result<Vec<JobInput>, StoreError> {
    let files = get::<Option<&str>>(row, "files")?.map(serde_json::from_str).transpose();
    Ok(files.map_err(|error| wrong(row, "files", error))?.unwrap_or_default())
}

/// The files of a job that may run: all are here.
fn stored(row: &SqliteRow) -> Result<Vec<StoredInput>, StoreError> {
    let one = |file| match file {
        JobInput::Stored(file) => Ok(file),
        JobInput::Remote(_) => Err(wrong(row, "files", "one was never fetched")),
    };
    files(row)?.into_iter().map(one).collect()
}

fn needs(row: &SqliteRow) -> Result<Needs, StoreError> {
    let needs = get::<Option<&str>>(row, "needs")?.map(serde_json::from_str).transpose();
    Ok(needs.map_err(|error| wrong(row, "needs", error))?.unwrap_or_default())
}

fn downed(row: &SqliteRow) -> Result<Vec<BackendName>, StoreError> {
    let downed = get::<Option<&str>>(row, "downed")?.map(serde_json::from_str).transpose();
    Ok(downed.map_err(|error| wrong(row, "downed", error))?.unwrap_or_default())
}

/// A row of `jobs` that waits.
pub(super) fn queued(row: &SqliteRow) -> Result<WaitingJob, StoreError> {
    // What is damaged here shows again when the job is claimed, and fails it then.
    let not_on = get::<Option<&str>>(row, "not_on")?.and_then(|text| serde_json::from_str(text).ok());
    let failures: u32 = get(row, "failures")?;
    Ok(WaitingJob {
        place: QueuePlace { rev: get(row, "rev")?, seq: get(row, "seq")? },
        prompt_id: prompt_id(row)?,
        priority: get(row, "priority")?,
        caller: get(row, "caller")?,
        created_at: moment(row, "created_at")?,
        not_before: moment(row, "not_before")?,
        awaits_inputs: get(row, "awaits_inputs")?,
        not_on: not_on.unwrap_or_default(),
        failed_on: backend(row)?.filter(|_| failures > 0),
        needs: needs(row).unwrap_or_default(),
    })
}

/// A row of `shapes`.
pub(super) fn shape(row: &SqliteRow) -> Result<ShapeRecord, StoreError> {
    Ok(ShapeRecord {
        shape: get(row, "shape")?,
        warm_ms: get(row, "warm_ms")?,
        cold_ms: get(row, "cold_ms")?,
        oom_vram: get(row, "oom_vram")?,
        used_at: moment(row, "used_at")?,
    })
}

/// A row of `attempts`.
pub(super) fn attempt_record(row: &SqliteRow) -> Result<AttemptRecord, StoreError> {
    Ok(AttemptRecord {
        number: get(row, "number")?,
        backend: backend(row)?.ok_or_else(|| wrong(row, "backend", "missing"))?,
        started_at: moment(row, "started_at")?,
        ended_at: moment_maybe(row, "ended_at")?,
        outcome: get(row, "outcome")?,
        reason: get(row, "reason")?,
    })
}

/// The graph of a row that has one.
pub(super) fn graph(row: &SqliteRow) -> Result<Box<RawValue>, StoreError> {
    json(row, "graph", required(row, "graph")?)
}

/// A row of `files`.
pub(super) fn file(row: &SqliteRow) -> Result<FileRecord, StoreError> {
    let id: &str = get(row, "file_id")?;
    Ok(FileRecord {
        id: FileId::parse(id).map_err(|error| wrong(row, "file_id", error))?,
        sha256: get(row, "sha256")?,
        bytes: u64::try_from(get::<i64>(row, "bytes")?).unwrap_or(0),
        filename: get(row, "filename")?,
        content_type: get(row, "content_type")?,
        extension: get(row, "extension")?,
        created_at: moment(row, "created_at")?,
        expires_at: moment_maybe(row, "expires_at")?,
    })
}

/// A row of `jobs` with its `graph` and `files`.
pub(super) fn claimed(row: &SqliteRow) -> Result<ClaimedJob, StoreError> {
    Ok(ClaimedJob {
        prompt_id: prompt_id(row)?,
        attempt: attempt(row)?,
        graph: graph(row)?,
        files: stored(row)?,
        created_at: moment(row, "created_at")?,
        run_timeout: duration(row, "run_timeout_ms")?.unwrap_or_default(),
        queue_timeout: duration(row, "queue_timeout_ms")?,
        failures: get(row, "failures")?,
        cancel_requested: get(row, "cancel_requested")?,
        max_attempts: get(row, "max_attempts")?,
        downed: downed(row)?,
        refusals: get(row, "refusals")?,
        defeats_cache: get(row, "fresh")?,
        partial: get(row, "partial")?,
        needs: needs(row)?,
    })
}

/// A row of `jobs` with the columns of its inputs and outputs; media and queue position come apart.
pub(super) fn record(row: &SqliteRow) -> Result<JobRecord, StoreError> {
    Ok(JobRecord {
        prompt_id: prompt_id(row)?,
        state: state(row)?,
        priority: get(row, "priority")?,
        attempts: get(row, "attempt")?,
        backend: backend(row)?,
        started_at: moment_maybe(row, "started_at")?,
        created_at: moment(row, "created_at")?,
        expires_at: moment_maybe(row, "expires_at")?,
        workflow: get(row, "workflow")?,
        msg: get(row, "msg")?,
        timings: Timings {
            queued_ms: get(row, "queued_ms")?,
            preparing_ms: get(row, "preparing_ms")?,
            executing_ms: get(row, "executing_ms")?,
            collecting_ms: get(row, "collecting_ms")?,
        },
        metadata: json_maybe(row, "metadata")?,
        seeds: json_maybe(row, "seeds")?,
        outputs: json_maybe(row, "outputs")?,
        outputs_file: None,
        texts: list(row, "texts")?,
        media: Vec::new(),
        dropped_outputs: list(row, "dropped_outputs")?,
        history: Vec::new(),
    })
}

pub(super) fn media(row: &SqliteRow) -> Result<MediaFile, StoreError> {
    let kind: &str = get(row, "kind")?;
    Ok(MediaFile {
        var: get(row, "var")?,
        node_id: get(row, "node_id")?,
        kind: MediaKind::parse(kind).ok_or_else(|| wrong(row, "kind", format!("unknown: {kind:?}")))?,
        stored_as: get(row, "stored_as")?,
        filename: get(row, "filename")?,
        content_type: get(row, "content_type")?,
        bytes: u64::try_from(get::<i64>(row, "bytes")?).unwrap_or(0),
        sha256: get(row, "sha256")?,
    })
}
