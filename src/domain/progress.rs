//! How far a run has come, folded from what ComfyUI tells. It must not know how the telling arrives.

use std::collections::{HashMap, HashSet};

use serde::Serialize;

use super::workflow::Workflow;

/// A running job's progress at one moment.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Progress {
    /// The share of the graph that is done, from 0 to 1; every node weighs the same.
    pub value: f64,
    /// Nodes that are done, those taken from the cache included.
    pub nodes_done: usize,
    /// Nodes of the graph.
    pub nodes_total: usize,
    /// The node that runs now.
    pub current_node: Option<String>,
    /// That node's class.
    pub current_node_class: Option<String>,
    /// The step within that node, where it tells.
    pub step: Option<u64>,
    /// The steps of that node, where it tells.
    pub steps: Option<u64>,
}

/// Folds a run's events into its [`Progress`].
#[derive(Debug, Clone, Default)]
pub struct ProgressTracker {
    classes: HashMap<String, String>,
    done: HashSet<String>,
    current: Option<String>,
    step: Option<(f64, f64)>,
    started: bool,
}

impl ProgressTracker {
    /// A tracker for a run of `workflow` that has not begun.
    #[must_use]
    pub fn new(workflow: &Workflow<'_>) -> Self {
        let classes =
            workflow.nodes().iter().map(|node| (node.id.clone(), node.class_type.clone())).collect();
        Self { classes, ..Self::default() }
    }

    /// The run began.
    pub fn started(&mut self) {
        self.started = true;
    }

    /// Whether ComfyUI was heard to have begun the run.
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
        // Nodes that an expanding node brings along are no part of the caller's graph.
        if self.classes.contains_key(node) {
            self.done.insert(node.to_owned());
        }
    }

    /// The progress now.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "graphs have far fewer than 2^52 nodes")]
    pub fn snapshot(&self) -> Progress {
        let total = self.classes.len();
        let fraction =
            self.step.map_or(0.0, |(value, max)| if max > 0.0 { (value / max).clamp(0.0, 1.0) } else { 0.0 });
        let counts = self
            .current
            .as_ref()
            .is_some_and(|node| self.classes.contains_key(node) && !self.done.contains(node));
        let done = self.done.len() as f64 + if counts { fraction } else { 0.0 };
        Progress {
            value: if total == 0 { 0.0 } else { done / total as f64 },
            nodes_done: self.done.len(),
            nodes_total: total,
            current_node: self.current.clone(),
            current_node_class: self.current.as_ref().and_then(|node| self.classes.get(node)).cloned(),
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
