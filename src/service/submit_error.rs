//! Errors of submissions.

use serde_json::Value;

use crate::convert::ConvertFault;
use crate::domain::fault::WorkflowFaults;
use crate::domain::registered::WorkflowName;
use crate::media::MediaError;
use crate::store::StoreError;

/// Why no backend can run a workflow.
#[derive(Debug, Default)]
pub struct UnfitWorkflow {
    /// The faults, with JSON pointers from the request's root.
    pub faults: WorkflowFaults,
    /// The same faults by node id, in the format of ComfyUI's `node_errors`.
    pub node_errors: Value,
}

/// Why a submission or a registration was rejected.
#[derive(Debug, thiserror::Error)]
pub enum SubmitError {
    /// The workflow is invalid on every backend.
    #[error("the workflow is not valid")]
    InvalidWorkflow(WorkflowFaults),
    /// No backend can run the workflow.
    #[error("no backend can run the workflow")]
    Unfit(UnfitWorkflow),
    /// The parameters do not fit the workflow.
    #[error("the parameters do not fit the workflow")]
    InvalidParams(WorkflowFaults),
    /// No registered workflow has this name. The text is one sentence with a hint.
    #[error("{0}")]
    UnknownWorkflow(String),
    /// The editor file cannot be converted.
    #[error("the workflow cannot be converted")]
    Unconvertible(Vec<ConvertFault>),
    /// An editor file needs a backend's node classes, and none is known yet.
    #[error("the node classes of the backends are not known yet")]
    ServersUnknown,
    /// The workflow could not be fetched. The text has the host and the reason.
    #[error("the workflow could not be fetched from {0}")]
    WorkflowUnavailable(String),
    /// The workflow was loaded from the folder of workflow files and can only be changed there.
    #[error("the workflow {0} was loaded from the folder of workflow files")]
    FromFolder(WorkflowName),
    /// The queue is full.
    #[error("the queue is full")]
    QueueFull {
        /// The most queued jobs.
        limit: u64,
    },
    /// A file could not be stored; nothing was accepted.
    #[error(transparent)]
    Media(#[from] MediaError),
    /// The store failed; nothing was accepted.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl SubmitError {
    /// Whether the workflow itself is invalid, so that registering it again fails again.
    #[must_use]
    pub const fn is_workflow_fault(&self) -> bool {
        matches!(self, Self::InvalidWorkflow(_))
    }

    /// The error and its first fault, as one sentence.
    #[must_use]
    pub fn first_fault(&self) -> String {
        let first = match self {
            Self::InvalidWorkflow(faults) | Self::InvalidParams(faults) => {
                faults.first().map(|fault| format!("{}: {}", fault.pointer, fault.message))
            }
            Self::Unconvertible(faults) => faults.first().map(|fault| {
                let node = fault.node_id.as_ref().map(|id| format!("node {id}: ")).unwrap_or_default();
                format!("{node}{}", fault.message)
            }),
            _ => None,
        };
        first.map_or_else(|| self.to_string(), |first| format!("{self}: {first}"))
    }
}
