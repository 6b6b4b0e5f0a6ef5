//! How the node classes are described: `/object_info`, and the inputs named in validation errors.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::classes::{self, CLASSES, ClassInput, ClassInputKind, SimulatedClass};
use super::config::InstalledContent;
use super::files::ServerFolders;

/// What the lists of choices are made from.
#[derive(Debug)]
pub(super) struct ListChoices<'a> {
    pub(super) installed: Arc<InstalledContent>,
    pub(super) files: &'a ServerFolders,
}

impl ListChoices<'_> {
    /// The class of this name, if this server has it.
    pub(super) fn find(&self, name: &str) -> Option<&'static SimulatedClass> {
        classes::find(name).filter(|_| !self.installed.without_classes.iter().any(|missing| missing == name))
    }
}

/// The body of `GET /object_info`.
pub(super) fn object_info(choices: &ListChoices<'_>) -> Value {
    let installed = CLASSES.iter().filter(|class| choices.find(class.name).is_some());
    installed.map(|class| (class.name.to_owned(), class.info(choices))).collect::<Map<_, _>>().into()
}

impl ClassInput {
    /// `[type, options]`, as in `/object_info` and in validation errors.
    pub(super) fn config(&self, choices: &ListChoices<'_>) -> Value {
        match self.kind {
            ClassInputKind::Link(name) => json!([name, {}]),
            ClassInputKind::Int { default, min, max } => {
                json!(["INT", { "default": whole(default), "min": whole(min), "max": whole(max) }])
            }
            ClassInputKind::Float { default, min, max } => {
                json!(["FLOAT", { "default": default, "min": min, "max": max }])
            }
            ClassInputKind::Text { default, multiline } => {
                json!(["STRING", { "default": default, "multiline": multiline }])
            }
            ClassInputKind::Switch(default) => json!(["BOOLEAN", { "default": default }]),
            ClassInputKind::Choice(list) => json!([list, {}]),
            ClassInputKind::Checkpoint => json!([choices.installed.checkpoints, {}]),
            ClassInputKind::Picture => json!([choices.files.inputs(), { "image_upload": true }]),
        }
    }
}

/// A number of any size as JSON. All limits of the table fit one of the two types.
fn whole(number: i128) -> Value {
    u64::try_from(number)
        .map_or_else(|_| json!(i64::try_from(number).unwrap_or(i64::MIN)), |number| json!(number))
}

impl SimulatedClass {
    /// The entry of `/object_info`.
    pub(super) fn info(&self, choices: &ListChoices<'_>) -> Value {
        let group = |required: bool| -> Map<String, Value> {
            let members = self.inputs.iter().filter(|input| input.required == required);
            members.map(|input| (input.name.to_owned(), input.config(choices))).collect()
        };
        let names = |required: bool| -> Vec<&str> {
            self.inputs.iter().filter(|input| input.required == required).map(|input| input.name).collect()
        };
        let mut input = json!({ "required": group(true) });
        let mut order = json!({ "required": names(true) });
        if !names(false).is_empty() {
            input["optional"] = group(false).into();
            order["optional"] = json!(names(false));
        }
        json!({
            "input": input,
            "input_order": order,
            "is_input_list": false,
            "output": self.outputs,
            "output_is_list": vec![false; self.outputs.len()],
            "output_name": self.outputs,
            "name": self.name,
            "display_name": self.title,
            "description": "",
            "python_module": if self.category == "lab" { "custom_nodes.lab_nodes" } else { "nodes" },
            "category": self.category,
            "output_node": self.output_node,
            "has_intermediate_output": false,
            "search_aliases": [],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::classes::find;
    use super::*;

    #[test]
    fn object_info_names_every_class_with_its_inputs() {
        let (installed, files) = (Arc::default(), ServerFolders::open(None).unwrap());
        let info = object_info(&ListChoices { installed, files: &files });
        assert_eq!(
            info["KSampler"]["input"]["required"]["seed"][1]["max"].to_string(),
            "18446744073709551615"
        );
        assert_eq!(info["LabFail"]["input"]["optional"]["any"], json!(["*", {}]));
        assert_eq!(info["LoadImage"]["output"], json!(["IMAGE", "MASK"]));
        assert_eq!(info["SaveImage"]["output_node"], true);
        assert!(find("NopeNode").is_none());
    }
}
