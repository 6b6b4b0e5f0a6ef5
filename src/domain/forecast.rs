//! The forecast of a job: when it is expected to start and end, and what keeps it waiting.

use super::id::BackendName;
use super::time::UnixMillis;

/// What is expected of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobForecast {
    /// The number of jobs ahead of it, while it waits.
    pub position: Option<u64>,
    /// When it is expected to start; `None` while no similar run has been seen.
    pub start: Option<UnixMillis>,
    /// When it is expected to end.
    pub end: Option<UnixMillis>,
    /// Why no backend takes it now.
    pub blocked: Option<BlockedReason>,
}

/// Why no backend can run a job now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BlockedReason {
    /// There is no backend.
    NoServers,
    /// There is no backend of the name that the caller asked for.
    NoSuchBackend(BackendName),
    /// No backend has all the labels that the caller asked for.
    NoSuchLabels(Vec<String>),
    /// Every remaining backend lacks something that the workflow needs.
    Unable(Vec<BackendName>),
    /// The backends that could run it take no work now.
    Away(Vec<BackendName>),
}
