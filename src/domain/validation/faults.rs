//! The faults that validation finds in a workflow.

use crate::domain::model_files::is_model_file;

/// Facts about a check besides the workflow and the node classes.
#[derive(Debug, Clone, Copy, Default)]
pub struct SuppliedInputs<'a> {
    /// Inputs, by node id and name, whose values are set later: files to be uploaded. They are not checked.
    pub supplied: &'a [(&'a str, &'a str)],
    /// Classes that the backend itself replaces when they are missing (its `GET /node_replacements`).
    pub replaced: &'a [&'a str],
    /// Whether the backend expands dynamic inputs and checks values against choices that are written as `options`:
    /// 0.24.0 does, 0.3.64 does not.
    pub expands: bool,
}

/// Every fault that one backend would find in a workflow.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GraphFaults {
    /// Whether the backend would run no part of it. A backend runs the outputs without a fault upstream and
    /// leaves out the others.
    pub refused: bool,
    /// The workflow has no output node, so there is nothing to run.
    pub no_outputs: bool,
    /// The output nodes, by id, that the backend would certainly not run.
    pub refused_outputs: Vec<String>,
    /// The nodes at fault, in the workflow's order, with at most
    /// [`MOST_TOLD`](crate::domain::capped::MOST_TOLD) faults in all.
    pub nodes: Vec<NodeFaults>,
    /// The number of further faults.
    pub more: usize,
}

/// The faults of one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeFaults {
    /// Its key in the workflow, cut if it is long.
    pub node_id: String,
    /// Its class, cut if it is long.
    pub class_type: String,
    /// The faults in the order of the class's inputs; never empty.
    pub faults: Vec<NodeFault>,
}

/// One fault of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeFault {
    /// The kind of the fault.
    pub kind: FaultKind,
    /// One sentence that a web developer can act on.
    pub message: String,
    /// The input concerned, if one is.
    pub input: Option<String>,
    /// The value found there: a text as it is, anything else as JSON, with at most 200 characters.
    pub received: Option<String>,
    /// Names that may have been meant, at most three, best first.
    pub nearest: Vec<String>,
    /// Whether the backend certainly refuses it. A class may have a check of its own in place of the general one,
    /// which `/object_info` does not tell of classes in packages of custom nodes.
    pub certain: bool,
}

/// The kinds of faults, named as ComfyUI names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FaultKind {
    /// The backend has no such class.
    MissingNodeType,
    /// A required input is missing.
    RequiredInputMissing,
    /// A link leads to no output.
    BadLinkedInput,
    /// A link leads to an output of another type.
    ReturnTypeMismatch,
    /// A value cannot be converted to the input's type.
    InvalidInputType,
    /// A number is below the minimum.
    ValueSmallerThanMin,
    /// A number is above the maximum.
    ValueBiggerThanMax,
    /// A value is not one of the choices.
    ValueNotInList,
    /// Links lead back to the node.
    DependencyCycle,
}

impl FaultKind {
    /// ComfyUI's name for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::MissingNodeType => "missing_node_type",
            Self::RequiredInputMissing => "required_input_missing",
            Self::BadLinkedInput => "bad_linked_input",
            Self::ReturnTypeMismatch => "return_type_mismatch",
            Self::InvalidInputType => "invalid_input_type",
            Self::ValueSmallerThanMin => "value_smaller_than_min",
            Self::ValueBiggerThanMax => "value_bigger_than_max",
            Self::ValueNotInList => "value_not_in_list",
            Self::DependencyCycle => "dependency_cycle",
        }
    }
}

/// Something that a workflow names and the backend lacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MissingItem<'a> {
    /// Its kind.
    pub kind: MissingKind,
    /// Its name.
    pub name: &'a str,
    /// The node that names it.
    pub node_id: &'a str,
    /// The input that names it; `None` for a class.
    pub input: Option<&'a str>,
    /// The nearest names that the backend has, best first.
    pub nearest: &'a [String],
}

/// The kind of a missing item.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MissingKind {
    /// A file with a model's weights.
    Model,
    /// A node class.
    NodeClass,
    /// Any other choice, such as a sampler.
    Value,
}

impl MissingKind {
    /// Its name in responses.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Model => "model",
            Self::NodeClass => "node_class",
            Self::Value => "value",
        }
    }
}

impl GraphFaults {
    /// The number of all faults.
    #[must_use]
    pub fn count(&self) -> usize {
        self.nodes.iter().map(|node| node.faults.len()).sum::<usize>() + self.more
    }

    /// Whether there are no faults.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.nodes.is_empty() && !self.no_outputs
    }

    /// Whether the backend would not run the job: all of its outputs or, if `partial`, at least one of them.
    #[must_use]
    pub const fn refuses(&self, partial: bool) -> bool {
        self.refused || (!partial && !self.refused_outputs.is_empty())
    }

    /// The items that the workflow names and the backend lacks.
    pub fn missing(&self) -> impl Iterator<Item = MissingItem<'_>> {
        self.nodes.iter().flat_map(|node| node.faults.iter().filter_map(|fault| fault.missing(node)))
    }
}

impl NodeFault {
    fn missing<'a>(&'a self, node: &'a NodeFaults) -> Option<MissingItem<'a>> {
        let (kind, name) = match self.kind {
            FaultKind::MissingNodeType => (MissingKind::NodeClass, node.class_type.as_str()),
            FaultKind::ValueNotInList => {
                let name = self.received.as_deref()?;
                (if is_model_file(name) { MissingKind::Model } else { MissingKind::Value }, name)
            }
            _ => return None,
        };
        Some(MissingItem {
            kind,
            name,
            node_id: &node.node_id,
            input: self.input.as_deref(),
            nearest: &self.nearest,
        })
    }
}
