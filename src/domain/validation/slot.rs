//! One input of a node while it is checked.

use super::faults::FaultKind;
use crate::domain::object_info::InputSpec;

/// An input by its name in the graph, and its declaration by the class.
#[derive(Clone, Copy)]
pub(super) struct NodeSlot<'a> {
    pub name: &'a str,
    pub spec: &'a InputSpec,
}

/// A fault of an input that is not named yet.
pub(super) struct InputFault<'a> {
    pub kind: FaultKind,
    pub message: String,
    pub received: Option<&'a str>,
    pub nearest: Vec<String>,
}
