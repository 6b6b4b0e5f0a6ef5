//! Finds the outputs of a workflow that a completed run did not make, and the reasons.
//!
//! Three sources report them: `node_errors` in the answer to the submit; the history entry's list of accepted
//! outputs, which survives a restart of the gateway; and the websocket's messages about blocked nodes.

use std::collections::{HashMap, HashSet};

use indexmap::IndexMap;

use super::failures::node_refusal;
use super::task::AttemptTask;
use crate::comfy::{HistoryEntry, NodeErrors};
use crate::domain::job::DroppedOutput;
use crate::domain::text::and_more;
use crate::domain::workflow::Workflow;

/// The reason of an accepted, named output that was not made, if no message says more.
const NOTHING_MADE: &str = "the node made no output; a node before it may have blocked it";
/// The most outputs that the job's `msg` names.
const NAMED: usize = 5;

impl AttemptTask {
    /// The outputs that ComfyUI refused when it accepted the others, in its order.
    pub(super) fn refused_outputs(
        &self,
        refused: &NodeErrors,
        output_nodes: &[String],
        entry: &HistoryEntry,
    ) -> Vec<DroppedOutput> {
        let mut reasons: IndexMap<&str, String> = IndexMap::new();
        for node in &refused.nodes {
            for output in &node.dependent_outputs {
                reasons.entry(output).or_insert_with(|| node_refusal(node));
            }
        }
        if let Some(accepted) = &entry.accepted_outputs {
            let accepted: HashSet<&str> = accepted.iter().map(String::as_str).collect();
            for output in output_nodes.iter().filter(|output| !accepted.contains(output.as_str())) {
                let reason = || "ComfyUI refused this output when it accepted the job".to_owned();
                reasons.entry(output).or_insert_with(reason);
            }
        }
        reasons.into_iter().map(|(node_id, reason)| self.dropped(node_id, reason)).collect()
    }

    /// The outputs that were accepted and not made. An output node without a name and without a blocked node
    /// before it may simply have nothing to show, so it does not count.
    pub(super) fn missing_outputs(
        &self,
        refused: &[DroppedOutput],
        output_nodes: &[String],
        entry: &HistoryEntry,
    ) -> Vec<DroppedOutput> {
        let outputs = entry.outputs.nodes();
        // Nodes of an expansion have ids that begin with the id of the expanded node (`5.0.0.2`).
        let made: HashSet<&str> =
            outputs.iter().flat_map(|(id, _)| [&**id, id.split('.').next().unwrap_or(id)]).collect();
        let is_missing = |id: &&str| !made.contains(id) && refused.iter().all(|output| output.node_id != *id);
        let named: Vec<&str> = self.names.nodes().filter(is_missing).collect();
        let blocked = self.feed.blocked();
        if named.is_empty() && blocked.is_empty() {
            return Vec::new();
        }
        let Ok(workflow) = Workflow::parse(self.job.graph.get()) else { return Vec::new() };
        let reasons = reasons_downstream(&workflow, &blocked);
        let unnamed = output_nodes.iter().map(String::as_str).filter(is_missing);
        let unnamed = unnamed.filter(|id| !named.contains(id) && reasons.contains_key(id));
        let reason = |id: &str| reasons.get(id).copied().unwrap_or(NOTHING_MADE).to_owned();
        named.iter().copied().chain(unnamed).map(|id| self.dropped(id, reason(id))).collect()
    }

    fn dropped(&self, node_id: &str, reason: String) -> DroppedOutput {
        DroppedOutput { node_id: node_id.to_owned(), var: self.names.of_node(node_id), reason }
    }
}

/// The message of each blocked node, for the node itself and for all nodes that depend on it. A blocked node
/// of an expansion (`5.0.0.2`) counts as the node that was expanded.
fn reasons_downstream<'w>(
    workflow: &'w Workflow<'_>,
    blocked: &'w [(String, String)],
) -> HashMap<&'w str, &'w str> {
    let mut dependents: HashMap<&str, Vec<&str>> = HashMap::new();
    for node in workflow.nodes() {
        for link in node.inputs.iter().filter_map(|input| input.link.as_ref()) {
            dependents.entry(link.node_id.as_str()).or_default().push(node.id.as_str());
        }
    }
    let known: HashSet<&str> = workflow.nodes().iter().map(|node| node.id.as_str()).collect();
    let mut reasons: HashMap<&str, &str> = HashMap::new();
    let mut reached: Vec<(&str, &str)> = Vec::new();
    for (id, message) in blocked {
        let origin = if known.contains(id.as_str()) { id } else { id.split('.').next().unwrap_or(id) };
        reached.push((origin, message));
    }
    while let Some((id, message)) = reached.pop() {
        if reasons.contains_key(id) {
            continue;
        }
        reasons.insert(id, message);
        reached.extend(dependents.get(id).into_iter().flatten().map(|next| (*next, message)));
    }
    reasons
}

/// The `msg` of a completed job about outputs that were not made; `None` if there are none.
pub(super) fn dropped_message(dropped: &[DroppedOutput]) -> Option<String> {
    let first = dropped.first()?;
    let mut names: Vec<&str> = dropped.iter().take(NAMED).map(|output| output.var.as_str()).collect();
    names.dedup();
    let more =
        and_more(dropped.len().saturating_sub(NAMED)).map(|more| format!(" {more}")).unwrap_or_default();
    Some(format!(
        "ComfyUI ran only a part of the workflow: the outputs {}{more} were not made (see dropped_outputs): {}",
        names.join(", "),
        first.reason
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dropped(var: &str) -> DroppedOutput {
        DroppedOutput { node_id: "9".to_owned(), var: var.to_owned(), reason: "no model".to_owned() }
    }

    #[test]
    fn a_message_reaches_everything_downstream_and_nothing_else() {
        let graph = r#"{"1":{"class_type":"A","inputs":{}},"2":{"class_type":"B","inputs":{"x":["1",0],"y":["4",0]}},
            "3":{"class_type":"C","inputs":{"x":["2",0]}},"4":{"class_type":"D","inputs":{"x":["3",0]}},"5":{"class_type":"E","inputs":{}}}"#;
        let workflow = Workflow::parse(graph).unwrap();
        let blocked = [("2.0.0.1".to_owned(), "no".to_owned())];
        let reasons = reasons_downstream(&workflow, &blocked);
        let mut reached: Vec<&str> = reasons.keys().copied().collect();
        reached.sort_unstable();
        assert_eq!(reached, ["2", "3", "4"]);
    }

    #[test]
    fn what_was_dropped_is_told_in_one_sentence() {
        assert_eq!(dropped_message(&[]), None);
        let one = dropped_message(&[dropped("cover")]).unwrap();
        assert!(one.contains("the outputs cover were not made") && one.ends_with(": no model"), "{one}");
        let many: Vec<DroppedOutput> = (0..8).map(|n| dropped(&n.to_string())).collect();
        assert!(dropped_message(&many).unwrap().contains("0, 1, 2, 3, 4 and 3 more"));
    }
}
