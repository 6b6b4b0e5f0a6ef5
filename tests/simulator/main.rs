//! The simulated ComfyUI, seen from outside: over HTTP and websockets, against what real servers were
//! recorded to say.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests, which fail by panicking")]

mod client;
mod control;
mod execution;
mod faults;
mod files;
mod queueing;
mod validation;
mod websocket;
