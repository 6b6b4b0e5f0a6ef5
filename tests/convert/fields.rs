//! The declarations of a class's inputs, and where they put the saved values.

use super::*;

/// The inputs of a node of the class `A` without links, and its warnings.
fn run(class: Value, values: Value) -> (Value, Vec<String>) {
    run_as("A", class, values)
}

fn run_as(name: &str, class: Value, values: Value) -> (Value, Vec<String>) {
    let info = ObjectInfo::parse(&json!({ name: class }).to_string()).unwrap();
    let now = jiff::civil::date(2026, 3, 9).at(7, 5, 4, 0);
    let file = file(&[node(1, name, &[], values)], &[]).to_string();
    let converted = convert(&file, &info, now, &mut |_| 0).unwrap();
    let graph: Value = serde_json::from_str(&converted.graph).unwrap();
    (graph["1"]["inputs"].clone(), converted.warnings.into_iter().map(|warning| warning.message).collect())
}

fn required(inputs: Value) -> Value {
    json!({ "input": { "required": inputs } })
}

#[test]
fn numbers_have_a_control_behind_them_by_their_names_or_when_the_class_says_so() {
    for (name, options, is_there) in [
        ("seed", json!({}), true),
        ("noise_seed", json!({}), true),
        ("number", json!({}), false),
        ("number", json!({ "control_after_generate": true }), true),
        ("seed", json!({ "control_after_generate": true }), true),
        ("seed", json!({ "control_after_generate": false }), false),
        ("noise_seed", json!({ "control_after_generate": false }), false),
    ] {
        let class = required(json!({ name: ["INT", options], "after": ["STRING", {}] }));
        let values = if is_there { json!([5, "fixed", "x"]) } else { json!([5, "x"]) };
        let (inputs, doubts) = run(class, values);
        assert_eq!(inputs, json!({ name: 5, "after": "x" }), "{name} {options}");
        assert!(doubts.is_empty(), "{name} {options}: {doubts:?}");
    }
    // A number with a fraction has one only when the class says so, whatever its name is.
    let (inputs, _) = run(required(json!({ "seed": ["FLOAT", {}], "after": ["STRING"] })), json!([0.5, "x"]));
    assert_eq!(inputs, json!({ "seed": 0.5, "after": "x" }));
}

#[test]
fn every_value_the_editor_keeps_in_a_control_is_known() {
    let class = required(json!({ "seed": ["INT", {}] }));
    for control in [
        json!("fixed"),
        json!("increment"),
        json!("increment-wrap"),
        json!("decrement"),
        json!("randomize"),
        json!(true),
        json!(false),
        json!(null),
    ] {
        let (_, doubts) = run(class.clone(), json!([5, control]));
        assert!(doubts.is_empty(), "{control}: {doubts:?}");
    }
    let (_, doubts) = run(class, json!([5, "random"]));
    assert!(doubts[0].starts_with("behind `seed` stands \"random\""), "{doubts:?}");
}

#[test]
fn null_means_the_first_choice_and_no_text_and_else_itself() {
    let class = required(json!({
        "combo": [["a", "b"]], "options": ["COMBO", {"options": [3, 4]}], "none": [[]],
        "lines": ["STRING", {"multiline": true}], "line": ["STRING", {"default": "d"}],
        "int": ["INT", {"default": 5}], "switch": ["BOOLEAN", {"default": true}]
    }));
    let (inputs, _) = run(class, json!([null, null, null, null, null, null, null]));
    assert_eq!(
        inputs,
        json!({
            "combo": "a", "options": 3, "none": null, "lines": "", "line": null, "int": null, "switch": null
        })
    );
}

#[test]
fn a_new_field_has_the_classs_default_or_what_its_type_begins_with() {
    let class = required(json!({
        "combo": [["a", "b"], {"default": "b"}], "int": ["INT", {"min": 3}], "float": ["FLOAT", {"default": 0.5}],
        "text": ["STRING", {}], "switch": ["BOOLEAN", {}], "colour": ["COLOR", {}], "tint": ["COLOR", {"default": "#fff"}]
    }));
    let (inputs, doubts) = run(class, json!([]));
    assert_eq!(
        inputs,
        json!({ "combo": "b", "int": 0, "float": 0.5, "text": "", "switch": false, "colour": "", "tint": "#fff" })
    );
    assert!(doubts.is_empty(), "{doubts:?}");
}

#[test]
fn an_input_of_any_type_is_a_field_when_the_class_names_one_for_it() {
    let class = required(json!({
        "mask": ["MASK", {}], "painted": ["MASK", {"widgetType": "PAINTER", "default": "x"}], "n": ["INT", {}]
    }));
    let (inputs, _) = run(class, json!(["drawn", 7]));
    assert_eq!(inputs, json!({ "painted": "drawn", "n": 7 }));
}

#[test]
fn a_list_of_old_that_has_values_for_forced_inputs_is_told_by_its_length() {
    let class = required(json!({
        "seed": ["INT", {"control_after_generate": true}], "forced": ["FLOAT", {"forceInput": true}], "text": ["STRING", {}]
    }));
    // seed, its control, the forced one, the text: four values are the old form, three the new.
    assert_eq!(run(class.clone(), json!([1, "fixed", 0.5, "x"])).0, json!({ "seed": 1, "text": "x" }));
    assert_eq!(run(class.clone(), json!([1, "fixed", "x"])).0, json!({ "seed": 1, "text": "x" }));
    // The control of a number that has one by its name alone was not counted then.
    let class = required(
        json!({ "seed": ["INT", {}], "forced": ["FLOAT", {"forceInput": true}], "text": ["STRING", {}] }),
    );
    assert_eq!(run(class.clone(), json!([1, "fixed", "x"])).0["text"], "");
    assert_eq!(run(class, json!([1, "fixed", 0.5, "x"])).0["text"], 0.5);
}

