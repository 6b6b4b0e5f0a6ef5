//! The periodic tasks: they renew leases, expire queued jobs, purge old results, and remove unused inputs.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::orphans::SweepError;
use crate::core::JobEnd;
use crate::domain::failure::{Failure, FailureCode};
use crate::domain::id::PromptId;
use crate::domain::job::{JobEnding, JobFinish};
use crate::scheduler::context::SchedulerContext;
use crate::store::{ClaimedJob, Requeue, StoreError};

/// Between two looks for queued jobs whose deadline has passed.
const DEADLINES: Duration = Duration::from_millis(500);
/// Between two looks for results whose retention has ended.
const RETENTION: Duration = Duration::from_mins(1);
/// An input younger than this is kept, because the request that stored it may not have committed its job yet.
const YOUNG_INPUTS: Duration = Duration::from_mins(15);
/// Jobs purged in one transaction.
const PURGE: u32 = 200;
/// Steps in which free pages return to the disk before the task checks for a stop again.
const SHRINK: usize = 64;
/// How long the id of a purged job answers 410 instead of 404.
const TOMBSTONES: Duration = Duration::from_hours(30 * 24);

type PeriodicTask = Pin<Box<dyn Future<Output = Result<(), StoreError>> + Send>>;

/// The periodic tasks with their names.
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
                tracing::error!(%error, "a periodic task failed; it runs again");
            }
        }
    })
}

async fn renew(context: &SchedulerContext) -> Result<(), StoreError> {
    context.core.store.renew(context.owner, context.lease().until).await
}

async fn expire(context: &SchedulerContext) -> Result<(), StoreError> {
    let now = context.core.clock.now();
    let failure =
        Failure::new(FailureCode::QueueTimeout, "no backend accepted the job within its queue_timeout");
    for id in context.core.store.expire_queued(now, failure, context.core.expiry(now)).await? {
        context.core.announce_end(JobEnd::failed(id, FailureCode::QueueTimeout.as_str(), None));
    }
    Ok(())
}

/// Applies a retention that was shortened since earlier jobs ended. If this fails, the next start repeats it.
async fn shorten_retention(context: Arc<SchedulerContext>) -> Result<(), StoreError> {
    if let Some(retention) = context.core.retention
        && let Err(error) = context.core.store.shorten_retention(retention).await
    {
        tracing::error!(%error, "the shorter retention could not be applied to jobs that ended before");
    }
    Ok(())
}

/// Returns free pages of the database file to the disk.
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

/// Removes inputs that no waiting or running job and no uploaded file needs.
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
            tracing::error!(%error, "unused inputs could not be removed; trying again");
            Ok(())
        }
        Ok(()) => Ok(()),
    }
}

async fn forget_files(context: &SchedulerContext, id: PromptId) {
    if let Err(error) = context.core.media.remove(id).await {
        tracing::error!(prompt_id = %id, %error, "the files of a purged job could not be removed; the next start removes them");
    }
}

/// Returns a claimed job without an attempt to the queue. If a cancel came for it, the job ends as cancelled
/// instead.
pub(in crate::scheduler) async fn give_back(
    context: &SchedulerContext,
    job: &ClaimedJob,
    requeue: Requeue,
) -> Result<(), StoreError> {
    let fence = job.attempt.fence(job.prompt_id);
    let at = requeue.at;
    match context.core.store.requeue(fence, requeue).await {
        Err(StoreError::LeaseLost) => {
            let finish = JobFinish::without_outputs(JobEnding::Cancelled, at, context.core.expiry(at));
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
