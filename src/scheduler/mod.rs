//! Runs queued jobs on the pool's backends and brings each to exactly one end.
//!
//! ```text
//!            claim (row and attempt on disk)      POST /prompt            /history has it
//!  queued ─────────────────────────────▶ running: preparing ──▶ watching ─────────────────▶ collecting ──▶ ended
//!     ▲                                      │ not delivered,      │ neither in /queue          │ a file cannot
//!     └──────────────────────────────────────┴─ not accepted ──────┴ nor in /history: lost      ▼ be fetched: failed
//! ```
//!
//! A job whose inputs are still being fetched stays queued and takes no slot. Its inputs are uploaded to its
//! backend just before it is submitted.
//!
//! Invariants:
//! * The attempt, with its backend and id, is on disk before anything is sent to the backend.
//! * An attempt ends its job only under its fence. A late attempt gets
//!   [`StoreError::LeaseLost`](crate::store::StoreError) and its result is dropped.
//! * A job is requeued only when its backend is known not to have it, or did not answer for
//!   [`SchedulerSettings::lost_after`].
//! * A stop leaves running jobs as they are, and the next start adopts them.
//!
//! | event | consequence |
//! |---|---|
//! | an input cannot be fetched | failed with `input_unavailable`, before the job is sent to a backend |
//! | the backend refuses the connection at submit | requeued at once, not counted; the backend is marked down |
//! | the submit gets no clear answer | `/queue` and `/history` decide: watched, or requeued and counted |
//! | ComfyUI rejects the workflow | failed with `invalid_workflow` |
//! | ComfyUI accepts a part of the workflow, and the job is not `partial` | the run is ended; failed with `invalid_workflow` |
//! | 500 or 403 at submit from a backend that judges other submissions | requeued, counted; the second time failed with `invalid_workflow` |
//! | the backend refuses connections during the run for [`SchedulerSettings::refused_for`] | requeued, counted |
//! | the run is in neither queue nor history | requeued, counted; failed with `backend_lost` when the budget is spent |
//! | out of memory | requeued, counted; failed with `out_of_memory` when the budget is spent |
//! | a node raises an exception | failed with `node_error`; outputs made so far are kept |
//! | the websocket is silent | `/history` and `/queue` are polled every [`SchedulerSettings::poll`] |
//! | the database is not available | the end is kept in memory and retried until it is on disk |
//!
//! What returns a job to the queue is a [`RequeueCause`](crate::domain::requeue::RequeueCause); [`attempt`] has the table
//! of who turns what into what.

pub mod attempt;
mod context;
pub mod dispatch;
mod input_fetch;
mod maintenance;
mod settings;

pub use context::SchedulerContext;
pub use dispatch::DispatcherTask;
pub use maintenance::{SweepError, sweep_orphans};
pub use settings::SchedulerSettings;
