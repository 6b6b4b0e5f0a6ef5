//! Group nodes of old files (`workflow>name`), rewritten as subgraphs.
//!
//! Source: observed from the official frontend 1.58.1, which rewrites them on loading.

use std::borrow::Cow;
use std::collections::HashMap;

use super::graph::EditorGraph;
use super::model::{
    EditorLink, EditorNode, INPUT_SIDE, NodeMode, NodeRole, OUTPUT_SIDE, ParsedFile, SavedInput,
    SubgraphPort, WidgetValues,
};
use super::report::{ConversionReport, NodePlace};
use super::{parts, widgets};
use crate::domain::fields::{self, JsonFields};
use crate::domain::object_info::NodeClasses;

/// Turns every group node of the file's own graph into an instance of a subgraph of its own.
pub(super) fn rewrite<'a>(
    document: &mut ParsedFile<'a>,
    groups: Option<&JsonFields<'a>>,
    classes: &dyn NodeClasses,
    report: &mut ConversionReport,
) {
    for at in 0..document.graphs[0].nodes.len() {
        let node = &document.graphs[0].nodes[at];
        let Some(name) = group_name(&node.class) else { continue };
        if node.mode == NodeMode::Muted {
            continue;
        }
        let title = node.title.and_then(fields::text).unwrap_or_default();
        let place = NodePlace::new(&node.id, &title, &node.class);
        let Some(group) = groups.and_then(|groups| groups.fields(name)) else {
            report.fault_at(
                place,
                format!("the definition of the group node {name:?} is missing from the file"),
            );
            continue;
        };
        match GroupBuilder::new(&group, classes).build(node) {
            Ok(graph) => {
                let role = NodeRole::Subgraph(document.graphs.len());
                document.graphs.push(graph.indexed());
                let node = &mut document.graphs[0].nodes[at];
                node.role = role;
                node.values = WidgetValues::List(Vec::new());
            }
            Err(message) => report.fault_at(place, message),
        }
    }
}

fn group_name(class: &str) -> Option<&str> {
    class.strip_prefix("workflow>").or_else(|| class.strip_prefix("workflow/"))
}

/// One inner link: from output to input, by the positions of nodes and slots.
struct InnerLink {
    from: (usize, u64),
    to: (usize, usize),
}

struct GroupBuilder<'b, 'a> {
    nodes: Vec<JsonFields<'a>>,
    links: Vec<InnerLink>,
    /// Outputs that are shown although a node inside is linked to them.
    shown: Vec<(usize, u64)>,
    config: Option<JsonFields<'a>>,
    classes: &'b dyn NodeClasses,
    graph: EditorGraph<'a>,
    /// How often each name was given to an input.
    names: HashMap<String, usize>,
    /// The instance's values, and how many are used.
    values: Vec<&'a str>,
    taken: usize,
}

impl<'b, 'a> GroupBuilder<'b, 'a> {
    fn new(group: &JsonFields<'a>, classes: &'b dyn NodeClasses) -> Self {
        let number = |raw: &str| raw.parse::<u64>().ok();
        let place = |raw: &str| raw.parse::<usize>().ok();
        let inner = |raw: &str| match *fields::list(raw).get(..4)? {
            [from, from_slot, to, to_slot] => Some(InnerLink {
                from: (place(from)?, number(from_slot)?),
                to: (place(to)?, place(to_slot)?),
            }),
            _ => None,
        };
        let shown = |raw: &str| match *fields::list(raw).get(..2)? {
            [node, slot] => Some((place(node)?, number(slot)?)),
            _ => None,
        };
        Self {
            nodes: group
                .list("nodes")
                .into_iter()
                .map(|raw| JsonFields::parse(raw).unwrap_or_default())
                .collect(),
            links: group.list("links").into_iter().filter_map(inner).collect(),
            shown: group.list("external").into_iter().filter_map(shown).collect(),
            config: group.fields("config"),
            classes,
            graph: EditorGraph::default(),
            names: HashMap::new(),
            values: Vec::new(),
            taken: 0,
        }
    }

