//! comfy-gateway: a durable REST gateway in front of ComfyUI.

pub mod clock;
pub mod domain;
pub mod lifecycle;
pub mod simulator;
