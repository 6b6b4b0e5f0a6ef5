//! Tests of holding workflows against node classes.

use serde_json::{Value, json};

use super::*;
use crate::domain::object_info::ObjectInfo;
use crate::domain::workflow::Workflow;

const INFO: &str = r#"{
"Loader": {"input": {"required": {"ckpt_name": [["sd/flux1-dev.safetensors", "flux1-schnell.safetensors"], {}]}},
  "output": ["MODEL", "CLIP"], "python_module": "nodes"},
"Sampler": {"input": {"required": {"model": ["MODEL"],
    "seed": ["INT", {"min": 0, "max": 18446744073709551615}], "cfg": ["FLOAT", {"min": 0.0, "max": 100.0}],
    "sampler_name": ["COMBO", {"options": ["euler", "euler_ancestral", "heun"]}], "title": ["STRING", {}],
    "tiled": ["BOOLEAN", {}]}, "optional": {"latent": ["LATENT"], "scale": ["INT,FLOAT", {"max": 1}]}},
  "output": ["LATENT"], "python_module": "comfy_extras.nodes_sampler"},
"Save": {"input": {"required": {"latent": ["LATENT"]}, "optional": {"any": ["*"], "either": ["IMAGE, LATENT"]},
  "hidden": {"prompt": "PROMPT"}}, "output": [], "output_node": true, "python_module": "nodes"},
"LoadImage": {"input": {"required": {"image": [["a.png"], {"image_upload": true}]}}, "output": ["IMAGE", "MASK"],
  "python_module": "nodes"},
"NewLoader": {"input": {"required": {"model": [["a.glb"], {"file_upload": true}]}}, "output": ["MESH"],
  "python_module": "comfy_extras.nodes_new"},
"LoadLatent": {"input": {"required": {"latent": [["a.latent"]]}}, "output": ["LATENT"], "python_module": "nodes"},
"Far": {"input": {"required": {"voice": ["COMBO", {"remote": {"route": "/x"}}],
  "several": ["COMBO", {"options": ["a", "b"], "multiselect": true}], "number": [[1, 2.5, true, null]]}},
  "output": ["*"], "python_module": "comfy_api_nodes.nodes_far"},
"Pack": {"input": {"required": {"mode": [["x", "y"]], "strength": ["FLOAT", {"max": 1}], "image": ["IMAGE"]}},
  "output": ["ANYTHING"], "python_module": "custom_nodes.pack"},
"Dynamic": {"input": {"required": {
    "model": ["COMFY_DYNAMICCOMBO_V3", {"options": [
      {"key": "fast", "inputs": {"required": {"steps": ["INT", {"max": 8}]}}},
      {"key": "grown", "inputs": {"required": {"images": ["COMFY_AUTOGROW_V3", {"template": {
        "input": {"required": {"image": ["IMAGE"]}}, "prefix": "image", "min": 1, "max": 3}}]}}}]}],
    "on": ["COMFY_MATCHTYPE_V3", {"template": {"template_id": "t", "allowed_types": "*"}}],
    "slot": ["COMFY_DYNAMICSLOT_V3", {}]}},
  "output": ["COMFY_MATCHTYPE_V3"], "output_node": true, "python_module": "comfy_extras.nodes_dynamic"},
"Empty": {"input": {"required": {"model_name": ["COMBO", {"options": []}]}}, "output": ["MODEL"],
  "python_module": "nodes"}
}"#;

const NOW: SuppliedInputs<'static> = SuppliedInputs { supplied: &[], replaced: &[], expands: true };

fn checked_with(nodes: &Value, given: SuppliedInputs<'_>) -> GraphFaults {
    let text = nodes.to_string();
    let workflow = Workflow::parse(&text).unwrap();
    check(&workflow, &ObjectInfo::parse(INFO).unwrap(), given)
}

fn checked(nodes: &Value) -> GraphFaults {
    checked_with(nodes, NOW)
}

