//! Writes the API graph: every node that runs, with the values of its fields and its links.
//! It must not know how links are followed.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use indexmap::IndexMap;
use jiff::civil::DateTime;

use super::extras;
use super::model::{Mode, Node, Role};
use super::report::{Place, Report, shortened};
use super::resolve::{Broken, Resolver, Source};
use super::{slots, text};
use crate::domain::fields;
use crate::domain::object_info::{Classes, InputSpec, NodeClass};
use crate::domain::params::nearest;

/// For how many unknown classes the nearest names are looked up.
const MOST_HINTS: usize = 20;

/// How large a graph may get, in bytes.
const MAX_BYTES: usize = 64 << 20;

/// What conversion takes besides the file.
pub(super) struct Surroundings<'s> {
    pub(super) classes: &'s dyn Classes,
    pub(super) now: DateTime,
    pub(super) draw: &'s mut dyn FnMut(usize) -> usize,
}

/// Writes the graph of a file.
pub(super) struct Emitter<'e, 's, 'd, 'c, 'a> {
    pub(super) resolver: Resolver<'d, 'c, 'a>,
    pub(super) around: Surroundings<'s>,
    pub(super) report: &'e mut Report,
    /// Nodes by the names that a file name's prefix may call them by; made when first needed.
    pub(super) names: Option<Names>,
    /// What was said about each unknown class.
    pub(super) hints: HashMap<String, String>,
}

/// The first node, as frame and position, of each name for search and of each title.
#[derive(Debug, Default)]
pub(super) struct Names {
    by_search_name: HashMap<String, (usize, usize)>,
    by_title: HashMap<String, (usize, usize)>,
}

