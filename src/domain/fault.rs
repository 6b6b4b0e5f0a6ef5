//! Faults of a request's workflow or parameters, and their places.

use super::capped::CappedList;
use super::text::{brief, cut};

/// One fault of a workflow or of parameters, with the place it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkflowFault {
    /// JSON pointer (RFC 6901) below the workflow or `params`, as in `/3/inputs/seed`; empty for the whole.
    /// Names longer than [`super::text::SHOWN`] characters are cut in it.
    pub pointer: String,
    /// One sentence a web developer can act on.
    pub message: String,
    /// The node at fault, where one is.
    pub node_id: Option<String>,
}

/// The longest message, in characters: a caller's names and lists of names may be in it.
const LONGEST: usize = 1_000;

fn told(message: String) -> String {
    if message.len() <= LONGEST { message } else { cut(&message, LONGEST).into_owned() }
}

/// The first faults of a request, and how many more there are.
pub type WorkflowFaults = CappedList<WorkflowFault>;

impl WorkflowFault {
    /// A fault of the whole.
    #[must_use]
    pub fn whole(message: impl Into<String>) -> WorkflowFaults {
        Self { pointer: String::new(), message: told(message.into()), node_id: None }.into()
    }

    /// A fault of a caller's parameter; the pointer is below `params`.
    #[must_use]
    pub fn of_param(name: &str, message: impl Into<String>) -> Self {
        Self { node_id: None, ..Self::at_node(name, &[], message) }
    }

    /// A fault of a node, or of the place `below` it.
    #[must_use]
    pub fn at_node(node_id: &str, below: &[&str], message: impl Into<String>) -> Self {
        let steps = std::iter::once(node_id).chain(below.iter().copied());
        let pointer = steps.fold(String::new(), |pointer, step| pointer + "/" + &escaped(step));
        Self { pointer, message: told(message.into()), node_id: Some(brief(node_id).into_owned()) }
    }
}

/// A step of a JSON pointer.
#[must_use]
pub fn escaped(step: &str) -> String {
    brief(step).replace('~', "~0").replace('/', "~1")
}
