//! The inputs of a node in the order that slots count them, and how a bypassed node hands one of them on.
//! It must not follow any link.

use std::borrow::Cow;

use super::graph::Graph;
use super::model::{Node, Slot};
use super::widgets::Fields;
use crate::domain::object_info::{Autogrow, InputKind, InputSpec};

/// One input slot: its name and type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct InputSlot<'n> {
    pub(super) name: Cow<'n, str>,
    pub(super) type_name: Cow<'n, str>,
}

/// The slots of a node: of a subgraph instance those of its definition; of a known class its sockets, then its
/// fields, then what else was saved; of an unknown class what was saved.
pub(super) fn of_node<'n>(
    node: &'n Node<'_>,
    definition: Option<&'n Graph<'_>>,
    fields: Option<&'n Fields<'_, '_>>,
) -> Vec<InputSlot<'n>> {
    if let Some(definition) = definition {
        let port = |port: &'n super::model::Port<'_>| slot(&port.name, &port.type_name);
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

fn saved<'n>(input: &'n Slot<'_>) -> InputSlot<'n> {
    slot(&input.name, &input.type_name)
}

/// The type by which an input is matched.
pub(super) fn type_of(spec: &InputSpec) -> &str {
    match &spec.kind {
        InputKind::MatchType { allowed_types, .. } => allowed_types,
        _ => &spec.type_name,
    }
}

/// The parts that a node has of an autogrow input: those that were saved, and as many as there must be, at least one.
fn parts<'n>(node: &'n Node<'_>, full_name: &str, own_name: &str, grow: &'n Autogrow) -> Vec<InputSlot<'n>> {
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

fn is_part(name: &str, full_name: &str, own_name: &str, grow: &Autogrow) -> bool {
    let part = name.strip_prefix(full_name).and_then(|rest| rest.strip_prefix('.'));
    part.is_some_and(|part| grow.has_part(own_name, part))
}

/// The type of the socket that a saved input belongs to; `None` where the class has no such socket.
pub(super) fn socket_type<'n>(fields: &'n Fields<'_, '_>, name: &str) -> Option<&'n str> {
    fields.sockets.iter().find_map(|socket| match &socket.spec.kind {
        InputKind::Autogrow(grow) => is_part(name, &socket.name, &socket.spec.name, grow)
            .then(|| grow.template.first().map_or("*", type_of)),
        _ => (socket.name == name).then(|| type_of(socket.spec)),
    })
}

/// Which input a bypassed node hands on at its output `at` of type `output`, to whom `wanted` is welcome.
pub(super) fn handed_on(slots: &[InputSlot<'_>], at: usize, output: &str, wanted: &str) -> Option<usize> {
    if slots.is_empty() {
        return None;
    }
    if is_any(wanted) {
        return Some(if at < slots.len() { at } else { 0 });
    }
    let fits = |slot: &InputSlot<'_>| {
        is_compatible(&slot.type_name, output) && is_compatible(&slot.type_name, wanted)
    };
    if slots.get(at).is_some_and(fits) {
        return Some(at);
    }
    slots.iter().position(|slot| slot.type_name == wanted).or_else(|| slots.iter().position(fits))
}

fn is_any(type_name: &str) -> bool {
    type_name.is_empty() || type_name == "*"
}

/// Whether an output of one type may feed an input of another: equal in any case, any, or with a name in common.
fn is_compatible(one: &str, other: &str) -> bool {
    let takes = |one: &str| other.split(',').any(|other| one.trim().eq_ignore_ascii_case(other.trim()));
    is_any(one) || is_any(other) || one.split(',').any(takes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on(types: &[&'static str], at: usize, output: &str, wanted: &str) -> Option<usize> {
        let slots: Vec<_> = types.iter().map(|type_name| slot("x", type_name)).collect();
        handed_on(&slots, at, output, wanted)
    }

    #[test]
    fn a_bypassed_node_hands_on_the_input_that_fits_best() {
        assert_eq!(on(&["MODEL", "CLIP"], 0, "MODEL", "MODEL"), Some(0));
        assert_eq!(on(&["MODEL", "CLIP"], 1, "CLIP", "CLIP"), Some(1));
        assert_eq!(on(&["CLIP", "MODEL"], 0, "MODEL", "MODEL"), Some(1));
        assert_eq!(on(&["MASK", "IMAGE", "IMAGE"], 0, "IMAGE", "IMAGE"), Some(1));
        assert_eq!(on(&["MASK"], 0, "IMAGE", "IMAGE"), None);
        assert_eq!(on(&[], 0, "IMAGE", "*"), None);
    }

    #[test]
    fn to_whom_anything_is_welcome_the_same_slot_is_given() {
        assert_eq!(on(&["MASK", "IMAGE"], 1, "IMAGE", "*"), Some(1));
        assert_eq!(on(&["MASK", "IMAGE"], 5, "IMAGE", ""), Some(0));
    }

    #[test]
    fn types_fit_with_a_name_in_common() {
        assert_eq!(on(&["IMAGE,MASK"], 0, "*", "MASK"), Some(0));
        assert_eq!(on(&["image"], 0, "IMAGE", "IMAGE"), Some(0));
        assert_eq!(on(&["INT", "FLOAT,INT"], 1, "FLOAT", "FLOAT,STRING"), Some(1));
        assert_eq!(on(&["X", "*"], 0, "IMAGE", "IMAGE"), Some(1));
        // An exact match goes before what is merely compatible.
        assert_eq!(on(&["X", "*", "IMAGE"], 0, "IMAGE", "IMAGE"), Some(2));
    }
}
