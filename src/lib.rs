//! comfy-gateway: a durable REST gateway in front of ComfyUI.

pub mod clock;
pub mod comfy;
pub mod domain;
pub mod lifecycle;
pub mod media;
pub mod metrics;
pub mod pool;
pub mod random;
pub mod scheduler;
pub mod store;
