//! Turns the outcome of an attempt into the end of its job, or into the job's return to the queue.
//!
//! Jobs without an attempt under way end elsewhere: in the queue by a deadline or a cancel, or when an input
//! cannot be fetched. All of them are announced by [`crate::core::GatewayCore::announce_end`].

use std::time::Duration;

use super::collect::CollectedOutputs;
use super::dropped;
use super::failures::{execution_failure, partial_refusal_failure};
use super::machine::EarlyEnd;
use super::outcome::{AttemptOutcome, RequeueDecision};
use super::task::AttemptTask;
use super::trace::AttemptTrace;
use crate::comfy::{HistoryEntry, HistoryStatus};
use crate::domain::failure::{Failure, FailureCode};
use crate::domain::job::{DroppedOutput, JobEnding, JobFinish};
use crate::domain::requeue::RequeueCause;
use crate::scheduler::dispatch::RunObservation;

impl AttemptTask {
    /// Writes the outcome of the attempt to the store. Returns what the dispatcher learns from the run.
    pub(super) async fn record(&self, outcome: AttemptOutcome, trace: &AttemptTrace) -> RunObservation {
        match outcome {
            AttemptOutcome::Ended { entry, early } => return self.record_ended(&entry, early, trace).await,
            AttemptOutcome::Failed(failure) => {
                self.finish(self.empty_finish(JobEnding::Failed(failure), trace)).await;
            }
            AttemptOutcome::Cancelled => {
                self.finish(self.empty_finish(JobEnding::Cancelled, trace)).await;
            }
            AttemptOutcome::Requeue(decision) => self.requeue(decision, trace).await,
        }
        RunObservation::Nothing
    }

    async fn record_ended(
        &self,
        entry: &HistoryEntry,
        early: Option<EarlyEnd>,
        trace: &AttemptTrace,
    ) -> RunObservation {
        let collecting_since = self.now();
        if (&entry.status, early) == (&HistoryStatus::Interrupted, Some(EarlyEnd::Stall)) {
            self.requeue(self.stall_decision(), trace).await;
            return RunObservation::Nothing;
        }
        let (ending, dropped_outputs) = self.ending(entry, early, trace).await;
        let observation = observation(&ending, entry);
        if let Some(decision) = self.second_run(&ending, entry) {
            let from_cache = decision.cause == RequeueCause::OutputsGone;
            if matches!(&ending, JobEnding::Failed(failure) if failure.code == FailureCode::OutOfMemory) {
                self.free_memory().await;
            }
            self.requeue(decision, trace).await;
            return if from_cache { RunObservation::Nothing } else { observation };
        }
        let collected = self.collect(entry).await;
        let ending = match self.ending_with_files(ending, &collected) {
            Ok(ending) => ending,
            Err(decision) => {
                self.requeue(decision, trace).await;
                return RunObservation::Nothing;
            }
        };
        let mut finish = JobFinish {
            outputs: collected.outputs_file.is_none().then(|| entry.outputs.raw().to_owned()),
            outputs_file: collected.outputs_file,
            texts: collected.texts,
            media: collected.media,
            dropped_outputs,
            ..self.empty_finish(ending, trace)
        };
        finish.timings.executing_ms = execution_time(entry).map(millis);
        finish.timings.collecting_ms = Some(millis(self.now().since(collecting_since)));
        self.finish(finish).await;
        // The websocket has had time to report the end, too. For an adopted run it may have done so before.
        if trace.submitted_at.is_some() && !self.feed.has_ended() {
            self.backend.websocket().mark_deaf();
        }
        observation
    }

    /// How the job ends by its history entry, before its files are collected, and which outputs it lacks.
    async fn ending(
        &self,
        entry: &HistoryEntry,
        early: Option<EarlyEnd>,
        trace: &AttemptTrace,
    ) -> (JobEnding, Vec<DroppedOutput>) {
        let output_nodes = self.output_nodes().await;
        let mut dropped_outputs = self.refused_outputs(&trace.refused_nodes, &output_nodes, entry);
        let is_unwanted = !self.job.partial && !dropped_outputs.is_empty();
        if matches!(entry.status, HistoryStatus::Success) {
            dropped_outputs.append(&mut self.missing_outputs(&dropped_outputs, &output_nodes, entry));
        }
        let ending = if is_unwanted || early == Some(EarlyEnd::InPart) {
            JobEnding::Failed(partial_refusal_failure(&trace.refused_nodes, &dropped_outputs))
        } else {
            self.status_ending(entry, early, &dropped_outputs)
        };
        (ending, dropped_outputs)
    }

