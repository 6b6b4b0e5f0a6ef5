//! Writing down what an attempt came to: the end of its job, or the job's return to the queue.
//! Jobs that have no attempt under way are ended elsewhere: by the reaper, by fetching, and by a cancel.

use std::time::Duration;

use super::collect::CollectedOutputs;
use super::driver::AttemptTrace;
use super::dropped;
use super::machine::EarlyEnd;
use super::outcome::{AttemptOutcome, Retry, execution_failure, refused_in_part};
use super::task::{AttemptTask, Moments};
use crate::comfy::{HistoryEntry, HistoryStatus};
use crate::domain::failure::{Failure, FailureCode};
use crate::domain::id::BackendName;
use crate::domain::job::{DroppedOutput, JobEnding, JobFinish, PhaseTimings};
use crate::scheduler::dispatch::RunObservation;
use crate::store::{Requeue, StoreError};

/// A job that brought down that many servers is not given to another.
const POISON: usize = 2;
/// Refusals without a reason after which the job itself is at fault; the second is another server's, where there is one.
const REFUSALS: u32 = 2;

impl AttemptTask {
    /// Writes down what the attempt came to; what is to be learned from its run.
    pub(super) async fn settle(&self, verdict: AttemptOutcome, trail: &AttemptTrace) -> RunObservation {
        let moments = trail.moments;
        match verdict {
            AttemptOutcome::Ended { entry, early } => {
                return self.settle_ended(&entry, early, trail).await;
            }
            AttemptOutcome::Failed(failure) => {
                self.finish(self.bare(JobEnding::Failed(failure), moments)).await
            }
            AttemptOutcome::Cancelled => self.finish(self.bare(JobEnding::Cancelled, moments)).await,
            AttemptOutcome::Retry(retry) => self.retry(retry, moments).await,
        }
        RunObservation::Nothing
    }

    async fn settle_ended(
        &self,
        entry: &HistoryEntry,
        early: Option<EarlyEnd>,
        trail: &AttemptTrace,
    ) -> RunObservation {
        let (collecting, moments) = (self.now(), trail.moments);
        if (&entry.status, early) == (&HistoryStatus::Interrupted, Some(EarlyEnd::Stall)) {
            self.retry(self.stalled(), moments).await;
            return RunObservation::Nothing;
        }
        let output_nodes = self.output_nodes().await;
        let mut dropped_outputs = self.refused_outputs(&trail.refused_nodes, &output_nodes, entry);
        let unwanted = !self.job.partial && !dropped_outputs.is_empty();
        if matches!(entry.status, HistoryStatus::Success) {
            dropped_outputs.append(&mut self.missing_outputs(&dropped_outputs, &output_nodes, entry));
        }
        let ending = if unwanted || early == Some(EarlyEnd::InPart) {
            JobEnding::Failed(refused_in_part(&trail.refused_nodes, &dropped_outputs))
        } else {
            self.ending(entry, early, &dropped_outputs)
        };
        let run = match &ending {
            JobEnding::Completed { .. } => {
                execution(entry).map_or(RunObservation::Nothing, RunObservation::Took)
            }
            JobEnding::Failed(failure) if failure.code == FailureCode::OutOfMemory => {
                RunObservation::OutOfMemory
            }
            _ => RunObservation::Nothing,
        };
        if let JobEnding::Failed(failure) = &ending
            && failure.code.is_retryable()
            && self.may_retry(true)
        {
            if failure.code == FailureCode::OutOfMemory {
                self.free_memory().await;
            }
            self.retry(Retry::failed(failure), moments).await;
            return run;
        }
        if self.came_from_cache(&ending, entry) {
            let reason = "ComfyUI took the outputs from its cache, where they are empty; run again without";
            self.retry(Retry { fresh: true, ..Retry::failed(&empty_outputs(reason)) }, moments).await;
            return RunObservation::Nothing;
        }
        let CollectedOutputs { texts, media, outputs_file, notes, missing, gone, away } =
            self.collect(entry).await;
        let ending = match (ending, missing) {
            // It waited for room on the disk, and is not wanted any more.
            (JobEnding::Completed { .. }, Some(_)) if self.cancel.is_cancelled() => JobEnding::Cancelled,
            (JobEnding::Completed { .. }, Some(missing)) if gone && self.may_run_fresh() => {
                self.retry(Retry { fresh: true, ..Retry::failed(&missing) }, moments).await;
                return RunObservation::Nothing;
            }
            (JobEnding::Completed { .. }, Some(missing)) if away && self.may_retry(true) => {
                let brief = "an output file could not be fetched";
                self.retry(Retry::lost(missing.message).said_as(brief), moments).await;
                return RunObservation::Nothing;
            }
            (JobEnding::Completed { .. }, Some(missing)) => JobEnding::Failed(missing),
            (JobEnding::Completed { msg }, None) => JobEnding::Completed { msg: with_notes(msg, notes) },
            (ending, _) => ending,
        };
        let mut finish = JobFinish {
            outputs: outputs_file.is_none().then(|| entry.outputs.raw().to_owned()),
            outputs_file,
            texts,
            media,
            dropped_outputs,
            ..self.bare(ending, moments)
        };
        finish.timings.executing_ms = execution(entry).map(millis);
        finish.timings.collecting_ms = Some(millis(self.now().since(collecting)));
        self.finish(finish).await;
        // By now the websocket has had time to tell of the end, too. Of an adopted run it may have told before.
        if moments.submitted.is_some() && !self.feed.has_ended() {
            self.backend.websocket().mark_deaf();
        }
        run
    }

