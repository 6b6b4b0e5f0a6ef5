//! Fetching of URLs against a local DNS and servers that redirect, lie, trickle and burst, on real ports.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod bodies;
mod dns;
mod hostile;
mod patience;
mod proxy;
mod rebinding;
mod redirects;
mod scene;
