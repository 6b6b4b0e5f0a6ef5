//! Why a job failed, in words and codes that clients may rely on.

use serde::{Deserialize, Serialize};

/// The stable reason for a failed job; part of the API contract (`error.code`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureCode {
    /// ComfyUI refused the workflow.
    InvalidWorkflow,
    /// A node raised an exception.
    NodeError,
    /// The GPU ran out of memory.
    OutOfMemory,
    /// The job ran longer than its `timeout`.
    Timeout,
    /// The job waited longer than its `queue_timeout`.
    QueueTimeout,
    /// The backend went away with the job.
    BackendLost,
    /// Two backends crashed while they ran the job.
    Poison,
    /// A file that a parameter names could not be read or fetched.
    InputUnavailable,
    /// A file that ComfyUI made could not be fetched.
    OutputUnavailable,
    /// Someone interrupted the job at its backend.
    Interrupted,
    /// The gateway itself is at fault.
    Internal,
}

impl FailureCode {
    /// Every code, in the order of the documentation.
    pub const ALL: [Self; 11] = [
        Self::InvalidWorkflow,
        Self::NodeError,
        Self::OutOfMemory,
        Self::Timeout,
        Self::QueueTimeout,
        Self::BackendLost,
        Self::Poison,
        Self::InputUnavailable,
        Self::OutputUnavailable,
        Self::Interrupted,
        Self::Internal,
    ];

    /// The code as clients see it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InvalidWorkflow => "invalid_workflow",
            Self::NodeError => "node_error",
            Self::OutOfMemory => "out_of_memory",
            Self::Timeout => "timeout",
            Self::QueueTimeout => "queue_timeout",
            Self::BackendLost => "backend_lost",
            Self::Poison => "poison",
            Self::InputUnavailable => "input_unavailable",
            Self::OutputUnavailable => "output_unavailable",
            Self::Interrupted => "interrupted",
            Self::Internal => "internal",
        }
    }

    /// Whether another attempt, perhaps on another backend, may succeed.
    #[must_use]
    pub const fn is_retryable(self) -> bool {
        matches!(self, Self::BackendLost | Self::OutOfMemory)
    }
}

/// Why a job failed, as its result reports it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The stable code.
    pub code: FailureCode,
    /// A sentence that a web developer can act on. An exception's own text may have several lines.
    pub message: String,
    /// The node at fault, where one is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_id: Option<String>,
    /// That node's `class_type`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_type: Option<String>,
    /// The Python exception's type, as ComfyUI reports it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exception_type: Option<String>,
    /// The Python traceback, lines joined.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceback: Option<String>,
    /// ComfyUI's own `node_errors` for a refused workflow, as JSON text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_errors: Option<Box<str>>,
}

impl Failure {
    /// The message's first line, as the job's `msg`.
    #[must_use]
    pub fn summary(&self) -> &str {
        self.message.lines().next().unwrap_or_default()
    }

    /// A failure that names no node.
    pub fn new(code: FailureCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            node_id: None,
            node_type: None,
            exception_type: None,
            traceback: None,
            node_errors: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_one_name_for_clients_and_for_the_store() {
        for code in FailureCode::ALL {
            assert_eq!(serde_json::to_string(&code).unwrap(), format!("\"{}\"", code.as_str()));
        }
    }

    #[test]
    fn only_what_another_server_could_mend_is_tried_again() {
        let retryable: Vec<_> = FailureCode::ALL.into_iter().filter(|code| code.is_retryable()).collect();
        assert_eq!(retryable, [FailureCode::OutOfMemory, FailureCode::BackendLost]);
    }
}
