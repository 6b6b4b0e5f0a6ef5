//! The reasons that ComfyUI gives for rejecting a workflow or parts of it.

use serde_json::value::RawValue;

use super::loose::{self, LooseObject};

/// The answer to a workflow that ComfyUI validated and rejected (400). Nothing was queued, and this backend will
/// reject the same workflow again.
#[derive(Debug, Clone)]
pub struct PromptRejection {
    /// The error type, such as `prompt_outputs_failed_validation` or `missing_node_type`.
    pub kind: String,
    /// The message of ComfyUI, one sentence.
    pub message: String,
    /// The details of ComfyUI; often empty.
    pub details: String,
    /// The node at fault, if the error concerns a whole node.
    pub node_id: Option<String>,
    /// The class of that node.
    pub class_type: Option<String>,
    /// The errors of single nodes; empty if the workflow was rejected as a whole.
    pub node_errors: NodeErrors,
    /// The whole answer, a JSON object.
    pub raw: Box<RawValue>,
}

impl PromptRejection {
    /// Reads the answer to `POST /prompt`; `None` if it is not in the form of ComfyUI.
    pub(super) fn read(body: &str) -> Option<Self> {
        let answer = LooseObject::parse(body).ok()?;
        let node_errors = NodeErrors::read(&answer);
        // Some forks of ComfyUI answer with a bare string.
        let sentence = answer.text("error");
        let error = answer
            .object("error")
            .or_else(|| sentence.is_some().then(|| LooseObject::parse("{}").ok())?)?;
        let extra = error.object("extra_info");
        let extra_text = |key| extra.as_ref().and_then(|extra| extra.text(key));
        Some(Self {
            kind: error.text("type").unwrap_or_else(|| "invalid_prompt".to_owned()),
            message: error.text("message").or(sentence).unwrap_or_default(),
            details: error.text("details").unwrap_or_default(),
            node_id: extra_text("node_id").or_else(|| node_in(&error.text("details")?)),
            class_type: extra_text("class_type"),
            node_errors,
            raw: loose::owned(body)?,
        })
    }
}

/// The node id in details such as `Node ID '#7'`, which is all that ComfyUI 0.3.64 gives.
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

/// The errors of single nodes, in the order of ComfyUI.
#[derive(Debug, Clone, Default)]
pub struct NodeErrors {
    /// One entry per node.
    pub nodes: Vec<NodeError>,
    /// The JSON object of ComfyUI, keyed by node id; `None` if there are no errors.
    pub raw: Option<Box<RawValue>>,
}

impl NodeErrors {
    /// Whether there are no errors.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// Reads `node_errors` of an answer, which is `{}`, `[]` or absent if there are no errors.
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

/// The errors of one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeError {
    /// The id of the node in the workflow.
    pub node_id: String,
    /// The class of the node.
    pub class_type: Option<String>,
    /// The output nodes that cannot be computed because of this node.
    pub dependent_outputs: Vec<String>,
    /// The errors, usually one per node input at fault.
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

/// An error of one input of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InputError {
    /// The error type, such as `required_input_missing` or `value_not_in_list`.
    pub kind: String,
    /// The message of ComfyUI, one sentence.
    pub message: String,
    /// The details of ComfyUI, often the name of the input.
    pub details: String,
    /// The name of the input.
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
    fn a_rejection_without_any_one_of_its_parts_is_still_one() {
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
    fn odd_rejections_are_read_as_far_as_possible() {
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
