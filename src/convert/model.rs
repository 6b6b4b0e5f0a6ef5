//! The parts of an editor file that conversion needs.

use std::borrow::Cow;
use std::collections::HashMap;

use super::graph::EditorGraph;

/// The id by which links inside a subgraph name its input side.
pub(super) const INPUT_SIDE: &str = "-10";
/// The id by which links inside a subgraph name its output side.
pub(super) const OUTPUT_SIDE: &str = "-20";

/// Whether a node runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NodeMode {
    Active,
    Muted,
    Bypassed,
}

/// The role of a node for the converter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NodeRole {
    /// A node of a backend's class, known or not.
    Plain,
    /// `Note`, `MarkdownNote`: for readers only.
    Note,
    /// `Reroute`: passes its one input on.
    Reroute,
    /// `PrimitiveNode`: writes its value into the fields it is linked to.
    Primitive,
    /// An instance of the subgraph defined by `ParsedFile::graphs[_]`.
    Subgraph(usize),
}

/// One saved input of a node.
#[derive(Debug, Clone)]
pub(super) struct SavedInput<'a> {
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
pub(super) enum WidgetValues<'a> {
    /// By position; nodes that save none have an empty list.
    List(Vec<&'a str>),
    /// By name.
    Named(HashMap<Cow<'a, str>, &'a str>),
}

/// One node.
#[derive(Debug, Clone)]
pub(super) struct EditorNode<'a> {
    /// The id that links use.
    pub(super) id: Cow<'a, str>,
    /// The id it gets in the API graph, after the path of its subgraph.
    pub(super) path_id: Cow<'a, str>,
    pub(super) class: Cow<'a, str>,
    /// Its own title, as raw JSON: a text that is not empty, or a number.
    pub(super) title: Option<&'a str>,
    pub(super) mode: NodeMode,
    pub(super) role: NodeRole,
    pub(super) inputs: Vec<SavedInput<'a>>,
    pub(super) output_types: Vec<Cow<'a, str>>,
    pub(super) values: WidgetValues<'a>,
    /// `proxyWidgets`: the inner node and field that each value of a subgraph instance is for.
    pub(super) proxies: Option<Vec<(Cow<'a, str>, Cow<'a, str>)>>,
    /// `Node name for S&R`, by which a file name's prefix may refer to it.
    pub(super) search_name: Option<Cow<'a, str>>,
}

impl EditorNode<'_> {
    /// The saved input of that name; where several have it, the first that is linked.
    pub(super) fn input(&self, name: &str) -> Option<&SavedInput<'_>> {
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
pub(super) struct EditorLink<'a> {
    pub(super) origin: Cow<'a, str>,
    pub(super) origin_slot: Option<u64>,
    pub(super) target: Cow<'a, str>,
    pub(super) target_slot: Option<u64>,
}

/// One input or output of a subgraph.
#[derive(Debug, Clone)]
pub(super) struct SubgraphPort<'a> {
    pub(super) name: Cow<'a, str>,
    pub(super) type_name: Cow<'a, str>,
    /// The ids of its links inside, in their order.
    pub(super) links: Vec<Cow<'a, str>>,
}

/// A whole file.
#[derive(Debug, Clone)]
pub(super) struct ParsedFile<'a> {
    /// The file's own graph first, then the definitions in the file's order.
    pub(super) graphs: Vec<EditorGraph<'a>>,
}
