//! Handing a job to its server, and what the answer tells.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::driver::AttemptTrace;
use super::machine::SubmitOutcome;
use super::outcome::{AttemptOutcome, rejected};
use super::task::{AttemptTask, Moments};
use crate::comfy::{CallFault, PromptError};
use crate::domain::failure::{Failure, FailureCode};
use crate::domain::rerun::defeat_cache;

/// How a server answered that did not take a job.
#[derive(Debug)]
pub(super) struct SubmitRefusal {
    /// What it did.
    pub how: &'static str,
    /// Its answer.
    pub fault: CallFault,
    /// Whether the server judges other submissions, so that this job is suspected.
    pub of_this_job: bool,
}

/// A refused workflow is its author's matter; the server's words quote its values.
fn log(error: &PromptError) {
    match error {
        PromptError::Rejected(rejection) => {
            let node_id = rejection.node_errors.nodes.first().map(|node| &node.node_id);
            tracing::debug!(node_id, "the server refused the workflow");
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
    pub(super) async fn submit(&self, trail: &mut AttemptTrace) -> Result<SubmitOutcome, AttemptOutcome> {
        let id = self.id();
        let client = self.backend.client();
        // Jobs that were claimed together reach the server as they were claimed, and not as their tasks are run.
        self.turn.until_turn(&*self.parts.clock).await;
        let answer = client.submit(&id, self.backend.client_id(), self.graph(&id).as_ref()).await;
        self.turn.end();
        trail.moments = Moments { submitted: Some(self.now()) };
        let error = match answer {
            Ok(submitted) if submitted.prompt_id == id => {
                trail.refused_nodes = submitted.node_errors;
                let unwanted = !self.job.partial && !trail.refused_nodes.is_empty();
                return Ok(if unwanted { SubmitOutcome::InPart } else { SubmitOutcome::Accepted });
            }
            Ok(other) => return Err(self.too_old(&other.prompt_id).await),
            Err(error) => error,
        };
        log(&error);
        match error {
            PromptError::Rejected(rejection) => Err(AttemptOutcome::Failed(rejected(&rejection))),
            PromptError::NotDelivered(error) => {
                self.backend.mark_down(&error);
                Ok(SubmitOutcome::NotDelivered)
            }
            PromptError::Denied(error) if error.status() == Some(413) => {
                Err(AttemptOutcome::Failed(Failure::new(
                    FailureCode::InvalidWorkflow,
                    format!("the workflow is larger than the server {} takes", self.backend.name()),
                )))
            }
            PromptError::Denied(error) => {
                let of_this_job = client.probe_submissions().await;
                trail.refusal =
                    Some(SubmitRefusal { how: "turned the job away", fault: error.fault, of_this_job });
                Ok(SubmitOutcome::TurnedAway)
            }
            PromptError::InternalError(error) => {
                let of_this_job = client.probe_submissions().await;
                trail.refusal =
                    Some(SubmitRefusal { how: "did not take the job", fault: error.fault, of_this_job });
                Ok(SubmitOutcome::Unclear)
            }
            PromptError::Ambiguous(error) => {
                let of_this_job = false;
                trail.refusal =
                    Some(SubmitRefusal { how: "did not take the job", fault: error.fault, of_this_job });
                Ok(SubmitOutcome::Unclear)
            }
        }
    }

    /// The graph to hand over.
    fn graph(&self, id: &str) -> Cow<'_, RawValue> {
        let fresh = self.job.defeats_cache.then(|| defeat_cache(self.job.graph.get(), id)).flatten();
        fresh.map_or(Cow::Borrowed(&*self.job.graph), Cow::Owned)
    }

    /// A ComfyUI that runs jobs under ids of its own making cannot be asked for them after a crash.
    async fn too_old(&self, its_id: &str) -> AttemptOutcome {
        let client = self.backend.client();
        for withdrawn in [client.delete_queued(its_id).await, client.interrupt(its_id).await] {
            if let Err(error) = withdrawn {
                tracing::warn!(%error, "a run under a foreign id goes on");
            }
        }
        let message = format!(
            "the server {} is too old: it does not take the job's prompt_id; update its ComfyUI",
            self.backend.name()
        );
        AttemptOutcome::Failed(Failure::new(FailureCode::BackendLost, message))
    }
}
