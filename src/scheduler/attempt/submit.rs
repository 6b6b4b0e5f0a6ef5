//! Submits a job to its backend and interprets the answer.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::failures::rejection_failure;
use super::machine::SubmitOutcome;
use super::outcome::AttemptOutcome;
use super::task::AttemptTask;
use super::trace::{AttemptTrace, SubmitRefusal};
use crate::comfy::PromptError;
use crate::domain::failure::{Failure, FailureCode};
use crate::domain::rerun::defeat_cache;

/// Logs a failed submit. A rejected workflow is its author's matter, and the answer quotes parameters, so it
/// is only a debug line without them.
fn log(error: &PromptError) {
    match error {
        PromptError::Rejected(rejection) => {
            let node_id = rejection.node_errors.nodes.first().map(|node| &node.node_id);
            tracing::debug!(node_id, "the backend rejected the workflow");
        }
        PromptError::NotDelivered(error)
        | PromptError::Denied(error)
        | PromptError::InternalError(error)
        | PromptError::Ambiguous(error) => tracing::warn!(error = error.brief(), "the submit failed"),
    }
}

impl AttemptTask {
    /// Submits the job.
    ///
    /// # Errors
    /// The answer ends the job for good.
    pub(super) async fn submit(&self, trace: &mut AttemptTrace) -> Result<SubmitOutcome, AttemptOutcome> {
        let id = self.id();
        let client = self.backend.client();
        // Jobs that were claimed together are submitted in the order of their claims.
        self.turn.until_turn(&*self.context.core.clock).await;
        let answer = client.submit(&id, self.backend.client_id(), self.graph(&id).as_ref()).await;
        self.turn.end();
        trace.submitted_at = Some(self.now());
        let error = match answer {
            Ok(submitted) if submitted.prompt_id == id => {
                trace.refused_nodes = submitted.node_errors;
                let unwanted = !self.job.partial && !trace.refused_nodes.is_empty();
                return Ok(if unwanted { SubmitOutcome::InPart } else { SubmitOutcome::Accepted });
            }
            Ok(other) => return Err(self.abandon_foreign_run(&other.prompt_id).await),
            Err(error) => error,
        };
        log(&error);
        match error {
            PromptError::Rejected(rejection) => Err(AttemptOutcome::Failed(rejection_failure(&rejection))),
            PromptError::NotDelivered(error) => {
                self.backend.mark_down(&error);
                Ok(SubmitOutcome::NotDelivered)
            }
            PromptError::Denied(error) if error.status() == Some(413) => {
                Err(AttemptOutcome::Failed(Failure::new(
                    FailureCode::InvalidWorkflow,
                    format!("the workflow is larger than the backend {} accepts", self.backend.name()),
                )))
            }
            PromptError::Denied(error) => {
                let is_of_job = client.probe_submissions().await;
                trace.refusal =
                    Some(SubmitRefusal { how: "turned the job away", fault: error.fault, is_of_job });
                Ok(SubmitOutcome::TurnedAway)
            }
            PromptError::InternalError(error) => {
                let is_of_job = client.probe_submissions().await;
                trace.refusal =
                    Some(SubmitRefusal { how: "did not accept the job", fault: error.fault, is_of_job });
                Ok(SubmitOutcome::Unclear)
            }
            PromptError::Ambiguous(error) => {
                let is_of_job = false;
                trace.refusal =
                    Some(SubmitRefusal { how: "did not accept the job", fault: error.fault, is_of_job });
                Ok(SubmitOutcome::Unclear)
            }
        }
    }

    /// The graph to submit.
    fn graph(&self, id: &str) -> Cow<'_, RawValue> {
        let fresh = self.job.defeats_cache.then(|| defeat_cache(self.job.graph.get(), id)).flatten();
        fresh.map_or(Cow::Borrowed(&*self.job.graph), Cow::Owned)
    }

    /// Ends the run of a ComfyUI that ignores the `prompt_id`: after a crash the gateway could not find the
    /// run.
    async fn abandon_foreign_run(&self, its_id: &str) -> AttemptOutcome {
        let client = self.backend.client();
        for withdrawn in [client.delete_queued(its_id).await, client.interrupt(its_id).await] {
            if let Err(error) = withdrawn {
                tracing::warn!(%error, "a run under a foreign id could not be ended");
            }
        }
        let message = format!(
            "the backend {} is too old: it ignores the prompt_id of a job; update its ComfyUI",
            self.backend.name()
        );
        AttemptOutcome::Failed(Failure::new(FailureCode::BackendLost, message))
    }
}
