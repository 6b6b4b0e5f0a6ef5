//! Converting the editor's files to API graphs: files made by hand for one rule each, hostile ones, and a corpus.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may stop at once")]
#![allow(clippy::needless_pass_by_value, reason = "files are written in place")]

mod classic;
mod corpus;
mod edges;
mod fields;
mod groups;
mod hostile;
mod links;
mod names;
mod servers;
mod subgraphs;
mod values;

use comfy_gateway::convert::{ConversionResult, ConvertFault, convert, is_editor_format};
use comfy_gateway::domain::object_info::ObjectInfo;
use serde_json::{Value, json};

/// A handful of classes, each named for what it takes.
const CLASSES: &str = r#"{
"Make": {"input": {"required": {"width": ["INT", {"default": 64}]}}, "output": ["IMAGE", "MASK"], "display_name": "Make it"},
"Invert": {"input": {"required": {"image": ["IMAGE", {}]}}, "output": ["IMAGE"]},
"Two": {"input": {"required": {"image1": ["IMAGE"], "image2": ["IMAGE"], "gain": ["FLOAT", {"default": 1.5}]}},
  "output": ["IMAGE"]},
"Odd": {"input": {"required": {"mask": ["MASK"], "image": ["IMAGE"]}}, "output": ["IMAGE", "MASK"]},
"Any": {"input": {"required": {"source": ["*"]}}, "output_node": true},
"SaveImage": {"input": {"required": {"images": ["IMAGE"], "filename_prefix": ["STRING", {"default": "ComfyUI"}]}}},
"Text": {"input": {"required": {"text": ["STRING", {"multiline": true, "dynamicPrompts": true}]}}, "output": ["STRING"]},
"Number": {"input": {"required": {"value": ["INT", {"default": 3}]}}, "output": ["INT"]},
"KSampler": {"input": {"required": {"model": ["MODEL"], "seed": ["INT", {"default": 0}], "steps": ["INT", {"default": 20}],
  "sampler_name": [["euler", "ddim"]]}}, "output": ["LATENT"]},
"Choose": {"input": {"required": {"name": ["COMBO", {"options": ["a", "b"], "control_after_generate": true}],
  "level": ["FLOAT", {"control_after_generate": true}], "empty": [[]], "last": ["STRING", {}]}}, "output": [["a", "b"]]},
"LoadImage": {"input": {"required": {"image": [["x.png"], {"image_upload": true}]}}, "output": ["IMAGE"]},
"LoadImageOutput": {"input": {"required": {"image": ["COMBO", {"image_upload": true, "remote": {"route": "/r"}}]}}},
"Load3D": {"input": {"required": {"model_file": ["COMBO", {"options": ["none"], "file_upload": true}],
  "image": ["LOAD_3D", {}], "width": ["INT", {"default": 1024}]}}},
"View3D": {"input": {"required": {"model": ["MESH"], "viewport_state": ["LOAD_3D", {}], "width": ["INT", {"default": 8}]}}},
"Crop": {"input": {"required": {"region": ["BOUNDING_BOX", {"default": {"x": 0}}], "after": ["INT", {"default": 1}],
  "forced": ["BOUNDING_BOX", {"forceInput": true}]}}},
"Resize": {"input": {"required": {"how": ["COMFY_DYNAMICCOMBO_V3", {"options": [
  {"key": "by", "inputs": {"required": {"seed": ["INT", {"default": 0}], "like": ["IMAGE"]}}},
  {"key": "to", "inputs": {"required": {"mode": ["COMFY_DYNAMICCOMBO_V3", {"options": [
    {"key": "x", "inputs": {"optional": {"n": ["INT", {"default": 7}]}}}]}]}}}]}],
  "after": ["STRING", {"default": "end"}]}}, "output": ["IMAGE"]},
"Batch": {"input": {"required": {"images": ["COMFY_AUTOGROW_V3", {"template": {
  "input": {"required": {"image": ["IMAGE"]}}, "prefix": "image", "min": 2}}]}}, "output": ["IMAGE"]},
"Switch": {"input": {"required": {"on": ["BOOLEAN"],
  "a": ["COMFY_MATCHTYPE_V3", {"template": {"template_id": "t", "allowed_types": "*"}}],
  "b": ["COMFY_MATCHTYPE_V3", {"template": {"template_id": "t", "allowed_types": "*"}}]}}, "output": ["COMFY_MATCHTYPE_V3"]}
}"#;

fn info() -> ObjectInfo {
    ObjectInfo::parse(CLASSES).unwrap()
}

