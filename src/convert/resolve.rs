//! Follows links through reroutes, through bypassed nodes and in and out of subgraphs, to their source node
//! or value.

use std::borrow::Cow;
use std::cell::Cell;

use super::frames::GraphFrame;
use super::graph::EditorGraph;
use super::model::{EditorNode, INPUT_SIDE, NodeMode, NodeRole, ParsedFile, WidgetValues};
use super::widgets::NodeFields;
use super::{bypass, slots};
use crate::domain::object_info::NodeClass;

/// The source of an input's value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum InputSource<'a> {
    /// An output of a node.
    Node {
        /// Its id in the API graph.
        id: String,
        /// The index of the output.
        slot: u64,
    },
    /// A value, as JSON.
    Value(Cow<'a, str>),
    /// No source: the link leads to a muted node, or to an input without a link.
    Nothing,
}

/// Why a link cannot be followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum BrokenLink {
    /// It comes from a node that is not in the file.
    NoNode(String),
    /// It does not say which output it comes from.
    NoSlot(String),
    /// It leads back to itself through reroutes or bypassed nodes.
    Circle,
    /// Too many steps for the whole file.
    TooLong,
}

/// Facts about a node that are not in the file.
#[derive(Debug, Default)]
pub(super) struct KnownNode<'c, 'a> {
    pub(super) class: Option<&'c NodeClass>,
    pub(super) fields: Option<NodeFields<'c, 'a>>,
}

/// The most steps over nodes and links for one file, which take about a second.
const MAX_STEPS: usize = 100_000_000;

/// The unfolded file.
pub(super) struct LinkResolver<'d, 'c, 'a> {
    pub(super) document: &'d ParsedFile<'a>,
    pub(super) frames: Vec<GraphFrame<'a>>,
    /// By graph and node.
    pub(super) known: Vec<Vec<KnownNode<'c, 'a>>>,
    /// The number of nodes in all frames.
    nodes: usize,
    steps: Cell<usize>,
}

/// The position while a link is followed.
struct LinkWalk<'w> {
    frame: usize,
    link: &'w str,
    wanted: Cow<'w, str>,
    /// Whether the link went through nothing but the edges of subgraphs so far.
    direct: bool,
    /// The frame and port of the outermost edge that was crossed outwards.
    crossed: Option<(usize, usize)>,
}

