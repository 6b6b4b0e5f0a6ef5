//! What comes due by itself: leases to renew, waits that end, results to forget.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::orphans::SweepError;
use crate::domain::failure::{Failure, FailureCode};
use crate::domain::id::PromptId;
use crate::domain::job::{JobEnding, JobFinish, JobStatus, PhaseTimings};
use crate::scheduler::SchedulerDeps;
use crate::store::{ClaimedJob, Requeue, StoreError};

/// Between two looks for queued jobs whose deadline has come.
const DEADLINES: Duration = Duration::from_millis(500);
/// Between two looks for results to forget.
const RETENTION: Duration = Duration::from_mins(1);
/// An input younger than this is not swept.
const YOUNG_INPUTS: Duration = Duration::from_mins(15);
/// Results forgotten in one transaction.
const PURGE: u32 = 200;
/// Parts of the database that are given back to the disk in a row, so that a stop does not wait for all of them.
const SHRINK: usize = 64;
/// How long the id of a forgotten job is told from an unknown one.
const TOMBSTONES: Duration = Duration::from_hours(30 * 24);

type PeriodicTask = Pin<Box<dyn Future<Output = Result<(), StoreError>> + Send>>;

/// The periodic tasks, by name.
pub(in crate::scheduler) fn tasks(
    parts: &Arc<SchedulerDeps>,
    stopping: &CancellationToken,
) -> Vec<(&'static str, PeriodicTask)> {
    let lease = parts.settings.lease / 3;
    vec![
        (
            "lease renewal",
            every(lease, parts, stopping, |parts| Box::pin(async move { renew(&parts).await })),
        ),
        (
            "queue deadlines",
            every(DEADLINES, parts, stopping, |parts| Box::pin(async move { expire(&parts).await })),
        ),
        ("shorter retention", Box::pin(shorten_retention(parts.clone()))),
        (
            "database size",
            every(RETENTION, parts, stopping, |parts| Box::pin(async move { shrink(&parts).await })),
        ),
        (
            "retention",
            every(RETENTION, parts, stopping, |parts| Box::pin(async move { purge(&parts).await })),
        ),
        (
            "unneeded inputs",
            every(RETENTION, parts, stopping, |parts| Box::pin(async move { sweep_inputs(&parts).await })),
        ),
    ]
}

fn every(
    period: Duration,
    parts: &Arc<SchedulerDeps>,
    stopping: &CancellationToken,
    step: fn(Arc<SchedulerDeps>) -> PeriodicTask,
) -> PeriodicTask {
    let (parts, stopping) = (parts.clone(), stopping.clone());
    Box::pin(async move {
        loop {
            tokio::select! {
                () = stopping.cancelled() => return Ok(()),
                () = parts.clock.sleep(period) => {}
            }
            if let Err(error) = step(parts.clone()).await {
                tracing::error!(%error, "a periodic task failed; it comes again");
            }
        }
    })
}

async fn renew(parts: &SchedulerDeps) -> Result<(), StoreError> {
    parts.store.renew(parts.owner, parts.lease().until).await
}

async fn expire(parts: &SchedulerDeps) -> Result<(), StoreError> {
    let now = parts.clock.now();
    let failure = Failure::new(FailureCode::QueueTimeout, "no server took the job within its queue_timeout");
    for id in parts.store.expire_queued(now, failure, parts.expiry(now)).await? {
        tracing::info!(prompt_id = %id, outcome = "queue_timeout", "job ended");
        parts.metrics.job_finished(JobStatus::Failed);
        parts.hub.left_queue(id);
        parts.hub.job_changed(id);
    }
    Ok(())
}

/// The retention may be shorter than when earlier jobs ended. If this fails, the next start does it.
async fn shorten_retention(parts: Arc<SchedulerDeps>) -> Result<(), StoreError> {
    if let Some(retention) = parts.settings.retention
        && let Err(error) = parts.store.shorten_retention(retention).await
    {
        tracing::error!(%error, "the retention could not be applied to jobs that ended before");
    }
    Ok(())
}

/// Lets the database's file shrink after deletions.
async fn shrink(parts: &SchedulerDeps) -> Result<(), StoreError> {
    for _ in 0..SHRINK {
        if !parts.store.shrink().await? {
            break;
        }
    }
    Ok(())
}

async fn purge(parts: &SchedulerDeps) -> Result<(), StoreError> {
    loop {
        let now = parts.clock.now();
        let before = now.minus(TOMBSTONES);
        let purged = parts.store.purge(now, before, PURGE).await?;
        for id in &purged {
            forget_files(parts, *id).await;
        }
        if purged.len() < PURGE as usize {
            return Ok(());
        }
    }
}

/// Removes inputs that nobody needs. A young one may belong to a request that is not on disk yet.
async fn sweep_inputs(parts: &SchedulerDeps) -> Result<(), StoreError> {
    let now = parts.clock.now();
    parts.store.release_inputs(now).await?;
    let cutoff = now.minus(YOUNG_INPUTS);
    let swept = async {
        let old = parts.media.inputs_before(cutoff).await?;
        if old.is_empty() {
            return Ok(());
        }
        let needed = parts.store.needed_inputs().await?;
        for sha256 in old.iter().filter(|sha256| !needed.contains(*sha256)) {
            parts.media.remove_input(sha256, cutoff).await?;
        }
        Ok::<(), SweepError>(())
    };
    match swept.await {
        Err(SweepError::Store(error)) => Err(error),
        Err(SweepError::Media(error)) => {
            tracing::error!(%error, "inputs that nobody needs stay until the next look");
            Ok(())
        }
        Ok(()) => Ok(()),
    }
}

async fn forget_files(parts: &SchedulerDeps, id: PromptId) {
    if let Err(error) = parts.media.remove(id).await {
        tracing::error!(prompt_id = %id, %error, "files of a forgotten job stay behind until the next start");
    }
}

/// Puts a job back that nobody watches; if a cancel came for it, it is thereby cancelled.
pub(in crate::scheduler) async fn give_back(
    parts: &SchedulerDeps,
    job: &ClaimedJob,
    requeue: Requeue,
) -> Result<(), StoreError> {
    let fence = job.attempt.fence(job.prompt_id);
    let at = requeue.at;
    match parts.store.requeue(fence, requeue).await {
        Err(StoreError::LeaseLost) => {
            let finish = JobFinish {
                ending: JobEnding::Cancelled,
                outputs: None,
                outputs_file: None,
                texts: Vec::new(),
                media: Vec::new(),
                dropped_outputs: Vec::new(),
                timings: PhaseTimings::default(),
                finished_at: at,
                expires_at: parts.expiry(at),
            };
            parts.store.finish(fence, finish).await?;
            tracing::info!(prompt_id = %job.prompt_id, outcome = "cancelled", "job ended");
            parts.metrics.job_finished(JobStatus::Cancelled);
            parts.hub.forget_cancel(job.prompt_id);
        }
        other => other?,
    }
    parts.hub.job_changed(job.prompt_id);
    parts.hub.work_came();
    Ok(())
}