#[test]
fn the_button_for_uploading_has_its_place_for_pictures_films_and_sounds() {
    for (option, has) in
        [("image_upload", true), ("video_upload", true), ("audio_upload", true), ("file_upload", false)]
    {
        let class = required(json!({ "file": [["a"], {option: true}], "n": ["INT", {}] }));
        let (inputs, doubts) = run(class, json!(["a", 5, "image"]));
        assert_eq!(inputs, json!({ "file": "a", "n": 5 }), "{option}");
        assert_eq!(doubts.is_empty(), has, "{option}: {doubts:?}");
    }
    // A text that names a file has no button.
    let class = required(json!({ "file": ["STRING", {"image_upload": true}] }));
    assert_eq!(run(class, json!(["a", "image"])).1.len(), 1);
}

#[test]
fn names_of_samplers_of_old_are_put_right_in_both_samplers_and_nowhere_else() {
    let class = required(json!({ "sampler_name": [["euler"]], "other": [["sample_euler"]] }));
    for (name, sampler) in
        [("KSampler", "euler"), ("KSamplerAdvanced", "euler"), ("KSamplerSelect", "sample_euler")]
    {
        let (inputs, _) = run_as(name, class.clone(), json!(["sample_euler", "sample_euler"]));
        assert_eq!(inputs, json!({ "sampler_name": sampler, "other": "sample_euler" }), "{name}");
    }
}

#[test]
fn a_dynamic_combo_may_have_numbers_for_keys_and_forgets_the_parts_of_a_missing_one() {
    let class = required(json!({
        "how": ["COMFY_DYNAMICCOMBO_V3", {"options": [
            {"key": "1", "inputs": {"required": {"a": ["INT", {"default": 1}]}}},
            {"key": "2", "inputs": {"required": {"b": ["INT", {"default": 2}]}}}]}],
        "after": ["STRING", {}]
    }));
    assert_eq!(run(class.clone(), json!([2, 9, "x"])).0, json!({ "how": 2, "how.b": 9, "after": "x" }));
    assert_eq!(run(class.clone(), json!(["2", 9, "x"])).0, json!({ "how": "2", "how.b": 9, "after": "x" }));
    // Null stands for the first key; its parts take no value.
    assert_eq!(run(class, json!([null, "x"])).0, json!({ "how": "1", "how.a": 1, "after": "x" }));
}

#[test]
fn of_two_fields_of_one_name_the_first_counts() {
    let class = json!({ "input": {
        "required": {"model": ["MESH"], "image": ["STRING", {}], "view": ["LOAD_3D", {}]}, "optional": {"n": ["INT", {}]}
    }});
    let (inputs, _) = run(class, json!(["mine", "view", 3]));
    assert_eq!(inputs, json!({ "image": "mine", "n": 3 }));
}

#[test]
fn values_by_name_take_no_places() {
    let class = required(
        json!({ "seed": ["INT", {}], "text": ["STRING", {"default": "d"}], "file": [["a"], {"image_upload": true}] }),
    );
    let (inputs, doubts) = run(class, json!({ "text": "x", "upload": "image", "unheard": 3, "seed": 1 }));
    assert_eq!(inputs, json!({ "seed": 1, "text": "x", "file": "a" }));
    assert!(doubts.is_empty(), "nobody counts what is saved by name: {doubts:?}");
}

#[test]
fn several_missing_values_are_told_in_one_sentence() {
    let class = required(json!({ "a": ["INT", {}], "b": ["INT", {}], "c": ["INT", {}] }));
    let (_, doubts) = run(class, json!([1]));
    assert_eq!(doubts, ["no value is saved for b, c: the class's default was taken"]);
}

#[test]
fn what_only_the_editor_keeps_has_its_place_and_is_not_handed_over() {
    let int = required(json!({ "value": ["INT", {}] }));
    assert_eq!(run_as("PrimitiveInt", int.clone(), json!([5, "fixed"])), (json!({ "value": 5 }), vec![]));
    assert_eq!(run_as("AnotherInt", int, json!([5, "fixed"])).1.len(), 1);
    let sound = required(json!({ "audio": ["AUDIO_RECORD", {}] }));
    assert_eq!(run_as("RecordAudio", sound, json!(["a.wav", "x"])), (json!({ "audio": "a.wav" }), vec![]));
    let shown = required(json!({ "source": ["*", {}] }));
    assert_eq!(run_as("PreviewAny", shown, json!([false])), (json!({}), vec![]));
    let camera = required(json!({ "image": ["WEBCAM", {}], "width": ["INT", {}] }));
    let (inputs, doubts) = run_as("WebcamCapture", camera, json!(["a.png", 640]));
    assert_eq!(inputs, json!({ "image": "a.png", "width": 640, "waiting for camera...": "capture" }));
    assert_eq!(doubts, ["no value is saved for waiting for camera...: the class's default was taken"]);
    let model = required(json!({ "model_file": ["STRING", {}], "width": ["INT", {}] }));
    let (inputs, _) = run_as("Preview3D", model, json!(["a.glb", "", 5]));
    assert_eq!(inputs, json!({ "model_file": "a.glb", "image": "", "width": 5 }));
}
