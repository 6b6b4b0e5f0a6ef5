//! Subgraphs and old group nodes: values of instances, edges, modes, ids.

use super::*;

/// A definition with the inputs `name -> linkIds` and the outputs of these link ids.
pub fn definition(
    id: &str,
    nodes: &[Value],
    links: &[[i64; 4]],
    inputs: &[(&str, &[i64])],
    outputs: &[i64],
) -> Value {
    let inputs: Vec<Value> =
        inputs.iter().map(|(name, links)| json!({"name": name, "type": "*", "linkIds": links})).collect();
    let outputs: Vec<Value> =
        outputs.iter().map(|link| json!({"name": "o", "type": "*", "linkIds": [link]})).collect();
    let mut inner = file(nodes, &[]);
    inner["links"] = links
        .iter()
        .map(|[id, from, slot, to]| json!({"id": id, "origin_id": from, "origin_slot": slot, "target_id": to, "target_slot": 99}))
        .collect();
    for (key, value) in
        [("id", json!(id)), ("name", json!(id)), ("inputs", json!(inputs)), ("outputs", json!(outputs))]
    {
        inner[key] = value;
    }
    inner
}

pub fn defined(mut file: Value, definitions: &[Value]) -> Value {
    file["definitions"] = json!({ "subgraphs": definitions });
    file
}

pub fn proxied(node: Value, proxies: Value) -> Value {
    with(node, "properties", json!({ "proxyWidgets": proxies }))
}

/// `sub`: a number behind the input `n`, and one of its own.
fn numbers() -> Value {
    let nodes = [node(1, "Number", &[("value", Some(1))], json!([11])), node(2, "Number", &[], json!([22]))];
    definition("sub", &nodes, &[[1, -10, 0, 1], [2, 1, 0, -20]], &[("n", &[1])], &[2])
}

#[test]
fn each_instance_gives_its_own_values_and_null_leaves_the_inner_one() {
    let instance = |id, values: Value| {
        proxied(node(id, "sub", &[("n", None)], values), json!([["1", "value"], ["2", "value"]]))
    };
    let nodes = [
        instance(10, json!([5, 6])),
        instance(20, json!([null, 7])),
        instance(30, json!([])),
        proxied(node(40, "sub", &[("n", None)], json!([8])), json!([["-1", "n"]])),
        with(
            node(50, "sub", &[], json!([9])),
            "inputs",
            json!([{"name": "n", "link": null, "widget": {"name": "n"}}]),
        ),
        node(60, "sub", &[("n", None)], json!([9])),
        node(70, "sub", &[("n", None)], json!({"n": 3})),
    ];
    let graph = graph(&defined(file(&nodes, &[]), &[numbers()]));
    let values = |id: &str| {
        [
            graph[format!("{id}:1")]["inputs"]["value"].clone(),
            graph[format!("{id}:2")]["inputs"]["value"].clone(),
        ]
    };
    assert_eq!(values("10"), [5, 6]);
    assert_eq!(values("20"), [11, 7]);
    assert_eq!(values("30"), [11, 22]);
    assert_eq!(values("40"), [8, 22]);
    assert_eq!(values("50"), [9, 22]);
    assert_eq!(values("60"), [11, 22]);
    assert_eq!(values("70"), [3, 22]);
}

#[test]
fn the_outermost_value_wins_also_for_a_field_deep_inside() {
    let inner =
        proxied(node(5, "sub", &[("n", Some(1))], json!([51, 52])), json!([["1", "value"], ["2", "value"]]));
    let outer = definition("outer", &[inner], &[[1, -10, 0, 5]], &[("m", &[1])], &[]);
    let run = |instance: Value| graph(&defined(file(&[instance], &[]), &[outer.clone(), numbers()]));
    let plain = run(node(10, "outer", &[("m", None)], json!([])));
    assert_eq!(
        (&plain["10:5:1"]["inputs"]["value"], &plain["10:5:2"]["inputs"]["value"]),
        (&json!(51), &json!(52))
    );
    let given =
        proxied(node(10, "outer", &[("m", None)], json!([61, 62])), json!([["5", "n"], ["5", "value"]]));
    let given = run(given);
    assert_eq!(
        (&given["10:5:1"]["inputs"]["value"], &given["10:5:2"]["inputs"]["value"]),
        (&json!(61), &json!(62))
    );
}

