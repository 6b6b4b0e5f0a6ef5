//! Handing a job to its server, and finding out whether it arrived when the answer does not tell.

use super::attempt::Attempt;
use super::verdict::{Retry, Verdict, rejected};
use super::watch::Sighting;
use crate::comfy::{NodeErrors, SubmitError};
use crate::domain::failure::{Failure, FailureCode};

impl Attempt {
    /// Submits the job; the branches ComfyUI dropped, once it surely has it.
    pub(super) async fn submit(&self) -> Result<NodeErrors, Verdict> {
        let id = self.id();
        let client = self.backend.client();
        // Jobs that were claimed together reach the server as they were claimed, and not as their tasks are run.
        self.turn.comes(&*self.parts.clock).await;
        let answer = client.submit(&id, self.backend.client_id(), &self.job.graph).await;
        self.turn.pass();
        let error = match answer {
            Ok(submitted) if submitted.prompt_id == id => return Ok(submitted.node_errors),
            Ok(other) => return Err(self.too_old(&other.prompt_id).await),
            Err(error) => error,
        };
        tracing::warn!(%error, "the submit failed");
        match error {
            SubmitError::Rejected(rejection) => Err(Verdict::Failed(rejected(&rejection))),
            SubmitError::NotDelivered(error) => {
                self.backend.found_down(&error);
                Err(Verdict::Retry(Retry::not_delivered(format!(
                    "the server {} could not be reached",
                    self.backend.name()
                ))))
            }
            SubmitError::Denied(error) if error.status() == Some(413) => Err(Verdict::Failed(Failure::new(
                FailureCode::InvalidWorkflow,
                format!("the workflow is larger than the server {} takes", self.backend.name()),
            ))),
            SubmitError::Denied(error) => {
                let reason =
                    format!("the server {} turned the job away ({})", self.backend.name(), error.fault);
                Err(Verdict::Retry(Retry::lost(reason)))
            }
            SubmitError::ServerError(error) | SubmitError::Ambiguous(error) => {
                if self.has_arrived().await {
                    return Ok(NodeErrors::default());
                }
                let reason =
                    format!("the server {} did not take the job ({})", self.backend.name(), error.fault);
                Err(Verdict::Retry(Retry::lost(reason)))
            }
        }
    }

    /// A ComfyUI that runs jobs under ids of its own making cannot be asked for them after a crash.
    async fn too_old(&self, its_id: &str) -> Verdict {
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
        Verdict::Failed(Failure::new(FailureCode::BackendLost, message))
    }

    /// Whether the server has the job after all. A request that broke off may still be at work there, so a single
    /// look that does not find it proves nothing.
    async fn has_arrived(&self) -> bool {
        let mut unreachable_since = None;
        let mut absent = 0;
        loop {
            match self.look().await {
                Sighting::Ended(_) | Sighting::Running | Sighting::Pending => return true,
                Sighting::Absent => {
                    absent += 1;
                    if absent >= 3 {
                        self.withdraw().await;
                        return false;
                    }
                }
                gone @ (Sighting::Refused | Sighting::Unreachable(_)) => {
                    let since = *unreachable_since.get_or_insert_with(|| self.now());
                    let settings = &self.parts.settings;
                    let refused = matches!(gone, Sighting::Refused);
                    let patience = if refused { settings.refused_for } else { settings.lost_after };
                    if self.now().since(since) >= patience {
                        return false;
                    }
                }
            }
            self.parts.clock.sleep(self.parts.settings.poll / 2).await;
        }
    }
}
