//! The simulated ComfyUI, seen from outside: over HTTP and websockets, against what real servers were recorded to say.

mod client;
mod execution;
mod faults;
mod files;
mod queueing;
mod validation;
mod websocket;
