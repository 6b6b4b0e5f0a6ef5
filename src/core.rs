//! The parts that the scheduler and the use cases share: the stores, the backends, the wakeups, and the
//! ambient services.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::Clock;
use crate::domain::id::PromptId;
use crate::domain::job::JobStatus;
use crate::domain::time::UnixMillis;
use crate::fetch::UrlFetcher;
use crate::hub::JobHub;
use crate::media::MediaStore;
use crate::metrics::Metrics;
use crate::pool::Pool;
use crate::random::Random;
use crate::store::GatewayStore;

/// The shared parts of one gateway process.
#[derive(Debug)]
pub struct GatewayCore {
    /// Jobs, workflows, uploaded files and added backends on disk.
    pub store: Arc<dyn GatewayStore>,
    /// The bytes of input and output files.
    pub media: Arc<dyn MediaStore>,
    /// The ComfyUI backends.
    pub pool: Arc<Pool>,
    /// Fetches the URLs that callers name, behind the guard against internal addresses.
    pub fetcher: UrlFetcher,
    /// Wakes the dispatcher, attempts and waiting callers.
    pub hub: Arc<JobHub>,
    /// The wall clock.
    pub clock: Arc<dyn Clock>,
    /// The source of ids and jitter.
    pub random: Arc<Random>,
    /// The counters behind `GET /metrics`.
    pub metrics: Arc<Metrics>,
    /// How long ended jobs are kept; `None` keeps them until they are deleted.
    pub retention: Option<Duration>,
}

/// The end of a job as the log, the metrics and the waiting callers learn it.
#[derive(Debug, Clone, Copy)]
pub struct JobEnd<'a> {
    /// The job.
    pub id: PromptId,
    /// Its terminal status.
    pub status: JobStatus,
    /// The failure's code, or the status's name.
    pub outcome: &'a str,
    /// Why, if the outcome alone does not say it. It goes into the log, so it quotes no parameter.
    pub reason: Option<&'a str>,
    /// Whether the job ended in the queue, so that the dispatcher still has it among the waiting jobs.
    pub in_queue: bool,
}

impl<'a> JobEnd<'a> {
    /// The end of a job that failed in the queue, with a failure's code.
    #[must_use]
    pub const fn failed(id: PromptId, code: &'a str, reason: Option<&'a str>) -> Self {
        Self { id, status: JobStatus::Failed, outcome: code, reason, in_queue: true }
    }

    /// The end of a job that was cancelled in the queue.
    #[must_use]
    pub const fn cancelled(id: PromptId) -> Self {
        let status = JobStatus::Cancelled;
        Self { id, status, outcome: status.as_str(), reason: None, in_queue: true }
    }
}

impl GatewayCore {
    /// When a job that ends at `now` is purged; `None` for never.
    #[must_use]
    pub fn expiry(&self, now: UnixMillis) -> Option<UnixMillis> {
        self.retention.map(|retention| now.plus(retention))
    }

    /// Publishes the end of a job: one log line, one count, one wakeup of everyone who waits for it. Every end goes
    /// through here, after the store has committed it and never before.
    pub fn announce_end(&self, end: JobEnd<'_>) {
        let JobEnd { id, status, outcome, reason, in_queue } = end;
        tracing::info!(prompt_id = %id, outcome, reason, "job ended");
        self.metrics.job_finished(status);
        self.hub.notify_end(id, in_queue);
    }
}
