//! The whole gateway against the simulator: from a request to its result, through every fault.
#![allow(clippy::unwrap_used, reason = "a test may stop at once")]

#[path = "../support/mod.rs"]
mod support;

mod fencing;
mod jobs;
