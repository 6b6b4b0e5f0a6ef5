//! The values that an instance of a subgraph gives to its inside: to its inputs, and to fields of its nodes.

use std::borrow::Cow;
use std::collections::HashMap;

use super::frames::GraphFrame;
use super::graph::EditorGraph;
use super::model::{EditorNode, INPUT_SIDE, WidgetValues};

/// The inside of the instance `node` of the definition `graph`, which is number `inner`.
pub(super) fn instance<'a>(
    around: &GraphFrame<'a>,
    parent: (usize, usize),
    node: &EditorNode<'a>,
    graph: &EditorGraph<'a>,
    inner: usize,
) -> GraphFrame<'a> {
    let mut frame = GraphFrame {
        graph: inner,
        parent: Some(parent),
        path: format!("{}{}:", around.path, node.path_id),
        level: around.level + 1,
        ..GraphFrame::default()
    };
    match &node.values {
        WidgetValues::Named(named) => {
            for (name, value) in named {
                give(&mut frame, graph, "-1", name, value);
            }
        }
        WidgetValues::List(values) => {
            let ports: Vec<(Cow<'a, str>, Cow<'a, str>)>;
            let targets = if let Some(proxies) = &node.proxies {
                proxies
            } else {
                ports = widget_ports(node, graph);
                &ports
            };
            for ((of, name), value) in targets.iter().zip(values) {
                give(&mut frame, graph, of, name, value);
            }
        }
    }
    // The values of the surrounding frame take precedence over the instance's own.
    for (name, value) in around.field_values.get(&parent.1).into_iter().flatten() {
        let named = || node.proxies.iter().flatten().filter(|(_, proxied)| proxied == name);
        // A field that stands for an input goes by the input's name, so the others come first.
        let proxy = named().find(|(of, name)| port_of(graph, of, name).is_none()).or_else(|| named().next());
        match (graph.input_port(name), proxy) {
            (None, Some((of, name))) => give(&mut frame, graph, of, name, value),
            _ => give(&mut frame, graph, "-1", name, value),
        }
    }
    frame
}

/// Without `proxyWidgets`, values are for the inputs that have fields, in their order.
fn widget_ports<'a>(node: &EditorNode<'a>, graph: &EditorGraph<'a>) -> Vec<(Cow<'a, str>, Cow<'a, str>)> {
    let saved: HashMap<&str, bool> =
        node.inputs.iter().map(|slot| (slot.name.as_ref(), slot.is_widget)).collect();
    let ports = graph.inputs.iter().filter(|port| saved.get(port.name.as_ref()) == Some(&true));
    ports.map(|port| (Cow::Borrowed("-1"), port.name.clone())).collect()
}

/// Gives a value to an input (`of` is `-1`) or to the field of an inner node, which may stand for an input.
fn give<'a>(frame: &mut GraphFrame<'a>, graph: &EditorGraph<'a>, of: &str, name: &str, value: &'a str) {
    if value == "null" {
        return;
    }
    if of == "-1" {
        if let Some(port) = graph.input_port(name) {
            frame.port_values.insert(port, value);
        }
        return;
    }
    if let Some(port) = port_of(graph, of, name) {
        frame.port_values.insert(port, value);
    } else if let Some((at, _)) = graph.node(of) {
        frame.field_values.entry(at).or_default().insert(name.to_owned(), value);
    }
}

/// The input of the subgraph that feeds the field of an inner node.
fn port_of(graph: &EditorGraph<'_>, of: &str, name: &str) -> Option<usize> {
    let (_, node) = graph.node(of)?;
    let link = graph.links.get(node.input(name)?.link.as_ref()?)?;
    usize::try_from(link.origin_slot.filter(|_| link.origin == INPUT_SIDE)?).ok()
}
