//! The progress of a run, folded from ComfyUI's messages.

use std::collections::{HashMap, HashSet};

use serde::Serialize;

use super::workflow::Workflow;

/// A running job's progress at one moment.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Progress {
    /// The finished share of the graph, from 0 to 1. A node that works in `steps` weighs as many nodes.
    pub value: f64,
    /// Finished nodes, including cached ones.
    pub nodes_done: usize,
    /// Nodes of the graph.
    pub nodes_total: usize,
    /// The node that runs now.
    pub current_node: Option<String>,
    /// That node's class.
    pub current_node_class: Option<String>,
    /// The step within that node, if it reports steps.
    pub step: Option<u64>,
    /// The steps of that node, if it reports them.
    pub steps: Option<u64>,
}

/// The part of a graph's node that progress needs.
#[derive(Debug, Clone)]
struct ProgressNode {
    class: String,
    /// Its share of the work: a sampler takes about as long as its steps, any other node about as long as one
    /// step.
    weight: f64,
}

/// The greatest weight of a node, because `steps` may be any number.
const HEAVIEST: f64 = 1_000.0;

/// Folds a run's events into its [`Progress`].
#[derive(Debug, Clone, Default)]
pub struct ProgressTracker {
    nodes: HashMap<String, ProgressNode>,
    done: HashSet<String>,
    current: Option<String>,
    step: Option<(f64, f64)>,
    started: bool,
}

impl ProgressTracker {
    /// A tracker for a run of `workflow` that has not begun.
    #[must_use]
    pub fn new(workflow: &Workflow<'_>) -> Self {
        let nodes = workflow.nodes().iter().map(|node| {
            let steps = node.input("steps").and_then(|input| workflow.value(input).parse::<f64>().ok());
            let weight = steps.unwrap_or(1.0).clamp(1.0, HEAVIEST);
            (node.id.clone(), ProgressNode { class: node.class_type.clone(), weight })
        });
        Self { nodes: nodes.collect(), ..Self::default() }
    }

    /// The run began.
    pub fn started(&mut self) {
        self.started = true;
    }

    /// Whether ComfyUI reported the start of the run.
    #[must_use]
    pub fn has_started(&self) -> bool {
        self.started
    }

    /// These nodes are taken from the cache.
    pub fn cached<'n>(&mut self, nodes: impl IntoIterator<Item = &'n str>) {
        self.started = true;
        nodes.into_iter().for_each(|node| self.finish(node));
    }

    /// The run moved on to `node`; the one before is done.
    pub fn executing(&mut self, node: &str) {
        self.started = true;
        if self.current.as_deref() != Some(node) {
            if let Some(before) = self.current.take() {
                self.finish(&before);
            }
            self.step = None;
            self.current = Some(node.to_owned());
        }
    }

    /// `node` is at `value` of `max` steps.
    pub fn step(&mut self, node: &str, value: f64, max: f64) {
        self.executing(node);
        self.step = Some((value, max));
    }

    /// `node` is done.
    pub fn finished(&mut self, node: &str) {
        self.finish(node);
        if self.current.as_deref() == Some(node) {
            self.current = None;
            self.step = None;
        }
    }

    fn finish(&mut self, node: &str) {
        // Nodes of an expansion are not part of the caller's graph.
        if self.nodes.contains_key(node) {
            self.done.insert(node.to_owned());
        }
    }

    /// The progress at this moment.
    #[must_use]
    pub fn snapshot(&self) -> Progress {
        let fraction =
            self.step.map_or(0.0, |(value, max)| if max > 0.0 { (value / max).clamp(0.0, 1.0) } else { 0.0 });
        let current = self
            .current
            .as_ref()
            .filter(|node| !self.done.contains(*node))
            .and_then(|node| self.nodes.get(node));
        let total: f64 = self.nodes.values().map(|node| node.weight).sum();
        let done: f64 =
            self.done.iter().filter_map(|node| self.nodes.get(node)).map(|node| node.weight).sum();
        let done = done + current.map_or(0.0, |node| node.weight * fraction);
        Progress {
            value: if total > 0.0 { (done / total).min(1.0) } else { 0.0 },
            nodes_done: self.done.len(),
            nodes_total: self.nodes.len(),
            current_node: self.current.clone(),
            current_node_class: self
                .current
                .as_ref()
                .and_then(|node| self.nodes.get(node))
                .map(|node| node.class.clone()),
            step: self.step.and_then(|(value, _)| whole(value)),
            steps: self.step.and_then(|(_, max)| whole(max)),
        }
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the range is checked first")]
fn whole(number: f64) -> Option<u64> {
    (0.0..1e15).contains(&number).then(|| number.round() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn tracker() -> ProgressTracker {
        let graph = r#"{"1":{"class_type":"Load","inputs":{}},"2":{"class_type":"Sample","inputs":{}},
            "3":{"class_type":"Decode","inputs":{}},"4":{"class_type":"Save","inputs":{}}}"#;
        ProgressTracker::new(&Workflow::parse(graph).unwrap())
    }

    #[test]
    fn a_run_from_its_start_to_its_end() {
        let mut run = tracker();
        assert!(!run.has_started());
        run.cached(["1"]);
        run.step("2", 21.0, 50.0);
        let half = run.snapshot();
        assert!((half.value - (1.0 + 0.42) / 4.0).abs() < 1e-9);
        assert_eq!((half.nodes_done, half.nodes_total, half.step, half.steps), (1, 4, Some(21), Some(50)));
        assert_eq!(half.current_node_class.as_deref(), Some("Sample"));
        run.executing("3");
        assert_eq!(run.snapshot().step, None);
        run.executing("4");
        run.finished("4");
        assert!((run.snapshot().value - 1.0).abs() < 1e-9);
        assert_eq!(run.snapshot().current_node, None);
    }

    #[test]
    fn a_sampler_weighs_as_many_nodes_as_it_has_steps() {
        let graph = r#"{"1":{"class_type":"KSampler","inputs":{"steps":8}},"2":{"class_type":"Save","inputs":{"steps":["1",0]}},
            "3":{"class_type":"Odd","inputs":{"steps":-4}}}"#;
        let mut run = ProgressTracker::new(&Workflow::parse(graph).unwrap());
        run.step("1", 4.0, 8.0);
        assert!((run.snapshot().value - 0.4).abs() < 1e-9);
        run.finished("1");
        assert!((run.snapshot().value - 0.8).abs() < 1e-9);
    }

    proptest! {
        #[test]
        fn the_value_never_leaves_its_range_and_never_falls(moves in prop::collection::vec((0u8..4, 0u8..7, -1.0f64..3.0, -1.0f64..3.0), 0..80)) {
            let mut run = tracker();
            for (kind, node, value, max) in moves {
                let before = run.snapshot().nodes_done;
                let node = node.to_string();
                match kind {
                    0 => run.executing(&node),
                    1 => run.step(&node, value, max),
                    2 => run.finished(&node),
                    _ => run.cached([node.as_str()]),
                }
                let now = run.snapshot();
                prop_assert!((0.0..=1.0).contains(&now.value));
                prop_assert!(now.nodes_done >= before && now.nodes_done <= now.nodes_total);
            }
        }
    }
}
