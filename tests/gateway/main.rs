//! The whole gateway against the simulator: from a request to its result, through every fault.

#[path = "../support/mod.rs"]
mod support;

mod fencing;
mod jobs;
