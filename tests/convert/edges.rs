//! The edges of subgraphs: their inputs and outputs, the nodes inside, and files that describe them wrongly.

use super::subgraphs::{defined, definition, proxied};
use super::*;

/// `sub`: inverts what comes in, and gives out the inverted, the muted and the bypassed, and nothing.
fn inverter() -> Value {
    let nodes = [
        node(1, "Reroute", &[("", Some(1))], json!([])),
        node(2, "Invert", &[("image", Some(2))], json!([])),
        muted(node(3, "Invert", &[("image", Some(3))], json!([]))),
        bypassed(node(4, "Invert", &[("image", Some(4))], json!([]))),
        node(5, "Note", &[], json!(["for readers"])),
    ];
    let links = [
        [1, -10, 0, 1],
        [2, 1, 0, 2],
        [3, 2, 0, 3],
        [4, 1, 0, 4],
        [5, 2, 0, -20],
        [6, 3, 0, -20],
        [7, 4, 0, -20],
    ];
    definition("sub", &nodes, &links, &[("image", &[1])], &[5, 6, 7, 999])
}

/// What a node gets from output `output` of an instance of [`inverter`].
fn out_of(output: i64) -> Value {
    let nodes = [
        node(60, "Make", &[], json!([8])),
        node(70, "sub", &[("image", Some(1))], json!([])),
        node(80, "Invert", &[("image", Some(2))], json!([])),
    ];
    let file = file(&nodes, &[[1, 60, 0, 70], [2, 70, output, 80]]);
    graph(&defined(file, &[inverter()]))["80"]["inputs"].clone()
}

#[test]
fn an_output_leads_to_what_is_linked_to_it_inside() {
    assert_eq!(out_of(0), json!({"image": ["70:2", 0]}));
}

#[test]
fn an_output_of_a_muted_node_inside_gives_nothing() {
    assert_eq!(out_of(1), json!({}));
}

#[test]
fn an_output_of_a_bypassed_node_inside_leads_out_again() {
    assert_eq!(out_of(2), json!({"image": ["60", 0]}));
}

#[test]
fn an_output_nothing_is_linked_to_gives_nothing() {
    assert_eq!(out_of(3), json!({}));
    assert_eq!(out_of(99), json!({}));
}

#[test]
fn two_instances_of_one_subgraph_are_two_sets_of_nodes() {
    let nodes = [
        node(60, "Make", &[], json!([8])),
        node(70, "sub", &[("image", Some(1))], json!([])),
        node(71, "sub", &[("image", Some(2))], json!([])),
        node(80, "Invert", &[("image", Some(3))], json!([])),
    ];
    let file = file(&nodes, &[[1, 60, 0, 70], [2, 70, 0, 71], [3, 71, 0, 80]]);
    let graph = graph(&defined(file, &[inverter()]));
    assert_eq!(graph["70:2"]["inputs"]["image"], json!(["60", 0]));
    assert_eq!(graph["71:2"]["inputs"]["image"], json!(["70:2", 0]));
    assert_eq!(graph["80"]["inputs"]["image"], json!(["71:2", 0]));
    assert_eq!(graph.as_object().unwrap().len(), 4);
}

#[test]
fn an_instances_inputs_go_by_name_whatever_their_order() {
    let two = definition(
        "sub",
        &[node(1, "Two", &[("image1", Some(1)), ("image2", Some(2))], json!([]))],
        &[[1, -10, 0, 1], [2, -10, 1, 1]],
        &[("first", &[1]), ("second", &[2])],
        &[],
    );
    let nodes = [
        node(60, "Make", &[], json!([8])),
        node(61, "Make", &[], json!([9])),
        node(70, "sub", &[("gone", Some(3)), ("second", Some(2)), ("first", Some(1))], json!([])),
    ];
    let file = file(&nodes, &[[1, 60, 0, 70], [2, 61, 0, 70], [3, 60, 0, 70]]);
    let graph = graph(&defined(file, &[two]));
    assert_eq!(graph["70:1"]["inputs"]["image1"], json!(["60", 0]));
    assert_eq!(graph["70:1"]["inputs"]["image2"], json!(["61", 0]));
}

#[test]
fn a_primitive_inside_writes_into_what_is_beside_it() {
    let nodes = [
        node(1, "PrimitiveNode", &[], json!([55, "fixed"])),
        node(2, "Make", &[("width", Some(1))], json!([8])),
    ];
    let sub = definition("sub", &nodes, &[[1, 1, 0, 2]], &[], &[]);
    let graph = graph(&defined(file(&[node(70, "sub", &[], json!([]))], &[]), &[sub]));
    assert_eq!(
        graph,
        json!({"70:2": {
            "inputs": {"width": 55}, "class_type": "Make", "_meta": {"title": "Make it"}
        }})
    );
}

