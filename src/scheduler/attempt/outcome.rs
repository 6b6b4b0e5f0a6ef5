//! The outcome of an attempt, before any of it is written to the store.

use super::machine::EarlyEnd;
use crate::comfy::HistoryEntry;
use crate::domain::failure::Failure;
use crate::domain::requeue::RequeueCause;

/// What an attempt came to.
#[derive(Debug)]
pub(super) enum AttemptOutcome {
    /// ComfyUI has the run in its history; its outputs are still to be collected.
    Ended {
        /// The entry of the history.
        entry: Box<HistoryEntry>,
        /// Why the attempt interrupted the run, if it did.
        early: Option<EarlyEnd>,
    },
    /// The job failed for good, without outputs.
    Failed(Failure),
    /// The job returns to the queue, or fails if its retry budget is spent.
    Requeue(RequeueDecision),
    /// The backend confirmed a requested cancel.
    Cancelled,
}

/// A cause for a requeue, in words.
#[derive(Debug)]
pub(super) struct RequeueDecision {
    pub cause: RequeueCause,
    /// A sentence for the caller. It may quote the backend's answer, and thereby the job's parameters.
    pub reason: String,
    /// A sentence without quotes, for the log and the backend's record; `None` if `reason` has none either.
    log_reason: Option<String>,
}

impl RequeueDecision {
    /// A decision whose reason quotes nothing.
    pub fn new(cause: RequeueCause, reason: impl Into<String>) -> Self {
        Self { cause, reason: reason.into(), log_reason: None }
    }

    /// A decision because the run failed in a way that another run may not.
    pub fn run_failed(cause: RequeueCause, failure: &Failure) -> Self {
        let log_reason = format!("the run ended with {}", failure.code.as_str());
        Self::new(cause, failure.message.clone()).logged_as(log_reason)
    }

    /// The same decision with another sentence for the log.
    pub fn logged_as(self, log_reason: impl Into<String>) -> Self {
        Self { log_reason: Some(log_reason.into()), ..self }
    }

    /// The sentence for the log.
    pub fn log_reason(&self) -> &str {
        self.log_reason.as_deref().unwrap_or(&self.reason)
    }
}
