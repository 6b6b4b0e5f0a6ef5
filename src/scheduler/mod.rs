//! Runs queued jobs on the pool's servers and brings each to its one end. It must not know of HTTP clients of ours.
//!
//! ```text
//!            claim (row and attempt on disk)      POST /prompt            /history has it
//!  queued ─────────────────────────────▶ running: preparing ──▶ watching ─────────────────▶ collecting ──▶ ended
//!     ▲                                      │ not delivered,      │ neither in /queue          │ a file cannot
//!     └──────────────────────────────────────┴─ not accepted ──────┴ nor in /history: lost      ▼ be fetched: failed
//! ```
//!
//! A job some of whose files are still to be fetched stays queued, and takes no slot, until all of them are here. They
//! are brought to the server that runs it just before it is submitted.
//!
//! What holds at every moment:
//! * The attempt (server and id) is on disk before anything is sent to the server.
//! * An attempt ends its job only under its fence; a late one gets [`StoreError::LeaseLost`](crate::store::StoreError)
//!   and is dropped.
//! * A job goes back to the queue only when its server surely does not have it, or has been unreachable for
//!   [`SchedulerSettings::lost_after`].
//! * A stop leaves running jobs as they are: the next start adopts them.
//!
//! | what happens | what follows |
//! |---|---|
//! | a file of the job cannot be fetched | failed: `input_unavailable`, before any server hears of it |
//! | server refuses the connection at submit | back to the queue at once, not counted; the server is down |
//! | submit without a clear answer | `/queue` and `/history` decide: watch, or back to the queue, counted |
//! | ComfyUI refuses the workflow | failed: `invalid_workflow` |
//! | ComfyUI accepts a part of the workflow, and the job is not `partial` | the run is ended; failed: `invalid_workflow` |
//! | 500 or 403 at submit from a server that judges other submissions | back to the queue, counted; the second time failed: `invalid_workflow` |
//! | server refuses connections in mid-run for [`SchedulerSettings::refused_for`] | back to the queue, counted |
//! | run vanished from queue and history | back to the queue, counted; when spent, failed: `backend_lost` |
//! | out of memory | back to the queue, counted; when spent, failed: `out_of_memory` |
//! | node error | failed: `node_error`, outputs so far kept |
//! | websocket silent | `/history` and `/queue` are asked every second |
//! | database not available | the ending is kept in memory and tried again until it is on disk |

pub mod attempt;
pub mod dispatch;
mod hub;
mod input_fetch;
mod maintenance;

use std::sync::Arc;
use std::time::Duration;

pub use dispatch::DispatcherTask;
pub use hub::{JobHub, JobSubscription};
pub use maintenance::{SweepError, sweep_orphans};

use crate::clock::Clock;
use crate::domain::id::LeaseOwner;
use crate::domain::job::Lease;
use crate::domain::retry::RetryPolicy;
use crate::domain::time::UnixMillis;
use crate::fetch::{self, UrlFetcher};
use crate::media::MediaStore;
use crate::metrics::Metrics;
use crate::pool::Pool;
use crate::random::Random;
use crate::store::GatewayStore;

/// How the scheduler behaves.
#[derive(Debug, Clone)]
pub struct SchedulerSettings {
    /// Attempts and the waits between them.
    pub retry: RetryPolicy,
    /// Between two looks at a run of which nothing is heard.
    pub poll: Duration,
    /// A run whose server gives no answer for that long is lost.
    pub lost_after: Duration,
    /// A run whose server refuses connections for that long is lost: nothing listens there, so the server's memory is
    /// gone, unless it is only a proxy before it that was restarted.
    pub refused_for: Duration,
    /// A cancelled or overdue run that its server does not give up within that time is left to it.
    pub interrupt_grace: Duration,
    /// A run that shows no progress for that long, although it could be heard, is ended and tried again.
    pub stall: Duration,
    /// How long a lease lasts unless it is renewed.
    pub lease: Duration,
    /// How long ended jobs are kept; for ever, if `None`.
    pub retention: Option<Duration>,
    /// Files of one job fetched at the same time.
    pub downloads: usize,
    /// The most bytes of one output file.
    pub max_output_file: u64,
    /// A text of more bytes is kept as a file.
    pub inline_text: usize,
    /// ComfyUI's outputs of more bytes are kept as a file, and so are texts of more bytes together.
    pub inline_outputs: usize,
    /// What one file that a URL points at may take.
    pub inputs: fetch::FetchLimits,
    /// How jobs are placed.
    pub dispatch: dispatch::DispatchSettings,
}

impl Default for SchedulerSettings {
    fn default() -> Self {
        Self {
            retry: RetryPolicy::default(),
            poll: Duration::from_secs(1),
            lost_after: Duration::from_mins(1),
            refused_for: Duration::from_secs(2),
            interrupt_grace: Duration::from_mins(1),
            stall: Duration::from_mins(10),
            lease: Duration::from_mins(1),
            retention: Some(Duration::from_hours(7 * 24)),
            downloads: 4,
            max_output_file: 8 << 30,
            inline_text: 1 << 20,
            inline_outputs: 16 << 20,
            inputs: fetch::FetchLimits::default(),
            dispatch: dispatch::DispatchSettings::default(),
        }
    }
}

/// What the scheduler works with.
#[derive(Debug)]
pub struct SchedulerDeps {
    /// The jobs.
    pub store: Arc<dyn GatewayStore>,
    /// Their files.
    pub media: Arc<dyn MediaStore>,
    /// The servers.
    pub pool: Arc<Pool>,
    /// What fetches the files that callers' URLs point at.
    pub fetcher: UrlFetcher,
    /// Who waits for what.
    pub hub: Arc<JobHub>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Ids and jitter.
    pub random: Arc<Random>,
    /// What is measured.
    pub metrics: Arc<Metrics>,
    /// How it behaves.
    pub settings: SchedulerSettings,
    /// This process, as owner of leases.
    pub owner: LeaseOwner,
}

impl SchedulerDeps {
    /// A lease of this process from now on.
    fn lease(&self) -> Lease {
        Lease { owner: self.owner, until: self.clock.now().plus(self.settings.lease) }
    }

    /// Waits until the disk of the files has room for `bytes` more. It is looked at every few seconds, because nobody
    /// tells when a disk gets room.
    async fn until_room(&self, bytes: u64) {
        loop {
            self.clock.sleep(self.settings.retry.delay(3, self.random.fraction())).await;
            if self.media.has_room_for(bytes) {
                return;
            }
        }
    }

    /// When a job that ends at `now` may be forgotten.
    pub(crate) fn expiry(&self, now: UnixMillis) -> Option<UnixMillis> {
        self.settings.retention.map(|retention| now.plus(retention))
    }
}
