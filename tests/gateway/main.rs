//! The whole gateway against the simulator: from a request to its result, through every fault.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

#[path = "../support/mod.rs"]
mod support;

mod attempts;
mod cancel;
mod capabilities;
mod failures;
mod fencing;
mod fetching;
mod folder;
mod full_disk;
mod history_faults;
mod inputs;
mod jobs;
mod outputs;
mod params;
mod partial;
mod placing;
mod pool;
mod recovery;
mod refusals;
mod registered;
mod retention;
mod routing;
mod several_servers;
mod shared_inputs;
mod shutdown;
mod storage;
mod submit_faults;
mod timeouts;
mod websocket;
