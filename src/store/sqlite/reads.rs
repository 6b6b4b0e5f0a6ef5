//! Reads of jobs, on the pool of read-only connections.

use sqlx::sqlite::SqliteRow;
use sqlx::{QueryBuilder, Row, Sqlite, SqlitePool};

use super::rows::{
    AttemptRow, JobFile, JobRow, MediaRow, StatusCountRow, StatusRow, WaitingRow, decode, decode_all,
    job_columns, waiting_columns,
};
use crate::domain::id::PromptId;
use crate::domain::job::JobStatus;
use crate::domain::media::MediaFile;
use crate::domain::registered::WorkflowRef;
use crate::domain::time::UnixMillis;
use crate::store::claims::{QueuePlace, WaitingJob};
use crate::store::error::StoreError;
use crate::store::records::{JobLookup, JobRecord, PageCursor, QueueStats, RecordPage};

/// Jobs without their media files and attempts; conditions follow.
macro_rules! select_jobs {
    () => {
        concat!(
            "SELECT ",
            job_columns!(),
            " FROM jobs JOIN job_inputs USING (seq) LEFT JOIN job_outputs USING (seq) "
        )
    };
}

const JOB: &str = concat!(select_jobs!(), "WHERE prompt_id = ?1");

/// The latest attempts of a job, newest first.
const HISTORY: &str = "SELECT seq, number, backend, started_at, ended_at, outcome, reason
     FROM attempts WHERE seq = ?1 ORDER BY number DESC LIMIT 20";

const MEDIA: &str =
    "SELECT seq, position, var, node_id, kind, stored_as, filename, content_type, bytes, sha256, is_outputs
     FROM media WHERE seq = ?1 ORDER BY position";

const MEDIA_FILE: &str =
    "SELECT seq, position, var, node_id, kind, stored_as, filename, content_type, bytes, sha256, is_outputs
     FROM media JOIN jobs USING (seq) WHERE prompt_id = ?1 AND stored_as = ?2 ORDER BY position LIMIT 1";

const QUEUED_JOBS: &str = concat!(
    "SELECT ",
    waiting_columns!(),
    " FROM jobs INDEXED BY jobs_queue
     WHERE state = 'queued' AND (rev, seq) > (?1, ?2) ORDER BY rev, seq LIMIT ?3"
);

pub(super) async fn job(pool: &SqlitePool, id: PromptId) -> Result<JobLookup, StoreError> {
    let row = sqlx::query(JOB).bind(id.to_string()).fetch_optional(pool).await?;
    if let Some(row) = row {
        return with_files_and_history(pool, &row).await.map(Box::new).map(JobLookup::Found);
    }
    let tombstone = sqlx::query("SELECT 1 FROM tombstones WHERE prompt_id = ?1")
        .bind(id.to_string())
        .fetch_optional(pool)
        .await?;
    Ok(if tombstone.is_some() { JobLookup::Gone } else { JobLookup::Unknown })
}

async fn with_files_and_history(pool: &SqlitePool, row: &SqliteRow) -> Result<JobRecord, StoreError> {
    let mut job: JobRecord = decode::<JobRow, _>(row)?;
    let seq: i64 = row.try_get("seq")?;
    if job.attempts > 0 {
        let history = sqlx::query(HISTORY).bind(seq).fetch_all(pool).await?;
        job.history = decode_all::<AttemptRow, _>(&history)?;
        job.history.reverse();
    }
    if job.state.status().is_terminal() {
        let files = sqlx::query(MEDIA).bind(seq).fetch_all(pool).await?;
        for file in decode_all::<MediaRow, _>(&files)? {
            match file {
                JobFile::Media(file) => job.media.push(file),
                JobFile::Outputs(file) => job.outputs_file = Some(file),
            }
        }
    }
    Ok(job)
}

/// Leaves out jobs whose row is damaged, so that one of them does not stop the dispatcher.
pub(super) async fn queued_jobs(
    pool: &SqlitePool,
    after: Option<QueuePlace>,
    limit: u32,
) -> Result<Vec<WaitingJob>, StoreError> {
    let after = after.unwrap_or(QueuePlace { rev: i64::MIN, seq: i64::MIN });
    let found = sqlx::query(QUEUED_JOBS).bind(after.rev).bind(after.seq).bind(limit).fetch_all(pool).await?;
    let readable = |row: &SqliteRow| match decode::<WaitingRow, WaitingJob>(row) {
        Ok(job) => Some(job),
        Err(error) => {
            tracing::error!(%error, "a queued job's row cannot be read; the job is skipped");
            None
        }
    };
    Ok(found.iter().filter_map(readable).collect())
}

