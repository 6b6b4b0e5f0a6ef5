//! The classic text-to-image workflow, as several versions of the editor have saved it: all convert to one
//! graph.

use super::*;

fn real() -> ObjectInfo {
    ObjectInfo::parse(include_str!("../fixtures/editor/object_info.json")).unwrap()
}

fn converted(file: &Value) -> Value {
    let now = jiff::civil::date(2026, 3, 9).at(7, 5, 4, 0);
    let converted = convert(&file.to_string(), &real(), now, &mut |_| 0).unwrap();
    assert_eq!(converted.warnings, []);
    serde_json::from_str(&converted.graph).unwrap()
}

/// The graph that all of them convert to.
fn expected() -> Value {
    json!({
        "1": {
            "inputs": {"ckpt_name": "model.safetensors"},
            "class_type": "CheckpointLoaderSimple",
            "_meta": {"title": "Load Checkpoint"}
        },
        "2": {
            "inputs": {"text": "a red cube", "clip": ["1", 1]},
            "class_type": "CLIPTextEncode",
            "_meta": {"title": "$prompt.text!"}
        },
        "3": {
            "inputs": {"text": "blurry", "clip": ["1", 1]},
            "class_type": "CLIPTextEncode",
            "_meta": {"title": "CLIP Text Encode (Prompt)"}
        },
        "4": {
            "inputs": {"width": 512, "height": 768, "batch_size": 2},
            "class_type": "EmptyLatentImage",
            "_meta": {"title": "Empty Latent Image"}
        },
        "5": {
            "inputs": {
                "seed": 123,
                "steps": 20,
                "cfg": 7.5,
                "sampler_name": "euler",
                "scheduler": "normal",
                "denoise": 0.8,
                "model": ["1", 0],
                "positive": ["2", 0],
                "negative": ["3", 0],
                "latent_image": ["4", 0]
            },
            "class_type": "KSampler",
            "_meta": {"title": "KSampler"}
        },
        "6": {
            "inputs": {"samples": ["5", 0], "vae": ["1", 2]},
            "class_type": "VAEDecode",
            "_meta": {"title": "VAE Decode"}
        },
        "7": {
            "inputs": {"filename_prefix": "out/x", "images": ["6", 0]},
            "class_type": "SaveImage",
            "_meta": {"title": "$output.picture"}
        }
    })
}

/// Only what is needed: no places, sizes, outputs or inputs that are not linked.
fn classic() -> Value {
    let nodes = [
        node(1, "CheckpointLoaderSimple", &[], json!(["model.safetensors"])),
        with(
            node(2, "CLIPTextEncode", &[("clip", Some(2))], json!(["a red cube"])),
            "title",
            json!("$prompt.text!"),
        ),
        node(3, "CLIPTextEncode", &[("clip", Some(3))], json!(["blurry"])),
        node(4, "EmptyLatentImage", &[], json!([512, 768, 2])),
        node(
            5,
            "KSampler",
            &[("model", Some(1)), ("positive", Some(4)), ("negative", Some(5)), ("latent_image", Some(6))],
            json!([123, "fixed", 20, 7.5, "euler", "normal", 0.8]),
        ),
        node(6, "VAEDecode", &[("samples", Some(7)), ("vae", Some(8))], json!([])),
        with(
            node(7, "SaveImage", &[("images", Some(9))], json!(["out/x"])),
            "title",
            json!("$output.picture"),
        ),
    ];
    let links = [
        [1, 1, 0, 5],
        [2, 1, 1, 2],
        [3, 1, 1, 3],
        [4, 2, 0, 5],
        [5, 3, 0, 5],
        [6, 4, 0, 5],
        [7, 5, 0, 6],
        [8, 1, 2, 6],
        [9, 6, 0, 7],
    ];
    file(&nodes, &links)
}

