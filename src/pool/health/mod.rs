//! The health of a backend: facts, and the verdict that follows from them. Everything but `monitor` is pure.

mod breaker;
pub(super) mod facts;
pub(super) mod monitor;
mod numbers;
pub(super) mod state;
pub(super) mod totals;
mod worker;
