//! The background tasks of each backend: probes, the websocket, and reading the node classes.

mod back_off;
pub(super) mod events;
pub(super) mod probe;
pub(super) mod refresh;
