//! comfy-gateway: a durable REST gateway in front of ComfyUI.
//!
//! # The map
//! Dependencies go one way: `domain` ← {`store`, `comfy`, `media`, `inputs`, `convert`} ← `pool` ← `scheduler` ←
//! `service` ← `api` ← `app`. sqlx appears only in `store`, reqwest only in `comfy` and `inputs`, tungstenite only in
//! `comfy`, axum only in `api` and `simulator`; `tests/architecture.rs` holds this.
//!
//! * [`domain`]: jobs, workflows, markers, outputs and progress as pure values. No I/O.
//! * [`convert`]: the editor's files turned into graphs. Pure as well.
//! * [`store`]: where jobs live. [`media`]: where their files lie. [`comfy`]: one ComfyUI server's protocol.
//!   [`fetch`]: what callers' URLs point at, fetched safely.
//! * [`pool`]: the servers and their health. [`scheduler`]: brings each job to its one end.
//! * [`service`]: the use cases. [`api`]: the same over HTTP. `app`: puts all of it together.
//! * [`simulator`]: a ComfyUI without a GPU, for the demo, for tests, and for web developers.
//! * [`clock`], [`random`], [`lifecycle`], [`metrics`]: the time, randomness, tasks and measurements, handed in to
//!   all. [`lock`]: locking without a check for poison. [`disk`]: how much room there is. `config`, `cli`, `check`, `demo`, `health`, `telemetry`, `data_dir`, `signals`,
//!   `reload`: around it.

pub mod api;
pub mod app;
pub mod check;
pub mod cli;
pub mod clock;
pub mod comfy;
pub mod config;
pub mod convert;
pub mod data_dir;
pub mod demo;
pub mod disk;
pub mod domain;
pub mod fetch;
pub mod health;
pub mod lifecycle;
pub mod lock;
pub mod media;
pub mod metrics;
pub mod pool;
pub mod random;
pub mod reload;
pub mod scheduler;
pub mod service;
pub mod signals;
pub mod simulator;
pub mod store;
pub mod telemetry;
