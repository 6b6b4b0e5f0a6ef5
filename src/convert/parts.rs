//! Reads the parts of an editor file: nodes, links, and the edges of subgraphs. It must not judge what they mean.

use std::borrow::Cow;

use super::model::{Link, Mode, Node, Port, Role, Slot, Values};
use crate::domain::fields::{self, Fields};

/// The inputs or outputs of a definition. Their links are those it lists, then those that say they are its.
pub(super) fn ports<'a>(
    fields: &Fields<'a>,
    key: &str,
    slot: impl Fn(&Link<'a>) -> Option<u64>,
    links: &[(Cow<'a, str>, Link<'a>)],
) -> Vec<Port<'a>> {
    let port = |raw: &'a str| {
        let fields = Fields::parse(raw).unwrap_or_default();
        Port {
            name: fields.text("name").unwrap_or_default(),
            type_name: type_name(&fields),
            links: fields.list("linkIds").into_iter().filter_map(id).collect(),
        }
    };
    let mut ports: Vec<Port<'a>> = fields.list(key).into_iter().map(port).collect();
    for (id, link) in links {
        let port =
            slot(link).and_then(|slot| usize::try_from(slot).ok()).and_then(|slot| ports.get_mut(slot));
        if let Some(port) = port {
            port.links.push(id.clone());
        }
    }
    ports
}

pub(super) fn node<'a>(fields: &Fields<'a>) -> Option<Node<'a>> {
    node_as(fields, id(fields.raw("id")?)?)
}

/// A node of an old group: its id is its position.
pub(super) fn node_at<'a>(fields: &Fields<'a>, position: usize) -> Option<Node<'a>> {
    let mut node = node_as(fields, Cow::Owned(position.to_string()))?;
    node.inputs.iter_mut().for_each(|slot| slot.link = None);
    Some(node)
}

fn node_as<'a>(fields: &Fields<'a>, node_id: Cow<'a, str>) -> Option<Node<'a>> {
    let class = fields.text("type")?;
    let properties = fields.fields("properties").unwrap_or_default();
    Some(Node {
        path_id: node_id.clone(),
        id: node_id,
        title: fields.raw("title").filter(|raw| is_title(raw)),
        mode: match fields.raw("mode") {
            Some("2") => Mode::Muted,
            Some("4") => Mode::Bypassed,
            _ => Mode::Active,
        },
        role: match class.as_ref() {
            "Note" | "MarkdownNote" => Role::Note,
            "Reroute" => Role::Reroute,
            "PrimitiveNode" => Role::Primitive,
            _ => Role::Plain,
        },
        inputs: fields
            .list("inputs")
            .into_iter()
            .filter_map(|raw| Fields::parse(raw).as_ref().map(slot))
            .collect(),
        output_types: fields
            .list("outputs")
            .into_iter()
            .map(|raw| type_name(&Fields::parse(raw).unwrap_or_default()))
            .collect(),
        values: values(fields.raw("widgets_values")),
        proxies: properties.raw("proxyWidgets").map(|raw| fields::list(raw).into_iter().map(proxy).collect()),
        search_name: properties.text("Node name for S&R"),
        class,
    })
}

fn is_title(raw: &str) -> bool {
    raw.starts_with(|first: char| first == '-' || first.is_ascii_digit())
        || (raw.starts_with('"') && raw != "\"\"")
}

fn slot<'a>(fields: &Fields<'a>) -> Slot<'a> {
    Slot {
        name: fields.text("name").unwrap_or_default(),
        type_name: type_name(fields),
        link: fields.raw("link").and_then(id),
        is_widget: fields.fields("widget").is_some(),
        label: fields.text("label"),
    }
}

/// A slot's type; `*` where it is none. Lists of choices are `COMBO`, the number -1 is any type.
fn type_name<'a>(fields: &Fields<'a>) -> Cow<'a, str> {
    match fields.raw("type") {
        Some(raw) if raw.starts_with('[') => Cow::Borrowed("COMBO"),
        Some(raw) => fields::text(raw).unwrap_or(Cow::Borrowed("*")),
        None => Cow::Borrowed("*"),
    }
}

fn values(raw: Option<&str>) -> Values<'_> {
    match raw.and_then(Fields::parse) {
        Some(named) => Values::Named(named.entries().map(|(name, raw)| (name.clone(), raw)).collect()),
        None => Values::List(raw.map(fields::list).unwrap_or_default()),
    }
}

/// An entry of `proxyWidgets`; an entry that is none still keeps its place.
fn proxy(raw: &str) -> (Cow<'_, str>, Cow<'_, str>) {
    let parts = fields::list(raw);
    let node = parts.first().and_then(|raw| id(raw)).unwrap_or_default();
    (node, parts.get(1).and_then(|raw| fields::text(raw)).unwrap_or_default())
}

/// A link, saved as a list or as an object.
pub(super) fn link(raw: &str) -> Option<(Cow<'_, str>, Link<'_>)> {
    let number = |raw: &str| raw.parse().ok();
    if raw.starts_with('[') {
        let parts = fields::list(raw);
        let [link, origin, origin_slot, target, target_slot] = *parts.get(..5)? else { return None };
        let (origin_slot, target_slot) = (number(origin_slot), number(target_slot));
        return Some((
            id(link)?,
            Link { origin: id(origin)?, origin_slot, target: id(target)?, target_slot },
        ));
    }
    let fields = Fields::parse(raw)?;
    let link = Link {
        origin: id(fields.raw("origin_id")?)?,
        origin_slot: fields.raw("origin_slot").and_then(number),
        target: fields.raw("target_id").and_then(id).unwrap_or_default(),
        target_slot: fields.raw("target_slot").and_then(number),
    };
    Some((id(fields.raw("id")?)?, link))
}

/// An id, which may be a number or a text: `3` and `"3"` are the same, as they are to JavaScript's objects.
pub(super) fn id(raw: &str) -> Option<Cow<'_, str>> {
    if raw.starts_with(|first: char| first == '-' || first.is_ascii_digit()) {
        return Some(Cow::Borrowed(raw.strip_suffix(".0").unwrap_or(raw)));
    }
    fields::text(raw)
}