#[test]
fn links_lead_through_three_levels_both_ways() {
    let deepest = definition(
        "c",
        &[node(1, "Invert", &[("image", Some(1))], json!([]))],
        &[[1, -10, 0, 1], [2, 1, 0, -20]],
        &[("x", &[1])],
        &[2],
    );
    let around = |id: &str, inner: &str| {
        definition(
            id,
            &[node(5, inner, &[("x", Some(1))], json!([]))],
            &[[1, -10, 0, 5], [2, 5, 0, -20]],
            &[("x", &[1])],
            &[2],
        )
    };
    let nodes = [
        node(60, "Make", &[], json!([8])),
        node(70, "a", &[("x", Some(1))], json!([])),
        node(80, "Invert", &[("image", Some(2))], json!([])),
    ];
    let file = file(&nodes, &[[1, 60, 0, 70], [2, 70, 0, 80]]);
    let graph = graph(&defined(file, &[around("a", "b"), around("b", "c"), deepest]));
    // The second `5` is taken by the first, so it became the next free number.
    assert_eq!(graph["80"]["inputs"]["image"], json!(["70:5:81:1", 0]));
    assert_eq!(graph["70:5:81:1"]["inputs"]["image"], json!(["60", 0]));
}

#[test]
fn a_value_of_the_file_reaches_a_field_three_levels_down() {
    let deepest = definition(
        "c",
        &[node(1, "Make", &[("width", Some(1))], json!([8]))],
        &[[1, -10, 0, 1]],
        &[("w", &[1])],
        &[],
    );
    let around = |id: &str, inner: &str, own: u64| {
        let instance = proxied(node(own, inner, &[("w", Some(1))], json!([own])), json!([["-1", "w"]]));
        definition(id, &[instance], &[[1, -10, 0, own.cast_signed()]], &[("w", &[1])], &[])
    };
    let run = |values: Value| {
        let instance = proxied(node(70, "a", &[("w", None)], values), json!([["-1", "w"]]));
        let file = file(&[instance], &[]);
        let definitions = [around("a", "b", 5), around("b", "c", 6), deepest.clone()];
        graph(&defined(file, &definitions))["70:5:6:1"]["inputs"]["width"].clone()
    };
    assert_eq!(run(json!([99])), 99);
    // Without it, that of the outermost subgraph around it that gives one.
    assert_eq!(run(json!([null])), 5);
    assert_eq!(run(json!([])), 5);
}

#[test]
fn a_value_given_to_a_socket_behind_a_field_goes_there_too() {
    // `a` takes anything: what the field before it on the same input has, it has.
    let nodes = [
        node(1, "Make", &[("width", Some(1))], json!([8])),
        node(2, "Switch", &[("a", Some(2))], json!([true])),
    ];
    let sub = definition("sub", &nodes, &[[1, -10, 0, 1], [2, -10, 0, 2]], &[("n", &[1, 2])], &[]);
    let graph = graph(&defined(file(&[node(70, "sub", &[], json!([]))], &[]), &[sub]));
    assert_eq!(graph["70:2"]["inputs"], json!({"on": true, "a": 8}));
}

#[test]
fn an_input_whose_first_end_is_a_socket_is_no_field() {
    let nodes = [
        node(1, "Switch", &[("a", Some(1))], json!([true])),
        node(2, "Make", &[("width", Some(2))], json!([8])),
    ];
    let sub = definition("sub", &nodes, &[[1, -10, 0, 1], [2, -10, 0, 2]], &[("n", &[1, 2])], &[]);
    let graph = graph(&defined(file(&[node(70, "sub", &[], json!([]))], &[]), &[sub]));
    assert_eq!(graph["70:1"]["inputs"], json!({"on": true}));
    assert_eq!(graph["70:2"]["inputs"], json!({"width": 8}));
}

