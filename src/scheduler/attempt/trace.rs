//! What an attempt learns on its way, besides its end.

use crate::comfy::{CallFault, HistoryEntry, NodeErrors};
use crate::domain::time::UnixMillis;

/// What is learned on the way to an attempt's end.
#[derive(Debug, Default)]
pub(super) struct AttemptTrace {
    /// When ComfyUI accepted the job; `None` for an adopted run.
    pub submitted_at: Option<UnixMillis>,
    /// The nodes for which ComfyUI refused a part of the workflow.
    pub refused_nodes: NodeErrors,
    /// The backend's answer, if it did not accept the job.
    pub refusal: Option<SubmitRefusal>,
    /// The entry of the history, once it is there.
    pub entry: Option<Box<HistoryEntry>>,
}

/// The answer of a backend that did not accept a job.
#[derive(Debug)]
pub(super) struct SubmitRefusal {
    /// What the backend did, as the verb of a sentence.
    pub how: &'static str,
    /// The answer.
    pub fault: CallFault,
    /// Whether the backend judges other submissions, so that this job is suspected.
    pub is_of_job: bool,
}
