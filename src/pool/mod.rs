//! The pool of ComfyUI backends: whether each is usable, which jobs it has, and what its websocket reports.

mod backend;
mod capabilities;
mod feed;
mod health;
mod members;
mod notes;
mod settings;
mod tasks;
mod turns;

pub use self::backend::Backend;
pub use self::feed::AttemptFeed;
pub use self::health::state::BackendHealth;
pub use self::health::totals::{RunOutcome, RunTotals};
pub use self::members::{AddError, Pool};
pub use self::notes::DeviceMemory;
pub use self::settings::{BackendClash, BackendSettings, DEFAULT_SLOTS, SLOTS};
pub use self::turns::SubmitTurn;
pub use crate::domain::mode::BackendMode;
