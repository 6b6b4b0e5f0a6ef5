//! The ComfyUI client against backends on real ports that behave, misbehave and die.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod endurance;
mod events;
mod faults;
mod files;
mod real;
mod support;
mod verbs;
