//! What an attempt came to, before any of it is written down.

use crate::comfy::{ExecutionError, HistoryEntry, NodeErrors, Rejection};
use crate::domain::failure::{Failure, FailureCode};

/// What an attempt came to.
#[derive(Debug)]
pub(super) enum Verdict {
    /// ComfyUI has it in its history; its outputs are to be fetched.
    Ended {
        /// The history's entry.
        entry: Box<HistoryEntry>,
        /// Why we had it interrupted, if we had.
        early: Option<EarlyEnd>,
    },
    /// It failed for good, without outputs.
    Failed(Failure),
    /// It came to nothing and the job may be tried again.
    Retry(Retry),
    /// A requested cancel is confirmed.
    Cancelled,
}

/// Why a run is ended before its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EarlyEnd {
    /// A caller asked for it.
    Cancel,
    /// It ran longer than it may.
    Timeout,
}

/// Why an attempt came to nothing.
#[derive(Debug)]
pub(super) struct Retry {
    /// What the job fails with when it may not be tried again.
    pub code: FailureCode,
    /// In words for the caller.
    pub reason: String,
    /// Whether it counts against the retry budget: it does not when the server never had the job.
    pub counts: bool,
}

impl Retry {
    /// The server and with it the run are lost.
    pub fn lost(reason: impl Into<String>) -> Self {
        Self { code: FailureCode::BackendLost, reason: reason.into(), counts: true }
    }

    /// The server never had the job.
    pub fn not_delivered(reason: impl Into<String>) -> Self {
        Self { counts: false, ..Self::lost(reason) }
    }
}

/// ComfyUI's refusal as the job's failure.
pub(super) fn rejected(rejection: &Rejection) -> Failure {
    let node = rejection.node_errors.nodes.first();
    let first = node.and_then(|node| node.errors.first());
    let message = match (node, first) {
        (Some(node), Some(error)) => {
            let class = node.class_type.as_deref().unwrap_or("node");
            let more = rejection.node_errors.nodes.iter().map(|node| node.errors.len()).sum::<usize>() - 1;
            let more = if more > 0 { format!(" (and {more} more, see node_errors)") } else { String::new() };
            format!(
                "ComfyUI refused the workflow: {class} (node {}): {}{more}",
                node.node_id,
                sentence(&error.message, &error.details)
            )
        }
        _ => format!("ComfyUI refused the workflow: {}", sentence(&rejection.message, &rejection.details)),
    };
    Failure {
        node_id: node.map(|node| node.node_id.clone()).or_else(|| rejection.node_id.clone()),
        node_type: node.and_then(|node| node.class_type.clone()).or_else(|| rejection.class_type.clone()),
        node_errors: rejection
            .node_errors
            .raw
            .as_ref()
            .filter(|_| node.is_some())
            .map(|raw| raw.get().into()),
        ..Failure::new(FailureCode::InvalidWorkflow, message)
    }
}

fn sentence(message: &str, details: &str) -> String {
    if details.trim().is_empty() {
        message.trim().to_owned()
    } else {
        format!("{}: {}", message.trim(), details.trim())
    }
}

/// A node's exception as the job's failure.
pub(super) fn execution_failure(error: &ExecutionError) -> Failure {
    let class = error.node_type.as_deref().unwrap_or("a node");
    let node = error.node_id.as_deref().map(|id| format!(" (node {id})")).unwrap_or_default();
    let what = sentence(&error.exception_type, &error.exception_message);
    let (code, message) = if error.is_out_of_memory() {
        (FailureCode::OutOfMemory, format!("{class}{node} ran out of memory: {what}"))
    } else {
        (FailureCode::NodeError, format!("{class}{node} failed: {what}"))
    };
    Failure {
        node_id: error.node_id.clone(),
        node_type: error.node_type.clone(),
        exception_type: Some(error.exception_type.clone()).filter(|text| !text.is_empty()),
        traceback: Some(error.traceback.clone()).filter(|text| !text.is_empty()),
        ..Failure::new(code, message)
    }
}

/// What a completed job says of the branches that ComfyUI dropped.
pub(super) fn dropped_branches(dropped: &NodeErrors) -> Option<String> {
    if dropped.is_empty() {
        return None;
    }
    let nodes: Vec<String> = dropped
        .nodes
        .iter()
        .map(|node| {
            let why =
                node.errors.first().map(|error| sentence(&error.message, &error.details)).unwrap_or_default();
            let outputs = node.dependent_outputs.join(", ");
            let class = node.class_type.as_deref().unwrap_or("node");
            format!("outputs {outputs} because of {class} (node {}): {why}", node.node_id)
        })
        .collect();
    Some(format!("ComfyUI ran a part of the workflow only; it dropped {}", nodes.join("; ")))
}
