//! Links: through bypassed nodes, reroutes and primitives, and in malformed files.

use super::*;

#[test]
fn a_bypassed_node_passes_its_first_input_of_the_type_even_if_nothing_is_linked_there() {
    let two = |first: Option<u64>, second: Option<u64>| {
        let nodes = [
            node(1, "Make", &[], json!([8])),
            bypassed(node(2, "Two", &[("image1", first), ("image2", second)], json!([]))),
            node(3, "Invert", &[("image", Some(9))], json!([])),
        ];
        graph(&file(&nodes, &[[5, 1, 0, 2], [9, 2, 0, 3]]))["3"]["inputs"].clone()
    };
    assert_eq!(two(Some(5), None), json!({"image": ["1", 0]}));
    assert_eq!(two(None, Some(5)), json!({}));
}

#[test]
fn to_an_input_of_any_type_a_bypassed_node_passes_the_input_in_the_same_place() {
    let nodes = [
        node(1, "Make", &[], json!([8])),
        bypassed(node(2, "Odd", &[("mask", Some(4)), ("image", Some(5))], json!([]))),
        node(3, "Any", &[("source", Some(6))], json!([])),
        node(4, "Invert", &[("image", Some(7))], json!([])),
    ];
    let graph = graph(&file(&nodes, &[[4, 1, 1, 2], [5, 1, 0, 2], [6, 2, 0, 3], [7, 2, 0, 4]]));
    assert_eq!(graph["3"]["inputs"]["source"], json!(["1", 1]));
    assert_eq!(graph["4"]["inputs"]["image"], json!(["1", 0]));
}

#[test]
fn slots_of_a_bypassed_node_count_sockets_first_and_then_fields() {
    // Output 0 of `Switch` is of any type: the number that is asked for comes from the first that can be one.
    let nodes = [
        node(1, "Number", &[], json!([5])),
        bypassed(node(2, "Switch", &[("on", None), ("b", Some(4)), ("a", Some(5))], json!([true]))),
        node(3, "Number", &[("value", Some(6))], json!([0])),
        node(4, "Number", &[], json!([6])),
    ];
    let graph = graph(&file(&nodes, &[[4, 1, 0, 2], [5, 4, 0, 2], [6, 2, 0, 3]]));
    assert_eq!(graph["3"]["inputs"]["value"], json!(["4", 0]));
}

#[test]
fn the_parts_of_an_autogrow_input_are_slots_too() {
    let nodes = [
        node(1, "Make", &[], json!([8])),
        bypassed(node(2, "Batch", &[("images.image1", Some(4)), ("images.image0", Some(5))], json!([]))),
        node(3, "Invert", &[("image", Some(6))], json!([])),
        node(4, "Batch", &[("images.image2", Some(7)), ("images.image1", None)], json!([])),
    ];
    let graph = graph(&file(&nodes, &[[4, 9, 0, 2], [5, 1, 0, 2], [6, 2, 0, 3], [7, 1, 0, 4]]));
    assert_eq!(graph["3"]["inputs"]["image"], json!(["1", 0]));
    assert_eq!(graph["4"]["inputs"], json!({"images.image2": ["1", 0]}));
}

#[test]
fn an_unknown_class_that_is_bypassed_passes_by_the_types_it_was_saved_with() {
    let unknown = json!({"id": 2, "type": "Nowhere", "mode": 4, "inputs": [
        {"name": "m", "type": "MASK", "link": 4}, {"name": "i", "type": "IMAGE", "link": 5}],
        "outputs": [{"name": "o", "type": "IMAGE"}]});
    let nodes =
        [node(1, "Make", &[], json!([8])), unknown, node(3, "Invert", &[("image", Some(6))], json!([]))];
    let graph = graph(&file(&nodes, &[[4, 1, 1, 2], [5, 1, 0, 2], [6, 2, 0, 3]]));
    assert_eq!(graph["3"]["inputs"]["image"], json!(["1", 0]));
    assert_eq!(graph.as_object().unwrap().len(), 2);
}

