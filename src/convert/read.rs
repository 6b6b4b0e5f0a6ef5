//! Reads an editor file from its text.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use super::graph::EditorGraph;
use super::model::{EditorLink, EditorNode, INPUT_SIDE, NodeRole, OUTPUT_SIDE, ParsedFile};
use super::parts;
use super::report::{ConversionReport, NodePlace, shortened};
use crate::domain::fields::JsonFields;

/// The parts of the file that are not in the [`ParsedFile`].
pub(super) struct FileExtras<'a> {
    /// `last_node_id`.
    pub(super) last_node_id: i64,
    /// `extra.groupNodes`, by their names.
    pub(super) group_nodes: Option<JsonFields<'a>>,
}

/// Reads a file and reports the parts that cannot be read.
pub(super) fn document<'a>(text: &'a str, report: &mut ConversionReport) -> (ParsedFile<'a>, FileExtras<'a>) {
    let root = JsonFields::parse(text).unwrap_or_default();
    let mut graphs = vec![graph(&root, report)];
    let mut open = definitions(&root);
    let mut next = 0;
    while let Some(definition) = open.get(next) {
        graphs.push(graph(definition, report));
        let mut inner = definitions(definition);
        open.append(&mut inner);
        next += 1;
    }
    give_roles(&mut graphs);
    let last_node_id = root.get("last_node_id");
    let state = root.fields("state").and_then(|state| state.get("lastNodeId"));
    let extra = FileExtras {
        last_node_id: last_node_id.or(state).unwrap_or(0),
        group_nodes: root.fields("extra").and_then(|extra| extra.fields("groupNodes")),
    };
    (ParsedFile { graphs }, extra)
}

fn definitions<'a>(graph: &JsonFields<'a>) -> Vec<JsonFields<'a>> {
    let list = graph.fields("definitions").map(|definitions| definitions.list("subgraphs"));
    list.unwrap_or_default().into_iter().filter_map(JsonFields::parse).collect()
}

fn give_roles(graphs: &mut [EditorGraph<'_>]) {
    let places: HashMap<String, usize> =
        graphs.iter().enumerate().skip(1).map(|(place, graph)| (graph.id.to_string(), place)).collect();
    for node in graphs.iter_mut().flat_map(|graph| &mut graph.nodes) {
        if let Some(place) = places.get(node.class.as_ref()) {
            node.role = NodeRole::Subgraph(*place);
        }
    }
}

fn graph<'a>(fields: &JsonFields<'a>, report: &mut ConversionReport) -> EditorGraph<'a> {
    let mut nodes = Vec::new();
    for raw in fields.list("nodes") {
        match JsonFields::parse(raw).as_ref().and_then(parts::node) {
            Some(node) => nodes.push(node),
            None => report.fault("an entry of `nodes` is no node: it needs an `id` and a `type`"),
        }
    }
    let saved = fields.list("links");
    let links: Vec<_> = saved.iter().copied().filter_map(parts::link).collect();
    if links.len() < saved.len() {
        report.warn("entries of `links` that are no links were left out");
    }
    mend(&mut nodes, &links, report);
    let inputs = parts::ports(
        fields,
        "inputs",
        |link| (link.origin == INPUT_SIDE).then_some(link.origin_slot?),
        &links,
    );
    let outputs = parts::ports(
        fields,
        "outputs",
        |link| (link.target == OUTPUT_SIDE).then_some(link.target_slot?),
        &links,
    );
    let graph = EditorGraph {
        id: fields.text("id").unwrap_or_default(),
        name: fields.text("name").unwrap_or_default(),
        nodes,
        links: links.into_iter().collect(),
        inputs,
        outputs,
        ..EditorGraph::default()
    };
    graph.indexed()
}

