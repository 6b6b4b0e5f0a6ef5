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

pub use forecast::{Expectation, Forecast};
pub use group::Blocked;
pub use machine::{Action, Event, State, handle};
pub use server::ServerView;
pub use settings::Settings;
pub use task::Scheduler;
pub use times::{KEPT_SHAPES, Run, Times};
