//! What comes due by itself: leases to renew, waits that end, results to forget.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::orphans::SweepError;
use crate::core::JobEnd;
use crate::domain::failure::{Failure, FailureCode};
use crate::domain::id::PromptId;
use crate::domain::job::{JobEnding, JobFinish, PhaseTimings};
use crate::scheduler::context::SchedulerContext;
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
    context: &Arc<SchedulerContext>,
    stopping: &CancellationToken,
) -> Vec<(&'static str, PeriodicTask)> {
    let lease = context.settings.lease / 3;
    vec![
        (
            "lease renewal",
            every(lease, context, stopping, |context| Box::pin(async move { renew(&context).await })),
        ),
        (
            "queue deadlines",
            every(DEADLINES, context, stopping, |context| Box::pin(async move { expire(&context).await })),
        ),
        ("shorter retention", Box::pin(shorten_retention(context.clone()))),
        (
            "database size",
            every(RETENTION, context, stopping, |context| Box::pin(async move { shrink(&context).await })),
        ),
        (
            "retention",
            every(RETENTION, context, stopping, |context| Box::pin(async move { purge(&context).await })),
        ),
        (
            "unneeded inputs",
            every(RETENTION, context, stopping, |context| {
                Box::pin(async move { sweep_inputs(&context).await })
            }),
        ),
    ]
}

fn every(
    period: Duration,
    context: &Arc<SchedulerContext>,
    stopping: &CancellationToken,
    step: fn(Arc<SchedulerContext>) -> PeriodicTask,
) -> PeriodicTask {
    let (context, stopping) = (context.clone(), stopping.clone());
    Box::pin(async move {
        loop {
            tokio::select! {
                () = stopping.cancelled() => return Ok(()),
                () = context.core.clock.sleep(period) => {}
            }
            if let Err(error) = step(context.clone()).await {
                tracing::error!(%error, "a periodic task failed; it comes again");
            }
        }
    })
}

async fn renew(context: &SchedulerContext) -> Result<(), StoreError> {
    context.core.store.renew(context.owner, context.lease().until).await
}

async fn expire(context: &SchedulerContext) -> Result<(), StoreError> {
    let now = context.core.clock.now();
    let failure = Failure::new(FailureCode::QueueTimeout, "no server took the job within its queue_timeout");
    for id in context.core.store.expire_queued(now, failure, context.core.expiry(now)).await? {
        context.core.announce_end(JobEnd::failed(id, FailureCode::QueueTimeout.as_str(), None));
    }
    Ok(())
}

/// The retention may be shorter than when earlier jobs ended. If this fails, the next start does it.
async fn shorten_retention(context: Arc<SchedulerContext>) -> Result<(), StoreError> {
    if let Some(retention) = context.core.retention
        && let Err(error) = context.core.store.shorten_retention(retention).await
    {
        tracing::error!(%error, "the retention could not be applied to jobs that ended before");
    }
    Ok(())
}

/// Lets the database's file shrink after deletions.
async fn shrink(context: &SchedulerContext) -> Result<(), StoreError> {
    for _ in 0..SHRINK {
        if !context.core.store.shrink().await? {
            break;
        }
    }
    Ok(())
}

async fn purge(context: &SchedulerContext) -> Result<(), StoreError> {
    loop {
        let now = context.core.clock.now();
        let before = now.minus(TOMBSTONES);
        let purged = context.core.store.purge(now, before, PURGE).await?;
        for id in &purged {
            forget_files(context, *id).await;
        }
        if purged.len() < PURGE as usize {
            return Ok(());
        }
    }
}

/// Removes inputs that nobody needs. A young one may belong to a request that is not on disk yet.
async fn sweep_inputs(context: &SchedulerContext) -> Result<(), StoreError> {
    let now = context.core.clock.now();
    context.core.store.release_inputs(now).await?;
    let cutoff = now.minus(YOUNG_INPUTS);
    let swept = async {
        let old = context.core.media.inputs_before(cutoff).await?;
        if old.is_empty() {
            return Ok(());
        }
        let needed = context.core.store.needed_inputs().await?;
        for sha256 in old.iter().filter(|sha256| !needed.contains(*sha256)) {
            context.core.media.remove_input(sha256, cutoff).await?;
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

async fn forget_files(context: &SchedulerContext, id: PromptId) {
    if let Err(error) = context.core.media.remove(id).await {
        tracing::error!(prompt_id = %id, %error, "files of a forgotten job stay behind until the next start");
    }
}

/// Puts a job back that nobody watches; if a cancel came for it, it is thereby cancelled.
pub(in crate::scheduler) async fn give_back(
    context: &SchedulerContext,
    job: &ClaimedJob,
    requeue: Requeue,
) -> Result<(), StoreError> {
    let fence = job.attempt.fence(job.prompt_id);
    let at = requeue.at;
    match context.core.store.requeue(fence, requeue).await {
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
                expires_at: context.core.expiry(at),
            };
            context.core.store.finish(fence, finish).await?;
            let end = JobEnd { in_queue: false, ..JobEnd::cancelled(job.prompt_id) };
            context.core.announce_end(end);
        }
        other => {
            other?;
            context.core.hub.notify_job(job.prompt_id);
            context.core.hub.notify_work();
        }
    }
    Ok(())
}