    /// The subgraph for one instance.
    fn build(mut self, instance: &EditorNode<'a>) -> Result<EditorGraph<'a>, String> {
        if let WidgetValues::List(values) = &instance.values {
            self.values.clone_from(values);
        }
        self.graph.name.clone_from(&instance.class);
        for at in 0..self.nodes.len() {
            let node = self.node(at)?;
            self.graph.nodes.push(node);
        }
        self.links_inside();
        for slot in instance.inputs.iter().filter(|slot| slot.link.is_some()) {
            if !self.graph.inputs.iter().any(|port| port.name == slot.name) {
                return Err(format!(
                    "the group node's input {:?} belongs to none of its nodes; in the editor convert it to a subgraph",
                    slot.name
                ));
            }
        }
        Ok(self.graph)
    }

    fn node(&mut self, at: usize) -> Result<EditorNode<'a>, String> {
        let mut node =
            parts::node_at(&self.nodes[at], at).ok_or("an entry of the group node's nodes is no node")?;
        let Some(class) = self.classes.class(&node.class) else {
            self.outputs(at, &node, node.output_types.len());
            return Ok(node);
        };
        let linked: Vec<String> = self
            .links
            .iter()
            .filter(|link| link.to.0 == at)
            .filter_map(|link| Some(node.inputs.get(link.to.1)?.name.to_string()))
            .collect();
        let own = widgets::assign(class, &node.values);
        let mut values = WidgetValues::List(Vec::new());
        if let WidgetValues::List(values) = &mut values {
            // A field that is linked inside has no value in the instance, nor have the extra values after it.
            let mut absent = false;
            for (name, own_value) in own.saved {
                absent =
                    linked.iter().any(|linked| *linked == name) || (absent && name.starts_with("control_"));
                let given = if absent { None } else { self.take() };
                values.push(given.filter(|value| *value != "null").or(own_value).unwrap_or("null"));
            }
        }
        let names: Vec<String> = own
            .sockets
            .iter()
            .map(|socket| socket.name.to_string())
            .chain(
                own.widgets
                    .iter()
                    .filter(|widget| widget.spec.is_some())
                    .map(|widget| widget.name.to_string()),
            )
            .collect();
        node.values = values;
        for name in names {
            if !node.inputs.iter().any(|slot| slot.name == name) {
                let name = Cow::Owned(name.clone());
                node.inputs.push(SavedInput {
                    name,
                    type_name: "*".into(),
                    link: None,
                    is_widget: false,
                    label: None,
                });
            }
            if !linked.contains(&name) {
                self.input(at, &mut node, &name);
            }
        }
        self.outputs(at, &node, class.outputs.len());
        Ok(node)
    }

    fn take(&mut self) -> Option<&'a str> {
        self.taken += 1;
        self.values.get(self.taken - 1).copied()
    }

    /// The entry of `config` for an input or output of a node: a name of its own, and whether it is shown.
    fn configured(&self, at: usize, kind: &str, slot: &str) -> (Option<Cow<'a, str>>, Option<bool>) {
        let config = self
            .config
            .as_ref()
            .and_then(|config| config.fields(&at.to_string())?.fields(kind)?.fields(slot));
        config.map_or((None, None), |config| (config.text("name"), config.get("visible")))
    }

    /// An input of a node that nothing inside is linked to is an input of the group.
    fn input(&mut self, at: usize, node: &mut EditorNode<'a>, input: &str) {
        let label = node.inputs.iter().find(|slot| slot.name == input).and_then(|slot| slot.label.clone());
        let (configured, _) = self.configured(at, "input", input);
        let mut name = configured.or(label).map_or_else(|| input.to_owned(), Cow::into_owned);
        let mut key = name.clone();
        if self.names.contains_key(&name) {
            let prefix = node.title.and_then(fields::text).unwrap_or_else(|| node.class.clone());
            key = format!("{prefix} {input}");
            name.clone_from(&key);
            if let Some(times) = self.names.get(&key) {
                name = format!("{prefix} {times} {input}");
            }
        }
        *self.names.entry(key).or_insert(1) += 1;
        let id: Cow<'a, str> = Cow::Owned(format!("i{}", self.graph.inputs.len()));
        let port = self.graph.inputs.len() as u64;
        let link = EditorLink {
            origin: Cow::Borrowed(INPUT_SIDE),
            origin_slot: Some(port),
            target: node.id.clone(),
            target_slot: None,
        };
        self.graph.links.insert(id.clone(), link);
        let slot = node.inputs.iter_mut().find(|slot| slot.name == input);
        let type_name = slot.map_or(Cow::Borrowed("*"), |slot| {
            slot.link = Some(id.clone());
            slot.type_name.clone()
        });
        self.graph.inputs.push(SubgraphPort { name: Cow::Owned(name), type_name, links: vec![id] });
    }

    /// Outputs that nothing inside is linked to, and those told to be shown, are outputs of the group.
    fn outputs(&mut self, at: usize, node: &EditorNode<'a>, count: usize) {
        for slot in 0..count as u64 {
            let inside =
                self.links.iter().any(|link| link.from == (at, slot)) && !self.shown.contains(&(at, slot));
            let (_, visible) = self.configured(at, "output", &slot.to_string());
            if !visible.unwrap_or(!inside) {
                continue;
            }
            let id: Cow<'a, str> = Cow::Owned(format!("o{}", self.graph.outputs.len()));
            let link = EditorLink {
                origin: node.id.clone(),
                origin_slot: Some(slot),
                target: Cow::Borrowed(OUTPUT_SIDE),
                target_slot: None,
            };
            self.graph.links.insert(id.clone(), link);
            let type_name = usize::try_from(slot).ok().and_then(|slot| node.output_types.get(slot)).cloned();
            let type_name = type_name.unwrap_or(Cow::Borrowed("*"));
            self.graph.outputs.push(SubgraphPort { name: Cow::Borrowed(""), type_name, links: vec![id] });
        }
    }

    fn links_inside(&mut self) {
        for (number, link) in self.links.iter().enumerate() {
            let Some(origin) = self.graph.nodes.get(link.from.0).map(|node| node.id.clone()) else {
                continue;
            };
            let Some(node) = self.graph.nodes.get_mut(link.to.0) else { continue };
            let target = node.id.clone();
            let Some(slot) = node.inputs.get_mut(link.to.1) else { continue };
            let id: Cow<'a, str> = Cow::Owned(format!("l{number}"));
            slot.link = Some(id.clone());
            let link = EditorLink { origin, origin_slot: Some(link.from.1), target, target_slot: None };
            self.graph.links.insert(id, link);
        }
    }
}
