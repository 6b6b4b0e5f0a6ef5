//! Writes the end of a job, or its return to the queue, under the attempt's fence; retries until the store has it.

use std::time::Duration;

use super::outcome::RequeueDecision;
use super::record::millis;
use super::task::AttemptTask;
use super::trace::AttemptTrace;
use crate::core::JobEnd;
use crate::domain::failure::{Failure, FailureCode};
use crate::domain::id::BackendName;
use crate::domain::job::{Fence, JobEnding, JobFinish, PhaseTimings};
use crate::store::{Requeue, StoreError};

/// A job that crashed this many backends is not run on another.
const MAX_CRASHED_BACKENDS: usize = 2;
/// The job itself is at fault after this many refusals without a reason. The second is another backend's, if
/// there is one.
const MAX_REFUSALS: u32 = 2;

impl AttemptTask {
    /// Returns the job to the queue, or fails it when its budget of retries, crashes or refusals is spent.
    pub(super) async fn requeue(&self, decision: RequeueDecision, trace: &AttemptTrace) {
        if let Some(failure) = self.spent_budget(&decision) {
            return self.finish(self.empty_finish(JobEnding::Failed(failure), trace)).await;
        }
        let (cause, now) = (decision.cause, self.now());
        let wait = if cause.counts() {
            let failures = self.job.failures + 1;
            self.context.settings.retry.delay(failures, self.context.core.random.fraction())
        } else {
            Duration::ZERO
        };
        let requeue = Requeue {
            cause,
            reason: decision.reason.clone(),
            not_before: now.plus(wait),
            deadline: self.job.queue_timeout.map(|timeout| now.plus(timeout)),
            at: now,
        };
        let core = &self.context.core;
        if self.persist(|| core.store.requeue(self.fence(), requeue.clone())).await.is_err() {
            // The store refuses when a cancel came meanwhile. The backend does not have the job, so it is
            // cancelled.
            return self.finish(self.empty_finish(JobEnding::Cancelled, trace)).await;
        }
        // A cause that does not count is planned, such as a drain.
        if cause.counts() {
            tracing::warn!(reason = decision.log_reason(), "the job was requeued");
        } else {
            tracing::info!(reason = decision.log_reason(), "the job was requeued");
        }
        core.metrics.attempt_ended(self.backend.name().as_str(), "requeued");
        core.hub.notify_job(self.job.prompt_id);
        core.hub.notify_work();
    }

    /// The failure of a job that may not run again, and why.
    fn spent_budget(&self, decision: &RequeueDecision) -> Option<Failure> {
        let (cause, reason) = (decision.cause, &decision.reason);
        let crashed = self.crashed_backends(cause.is_crash());
        if crashed.len() >= MAX_CRASHED_BACKENDS {
            let message = format!(
                "the backends {} crashed while they ran the job, so no other backend gets it; the last one: {reason}",
                crashed.join(" and ")
            );
            return Some(Failure::new(FailureCode::Poison, message));
        }
        if cause.is_refusal() && self.job.refusals + 1 >= MAX_REFUSALS {
            let message = format!(
                "ComfyUI turned the workflow away without a reason, at {MAX_REFUSALS} attempts; the last one: {reason}"
            );
            return Some(Failure::new(FailureCode::InvalidWorkflow, message));
        }
        if !self.has_retries_left(cause.counts()) {
            let attempts = self.job.failures + u32::from(cause.counts());
            let message = format!("given up after {attempts} attempts; the last one: {reason}");
            return Some(Failure::new(cause.failure_code(), message));
        }
        None
    }

    /// The backends that the job crashed, each once and sorted; with this one if `is_crash`.
    fn crashed_backends(&self, is_crash: bool) -> Vec<&str> {
        let this = is_crash.then(|| self.backend.name());
        let mut crashed: Vec<&str> = self.job.downed.iter().chain(this).map(BackendName::as_str).collect();
        crashed.sort_unstable();
        crashed.dedup();
        crashed
    }

    /// Whether the job may run again; this attempt is counted as failed if `counts`.
    pub(super) fn has_retries_left(&self, counts: bool) -> bool {
        let most = self.job.max_attempts.unwrap_or(self.context.settings.retry.max_attempts);
        self.job.failures + u32::from(counts) < most
    }

    /// The end of a job without outputs.
    pub(super) fn empty_finish(&self, ending: JobEnding, trace: &AttemptTrace) -> JobFinish {
        let started = self.job.attempt.started_at;
        let finished_at = self.now();
        let expires_at = self.context.core.expiry(finished_at);
        JobFinish {
            timings: PhaseTimings {
                queued_ms: Some(millis(started.since(self.job.created_at))),
                preparing_ms: trace.submitted_at.map(|submitted| millis(submitted.since(started))),
                ..PhaseTimings::default()
            },
            ..JobFinish::without_outputs(ending, finished_at, expires_at)
        }
    }

    /// Ends the job, unless another attempt holds it by now.
    pub(super) async fn finish(&self, finish: JobFinish) {
        let core = &self.context.core;
        if self.persist(|| core.store.finish(self.fence(), finish.clone())).await.is_err() {
            tracing::warn!("a late result was dropped because another attempt holds the job");
            return;
        }
        let status = finish.ending.status();
        let outcome = match &finish.ending {
            JobEnding::Failed(failure) => failure.code.as_str(),
            _ => status.as_str(),
        };
        self.measure(&finish.timings);
        core.metrics.attempt_ended(self.backend.name().as_str(), outcome);
        core.announce_end(JobEnd { id: self.job.prompt_id, status, outcome, reason: None, in_queue: false });
    }

    fn measure(&self, timings: &PhaseTimings) {
        let phases = [
            ("queued", timings.queued_ms),
            ("preparing", timings.preparing_ms),
            ("executing", timings.executing_ms),
            ("collecting", timings.collecting_ms),
        ];
        for (phase, took) in phases {
            if let Some(took) = took.and_then(|took| u64::try_from(took).ok()) {
                self.context.core.metrics.phase(phase, Duration::from_millis(took));
            }
        }
    }

    fn fence(&self) -> Fence {
        self.job.attempt.fence(self.job.prompt_id)
    }

    /// Retries `write` until the store has it or refuses it, because hours of a GPU must not be lost to a
    /// full disk.
    async fn persist<F>(&self, mut write: impl FnMut() -> F) -> Result<(), StoreError>
    where
        F: Future<Output = Result<(), StoreError>>,
    {
        let mut failures = 0;
        loop {
            match write().await {
                Err(StoreError::LeaseLost) => return Err(StoreError::LeaseLost),
                Err(error) => {
                    failures += 1;
                    tracing::error!(%error, "the job's end is not on disk yet; trying again");
                    self.pause(failures).await;
                }
                Ok(()) => return Ok(()),
            }
        }
    }
}
