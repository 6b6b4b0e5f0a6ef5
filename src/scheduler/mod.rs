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
mod context;
pub mod dispatch;
mod input_fetch;
mod maintenance;
mod settings;

pub use context::SchedulerContext;
pub use dispatch::DispatcherTask;
pub use maintenance::{SweepError, sweep_orphans};
pub use settings::SchedulerSettings;
