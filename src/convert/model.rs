//! A workflow file as the editor saves it, as far as converting it needs. It must not know any node class.

use std::borrow::Cow;
use std::collections::HashMap;

/// The id by which links inside a subgraph name its input side.
pub(super) const INPUT_SIDE: &str = "-10";
/// The id by which links inside a subgraph name its output side.
pub(super) const OUTPUT_SIDE: &str = "-20";

/// Whether a node runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    Active,
    Muted,
    Bypassed,
}

/// What a node is to the converter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// A node of a server's class, known or not.
    Plain,
    /// `Note`, `MarkdownNote`: for readers only.
    Note,
    /// `Reroute`: hands its one input on.
    Reroute,
    /// `PrimitiveNode`: writes its value into the fields it is linked to.
    Primitive,
    /// An instance of the subgraph defined by `Document::graphs[_]`.
    Subgraph(usize),
}

/// One saved input of a node.
#[derive(Debug, Clone)]
pub(super) struct Slot<'a> {
    pub(super) name: Cow<'a, str>,
    pub(super) type_name: Cow<'a, str>,
    /// The id of the link that feeds it.
    pub(super) link: Option<Cow<'a, str>>,
    /// Whether it was saved as the input of a field.
    pub(super) is_widget: bool,
    /// The name the editor shows for it.
    pub(super) label: Option<Cow<'a, str>>,
}

/// `widgets_values`, as raw JSON.
#[derive(Debug, Clone)]
pub(super) enum Values<'a> {
    /// By position; nodes that save none have an empty list.
    List(Vec<&'a str>),
    /// By name.
    Named(HashMap<Cow<'a, str>, &'a str>),
}

/// One node.
#[derive(Debug, Clone)]
pub(super) struct Node<'a> {
    /// The id that links use.
    pub(super) id: Cow<'a, str>,
    /// The id it gets in the API graph, after the path of its subgraph.
    pub(super) path_id: Cow<'a, str>,
    pub(super) class: Cow<'a, str>,
    /// Its own title, as raw JSON: a text that is not empty, or a number.
    pub(super) title: Option<&'a str>,
    pub(super) mode: Mode,
    pub(super) role: Role,
    pub(super) inputs: Vec<Slot<'a>>,
    pub(super) output_types: Vec<Cow<'a, str>>,
    pub(super) values: Values<'a>,
    /// `proxyWidgets`: the inner node and field that each value of a subgraph instance is for.
    pub(super) proxies: Option<Vec<(Cow<'a, str>, Cow<'a, str>)>>,
    /// `Node name for S&R`, by which a file name's prefix may refer to it.
    pub(super) search_name: Option<Cow<'a, str>>,
}

impl Node<'_> {
    /// The saved input of that name; where several have it, the first that is linked.
    pub(super) fn input(&self, name: &str) -> Option<&Slot<'_>> {
        let mut named = self.inputs.iter().filter(|slot| slot.name == name);
        let first = named.next()?;
        if first.link.is_some() {
            return Some(first);
        }
        named.find(|slot| slot.link.is_some()).or(Some(first))
    }
}

/// One link.
#[derive(Debug, Clone)]
pub(super) struct Link<'a> {
    pub(super) origin: Cow<'a, str>,
    pub(super) origin_slot: Option<u64>,
    pub(super) target: Cow<'a, str>,
    pub(super) target_slot: Option<u64>,
}

/// One input or output of a subgraph.
#[derive(Debug, Clone)]
pub(super) struct Port<'a> {
    pub(super) name: Cow<'a, str>,
    pub(super) type_name: Cow<'a, str>,
    /// The ids of its links inside, in their order.
    pub(super) links: Vec<Cow<'a, str>>,
}

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

/// A whole file.
#[derive(Debug, Clone)]
pub(super) struct Document<'a> {
    /// The file's own graph first, then the definitions in the file's order.
    pub(super) graphs: Vec<Graph<'a>>,
}
