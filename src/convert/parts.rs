//! Reads the parts of an editor file: nodes, links, and the edges of subgraphs.

use std::borrow::Cow;

use super::model::{EditorLink, EditorNode, NodeMode, NodeRole, SavedInput, SubgraphPort, WidgetValues};
use crate::domain::fields::{self, JsonFields};

/// The inputs or outputs of a definition. Their links are those it lists, then those that say they are its.
pub(super) fn ports<'a>(
    fields: &JsonFields<'a>,
    key: &str,
    slot: impl Fn(&EditorLink<'a>) -> Option<u64>,
    links: &[(Cow<'a, str>, EditorLink<'a>)],
) -> Vec<SubgraphPort<'a>> {
    let port = |raw: &'a str| {
        let fields = JsonFields::parse(raw).unwrap_or_default();
        SubgraphPort {
            name: fields.text("name").unwrap_or_default(),
            type_name: type_name(&fields),
            links: fields.list("linkIds").into_iter().filter_map(id).collect(),
        }
    };
    let mut ports: Vec<SubgraphPort<'a>> = fields.list(key).into_iter().map(port).collect();
    for (id, link) in links {
        let port =
            slot(link).and_then(|slot| usize::try_from(slot).ok()).and_then(|slot| ports.get_mut(slot));
        if let Some(port) = port {
            port.links.push(id.clone());
        }
    }
    ports
}

pub(super) fn node<'a>(fields: &JsonFields<'a>) -> Option<EditorNode<'a>> {
    node_as(fields, id(fields.raw("id")?)?)
}

/// A node of an old group: its id is its position.
pub(super) fn node_at<'a>(fields: &JsonFields<'a>, position: usize) -> Option<EditorNode<'a>> {
    let mut node = node_as(fields, Cow::Owned(position.to_string()))?;
    node.inputs.iter_mut().for_each(|slot| slot.link = None);
    Some(node)
}

fn node_as<'a>(fields: &JsonFields<'a>, node_id: Cow<'a, str>) -> Option<EditorNode<'a>> {
    let class = fields.text("type")?;
    let properties = fields.fields("properties").unwrap_or_default();
    Some(EditorNode {
        path_id: node_id.clone(),
        id: node_id,
        title: fields.raw("title").filter(|raw| is_title(raw)),
        mode: match fields.raw("mode") {
            Some("2") => NodeMode::Muted,
            Some("4") => NodeMode::Bypassed,
            _ => NodeMode::Active,
        },
        role: match class.as_ref() {
            "Note" | "MarkdownNote" => NodeRole::Note,
            "Reroute" => NodeRole::Reroute,
            "PrimitiveNode" => NodeRole::Primitive,
            _ => NodeRole::Plain,
        },
        inputs: fields
            .list("inputs")
            .into_iter()
            .filter_map(|raw| JsonFields::parse(raw).as_ref().map(slot))
            .collect(),
        output_types: fields
            .list("outputs")
            .into_iter()
            .map(|raw| type_name(&JsonFields::parse(raw).unwrap_or_default()))
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

fn slot<'a>(fields: &JsonFields<'a>) -> SavedInput<'a> {
    SavedInput {
        name: fields.text("name").unwrap_or_default(),
        type_name: type_name(fields),
        link: fields.raw("link").and_then(id),
        is_widget: fields.fields("widget").is_some(),
        label: fields.text("label"),
    }
}

/// A slot's type; `*` where it is none. Lists of choices are `COMBO`, the number -1 is any type.
fn type_name<'a>(fields: &JsonFields<'a>) -> Cow<'a, str> {
    match fields.raw("type") {
        Some(raw) if raw.starts_with('[') => Cow::Borrowed("COMBO"),
        Some(raw) => fields::text(raw).unwrap_or(Cow::Borrowed("*")),
        None => Cow::Borrowed("*"),
    }
}

fn values(raw: Option<&str>) -> WidgetValues<'_> {
    match raw.and_then(JsonFields::parse) {
        Some(named) => WidgetValues::Named(named.entries().map(|(name, raw)| (name.clone(), raw)).collect()),
        None => WidgetValues::List(raw.map(fields::list).unwrap_or_default()),
    }
}

/// An entry of `proxyWidgets`; an entry that is none still keeps its place.
fn proxy(raw: &str) -> (Cow<'_, str>, Cow<'_, str>) {
    let parts = fields::list(raw);
    let node = parts.first().and_then(|raw| id(raw)).unwrap_or_default();
    (node, parts.get(1).and_then(|raw| fields::text(raw)).unwrap_or_default())
}

/// A link, saved as a list or as an object.
pub(super) fn link(raw: &str) -> Option<(Cow<'_, str>, EditorLink<'_>)> {
    let number = |raw: &str| raw.parse().ok();
    if raw.starts_with('[') {
        let parts = fields::list(raw);
        let [link, origin, origin_slot, target, target_slot] = *parts.get(..5)? else { return None };
        let (origin_slot, target_slot) = (number(origin_slot), number(target_slot));
        return Some((
            id(link)?,
            EditorLink { origin: id(origin)?, origin_slot, target: id(target)?, target_slot },
        ));
    }
    let fields = JsonFields::parse(raw)?;
    let link = EditorLink {
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
