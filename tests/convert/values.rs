//! Saved values: which field each belongs to, and how it is changed.

use super::*;

/// The inputs of a node without links.
fn inputs(class: &str, values: Value) -> Value {
    graph(&file(&[node(1, class, &[], values)], &[]))["1"]["inputs"].clone()
}

fn doubts(class: &str, values: Value) -> Vec<String> {
    warnings(&file(&[node(1, class, &[], values)], &[]))
}

#[test]
fn the_place_behind_a_seed_is_skipped() {
    let sampler =
        |seed: u64, steps: u64, name: &str| json!({"seed": seed, "steps": steps, "sampler_name": name});
    assert_eq!(inputs("KSampler", json!([1, "randomize", 30, "ddim"])), sampler(1, 30, "ddim"));
    assert_eq!(inputs("KSampler", json!([1, false, 30, "ddim"])), sampler(1, 30, "ddim"));
    assert!(doubts("KSampler", json!([1, "randomize", 30, "ddim"])).is_empty());
    // A file without that place is shifted by one, as the editor does it; it is told.
    assert_eq!(inputs("KSampler", json!([1, 30, "ddim"]))["steps"], "ddim");
    assert_eq!(
        doubts("KSampler", json!([1, 30, "ddim"])),
        [
            "behind `seed` stands 30 where the editor keeps \"fixed\" or \"randomize\"; the values after it may be shifted by one",
            "no value is saved for sampler_name: the class's default was taken"
        ]
    );
}

#[test]
fn combos_and_numbers_may_have_such_places_too() {
    let values = json!(["b", "increment", "*.x", 0.5, "fixed", null, "end"]);
    let expected = json!({"name": "b", "level": 0.5, "empty": null, "last": "end"});
    assert_eq!(inputs("Choose", values), expected);
    assert_eq!(inputs("Choose", json!([])), json!({"name": "a", "level": 0, "last": ""}));
}

#[test]
fn values_stay_as_they_are_but_for_null_and_old_names() {
    assert_eq!(
        inputs("KSampler", json!(["7", "fixed", 20.5, "nowhere"])),
        json!({
            "seed": "7", "steps": 20.5, "sampler_name": "nowhere"
        })
    );
    assert_eq!(
        inputs("KSampler", json!([null, "fixed", null, null])),
        json!({
            "seed": null, "steps": null, "sampler_name": "euler"
        })
    );
    assert_eq!(inputs("KSampler", json!([1, "fixed", 1, "sample_ddim"]))["sampler_name"], "ddim");
    assert_eq!(inputs("Text", json!([null])), json!({"text": ""}));
    assert_eq!(inputs("Number", json!([[1, 2]])), json!({"value": {"__value__": [1, 2]}}));
}

#[test]
fn missing_values_are_the_classs_and_surplus_ones_are_told() {
    assert_eq!(inputs("SaveImage", json!(null)), json!({"filename_prefix": "ComfyUI"}));
    assert_eq!(inputs("SaveImage", json!([])), json!({"filename_prefix": "ComfyUI"}));
    assert!(doubts("SaveImage", json!([])).is_empty());
    // What has no value in the graph is not missed.
    assert!(doubts("LoadImage", json!(["a.png"])).is_empty());
    assert_eq!(inputs("Number", json!([1, 2, 3])), json!({"value": 1}));
    assert_eq!(
        doubts("Number", json!([1, 2, 3])),
        ["3 values are saved for 1 fields; the last 2 were not used"]
    );
}

#[test]
fn values_saved_by_name_go_by_name() {
    let named = json!({"sampler_name": "ddim", "seed": 5, "nothing": 1, "videopreview": {"hidden": false}});
    assert_eq!(inputs("KSampler", named), json!({"seed": 5, "steps": 20, "sampler_name": "ddim"}));
    assert_eq!(
        inputs("Resize", json!({"how": "by", "how.seed": 3, "after": "x"})),
        json!({
            "how": "by", "how.seed": 3, "after": "x"
        })
    );
}

