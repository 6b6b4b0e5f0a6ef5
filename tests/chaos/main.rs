//! Chaos and endurance: the built gateway as a process in front of simulated backends, which are processes
//! too. A seeded schedule kills, freezes, disconnects and confuses both.
//!
//! | | |
//! |---|---|
//! | `cargo test --test chaos` | the short form, about two minutes, and the tests of the counting itself |
//! | `CHAOS_SEED=7 cargo test --test chaos` | the same schedule again |
//! | `CHAOS_MINUTES=60 cargo test --release --test chaos long_form -- --ignored --nocapture` | as long as wanted; times are asserted too |
//! | `ENDURANCE_JOBS=100000 cargo test --release --test chaos endurance -- --ignored --nocapture` | many short jobs: memory, latency, size of the database |
//!
//! `CHAOS_REPORT=report.json` writes the figures to a file. Measure on a machine that does nothing else.
#![allow(clippy::unwrap_used, reason = "a test may stop at once")]

mod audit;
mod book;
mod chaos;
mod doubles;
mod endurance;
mod figures;
mod gateway;
mod jobs;
mod load;
mod report;
mod schedule;
mod server;
mod trouble;