/// Every fault as `node.input kind`, with `?` if it is not certain.
fn said(faults: &GraphFaults) -> Vec<String> {
    let each = |node: &NodeFaults| {
        let id = node.node_id.clone();
        let each = move |fault: &NodeFault| {
            let doubt = if fault.certain { "" } else { "?" };
            format!("{id}.{} {}{doubt}", fault.input.as_deref().unwrap_or(""), fault.kind.as_str())
        };
        node.faults.iter().map(each).collect::<Vec<_>>()
    };
    faults.nodes.iter().flat_map(each).collect()
}

/// A good graph with `changes` made to its inputs, given as `node.input`; `null` takes an input away.
fn graph(changes: &Value) -> Value {
    let mut nodes = json!({
        "1": {"class_type": "Loader", "inputs": {"ckpt_name": "sd/flux1-dev.safetensors"}},
        "2": {"class_type": "Sampler", "inputs": {"model": ["1", 0], "seed": 5, "cfg": 8.0, "sampler_name": "euler",
            "title": "x", "tiled": false}},
        "3": {"class_type": "Save", "inputs": {"latent": ["2", 0]}},
    });
    for (path, value) in changes.as_object().unwrap() {
        let (node, input) = path.split_once('.').unwrap();
        let inputs = nodes[node]["inputs"].as_object_mut().unwrap();
        inputs.remove(input);
        if !value.is_null() {
            inputs.insert(input.to_owned(), value.clone());
        }
    }
    nodes
}

#[track_caller]
fn expect(changes: &Value, faults: &[&str]) -> GraphFaults {
    let found = checked(&graph(changes));
    assert_eq!(said(&found), faults, "{changes}");
    assert_eq!(found.refused, !faults.is_empty(), "{changes}");
    found
}

#[test]
fn a_good_graph_is_clean() {
    let found = expect(&json!({}), &[]);
    assert!(found.is_clean() && found.missing().count() == 0);
}

#[test]
fn what_python_would_convert_is_taken() {
    for value in [
        json!("12"),
        json!(12.9),
        json!(true),
        json!(18_446_744_073_709_551_615_u64),
        json!({"__value__": 3}),
    ] {
        expect(&json!({"2.seed": value, "2.cfg": value.as_u64().map_or(json!("7.5"), |_| json!(1))}), &[]);
    }
    for value in [json!(3), json!({"a": 1}), json!(true), json!("")] {
        expect(&json!({"2.title": value, "2.tiled": value, "2.scale": value, "3.any": value}), &[]);
    }
    expect(&json!({"2.unknown": ["9", "x"], "3.unknown": 7, "2.cfg": "nan"}), &[]);
}

#[test]
fn values_are_held_against_type_range_and_choices() {
    for (input, value, fault) in [
        ("seed", json!("abc"), "invalid_input_type"),
        ("seed", json!({}), "invalid_input_type"),
        ("seed", json!(-1), "value_smaller_than_min"),
        ("cfg", json!("100.5"), "value_bigger_than_max"),
        ("cfg", json!("much"), "invalid_input_type"),
        ("sampler_name", json!("euler_a"), "value_not_in_list"),
        ("sampler_name", json!(1), "value_not_in_list"),
        ("sampler_name", json!({"__value__": ["euler", "nope"]}), "value_not_in_list"),
        ("model", json!(null), "required_input_missing"),
        ("model", json!([1, 0]), "bad_linked_input"),
        ("model", json!(["1"]), "bad_linked_input"),
        ("seed", json!([1, 2, 3]), "bad_linked_input"),
        ("model", json!(["1", 2]), "bad_linked_input"),
        ("model", json!(["1", -3]), "bad_linked_input"),
        ("model", json!(["1", 0.0]), "bad_linked_input"),
        ("model", json!(["1", 1]), "return_type_mismatch"),
        ("sampler_name", json!(["1", 0]), "return_type_mismatch"),
    ] {
        expect(&json!({format!("2.{input}"): value}), &[&format!("2.{input} {fault}")]);
    }
    expect(&json!({"2.model": ["1", -2]}), &[]);
    let null = r#"{"1":{"class_type":"Sampler","inputs":{"model":3,"seed":null,"cfg":1,"sampler_name":null,"title":null,
        "tiled":null}},"2":{"class_type":"Save","inputs":{"latent":["1",0]}}}"#;
    let found = checked(&serde_json::from_str(null).unwrap());
    assert_eq!(said(&found), ["1.seed invalid_input_type", "1.sampler_name value_not_in_list"]);
}

