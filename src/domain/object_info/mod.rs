//! What node classes a ComfyUI backend has, and their inputs and outputs: its `GET /object_info` as types.
//!
//! Source: the bodies ComfyUI 0.3.64 and 0.24.0 answer, both the old form of an input (`[["a", "b"], {…}]`) and the
//! new one (`["COMBO", {"options": […]}]`, `COMFY_DYNAMICCOMBO_V3`, `COMFY_AUTOGROW_V3`, `COMFY_MATCHTYPE_V3`).
//! Custom nodes write what they like there, so whatever is missing or of another type counts as not said.

mod input;
mod read;

use std::collections::HashMap;
use std::sync::Arc;

pub use input::{AutogrowShape, DynamicOption, InputKind, InputOptions, InputSpec, NumberRange, UploadKind};

/// One output of a class.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputSpec {
    /// The type, as in `IMAGE`; `COMBO` where the class gives a list of choices for it, `*` where it says none.
    pub type_name: String,
    /// The name shown in the editor; the type where there is none.
    pub name: String,
    /// Whether it gives a list that later nodes run over one by one.
    pub is_list: bool,
    /// For an output of type `COMFY_MATCHTYPE_V3`: the `template_id` of the inputs whose type it takes.
    pub match_template: Option<String>,
}

/// One node class.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeClass {
    /// The class's name, as in a node's `class_type`.
    pub name: String,
    /// The name shown in the editor; `name` where there is none.
    pub display_name: String,
    /// The author's description; may be empty.
    pub description: String,
    /// Its place in the editor's menu, as in `api node/image/BFL`.
    pub category: String,
    /// All inputs except hidden ones, in the order of their definition: the required, then the optional.
    pub inputs: Vec<InputSpec>,
    /// Names of the hidden inputs, which the backend fills in itself.
    pub hidden: Vec<String>,
    /// The outputs; a link's slot counts them from 0.
    pub outputs: Vec<OutputSpec>,
    /// Whether it is an output node; a graph needs at least one.
    pub output_node: bool,
    /// Whether its inputs come as whole lists.
    pub is_input_list: bool,
    /// Whether running it calls a paid service.
    pub api_node: bool,
    /// The Python module it comes from, as in `comfy_extras.nodes_mask`; empty where none is said.
    pub module: String,
}

impl NodeClass {
    /// Whether it came with a package of custom nodes, as its module tells.
    #[must_use]
    pub fn is_custom(&self) -> bool {
        !matches!(self.module.split('.').next(), Some("nodes" | "comfy_extras" | "comfy_api_nodes"))
    }

    /// The input with this name in the class's definition. Parts of dynamic inputs (`model.images.image0`)
    /// are not found.
    #[must_use]
    pub fn input(&self, name: &str) -> Option<&InputSpec> {
        self.inputs.iter().find(|input| input.name == name)
    }
}

/// The body could not be parsed.
#[derive(Debug, thiserror::Error)]
#[error("the backend's /object_info is not an object of node classes: {0}")]
pub struct ObjectInfoError(#[from] serde_json::Error);

/// The node classes of one backend.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ObjectInfo {
    classes: HashMap<String, NodeClass>,
}

impl ObjectInfo {
    /// Parses the body of `GET /object_info` or of `GET /object_info/{class}`, without bare `NaN`. An entry
    /// that is not a class is left out.
    ///
    /// # Errors
    /// The text is not a JSON object.
    pub fn parse(text: &str) -> Result<Self, ObjectInfoError> {
        Ok(Self { classes: read::classes(text)? })
    }

    /// The class of that name.
    #[must_use]
    pub fn class(&self, name: &str) -> Option<&NodeClass> {
        self.classes.get(name)
    }

    /// All classes, in arbitrary order.
    pub fn classes(&self) -> impl Iterator<Item = &NodeClass> {
        self.classes.values()
    }

    /// The number of classes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.classes.len()
    }

    /// Whether there are no classes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.classes.is_empty()
    }
}

/// Lookup of node classes in one or several backends.
pub trait NodeClasses {
    /// The class of this name, from the first backend that has it.
    fn class(&self, name: &str) -> Option<&NodeClass>;

    /// The names of all classes, perhaps repeated.
    fn names(&self) -> Box<dyn Iterator<Item = &str> + '_>;
}

impl NodeClasses for ObjectInfo {
    fn class(&self, name: &str) -> Option<&NodeClass> {
        self.classes.get(name)
    }

    fn names(&self) -> Box<dyn Iterator<Item = &str> + '_> {
        Box::new(self.classes.keys().map(String::as_str))
    }
}

impl NodeClasses for Vec<Arc<ObjectInfo>> {
    fn class(&self, name: &str) -> Option<&NodeClass> {
        self.iter().find_map(|server| server.class(name))
    }

    fn names(&self) -> Box<dyn Iterator<Item = &str> + '_> {
        Box::new(self.iter().flat_map(|server| server.names()))
    }
}

#[cfg(test)]
mod tests;
