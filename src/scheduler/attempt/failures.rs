//! Failures of jobs, made from what ComfyUI reports about a workflow or a node.

use crate::comfy::{ExecutionError, NodeError, NodeErrors, PromptRejection};
use crate::domain::failure::{Failure, FailureCode};
use crate::domain::job::DroppedOutput;
use crate::domain::text::and_more;

/// The failure of a job whose workflow ComfyUI rejected.
pub(super) fn rejection_failure(rejection: &PromptRejection) -> Failure {
    let node = rejection.node_errors.nodes.first();
    let first = node.and_then(|node| node.errors.first());
    let message = match (node, first) {
        (Some(node), Some(error)) => {
            let class = node.class_type.as_deref().unwrap_or("node");
            let more = rejection.node_errors.nodes.iter().map(|node| node.errors.len()).sum::<usize>() - 1;
            let more = and_more(more).map(|more| format!(" ({more}, see node_errors)")).unwrap_or_default();
            format!(
                "ComfyUI refused the workflow: {class} (node {}): {}{more}",
                node.node_id,
                sentence(&error.message, &error.details)
            )
        }
        _ => format!("ComfyUI refused the workflow: {}", sentence(&rejection.message, &rejection.details)),
    };
    Failure {
        node_id: node.map(|node| node.node_id.clone()).or_else(|| rejection.node_id.clone()),
        node_type: node.and_then(|node| node.class_type.clone()).or_else(|| rejection.class_type.clone()),
        node_errors: rejection
            .node_errors
            .raw
            .as_ref()
            .filter(|_| node.is_some())
            .map(|raw| raw.get().into()),
        ..Failure::new(FailureCode::InvalidWorkflow, message)
    }
}

fn sentence(message: &str, details: &str) -> String {
    if details.trim().is_empty() {
        message.trim().to_owned()
    } else {
        format!("{}: {}", message.trim(), details.trim())
    }
}

/// The failure of a job in which a node raised an exception.
pub(super) fn execution_failure(error: &ExecutionError) -> Failure {
    let class = error.node_type.as_deref().unwrap_or("a node");
    let node = error.node_id.as_deref().map(|id| format!(" (node {id})")).unwrap_or_default();
    let what = sentence(&error.exception_type, &error.exception_message);
    let (code, message) = if error.is_out_of_memory() {
        (FailureCode::OutOfMemory, format!("{class}{node} ran out of memory: {what}"))
    } else {
        (FailureCode::NodeError, format!("{class}{node} failed: {what}"))
    };
    Failure {
        node_id: error.node_id.clone(),
        node_type: error.node_type.clone(),
        exception_type: Some(error.exception_type.clone()).filter(|text| !text.is_empty()),
        traceback: Some(error.traceback.clone()).filter(|text| !text.is_empty()),
        ..Failure::new(code, message)
    }
}

/// The failure of a job whose backend accepted only a part of its workflow, and that is not `partial`.
pub(super) fn partial_refusal_failure(refused: &NodeErrors, dropped: &[DroppedOutput]) -> Failure {
    let node = refused.nodes.first();
    let reason = node.map(node_refusal).or_else(|| dropped.first().map(|output| output.reason.clone()));
    let reason = reason.unwrap_or_else(|| "it did not say why".to_owned());
    let message = format!(
        "ComfyUI refused a part of the workflow: {reason}; send \"partial\": true to run the rest of it"
    );
    Failure {
        node_id: node.map(|node| node.node_id.clone()).or_else(|| Some(dropped.first()?.node_id.clone())),
        node_type: node.and_then(|node| node.class_type.clone()),
        node_errors: refused.raw.as_ref().map(|raw| raw.get().into()),
        ..Failure::new(FailureCode::InvalidWorkflow, message)
    }
}

