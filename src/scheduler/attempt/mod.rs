//! One attempt, from its claim to its end.

mod collect;
mod driver;
mod dropped;
mod failures;
pub mod machine;
mod outcome;
mod oversize;
mod preflight;
mod record;
mod submit;
mod task;
mod upload;
mod write;

pub(super) use task::{AttemptOrigin, AttemptTask};