/// Adds saved inputs for fields, as newer versions do.
fn add_fields(file: &mut Value, id: usize, names: &[&str], in_front: bool) {
    let inputs = file["nodes"][id - 1]["inputs"].as_array_mut().unwrap();
    for (at, name) in names.iter().enumerate() {
        let input = json!({"name": name, "type": "*", "link": null, "widget": {"name": name}});
        inputs.insert(if in_front { at } else { inputs.len() }, input);
    }
}

const SAMPLER_FIELDS: [&str; 6] = ["seed", "steps", "cfg", "sampler_name", "scheduler", "denoise"];

#[test]
fn the_least_file_is_enough() {
    assert_eq!(converted(&classic()), expected());
}

#[test]
fn saved_inputs_of_fields_change_nothing_wherever_they_stand() {
    for in_front in [false, true] {
        let mut file = classic();
        add_fields(&mut file, 1, &["ckpt_name"], in_front);
        add_fields(&mut file, 2, &["text"], in_front);
        add_fields(&mut file, 5, &SAMPLER_FIELDS, in_front);
        add_fields(&mut file, 7, &["filename_prefix"], in_front);
        assert_eq!(converted(&file), expected());
    }
}

#[test]
fn what_the_editor_only_shows_changes_nothing() {
    let mut file = classic();
    for node in file["nodes"].as_array_mut().unwrap() {
        node["pos"] = json!({"0": 12.5, "1": -3});
        node["size"] = json!([210, 88]);
        node["flags"] = json!({"collapsed": true});
        node["order"] = json!(99);
        node["color"] = json!("#232");
        node["outputs"] = json!([{"name": "wrong", "type": "WRONG", "links": [99, null], "slot_index": 7}]);
        for input in node["inputs"].as_array_mut().unwrap() {
            input["label"] = json!("another name");
            input["localized_name"] = json!("ein Name");
            input["type"] = json!("WRONG");
        }
    }
    file["groups"] = json!([{"id": 1, "title": "g", "bounding": [0, 0, 1, 1]}]);
    file["config"] = json!({"links_ontop": true});
    file["extra"] = json!({
        "ds": {"scale": 1.5, "offset": [1, 2]},
        "reroutes": [{"id": 1, "linkIds": [1]}],
        "linkExtensions": [{"id": 1, "parentId": 1}]
    });
    file["floatingLinks"] =
        json!([{"id": 50, "origin_id": 1, "origin_slot": 0, "target_id": -1, "target_slot": -1}]);
    assert_eq!(converted(&file), expected());
}

#[test]
fn links_as_objects_are_the_same() {
    let mut file = classic();
    let links = file["links"].as_array().unwrap().iter().map(|link| {
        json!({
            "id": link[0], "origin_id": link[1], "origin_slot": link[2], "target_id": link[3], "target_slot": 0,
            "type": "*", "parentId": 1
        })
    });
    let links: Vec<Value> = links.collect();
    file["links"] = json!(links);
    file["version"] = json!(1);
    file["state"] = json!({"lastNodeId": 7, "lastLinkId": 9});
    assert_eq!(converted(&file), expected());
}

#[test]
fn ids_as_texts_are_the_same() {
    let mut file = classic();
    for node in file["nodes"].as_array_mut().unwrap() {
        node["id"] = json!(node["id"].to_string());
    }
    assert_eq!(converted(&file), expected());
}

#[test]
fn modes_that_only_matter_to_the_editor_run() {
    for mode in [json!(1), json!(3), json!(null), json!("odd")] {
        let mut file = classic();
        for node in file["nodes"].as_array_mut().unwrap() {
            node["mode"] = mode.clone();
        }
        assert_eq!(converted(&file), expected());
    }
}