#[test]
fn a_link_from_outside_beats_all_values_and_a_vanished_one_leaves_them() {
    let linked = |source: Value| {
        let instance = proxied(node(10, "sub", &[("n", Some(3))], json!([5])), json!([["1", "value"]]));
        graph(&defined(file(&[source, instance], &[[3, 9, 0, 10]]), &[numbers()]))["10:1"]["inputs"]["value"]
            .clone()
    };
    assert_eq!(linked(node(9, "Number", &[], json!([1]))), json!(["9", 0]));
    assert_eq!(linked(muted(node(9, "Number", &[], json!([1])))), 5);
    assert_eq!(linked(node(9, "PrimitiveNode", &[], json!([77, "fixed"]))), 77);
    assert_eq!(linked(node(9, "PrimitiveNode", &[], json!([]))), 5);
}

#[test]
fn all_fields_behind_one_input_have_the_value_of_the_first() {
    let nodes = [
        node(1, "Number", &[("value", Some(1))], json!([11])),
        node(2, "Make", &[("width", Some(2))], json!([22])),
    ];
    let shared = definition("sub", &nodes, &[[2, -10, 0, 2], [1, -10, 0, 1]], &[("n", &[1, 2])], &[]);
    let graph = graph(&defined(file(&[node(10, "sub", &[], json!([]))], &[]), &[shared]));
    assert_eq!(graph["10:2"]["inputs"]["width"], 11);
}

#[test]
fn an_input_wired_straight_to_an_output_is_passed_through() {
    let straight = definition("sub", &[], &[[1, -10, 0, -20]], &[("in", &[1])], &[1]);
    let nodes = [
        node(1, "Make", &[], json!([8])),
        node(10, "sub", &[("in", Some(2))], json!([])),
        node(3, "Invert", &[("image", Some(3))], json!([])),
    ];
    let graph = graph(&defined(file(&nodes, &[[2, 1, 0, 10], [3, 10, 0, 3]]), &[straight]));
    assert_eq!(graph["3"]["inputs"]["image"], json!(["1", 0]));
}

#[test]
fn a_bypassed_instance_passes_by_its_definitions_types_and_takes_all_it_holds_with_it() {
    let mut sub = definition(
        "sub",
        &[node(7, "Invert", &[("image", Some(1))], json!([]))],
        &[[1, -10, 1, 7], [2, 7, 0, -20]],
        &[("m", &[]), ("i", &[1])],
        &[2],
    );
    sub["inputs"][0]["type"] = json!("MASK");
    sub["inputs"][1]["type"] = json!("IMAGE");
    sub["outputs"][0]["type"] = json!("IMAGE");
    let run = |make: fn(Value) -> Value| {
        let nodes = [
            node(1, "Make", &[], json!([8])),
            make(node(10, "sub", &[("m", Some(2)), ("i", Some(3))], json!([]))),
            node(4, "Invert", &[("image", Some(4))], json!([])),
        ];
        graph(&defined(file(&nodes, &[[2, 1, 1, 10], [3, 1, 0, 10], [4, 10, 0, 4]]), &[sub.clone()]))
    };
    assert_eq!(run(|node| node)["4"]["inputs"]["image"], json!(["10:7", 0]));
    assert_eq!(run(bypassed)["4"]["inputs"]["image"], json!(["1", 0]));
    assert_eq!(run(bypassed).as_object().unwrap().len(), 2);
    assert_eq!(run(muted)["4"]["inputs"], json!({}));
}

#[test]
fn what_a_muted_instance_holds_runs_inside_a_subgraph_and_not_at_the_top() {
    let held = |mode: fn(Value) -> Value, outermost: fn(Value) -> Value| {
        let inner = mode(node(5, "sub", &[], json!([])));
        let outer = definition("outer", &[inner], &[], &[], &[]);
        let file = file(&[outermost(node(10, "outer", &[], json!([])))], &[]);
        graph(&defined(file, &[outer, numbers()])).as_object().unwrap().len()
    };
    let plain: fn(Value) -> Value = |node| node;
    assert_eq!([held(plain, plain), held(muted, plain), held(bypassed, plain)], [2, 2, 2]);
    assert_eq!([held(plain, muted), held(plain, bypassed)], [0, 0]);
}

