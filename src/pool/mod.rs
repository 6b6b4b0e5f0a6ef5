//! The pool of ComfyUI backends.
//!
//! * [`Pool`] holds the backends. [`Backend`] joins the parts of one backend.
//! * `health` judges from facts whether a backend gets work. `capabilities` knows which workflows it can run.
//! * `tasks` collects the facts: it probes the backend, reads its websocket, and refreshes its capabilities.
//! * [`AttemptFeed`] carries the events of one attempt. [`SubmitTurn`] orders the submissions to one backend.

mod backend;
mod capabilities;
mod feed;
mod feeds;
mod health;
mod members;
mod memory;
mod settings;
mod tasks;
mod turns;
mod websocket;

pub use self::backend::Backend;
pub use self::capabilities::object_info::BackendCapabilities;
pub use self::feed::AttemptFeed;
pub use self::feeds::AttemptFeeds;
pub use self::health::monitor::HealthMonitor;
pub use self::health::state::BackendHealth;
pub use self::health::totals::{RunOutcome, RunTotals};
pub use self::members::{AddError, Pool};
pub use self::memory::{BackendMemory, DeviceMemory};
pub use self::settings::{BackendClash, BackendSettings, DEFAULT_SLOTS, SLOTS};
pub use self::turns::{SubmitTurn, SubmitTurns};
pub use self::websocket::WebsocketState;
pub use crate::domain::mode::BackendMode;
