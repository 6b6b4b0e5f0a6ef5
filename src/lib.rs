//! comfy-gateway: a durable REST gateway in front of ComfyUI.
//!
//! # The map
//! Dependencies go one way: `domain` ← {`store`, `comfy`, `media`, `fetch`, `convert`} ← `pool` ← `core` ← {`scheduler`,
//! `service`} ← `api` ← `app`. sqlx appears only in `store`, reqwest only in `comfy` and `fetch`, tungstenite only in
//! `comfy`, axum only in `api` and `simulator`; `tests/architecture.rs` holds this.
//!
//! * [`domain`]: jobs, workflows, markers, outputs and progress as pure values, without I/O.
//! * [`convert`]: turns the editor's files into graphs, as pure functions.
//! * [`store`]: jobs on disk. [`media`]: their files. [`comfy`]: the protocol of one ComfyUI. [`fetch`]:
//!   files that callers name by URL.
//! * [`pool`]: the backends and their health. [`core`] and [`hub`]: the parts and wakeups that the next two
//!   share. [`scheduler`]: runs each job to its end.
//! * [`service`]: the use cases. [`api`]: the use cases over HTTP. [`app`]: assembles everything.
//! * [`simulator`]: a ComfyUI without a GPU, for the demo, for tests, and for web developers.
//! * [`clock`], [`random`], [`lifecycle`], [`metrics`]: passed to every module. [`lock`]: locking without a check for poison. [`disk`]: free space. The
//!   rest is the command line: [`config`], [`cli`], [`check`], [`demo`], [`health`], [`telemetry`],
//!   [`data_dir`], [`signals`], [`reload`].

pub mod api;
pub mod app;
pub mod check;
pub mod cli;
pub mod clock;
pub mod comfy;
pub mod config;
pub mod convert;
pub mod core;
pub mod data_dir;
pub mod demo;
pub mod disk;
pub mod domain;
pub mod fetch;
pub mod health;
pub mod hub;
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
