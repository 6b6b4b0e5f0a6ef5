//! Walks the nodes that a backend validates, and derives from their faults whether the workflow is refused.
//!
//! A class that is missing anywhere refuses the workflow. Otherwise ComfyUI validates only nodes that output
//! nodes depend on, through inputs that their classes have. It runs the outputs that are left when faulty
//! ones are removed.

use std::ops::Range;

use super::context::GraphContext;
use super::faults::{FaultKind, GraphFaults, NodeFault, NodeFaults, SuppliedInputs};
use super::nearest::NearestNames;
use super::node::NodeCheck;
use crate::domain::capped::MOST_TOLD;
use crate::domain::object_info::ObjectInfo;
use crate::domain::text::brief;
use crate::domain::workflow::Workflow;

/// Checks `workflow` against the node classes of one backend. It takes time in proportion to the workflow,
/// and to the lists of choices its nodes draw from.
#[must_use]
pub fn check(workflow: &Workflow<'_>, info: &ObjectInfo, given: SuppliedInputs<'_>) -> GraphFaults {
    let nodes = workflow.nodes();
    let places = nodes.iter().enumerate().map(|(place, node)| (node.id.as_str(), place)).collect();
    let supplied = given.supplied.iter().copied().collect();
    let context = GraphContext { workflow, info, expands: given.expands, places, supplied };
    let mut walk = SourceWalk::new(&context);
    let unknown = walk.missing_classes(given.replaced);
    let mut outputs = (0..nodes.len())
        .filter(|place| context.class(*place).is_some_and(|class| class.output_node))
        .peekable();
    // A class that the backend replaces may be an output.
    let no_outputs = outputs.peek().is_none() && unknown == UnknownNodes::None;
    let mut all_bad = unknown != UnknownNodes::Replaced;
    let mut refused_outputs = Vec::new();
    for output in outputs {
        if walk.judge_output(output) {
            refused_outputs.push(context.node(output).id.clone());
        } else {
            all_bad = false;
        }
    }
    let refused = unknown == UnknownNodes::Missing || all_bad;
    let more = walk.more;
    GraphFaults { refused, no_outputs, refused_outputs, nodes: walk.faults(), more }
}

/// Nodes whose classes the backend does not list.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum UnknownNodes {
    None,
    /// Some, and it replaces them all.
    Replaced,
    /// At least one is missing.
    Missing,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum VisitMark {
    Unseen,
    /// Its sources are being checked.
    Open,
    Done {
        /// Whether it, or a node it depends on, is certainly refused.
        refused: bool,
    },
}

/// A walk from outputs to their sources that checks each node once.
struct SourceWalk<'c> {
    context: &'c GraphContext<'c>,
    marks: Vec<VisitMark>,
    /// The nodes that each node depends on, one after the other.
    sources: Vec<usize>,
    nearest: NearestNames,
    faults: Vec<(usize, Vec<NodeFault>)>,
    /// The number of faults that are kept, and of those that are only counted.
    told: usize,
    more: usize,
    /// Open nodes, from the output on, that are known to be refused.
    refused_from_output: usize,
    /// Open nodes with a fault.
    doubtful: usize,
}

/// A node whose sources are being checked.
struct VisitStep {
    place: usize,
    sources: Range<usize>,
    refused: bool,
    /// Whether the node itself has a fault.
    doubtful: bool,
}

impl<'c> SourceWalk<'c> {
    fn new(context: &'c GraphContext<'c>) -> Self {
        let marks = vec![VisitMark::Unseen; context.workflow.nodes().len()];
        Self {
            context,
            marks,
            sources: Vec::new(),
            nearest: NearestNames::default(),
            faults: Vec::new(),
            told: 0,
            more: 0,
            refused_from_output: 0,
            doubtful: 0,
        }
    }

