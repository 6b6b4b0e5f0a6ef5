//! The built program as its users run it: its commands, its signals, and its end by SIGKILL.
#![allow(clippy::unwrap_used, reason = "a test may stop at once")]

#[path = "../support/mod.rs"]
mod support;

mod commands;
mod guide;
mod kill;
mod process;
mod reload;
mod secrets;
