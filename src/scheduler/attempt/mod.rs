//! One attempt at a job, from its claim to its end.
//!
//! [`machine`] decides and does no I/O; `driver` carries out what it asks for; `task` holds the attempt's state and
//! lifetime. `preflight` and `upload` come before the submit, `collect`, `oversize` and `dropped` after the run.
//!
//! How an attempt ends, and who turns what into what:
//!
//! | Value | Made by | From | Read by |
//! |---|---|---|---|
//! | [`machine::AttemptEnd`] | the machine | sightings, signals and answers to submits | `driver` |
//! | `AttemptOutcome` | `driver`, `preflight`, `upload`, `submit` | the end, or an answer that settles the job at once | `record` |
//! | [`RequeueCause`](crate::domain::requeue::RequeueCause) | the machine, `driver`, `record`, the dispatcher's task | one fact about the backend or the run | retry budget, crash count, attempt history |
//! | [`JobEnding`](crate::domain::job::JobEnding), `JobFinish` | `record` | the history entry and the collected files | the store |
//! | [`Requeue`](crate::store::Requeue) | `write`, the dispatcher's task | the cause, with a sentence and the next claim's moment | the store |
//! | [`RunOutcome`](crate::pool::RunOutcome) | `task` | the outcome | the backend's circuit breaker |
//! | [`RunObservation`](super::dispatch::RunObservation) | `record` | the execution time, or running out of memory | the dispatcher's estimates |
//! | [`JobEnd`](crate::core::JobEnd) | `write`, and whoever ends a queued job | a committed end | log, metrics, waiting callers |

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
mod trace;
mod upload;
mod write;

pub(super) use task::{AttemptOrigin, AttemptTask};
