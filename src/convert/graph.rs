//! One graph of an editor file, and lookups in it.

use std::borrow::Cow;
use std::collections::HashMap;

use super::model::{EditorLink, EditorNode, INPUT_SIDE, SavedInput, SubgraphPort};

/// The file's own graph, or a subgraph's definition.
#[derive(Debug, Clone, Default)]
pub(super) struct EditorGraph<'a> {
    /// The definition's id, which is the class of its instances.
    pub(super) id: Cow<'a, str>,
    pub(super) name: Cow<'a, str>,
    pub(super) nodes: Vec<EditorNode<'a>>,
    pub(super) links: HashMap<Cow<'a, str>, EditorLink<'a>>,
    pub(super) inputs: Vec<SubgraphPort<'a>>,
    pub(super) outputs: Vec<SubgraphPort<'a>>,
    pub(super) index: GraphIndex<'a>,
}

/// Lookup tables of an [`EditorGraph`].
#[derive(Debug, Clone, Default)]
pub(super) struct GraphIndex<'a> {
    /// Positions in `nodes`; of a repeated id the last.
    nodes: HashMap<Cow<'a, str>, usize>,
    /// Positions in `inputs`; of a repeated name the first.
    inputs: HashMap<Cow<'a, str>, usize>,
    /// For each of `inputs`, the inner node and its saved input that it feeds first.
    targets: Vec<Option<(usize, usize)>>,
    /// For each of `outputs`, the id of the link that feeds it.
    sources: Vec<Option<Cow<'a, str>>>,
}

impl<'a> EditorGraph<'a> {
    /// The graph with all lookup tables built. Its nodes, links and ports must not change afterwards.
    pub(super) fn indexed(mut self) -> Self {
        let nodes: HashMap<_, _> =
            self.nodes.iter().enumerate().map(|(at, node)| (node.id.clone(), at)).collect();
        let target = |port: &SubgraphPort<'a>| {
            port.links.iter().find_map(|id| {
                let link = self.links.get(id).filter(|link| link.origin == INPUT_SIDE)?;
                let at = *nodes.get(&link.target)?;
                let slot = self.nodes[at].inputs.iter().position(|slot| slot.link.as_ref() == Some(id))?;
                Some((at, slot))
            })
        };
        let source =
            |port: &SubgraphPort<'a>| port.links.iter().find(|id| self.links.contains_key(*id)).cloned();
        let inputs = self.inputs.iter().enumerate().rev().map(|(at, port)| (port.name.clone(), at)).collect();
        let targets = self.inputs.iter().map(target).collect();
        let sources = self.outputs.iter().map(source).collect();
        self.index = GraphIndex { nodes, inputs, targets, sources };
        self
    }

    /// The node of that id and its position.
    pub(super) fn node(&self, id: &str) -> Option<(usize, &EditorNode<'a>)> {
        let at = *self.index.nodes.get(id)?;
        Some((at, &self.nodes[at]))
    }

    /// Whether the node at `at` counts: of a repeated id, only the last node does.
    pub(super) fn counts(&self, at: usize) -> bool {
        self.index.nodes.get(&self.nodes[at].id) == Some(&at)
    }

    /// The position of the inner node, and its saved input, that the subgraph's input `port` feeds first.
    pub(super) fn first_target(&self, port: usize) -> Option<(usize, &SavedInput<'a>)> {
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