pub(super) async fn status(pool: &SqlitePool, id: PromptId) -> Result<Option<JobStatus>, StoreError> {
    let query = "SELECT seq, state FROM jobs WHERE prompt_id = ?1";
    let row = sqlx::query(query).bind(id.to_string()).fetch_optional(pool).await?;
    row.as_ref().map(decode::<StatusRow, _>).transpose()
}

pub(super) async fn list(
    pool: &SqlitePool,
    status: Option<JobStatus>,
    workflow: Option<&WorkflowRef>,
    cursor: Option<PageCursor>,
    limit: u32,
) -> Result<RecordPage, StoreError> {
    let mut query = QueryBuilder::<Sqlite>::new(select_jobs!());
    query.push("WHERE jobs.seq < ").push_bind(cursor.map_or(i64::MAX, |PageCursor(seq)| seq));
    if let Some(status) = status {
        query.push(" AND jobs.state = ").push_bind(status.as_str());
    }
    match workflow {
        Some(certain @ WorkflowRef { version: Some(_), .. }) => {
            query.push(" AND jobs.workflow = ").push_bind(certain.to_string());
        }
        // `A` follows `@` in the collation order, so all versions of the name lie between these two texts.
        Some(WorkflowRef { name, version: None }) => {
            query.push(" AND jobs.workflow > ").push_bind(format!("{name}@"));
            query.push(" AND jobs.workflow < ").push_bind(format!("{name}A"));
        }
        None => {}
    }
    // One row more than the page shows whether there is a next page.
    query.push(" ORDER BY jobs.seq DESC LIMIT ").push_bind(i64::from(limit) + 1);
    let found = query.build().fetch_all(pool).await?;
    let size = usize::try_from(limit).unwrap_or(usize::MAX);
    let page = &found[..found.len().min(size)];
    let mut jobs = Vec::with_capacity(page.len());
    for row in page {
        jobs.push(with_files_and_history(pool, row).await?);
    }
    let next = match page.last() {
        Some(row) if found.len() > size => Some(PageCursor(row.try_get("seq")?)),
        _ => None,
    };
    Ok(RecordPage { jobs, next })
}

pub(super) async fn media(
    pool: &SqlitePool,
    id: PromptId,
    stored_as: &str,
) -> Result<Option<MediaFile>, StoreError> {
    let query = sqlx::query(MEDIA_FILE).bind(id.to_string()).bind(stored_as.to_owned());
    let row = query.fetch_optional(pool).await?;
    row.as_ref().map(decode::<MediaRow, _>).transpose()
}

pub(super) async fn stats(pool: &SqlitePool) -> Result<QueueStats, StoreError> {
    let query = "SELECT min(seq) AS seq, state, count(*) AS jobs FROM jobs GROUP BY state";
    let by_status = decode_all::<StatusCountRow, _>(&sqlx::query(query).fetch_all(pool).await?)?;
    let oldest: Option<i64> =
        sqlx::query_scalar("SELECT created_at FROM jobs WHERE state = 'queued' ORDER BY seq LIMIT 1")
            .fetch_optional(pool)
            .await?;
    Ok(QueueStats { by_status, oldest_queued: oldest.map(UnixMillis::from_millis) })
}

pub(super) async fn last_seq(pool: &SqlitePool) -> Result<i64, StoreError> {
    Ok(sqlx::query_scalar("SELECT coalesce(max(seq), 0) FROM jobs").fetch_one(pool).await?)
}

pub(super) async fn queued(pool: &SqlitePool) -> Result<u64, StoreError> {
    let count: i64 =
        sqlx::query_scalar("SELECT count(*) FROM jobs WHERE state = 'queued'").fetch_one(pool).await?;
    Ok(u64::try_from(count).unwrap_or(0))
}

pub(super) async fn ping(pool: &SqlitePool) -> Result<(), StoreError> {
    sqlx::query("SELECT 1").execute(pool).await?;
    Ok(())
}