/// The link that an input names connects it. If that link is not in the file, a link that claims to feed the
/// input replaces it; if the input names none, such a link only causes a warning.
fn mend<'a>(
    nodes: &mut [EditorNode<'a>],
    links: &[(Cow<'a, str>, EditorLink<'a>)],
    report: &mut ConversionReport,
) {
    let ids: HashSet<&str> = links.iter().map(|(id, _)| id.as_ref()).collect();
    let by_target: HashMap<(&str, u64), &Cow<'a, str>> =
        links.iter().filter_map(|(id, link)| Some(((link.target.as_ref(), link.target_slot?), id))).collect();
    for node in nodes {
        for (at, slot) in (0u64..).zip(&mut node.inputs) {
            let Some(id) = by_target.get(&(node.id.as_ref(), at)) else { continue };
            if slot.link.as_deref().is_some_and(|link| ids.contains(link)) {
                continue;
            }
            let said = if slot.link.is_some() {
                slot.link = Some((*id).clone());
                "names a link that is not in the file, so it took link"
            } else {
                "names no link and was left so, despite link"
            };
            let message =
                format!("input {:?} {said} {}, which says it feeds it", shortened(&slot.name), shortened(id));
            report.warn_at(NodePlace::new(&node.id, "", &node.class), message);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::model::{NodeMode, WidgetValues};
    use super::super::parts::id;
    use super::*;

    fn read(text: &str) -> (ParsedFile<'_>, FileExtras<'_>, ConversionReport) {
        let mut report = ConversionReport::default();
        let (document, extra) = document(text, &mut report);
        (document, extra, report)
    }

    #[test]
    fn links_are_read_in_both_forms() {
        let (document, ..) = read(
            r#"{"nodes":[],"links":[[1,2,3,4,5,"IMAGE"],[6,7,0,8,1],
               {"id":"9","origin_id":-10,"origin_slot":1,"target_id":2,"target_slot":0,"type":"X","parentId":4}]}"#,
        );
        let links = &document.graphs[0].links;
        assert_eq!((links["1"].origin.as_ref(), links["1"].origin_slot), ("2", Some(3)));
        assert_eq!((links["6"].target.as_ref(), links["6"].target_slot), ("8", Some(1)));
        assert_eq!((links["9"].origin.as_ref(), links["9"].target.as_ref()), ("-10", "2"));
    }

    #[test]
    fn entries_that_are_nothing_are_told() {
        let (document, _, report) = read(
            r#"{"nodes":[null,{"id":1},{"type":"A"},{"id":2,"type":"A"}],"links":[null,[1,2],{"id":4}]}"#,
        );
        assert_eq!(document.graphs[0].nodes.len(), 1);
        let (faults, warnings) = report.into_parts();
        assert_eq!((faults.len(), warnings.len()), (1, 1));
    }

    #[test]
    fn ids_are_the_same_as_number_and_as_text() {
        assert_eq!(id("3").as_deref(), Some("3"));
        assert_eq!(id("3.0").as_deref(), Some("3"));
        assert_eq!(id("\"3\"").as_deref(), Some("3"));
        assert_eq!((id("null"), id("[1]")), (None, None));
        let (document, ..) = read(r#"{"nodes":[{"id":1,"type":"A"},{"id":"1","type":"B"}]}"#);
        let graph = &document.graphs[0];
        assert_eq!(graph.node("1").unwrap().1.class, "B");
        assert!(!graph.counts(0) && graph.counts(1));
    }

    #[test]
    fn definitions_are_found_wherever_they_lie() {
        let (document, extra, _) = read(
            r#"{"nodes":[{"id":1,"type":"a"}],"state":{"lastNodeId":7},"definitions":{"subgraphs":[
                {"id":"a","nodes":[{"id":1,"type":"c"}],"definitions":{"subgraphs":[{"id":"c"}]}},{"id":"b"}]}}"#,
        );
        let ids: Vec<_> = document.graphs.iter().map(|graph| graph.id.as_ref()).collect();
        assert_eq!(ids, ["", "a", "b", "c"]);
        assert_eq!(document.graphs[0].nodes[0].role, NodeRole::Subgraph(1));
        assert_eq!(document.graphs[1].nodes[0].role, NodeRole::Subgraph(3));
        assert_eq!(extra.last_node_id, 7);
    }

    #[test]
    fn ports_take_their_listed_links_first_and_then_the_unlisted() {
        let (document, ..) = read(
            r#"{"nodes":[],"definitions":{"subgraphs":[{"id":"a","nodes":[{"id":1,"type":"A","inputs":[
                {"name":"x","link":3},{"name":"y","link":2}]}],
                "inputs":[{"name":"in","type":"INT","linkIds":[2]}],"outputs":[{"name":"out","type":["a"]}],
                "links":[{"id":3,"origin_id":-10,"origin_slot":0,"target_id":1,"target_slot":0},
                {"id":2,"origin_id":-10,"origin_slot":0,"target_id":1,"target_slot":0},
                {"id":4,"origin_id":1,"origin_slot":0,"target_id":-20,"target_slot":0}]}]}}"#,
        );
        let graph = &document.graphs[1];
        assert_eq!(graph.inputs[0].links, ["2", "3", "2"]);
        assert_eq!(graph.first_target(0).unwrap().1.name, "y");
        assert_eq!(graph.output_link(0).unwrap(), "4");
        assert_eq!(graph.outputs[0].type_name, "COMBO");
        assert_eq!((graph.input_port("in"), graph.input_port("none")), (Some(0), None));
    }

    #[test]
    fn titles_modes_and_values_of_any_kind_are_read() {
        let (document, ..) = read(
            r#"{"nodes":[{"id":1,"type":"A","title":"","mode":2,"widgets_values":{"a":1}},
                {"id":2,"type":"A","title":7,"mode":4,"widgets_values":[1,null],"properties":
                  {"proxyWidgets":[["-1","x"],[3,"y"],5],"Node name for S&R":"n"}},
                {"id":3,"type":"A","title":{},"mode":"x","widgets_values":3}]}"#,
        );
        let nodes = &document.graphs[0].nodes;
        assert_eq!(nodes.iter().map(|node| node.title).collect::<Vec<_>>(), [None, Some("7"), None]);
        assert_eq!(
            nodes.iter().map(|node| node.mode).collect::<Vec<_>>(),
            [NodeMode::Muted, NodeMode::Bypassed, NodeMode::Active]
        );
        assert!(matches!(&nodes[0].values, WidgetValues::Named(named) if named["a"] == "1"));
        assert!(matches!(&nodes[1].values, WidgetValues::List(list) if list == &["1", "null"]));
        assert!(matches!(&nodes[2].values, WidgetValues::List(list) if list.is_empty()));
        let proxies = nodes[1].proxies.as_ref().unwrap();
        assert_eq!(proxies[1], ("3".into(), "y".into()));
        assert_eq!(proxies[2], ("".into(), "".into()));
        assert_eq!(nodes[1].search_name.as_deref(), Some("n"));
    }

    #[test]
    fn the_linked_one_of_inputs_with_one_name_counts() {
        let (document, ..) = read(
            r#"{"nodes":[{"id":1,"type":"A","inputs":[{"name":"x"},{"name":"x","link":4},{"name":"y"}]}]}"#,
        );
        let node = &document.graphs[0].nodes[0];
        assert_eq!(node.input("x").unwrap().link.as_deref(), Some("4"));
        assert!(node.input("y").unwrap().link.is_none() && node.input("z").is_none());
    }
}
