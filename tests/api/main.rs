//! Tests of the HTTP contract, endpoint by endpoint: responses, their formats, and errors.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

#[path = "../support/mod.rs"]
mod support;

mod backend_paths;
mod backends;
mod bodies;
mod caching;
mod connections;
mod converting;
mod documentation;
mod files;
mod floods;
mod forms;
mod listing;
mod media;
mod operation;
mod options;
mod params;
mod paths;
mod registry;
mod scene;
mod urls;
mod validate;
mod waiting;
mod workflows;