#[test]
fn a_field_whose_source_vanished_keeps_its_own_value_and_a_socket_goes() {
    let nodes = [
        muted(node(1, "Number", &[], json!([5]))),
        node(2, "Make", &[("width", Some(3))], json!([77])),
        node(3, "Invert", &[("image", Some(4))], json!([])),
        muted(node(4, "Make", &[], json!([1]))),
    ];
    let graph = graph(&file(&nodes, &[[3, 1, 0, 2], [4, 4, 0, 3]]));
    assert_eq!((&graph["2"]["inputs"], &graph["3"]["inputs"]), (&json!({"width": 77}), &json!({})));
}

#[test]
fn a_primitive_writes_its_value_into_what_is_linked_to_it_directly() {
    let to_field = |primitive: Value| {
        let nodes = [primitive, node(2, "Make", &[("width", Some(3))], json!([77]))];
        graph(&file(&nodes, &[[3, 1, 0, 2]]))["2"]["inputs"]["width"].clone()
    };
    assert_eq!(to_field(node(1, "PrimitiveNode", &[], json!([5, "fixed"]))), 5);
    assert_eq!(to_field(muted(node(1, "PrimitiveNode", &[], json!([5, "fixed"])))), 5);
    assert_eq!(to_field(bypassed(node(1, "PrimitiveNode", &[], json!([6])))), 6);
    for nothing in [json!([]), json!([null]), json!(null), json!({"value": 5})] {
        assert_eq!(to_field(node(1, "PrimitiveNode", &[], nothing)), 77);
    }
    let nodes = [
        node(1, "PrimitiveNode", &[], json!([5])),
        node(2, "Make", &[("width", Some(3))], json!([77])),
        node(3, "Reroute", &[("", Some(4))], json!([])),
    ];
    assert_eq!(graph(&file(&nodes, &[[3, 3, 0, 2], [4, 1, 0, 3]]))["2"]["inputs"]["width"], 77);
}

#[test]
fn a_muted_reroute_cuts_and_a_bypassed_one_passes() {
    let through = |reroute: Value| {
        let nodes =
            [node(1, "Make", &[], json!([8])), reroute, node(3, "Invert", &[("image", Some(5))], json!([]))];
        graph(&file(&nodes, &[[4, 1, 0, 2], [5, 2, 0, 3]]))["3"]["inputs"].clone()
    };
    let reroute = || node(2, "Reroute", &[("", Some(4))], json!([]));
    assert_eq!(through(reroute()), json!({"image": ["1", 0]}));
    assert_eq!(through(bypassed(reroute())), json!({"image": ["1", 0]}));
    assert_eq!(through(muted(reroute())), json!({}));
}

#[test]
fn inputs_the_class_no_longer_has_go_along_only_as_links() {
    let mut old = node(2, "Make", &[("gone", Some(4)), ("field", Some(4)), ("idle", None)], json!([8]));
    old["inputs"][1]["widget"] = json!({"name": "field"});
    let nodes = [node(1, "Make", &[], json!([8])), old];
    assert_eq!(graph(&file(&nodes, &[[4, 1, 0, 2]]))["2"]["inputs"], json!({"width": 8, "gone": ["1", 0]}));
}

#[test]
fn links_that_lead_nowhere_are_told() {
    let linked = |links: &[[i64; 4]]| {
        file(&[node(1, "Make", &[], json!([8])), node(2, "Invert", &[("image", Some(5))], json!([]))], links)
    };
    assert_eq!(
        faults(&linked(&[[5, 9, 0, 2]])),
        ["input \"image\" is linked to node 9, which is not in the file"]
    );
    assert_eq!(
        faults(&linked(&[[5, 1, -1, 2]])),
        ["the link from node 1 to input \"image\" does not say which output it is from"]
    );
    let nowhere = linked(&[[6, 1, 0, 2]]);
    assert_eq!(graph(&nowhere)["2"]["inputs"], json!({}));
    assert_eq!(
        warnings(&nowhere),
        ["input \"image\" names link 5, which is not in the file: taken as not linked"]
    );
    // An output that does not exist goes to the server as it is: it can tell better.
    assert_eq!(graph(&linked(&[[5, 1, 9, 2]]))["2"]["inputs"]["image"], json!(["1", 9]));
}