/// The result of one step.
enum WalkStep<'w, 'a> {
    On(LinkWalk<'w>),
    End(InputSource<'a>),
}

impl<'d, 'c, 'a> LinkResolver<'d, 'c, 'a> {
    pub(super) fn new(
        document: &'d ParsedFile<'a>,
        frames: Vec<GraphFrame<'a>>,
        known: Vec<Vec<KnownNode<'c, 'a>>>,
    ) -> Self {
        let nodes = frames.iter().map(|frame| document.graphs[frame.graph].nodes.len() + 1).sum();
        Self { document, frames, known, nodes, steps: Cell::new(0) }
    }

    /// Counts steps; `false` once the limit is reached.
    pub(super) fn spend(&self, steps: usize) -> bool {
        self.steps.set(self.steps.get().saturating_add(steps));
        self.steps.get() <= MAX_STEPS
    }

    pub(super) fn graph(&self, frame: usize) -> &'d EditorGraph<'a> {
        &self.document.graphs[self.frames[frame].graph]
    }

    pub(super) fn known(&self, frame: usize, node: usize) -> &KnownNode<'c, 'a> {
        &self.known[self.frames[frame].graph][node]
    }

    /// Follows the link of that id to where it comes from; `wanted` is the type of the input it feeds.
    pub(super) fn follow(
        &self,
        frame: usize,
        link: &'d str,
        wanted: &str,
    ) -> Result<InputSource<'a>, BrokenLink> {
        let mut walk =
            LinkWalk { frame, link, wanted: Cow::Owned(wanted.to_owned()), direct: true, crossed: None };
        for _ in 0..=2 * self.nodes {
            if !self.spend(16) {
                return Err(BrokenLink::TooLong);
            }
            let crossed = walk.crossed;
            match self.step(walk)? {
                WalkStep::On(next) => walk = next,
                // The field that the vanished link was put on keeps its own value.
                WalkStep::End(InputSource::Nothing) => {
                    return Ok(
                        crossed.map_or(InputSource::Nothing, |(frame, port)| self.promoted(frame, port))
                    );
                }
                WalkStep::End(source) => return Ok(source),
            }
        }
        Err(BrokenLink::Circle)
    }

    fn step(&self, walk: LinkWalk<'d>) -> Result<WalkStep<'d, 'a>, BrokenLink> {
        let nothing = Ok(WalkStep::End(InputSource::Nothing));
        let graph = self.graph(walk.frame);
        let Some(link) = graph.links.get(walk.link) else { return nothing };
        if let (INPUT_SIDE, Some(parent)) = (link.origin.as_ref(), self.frames[walk.frame].parent) {
            return Ok(self.outwards(walk, parent, link.origin_slot));
        }
        let Some((at, node)) = graph.node(&link.origin) else {
            return Err(BrokenLink::NoNode(link.origin.to_string()));
        };
        match (node.role, node.mode) {
            (NodeRole::Primitive, _) => {
                let value = (walk.direct && walk.crossed.is_some()).then(|| primitive(node)).flatten();
                Ok(WalkStep::End(
                    value.map_or(InputSource::Nothing, |value| InputSource::Value(Cow::Borrowed(value))),
                ))
            }
            (NodeRole::Note, _) | (_, NodeMode::Muted) => nothing,
            (NodeRole::Reroute, _) => match node.inputs.first().and_then(|slot| slot.link.as_deref()) {
                Some(link) => Ok(WalkStep::On(LinkWalk { link, direct: false, ..walk })),
                None => nothing,
            },
            (_, NodeMode::Bypassed) => Ok(self.through_bypassed(&walk, at, node, link.origin_slot)),
            (NodeRole::Subgraph(inner), NodeMode::Active) => {
                let port = link.origin_slot.and_then(|slot| usize::try_from(slot).ok());
                let inside = port.and_then(|port| self.document.graphs[inner].output_link(port));
                match (inside, self.frames[walk.frame].children.get(&at)) {
                    (Some(link), Some(&frame)) => {
                        Ok(WalkStep::On(LinkWalk { link, frame, direct: false, ..walk }))
                    }
                    _ => nothing,
                }
            }
            (NodeRole::Plain, NodeMode::Active) => {
                let slot = link.origin_slot.ok_or_else(|| BrokenLink::NoSlot(link.origin.to_string()))?;
                let id = format!("{}{}", self.frames[walk.frame].path, node.path_id);
                Ok(WalkStep::End(InputSource::Node { id, slot }))
            }
        }
    }

    /// From the inside of a subgraph to what its instance has there: a link, or a value.
    fn outwards(&self, walk: LinkWalk<'d>, parent: (usize, usize), port: Option<u64>) -> WalkStep<'d, 'a> {
        let ports = &self.graph(walk.frame).inputs;
        let port = port.and_then(|port| usize::try_from(port).ok());
        let Some((port, name)) = port.and_then(|port| Some((port, &ports.get(port)?.name))) else {
            return WalkStep::End(InputSource::Nothing);
        };
        let instance = &self.graph(parent.0).nodes[parent.1];
        self.spend(instance.inputs.len());
        match instance.input(name).and_then(|slot| slot.link.as_deref()) {
            Some(link) => {
                WalkStep::On(LinkWalk { frame: parent.0, link, crossed: Some((walk.frame, port)), ..walk })
            }
            None => WalkStep::End(self.promoted(walk.frame, port)),
        }
    }

    fn through_bypassed(
        &self,
        walk: &LinkWalk<'d>,
        at: usize,
        node: &'d EditorNode<'a>,
        slot: Option<u64>,
    ) -> WalkStep<'d, 'a> {
        let definition = match node.role {
            NodeRole::Subgraph(inner) => Some(&self.document.graphs[inner]),
            _ => None,
        };
        let known = &self.known[self.frames[walk.frame].graph][at];
        let inputs = slots::of_node(node, definition, known.fields.as_ref());
        self.spend(inputs.len());
        let output = slot.and_then(|slot| usize::try_from(slot).ok()).unwrap_or(usize::MAX);
        let output_type = match (definition, known.class) {
            (Some(definition), _) => definition.outputs.get(output).map(|port| port.type_name.as_ref()),
            (None, Some(class)) => class.outputs.get(output).map(|output| output.type_name.as_str()),
            (None, None) => node.output_types.get(output).map(AsRef::as_ref),
        };
        // The type of such an output is that of whatever is linked: any may be.
        let output_type = output_type.filter(|name| *name != "COMFY_MATCHTYPE_V3").unwrap_or("*");
        let input = bypass::handed_on(&inputs, output, output_type, &walk.wanted).map(|input| &inputs[input]);
        let next = input.and_then(|input| Some((input, node.input(&input.name)?.link.as_deref()?)));
        match next {
            Some((input, link)) => {
                let wanted = Cow::Owned(input.type_name.to_string());
                WalkStep::On(LinkWalk {
                    link,
                    wanted,
                    direct: false,
                    frame: walk.frame,
                    crossed: walk.crossed,
                })
            }
            None => WalkStep::End(InputSource::Nothing),
        }
    }

    /// The value of a subgraph's input that nothing is linked to: its instance's, else that of the first
    /// field inside that it feeds.
    pub(super) fn promoted(&self, mut frame: usize, mut port: usize) -> InputSource<'a> {
        loop {
            if let Some(value) = self.frames[frame].port_values.get(&port) {
                return InputSource::Value(Cow::Borrowed(value));
            }
            let Some((at, slot)) = self.graph(frame).first_target(port) else { return InputSource::Nothing };
            let NodeRole::Subgraph(inner) = self.graph(frame).nodes[at].role else {
                let value = self.own_value(frame, at, &slot.name);
                return value.map_or(InputSource::Nothing, InputSource::Value);
            };
            let inner_port = self.document.graphs[inner].input_port(&slot.name);
            let (Some(&child), Some(inner_port)) = (self.frames[frame].children.get(&at), inner_port) else {
                return InputSource::Nothing;
            };
            (frame, port) = (child, inner_port);
        }
    }