#[test]
fn faults_say_what_to_do() {
    let found = expect(&json!({"1.ckpt_name": "flux1-dev.safetensors"}), &["1.ckpt_name value_not_in_list"]);
    let fault = &found.nodes[0].faults[0];
    assert_eq!(fault.nearest, ["sd/flux1-dev.safetensors", "flux1-schnell.safetensors"]);
    assert_eq!(fault.received.as_deref(), Some("flux1-dev.safetensors"));
    assert!(fault.message.starts_with("`ckpt_name` must be one of: sd/flux1-dev"), "{}", fault.message);
    let missing: Vec<_> = found.missing().collect();
    let [MissingItem { kind: MissingKind::Model, name: "flux1-dev.safetensors", node_id: "1", input, .. }] =
        missing[..]
    else {
        panic!("{missing:?}")
    };
    assert_eq!(input, Some("ckpt_name"));
    let found = expect(&json!({"2.sampler_name": "x".repeat(300)}), &["2.sampler_name value_not_in_list"]);
    assert_eq!(found.nodes[0].faults[0].received.as_deref().map(str::len), Some(200));
    assert_eq!(found.missing().next().unwrap().kind, MissingKind::Value);
    let found = expect(&json!({"2.cfg": 101}), &["2.cfg value_bigger_than_max"]);
    assert_eq!(found.nodes[0].faults[0].message, "`cfg` must be at most 100.0, not 101");
    let found = checked(&json!({"1": {"class_type": "Empty", "inputs": {"model_name": "a.gguf"}},
        "2": {"class_type": "Save", "inputs": {"latent": ["3", 0], "any": ["1", 0]}},
        "3": {"class_type": "LoadLatent", "inputs": {"latent": "x"}}}));
    assert!(found.nodes[0].faults[0].message.contains("the backend lists none"), "{found:?}");
}

#[test]
fn a_missing_class_refuses_the_whole_wherever_it_is() {
    let mut nodes = graph(&json!({}));
    nodes["9"] = json!({"class_type": "Samplr", "inputs": {"x": ["1", 0]}});
    let found = checked(&nodes);
    assert!(found.refused);
    assert_eq!(said(&found), ["9. missing_node_type"]);
    let missing = found.missing().next().unwrap();
    assert_eq!((missing.kind, missing.name, missing.input), (MissingKind::NodeClass, "Samplr", None));
    assert_eq!(missing.nearest, ["Sampler"]);
    let replaced = checked_with(&nodes, SuppliedInputs { replaced: &["Samplr"], ..NOW });
    assert!(replaced.is_clean() && !replaced.refused);
}

#[test]
fn what_a_server_replaces_may_be_anything() {
    let nodes = json!({"1": {"class_type": "Old", "inputs": {}}, "2": {"class_type": "Old", "inputs": {"x": ["1", 7]}}});
    let given = SuppliedInputs { replaced: &["Old"], ..NOW };
    let found = checked_with(&nodes, given);
    assert!(found.is_clean() && !found.refused);
    let nodes = json!({"1": {"class_type": "Old", "inputs": {}}, "2": {"class_type": "Save", "inputs": {"latent": ["1", 7]}}});
    assert!(checked_with(&nodes, given).is_clean());
    assert!(checked(&nodes).refused);
}

