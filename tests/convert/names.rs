//! File names that are filled in with values of other nodes: which node is meant, and how its value is
//! changed.

use super::*;
use crate::subgraphs::{defined, definition, proxied};

/// The filled-in `prefix` beside these nodes.
fn prefix(prefix: &str, nodes: &[Value]) -> String {
    let mut all = vec![node(99, "SaveImage", &[], json!([prefix]))];
    all.extend_from_slice(nodes);
    of(&file(&all, &[]))
}

fn of(file: &Value) -> String {
    graph(file)["99"]["inputs"]["filename_prefix"].as_str().unwrap().to_owned()
}

fn titled(id: u64, title: &str, width: Value) -> Value {
    with(node(id, "Make", &[], json!([width])), "title", json!(title))
}

fn found_as(node: Value, name: &str) -> Value {
    with(node, "properties", json!({ "Node name for S&R": name }))
}

#[test]
fn the_name_for_search_goes_before_any_title_and_the_first_of_several_counts() {
    let nodes = [
        titled(1, "Size", json!(1)),
        found_as(titled(2, "Other", json!(2)), "Size"),
        titled(3, "Size", json!(3)),
    ];
    assert_eq!(prefix("%Size.width%", &nodes), "2");
    assert_eq!(prefix("%Other.width%", &nodes), "2");
    assert_eq!(prefix("%Size.width%", &[nodes[0].clone(), nodes[2].clone()]), "1");
    // Without a title of its own a node is called what the editor shows.
    assert_eq!(prefix("%Make it.width%", &[node(1, "Make", &[], json!([7]))]), "7");
}

#[test]
fn of_two_nodes_with_one_id_only_the_one_that_counts_is_found() {
    let nodes = [titled(1, "Size", json!(1)), titled(1, "Other", json!(2))];
    assert_eq!(prefix("%Size.width%_%Other.width%", &nodes), "%Size.width%_2");
}

#[test]
fn values_become_texts_that_a_file_may_be_called() {
    for (value, text) in [
        (json!(512), "512"),
        (json!(2.0), "2"),
        (json!(2.5), "2.5"),
        (json!(true), "true"),
        (json!(null), ""),
        (json!("a/b:c"), "a_b_c"),
        (json!({"x": 1}), "%Size.width%"),
        (json!([1, 2]), "%Size.width%"),
    ] {
        assert_eq!(prefix("%Size.width%", &[titled(1, "Size", value.clone())]), text, "{value}");
    }
}

#[test]
fn a_muted_node_and_one_inside_a_subgraph_may_be_named_too() {
    assert_eq!(prefix("%Size.width%", &[muted(titled(1, "Size", json!(6)))]), "6");
    let inner = definition("sub", &[titled(1, "Inner", json!(11))], &[[1, -10, 0, 1]], &[("w", &[1])], &[]);
    let mut inner = inner;
    inner["nodes"][0]["inputs"] = json!([{"name": "width", "link": 1, "widget": {"name": "width"}}]);
    let instance = |values: Value| {
        let instance = proxied(node(10, "sub", &[("w", None)], values), json!([["1", "width"]]));
        with(instance, "title", json!("Outer"))
    };
    let run = |prefix: &str, values: Value| {
        let save = node(99, "SaveImage", &[], json!([prefix]));
        of(&defined(file(&[save, instance(values)], &[]), std::slice::from_ref(&inner)))
    };
    // An instance has its inputs for fields.
    assert_eq!(run("%Outer.w%", json!([5])), "5");
    assert_eq!(run("%Outer.w%", json!([])), "11");
    assert_eq!(run("%Outer.width%", json!([5])), "%Outer.width%");
    assert_eq!(run("%Inner.width%", json!([])), "11");
}

#[test]
fn prefixes_are_filled_in_where_the_editor_does_it_and_nowhere_else() {
    let saved = [
        "SaveImage",
        "SaveVideo",
        "SaveAnimatedWEBP",
        "SaveAnimatedPNG",
        "SaveWEBM",
        "SaveAudio",
        "SaveGLB",
        "SaveLatent",
        "CLIPSave",
        "VAESave",
        "ModelSave",
        "LoraSave",
    ];
    let others = ["SaveAudioMP3", "SaveSVGNode", "MySave"];
    let mut classes = serde_json::Map::new();
    for class in saved.iter().chain(&others) {
        let inputs = json!({ "filename_prefix": ["STRING", {}], "other": ["STRING", {}] });
        classes.insert((*class).to_owned(), json!({ "input": {"required": inputs} }));
    }
    let info = ObjectInfo::parse(&Value::Object(classes).to_string()).unwrap();
    let now = jiff::civil::date(2026, 3, 9).at(7, 5, 4, 0);
    let values = json!({ "filename_prefix": "%date:yyyy%", "other": "%date:yyyy%" });
    for class in saved.iter().chain(&others) {
        let file = file(&[node(1, class, &[], values.clone())], &[]).to_string();
        let graph = convert(&file, &info, now, &mut |_| 0).unwrap().graph;
        let graph: Value = serde_json::from_str(&graph).unwrap();
        let expected = if saved.contains(class) { "2026" } else { "%date:yyyy%" };
        let inputs = &graph["1"]["inputs"];
        assert_eq!(
            (&inputs["filename_prefix"], &inputs["other"]),
            (&json!(expected), &json!("%date:yyyy%")),
            "{class}"
        );
    }
}

#[test]
fn a_title_of_the_editors_own_stands_where_the_class_would_be_called_otherwise() {
    let classes = json!({
        "SaveAudio": {"input": {}, "display_name": "Save Audio (FLAC) (Deprecated)"},
        "SaveAudioMP3": {"input": {}, "display_name": "x"}, "SaveAudioOpus": {"input": {}, "display_name": "x"},
        "ColorToRGBInt": {"input": {}, "display_name": "x"}, "Other": {"input": {}, "display_name": "Shown"}
    });
    let info = ObjectInfo::parse(&classes.to_string()).unwrap();
    let names = ["SaveAudio", "SaveAudioMP3", "SaveAudioOpus", "ColorToRGBInt", "Other"];
    let nodes: Vec<Value> =
        names.iter().zip(1..).map(|(class, id)| node(id, class, &[], json!([]))).collect();
    let now = jiff::civil::date(2026, 3, 9).at(7, 5, 4, 0);
    let graph = convert(&file(&nodes, &[]).to_string(), &info, now, &mut |_| 0).unwrap().graph;
    let graph: Value = serde_json::from_str(&graph).unwrap();
    let titles: Vec<&str> =
        (1..=5).map(|id| graph[id.to_string()]["_meta"]["title"].as_str().unwrap()).collect();
    assert_eq!(
        titles,
        ["Save Audio (FLAC)", "Save Audio (MP3)", "Save Audio (Opus)", "Color to RGB Int", "Shown"]
    );
}