fn run(file: &Value) -> Result<ConversionResult, Vec<ConvertFault>> {
    let now = jiff::civil::date(2026, 3, 9).at(7, 5, 4, 0);
    convert(&file.to_string(), &info(), now, &mut |parts| parts - 1)
}

/// The graph of a file that converts.
fn graph(file: &Value) -> Value {
    serde_json::from_str(&run(file).unwrap().graph).unwrap()
}

fn warnings(file: &Value) -> Vec<String> {
    run(file).unwrap().warnings.into_iter().map(|warning| warning.message).collect()
}

fn faults(file: &Value) -> Vec<String> {
    run(file).unwrap_err().into_iter().map(|fault| fault.message).collect()
}

/// A node with inputs `name -> link id`.
fn node(id: u64, class: &str, inputs: &[(&str, Option<u64>)], values: Value) -> Value {
    let inputs: Vec<Value> =
        inputs.iter().map(|(name, link)| json!({"name": name, "type": "*", "link": link})).collect();
    json!({"id": id, "type": class, "mode": 0, "inputs": inputs, "widgets_values": values})
}

fn with(mut node: Value, key: &str, value: Value) -> Value {
    node[key] = value;
    node
}

fn muted(node: Value) -> Value {
    with(node, "mode", json!(2))
}

fn bypassed(node: Value) -> Value {
    with(node, "mode", json!(4))
}

/// A file of nodes and links `[id, from, output, to]`; inputs name their links themselves.
fn file(nodes: &[Value], links: &[[i64; 4]]) -> Value {
    let links: Vec<Value> =
        links.iter().map(|[id, from, output, to]| json!([id, from, output, to, 99, "*"])).collect();
    json!({"nodes": nodes, "links": links, "version": 0.4})
}

#[test]
fn the_editors_format_is_told_from_a_graph() {
    assert!(is_editor_format(r#"{"id": "x", "nodes": [], "links": []}"#));
    for text in
        [r#"{"1": {"class_type": "A", "inputs": {}}}"#, r#"{"nodes": {"class_type": "A"}}"#, "[]", "", "{"]
    {
        assert!(!is_editor_format(text), "{text}");
    }
    let told = faults(&json!({"1": {"class_type": "A"}}));
    assert_eq!(told, ["this is not the editor's format: it has no list of `nodes`"]);
}

#[test]
fn a_graph_has_its_keys_in_the_editors_order_and_titles_come_along() {
    let nodes = [
        with(node(1, "Make", &[], json!([8])), "title", json!("$width! \"é\"")),
        with(node(2, "SaveImage", &[("images", Some(1))], json!(["p"])), "title", json!(7)),
        with(node(3, "Make", &[], json!([])), "title", json!("")),
    ];
    assert_eq!(
        run(&file(&nodes, &[[1, 1, 0, 2]])).unwrap().graph,
        concat!(
            r#"{"1":{"inputs":{"width":8},"class_type":"Make","_meta":{"title":"$width! \"é\""}},"#,
            r#""2":{"inputs":{"filename_prefix":"p","images":["1",0]},"class_type":"SaveImage","_meta":{"title":7}},"#,
            r#""3":{"inputs":{"width":64},"class_type":"Make","_meta":{"title":"Make it"}}}"#
        )
    );
}

#[test]
fn notes_reroutes_and_primitives_do_not_come_out() {
    let nodes: Vec<Value> = ["Note", "MarkdownNote", "Reroute", "PrimitiveNode"]
        .iter()
        .zip(1..)
        .map(|(class, id)| node(id, class, &[], json!(["x"])))
        .collect();
    assert_eq!(graph(&file(&nodes, &[])), json!({}));
}

#[test]
fn a_class_no_server_has_is_told_with_the_nearest_unless_it_does_not_run() {
    let nodes = [
        with(node(1, "KSamplr", &[], json!([])), "title", json!("my $sampler")),
        muted(node(2, "Nowhere", &[], json!([]))),
        node(3, "b6a3c1de-0000-4000-8000-000000000001", &[], json!([])),
        node(4, "workflow>lost", &[], json!([])),
    ];
    let told = run(&file(&nodes, &[])).unwrap_err();
    assert_eq!(told[0].message, "the definition of the group node \"lost\" is missing from the file");
    let told = run(&file(&nodes[..3], &[])).unwrap_err();
    assert_eq!(told.len(), 2);
    assert_eq!((told[0].node_id.as_deref(), told[0].title.as_deref()), (Some("1"), Some("my $sampler")));
    assert_eq!(told[0].class_type.as_deref(), Some("KSamplr"));
    assert_eq!(told[0].message, "no backend has a node class \"KSamplr\"; the nearest are KSampler");
    assert_eq!(told[1].message, "it is a subgraph whose definition is missing from the file");
}
