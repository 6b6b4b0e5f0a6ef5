//! The influence of the backends' node classes: fields of real classes, several backends, helpful faults.

use std::sync::Arc;

use super::*;

fn real() -> ObjectInfo {
    ObjectInfo::parse(include_str!("../fixtures/editor/object_info.json")).unwrap()
}

/// The inputs of a node of a real class without links.
fn inputs(class: &str, values: Value) -> Value {
    let now = jiff::civil::date(2026, 3, 9).at(7, 5, 4, 0);
    let file = file(&[node(1, class, &[], values)], &[]);
    let converted = convert(&file.to_string(), &real(), now, &mut |_| 0).unwrap();
    let graph: Value = serde_json::from_str(&converted.graph).unwrap();
    graph["1"]["inputs"].clone()
}

#[test]
fn a_class_is_taken_from_the_first_server_that_has_it() {
    let mine =
        r#"{"Make": {"input": {"required": {"height": ["INT", {"default": 1}]}}, "display_name": "Mine"}}"#;
    let servers = vec![Arc::new(ObjectInfo::parse(mine).unwrap()), Arc::new(info())];
    let text = file(&[node(1, "Make", &[], json!([5])), node(2, "Number", &[], json!([6]))], &[]).to_string();
    let now = jiff::civil::date(2026, 3, 9).at(7, 5, 4, 0);
    let graph: Value =
        serde_json::from_str(&convert(&text, &servers, now, &mut |_| 0).unwrap().graph).unwrap();
    assert_eq!(
        graph["1"],
        json!({"inputs": {"height": 5}, "class_type": "Make", "_meta": {"title": "Mine"}})
    );
    assert_eq!(graph["2"]["inputs"]["value"], 6);
}

#[test]
fn with_no_server_every_class_is_unknown_and_all_are_told() {
    let none: Vec<Arc<ObjectInfo>> = Vec::new();
    let text = file(&[node(1, "Make", &[], json!([5])), node(2, "Number", &[], json!([6]))], &[]).to_string();
    let now = jiff::civil::date(2026, 3, 9).at(7, 5, 4, 0);
    let told = convert(&text, &none, now, &mut |_| 0).unwrap_err();
    let told: Vec<_> =
        told.iter().map(|fault| (fault.node_id.as_deref().unwrap(), fault.message.as_str())).collect();
    assert_eq!(
        told,
        [("1", "no backend has a node class \"Make\""), ("2", "no backend has a node class \"Number\"")]
    );
}

#[test]
fn a_thousand_unknown_nodes_are_told_briefly() {
    let nodes: Vec<Value> = (0..1_000).map(|id| node(id, &format!("Nowhere{id}"), &[], json!([]))).collect();
    let told = faults(&file(&nodes, &[]));
    assert_eq!(told.len(), 101);
    assert_eq!(told[100], "900 more faults are not listed");
}

#[test]
fn long_titles_are_cut_in_faults_but_not_in_graphs() {
    let long = "x".repeat(5_000);
    let told =
        run(&file(&[with(node(1, "Nowhere", &[], json!([])), "title", json!(long))], &[])).unwrap_err();
    assert_eq!(told[0].title.as_ref().unwrap().chars().count(), 101);
    let graph = graph(&file(&[with(node(1, "Make", &[], json!([])), "title", json!(long))], &[]));
    assert_eq!(graph["1"]["_meta"]["title"], json!(long));
}

#[test]
fn titles_are_the_nodes_own_or_the_editors_or_the_classs() {
    let title = |class: &str| {
        let now = jiff::civil::date(2026, 3, 9).at(7, 5, 4, 0);
        let text = file(&[node(1, class, &[], json!([]))], &[]).to_string();
        let graph = convert(&text, &real(), now, &mut |_| 0).unwrap().graph;
        serde_json::from_str::<Value>(&graph).unwrap()["1"]["_meta"]["title"].clone()
    };
    assert_eq!(title("SaveImage"), "Save Image");
    // The server says "Save Audio (FLAC) (Deprecated)".
    assert_eq!(title("SaveAudio"), "Save Audio (FLAC)");
    // The server says none.
    assert_eq!(title("BasicScheduler"), "BasicScheduler");
}

#[test]
fn the_upload_button_has_its_place_behind_all_fields() {
    assert_eq!(inputs("LoadImage", json!(["a.png", "image"])), json!({"image": "a.png"}));
    assert_eq!(inputs("LoadAudio", json!(["a.wav", null])), json!({"audio": "a.wav"}));
    // No choice on the server and no value in the file: nothing is made up.
    assert_eq!(inputs("LoadAudio", json!([])), json!({}));
}

