//! comfy-gateway: a durable REST gateway in front of ComfyUI.

pub mod check;
pub mod cli;
pub mod clock;
pub mod comfy;
pub mod config;
pub mod data_dir;
pub mod domain;
pub mod lifecycle;
pub mod media;
pub mod metrics;
pub mod pool;
pub mod random;
pub mod scheduler;
pub mod store;
pub mod telemetry;