    fn status_ending(
        &self,
        entry: &HistoryEntry,
        early: Option<EarlyEnd>,
        dropped_outputs: &[DroppedOutput],
    ) -> JobEnding {
        match (&entry.status, early) {
            (HistoryStatus::Success, _) => {
                JobEnding::Completed { msg: dropped::dropped_message(dropped_outputs) }
            }
            (HistoryStatus::Error(error), _) => JobEnding::Failed(execution_failure(error)),
            (HistoryStatus::Interrupted, Some(EarlyEnd::Cancel)) => JobEnding::Cancelled,
            (HistoryStatus::Interrupted, Some(EarlyEnd::Timeout)) => {
                JobEnding::Failed(self.timeout_failure())
            }
            // A process before this one interrupted the run at its timeout and stopped before it could record
            // the end.
            (HistoryStatus::Interrupted, _)
                if execution_time(entry).is_some_and(|took| took >= self.job.run_timeout) =>
            {
                JobEnding::Failed(self.timeout_failure())
            }
            (HistoryStatus::Interrupted, _) => {
                let message = "someone interrupted the job at its ComfyUI backend";
                JobEnding::Failed(Failure::new(FailureCode::Interrupted, message))
            }
        }
    }

    /// Why the job runs again instead of ending so, if it does and may.
    fn second_run(&self, ending: &JobEnding, entry: &HistoryEntry) -> Option<RequeueDecision> {
        if let JobEnding::Failed(failure) = ending
            && failure.code.is_retryable()
            && self.has_retries_left(true)
        {
            return Some(RequeueDecision::run_failed(RequeueCause::RunFailed(failure.code), failure));
        }
        // A cached expansion of a node can come without the outputs of the nodes that it expanded to.
        let is_completed = matches!(ending, JobEnding::Completed { .. });
        let is_empty = entry.outputs.is_empty() && !entry.cached_nodes.is_empty();
        (is_completed && is_empty && self.can_bypass_cache()).then(|| {
            let message = "ComfyUI took the outputs from its cache, where they are empty; the job runs again without the cache";
            let failure = Failure::new(FailureCode::OutputUnavailable, message);
            RequeueDecision::run_failed(RequeueCause::OutputsGone, &failure)
        })
    }

    /// The ending after the files were collected.
    ///
    /// # Errors
    /// A file is missing that another run can bring.
    fn ending_with_files(
        &self,
        ending: JobEnding,
        collected: &CollectedOutputs,
    ) -> Result<JobEnding, RequeueDecision> {
        let JobEnding::Completed { msg } = ending else { return Ok(ending) };
        let Some(missing) = &collected.missing else {
            return Ok(JobEnding::Completed { msg: with_notes(msg.as_deref(), &collected.notes) });
        };
        // The caller cancelled while the attempt waited for room on the disk.
        if self.cancel.is_cancelled() {
            return Ok(JobEnding::Cancelled);
        }
        if collected.gone && self.can_bypass_cache() {
            return Err(RequeueDecision::run_failed(RequeueCause::OutputsGone, missing));
        }
        if collected.away && self.has_retries_left(true) {
            let decision = RequeueDecision::new(RequeueCause::OutputsUnreachable, missing.message.clone());
            return Err(decision.logged_as("an output file could not be fetched"));
        }
        Ok(JobEnding::Failed(missing.clone()))
    }

    /// Whether one more run without ComfyUI's cache is allowed, and has not been tried.
    fn can_bypass_cache(&self) -> bool {
        !self.job.defeats_cache && self.has_retries_left(true)
    }

    async fn free_memory(&self) {
        if let Err(error) = self.backend.client().free(true, true).await {
            tracing::warn!(%error, "the backend could not be asked to free its memory");
        }
    }

    /// The failure of a job that ran longer than its `timeout`.
    pub(super) fn timeout_failure(&self) -> Failure {
        let limit = self.job.run_timeout.as_secs_f64();
        let message = format!("the job ran longer than its timeout of {limit} s and was interrupted");
        Failure::new(FailureCode::Timeout, message)
    }
}

/// What the dispatcher learns from a run that is in the history.
fn observation(ending: &JobEnding, entry: &HistoryEntry) -> RunObservation {
    match ending {
        JobEnding::Completed { .. } => {
            execution_time(entry).map_or(RunObservation::Nothing, RunObservation::Took)
        }
        JobEnding::Failed(failure) if failure.code == FailureCode::OutOfMemory => RunObservation::OutOfMemory,
        _ => RunObservation::Nothing,
    }
}

/// The message of a completed job, followed by the notes.
fn with_notes(msg: Option<&str>, notes: &[String]) -> Option<String> {
    let sentences: Vec<&str> = msg.into_iter().chain(notes.iter().map(String::as_str)).collect();
    (!sentences.is_empty()).then(|| sentences.join("; "))
}

/// How long ComfyUI worked on the run, by its own clock.
fn execution_time(entry: &HistoryEntry) -> Option<Duration> {
    entry.started_at.zip(entry.finished_at).map(|(start, end)| end.since(start))
}

/// A duration in milliseconds, as the store keeps it.
pub(super) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
