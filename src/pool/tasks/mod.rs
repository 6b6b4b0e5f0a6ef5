//! The background tasks of a backend: probes, websocket, and reading its capabilities.

pub(in crate::pool) mod events;
pub(in crate::pool) mod probe;
pub(in crate::pool) mod refresh;