#[test]
fn a_dynamic_combo_takes_the_values_of_the_parts_its_key_brings() {
    // A part named `seed` has no place behind it, unlike an input of that name.
    assert_eq!(inputs("Resize", json!(["by", 9, "z"])), json!({"how": "by", "how.seed": 9, "after": "z"}));
    assert_eq!(
        inputs("Resize", json!(["to", "x", 4, "z"])),
        json!({
            "how": "to", "how.mode": "x", "how.mode.n": 4, "after": "z"
        })
    );
    assert_eq!(inputs("Resize", json!([])), json!({"how": "by", "how.seed": 0, "after": "end"}));
    assert_eq!(inputs("Resize", json!(["nope", "z"])), json!({"how": "nope", "after": "z"}));
    assert_eq!(
        doubts("Resize", json!(["nope", "z"])),
        ["\"nope\" is none of the choices of `how`, so none of its parts were set"]
    );
    assert_eq!(inputs("Resize", json!([null, "z"])), json!({"how": "by", "how.seed": 0, "after": "z"}));
}

#[test]
fn sockets_of_a_dynamic_combo_are_named_after_it() {
    let nodes = [
        node(1, "Make", &[], json!([8])),
        node(2, "Resize", &[("how.like", Some(3))], json!(["by", 9, "z"])),
    ];
    let graph = graph(&file(&nodes, &[[3, 1, 0, 2]]));
    assert_eq!(graph["2"]["inputs"]["how.like"], json!(["1", 0]));
}

#[test]
fn what_the_editor_adds_to_some_classes_has_its_place() {
    assert_eq!(inputs("LoadImage", json!(["a.png", "image"])), json!({"image": "a.png"}));
    assert!(doubts("LoadImage", json!(["a.png", "image"])).is_empty());
    assert_eq!(
        inputs("LoadImageOutput", json!(["a.png [output]", false, "refresh", "image"])),
        json!({
            "image": "a.png [output]", "refresh": "refresh"
        })
    );
    assert_eq!(
        inputs("Load3D", json!(["m.glb", "", "", "", "", 99])),
        json!({
            "model_file": "m.glb", "upload 3d model": "", "upload extra resources": "", "clear": "", "image": "", "width": 99
        })
    );
    assert_eq!(inputs("View3D", json!(["shot", 99])), json!({"image": "shot", "width": 99}));
    assert_eq!(inputs("Crop", json!([{"x": 1}, 1, 2, 3, 4, 55])), json!({"region": {"x": 1}, "after": 55}));
    // One value more, and it is a list of old, with a place for the input that only takes links.
    assert_eq!(inputs("Crop", json!([{"x": 1}, 7, 8])), json!({"region": {"x": 1}, "after": 1}));
}

#[test]
fn prompts_are_drawn_and_prefixes_filled_in_on_the_way_out() {
    let nodes = [
        node(1, "Text", &[], json!(["a {red|green} // no\ncube"])),
        with(node(2, "Make", &[], json!([512])), "properties", json!({"Node name for S&R": "Maker"})),
        with(node(3, "Text", &[], json!(["x/y"])), "title", json!("My text")),
        node(
            4,
            "SaveImage",
            &[],
            json!(["%date:yyyy-MM-dd%/%Maker.width%_%My text.text%_%Maker.no%_%width%"]),
        ),
        node(5, "SaveImage", &[], json!([5])),
        node(6, "Text", &[("text", Some(9))], json!(["kept"])),
        node(7, "PrimitiveNode", &[], json!(["{x|y}", "fixed"])),
    ];
    let graph = graph(&file(&nodes, &[[9, 7, 0, 6]]));
    assert_eq!(graph["1"]["inputs"]["text"], "a green \ncube");
    assert_eq!(graph["4"]["inputs"]["filename_prefix"], "2026-03-09/512_x_y_%Maker.no%_%width%");
    assert_eq!(graph["5"]["inputs"]["filename_prefix"], 5);
    assert_eq!(graph["6"]["inputs"]["text"], "y");
}

#[test]
fn numbers_keep_their_digits() {
    let text = r#"{"nodes":[{"id":1,"type":"Number","widgets_values":[18446744073709551615]},
        {"id":2,"type":"Two","widgets_values":[0.10000000000000000001]},{"id":3,"type":"Number","widgets_values":[1e400]}]}"#;
    let now = jiff::civil::date(2026, 1, 1).at(0, 0, 0, 0);
    let graph = convert(text, &info(), now, &mut |_| 0).unwrap().graph;
    for number in ["18446744073709551615", "0.10000000000000000001", "1e400"] {
        assert!(graph.contains(number), "{graph}");
    }
}
