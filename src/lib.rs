//! comfy-gateway: a durable REST gateway in front of ComfyUI.

pub mod api;
pub mod clock;
pub mod comfy;
pub mod domain;
pub mod lifecycle;
pub mod media;
pub mod metrics;
pub mod pool;
pub mod random;
pub mod scheduler;
pub mod service;
pub mod store;