impl<'d, 'c: 'd> Emitter<'_, '_, 'd, 'c, '_> {
    /// The whole graph as JSON text.
    pub(super) fn graph(&mut self) -> String {
        let mut json = String::from("{");
        let mut ids = HashSet::new();
        for frame in 0..self.resolver.frames.len() {
            let graph = self.resolver.graph(frame);
            for (at, node) in graph.nodes.iter().enumerate() {
                if node.role != Role::Plain || node.mode != Mode::Active || !graph.counts(at) {
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

    fn id(&self, frame: usize, node: &Node<'_>) -> String {
        format!("{}{}", self.resolver.frames[frame].path, node.path_id)
    }

    fn title(&self, frame: usize, at: usize) -> Cow<'d, str> {
        let node = &self.resolver.graph(frame).nodes[at];
        if let Some(raw) = node.title {
            return fields::text(raw)
                .map_or_else(|| Cow::Owned(raw.to_owned()), |title| Cow::Owned(title.into_owned()));
        }
        let class = self.resolver.known(frame, at).class;
        let shown = extras::title(&node.class).or_else(|| Some(class?.display_name.as_str()));
        Cow::Borrowed(shown.unwrap_or(&node.class))
    }

    fn place(&self, frame: usize, at: usize) -> Place {
        let node = &self.resolver.graph(frame).nodes[at];
        Place::new(&self.id(frame, node), &self.title(frame, at), &node.class)
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
            format!("no server has a node class {:?}{hint}", shortened(class))
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

    /// The values of all fields of a node, as they go into the graph.
    fn values(&mut self, frame: usize, at: usize, class: &'c NodeClass) -> IndexMap<String, String> {
        let Some(fields) = &self.resolver.known(frame, at).fields else { return IndexMap::new() };
        let fields: Vec<(String, Option<&'c InputSpec>)> =
            fields.widgets.iter().map(|widget| (widget.name.to_string(), widget.spec)).collect();
        let mut inputs = IndexMap::with_capacity(fields.len());
        for (name, spec) in fields {
            if let Some(value) = self.resolver.own_value(frame, at, &name) {
                let value = self.finished(class, &name, spec, value);
                inputs.insert(name, value);
            }
        }
        inputs
    }

    /// A field's value the way the editor hands it over.
    fn finished(
        &mut self,
        class: &NodeClass,
        name: &str,
        spec: Option<&InputSpec>,
        value: Cow<'_, str>,
    ) -> String {
        if value.starts_with('[') {
            let kind = if spec.is_some_and(|spec| spec.type_name == "CURVE") {
                "\"__type__\":\"CURVE\","
            } else {
                ""
            };
            return format!("{{{kind}\"__value__\":{value}}}");
        }
        let draws = spec.is_some_and(|spec| spec.options.dynamic_prompts);
        let fills = extras::is_filled_in(&class.name, name) && value.contains('%');
        let Some(plain) = (draws || fills).then(|| fields::text(&value)).flatten() else {
            return value.into_owned();
        };
        let mut changed = plain.into_owned();
        if draws {
            changed = text::draw_prompt(&changed, self.around.draw);
        }
        if fills {
            changed =
                text::fill_prefix(&changed, self.around.now, &mut |node, field| self.look_up(node, field));
        }
        let mut json = String::with_capacity(changed.len() + 2);
        push_string(&mut json, &changed);
        json
    }

    /// The value of a field of the node of that name, as text.
    fn look_up(&mut self, name: &str, field: &str) -> Option<String> {
        if self.names.is_none() {
            self.names = Some(self.all_names());
        }
        let names = self.names.as_ref()?;
        let &(frame, at) = names.by_search_name.get(name).or_else(|| names.by_title.get(name))?;
        let value = match self.resolver.graph(frame).nodes[at].role {
            Role::Subgraph(inner) => {
                let child = *self.resolver.frames[frame].children.get(&at)?;
                let port = self.resolver.document.graphs[inner].input_port(field)?;
                match self.resolver.promoted(child, port) {
                    Source::Value(value) => value,
                    Source::Node { .. } | Source::Nothing => return None,
                }
            }
            _ => self.resolver.own_value(frame, at, field)?,
        };
        match value.as_bytes().first()? {
            b'"' => fields::text(&value).map(Cow::into_owned),
            b'n' => Some(String::new()),
            b'[' | b'{' => None,
            _ => Some(value.strip_suffix(".0").unwrap_or(&value).to_owned()),
        }
    }

    fn all_names(&self) -> Names {
        let mut names = Names::default();
        for frame in 0..self.resolver.frames.len() {
            let graph = self.resolver.graph(frame);
            for (at, node) in graph.nodes.iter().enumerate().filter(|(at, _)| graph.counts(*at)) {
                if let Some(name) = &node.search_name {
                    names.by_search_name.entry(name.to_string()).or_insert((frame, at));
                }
                names.by_title.entry(self.title(frame, at).into_owned()).or_insert((frame, at));
            }
        }
        names
    }

    /// Puts the links of a node over its values.
    fn links(&mut self, frame: usize, at: usize, inputs: &mut IndexMap<String, String>) {
        let node = &self.resolver.graph(frame).nodes[at];
        let mut seen = HashSet::new();
        for slot in &node.inputs {
            let Some(link) = slot.link.as_deref() else { continue };
            if !seen.insert(&slot.name) {
                continue;
            }
            let Some(fields) = &self.resolver.known(frame, at).fields else { return };
            let spec = fields.widget(&slot.name).map(|widget| widget.spec);
            let wanted = match spec {
                Some(spec) => spec.map_or("*", slots::type_of).to_owned(),
                None => match slots::socket_type(fields, &slot.name) {
                    Some(wanted) => wanted.to_owned(),
                    // A field the class no longer has is dropped; a mere link goes along.
                    None if slot.is_widget => continue,
                    None => slot.type_name.to_string(),
                },
            };
            if !self.resolver.graph(frame).links.contains_key(link) {
                let place = self.place(frame, at);
                let message = format!(
                    "input {:?} names link {link}, which is not in the file: taken as not linked",
                    slot.name
                );
                self.report.warn_at(place, message);
            }
            match self.resolver.follow(frame, link, &wanted) {
                Ok(Source::Nothing) => {}
                Ok(Source::Node { id, slot: output }) => {
                    let mut json = String::from("[");
                    push_string(&mut json, &id);
                    json.push(',');
                    json.push_str(&output.to_string());
                    json.push(']');
                    inputs.insert(slot.name.to_string(), json);
                }
                Ok(Source::Value(value)) => {
                    if let Some(class) = self.resolver.known(frame, at).class {
                        let value = self.finished(class, &slot.name, spec.flatten(), value);
                        inputs.insert(slot.name.to_string(), value);
                    }
                }
                Err(broken) => {
                    let place = self.place(frame, at);
                    self.report.fault_at(place, describe(&slot.name, &broken));
                }
            }
        }
    }
}

fn describe(input: &str, broken: &Broken) -> String {
    match broken {
        Broken::NoNode(id) => format!("input {input:?} is linked to node {id}, which is not in the file"),
        Broken::NoSlot(id) => {
            format!("the link from node {id} to input {input:?} does not say which output it is from")
        }
        Broken::Circle => {
            format!("the link to input {input:?} comes back to itself through reroutes or bypassed nodes")
        }
        Broken::TooLong => {
            format!("the link to input {input:?} could not be followed: the file's links are too long")
        }
    }
}

fn is_uuid(class: &str) -> bool {
    class.len() == 36 && uuid::Uuid::try_parse(class).is_ok()
}

fn push_string(json: &mut String, text: &str) {
    json.push_str(&serde_json::Value::from(text).to_string());
}
