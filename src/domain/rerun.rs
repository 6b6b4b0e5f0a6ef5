//! A graph with the same effect that bypasses ComfyUI's cache.

use serde_json::value::RawValue;

use super::workflow::Workflow;

/// An input that no class has. ComfyUI ignores it when it runs the node, but its cache distinguishes nodes by
/// all inputs.
const UNKNOWN_INPUT: &str = "comfy_gateway_run";

/// The same graph with one more input in each node, whose value is `run`; `None` if the graph cannot be
/// parsed.
#[must_use]
pub fn defeat_cache(graph: &str, run: &str) -> Option<Box<RawValue>> {
    let workflow = Workflow::parse(graph).ok()?;
    let mut nodes: Vec<(usize, bool)> =
        workflow.nodes().iter().map(|node| (node.inputs_end, node.inputs.is_empty())).collect();
    nodes.sort_unstable();
    let run = serde_json::Value::from(run).to_string();
    let mut text = String::with_capacity(graph.len() + nodes.len() * (UNKNOWN_INPUT.len() + run.len() + 8));
    let mut copied = 0;
    for (end, is_first) in nodes {
        text.push_str(&graph[copied..end]);
        let comma = if is_first { "" } else { "," };
        text.extend([comma, "\"", UNKNOWN_INPUT, "\":", &run]);
        copied = end;
    }
    text.push_str(&graph[copied..]);
    RawValue::from_string(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_node_has_an_input_more_and_nothing_else_changes() {
        let graph = r#"{"1": {"class_type": "A", "inputs": {}}, "2": {"inputs": {"seed": 18446744073709551615, "x": ["1", 0]} , "class_type": "B"}}"#;
        let fresh = defeat_cache(graph, "r\"1").unwrap();
        assert_eq!(
            fresh.get(),
            r#"{"1": {"class_type": "A", "inputs": {"comfy_gateway_run":"r\"1"}}, "2": {"inputs": {"seed": 18446744073709551615, "x": ["1", 0],"comfy_gateway_run":"r\"1"} , "class_type": "B"}}"#
        );
        assert!(Workflow::parse(fresh.get()).is_ok());
    }

    #[test]
    fn what_is_no_graph_stays_alone() {
        assert!(defeat_cache("[]", "x").is_none());
    }
}
