//! One attempt, from its claim to its end.

mod collect;
mod driver;
mod dropped;
pub mod machine;
mod outcome;
mod oversize;
mod preflight;
mod record;
mod submit;
mod task;
mod upload;

pub(super) use task::{AttemptOrigin, AttemptTask};