#[test]
fn only_what_outputs_depend_on_is_looked_at() {
    let mut nodes = graph(&json!({}));
    nodes["8"] = json!({"class_type": "Sampler", "inputs": {"seed": "abc"}});
    nodes["2"]["inputs"]["unknown"] = json!(["8", 0]);
    assert!(checked(&nodes).is_clean());
    nodes["3"]["inputs"]["any"] = json!(["8", 0]);
    assert_eq!(checked(&nodes).nodes.len(), 1);
    let linked = json!({"1": {"class_type": "Loader", "inputs": {"ckpt_name": "no"}},
        "3": {"class_type": "Save", "inputs": {"latent": ["1", 0]}}});
    assert_eq!(
        said(&checked(&linked)),
        ["3.latent return_type_mismatch"],
        "nobody asks what cannot be linked"
    );
    let found = checked(&json!({"1": {"class_type": "Loader", "inputs": {"ckpt_name": "no"}}}));
    assert!(found.no_outputs && found.refused && found.nodes.is_empty() && !found.is_clean());
}

#[test]
fn one_good_output_is_enough_to_be_run() {
    let mut nodes = graph(&json!({}));
    nodes["4"] = json!({"class_type": "Sampler", "inputs": {"model": ["1", 0], "seed": 1, "cfg": 1, "sampler_name": "no",
        "title": "", "tiled": false}});
    nodes["5"] = json!({"class_type": "Save", "inputs": {"latent": ["4", 0]}});
    let found = checked(&nodes);
    assert_eq!(said(&found), ["4.sampler_name value_not_in_list"]);
    assert!(!found.refused && !found.is_clean());
    nodes["4"]["inputs"]["sampler_name"] = json!("heun");
    nodes["1"]["inputs"]["ckpt_name"] = json!("no");
    assert!(checked(&nodes).refused, "both depend on the same faulty node");
    nodes["4"]["inputs"]["sampler_name"] = json!("no");
    let found = checked(&nodes);
    assert!(found.refused);
    assert_eq!(said(&found), ["1.ckpt_name value_not_in_list", "4.sampler_name value_not_in_list"]);
}

#[test]
fn links_meet_by_any_common_type() {
    let nodes = |class: &str, input: &str| {
        json!({"1": {"class_type": class, "inputs": {"image": "x.png", "latent": "a.latent"}},
            "2": {"class_type": "LoadLatent", "inputs": {"latent": "a.latent"}},
            "3": {"class_type": "Save", "inputs": {"latent": ["2", 0], input: ["1", 0]}}})
    };
    for (class, input) in [("LoadImage", "any"), ("LoadImage", "either"), ("LoadLatent", "either")] {
        assert!(checked(&nodes(class, input)).is_clean(), "{class} {input}");
    }
    assert_eq!(said(&checked(&nodes("LoadImage", "latent"))), ["3.latent return_type_mismatch"]);
}

#[test]
fn files_to_be_uploaded_and_classes_with_checks_of_their_own_are_let_be() {
    let nodes = json!({"1": {"class_type": "LoadImage", "inputs": {"image": "new.png"}},
        "2": {"class_type": "LoadLatent", "inputs": {"latent": "sub/new.latent"}},
        "4": {"class_type": "NewLoader", "inputs": {"model": "new.glb"}},
        "3": {"class_type": "Save", "inputs": {"latent": ["2", 0], "any": ["1", 0]}},
        "5": {"class_type": "Save", "inputs": {"latent": ["2", 0], "any": ["4", 0]}}});
    assert!(checked(&nodes).is_clean());
    let nodes = json!({"1": {"class_type": "Loader", "inputs": {}},
        "3": {"class_type": "Save", "inputs": {"latent": 3, "any": ["1", 0]}}});
    assert_eq!(said(&checked(&nodes)), ["1.ckpt_name required_input_missing"]);
    let supplied = SuppliedInputs { supplied: &[("1", "ckpt_name")], ..NOW };
    assert!(checked_with(&nodes, supplied).is_clean());
}

