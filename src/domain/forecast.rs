//! When a waiting job is expected to run, and what keeps it from running.

use super::id::BackendName;
use super::time::UnixMillis;

/// What a job may expect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobForecast {
    /// Jobs that are due before it, while it waits.
    pub position: Option<u64>,
    /// When it is expected to start; `None` while runs like those before it were never seen.
    pub start: Option<UnixMillis>,
    /// When it is expected to end.
    pub end: Option<UnixMillis>,
    /// Why no server takes it now.
    pub blocked: Option<BlockedReason>,
}

/// Why no server may run a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BlockedReason {
    /// There is no server.
    NoServers,
    /// The caller asked for a server that there is not.
    NoSuchBackend(BackendName),
    /// No server is called all that the caller asked for.
    NoSuchLabels(Vec<String>),
    /// None of those that are there has what the workflow needs.
    Unable(Vec<BackendName>),
    /// Those that could do not take work now.
    Away(Vec<BackendName>),
}
