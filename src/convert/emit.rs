//! Writes the API graph: every node that runs, with the values of its fields and its links.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use jiff::civil::DateTime;

use super::extras;
use super::finish::NodeNameIndex;
use super::model::{EditorNode, NodeMode, NodeRole};
use super::report::{ConversionReport, NodePlace, shortened};
use super::resolve::LinkResolver;
use crate::domain::fields;
use crate::domain::object_info::{NodeClass, NodeClasses};
use crate::domain::params::nearest;

/// The most unknown classes for which the nearest names are looked up.
const MOST_HINTS: usize = 20;

/// The largest graph, in bytes.
const MAX_BYTES: usize = 64 << 20;

/// The context of a conversion besides the file.
pub(super) struct ConversionContext<'s> {
    pub(super) classes: &'s dyn NodeClasses,
    pub(super) now: DateTime,
    pub(super) draw: &'s mut dyn FnMut(usize) -> usize,
}

/// Writes the graph of a file.
pub(super) struct GraphEmitter<'e, 's, 'd, 'c, 'a> {
    pub(super) resolver: LinkResolver<'d, 'c, 'a>,
    pub(super) around: ConversionContext<'s>,
    pub(super) report: &'e mut ConversionReport,
    /// Nodes by the names that a file name's prefix may use for them. Built on first use.
    pub(super) names: Option<NodeNameIndex>,
    /// The messages about unknown classes.
    pub(super) hints: HashMap<String, String>,
}

impl<'d, 'c: 'd> GraphEmitter<'_, '_, 'd, 'c, '_> {
    /// The whole graph as JSON text.
    pub(super) fn graph(&mut self) -> String {
        let mut json = String::from("{");
        let mut ids = HashSet::new();
        for frame in 0..self.resolver.frames.len() {
            let graph = self.resolver.graph(frame);
            for (at, node) in graph.nodes.iter().enumerate() {
                if node.role != NodeRole::Plain || node.mode != NodeMode::Active || !graph.counts(at) {
                    continue;
                }
                let id = self.id(frame, node);
                if ids.contains(&id) {
                    let place = self.place(frame, at);
                    self.report.fault_at(place, "another node comes to the same id");
                }
                let Some(class) = self.resolver.known(frame, at).class else {
                    self.unknown_class(frame, at);
                    continue;
                };
                if !ids.is_empty() {
                    json.push(',');
                }
                self.node(frame, at, class, &mut json);
                ids.insert(id);
                if json.len() > MAX_BYTES || !self.resolver.spend(node.inputs.len()) {
                    self.report.fault("the workflow is too large: its subgraphs repeat too much");
                    return json;
                }
            }
        }
        json.push('}');
        json
    }

    fn id(&self, frame: usize, node: &EditorNode<'_>) -> String {
        format!("{}{}", self.resolver.frames[frame].path, node.path_id)
    }

    pub(super) fn title(&self, frame: usize, at: usize) -> Cow<'d, str> {
        let node = &self.resolver.graph(frame).nodes[at];
        if let Some(raw) = node.title {
            return fields::text(raw)
                .map_or_else(|| Cow::Owned(raw.to_owned()), |title| Cow::Owned(title.into_owned()));
        }
        let class = self.resolver.known(frame, at).class;
        let shown = extras::title(&node.class).or_else(|| Some(class?.display_name.as_str()));
        Cow::Borrowed(shown.unwrap_or(&node.class))
    }

    pub(super) fn place(&self, frame: usize, at: usize) -> NodePlace {
        let node = &self.resolver.graph(frame).nodes[at];
        NodePlace::new(&self.id(frame, node), &self.title(frame, at), &node.class)
    }

    fn unknown_class(&mut self, frame: usize, at: usize) {
        let place = self.place(frame, at);
        let (hints, classes) = (self.hints.len(), self.around.classes);
        let class = self.resolver.graph(frame).nodes[at].class.to_string();
        let hint = self.hints.entry(class).or_insert_with_key(|class| {
            if is_uuid(class) {
                return "it is a subgraph whose definition is missing from the file".to_owned();
            }
            let near = if hints < MOST_HINTS { nearest(class, classes.names()) } else { Vec::new() };
            let mut names: Vec<&str> = Vec::new();
            for name in near {
                if !names.contains(&name) {
                    names.push(name);
                }
            }
            let hint = if names.is_empty() {
                String::new()
            } else {
                format!("; the nearest are {}", names.join(", "))
            };
            format!("no backend has a node class {:?}{hint}", shortened(class))
        });
        let message = hint.clone();
        self.report.fault_at(place, message);
    }

    fn node(&mut self, frame: usize, at: usize, class: &'c NodeClass, json: &mut String) {
        let doubts = self.resolver.known(frame, at).fields.as_ref().map(|fields| fields.doubts.clone());
        for doubt in doubts.unwrap_or_default() {
            let place = self.place(frame, at);
            self.report.warn_at(place, doubt);
        }
        let mut inputs = self.values(frame, at, class);
        self.links(frame, at, &mut inputs);
        let node = &self.resolver.graph(frame).nodes[at];
        push_string(json, &self.id(frame, node));
        json.push_str(":{\"inputs\":{");
        for (number, (name, value)) in inputs.iter().enumerate() {
            if number > 0 {
                json.push(',');
            }
            push_string(json, name);
            json.push(':');
            json.push_str(value);
        }
        json.push_str("},\"class_type\":");
        push_string(json, &class.name);
        json.push_str(",\"_meta\":{\"title\":");
        match node.title {
            Some(raw) => json.push_str(raw),
            None => push_string(json, &self.title(frame, at)),
        }
        json.push_str("}}");
    }
}

fn is_uuid(class: &str) -> bool {
    class.len() == 36 && uuid::Uuid::try_parse(class).is_ok()
}

pub(super) fn push_string(json: &mut String, text: &str) {
    json.push_str(&serde_json::Value::from(text).to_string());
}
