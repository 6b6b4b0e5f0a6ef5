//! Group nodes of old files: which inputs and values belong to which node inside.

use super::*;

/// A file with one group node of these nodes, links inside, shown outputs and values, and what is linked to it.
struct Group {
    nodes: Vec<Value>,
    links: Value,
    external: Value,
    values: Value,
    /// The group's inputs, each linked to the number 7.
    inputs: Vec<&'static str>,
}

impl Group {
    fn of(nodes: Vec<Value>) -> Self {
        Self { nodes, links: json!([]), external: json!([]), values: json!([]), inputs: Vec::new() }
    }

    fn file(self) -> Value {
        let inputs: Vec<(&str, Option<u64>)> =
            self.inputs.iter().zip(1..).map(|(name, id)| (*name, Some(id))).collect();
        let links: Vec<[i64; 4]> =
            (1..=self.inputs.len()).map(|id| [i64::try_from(id).unwrap(), 7, 0, 1]).collect();
        let group = node(1, "workflow>g", &inputs, self.values);
        let mut file = file(&[node(7, "Number", &[], json!([70])), group], &links);
        file["extra"] = json!({"groupNodes": {"g": {"nodes": self.nodes, "links": self.links, "external": self.external}}});
        file
    }

    fn graph(self) -> Value {
        graph(&self.file())
    }
}

fn value(graph: &Value, id: &str, input: &str) -> Value {
    graph[id]["inputs"][input].clone()
}

#[test]
fn values_go_to_the_fields_in_order_and_what_is_linked_inside_has_none_nor_has_its_control() {
    let sampler = node(2, "KSampler", &[("seed", None)], json!([1, "fixed", 10, "euler"]));
    let group = |links: Value, values: Value| {
        let nodes = vec![node(1, "Number", &[], json!([5])), sampler.clone()];
        Group { links, values, ..Group::of(nodes) }.graph()
    };
    let whole = group(json!([]), json!([6, 99, "randomize", 30, "ddim"]));
    assert_eq!((value(&whole, "1:0", "value"), value(&whole, "1:1", "seed")), (json!(6), json!(99)));
    assert_eq!(
        (value(&whole, "1:1", "steps"), value(&whole, "1:1", "sampler_name")),
        (json!(30), json!("ddim"))
    );
    let linked = group(json!([[0, 0, 1, 0, 1, "INT"]]), json!([6, 30, "ddim"]));
    assert_eq!(value(&linked, "1:1", "seed"), json!(["1:0", 0]));
    assert_eq!(
        (value(&linked, "1:1", "steps"), value(&linked, "1:1", "sampler_name")),
        (json!(30), json!("ddim"))
    );
}

#[test]
fn null_and_missing_values_leave_those_of_the_definition() {
    let nodes = vec![
        node(1, "Number", &[], json!([5])),
        node(2, "Number", &[], json!([6])),
        node(3, "Number", &[], json!([])),
    ];
    let graph = Group { values: json!([null, 9]), ..Group::of(nodes) }.graph();
    let all = ["1:0", "1:1", "1:2"].map(|id| value(&graph, id, "value"));
    assert_eq!(all, [json!(5), json!(9), json!(null)]);
}

#[test]
fn inputs_of_one_name_are_told_apart_by_title_or_class_and_then_by_number() {
    let mut nodes: Vec<Value> = (0..4).map(|id| node(id, "Number", &[], json!([id]))).collect();
    nodes[2]["title"] = json!("Third");
    let group =
        Group { inputs: vec!["value", "Number value", "Third value", "Number 2 value"], ..Group::of(nodes) };
    let graph = group.graph();
    for id in ["1:0", "1:1", "1:2", "1:3"] {
        assert_eq!(value(&graph, id, "value"), json!(["7", 0]), "{id}");
    }
}

#[test]
fn an_input_may_be_called_by_its_label() {
    let mut inner = node(1, "Number", &[("value", None)], json!([5]));
    inner["inputs"][0]["label"] = json!("how many");
    let graph = Group { inputs: vec!["how many"], ..Group::of(vec![inner.clone()]) }.graph();
    assert_eq!(value(&graph, "1:0", "value"), json!(["7", 0]));
    let told = faults(&Group { inputs: vec!["value"], ..Group::of(vec![inner]) }.file());
    assert!(told[0].contains("\"value\" belongs to none of its nodes"), "{told:?}");
}

#[test]
fn an_output_that_is_used_inside_is_one_of_the_groups_when_it_is_told_to_be_shown() {
    let nodes = || vec![node(1, "Make", &[], json!([8])), node(2, "Invert", &[("image", None)], json!([]))];
    let links = json!([[0, 0, 1, 0, 1, "IMAGE"]]);
    let first_output = |external: Value| {
        let mut file = Group { links: links.clone(), external, ..Group::of(nodes()) }.file();
        file["nodes"].as_array_mut().unwrap().push(node(8, "Any", &[("source", Some(5))], json!([])));
        file["links"].as_array_mut().unwrap().push(json!([5, 1, 0, 8, 0, "*"]));
        value(&graph(&file), "8", "source")
    };
    assert_eq!(first_output(json!([])), json!(["1:0", 1]), "the mask, which nothing inside uses");
    assert_eq!(first_output(json!([[0, 0, "IMAGE"]])), json!(["1:0", 0]));
}