#[test]
fn a_link_that_says_where_it_goes_mends_an_input_that_names_a_missing_one() {
    let file = |link: Option<u64>| {
        let nodes = [node(1, "Make", &[], json!([8])), node(2, "Invert", &[("image", link)], json!([]))];
        json!({"nodes": nodes, "links": [null, [6, 1, 0, 2, 0, "IMAGE"], "x"]})
    };
    assert_eq!(graph(&file(Some(99)))["2"]["inputs"]["image"], json!(["1", 0]));
    assert_eq!(graph(&file(None))["2"]["inputs"], json!({}));
    assert_eq!(
        warnings(&file(None)),
        [
            "entries of `links` that are no links were left out",
            "input \"image\" names no link and was left so, despite link 6, which says it feeds it"
        ]
    );
}

#[test]
fn both_forms_of_links_are_taken_whatever_the_version_says() {
    let nodes = [node(1, "Make", &[], json!([8])), node(2, "Invert", &[("image", Some(5))], json!([]))];
    let object =
        json!({"id": 5, "origin_id": 1, "origin_slot": 1, "target_id": 2, "target_slot": 0, "parentId": 3});
    for version in [json!(0.4), json!(1), json!(null)] {
        for link in [&object, &json!([5, 1, 1, 2, 0])] {
            let file = json!({"nodes": nodes, "links": [link], "version": version, "reroutes": [{"id": 3}]});
            assert_eq!(graph(&file)["2"]["inputs"]["image"], json!(["1", 1]));
        }
    }
}

#[test]
fn circles_of_nodes_stay_and_circles_of_what_is_passed_through_are_told() {
    let circle = |make: fn(Value) -> Value| {
        let nodes = [
            make(node(1, "Invert", &[("image", Some(5))], json!([]))),
            make(node(2, "Invert", &[("image", Some(6))], json!([]))),
            node(3, "Invert", &[("image", Some(7))], json!([])),
        ];
        file(&nodes, &[[5, 2, 0, 1], [6, 1, 0, 2], [7, 1, 0, 3]])
    };
    assert_eq!(graph(&circle(|node| node))["1"]["inputs"]["image"], json!(["2", 0]));
    let told = run(&circle(bypassed)).unwrap_err();
    assert_eq!(told[0].node_id.as_deref(), Some("3"));
    assert!(told[0].message.contains("comes back to itself"), "{told:?}");
}

/// A bypassed node of an unknown class with these input and output types.
fn passing(id: u64, inputs: &[(&str, &str, Option<u64>)], outputs: &[&str]) -> Value {
    let inputs: Vec<Value> =
        inputs.iter().map(|(name, kind, link)| json!({"name": name, "type": kind, "link": link})).collect();
    let outputs: Vec<Value> = outputs.iter().map(|kind| json!({ "type": kind })).collect();
    json!({"id": id, "type": "Foreign", "mode": 4, "inputs": inputs, "outputs": outputs, "widgets_values": []})
}

#[test]
fn behind_a_bypassed_node_its_inputs_type_is_wanted() {
    let nodes = [
        node(1, "Make", &[], json!([1])),
        node(2, "Make", &[], json!([2])),
        passing(3, &[("one", "IMAGE", Some(1)), ("two", "X,IMAGE", Some(2))], &[]),
        passing(4, &[("only", "X,IMAGE", Some(3))], &["IMAGE"]),
        node(5, "Invert", &[("image", Some(4))], json!([])),
        node(6, "Invert", &[("image", Some(5))], json!([])),
    ];
    let graph = graph(&file(&nodes, &[[1, 1, 0, 3], [2, 2, 0, 3], [3, 3, 5, 4], [4, 4, 0, 5], [5, 3, 5, 6]]));
    assert_eq!(
        graph["5"]["inputs"]["image"],
        json!(["2", 0]),
        "the one of exactly the type that node 4 takes"
    );
    assert_eq!(
        graph["6"]["inputs"]["image"],
        json!(["1", 0]),
        "the one of exactly the type that node 6 takes"
    );
}

