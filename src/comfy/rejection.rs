//! ComfyUI's word on why it did not take a workflow, or only a part of it. It must not know how it was asked.

use serde_json::value::RawValue;

use super::loose::{self, LooseObject};

/// A workflow that ComfyUI looked at and refused (400). Nothing was queued, and the same workflow will be
/// refused again by this server.
#[derive(Debug, Clone)]
pub struct PromptRejection {
    /// ComfyUI's word for it, such as `prompt_outputs_failed_validation` or `missing_node_type`.
    pub kind: String,
    /// One sentence.
    pub message: String,
    /// What it is about; often empty.
    pub details: String,
    /// The node it is about, if it is about one as a whole.
    pub node_id: Option<String>,
    /// That node's class.
    pub class_type: Option<String>,
    /// What is wrong with the single nodes; empty when the workflow was refused as a whole.
    pub node_errors: NodeErrors,
    /// The answer as it came, a JSON object.
    pub raw: Box<RawValue>,
}

impl PromptRejection {
    /// Reads the answer to `POST /prompt`; `None` when it is not ComfyUI that speaks.
    pub(super) fn read(body: &str) -> Option<Self> {
        let answer = LooseObject::parse(body).ok()?;
        let node_errors = NodeErrors::read(&answer);
        // Some forks answer with a bare string.
        let sentence = answer.text("error");
        let error = answer
            .object("error")
            .or_else(|| sentence.is_some().then(|| LooseObject::parse("{}").ok())?)?;
        let extra = error.object("extra_info");
        let about = |key| extra.as_ref().and_then(|extra| extra.text(key));
        Some(Self {
            kind: error.text("type").unwrap_or_else(|| "invalid_prompt".to_owned()),
            message: error.text("message").or(sentence).unwrap_or_default(),
            details: error.text("details").unwrap_or_default(),
            node_id: about("node_id").or_else(|| node_in(&error.text("details")?)),
            class_type: about("class_type"),
            node_errors,
            raw: loose::owned(body)?,
        })
    }
}

/// The node that 0.3.64 names only in words: `Node ID '#7'`.
fn node_in(details: &str) -> Option<String> {
    let (_, rest) = details.split_once("Node ID '#")?;
    rest.split_once('\'').map(|(id, _)| id.to_owned())
}

impl std::fmt::Display for PromptRejection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.message, self.kind)?;
        for node in &self.node_errors.nodes {
            for error in &node.errors {
                write!(f, "; node {}: {}: {}", node.node_id, error.message, error.details)?;
            }
        }
        Ok(())
    }
}

/// What is wrong with single nodes, in ComfyUI's order.
#[derive(Debug, Clone, Default)]
pub struct NodeErrors {
    /// One entry a node.
    pub nodes: Vec<NodeError>,
    /// The object as it came, keyed by node id; `None` when there are no errors.
    pub raw: Option<Box<RawValue>>,
}

impl NodeErrors {
    /// Nothing is wrong.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// Reads `node_errors` of an answer; without errors it is `{}`, `[]` or absent.
    pub(super) fn read(answer: &LooseObject<'_>) -> Self {
        let Some(entries) = answer.object("node_errors").filter(|entries| !entries.is_empty()) else {
            return Self::default();
        };
        Self {
            nodes: entries.entries().into_iter().map(|(id, error)| NodeError::read(&id, error)).collect(),
            raw: answer.raw("node_errors").map(ToOwned::to_owned),
        }
    }
}

/// What is wrong with one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeError {
    /// The node's id in the workflow.
    pub node_id: String,
    /// The node's class.
    pub class_type: Option<String>,
    /// The output nodes that cannot be computed because of it.
    pub dependent_outputs: Vec<String>,
    /// What is wrong, one entry an input.
    pub errors: Vec<InputError>,
}

impl NodeError {
    fn read(node_id: &str, error: &RawValue) -> Self {
        let node_id = node_id.to_owned();
        let Ok(error) = LooseObject::parse(error.get()) else {
            return Self { node_id, class_type: None, dependent_outputs: Vec::new(), errors: Vec::new() };
        };
        Self {
            node_id,
            class_type: error.text("class_type"),
            dependent_outputs: error.texts("dependent_outputs"),
            errors: error.list("errors").into_iter().filter_map(InputError::read).collect(),
        }
    }
}

