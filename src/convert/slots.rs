//! The inputs of a node in the order that slots count them.

use std::borrow::Cow;

use super::graph::EditorGraph;
use super::model::{EditorNode, SavedInput};
use super::widgets::NodeFields;
use crate::domain::object_info::{AutogrowShape, InputKind, InputSpec};

/// One input slot: its name and type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct InputSlot<'n> {
    pub(super) name: Cow<'n, str>,
    pub(super) type_name: Cow<'n, str>,
}

/// The slots of a node: of a subgraph instance those of its definition; of a known class its sockets, then its
/// fields, then what else was saved; of an unknown class what was saved.
pub(super) fn of_node<'n>(
    node: &'n EditorNode<'_>,
    definition: Option<&'n EditorGraph<'_>>,
    fields: Option<&'n NodeFields<'_, '_>>,
) -> Vec<InputSlot<'n>> {
    if let Some(definition) = definition {
        let port = |port: &'n super::model::SubgraphPort<'_>| slot(&port.name, &port.type_name);
        return definition.inputs.iter().map(port).collect();
    }
    let Some(fields) = fields else { return node.inputs.iter().map(saved).collect() };
    let mut slots = Vec::new();
    for socket in &fields.sockets {
        match &socket.spec.kind {
            InputKind::Autogrow(grow) => slots.extend(parts(node, &socket.name, &socket.spec.name, grow)),
            _ => slots.push(slot(&socket.name, type_of(socket.spec))),
        }
    }
    let widgets = fields.widgets.iter().filter_map(|widget| Some((widget, widget.spec?)));
    slots.extend(widgets.map(|(widget, spec)| slot(&widget.name, type_of(spec))));
    let known: std::collections::HashSet<String> = slots.iter().map(|slot| slot.name.to_string()).collect();
    slots.extend(node.inputs.iter().filter(|input| !known.contains(input.name.as_ref())).map(saved));
    slots
}

fn slot<'n>(name: &'n str, type_name: &'n str) -> InputSlot<'n> {
    InputSlot { name: Cow::Borrowed(name), type_name: Cow::Borrowed(type_name) }
}

fn saved<'n>(input: &'n SavedInput<'_>) -> InputSlot<'n> {
    slot(&input.name, &input.type_name)
}

/// The type by which an input is matched.
pub(super) fn type_of(spec: &InputSpec) -> &str {
    match &spec.kind {
        InputKind::MatchType { allowed_types, .. } => allowed_types,
        _ => &spec.type_name,
    }
}

/// The parts that a node has of an autogrow input: those that were saved, and as many as there must be, at
/// least one.
fn parts<'n>(
    node: &'n EditorNode<'_>,
    full_name: &str,
    own_name: &str,
    grow: &'n AutogrowShape,
) -> Vec<InputSlot<'n>> {
    let type_name = grow.template.first().map_or("*", type_of);
    let least = usize::try_from(grow.min).unwrap_or(0).clamp(1, 100);
    let due = (0..least)
        .filter_map(|at| grow.part(own_name, at))
        .map(|part| Cow::Owned(format!("{full_name}.{part}")));
    let saved = node.inputs.iter().filter(|input| is_part(&input.name, full_name, own_name, grow));
    let names: indexmap::IndexSet<Cow<'n, str>> =
        due.chain(saved.map(|input| Cow::Borrowed(&*input.name))).collect();
    names.into_iter().map(|name| InputSlot { name, type_name: Cow::Borrowed(type_name) }).collect()
}

fn is_part(name: &str, full_name: &str, own_name: &str, grow: &AutogrowShape) -> bool {
    let part = name.strip_prefix(full_name).and_then(|rest| rest.strip_prefix('.'));
    part.is_some_and(|part| grow.has_part(own_name, part))
}

/// The type of the socket that a saved input belongs to; `None` where the class has no such socket.
pub(super) fn socket_type<'n>(fields: &'n NodeFields<'_, '_>, name: &str) -> Option<&'n str> {
    fields.sockets.iter().find_map(|socket| match &socket.spec.kind {
        InputKind::Autogrow(grow) => is_part(name, &socket.name, &socket.spec.name, grow)
            .then(|| grow.template.first().map_or("*", type_of)),
        _ => (socket.name == name).then(|| type_of(socket.spec)),
    })
}
