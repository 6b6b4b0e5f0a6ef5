//! One attempt from its claim to its end: submit → watch → collect → settle, under its lease.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::Parts;
use super::verdict::{Verdict, dropped_branches};
use crate::comfy::NodeErrors;
use crate::domain::outputs::OutputNames;
use crate::domain::progress::ProgressTracker;
use crate::domain::time::UnixMillis;
use crate::domain::workflow::Workflow;
use crate::pool::{AttemptFeed, Backend, Turn};
use crate::store::ClaimedJob;

/// How an attempt comes into this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// Claimed by it: to be submitted.
    Fresh,
    /// Taken over from an earlier process: perhaps submitted, perhaps ended.
    Adopted,
}

/// An attempt under way.
#[derive(Debug)]
pub(super) struct Attempt {
    pub parts: Arc<Parts>,
    pub backend: Arc<Backend>,
    pub job: ClaimedJob,
    pub feed: Arc<AttemptFeed>,
    pub cancel: CancellationToken,
    /// Its place among the jobs that its server is to be given.
    pub turn: Turn,
    pub names: OutputNames,
}

/// Moments of an attempt, for its timings.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Moments {
    /// When ComfyUI had accepted it; unknown for an adopted one.
    pub submitted: Option<UnixMillis>,
}

impl Attempt {
    /// Makes it known to whoever waits for it.
    pub fn begin(parts: Arc<Parts>, backend: Arc<Backend>, job: ClaimedJob) -> Self {
        // The graph was checked when it was accepted; one that is not readable any more only loses its names.
        let workflow = Workflow::parse(job.graph.get()).ok();
        let names = workflow.as_ref().map(OutputNames::of).unwrap_or_default();
        let tracker = workflow.as_ref().map(ProgressTracker::new).unwrap_or_default();
        let feed = backend.open_feed(job.attempt.id, job.prompt_id, tracker);
        let cancel = CancellationToken::new();
        if job.cancel_requested {
            cancel.cancel();
        }
        parts.hub.began(job.prompt_id, cancel.clone(), feed.clone());
        let turn = backend.take_turn();
        Self { parts, backend, job, feed, cancel, turn, names }
    }

    /// Runs it to its end, or until `stopping`: then the job stays as it is for the next start.
    pub async fn run(self, origin: Origin, stopping: CancellationToken) {
        tokio::select! {
            biased;
            () = stopping.cancelled() => {}
            () = self.to_its_end(origin) => {}
        }
    }

    async fn to_its_end(&self, origin: Origin) {
        self.parts.hub.job_changed(self.job.prompt_id);
        let (verdict, moments, dropped) = self.drive(origin).await;
        self.settle(verdict, moments, dropped_branches(&dropped)).await;
    }

    async fn drive(&self, origin: Origin) -> (Verdict, Moments, NodeErrors) {
        let nothing = NodeErrors::default;
        if origin == Origin::Adopted {
            self.turn.pass();
            return (self.watch(true).await, Moments::default(), nothing());
        }
        if self.cancel.is_cancelled() {
            self.turn.pass();
            return (Verdict::Cancelled, Moments::default(), nothing());
        }
        match self.deliver().await {
            Err(verdict) => (verdict, Moments::default(), nothing()),
            Ok(dropped) => {
                let moments = Moments { submitted: Some(self.now()) };
                (self.watch(false).await, moments, dropped)
            }
        }
    }

    /// Brings the job to its server: first its files, then itself.
    async fn deliver(&self) -> Result<NodeErrors, Verdict> {
        self.suits().await?;
        self.bring_files().await?;
        self.submit().await
    }

    /// What ComfyUI knows the run as.
    pub fn id(&self) -> String {
        self.job.attempt.id.to_string()
    }

    pub fn now(&self) -> UnixMillis {
        self.parts.clock.now()
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        self.backend.close_feed(self.job.attempt.id);
        self.parts.hub.ended(self.job.prompt_id);
    }
}
