//! The state that all use cases share. Each use case is an `impl Service` block in a file of its own.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::submission::SubmissionLimits;
use super::workflow_cache::WorkflowCache;
use crate::core::GatewayCore;
use crate::domain::id::BackendName;
use crate::domain::time::UnixMillis;
use crate::pool::BackendSettings;

/// Before a workflow is rejected, the backends' node classes are fetched again unless they are more recent
/// than this.
pub(super) const CAPABILITIES_FRESH: Duration = Duration::from_secs(10);

/// The configured backends that are wanted, and the backends that are draining before their removal.
#[derive(Debug, Default)]
pub(super) struct WantedBackends {
    pub backends: Vec<BackendSettings>,
    pub drained: Vec<BackendName>,
    /// Counts the configurations, so that applying one stops when the next arrives.
    pub generation: u64,
}

/// The gateway's use cases.
#[derive(Debug)]
pub struct Service {
    pub(super) core: Arc<GatewayCore>,
    pub(super) limits: SubmissionLimits,
    pub(super) stopping: CancellationToken,
    /// The time of the latest count of the queue, and that count plus the jobs accepted since.
    pub(super) queued: Mutex<Option<(UnixMillis, u64)>>,
    pub(super) fetched: WorkflowCache,
    pub(super) wanted: Mutex<WantedBackends>,
}

impl Service {
    /// Use cases over `core`. Cancelling `stopping` ends all waits for jobs at once.
    #[must_use]
    pub fn new(core: Arc<GatewayCore>, limits: SubmissionLimits, stopping: CancellationToken) -> Self {
        Self {
            core,
            limits,
            stopping,
            queued: Mutex::new(None),
            fetched: WorkflowCache::default(),
            wanted: Mutex::default(),
        }
    }

    /// The limits of submissions and uploads.
    #[must_use]
    pub const fn limits(&self) -> &SubmissionLimits {
        &self.limits
    }
}
