//! Accepting jobs. All new jobs of a batch are inserted together, with as few statements as possible.

use std::time::Duration;

use sqlx::{QueryBuilder, Sqlite, SqliteConnection};

use super::rows::to_json;
use super::write::{StoreWrite, WriteError, WriteTransaction};
use crate::domain::job::NewJob;

/// The numbers of rows in one statement. There are few, so that the connection's statement cache keeps them all.
const CHUNK_SIZES: [usize; 3] = [64, 8, 1];

/// Accepts a job into the queue.
pub(super) struct InsertJob(pub NewJob);

impl StoreWrite for InsertJob {
    type Reply = ();

    fn needs_room(&self) -> bool {
        true
    }

    fn new_job(&self) -> Option<&NewJob> {
        Some(&self.0)
    }

    /// Does nothing: [`insert_jobs`] has inserted the job with the others of its batch.
    async fn apply(&self, _transaction: &mut WriteTransaction<'_>) -> Result<(), WriteError> {
        Ok(())
    }
}

/// Inserts `jobs` with ascending `seq`, starting at `first_seq`.
pub(super) async fn insert_jobs(
    connection: &mut SqliteConnection,
    first_seq: i64,
    rev: i64,
    jobs: &[&NewJob],
) -> Result<(), sqlx::Error> {
    let mut seq = first_seq;
    let mut rest = jobs;
    while !rest.is_empty() {
        let size = CHUNK_SIZES.into_iter().find(|&size| size <= rest.len()).unwrap_or(1);
        let (chunk, others) = rest.split_at(size);
        insert_chunk(connection, seq, rev, chunk).await?;
        seq += i64::try_from(size).unwrap_or(0);
        rest = others;
    }
    Ok(())
}

async fn insert_chunk(
    connection: &mut SqliteConnection,
    first_seq: i64,
    rev: i64,
    jobs: &[&NewJob],
) -> Result<(), sqlx::Error> {
    let mut rows = QueryBuilder::<Sqlite>::new(
        "INSERT INTO jobs (seq, prompt_id, state, priority, created_at, run_timeout_ms, queue_timeout_ms, not_before,
             queue_deadline, awaits_inputs, workflow, not_on, rev, caller, max_attempts, needs, partial, msg) ",
    );
    rows.push_values((first_seq..).zip(jobs), |mut row, (seq, job)| {
        let deadline = job.queue_timeout.map(|wait| job.created_at.plus(wait).as_millis());
        row.push_bind(seq)
            .push_bind(job.prompt_id.to_string())
            .push("'queued'")
            .push_bind(job.priority)
            .push_bind(job.created_at.as_millis())
            .push_bind(millis(job.run_timeout))
            .push_bind(job.queue_timeout.map(millis))
            .push_bind(job.created_at.as_millis())
            .push_bind(deadline)
            .push_bind(job.awaits_inputs())
            .push_bind(job.workflow.clone())
            .push_bind((!job.not_on.is_empty()).then(|| to_json(&job.not_on)))
            .push_bind(rev)
            .push_bind(job.caller.clone())
            .push_bind(job.max_attempts)
            .push_bind(to_json(&job.needs))
            .push_bind(job.partial)
            .push_bind(job.msg.clone());
    });
    rows.build().execute(&mut *connection).await?;

    let mut rows =
        QueryBuilder::<Sqlite>::new("INSERT INTO job_inputs (seq, graph, metadata, seeds, files) ");
    rows.push_values((first_seq..).zip(jobs), |mut row, (seq, job)| {
        row.push_bind(seq)
            .push_bind(job.graph.clone())
            .push_bind(job.metadata.as_ref().map(|json| json.get().to_owned()))
            .push_bind(seeds_json(&job.seeds))
            .push_bind((!job.files.is_empty()).then(|| to_json(&job.files)));
    });
    rows.build().execute(connection).await?;
    Ok(())
}

fn seeds_json(seeds: &[(String, u64)]) -> Option<String> {
    let seeds: serde_json::Map<_, _> =
        seeds.iter().map(|(node, seed)| (node.clone(), (*seed).into())).collect();
    (!seeds.is_empty()).then(|| serde_json::Value::Object(seeds).to_string())
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
