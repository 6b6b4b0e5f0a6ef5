//! The health of a backend: the facts that are known of it and the verdict that follows. No I/O.

pub(in crate::pool) mod breaker;
pub(in crate::pool) mod facts;
pub(in crate::pool) mod state;
pub(in crate::pool) mod totals;
pub(in crate::pool) mod worker;
