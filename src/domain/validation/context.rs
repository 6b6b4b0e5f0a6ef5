//! What every node of a workflow is checked against.

use std::collections::{HashMap, HashSet};

use crate::domain::object_info::{NodeClass, ObjectInfo};
use crate::domain::workflow::{GraphNode, Workflow};

/// The workflow, the node classes of a backend, and the inputs that are set later.
pub(super) struct GraphContext<'a> {
    pub workflow: &'a Workflow<'a>,
    pub info: &'a ObjectInfo,
    pub expands: bool,
    /// The positions of nodes by their ids.
    pub places: HashMap<&'a str, usize>,
    pub supplied: HashSet<(&'a str, &'a str)>,
}

impl<'a> GraphContext<'a> {
    pub fn node(&self, place: usize) -> &'a GraphNode {
        &self.workflow.nodes()[place]
    }

    pub fn class(&self, place: usize) -> Option<&'a NodeClass> {
        self.info.class(&self.node(place).class_type)
    }
}
