//! The domain: jobs, workflows and results as pure values and functions.

pub mod backend_paths;
pub mod binding;
pub mod capped;
pub mod dsl;
pub mod failure;
pub mod fault;
pub mod fields;
pub mod forecast;
pub mod id;
pub mod input;
pub mod job;
pub mod json_scan;
pub mod media;
pub mod mode;
pub mod model_files;
pub mod needs;
pub mod object_info;
pub mod outputs;
pub mod params;
pub mod progress;
pub mod redact;
pub mod registered;
pub mod requeue;
pub mod rerun;
pub mod retry;
pub mod schema;
pub mod text;
pub mod time;
pub mod transition;
pub mod validation;
pub mod workflow;

#[cfg(test)]
mod param_agreement_tests;