#[test]
fn choices_may_be_of_any_kind_and_be_several() {
    let nodes = |several: Value, number: Value| {
        json!({"1": {"class_type": "Far", "inputs": {"voice": "anyone", "several": several, "number": number}},
            "2": {"class_type": "Save", "inputs": {"latent": ["1", 0]}}})
    };
    for (several, number) in
        [("a".into(), json!(1.0)), (json!({"__value__": ["a", "b"]}), json!(2.5)), ("b".into(), json!(null))]
    {
        assert!(checked(&nodes(several, number)).is_clean());
    }
    let found = checked(&nodes(json!({"__value__": ["a", "c"]}), json!("1")));
    assert_eq!(said(&found), ["1.several value_not_in_list", "1.number value_not_in_list"]);
}

#[test]
fn what_packages_of_custom_nodes_may_allow_is_told_but_not_refused() {
    let nodes = json!({"1": {"class_type": "Pack", "inputs": {"mode": "z", "strength": 2, "image": ["2", 0]}},
        "2": {"class_type": "Loader", "inputs": {"ckpt_name": "flux1-schnell.safetensors"}},
        "3": {"class_type": "Save", "inputs": {"latent": ["1", 0], "any": ["1", 5]}}});
    let found = checked(&nodes);
    assert_eq!(
        said(&found),
        [
            "1.mode value_not_in_list?",
            "1.strength value_bigger_than_max?",
            "1.image return_type_mismatch?",
            "3.latent return_type_mismatch?",
            "3.any bad_linked_input?"
        ]
    );
    assert!(!found.refused && !found.is_clean());
    let nodes = json!({"1": {"class_type": "Pack", "inputs": {"mode": "x", "strength": "no"}},
        "3": {"class_type": "Save", "inputs": {"latent": ["1", 0]}}});
    let found = checked(&nodes);
    assert!(found.refused, "{found:?}");
    assert_eq!(
        said(&found)[..2],
        ["1.strength invalid_input_type", "1.image required_input_missing"],
        "no check of its own comes before these"
    );
}

#[test]
fn dynamic_inputs_are_checked_by_what_they_bring() {
    let nodes = |inputs: Value| {
        json!({"1": {"class_type": "LoadImage", "inputs": {"image": "a.png"}},
            "2": {"class_type": "LoadLatent", "inputs": {"latent": "a.latent"}},
            "3": {"class_type": "Dynamic", "inputs": inputs}})
    };
    for (inputs, faults) in [
        (json!({"model": "fast", "model.steps": 4, "on": ["1", 0]}), &[][..]),
        (json!({"model": "grown", "model.images.image0": ["1", 0], "on": 1, "model.steps": 99}), &[]),
        (json!({"model": "fast", "on": 1}), &["3.model.steps required_input_missing"]),
        (json!({"model": "fast", "model.steps": 9, "on": 1}), &["3.model.steps value_bigger_than_max"]),
        (json!({"model": "grown", "on": 1}), &["3.model.images.image0 required_input_missing"]),
        (
            json!({"model": "grown", "model.images.image0": ["1", 0], "model.images.image2": ["2", 0], "on": 1}),
            &["3.model.images.image2 return_type_mismatch"],
        ),
        (
            json!({"model": "grown", "model.images.image0": ["1", 0], "model.images.image3": ["2", 0], "on": 1}),
            &[],
        ),
        (json!({"model": "none", "on": 1}), &["3.model value_not_in_list?"]),
        (json!({"on": 1}), &["3.model required_input_missing?"]),
        (json!({"model": "fast", "model.steps": 1}), &["3.on required_input_missing"]),
    ] {
        let found = checked(&nodes(inputs.clone()));
        assert_eq!(said(&found), faults, "{inputs}");
        assert_eq!(found.refused, faults.iter().any(|fault| !fault.ends_with('?')), "{inputs}");
    }
}

