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
use crate::store::{Cursor, JobRecord, Lookup, Page, QueueStats, StoreError};

/// A job with everything but its files; a `WHERE` follows. Counting stops at `FARTHEST_POSITION`:
/// whoever asks for a job far back in a long queue must not walk all of it.
macro_rules! record {
    () => {
        "SELECT jobs.*, job_inputs.metadata, job_inputs.seeds, job_outputs.outputs, job_outputs.texts,
         CASE jobs.state WHEN 'queued' THEN min(1000,
             (SELECT count(*) FROM (SELECT 1 FROM jobs AS ahead
              WHERE ahead.state = 'queued' AND ahead.priority > jobs.priority LIMIT 1000))
           + (SELECT count(*) FROM (SELECT 1 FROM jobs AS ahead
              WHERE ahead.state = 'queued' AND ahead.priority = jobs.priority AND ahead.seq < jobs.seq LIMIT 1000)))
         END AS position
         FROM jobs JOIN job_inputs USING (seq) LEFT JOIN job_outputs USING (seq) "
    };
}

const GET: &str = concat!(record!(), "WHERE prompt_id = ?1");

const MEDIA: &str = "SELECT * FROM media WHERE seq = ?1 ORDER BY position";

pub(super) async fn get(pool: &SqlitePool, id: PromptId) -> Result<Lookup, StoreError> {
    let row = sqlx::query(GET)
        .bind(id.to_string())
        .fetch_optional(pool)
        .await
        .map_err(|error| unavailable(&error))?;
    if let Some(row) = row {
        return complete(pool, &row).await.map(Box::new).map(Lookup::Found);
    }
    let gone = sqlx::query("SELECT 1 FROM tombstones WHERE prompt_id = ?1")
        .bind(id.to_string())
        .fetch_optional(pool)
        .await
        .map_err(|error| unavailable(&error))?;
    Ok(if gone.is_some() { Lookup::Gone } else { Lookup::Unknown })
}

async fn complete(pool: &SqlitePool, row: &SqliteRow) -> Result<JobRecord, StoreError> {
    let mut job = rows::record(row)?;
    job.queue_position = row
        .try_get::<Option<i64>, _>("position")
        .map_err(|error| unavailable(&error))?
        .and_then(|position| u64::try_from(position).ok());
    if job.state.status().is_terminal() {
        let seq: i64 = row.try_get("seq").map_err(|error| unavailable(&error))?;
        let media =
            sqlx::query(MEDIA).bind(seq).fetch_all(pool).await.map_err(|error| unavailable(&error))?;
        job.media = media.iter().map(rows::media).collect::<Result<_, _>>()?;
    }
    Ok(job)
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
    cursor: Option<Cursor>,
    limit: u32,
) -> Result<Page, StoreError> {
    let mut query = QueryBuilder::<Sqlite>::new(record!());
    query.push("WHERE jobs.seq < ").push_bind(cursor.map_or(i64::MAX, |Cursor(seq)| seq));
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
            Some(Cursor(row.try_get("seq").map_err(|error| unavailable(&error))?))
        }
        _ => None,
    };
    Ok(Page { jobs, next })
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
