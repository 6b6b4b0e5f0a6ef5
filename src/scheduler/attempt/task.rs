//! One attempt from its claim to its end: prepare → follow its course → collect → settle, under its lease.

use std::borrow::Cow;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::driver::AttemptTrace;
use super::machine::EarlyEnd;
use super::outcome::AttemptOutcome;
use crate::comfy::HistoryStatus;
use crate::domain::outputs::OutputNames;
use crate::domain::progress::ProgressTracker;
use crate::domain::time::UnixMillis;
use crate::domain::workflow::Workflow;
use crate::pool::{AttemptFeed, Backend, RunOutcome, SubmitTurn};
use crate::scheduler::SchedulerDeps;
use crate::scheduler::dispatch::RunObservation;
use crate::store::ClaimedJob;

/// How an attempt comes into this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::scheduler) enum AttemptOrigin {
    /// Claimed by it: to be submitted.
    Fresh,
    /// Taken over from an earlier process: perhaps submitted, perhaps ended.
    Adopted,
}

/// An attempt under way.
#[derive(Debug)]
pub(in crate::scheduler) struct AttemptTask {
    pub parts: Arc<SchedulerDeps>,
    pub backend: Arc<Backend>,
    pub job: ClaimedJob,
    pub feed: Arc<AttemptFeed>,
    pub cancel: CancellationToken,
    /// It is wanted back while it only waits in its server's queue.
    pub recall: CancellationToken,
    /// Its place among the jobs that its server is to be given.
    pub turn: SubmitTurn,
    pub names: OutputNames,
    /// As [`AttemptTask::output_nodes`], if the classes were known when it began.
    known_output_nodes: Vec<String>,
}

/// Moments of an attempt, for its timings.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::scheduler) struct Moments {
    /// When ComfyUI had accepted it; unknown for an adopted one.
    pub submitted: Option<UnixMillis>,
}

impl AttemptTask {
    /// Makes it known to whoever waits for it.
    pub fn begin(parts: Arc<SchedulerDeps>, backend: Arc<Backend>, job: ClaimedJob) -> Self {
        // The graph was checked when it was accepted; one that is not readable any more only loses its names.
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
        parts.hub.began(job.prompt_id, cancel.clone(), recall.clone(), feed.clone());
        let turn = backend.turns().take();
        Self { parts, backend, job, feed, cancel, recall, turn, names, known_output_nodes }
    }

    /// Runs it to its end, or until `stopping`: then the job stays as it is for the next start.
    pub async fn run(self, origin: AttemptOrigin, stopping: CancellationToken) -> RunObservation {
        tokio::select! {
            biased;
            () = stopping.cancelled() => RunObservation::Nothing,
            run = self.to_its_end(origin) => run,
        }
    }

    async fn to_its_end(&self, origin: AttemptOrigin) -> RunObservation {
        self.parts.hub.job_changed(self.job.prompt_id);
        self.clear_leftovers(origin).await;
        let (verdict, trail) = self.drive(origin).await;
        self.backend.record_run(outcome(&verdict));
        self.settle(verdict, &trail).await
    }

    async fn drive(&self, origin: AttemptOrigin) -> (AttemptOutcome, AttemptTrace) {
        if origin == AttemptOrigin::Adopted {
            self.turn.end();
            return self.follow(origin).await;
        }
        if self.cancel.is_cancelled() {
            self.turn.end();
            return (AttemptOutcome::Cancelled, AttemptTrace::default());
        }
        match self.prepare().await {
            Err(verdict) => (verdict, AttemptTrace::default()),
            Ok(()) => self.follow(origin).await,
        }
    }

    /// Sees to it that the server can run the job and has its files.
    async fn prepare(&self) -> Result<(), AttemptOutcome> {
        self.suits().await?;
        self.bring_files().await
    }

    /// Removes what an attempt before this one fetched: nothing of it is in any result.
    async fn clear_leftovers(&self, origin: AttemptOrigin) {
        if (origin == AttemptOrigin::Adopted || self.job.attempt.number > 1)
            && let Err(error) = self.parts.media.remove(self.job.prompt_id).await
        {
            tracing::warn!(%error, "files of an earlier attempt stay behind");
        }
    }

    /// The nodes, by id, whose classes are outputs on its server, in the workflow's order; empty if the server does not
    /// tell its classes. An attempt that was adopted at a start may have begun before they were known.
    pub async fn output_nodes(&self) -> Cow<'_, [String]> {
        if !self.known_output_nodes.is_empty() {
            return Cow::Borrowed(&self.known_output_nodes);
        }
        if self.backend.capabilities().object_info().is_none() {
            self.ask_again().await;
        }
        let workflow = Workflow::parse(self.job.graph.get()).ok();
        workflow.map(|workflow| output_nodes(&workflow, &self.backend)).unwrap_or_default().into()
    }

    /// What ComfyUI knows the run as.
    pub fn id(&self) -> String {
        self.job.attempt.id.to_string()
    }

    pub fn now(&self) -> UnixMillis {
        self.parts.clock.now()
    }
}

fn output_nodes(workflow: &Workflow<'_>, backend: &Backend) -> Vec<String> {
    let Some(classes) = backend.capabilities().object_info() else { return Vec::new() };
    let is_output = |class: &str| classes.class(class).is_some_and(|class| class.output_node);
    let outputs = workflow.nodes().iter().filter(|node| is_output(&node.class_type));
    outputs.map(|node| node.id.clone()).collect()
}

/// What a verdict says of the server.
fn outcome(verdict: &AttemptOutcome) -> RunOutcome {
    match verdict {
        AttemptOutcome::Ended { entry, .. } if entry.status == HistoryStatus::Success => {
            RunOutcome::Completed
        }
        AttemptOutcome::Ended { early: Some(EarlyEnd::Stall), .. } => {
            RunOutcome::BackendFault("a run showed no progress".to_owned())
        }
        AttemptOutcome::Retry(retry) if retry.counts && !retry.refused => {
            RunOutcome::BackendFault(retry.brief().to_owned())
        }
        _ => RunOutcome::Failed,
    }
}

impl Drop for AttemptTask {
    fn drop(&mut self) {
        self.backend.feeds().close(self.job.attempt.id);
        self.parts.hub.ended(self.job.prompt_id);
    }
}
