//! Holding a job against its server before it is handed over: a job may have been accepted before anything was known of
//! what the servers can run.

use std::time::Duration;

use super::outcome::{AttemptOutcome, Retry};
use super::task::AttemptTask;
use crate::domain::failure::{Failure, FailureCode};
use crate::domain::validation::GraphFaults;
use crate::domain::workflow::Workflow;
use crate::pool::Backend;

/// Before a job is turned away its server is asked anew what it has, unless it was asked within that time.
const FRESH: Duration = Duration::from_secs(10);

impl AttemptTask {
    /// Fails when the server is known not to run the job: it goes to another, or fails if there is none.
    pub(super) async fn suits(&self) -> Result<(), AttemptOutcome> {
        // A job may come before the first answer; a server that gave none does not hold up every job again.
        if self.backend.capabilities().object_info().is_none()
            && !self.backend.capabilities().has_been_asked()
        {
            self.ask_again().await;
        }
        let Some(faults) = self.faults_on(&self.backend) else { return Ok(()) };
        let partial = self.job.partial;
        if !faults.refuses(partial) {
            return Ok(());
        }
        self.turn.end();
        self.ask_again().await;
        let faults = match self.faults_on(&self.backend) {
            Some(faults) if faults.refuses(partial) => faults,
            _ => return Ok(()),
        };
        let backends = self.parts.pool.backends();
        let mut others = backends.iter().filter(|other| other.name() != self.backend.name());
        let somebody_may =
            others.any(|other| self.faults_on(other).is_none_or(|faults| !faults.refuses(partial)));
        let reason = in_words(&faults);
        if somebody_may {
            let reason = format!("the server {} cannot run the workflow: {reason}", self.backend.name());
            return Err(AttemptOutcome::Retry(Retry::elsewhere(reason)));
        }
        Err(AttemptOutcome::Failed(Failure {
            node_id: faults.nodes.first().map(|node| node.node_id.clone()),
            node_type: faults.nodes.first().map(|node| node.class_type.clone()),
            ..Failure::new(FailureCode::InvalidWorkflow, format!("no server can run the workflow: {reason}"))
        }))
    }

    pub(super) async fn ask_again(&self) {
        if let Err(error) = self.backend.capabilities().refresh(FRESH).await {
            tracing::debug!(%error, "the server did not tell what it can run");
        }
    }

    fn faults_on(&self, backend: &Backend) -> Option<GraphFaults> {
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

/// The first fault, and how many more there are.
fn in_words(faults: &GraphFaults) -> String {
    let all: Vec<String> = faults
        .nodes
        .iter()
        .flat_map(|node| node.faults.iter().map(move |fault| (node, fault)))
        .map(|(node, fault)| format!("{} (node {}): {}", node.class_type, node.node_id, fault.message))
        .collect();
    match all.as_slice() {
        [] => "it has no output".to_owned(),
        [one] => one.clone(),
        [first, more @ ..] => format!("{first} (and {} more)", more.len()),
    }
}
