//! File names that would make a ComfyUI read outside of its input folder.
//!
//! Source: `folder_paths.get_annotated_filepath` of ComfyUI 0.3.64 and 0.24.0. It joins the name to the input
//! folder without a check, so that `/etc/x.png` and `../x.png` leave it; a name that ends in `[output]` or
//! `[temp]` is looked for in that folder, where the files of other callers are.

use std::collections::HashSet;

use super::capped::CappedList;
use super::fields::{self, JsonFields};
use super::object_info::{NodeClass, NodeClasses};
use super::params::MEDIA_CLASSES;
use super::text::brief;
use super::workflow::{GraphNode, Workflow};

/// Classes that read a file of the input folder, besides [`MEDIA_CLASSES`] and those whose inputs say so.
const FILE_CLASSES: [&str; 3] = ["LoadImageOutput", "LoadLatent", "Load3D"];

/// A value that leads out of the input folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackendPath {
    /// The node that would read it.
    pub node_id: String,
    /// The input with the name.
    pub input: String,
    /// What is wrong and what to send instead; follows the name of the parameter or input.
    pub message: String,
}

/// Such values among a workflow's literals. `files` are the inputs, by node id and name, that parameters
/// marked as files set.
#[must_use]
pub(crate) fn backend_paths(
    workflow: &Workflow<'_>,
    classes: &dyn NodeClasses,
    files: &HashSet<(&str, &str)>,
) -> CappedList<BackendPath> {
    let mut found = CappedList::default();
    for node in workflow.nodes() {
        let class = classes.class(&node.class_type);
        for input in node.inputs.iter().filter(|input| input.link.is_none()) {
            let names_file = reads_file(node, class, &input.name)
                || files.contains(&(node.id.as_str(), input.name.as_str()));
            let message = if names_file { fault_of(workflow.value(input)) } else { None };
            if let Some(message) = message {
                found.push(BackendPath { node_id: node.id.clone(), input: input.name.clone(), message });
            }
        }
    }
    found
}

fn reads_file(node: &GraphNode, class: Option<&NodeClass>, input: &str) -> bool {
    let known = |classes: &[&str]| classes.contains(&node.class_type.as_str());
    known(&MEDIA_CLASSES)
        || known(&FILE_CLASSES)
        || class.and_then(|class| class.input(input)).is_some_and(|spec| spec.options.upload.is_some())
}

/// The first fault of a literal that is a name or a list of names.
fn fault_of(raw: &str) -> Option<String> {
    let wrapped = raw.starts_with('{').then(|| JsonFields::parse(raw)).flatten();
    let raw = wrapped.as_ref().and_then(|fields| fields.raw("__value__")).unwrap_or(raw);
    match fields::text(raw) {
        Some(name) => fault_of_name(&name),
        None => fields::list(raw).into_iter().find_map(|item| fault_of_name(&fields::text(item)?)),
    }
}

fn fault_of_name(name: &str) -> Option<String> {
    let shown = brief(name);
    let trimmed = name.trim();
    if ["[output]", "[temp]"].iter().any(|folder| trimmed.ends_with(folder)) {
        return Some(format!(
            "must not name a file of ComfyUI's output or temp folder ({shown:?}): send {{\"result\": \"<prompt_id>\", \"var\": \"…\"}} for what an earlier job made"
        ));
    }
    let is_drive = |name: &str| name.as_bytes().get(1) == Some(&b':');
    let leaves = trimmed.starts_with(['/', '\\', '~'])
        || is_drive(trimmed)
        || trimmed.contains('\0')
        || trimmed.split(['/', '\\']).any(|step| step.trim() == "..");
    leaves.then(|| {
        format!(
            "must not be a path on the ComfyUI backend ({shown:?}): send the file itself as a URL, base64, a part of a form or {{\"file\": \"<id>\"}}, or the plain name of a file in its input folder"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::object_info::ObjectInfo;
    use serde_json::json;

    fn found(graph: &serde_json::Value, info: &str) -> Vec<String> {
        let text = graph.to_string();
        let workflow = Workflow::parse(&text).unwrap();
        let info = ObjectInfo::parse(info).unwrap();
        let found = backend_paths(&workflow, &info, &HashSet::from([("2", "marked")]));
        found.into_iter().map(|path| format!("{}.{}", path.node_id, path.input)).collect()
    }

    fn load(name: &str) -> serde_json::Value {
        json!({"1": {"class_type": "LoadImage", "inputs": {"image": name}}})
    }

    #[test]
    fn names_that_leave_the_input_folder_are_found() {
        for name in [
            "/etc/x.png",
            "../../x.png",
            "a/../../x.png",
            "..\\x.png",
            "C:\\x.png",
            "c:x.png",
            "\\\\host\\x.png",
            "..",
            "a/..",
            "x.png [output]",
            "x.png[output]",
            "x.png [temp] ",
            " /etc/x.png",
            "~/x.png",
            "x\0.png",
            ".. /x.png",
        ] {
            assert_eq!(found(&load(name), "{}"), ["1.image"], "{name:?}");
        }
    }

    #[test]
    fn plain_names_and_folders_below_are_not() {
        for name in [
            "x.png",
            "sub/x.png",
            "clipspace/a.png [input]",
            "a..png",
            "...png",
            "x [output].png",
            "",
            "ü 1.png",
        ] {
            assert!(found(&load(name), "{}").is_empty(), "{name:?}");
        }
    }

    #[test]
    fn inputs_are_files_by_their_class_its_flags_or_a_marker() {
        let info = r#"{"Custom":{"input":{"required":{"clip":[["a.mp4"],{"video_upload":true}],"name":["STRING",{}]}},"output":[],"name":"Custom"}}"#;
        let graph = json!({
            "1": {"class_type": "Custom", "inputs": {"clip": "/a", "name": "/a"}},
            "2": {"class_type": "Unknown", "inputs": {"marked": "/a", "text": "/a"}},
            "3": {"class_type": "LoadLatent", "inputs": {"latent": "/a"}},
            "4": {"class_type": "LoadImage", "inputs": {"image": ["1", 0]}},
            "5": {"class_type": "LoadAudio", "inputs": {"audio": {"__value__": ["a.wav", "../b.wav"]}}},
        });
        assert_eq!(found(&graph, info), ["1.clip", "2.marked", "3.latent", "5.audio"]);
    }
}