    /// How the job ends by its history entry, unless it is to be tried again.
    fn ending(
        &self,
        entry: &HistoryEntry,
        early: Option<EarlyEnd>,
        dropped_outputs: &[DroppedOutput],
    ) -> JobEnding {
        match (&entry.status, early) {
            (HistoryStatus::Success, _) => JobEnding::Completed { msg: dropped::in_words(dropped_outputs) },
            (HistoryStatus::Error(error), _) => JobEnding::Failed(execution_failure(error)),
            (HistoryStatus::Interrupted, Some(EarlyEnd::Cancel)) => JobEnding::Cancelled,
            (HistoryStatus::Interrupted, Some(EarlyEnd::Timeout)) => JobEnding::Failed(self.overdue()),
            // Interrupted by an earlier process, which did not live to say why.
            (HistoryStatus::Interrupted, _)
                if execution(entry).is_some_and(|took| took >= self.job.run_timeout) =>
            {
                JobEnding::Failed(self.overdue())
            }
            (HistoryStatus::Interrupted, _) => {
                let message = "somebody interrupted the job at its ComfyUI server";
                JobEnding::Failed(Failure::new(FailureCode::Interrupted, message))
            }
        }
    }

    /// Whether one more run without ComfyUI's cache may bring what this one did not.
    fn may_run_fresh(&self) -> bool {
        !self.job.defeats_cache && self.may_retry(true)
    }

    /// A cached expansion of a node can come without the outputs of what it expanded to.
    fn came_from_cache(&self, ending: &JobEnding, entry: &HistoryEntry) -> bool {
        let completed = matches!(ending, JobEnding::Completed { .. });
        completed && entry.outputs.is_empty() && !entry.cached_nodes.is_empty() && self.may_run_fresh()
    }

    async fn free_memory(&self) {
        if let Err(error) = self.backend.client().free(true, true).await {
            tracing::warn!(%error, "the server could not be told to free its memory");
        }
    }

    /// What a job fails with that ran longer than it may.
    pub(super) fn overdue(&self) -> Failure {
        let limit = self.job.run_timeout.as_secs_f64();
        let message = format!("the job ran longer than its timeout of {limit} s and was interrupted");
        Failure::new(FailureCode::Timeout, message)
    }

    /// The end of a job that has no outputs.
    fn bare(&self, ending: JobEnding, moments: Moments) -> JobFinish {
        let started = self.job.attempt.started_at;
        let finished_at = self.now();
        JobFinish {
            ending,
            outputs: None,
            outputs_file: None,
            texts: Vec::new(),
            media: Vec::new(),
            dropped_outputs: Vec::new(),
            timings: PhaseTimings {
                queued_ms: Some(millis(started.since(self.job.created_at))),
                preparing_ms: moments.submitted.map(|submitted| millis(submitted.since(started))),
                ..PhaseTimings::default()
            },
            finished_at,
            expires_at: self.parts.expiry(finished_at),
        }
    }

    /// The servers that went down while they ran the job, each once.
    fn downed(&self, here: bool) -> Vec<&str> {
        let this = here.then(|| self.backend.name());
        let mut downed: Vec<&str> = self.job.downed.iter().chain(this).map(BackendName::as_str).collect();
        downed.sort_unstable();
        downed.dedup();
        downed
    }

    fn may_retry(&self, counts: bool) -> bool {
        let most = self.job.max_attempts.unwrap_or(self.parts.settings.retry.max_attempts);
        self.job.failures + u32::from(counts) < most
    }

