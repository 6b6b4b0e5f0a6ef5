//! The events of one attempt, as its backend's websocket reports them.
//!
//! They are hints: an event can be missing, late, or about a run that ComfyUI has forgotten since. Only the
//! queue and the history of ComfyUI are certain.

use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::Notify;

use crate::clock::Clock;
use crate::comfy::{ComfyEvent, NodeProgress};
use crate::domain::id::PromptId;
use crate::domain::progress::{Progress, ProgressTracker};
use crate::domain::time::UnixMillis;
use crate::lock::LockExt;

/// The most blocked nodes of one attempt that are kept.
pub const MAX_BLOCKED_NODES: usize = 100;

/// Everything that the websocket has reported about one attempt.
#[derive(Debug)]
pub struct AttemptFeed {
    prompt_id: PromptId,
    reports: Mutex<RunReports>,
    ended: Notify,
    clock: Arc<dyn Clock>,
}

#[derive(Debug)]
struct RunReports {
    progress: ProgressTracker,
    started_at: Option<UnixMillis>,
    last_event_at: Option<UnixMillis>,
    /// Node ids with the message that blocked each.
    blocked: Vec<(String, String)>,
    ended: bool,
}

impl AttemptFeed {
    pub(super) fn new(prompt_id: PromptId, progress: ProgressTracker, clock: Arc<dyn Clock>) -> Self {
        let reports =
            RunReports { progress, started_at: None, last_event_at: None, blocked: Vec::new(), ended: false };
        Self { prompt_id, reports: Mutex::new(reports), ended: Notify::new(), clock }
    }

    /// The id of the job in the API.
    #[must_use]
    pub const fn prompt_id(&self) -> PromptId {
        self.prompt_id
    }

    fn reports(&self) -> MutexGuard<'_, RunReports> {
        self.reports.lock_anyway()
    }

    /// The progress as of the last event.
    #[must_use]
    pub fn progress(&self) -> Progress {
        self.reports().progress.snapshot()
    }

    /// When the first sign of the run arrived, by the gateway's clock: an event, or the queue listing it as
    /// running.
    #[must_use]
    pub fn started_at(&self) -> Option<UnixMillis> {
        self.reports().started_at
    }

    /// When the last event arrived, by the gateway's clock.
    #[must_use]
    pub fn last_event_at(&self) -> Option<UnixMillis> {
        self.reports().last_event_at
    }

    /// Whether an event has reported the end of the run.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.reports().ended
    }

    /// The ids of the nodes that were blocked from running, each with the message of the node that blocked it; at
    /// most [`MAX_BLOCKED_NODES`].
    #[must_use]
    pub fn blocked(&self) -> Vec<(String, String)> {
        self.reports().blocked.clone()
    }

    /// Waits until an event reports the end of the run. The history entry can appear later than that event.
    pub async fn until_ended(&self) {
        loop {
            let notified = self.ended.notified();
            if self.has_ended() {
                return;
            }
            notified.await;
        }
    }

    /// Records that the queue lists the run as running, in case the websocket missed its start.
    pub(super) fn mark_running(&self) {
        let now = self.clock.now();
        self.reports().started_at.get_or_insert(now);
    }

    pub(super) fn record(&self, event: &ComfyEvent) {
        let now = self.clock.now();
        let ended = {
            let mut reports = self.reports();
            reports.last_event_at = Some(now);
            reports.record(event);
            if reports.started_at.is_none() && reports.progress.has_started() {
                reports.started_at = Some(now);
            }
            reports.ended
        };
        if ended {
            self.ended.notify_waiters();
        }
    }
}

impl RunReports {
    fn record(&mut self, event: &ComfyEvent) {
        match event {
            ComfyEvent::ExecutionStart { .. } => self.progress.started(),
            ComfyEvent::Cached { nodes, .. } => self.progress.cached(nodes.iter().map(String::as_str)),
            ComfyEvent::Executing { node: Some(node), .. } => self.progress.executing(node),
            ComfyEvent::Progress { node: Some(node), value, max, .. } => {
                self.progress.step(node, *value, *max);
            }
            ComfyEvent::ProgressState { nodes, .. } => nodes.iter().for_each(|node| self.record_node(node)),
            ComfyEvent::Executed { node, .. } => self.progress.finished(node),
            ComfyEvent::Blocked { error, .. } if self.blocked.len() < MAX_BLOCKED_NODES => {
                if let Some(node) = &error.node_id {
                    self.blocked.push((node.clone(), error.exception_message.clone()));
                }
            }
            ComfyEvent::Executing { node: None, .. }
            | ComfyEvent::Success { .. }
            | ComfyEvent::Error { .. }
            | ComfyEvent::Interrupted { .. } => self.ended = true,
            _ => {}
        }
    }

    fn record_node(&mut self, node: &NodeProgress) {
        match node.state.as_str() {
            "finished" => self.progress.finished(&node.node),
            // ComfyUI reports a `max` of 1 for every node that has no steps of its own.
            "running" if node.max > 1.0 => {
                self.progress.step(node.display_node.as_deref().unwrap_or(&node.node), node.value, node.max);
            }
            _ => {}
        }
    }
}
