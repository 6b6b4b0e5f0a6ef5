//! Dispatching: a pure machine decides which job goes to which backend ([`machine`]), and one task runs it ([`task`]).

mod forecast;
mod group;
mod line;
mod machine;
mod place;
mod recall;
mod server;
mod settings;
mod task;
mod times;

pub use forecast::QueueForecast;
pub use machine::{DispatchAction, DispatchEvent, DispatchState, handle};
pub use server::BackendSnapshot;
pub use settings::DispatchSettings;
pub use task::DispatcherTask;
pub use times::{KEPT_SHAPES, RunEstimates, RunObservation};