#[test]
fn prompts_and_prefixes_given_by_an_instance_are_treated_like_saved_ones() {
    let nodes = [
        node(1, "Text", &[("text", Some(1))], json!(["inner"])),
        node(2, "SaveImage", &[("filename_prefix", Some(2))], json!(["inner"])),
    ];
    let sub = definition(
        "sub",
        &nodes,
        &[[1, -10, 0, 1], [2, -10, 1, 2]],
        &[("text", &[1]), ("prefix", &[2])],
        &[],
    );
    let values = json!(["{a|b}", "%date:yyyy%_%size.width%_%Sub.text%"]);
    let instance = proxied(node(70, "sub", &[], values), json!([["1", "text"], ["2", "filename_prefix"]]));
    let instance = with(instance, "title", json!("Sub"));
    let size = with(node(60, "Make", &[], json!([512])), "title", json!("size"));
    let graph = graph(&defined(file(&[instance, size], &[]), &[sub]));
    assert_eq!(graph["70:1"]["inputs"]["text"], "b");
    assert_eq!(graph["70:2"]["inputs"]["filename_prefix"], "2026_512_{a_b}");
}

#[test]
fn a_subgraphs_edge_that_points_nowhere_gives_nothing() {
    let nodes = [
        node(1, "Invert", &[("image", Some(1))], json!([])),
        node(2, "Make", &[("width", Some(2))], json!([8])),
        node(3, "Make", &[("width", Some(3))], json!([9])),
    ];
    let mut sub =
        definition("sub", &nodes, &[[1, -10, 7, 1], [2, -10, -1, 2], [3, -10, 0, 3]], &[("n", &[404])], &[]);
    sub["links"][2]["origin_slot"] = json!("x");
    let graph = graph(&defined(file(&[node(70, "sub", &[], json!([5]))], &[]), &[sub]));
    assert_eq!(graph["70:1"]["inputs"], json!({}));
    assert_eq!(graph["70:2"]["inputs"], json!({"width": 8}));
    assert_eq!(graph["70:3"]["inputs"], json!({"width": 9}));
}

#[test]
fn proxies_that_name_nothing_keep_their_places() {
    let sub = definition(
        "sub",
        &[node(1, "Make", &[], json!([8])), node(2, "Number", &[], json!([9]))],
        &[],
        &[],
        &[],
    );
    let proxies = json!([["404", "x"], 7, ["1", "none"], ["-1", "none"], ["2", "value"]]);
    let instance = proxied(node(70, "sub", &[], json!([1, 2, 3, 4, 5])), proxies);
    let graph = graph(&defined(file(&[instance], &[]), &[sub]));
    assert_eq!(graph["70:1"]["inputs"], json!({"width": 8}));
    assert_eq!(graph["70:2"]["inputs"], json!({"value": 5}));
}

#[test]
fn the_edges_own_ids_mean_nothing_outside_of_subgraphs() {
    let nodes = [node(1, "Invert", &[("image", Some(1))], json!([]))];
    let told = faults(&file(&nodes, &[[1, -10, 0, 1]]));
    assert_eq!(told, ["input \"image\" is linked to node -10, which is not in the file"]);
}

#[test]
fn definitions_nobody_uses_do_not_matter() {
    let broken = json!({"id": "broken", "nodes": [{"id": 1, "type": "Nowhere"}], "links": [[1, 2, 3]]});
    let circle = definition("circle", &[node(1, "circle", &[], json!([]))], &[], &[], &[]);
    let graph =
        graph(&defined(file(&[node(1, "Make", &[], json!([8]))], &[]), &[broken, circle, json!(null)]));
    assert_eq!(graph.as_object().unwrap().len(), 1);
}

#[test]
fn faults_inside_are_told_with_the_whole_path() {
    let sub = definition("sub", &[node(3, "Nowhere", &[], json!([]))], &[], &[], &[]);
    let told = run(&defined(file(&[node(70, "sub", &[], json!([]))], &[]), &[sub])).unwrap_err();
    assert_eq!(told[0].node_id.as_deref(), Some("70:3"));
    assert_eq!(told[0].class_type.as_deref(), Some("Nowhere"));
}

#[test]
fn a_circle_through_subgraphs_is_told() {
    let through = definition("sub", &[], &[[1, -10, 0, -20]], &[("x", &[1])], &[1]);
    let nodes = [
        node(70, "sub", &[("x", Some(2))], json!([])),
        node(71, "sub", &[("x", Some(1))], json!([])),
        node(80, "Invert", &[("image", Some(3))], json!([])),
    ];
    let file = file(&nodes, &[[1, 70, 0, 71], [2, 71, 0, 70], [3, 70, 0, 80]]);
    let told = run(&defined(file, &[through])).unwrap_err();
    assert_eq!(told[0].node_id.as_deref(), Some("80"));
    assert!(told[0].message.contains("comes back to itself"), "{told:?}");
}
