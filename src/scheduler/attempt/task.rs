//! One attempt from its claim to its end: prepare, submit, watch, collect, record.

use std::borrow::Cow;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::machine::EarlyEnd;
use super::outcome::AttemptOutcome;
use super::trace::AttemptTrace;
use crate::comfy::HistoryStatus;
use crate::domain::outputs::OutputNames;
use crate::domain::progress::ProgressTracker;
use crate::domain::time::UnixMillis;
use crate::domain::workflow::Workflow;
use crate::pool::{AttemptFeed, Backend, RunOutcome, SubmitTurn};
use crate::scheduler::context::SchedulerContext;
use crate::scheduler::dispatch::RunObservation;
use crate::store::ClaimedJob;

/// How an attempt came into this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::scheduler) enum AttemptOrigin {
    /// This process claimed the job, which is still to be submitted.
    Fresh,
    /// Another process claimed the job. It may be submitted or ended already.
    Adopted,
}

/// An attempt under way.
#[derive(Debug)]
pub(in crate::scheduler) struct AttemptTask {
    pub context: Arc<SchedulerContext>,
    pub backend: Arc<Backend>,
    pub job: ClaimedJob,
    pub feed: Arc<AttemptFeed>,
    pub cancel: CancellationToken,
    /// Cancelled when the job is wanted back while it only waits in the backend's own queue.
    pub recall: CancellationToken,
    /// The place among the jobs that are to be submitted to the backend, in the order of their claims.
    pub turn: SubmitTurn,
    pub names: OutputNames,
    /// What [`AttemptTask::output_nodes`] returns, if the node classes were known when the attempt began.
    known_output_nodes: Vec<String>,
}

impl AttemptTask {
    /// Registers the attempt with the hub and its backend.
    pub fn begin(context: Arc<SchedulerContext>, backend: Arc<Backend>, job: ClaimedJob) -> Self {
        // The graph was validated on submission. If it no longer parses, only the names of its outputs are
        // lost.
        let workflow = Workflow::parse(job.graph.get()).ok();
        let names = workflow.as_ref().map(OutputNames::of).unwrap_or_default();
        let tracker = workflow.as_ref().map(ProgressTracker::new).unwrap_or_default();
        let known_output_nodes =
            workflow.as_ref().map(|workflow| output_nodes(workflow, &backend)).unwrap_or_default();
        let feed = backend.feeds().open(job.attempt.id, job.prompt_id, tracker);
        let cancel = CancellationToken::new();
        if job.cancel_requested {
            cancel.cancel();
        }
        let recall = CancellationToken::new();
        context.core.hub.register_attempt(job.prompt_id, cancel.clone(), recall.clone(), feed.clone());
        let turn = backend.turns().take();
        Self { context, backend, job, feed, cancel, recall, turn, names, known_output_nodes }
    }

    /// Runs the attempt to its end, or until `stopping`, which leaves the job to the next process.
    pub async fn run(self, origin: AttemptOrigin, stopping: CancellationToken) -> RunObservation {
        tokio::select! {
            biased;
            () = stopping.cancelled() => RunObservation::Nothing,
            run = self.run_to_end(origin) => run,
        }
    }

    async fn run_to_end(&self, origin: AttemptOrigin) -> RunObservation {
        self.context.core.hub.notify_job(self.job.prompt_id);
        self.clear_leftovers(origin).await;
        let (outcome, trace) = self.drive(origin).await;
        self.backend.record_run(run_outcome(&outcome));
        self.record(outcome, &trace).await
    }

    async fn drive(&self, origin: AttemptOrigin) -> (AttemptOutcome, AttemptTrace) {
        if origin == AttemptOrigin::Adopted {
            self.turn.end();
            return self.drive_machine(origin).await;
        }
        if self.cancel.is_cancelled() {
            self.turn.end();
            return (AttemptOutcome::Cancelled, AttemptTrace::default());
        }
        match self.prepare().await {
            Err(outcome) => (outcome, AttemptTrace::default()),
            Ok(()) => self.drive_machine(origin).await,
        }
    }

    /// Checks that the backend can run the job, and uploads the job's inputs.
    async fn prepare(&self) -> Result<(), AttemptOutcome> {
        self.check_backend().await?;
        self.upload_inputs().await
    }

    /// Removes output files that an earlier attempt of the job collected, because no result refers to them.
    async fn clear_leftovers(&self, origin: AttemptOrigin) {
        if (origin == AttemptOrigin::Adopted || self.job.attempt.number > 1)
            && let Err(error) = self.context.core.media.remove(self.job.prompt_id).await
        {
            tracing::warn!(%error, "the files of an earlier attempt could not be removed");
        }
    }

    /// The ids of the nodes whose classes are output nodes on this backend, in the workflow's order. Empty if
    /// the backend's classes are unknown, which is possible for an attempt adopted at a start.
    pub async fn output_nodes(&self) -> Cow<'_, [String]> {
        if !self.known_output_nodes.is_empty() {
            return Cow::Borrowed(&self.known_output_nodes);
        }
        if self.backend.capabilities().object_info().is_none() {
            self.refresh_capabilities().await;
        }
        let workflow = Workflow::parse(self.job.graph.get()).ok();
        workflow.map(|workflow| output_nodes(&workflow, &self.backend)).unwrap_or_default().into()
    }

    /// The `prompt_id` of the run at ComfyUI.
    pub fn id(&self) -> String {
        self.job.attempt.id.to_string()
    }

    pub fn now(&self) -> UnixMillis {
        self.context.core.clock.now()
    }
}

fn output_nodes(workflow: &Workflow<'_>, backend: &Backend) -> Vec<String> {
    let Some(classes) = backend.capabilities().object_info() else { return Vec::new() };
    let is_output = |class: &str| classes.class(class).is_some_and(|class| class.output_node);
    let outputs = workflow.nodes().iter().filter(|node| is_output(&node.class_type));
    outputs.map(|node| node.id.clone()).collect()
}

/// What an outcome says of the backend, for its circuit breaker.
fn run_outcome(outcome: &AttemptOutcome) -> RunOutcome {
    match outcome {
        AttemptOutcome::Ended { entry, .. } if entry.status == HistoryStatus::Success => {
            RunOutcome::Completed
        }
        AttemptOutcome::Ended { early: Some(EarlyEnd::Stall), .. } => {
            RunOutcome::BackendFault("a run showed no progress".to_owned())
        }
        AttemptOutcome::Requeue(decision) if decision.cause.counts() && !decision.cause.is_refusal() => {
            RunOutcome::BackendFault(decision.log_reason().to_owned())
        }
        _ => RunOutcome::Failed,
    }
}

impl Drop for AttemptTask {
    fn drop(&mut self) {
        self.backend.feeds().close(self.job.attempt.id);
        self.context.core.hub.remove_attempt(self.job.prompt_id);
    }
}