    async fn retry(&self, retry: Retry, moments: Moments) {
        let failures = self.job.failures + u32::from(retry.counts);
        let downed = self.downed(retry.downed);
        if downed.len() >= POISON {
            let message = format!(
                "the servers {} went down while they ran the job, so it is not given to another; the last one: {}",
                downed.join(" and "),
                retry.reason
            );
            let failure = Failure::new(FailureCode::Poison, message);
            return self.finish(self.bare(JobEnding::Failed(failure), moments)).await;
        }
        if retry.refused && self.job.refusals + 1 >= REFUSALS {
            let message = format!(
                "ComfyUI did not take the workflow, and gave no reason, at {REFUSALS} attempts; the last one: {}",
                retry.reason
            );
            let failure = Failure::new(FailureCode::InvalidWorkflow, message);
            return self.finish(self.bare(JobEnding::Failed(failure), moments)).await;
        }
        if !self.may_retry(retry.counts) {
            let message = format!("given up after {failures} attempts; the last one: {}", retry.reason);
            return self
                .finish(self.bare(JobEnding::Failed(Failure::new(retry.code, message)), moments))
                .await;
        }
        let (now, brief) = (self.now(), retry.brief().to_owned());
        let wait = if retry.counts {
            self.parts.settings.retry.delay(failures, self.parts.random.fraction())
        } else {
            Duration::ZERO
        };
        let requeue = Requeue {
            counts: retry.counts,
            not_before: now.plus(wait),
            deadline: self.job.queue_timeout.map(|timeout| now.plus(timeout)),
            outcome: retry.outcome,
            reason: retry.reason,
            downed: retry.downed,
            fresh: retry.fresh,
            refused: retry.refused,
            not_on: retry.elsewhere.then(|| self.backend.name().clone()),
            at: now,
        };
        match self.persist(|| self.parts.store.requeue(self.fence(), requeue.clone())).await {
            Ok(()) => {
                // An attempt that does not count is planned, such as a drain.
                if requeue.counts {
                    tracing::warn!(reason = brief, "the job was requeued");
                } else {
                    tracing::info!(reason = brief, "the job was requeued");
                }
                self.parts.metrics.attempt_ended(self.backend.name().as_str(), "requeued");
                self.parts.hub.job_changed(self.job.prompt_id);
                self.parts.hub.work_came();
            }
            // Refused when a cancel came meanwhile: the server does not have the job, so it is confirmed.
            Err(_) => self.finish(self.bare(JobEnding::Cancelled, moments)).await,
        }
    }

    async fn finish(&self, finish: JobFinish) {
        let id = self.job.prompt_id;
        if self.persist(|| self.parts.store.finish(self.fence(), finish.clone())).await.is_err() {
            tracing::warn!("a late result was dropped: another attempt holds the job");
            return;
        }
        let status = finish.ending.status();
        let outcome = match &finish.ending {
            JobEnding::Failed(failure) => failure.code.as_str(),
            ending => ending.status().as_str(),
        };
        tracing::info!(outcome, "job ended");
        self.measure(&finish.timings);
        self.parts.metrics.attempt_ended(self.backend.name().as_str(), outcome);
        self.parts.metrics.job_finished(status);
        self.parts.hub.job_changed(id);
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
                self.parts.metrics.phase(phase, Duration::from_millis(took));
            }
        }
    }

    fn fence(&self) -> crate::domain::job::Fence {
        self.job.attempt.fence(self.job.prompt_id)
    }

    /// Tries until the store has it or refuses it: what a GPU has worked for is not dropped for a full disk.
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
                    tracing::error!(prompt_id = %self.job.prompt_id, %error, "the job's end is not on disk yet; trying again");
                    let wait = self.parts.settings.retry.delay(failures, self.parts.random.fraction());
                    self.parts.clock.sleep(wait).await;
                }
                Ok(()) => return Ok(()),
            }
        }
    }
}

fn empty_outputs(reason: &str) -> Failure {
    Failure::new(FailureCode::OutputUnavailable, reason)
}

/// The message of a completed job with notes after it.
fn with_notes(msg: Option<String>, notes: Vec<String>) -> Option<String> {
    let told: Vec<String> = msg.into_iter().chain(notes).collect();
    (!told.is_empty()).then(|| told.join("; "))
}

/// How long ComfyUI worked on it, by its own clock.
fn execution(entry: &HistoryEntry) -> Option<Duration> {
    entry.started_at.zip(entry.finished_at).map(|(start, end)| end.since(start))
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
