//! Dispatching: a pure machine decides which job goes to which backend ([`machine`]), and one task runs it
//! ([`task`]).

mod backend_queue;
mod estimates;
mod forecast;
mod job_group;
mod machine;
mod placement;
mod recall;
mod settings;
mod task;
mod waiting_queue;

pub use backend_queue::BackendSnapshot;
pub use estimates::{KEPT_SHAPES, RunEstimates, RunObservation};
pub use forecast::QueueForecast;
pub use machine::{DispatchAction, DispatchEvent, DispatchState, handle};
pub use settings::DispatchSettings;
pub use task::DispatcherTask;
