//! Reads, on the pool of their own.

use sqlx::sqlite::SqliteRow;
use sqlx::{QueryBuilder, Row, Sqlite, SqlitePool};

use super::op::unavailable;
use super::rows;
use crate::domain::id::PromptId;
use crate::domain::job::Status;
use crate::domain::media::MediaFile;
use crate::domain::registered::WorkflowRef;
use crate::domain::time::UnixMillis;
use crate::store::{
    JobLookup, JobRecord, PageCursor, QueuePlace, QueueStats, RecordPage, ShapeRecord, StoreError, WaitingJob,
};

/// A job with everything but its files and attempts; a `WHERE` follows.
macro_rules! record {
    () => {
        "SELECT jobs.*, job_inputs.metadata, job_inputs.seeds, job_outputs.outputs, job_outputs.texts,
             job_outputs.dropped_outputs
         FROM jobs JOIN job_inputs USING (seq) LEFT JOIN job_outputs USING (seq) "
    };
}

const GET: &str = concat!(record!(), "WHERE prompt_id = ?1");

/// The last attempts, the latest first.
const HISTORY: &str = "SELECT * FROM attempts WHERE seq = ?1 ORDER BY number DESC LIMIT 20";

const MEDIA: &str = "SELECT * FROM media WHERE seq = ?1 ORDER BY position";

pub(super) async fn get(pool: &SqlitePool, id: PromptId) -> Result<JobLookup, StoreError> {
    let row = sqlx::query(GET)
        .bind(id.to_string())
        .fetch_optional(pool)
        .await
        .map_err(|error| unavailable(&error))?;
    if let Some(row) = row {
        return complete(pool, &row).await.map(Box::new).map(JobLookup::Found);
    }
    let gone = sqlx::query("SELECT 1 FROM tombstones WHERE prompt_id = ?1")
        .bind(id.to_string())
        .fetch_optional(pool)
        .await
        .map_err(|error| unavailable(&error))?;
    Ok(if gone.is_some() { JobLookup::Gone } else { JobLookup::Unknown })
}

async fn complete(pool: &SqlitePool, row: &SqliteRow) -> Result<JobRecord, StoreError> {
    let mut job = rows::record(row)?;
    let seq: i64 = row.try_get("seq").map_err(|error| unavailable(&error))?;
    if job.attempts > 0 {
        let history = sqlx::query(HISTORY).bind(seq).fetch_all(pool).await;
        let history = history.map_err(|error| unavailable(&error))?;
        job.history = history.iter().rev().map(rows::attempt_record).collect::<Result<_, _>>()?;
    }
    if job.state.status().is_terminal() {
        let media =
            sqlx::query(MEDIA).bind(seq).fetch_all(pool).await.map_err(|error| unavailable(&error))?;
        for row in &media {
            let file = rows::media(row)?;
            if row.try_get("is_outputs").map_err(|error| unavailable(&error))? {
                job.outputs_file = Some(file);
            } else {
                job.media.push(file);
            }
        }
    }
    Ok(job)
}

pub(super) async fn queued_jobs(
    pool: &SqlitePool,
    after: Option<QueuePlace>,
    limit: u32,
) -> Result<Vec<WaitingJob>, StoreError> {
    let after = after.unwrap_or(QueuePlace { rev: i64::MIN, seq: i64::MIN });
    let rows = sqlx::query(
        "SELECT * FROM jobs INDEXED BY jobs_queue
         WHERE state = 'queued' AND (rev, seq) > (?1, ?2) ORDER BY rev, seq LIMIT ?3",
    )
    .bind(after.rev)
    .bind(after.seq)
    .bind(limit)
    .fetch_all(pool)
    .await
    .map_err(|error| unavailable(&error))?;
    let read = |row: &SqliteRow| match rows::queued(row) {
        Ok(job) => Some(job),
        Err(error) => {
            tracing::error!(%error, "a waiting job's row cannot be read; it is passed over");
            None
        }
    };
    Ok(rows.iter().filter_map(read).collect())
}

pub(super) async fn shapes(pool: &SqlitePool, limit: u32) -> Result<Vec<ShapeRecord>, StoreError> {
    let rows = sqlx::query("SELECT * FROM shapes ORDER BY used_at DESC LIMIT ?1")
        .bind(limit)
        .fetch_all(pool)
        .await
        .map_err(|error| unavailable(&error))?;
    rows.iter().map(rows::shape).collect()
}

