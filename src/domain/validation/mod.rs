//! Checks a workflow against one backend's node classes, and so predicts everything that the backend would refuse.
//!
//! Source: how ComfyUI 0.3.64 and 0.24.0 validate a prompt. A workflow that ComfyUI accepts is never
//! [`GraphFaults::refused`]: where `/object_info` does not say enough, a fault is reported but not certain (see
//! [`NodeFault::certain`]).

mod context;
mod faults;
mod graph;
mod link;
mod nearest;
mod node;
mod own;
mod python;
mod slot;
#[cfg(test)]
mod tests;
mod value;

pub use faults::{FaultKind, GraphFaults, MissingItem, MissingKind, NodeFault, NodeFaults, SuppliedInputs};
pub use graph::check;