#[test]
fn older_servers_do_not_look_into_options_and_dynamic_inputs() {
    let old = SuppliedInputs { expands: false, ..NOW };
    assert!(checked_with(&graph(&json!({"2.sampler_name": "nope"})), old).is_clean());
    assert!(checked_with(&graph(&json!({"1.ckpt_name": "nope"})), old).refused);
    let nodes = json!({"3": {"class_type": "Dynamic", "inputs": {"on": 1, "model": "none"}}});
    assert!(checked_with(&nodes, old).is_clean());
}

#[test]
fn ten_thousand_nodes_are_checked_once_each() {
    let mut nodes = graph(&json!({}));
    for place in 0..10_000 {
        let from = if place == 0 { json!(["2", 0]) } else { json!([format!("n{}", place - 1), 0]) };
        nodes[format!("n{place}")] = json!({"class_type": "Sampler", "inputs": {"model": ["1", 0], "latent": from,
            "seed": "x", "cfg": 1, "sampler_name": "none", "title": "", "tiled": true}});
    }
    nodes["end"] = json!({"class_type": "Save", "inputs": {"latent": ["n9999", 0], "any": ["n9999", 0]}});
    let found = checked(&nodes);
    assert_eq!((found.count(), found.refused), (20_000, false));
    // Two a node: the first of them are told, the others counted.
    assert_eq!((found.nodes.len(), found.more), (50, 19_900));
}

/// The kinds of all faults, by node.
fn kinds(graph: &str) -> (bool, Vec<(String, &'static str)>) {
    let info = ObjectInfo::parse(
        r#"{"Invert":{"input":{"required":{"image":["IMAGE",{}]}},"output":["IMAGE"],"name":"Invert","python_module":"nodes"},
            "Text":{"input":{"required":{"image":["IMAGE",{}]}},"output":["STRING"],"name":"Text","python_module":"nodes"},
            "Save":{"input":{"required":{"images":["IMAGE",{}]}},"output":[],"output_node":true,"name":"Save","python_module":"nodes"}}"#,
    )
    .unwrap();
    let faults = check(&Workflow::parse(graph).unwrap(), &info, SuppliedInputs::default());
    let all = faults
        .nodes
        .iter()
        .flat_map(|node| node.faults.iter().map(|fault| (node.node_id.clone(), fault.kind.as_str())));
    (faults.refused, all.collect())
}

#[test]
fn a_cycle_is_refused_where_an_output_depends_on_it() {
    let nodes = r#""1":{"class_type":"Invert","inputs":{"image":["2",0]}},"2":{"class_type":"Invert","inputs":{"image":["1",0]}}"#;
    let save =
        |from: &str| format!(r#"{{{nodes},"9":{{"class_type":"Save","inputs":{{"images":["{from}",0]}}}}}}"#);
    assert_eq!(kinds(&save("1")), (true, vec![("2".to_owned(), "dependency_cycle")]));
    let own = r#"{"1":{"class_type":"Invert","inputs":{"image":["1",0]}},"9":{"class_type":"Save","inputs":{"images":["1",0]}}}"#;
    assert_eq!(kinds(own), (true, vec![("1".to_owned(), "dependency_cycle")]));
    // The cycle lies aside of what is saved.
    let aside = format!(
        r#"{{{nodes},"3":{{"class_type":"Save","inputs":{{"images":["4",0]}}}},"4":{{"class_type":"Invert","inputs":{{"image":["1",0]}}}},
            "8":{{"class_type":"Source","inputs":{{}}}}}}"#
    );
    assert!(kinds(&aside).1.iter().any(|(_, kind)| *kind == "dependency_cycle"));
}

#[test]
fn a_cycle_through_a_link_that_is_refused_for_itself_is_no_second_fault() {
    let graph = r#"{"1":{"class_type":"Invert","inputs":{"image":["2",0]}},"2":{"class_type":"Text","inputs":{"image":["1",0]}},
        "9":{"class_type":"Save","inputs":{"images":["1",0]}}}"#;
    assert_eq!(kinds(graph), (true, vec![("1".to_owned(), "return_type_mismatch")]));
}