/// What is wrong with one input of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InputError {
    /// ComfyUI's word for it, such as `required_input_missing` or `value_not_in_list`.
    pub kind: String,
    /// One sentence.
    pub message: String,
    /// What it is about, often the input's name.
    pub details: String,
    /// The input's name.
    pub input_name: Option<String>,
}

impl InputError {
    fn read(error: &RawValue) -> Option<Self> {
        let error = LooseObject::parse(error.get()).ok()?;
        Some(Self {
            kind: error.text("type").unwrap_or_default(),
            message: error.text("message").unwrap_or_default(),
            details: error.text("details").unwrap_or_default(),
            input_name: error.object("extra_info").and_then(|extra| extra.text("input_name")),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::mutilate;
    use super::*;

    #[test]
    fn a_missing_class_is_named_by_both_versions() {
        let new =
            PromptRejection::read(include_str!("../../tests/fixtures/comfyui/0.24.0/rejected_class.json"))
                .unwrap();
        assert_eq!(new.kind, "missing_node_type");
        assert_eq!((new.node_id.as_deref(), new.class_type.as_deref()), (Some("1"), Some("NopeNode")));
        assert!(new.node_errors.is_empty() && new.node_errors.raw.is_none());
        let old =
            PromptRejection::read(include_str!("../../tests/fixtures/comfyui/0.3.64/rejected_class.json"))
                .unwrap();
        assert_eq!((old.kind.as_str(), old.details.as_str()), ("invalid_prompt", "Node ID '#1'"));
        assert_eq!(old.message, "Cannot execute because node NopeNode does not exist.");
    }

    #[test]
    fn each_input_at_fault_is_listed() {
        for body in [
            include_str!("../../tests/fixtures/comfyui/0.24.0/rejected_inputs.json"),
            include_str!("../../tests/fixtures/comfyui/0.3.64/rejected_inputs.json"),
        ] {
            let rejection = PromptRejection::read(body).unwrap();
            assert_eq!(rejection.kind, "prompt_outputs_failed_validation");
            let [node] = rejection.node_errors.nodes.as_slice() else { panic!("{rejection:?}") };
            assert_eq!((node.node_id.as_str(), node.class_type.as_deref()), ("1", Some("EmptyImage")));
            assert_eq!(node.dependent_outputs, ["2"]);
            let mut names: Vec<_> =
                node.errors.iter().filter_map(|error| error.input_name.as_deref()).collect();
            names.sort_unstable();
            assert_eq!(names, ["batch_size", "color", "height"]);
            assert!(node.errors.iter().all(|error| error.kind == "required_input_missing"));
            assert!(
                rejection.to_string().contains("node 1: Required input is missing: height"),
                "{rejection}"
            );
            assert_eq!(rejection.raw.get(), body.trim_end());
        }
    }

    #[test]
    fn a_refusal_without_any_one_of_its_parts_is_still_one() {
        let body = include_str!("../../tests/fixtures/comfyui/0.24.0/rejected_inputs.json");
        for changed in mutilate::variants(body) {
            let Some(rejection) = PromptRejection::read(&changed) else {
                assert!(!changed.contains(r#""error":{"#), "{changed}");
                continue;
            };
            assert!(!rejection.kind.is_empty() || changed.contains("u0000"), "{changed}");
            let _shown = rejection.to_string();
        }
        assert!(mutilate::beginnings(body.trim_end()).all(|cut| PromptRejection::read(cut).is_none()));
    }

    #[test]
    fn odd_refusals_are_read_as_far_as_they_go() {
        let bare = PromptRejection::read(r#"{"error":"no way","node_errors":[]}"#).unwrap();
        assert_eq!((bare.message.as_str(), bare.kind.as_str()), ("no way", "invalid_prompt"));
        let odd = PromptRejection::read(
            r#"{"error":{"type":null},"node_errors":{"5":"?","6":{"errors":["x",{}]}}}"#,
        )
        .unwrap();
        assert_eq!(odd.node_errors.nodes.len(), 2);
        assert_eq!(odd.node_errors.nodes[1].errors.len(), 1);
        for not_comfy in ["", "<html>", "{}", r#"{"detail":"Unauthorized"}"#] {
            assert!(PromptRejection::read(not_comfy).is_none(), "{not_comfy}");
        }
    }
}