    /// The value of a node's field apart from its links: what the subgraph's instance says, what a `PrimitiveNode`
    /// wrote into it, what was saved, or the class's default.
    pub(super) fn own_value(&self, frame: usize, node: usize, field: &str) -> Option<Cow<'a, str>> {
        let widget = self.known(frame, node).fields.as_ref()?.widget(field)?;
        let given = self.frames[frame].field_values.get(&node).and_then(|fields| fields.get(field));
        if let Some(given) = given {
            return Some(Cow::Borrowed(given));
        }
        let graph = self.graph(frame);
        self.spend(graph.nodes[node].inputs.len());
        let link = graph.nodes[node].input(field).and_then(|slot| graph.links.get(slot.link.as_ref()?));
        let origin = link.and_then(|link| graph.node(&link.origin)).map(|(_, node)| node);
        let written = origin.filter(|node| node.role == NodeRole::Primitive).and_then(primitive);
        written.map(Cow::Borrowed).or_else(|| widget.value.clone())
    }
}

/// The value that a `PrimitiveNode` writes; whether it is muted does not matter.
fn primitive<'a>(node: &EditorNode<'a>) -> Option<&'a str> {
    match &node.values {
        WidgetValues::List(values) => values.first().copied().filter(|value| *value != "null"),
        WidgetValues::Named(_) => None,
    }
}