#[test]
fn a_combo_of_ones_own_has_its_index_counted_anew() {
    let combo = |values: Value| inputs("CustomCombo", values);
    assert_eq!(
        combo(json!(["b", 0, "a", "b", ""])),
        json!({
            "choice": "b", "index": 1, "option1": "a", "option2": "b", "option3": ""
        })
    );
    assert_eq!(combo(json!(["b", 0, "a", "b"])), combo(json!(["b", 7, "a", "b", ""])));
    assert_eq!(combo(json!(["none", 0, "a", ""]))["index"], -1);
}

#[test]
fn curves_boxes_and_comparisons_are_wrapped_as_the_server_wants_them() {
    assert_eq!(
        inputs("CurveEditor", json!([[[0, 0], [1, 1]]])),
        json!({
            "curve": {"__type__": "CURVE", "__value__": [[0, 0], [1, 1]]}
        })
    );
    assert_eq!(inputs("ImageCompare", json!([])), json!({"compare_view": {"__value__": ["", ""]}}));
    let region = json!({"x": 1, "y": 2, "width": 3, "height": 4});
    assert_eq!(inputs("ImageCropV2", json!([region, 1, 2, 3, 4])), json!({"crop_region": region}));
}

#[test]
fn saving_a_model_has_a_picture_nobody_needs() {
    assert_eq!(inputs("SaveGLB", json!(["m", ""])), json!({"filename_prefix": "m", "image": ""}));
    assert_eq!(inputs("SaveGLB", json!([])), json!({"filename_prefix": "3d/ComfyUI", "image": ""}));
}

#[test]
fn values_of_inputs_that_only_take_links_are_dropped_from_old_lists() {
    let kept = json!({"output_width": 600, "output_height": 700, "padding": 4, "keep_aspect": "pad"});
    assert_eq!(inputs("CropByBBoxes", json!([600, 700, 4, "pad"])), kept);
    assert_eq!(inputs("CropByBBoxes", json!([null, 600, 700, 4, "pad"])), kept);
}

#[test]
fn a_key_of_a_dynamic_combo_brings_its_own_parts() {
    assert_eq!(
        inputs("ResizeImageMaskNode", json!(["scale by multiplier", 2.5, "bicubic"])),
        json!({
            "resize_type": "scale by multiplier", "resize_type.multiplier": 2.5, "scale_method": "bicubic"
        })
    );
    assert_eq!(
        inputs("ResizeImageMaskNode", json!(["scale width", 77])),
        json!({
            "resize_type": "scale width", "resize_type.width": 77, "scale_method": "area"
        })
    );
}

#[test]
fn only_linked_parts_of_an_autogrow_input_come_out_and_gaps_stay() {
    let nodes = [
        node(1, "EmptyImage", &[], json!([8, 8, 1, 0])),
        node(
            2,
            "BatchImagesNode",
            &[("images.image0", None), ("images.image2", Some(5)), ("images.image1", Some(6))],
            json!([]),
        ),
        muted(node(3, "EmptyImage", &[], json!([8, 8, 1, 0]))),
    ];
    let now = jiff::civil::date(2026, 3, 9).at(7, 5, 4, 0);
    let text = file(&nodes, &[[5, 1, 0, 2], [6, 3, 0, 2]]).to_string();
    let graph: Value =
        serde_json::from_str(&convert(&text, &real(), now, &mut |_| 0).unwrap().graph).unwrap();
    assert_eq!(graph["2"]["inputs"], json!({"images.image2": ["1", 0]}));
}

#[test]
fn which_choice_of_a_prompt_is_taken_is_up_to_the_caller() {
    let text = file(&[node(1, "Text", &[], json!(["{a|b|c} {d|{e|f}}"]))], &[]).to_string();
    let now = jiff::civil::date(2026, 3, 9).at(7, 5, 4, 0);
    let mut asked = Vec::new();
    let graph = convert(&text, &info(), now, &mut |parts| {
        asked.push(parts);
        1
    });
    let graph: Value = serde_json::from_str(&graph.unwrap().graph).unwrap();
    assert_eq!((graph["1"]["inputs"]["text"].as_str(), &asked[..]), (Some("b f"), &[3, 2, 2][..]));
    // An answer out of range is the last choice.
    let graph = convert(&text, &info(), now, &mut |_| usize::MAX).unwrap().graph;
    assert!(graph.contains("c f"), "{graph}");
}