#[test]
fn ids_that_are_taken_become_the_next_free_ones() {
    let ids = |root: &[u64], last: u64, inner: &[u64]| {
        let class = |ids: &[u64], class: &str| {
            ids.iter().map(|id| node(*id, class, &[], json!([]))).collect::<Vec<_>>()
        };
        let mut nodes = class(root, "Make");
        nodes.push(node(10, "sub", &[], json!([])));
        let mut file =
            defined(file(&nodes, &[]), &[definition("sub", &class(inner, "Number"), &[], &[], &[])]);
        file["last_node_id"] = json!(last);
        let graph = graph(&file);
        graph
            .as_object()
            .unwrap()
            .keys()
            .filter_map(|id| id.strip_prefix("10:").map(str::to_owned))
            .collect::<Vec<_>>()
    };
    assert_eq!(ids(&[1, 2], 0, &[3, 4]), ["3", "4"]);
    assert_eq!(ids(&[1, 2], 0, &[2, 12]), ["11", "12"]);
    assert_eq!(ids(&[1, 2], 0, &[2, 11]), ["11", "12"]);
    assert_eq!(ids(&[1, 2], 99, &[1, 100]), ["100", "101"]);
}

#[test]
fn two_nodes_may_not_come_to_one_id() {
    let mut nodes = [node(1, "Number", &[], json!([])), node(10, "sub", &[], json!([]))];
    nodes[0]["id"] = json!("10:2");
    let told = faults(&defined(file(&nodes, &[]), &[numbers()]));
    assert_eq!(told, ["another node comes to the same id"]);
}

/// An old group `workflow>g`: a number that feeds the width of a picture, and a sampler.
fn grouped(instance: Value, config: Value) -> Value {
    let mut file = file(&[node(7, "Number", &[], json!([70])), instance], &[[3, 7, 0, 1]]);
    let nodes = [
        node(1, "Number", &[], json!([1])),
        node(2, "Make", &[("width", None)], json!([2])),
        node(3, "Number", &[], json!([3])),
    ];
    file["extra"] = json!({"groupNodes": {"g": {
        "nodes": nodes, "links": [[0, 0, 1, 0, 1, "INT"]], "external": [], "config": config}}});
    file
}

#[test]
fn a_group_node_is_unfolded_with_its_own_values() {
    let graph = graph(&grouped(node(1, "workflow>g", &[], json!([5, 6])), json!({})));
    assert_eq!(graph["1:0"]["inputs"]["value"], 5);
    assert_eq!(graph["1:1"]["inputs"]["width"], json!(["1:0", 0]));
    assert_eq!(graph["1:2"]["inputs"]["value"], 6);
    let linked =
        super::graph(&grouped(node(1, "workflow/g", &[("Number value", Some(3))], json!([5])), json!({})));
    assert_eq!(linked["1:2"]["inputs"]["value"], json!(["7", 0]));
    assert_eq!(linked["1:0"]["inputs"]["value"], 5);
    let renamed = json!({"2": {"input": {"value": {"name": "size"}}}});
    let linked = super::graph(&grouped(node(1, "workflow>g", &[("size", Some(3))], json!([])), renamed));
    assert_eq!(linked["1:2"]["inputs"]["value"], json!(["7", 0]));
}

#[test]
fn a_group_node_that_cannot_be_understood_is_refused() {
    let told = faults(&grouped(node(1, "workflow>g", &[("nobody's", Some(3))], json!([])), json!({})));
    assert!(told[0].contains("convert it to a subgraph"), "{told:?}");
    let mut file = grouped(muted(node(1, "workflow>g", &[], json!([]))), json!({}));
    assert_eq!(graph(&file).as_object().unwrap().len(), 1);
    file["nodes"][1] = node(1, "workflow>none", &[], json!([]));
    assert_eq!(faults(&file), ["the definition of the group node \"none\" is missing from the file"]);
}

#[test]
fn the_outputs_of_a_group_are_those_nothing_inside_uses() {
    let sink = |output: i64, config: Value| {
        let mut file = grouped(node(1, "workflow>g", &[], json!([5, 6])), config);
        file["nodes"].as_array_mut().unwrap().push(node(8, "Any", &[("source", Some(4))], json!([])));
        file["links"].as_array_mut().unwrap().push(json!([4, 1, output, 8, 0, "*"]));
        graph(&file)["8"]["inputs"]["source"].clone()
    };
    assert_eq!(sink(0, json!({})), json!(["1:1", 0]));
    assert_eq!(sink(2, json!({})), json!(["1:2", 0]));
    assert_eq!(sink(0, json!({"0": {"output": {"0": {"visible": true}}}})), json!(["1:0", 0]));
    assert_eq!(sink(0, json!({"1": {"output": {"0": {"visible": false}}}})), json!(["1:1", 1]));
}
