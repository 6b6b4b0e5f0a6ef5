//! The events of a backend, as its websocket reports them.

use bytes::Bytes;
use serde_json::value::RawValue;

use super::failure::ExecutionError;
use crate::domain::time::UnixMillis;

/// One message, with times by the clock of the backend.
///
/// Every message is a hint: any can be missing, and after a reconnect most are.
#[derive(Debug, Clone)]
pub enum ComfyEvent {
    /// `status`: the length of the queue. ComfyUI sends it to every client, and as the first message of a
    /// connection.
    Status {
        /// The waiting and running jobs of all clients.
        queue_remaining: Option<u64>,
        /// The client id of the connection, only in its first message.
        sid: Option<String>,
    },
    /// `execution_start`.
    ExecutionStart {
        /// The id of the job.
        prompt_id: String,
        /// When the job started.
        timestamp: Option<UnixMillis>,
    },
    /// `execution_cached`: these nodes do not run because their results are cached.
    Cached {
        /// The id of the job.
        prompt_id: String,
        /// The ids of the nodes.
        nodes: Vec<String>,
    },
    /// `executing`: a node starts. With a job but no node, the job has ended and its history entry exists.
    Executing {
        /// The id of the job; missing in the message that ComfyUI repeats after a reconnect.
        prompt_id: Option<String>,
        /// The node that starts.
        node: Option<String>,
    },
    /// `progress`: the steps of one node.
    Progress {
        /// The id of the job.
        prompt_id: Option<String>,
        /// The id of the node.
        node: Option<String>,
        /// The completed steps.
        value: f64,
        /// All steps.
        max: f64,
    },
    /// `progress_state`: all nodes that have started.
    ProgressState {
        /// The id of the job.
        prompt_id: String,
        /// The progress of each node.
        nodes: Vec<NodeProgress>,
    },
    /// `executed`: an output node has finished.
    Executed {
        /// The id of the job.
        prompt_id: String,
        /// The node, by the id that its output has in the history.
        node: String,
        /// Its output as in the history; `None` if it has none.
        output: Option<Box<RawValue>>,
    },
    /// `execution_success`: all nodes have run. The history entry appears some milliseconds later.
    Success {
        /// The id of the job.
        prompt_id: String,
        /// When the job ended.
        timestamp: Option<UnixMillis>,
    },
    /// `execution_error`: a node failed, and the job with it.
    Error {
        /// The id of the job.
        prompt_id: String,
        /// The failed node and its exception.
        error: Box<ExecutionError>,
        /// When the job ended.
        timestamp: Option<UnixMillis>,
    },
    /// `execution_error` of the type `ExecutionBlocked`: a node was skipped, and the job continues.
    Blocked {
        /// The id of the job.
        prompt_id: String,
        /// The skipped node, with the reason as its message.
        error: Box<ExecutionError>,
    },
    /// `execution_interrupted`: some client interrupted the job.
    Interrupted {
        /// The id of the job.
        prompt_id: String,
        /// The node that was running.
        node: Option<String>,
        /// When the job ended.
        timestamp: Option<UnixMillis>,
    },
    /// A preview image of a running node.
    Preview {
        /// The id of the job; missing from versions before 0.3.41.
        prompt_id: Option<String>,
        /// The node; missing from versions before 0.3.41.
        node: Option<String>,
        /// `image/jpeg` or `image/png`.
        mime: &'static str,
        /// The encoded image.
        bytes: Bytes,
    },
    /// A text that a node shows while it runs.
    ProgressText {
        /// The id of the node.
        node: String,
        /// The text.
        text: String,
    },
    /// A message that this client does not use or understand.
    Unknown {
        /// The type of the message, or the fault in it.
        kind: String,
    },
}

/// The progress of one node, from `progress_state`.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeProgress {
    /// The id of the node in the workflow, or the id that ComfyUI gave to a node made by another one.
    pub node: String,
    /// The node of the workflow that represents it.
    pub display_node: Option<String>,
    /// `pending`, `running`, `finished` or `error`.
    pub state: String,
    /// The completed steps.
    pub value: f64,
    /// All steps.
    pub max: f64,
}

impl ComfyEvent {
    /// The id of the job that the message is about, if it names one.
    #[must_use]
    pub fn prompt_id(&self) -> Option<&str> {
        match self {
            Self::ExecutionStart { prompt_id, .. }
            | Self::Cached { prompt_id, .. }
            | Self::ProgressState { prompt_id, .. }
            | Self::Executed { prompt_id, .. }
            | Self::Success { prompt_id, .. }
            | Self::Error { prompt_id, .. }
            | Self::Blocked { prompt_id, .. }
            | Self::Interrupted { prompt_id, .. } => Some(prompt_id),
            Self::Executing { prompt_id, .. }
            | Self::Progress { prompt_id, .. }
            | Self::Preview { prompt_id, .. } => prompt_id.as_deref(),
            Self::Status { .. } | Self::ProgressText { .. } | Self::Unknown { .. } => None,
        }
    }
}