#[test]
fn a_field_turned_to_an_input_keeps_its_place_among_the_values() {
    // Old versions added such an input behind the others; the list of values stayed as it was.
    let mut file = classic();
    file["nodes"][4]["inputs"].as_array_mut().unwrap().push(json!(
        {"name": "steps", "type": "INT", "link": 10, "widget": {"name": "steps", "config": ["INT", {"default": 20}]}}
    ));
    file["nodes"].as_array_mut().unwrap().push(node(8, "PrimitiveInt", &[], json!([33, "fixed"])));
    file["links"].as_array_mut().unwrap().push(json!([10, 8, 0, 5, 4, "INT"]));
    let mut wanted = expected();
    wanted["5"]["inputs"]["steps"] = json!(["8", 0]);
    let mut graph = converted(&file);
    assert_eq!(graph.as_object_mut().unwrap().shift_remove("8").unwrap()["inputs"], json!({"value": 33}));
    assert_eq!(graph, wanted);
    // The order of keys is that of the fields, with the link in its field's place.
    let keys: Vec<&String> = graph["5"]["inputs"].as_object().unwrap().keys().collect();
    assert_eq!(keys[..3], ["seed", "steps", "cfg"]);
}

#[test]
fn a_primitive_and_reroutes_between_them_change_nothing() {
    let mut file = classic();
    file["nodes"][4]["inputs"]
        .as_array_mut()
        .unwrap()
        .push(json!({"name": "seed", "type": "INT", "link": 20, "widget": {"name": "seed"}}));
    file["nodes"][4]["widgets_values"][0] = json!(999);
    let nodes = file["nodes"].as_array_mut().unwrap();
    nodes.push(node(20, "PrimitiveNode", &[], json!([123, "randomize"])));
    nodes.push(node(21, "Reroute", &[("", Some(21))], json!([])));
    nodes.push(node(22, "Reroute", &[("", Some(22))], json!([])));
    nodes[5]["inputs"][0]["link"] = json!(23);
    let links = file["links"].as_array_mut().unwrap();
    links.extend([
        json!([20, 20, 0, 5, 4, "INT"]),
        json!([21, 5, 0, 21, 0, "LATENT"]),
        json!([22, 21, 0, 22, 0, "LATENT"]),
        json!([23, 22, 0, 6, 0, "LATENT"]),
    ]);
    assert_eq!(converted(&file), expected());
}

#[test]
fn all_of_it_in_a_subgraph_is_the_same_with_longer_ids() {
    let mut inner = classic();
    inner["id"] = json!("c0ffee00-0000-4000-8000-000000000001");
    inner["name"] = json!("all");
    inner["links"] = inner["links"]
        .as_array()
        .unwrap()
        .iter()
        .map(
            |link| json!({"id": link[0], "origin_id": link[1], "origin_slot": link[2], "target_id": link[3]}),
        )
        .collect();
    let mut outer = file(&[node(50, "c0ffee00-0000-4000-8000-000000000001", &[], json!([]))], &[]);
    outer["definitions"] = json!({"subgraphs": [inner]});
    let graph = converted(&outer);
    let text = graph.to_string();
    let shorter: Value = serde_json::from_str(&text.replace("\"50:", "\"")).unwrap();
    assert_eq!(shorter, expected());
}

#[test]
fn the_graph_is_one_the_gateway_reads_with_its_markers() {
    use comfy_gateway::domain::object_info::ObjectInfo;
    use comfy_gateway::domain::params::Params;
    use comfy_gateway::domain::workflow::Workflow;

    let text = converted(&classic()).to_string();
    let workflow = Workflow::parse(&text).unwrap();
    let params = Params::declared_in(&workflow, &ObjectInfo::default()).unwrap();
    assert!(params.declared()["prompt"].required);
    assert_eq!(workflow.nodes().len(), 7);
}

#[test]
fn conversion_repeats_itself() {
    let text = classic().to_string();
    let now = jiff::civil::date(2026, 3, 9).at(7, 5, 4, 0);
    let once = convert(&text, &real(), now, &mut |_| 0).unwrap();
    for _ in 0..5 {
        assert_eq!(convert(&text, &real(), now, &mut |_| 0).unwrap(), once);
    }
}