pub(super) async fn status(pool: &SqlitePool, id: PromptId) -> Result<Option<Status>, StoreError> {
    let row = sqlx::query("SELECT seq, state FROM jobs WHERE prompt_id = ?1")
        .bind(id.to_string())
        .fetch_optional(pool)
        .await;
    row.map_err(|error| unavailable(&error))?.as_ref().map(rows::status).transpose()
}

pub(super) async fn list(
    pool: &SqlitePool,
    status: Option<Status>,
    workflow: Option<&WorkflowRef>,
    cursor: Option<PageCursor>,
    limit: u32,
) -> Result<RecordPage, StoreError> {
    let mut query = QueryBuilder::<Sqlite>::new(record!());
    query.push("WHERE jobs.seq < ").push_bind(cursor.map_or(i64::MAX, |PageCursor(seq)| seq));
    if let Some(status) = status {
        query.push(" AND jobs.state = ").push_bind(status.as_str());
    }
    match workflow {
        Some(certain @ WorkflowRef { version: Some(_), .. }) => {
            query.push(" AND jobs.workflow = ").push_bind(certain.to_string());
        }
        // `@` is followed by `A` in the order of characters: every version of the name lies between the two.
        Some(WorkflowRef { name, version: None }) => {
            query.push(" AND jobs.workflow > ").push_bind(format!("{name}@"));
            query.push(" AND jobs.workflow < ").push_bind(format!("{name}A"));
        }
        None => {}
    }
    // One more than asked for tells whether there is a next page.
    query.push(" ORDER BY jobs.seq DESC LIMIT ").push_bind(i64::from(limit) + 1);
    let found = query.build().fetch_all(pool).await.map_err(|error| unavailable(&error))?;
    let wanted = usize::try_from(limit).unwrap_or(usize::MAX);
    let page = &found[..found.len().min(wanted)];
    let mut jobs = Vec::with_capacity(page.len());
    for row in page {
        jobs.push(complete(pool, row).await?);
    }
    let next = match page.last() {
        Some(row) if found.len() > wanted => {
            Some(PageCursor(row.try_get("seq").map_err(|error| unavailable(&error))?))
        }
        _ => None,
    };
    Ok(RecordPage { jobs, next })
}

pub(super) async fn media(
    pool: &SqlitePool,
    id: PromptId,
    stored_as: &str,
) -> Result<Option<MediaFile>, StoreError> {
    let row = sqlx::query(
        "SELECT media.* FROM media JOIN jobs USING (seq) WHERE prompt_id = ?1 AND stored_as = ?2 ORDER BY position LIMIT 1",
    )
    .bind(id.to_string())
    .bind(stored_as.to_owned())
    .fetch_optional(pool)
    .await
    .map_err(|error| unavailable(&error))?;
    row.as_ref().map(rows::media).transpose()
}

pub(super) async fn stats(pool: &SqlitePool) -> Result<QueueStats, StoreError> {
    let counts = sqlx::query("SELECT min(seq) AS seq, state, count(*) AS jobs FROM jobs GROUP BY state")
        .fetch_all(pool)
        .await;
    let mut by_status = Vec::new();
    for row in counts.map_err(|error| unavailable(&error))? {
        let jobs: i64 = row.try_get("jobs").map_err(|error| unavailable(&error))?;
        by_status.push((rows::status(&row)?, u64::try_from(jobs).unwrap_or(0)));
    }
    let oldest: Option<i64> =
        sqlx::query_scalar("SELECT created_at FROM jobs WHERE state = 'queued' ORDER BY seq LIMIT 1")
            .fetch_optional(pool)
            .await
            .map_err(|error| unavailable(&error))?;
    Ok(QueueStats { by_status, oldest_queued: oldest.map(UnixMillis::from_millis) })
}

pub(super) async fn last_seq(pool: &SqlitePool) -> Result<i64, StoreError> {
    sqlx::query_scalar("SELECT coalesce(max(seq), 0) FROM jobs")
        .fetch_one(pool)
        .await
        .map_err(|error| unavailable(&error))
}

pub(super) async fn queued(pool: &SqlitePool) -> Result<u64, StoreError> {
    let count: i64 = sqlx::query_scalar("SELECT count(*) FROM jobs WHERE state = 'queued'")
        .fetch_one(pool)
        .await
        .map_err(|error| unavailable(&error))?;
    Ok(u64::try_from(count).unwrap_or(0))
}

pub(super) async fn ping(pool: &SqlitePool) -> Result<(), StoreError> {
    sqlx::query("SELECT 1").execute(pool).await.map(|_| ()).map_err(|error| unavailable(&error))
}