    /// Reports every node whose class is missing.
    fn missing_classes(&mut self, replaced: &[&str]) -> UnknownNodes {
        let mut found = UnknownNodes::None;
        for (place, node) in self.context.workflow.nodes().iter().enumerate() {
            let class = node.class_type.as_str();
            if self.context.info.class(class).is_some() {
                continue;
            }
            if replaced.contains(&class) {
                found = found.max(UnknownNodes::Replaced);
                continue;
            }
            found = UnknownNodes::Missing;
            let names = self.context.info.classes().map(|class| class.name.as_str());
            let fault = NodeFault {
                kind: FaultKind::MissingNodeType,
                message: format!(
                    "the backend has no node class `{}`; a package of custom nodes may be missing",
                    brief(class)
                ),
                input: None,
                received: None,
                nearest: self.nearest.of(class, names),
                certain: true,
            };
            self.note(place, vec![fault]);
        }
        found
    }

    /// Keeps the faults of a node, or counts them.
    fn note(&mut self, place: usize, mut faults: Vec<NodeFault>) {
        let room = MOST_TOLD - self.told;
        self.more += faults.len().saturating_sub(room);
        faults.truncate(room);
        self.told += faults.len();
        if !faults.is_empty() {
            self.faults.push((place, faults));
        }
    }

    /// Whether the backend will not run the output at `place`.
    fn judge_output(&mut self, place: usize) -> bool {
        let mut steps = match self.marks[place] {
            VisitMark::Done { refused } => return refused,
            VisitMark::Open | VisitMark::Unseen => vec![self.enter(place)],
        };
        let mut last = false;
        while let Some(step) = steps.last_mut() {
            step.refused |= std::mem::take(&mut last);
            let Some(at) = step.sources.next() else {
                last = step.refused;
                self.doubtful -= usize::from(step.doubtful);
                self.marks[step.place] = VisitMark::Done { refused: last };
                steps.pop();
                self.refused_from_output = self.refused_from_output.min(steps.len());
                continue;
            };
            match self.marks[self.sources[at]] {
                VisitMark::Done { refused } => step.refused |= refused,
                VisitMark::Unseen => steps.push(self.enter(self.sources[at])),
                VisitMark::Open => {
                    let place = step.place;
                    // A backend that refuses a link by itself does not follow it around the cycle.
                    if self.doubtful == 0 {
                        // A cycle met again refuses nothing that is not refused already.
                        for step in &mut steps[self.refused_from_output..] {
                            step.refused = true;
                        }
                        self.refused_from_output = steps.len();
                        self.note(place, vec![cycle()]);
                    }
                }
            }
        }
        last
    }

    /// Checks one node and collects its sources.
    fn enter(&mut self, place: usize) -> VisitStep {
        self.marks[place] = VisitMark::Open;
        let first = self.sources.len();
        let (mut refused, mut doubtful) = (false, false);
        if let Some(class) = self.context.class(place) {
            let found = NodeCheck::run(self.context, place, class, &mut self.sources, &mut self.nearest);
            refused = found.iter().any(|fault| fault.certain);
            doubtful = !found.is_empty();
            self.note(place, found);
        }
        self.doubtful += usize::from(doubtful);
        VisitStep { place, sources: first..self.sources.len(), refused, doubtful }
    }

    fn faults(mut self) -> Vec<NodeFaults> {
        self.faults.sort_by_key(|(place, _)| *place);
        let mut all: Vec<NodeFaults> = Vec::with_capacity(self.faults.len());
        let mut last_place = None;
        for (place, faults) in self.faults {
            let node = self.context.node(place);
            let same = last_place.replace(place) == Some(place);
            match all.last_mut().filter(|_| same) {
                Some(known) => known.faults.extend(faults),
                None => all.push(NodeFaults {
                    node_id: brief(&node.id).into_owned(),
                    class_type: brief(&node.class_type).into_owned(),
                    faults,
                }),
            }
        }
        all
    }
}

fn cycle() -> NodeFault {
    NodeFault {
        kind: FaultKind::DependencyCycle,
        message: "its output comes back to its own input (a cycle)".to_owned(),
        input: None,
        received: None,
        nearest: Vec::new(),
        certain: true,
    }
}
