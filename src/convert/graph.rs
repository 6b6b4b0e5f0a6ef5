//! One graph of an editor file, and finding things in it. It must not follow links from node to node.

use std::borrow::Cow;
use std::collections::HashMap;

use super::model::{INPUT_SIDE, Link, Node, Port, Slot};

/// The file's own graph, or a subgraph's definition.
#[derive(Debug, Clone, Default)]
pub(super) struct Graph<'a> {
    /// The definition's id, which is the class of its instances.
    pub(super) id: Cow<'a, str>,
    pub(super) name: Cow<'a, str>,
    pub(super) nodes: Vec<Node<'a>>,
    pub(super) links: HashMap<Cow<'a, str>, Link<'a>>,
    pub(super) inputs: Vec<Port<'a>>,
    pub(super) outputs: Vec<Port<'a>>,
    pub(super) index: Index<'a>,
}

/// Where things stand in a [`Graph`].
#[derive(Debug, Clone, Default)]
pub(super) struct Index<'a> {
    /// Positions in `nodes`; of a repeated id the last.
    nodes: HashMap<Cow<'a, str>, usize>,
    /// Positions in `inputs`; of a repeated name the first.
    inputs: HashMap<Cow<'a, str>, usize>,
    /// For each of `inputs`, the inner node and its saved input that it feeds first.
    targets: Vec<Option<(usize, usize)>>,
    /// For each of `outputs`, the id of the link that feeds it.
    sources: Vec<Option<Cow<'a, str>>>,
}

impl<'a> Graph<'a> {
    /// The graph with all lookups made; nodes, links and ports must not change any more.
    pub(super) fn indexed(mut self) -> Self {
        let nodes: HashMap<_, _> =
            self.nodes.iter().enumerate().map(|(at, node)| (node.id.clone(), at)).collect();
        let target = |port: &Port<'a>| {
            port.links.iter().find_map(|id| {
                let link = self.links.get(id).filter(|link| link.origin == INPUT_SIDE)?;
                let at = *nodes.get(&link.target)?;
                let slot = self.nodes[at].inputs.iter().position(|slot| slot.link.as_ref() == Some(id))?;
                Some((at, slot))
            })
        };
        let source = |port: &Port<'a>| port.links.iter().find(|id| self.links.contains_key(*id)).cloned();
        let inputs = self.inputs.iter().enumerate().rev().map(|(at, port)| (port.name.clone(), at)).collect();
        let targets = self.inputs.iter().map(target).collect();
        let sources = self.outputs.iter().map(source).collect();
        self.index = Index { nodes, inputs, targets, sources };
        self
    }

    /// The node of that id and its position.
    pub(super) fn node(&self, id: &str) -> Option<(usize, &Node<'a>)> {
        let at = *self.index.nodes.get(id)?;
        Some((at, &self.nodes[at]))
    }

    /// Whether the node at `at` counts: of a repeated id only the last does.
    pub(super) fn counts(&self, at: usize) -> bool {
        self.index.nodes.get(&self.nodes[at].id) == Some(&at)
    }

    /// The position of the inner node, and its saved input, that the subgraph's input `port` feeds first.
    pub(super) fn first_target(&self, port: usize) -> Option<(usize, &Slot<'a>)> {
        let (at, slot) = self.index.targets.get(port).copied().flatten()?;
        Some((at, &self.nodes[at].inputs[slot]))
    }

    /// The id of the link that feeds the subgraph's output `port`.
    pub(super) fn output_link(&self, port: usize) -> Option<&str> {
        self.index.sources.get(port)?.as_deref()
    }

    /// The position of the subgraph's input of that name.
    pub(super) fn input_port(&self, name: &str) -> Option<usize> {
        self.index.inputs.get(name).copied()
    }
}