/// The first error that ComfyUI reports for a node.
pub(super) fn node_refusal(node: &NodeError) -> String {
    let class = node.class_type.as_deref().unwrap_or("node");
    let why = node.errors.first().map(|error| sentence(&error.message, &error.details)).unwrap_or_default();
    format!("{class} (node {}): {why}", node.node_id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::comfy::InputError;
    use serde_json::value::RawValue;

    fn input_error(message: &str, details: &str) -> InputError {
        InputError {
            kind: "value_not_in_list".to_owned(),
            message: message.to_owned(),
            details: details.to_owned(),
            input_name: None,
        }
    }

    fn node(id: &str, class: Option<&str>, errors: Vec<InputError>) -> NodeError {
        NodeError {
            node_id: id.to_owned(),
            class_type: class.map(str::to_owned),
            dependent_outputs: vec!["9".to_owned(), "12".to_owned()],
            errors,
        }
    }

    fn rejection(nodes: Vec<NodeError>) -> PromptRejection {
        let raw = RawValue::from_string(r#"{"8":{"errors":[]}}"#.to_owned()).unwrap();
        PromptRejection {
            kind: "prompt_outputs_failed_validation".to_owned(),
            message: "Prompt outputs failed validation".to_owned(),
            details: String::new(),
            node_id: Some("7".to_owned()),
            class_type: Some("Outer".to_owned()),
            node_errors: NodeErrors { nodes, raw: Some(raw.clone()) },
            raw,
        }
    }

    fn exception(kind: &str, message: &str) -> ExecutionError {
        ExecutionError {
            node_id: Some("4".to_owned()),
            node_type: Some("KSampler".to_owned()),
            exception_type: kind.to_owned(),
            exception_message: message.to_owned(),
            traceback: String::new(),
        }
    }

    #[test]
    fn a_refusal_names_its_first_node_and_counts_the_others() {
        let errors =
            vec![input_error("Value not in list", "ckpt_name: 'x' not in []"), input_error("Other", "")];
        let nodes = vec![node("8", Some("Loader"), errors), node("9", None, vec![input_error("Third", "")])];
        let failure = rejection_failure(&rejection(nodes));
        assert_eq!(failure.code, FailureCode::InvalidWorkflow);
        assert_eq!(
            failure.message,
            "ComfyUI refused the workflow: Loader (node 8): Value not in list: ckpt_name: 'x' not in [] (and 2 more, see node_errors)"
        );
        assert_eq!((failure.node_id.as_deref(), failure.node_type.as_deref()), (Some("8"), Some("Loader")));
        assert_eq!(failure.node_errors.as_deref(), Some(r#"{"8":{"errors":[]}}"#));
    }

    #[test]
    fn a_refusal_of_the_whole_says_what_comfyui_says() {
        let failure = rejection_failure(&rejection(vec![]));
        assert_eq!(failure.message, "ComfyUI refused the workflow: Prompt outputs failed validation");
        assert_eq!((failure.node_id.as_deref(), failure.node_type.as_deref()), (Some("7"), Some("Outer")));
        assert_eq!(failure.node_errors, None);
    }

    #[test]
    fn a_node_without_errors_or_class_is_no_trouble() {
        let failure = rejection_failure(&rejection(vec![node("8", None, vec![])]));
        assert_eq!(failure.message, "ComfyUI refused the workflow: Prompt outputs failed validation");
        assert_eq!(failure.node_id.as_deref(), Some("8"));
    }

    #[test]
    fn an_exception_names_its_node_and_its_first_line_is_the_msg() {
        let failure = execution_failure(&exception("RuntimeError", "size mismatch\n  expected 4\n"));
        assert_eq!(failure.code, FailureCode::NodeError);
        assert_eq!(failure.message, "KSampler (node 4) failed: RuntimeError: size mismatch\n  expected 4");
        assert_eq!(failure.summary(), "KSampler (node 4) failed: RuntimeError: size mismatch");
        assert_eq!((failure.exception_type.as_deref(), failure.traceback), (Some("RuntimeError"), None));
    }

    #[test]
    fn running_out_of_memory_has_a_code_of_its_own() {
        for kind in ["torch.OutOfMemoryError", "torch.cuda.OutOfMemoryError"] {
            let failure = execution_failure(&exception(kind, "CUDA out of memory"));
            assert_eq!(failure.code, FailureCode::OutOfMemory, "{kind}");
            assert!(
                failure.message.starts_with("KSampler (node 4) ran out of memory"),
                "{}",
                failure.message
            );
        }
    }

    #[test]
    fn an_exception_of_no_node_still_makes_a_sentence() {
        let error = ExecutionError { node_id: None, node_type: None, ..exception("", "it broke") };
        let failure = execution_failure(&error);
        assert!(
            failure.message.starts_with("a node failed") && failure.message.ends_with("it broke"),
            "{}",
            failure.message
        );
        assert_eq!(failure.exception_type, None);
    }
}