#[test]
fn a_value_promoted_by_an_instance_stays_when_its_source_vanishes_behind_a_bypassed_node() {
    let inner = subgraphs::definition(
        "sub",
        &[node(1, "Number", &[("value", Some(1))], json!([11]))],
        &[[1, -10, 0, 1]],
        &[("n", &[1])],
        &[],
    );
    let value = |first: Value, between: Value| {
        let instance =
            subgraphs::proxied(node(10, "sub", &[("n", Some(2))], json!([5])), json!([["1", "value"]]));
        let file = file(&[first, between, instance], &[[1, 8, 0, 9], [2, 9, 0, 10]]);
        graph(&subgraphs::defined(file, std::slice::from_ref(&inner)))["10:1"]["inputs"]["value"].clone()
    };
    let bypass = passing(9, &[("x", "INT", Some(1))], &["INT"]);
    assert_eq!(value(node(8, "Number", &[], json!([1])), bypass.clone()), json!(["8", 0]));
    assert_eq!(value(muted(node(8, "Number", &[], json!([1]))), bypass), 5);
    // A primitive writes into what it is linked to directly, and not through a reroute.
    let reroute = node(9, "Reroute", &[("", Some(1))], json!([]));
    assert_eq!(value(node(8, "PrimitiveNode", &[], json!([77, "fixed"])), reroute.clone()), 5);
    assert_eq!(value(node(8, "Number", &[], json!([1])), reroute), json!(["8", 0]));
}

#[test]
fn an_input_that_may_grow_is_one_slot_at_least_and_none_counts_twice() {
    let classes = json!({
        "Grow": {"input": {"required": {
            "images": ["COMFY_AUTOGROW_V3", {"template": {"input": {"required": {"image": ["IMAGE"]}}, "prefix": "image", "min": 0}}],
            "mask": ["MASK"]}}, "output": ["IMAGE", "MASK", "MASK"]},
        "Make": {"input": {}, "output": ["MASK", "MASK"]},
        "Any": {"input": {"required": {"source": ["*"]}}}
    });
    let info = ObjectInfo::parse(&classes.to_string()).unwrap();
    let source = |inputs: &[(&str, Option<u64>)], output: i64| {
        let nodes = [
            node(1, "Make", &[], json!([])),
            bypassed(node(2, "Grow", inputs, json!([]))),
            node(3, "Any", &[("source", Some(9))], json!([])),
        ];
        let text = file(&nodes, &[[1, 1, 0, 2], [2, 1, 1, 2], [9, 2, output, 3]]).to_string();
        let now = jiff::civil::date(2026, 3, 9).at(7, 5, 4, 0);
        let graph: Value =
            serde_json::from_str(&convert(&text, &info, now, &mut |_| 0).unwrap().graph).unwrap();
        graph["3"]["inputs"]["source"].clone()
    };
    assert_eq!(
        source(&[("mask", Some(1))], 0),
        Value::Null,
        "the first slot is the picture, which is not linked"
    );
    assert_eq!(source(&[("mask", Some(1))], 1), json!(["1", 0]));
    let both = [("mask", Some(1)), ("images.image0", Some(2))];
    assert_eq!(source(&both, 0), json!(["1", 1]));
    assert_eq!(source(&both, 2), json!(["1", 1]), "there is no third slot, so it is the first");
    let grown = [("images.image1", Some(2)), ("mask", Some(1))];
    assert_eq!(
        source(&grown, 1),
        json!(["1", 1]),
        "what was saved of the growing input comes before the mask"
    );
    assert_eq!(source(&grown, 2), json!(["1", 0]));
}

#[test]
fn a_slot_that_was_saved_without_a_type_takes_and_gives_any() {
    for untyped in [json!({}), json!({ "type": -1 }), json!({ "type": null }), json!({ "type": {} })] {
        let mut bypass = passing(3, &[("x", "", Some(1))], &[""]);
        bypass["outputs"] = json!([untyped]);
        bypass["inputs"][0].as_object_mut().unwrap().remove("type");
        if let Some(kind) = untyped.get("type") {
            bypass["inputs"][0]["type"] = kind.clone();
        }
        let nodes =
            [node(1, "Make", &[], json!([1])), bypass, node(5, "Invert", &[("image", Some(2))], json!([]))];
        let graph = graph(&file(&nodes, &[[1, 1, 0, 3], [2, 3, 0, 5]]));
        assert_eq!(graph["5"]["inputs"]["image"], json!(["1", 0]), "{untyped}");
    }
}
