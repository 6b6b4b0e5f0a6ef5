//! In which order nodes run: what outputs need, nothing else, with outputs as early as may be.

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value};

use super::cache::link;
use super::classes;

/// The nodes still to run and what each waits for.
#[derive(Debug, Default)]
pub(super) struct ExecutionOrder {
    pending: Vec<String>,
    known: HashSet<String>,
    waits_for: HashMap<String, usize>,
    blocks: HashMap<String, Vec<String>>,
}

impl ExecutionOrder {
    /// Adds a node and all it needs, but for what has a result already.
    pub(super) fn add(&mut self, id: &str, graph: &Map<String, Value>, has_result: impl Fn(&str) -> bool) {
        let mut open = vec![id.to_owned()];
        while let Some(id) = open.pop() {
            if !self.known.insert(id.clone()) {
                continue;
            }
            self.pending.push(id.clone());
            let inputs = graph.get(&id).and_then(|node| node["inputs"].as_object());
            for (source, _) in inputs.into_iter().flat_map(Map::values).filter_map(link) {
                if graph.contains_key(source) && !has_result(source) {
                    self.wait(&id, source);
                    open.push(source.to_owned());
                }
            }
        }
    }

    /// Puts a node back that must wait for others to give its result.
    pub(super) fn again(&mut self, id: &str) {
        self.pending.insert(0, id.to_owned());
    }

    /// Makes `id` wait for `source`, unless that has run.
    pub(super) fn wait(&mut self, id: &str, source: &str) {
        if self.known.contains(source) && !self.pending.iter().any(|pending| pending == source) {
            return;
        }
        *self.waits_for.entry(id.to_owned()).or_default() += 1;
        self.blocks.entry(source.to_owned()).or_default().push(id.to_owned());
    }

    /// Takes the next node: an output, else what leads to one soonest, else the first that is ready.
    pub(super) fn next(&mut self, graph: &Map<String, Value>) -> Option<String> {
        let is_output = |id: &&String| {
            let class = graph.get(*id).and_then(|node| node["class_type"].as_str()).and_then(classes::find);
            class.is_some_and(|class| class.output_node)
        };
        let ready: Vec<&String> = self
            .pending
            .iter()
            .filter(|id| self.waits_for.get(*id).is_none_or(|&count| count == 0))
            .collect();
        let blocked = |id: &String| self.blocks.get(id).into_iter().flatten();
        let picked = (ready.iter().find(|id| is_output(id)))
            .or_else(|| ready.iter().find(|id| blocked(id).any(|next| is_output(&next))))
            .or_else(|| ready.iter().find(|id| blocked(id).flat_map(blocked).any(|next| is_output(&next))))
            .or(ready.first());
        let picked = (*picked?).clone();
        self.pending.retain(|id| *id != picked);
        Some(picked)
    }

    /// The node has its result: who waited for it may run.
    pub(super) fn done(&mut self, id: &str) {
        for next in self.blocks.remove(id).unwrap_or_default() {
            if let Some(count) = self.waits_for.get_mut(&next) {
                *count = count.saturating_sub(1);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn outputs_come_early_and_what_none_needs_not_at_all() {
        let Value::Object(graph) = json!({
            "1": { "class_type": "LabBlock", "inputs": {} },
            "2": { "class_type": "SaveImage", "inputs": { "images": ["1", 0] } },
            "3": { "class_type": "EmptyImage", "inputs": {} },
            "4": { "class_type": "SaveImage", "inputs": { "images": ["3", 0] } },
            "5": { "class_type": "EmptyImage", "inputs": {} },
        }) else {
            panic!("an object")
        };
        let mut order = ExecutionOrder::default();
        order.add("2", &graph, |_| false);
        order.add("4", &graph, |_| false);
        let mut ran = Vec::new();
        while let Some(id) = order.next(&graph) {
            order.done(&id);
            ran.push(id);
        }
        assert_eq!(ran, ["1", "2", "3", "4"]);
    }
}