#[test]
fn a_class_that_no_server_has_is_told_with_its_place_in_the_group() {
    let mut unknown = node(1, "Unheard", &[], json!([]));
    unknown["title"] = json!("Inside");
    let told = super::run(&Group::of(vec![node(0, "Number", &[], json!([1])), unknown]).file()).unwrap_err();
    let [fault] = told.as_slice() else { panic!("{told:?}") };
    assert_eq!((fault.node_id.as_deref(), fault.title.as_deref()), (Some("1:1"), Some("Inside")));
}

#[test]
fn links_that_lead_nowhere_inside_are_none() {
    let nodes = vec![node(1, "Number", &[], json!([5])), node(2, "Make", &[("width", None)], json!([8]))];
    for links in
        [json!([[5, 0, 1, 0]]), json!([[0, 0, 9, 0]]), json!([[0, 0, 1, 7]]), json!([["x", 0, 1, 0], 5])]
    {
        let graph = Group { links: links.clone(), ..Group::of(nodes.clone()) }.graph();
        assert_eq!(value(&graph, "1:1", "width"), 8, "{links}");
    }
    let mut file = Group::of(nodes).file();
    file["extra"]["groupNodes"]["g"]["nodes"][1] = json!(7);
    assert_eq!(faults(&file), ["an entry of the group node's nodes is no node"]);
}

#[test]
fn a_bypassed_group_hands_on_by_the_types_its_definition_was_saved_with() {
    let mut inner = node(0, "Invert", &[("image", None)], json!([]));
    inner["inputs"][0]["type"] = json!("IMAGE");
    inner["outputs"] = json!([{"name": "IMAGE", "type": "IMAGE"}]);
    let mut first = node(1, "Odd", &[("mask", None)], json!([]));
    first["inputs"][0]["type"] = json!("MASK");
    first["outputs"] = json!([{"type": "MASK"}, {"type": "MASK"}]);
    let group = bypassed(node(1, "workflow>g", &[("mask", Some(1)), ("Invert image", Some(2))], json!([])));
    let nodes =
        [node(5, "Make", &[], json!([8])), group, node(8, "Invert", &[("image", Some(3))], json!([]))];
    let mut file = file(&nodes, &[[1, 5, 1, 1], [2, 5, 0, 1], [3, 1, 2, 8]]);
    file["extra"] = json!({"groupNodes": {"g": {"nodes": [first, inner], "links": [], "external": []}}});
    let graph = graph(&file);
    assert_eq!(value(&graph, "8", "image"), json!(["5", 0]));
    assert_eq!(graph.as_object().unwrap().len(), 2);
}

#[test]
fn a_bypassed_group_hands_on_what_fits_the_type_its_output_was_saved_with() {
    let mut inner = node(0, "Odd", &[("mask", None), ("image", None)], json!([]));
    inner["inputs"][0]["type"] = json!("MASK");
    inner["inputs"][1]["type"] = json!("IMAGE");
    inner["outputs"] = json!([{"type": "IMAGE"}, {"type": "MASK"}]);
    let mut between = bypassed(node(4, "Foreign", &[("x", Some(3))], json!([])));
    between["inputs"][0]["type"] = json!("IMAGE,MASK");
    let nodes = [
        node(5, "Make", &[], json!([8])),
        bypassed(node(1, "workflow>g", &[("mask", Some(1)), ("image", Some(2))], json!([]))),
        between,
        node(8, "Any", &[("source", Some(4))], json!([])),
    ];
    let mut file = file(&nodes, &[[1, 5, 1, 1], [2, 5, 0, 1], [3, 1, 0, 4], [4, 4, 0, 8]]);
    file["extra"] = json!({"groupNodes": {"g": {"nodes": [inner], "links": [], "external": []}}});
    assert_eq!(value(&graph(&file), "8", "source"), json!(["5", 0]));
}

#[test]
fn a_bypassed_node_of_an_unknown_class_in_a_group_has_the_outputs_it_was_saved_with() {
    let mut foreign = bypassed(node(1, "Foreign", &[("x", None)], json!([])));
    foreign["outputs"] = json!([{"type": "INT"}]);
    let nodes = vec![node(0, "Number", &[], json!([5])), foreign];
    let mut file = Group { links: json!([[0, 0, 1, 0, 1, "INT"]]), ..Group::of(nodes) }.file();
    file["nodes"].as_array_mut().unwrap().push(node(8, "Any", &[("source", Some(5))], json!([])));
    file["links"].as_array_mut().unwrap().push(json!([5, 1, 0, 8, 0, "*"]));
    assert_eq!(value(&graph(&file), "8", "source"), json!(["1:0", 0]));
}
