//! Checks before the submit that the backend can run the job, because a job may be accepted before any
//! backend's node classes are known.

use std::time::Duration;

use super::outcome::{AttemptOutcome, RequeueDecision};
use super::task::AttemptTask;
use crate::domain::failure::{Failure, FailureCode};
use crate::domain::requeue::RequeueCause;
use crate::domain::text::and_more;
use crate::domain::validation::GraphFaults;
use crate::domain::workflow::Workflow;
use crate::pool::Backend;

/// A backend's capabilities are refreshed before a job is turned away, unless they are younger than this.
const FRESH: Duration = Duration::from_secs(10);

impl AttemptTask {
    /// Fails when the backend is known to be unable to run the job. The job goes to another backend, or fails
    /// if there is none.
    pub(super) async fn check_backend(&self) -> Result<(), AttemptOutcome> {
        // A job may arrive before the first answer. A backend that never answers does not delay every job
        // again.
        if self.backend.capabilities().object_info().is_none()
            && !self.backend.capabilities().has_been_asked()
        {
            self.refresh_capabilities().await;
        }
        let Some(faults) = self.find_faults(&self.backend) else { return Ok(()) };
        let partial = self.job.partial;
        if !faults.refuses(partial) {
            return Ok(());
        }
        self.turn.end();
        self.refresh_capabilities().await;
        let faults = match self.find_faults(&self.backend) {
            Some(faults) if faults.refuses(partial) => faults,
            _ => return Ok(()),
        };
        let backends = self.context.core.pool.backends();
        let mut others = backends.iter().filter(|other| other.name() != self.backend.name());
        let somebody_may =
            others.any(|other| self.find_faults(other).is_none_or(|faults| !faults.refuses(partial)));
        let reason = faults_message(&faults);
        if somebody_may {
            let reason = format!("the backend {} cannot run the workflow: {reason}", self.backend.name());
            return Err(AttemptOutcome::Requeue(RequeueDecision::new(RequeueCause::CannotRun, reason)));
        }
        Err(AttemptOutcome::Failed(Failure {
            node_id: faults.nodes.first().map(|node| node.node_id.clone()),
            node_type: faults.nodes.first().map(|node| node.class_type.clone()),
            ..Failure::new(FailureCode::InvalidWorkflow, format!("no backend can run the workflow: {reason}"))
        }))
    }

    pub(super) async fn refresh_capabilities(&self) {
        if let Err(error) = self.backend.capabilities().refresh(FRESH).await {
            tracing::debug!(%error, "the backend did not answer which node classes it has");
        }
    }

    fn find_faults(&self, backend: &Backend) -> Option<GraphFaults> {
        let workflow = Workflow::parse(self.job.graph.get()).ok()?;
        let is_file = |value: &str| self.job.files.iter().any(|file| value.contains(file.name.as_str()));
        let inputs =
            workflow.nodes().iter().flat_map(|node| node.inputs.iter().map(move |input| (node, input)));
        let supplied: Vec<(&str, &str)> = inputs
            .filter(|(_, input)| !self.job.files.is_empty() && is_file(workflow.value(input)))
            .map(|(node, input)| (node.id.as_str(), input.name.as_str()))
            .collect();
        backend.capabilities().check(&workflow, &supplied)
    }
}

/// The first fault, and the number of further ones.
fn faults_message(faults: &GraphFaults) -> String {
    let all: Vec<String> = faults
        .nodes
        .iter()
        .flat_map(|node| node.faults.iter().map(move |fault| (node, fault)))
        .map(|(node, fault)| format!("{} (node {}): {}", node.class_type, node.node_id, fault.message))
        .collect();
    let Some(first) = all.first() else { return "the workflow has no output node".to_owned() };
    and_more(all.len() - 1).map_or_else(|| first.clone(), |more| format!("{first} ({more})"))
}
