//! The node classes of a real ComfyUI, parsed as types.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may stop at once")]

use std::sync::Arc;

use comfy_gateway::domain::object_info::{
    InputKind, InputSpec, NodeClass, NodeClasses, ObjectInfo, UploadKind,
};
use serde_json::{Value, json};

const REAL: &str = include_str!("fixtures/editor/object_info.json");

fn real() -> ObjectInfo {
    ObjectInfo::parse(REAL).unwrap()
}

fn names(class: &NodeClass) -> Vec<&str> {
    class.inputs.iter().map(|input| input.name.as_str()).collect()
}

fn input<'i>(info: &'i ObjectInfo, class: &str, name: &str) -> &'i InputSpec {
    info.class(class).unwrap().input(name).unwrap_or_else(|| panic!("{class} has no {name}"))
}

#[test]
fn every_class_of_the_server_is_there_with_every_input() {
    let info = real();
    let body: Value = serde_json::from_str(REAL).unwrap();
    let body = body.as_object().unwrap();
    assert_eq!(info.len(), body.len());
    for (name, told) in body {
        let class = info.class(name).unwrap();
        assert_eq!(&class.name, name);
        let count = |group: &str| told["input"][group].as_object().map_or(0, serde_json::Map::len);
        let required = class.inputs.iter().filter(|input| input.required).count();
        assert_eq!(required, count("required"), "{name}");
        assert_eq!(class.inputs.len() - required, count("optional"), "{name}");
        assert_eq!(class.outputs.len(), told["output"].as_array().unwrap().len(), "{name}");
        assert_eq!(json!(class.output_node), told["output_node"], "{name}");
        let shown = told["display_name"].as_str().unwrap_or(name);
        assert_eq!(class.display_name, shown);
    }
    let mut told: Vec<&str> = info.names().collect();
    told.sort_unstable();
    let mut all: Vec<&str> = info.classes().map(|class| class.name.as_str()).collect();
    all.sort_unstable();
    assert_eq!(told, all);
}

#[test]
fn the_order_of_inputs_is_the_servers() {
    let info = real();
    let body: Value = serde_json::from_str(REAL).unwrap();
    for class in info.classes() {
        let order = &body[&class.name]["input_order"];
        let order = ["required", "optional"]
            .into_iter()
            .flat_map(|group| order[group].as_array().into_iter().flatten());
        let order: Vec<&str> = order.filter_map(Value::as_str).collect();
        assert_eq!(names(class), order, "{}", class.name);
    }
}

#[test]
fn the_sampler_is_as_everybody_knows_it() {
    let info = real();
    let class = info.class("KSampler").unwrap();
    assert_eq!(
        names(class),
        [
            "model",
            "seed",
            "steps",
            "cfg",
            "sampler_name",
            "scheduler",
            "positive",
            "negative",
            "latent_image",
            "denoise"
        ]
    );
    let InputKind::Int(seed) = &input(&info, "KSampler", "seed").kind else { panic!("no number") };
    assert_eq!(seed.max.as_ref().unwrap().to_string(), "18446744073709551615");
    let InputKind::Float(cfg) = &input(&info, "KSampler", "cfg").kind else { panic!("no number") };
    assert_eq!(cfg.step.as_ref().unwrap().as_f64(), Some(0.1));
    let InputKind::Combo { choices, by_options, remote, multiselect } =
        &input(&info, "KSampler", "sampler_name").kind
    else {
        panic!("no combo")
    };
    assert!(choices.contains(&json!("euler")) && !by_options && !remote && !multiselect);
    assert_eq!(input(&info, "KSampler", "model").type_name, "MODEL");
    assert_eq!(class.outputs[0].type_name, "LATENT");
}

#[test]
fn files_to_upload_are_known_by_kind() {
    let info = real();
    assert_eq!(input(&info, "LoadImage", "image").options.upload, Some(UploadKind::Image));
    assert_eq!(input(&info, "LoadAudio", "audio").options.upload, Some(UploadKind::Audio));
    assert_eq!(input(&info, "KSampler", "seed").options.upload, None);
}

#[test]
fn prompts_and_forced_inputs_are_marked() {
    let info = real();
    assert!(input(&info, "CLIPTextEncode", "text").options.dynamic_prompts);
    assert_eq!(input(&info, "CLIPTextEncode", "text").kind, InputKind::String { multiline: true });
    assert!(input(&info, "CropByBBoxes", "bboxes").options.force_input);
    assert_eq!(input(&info, "Painter", "mask").options.widget_type.as_deref(), Some("PAINTER"));
}

#[test]
fn dynamic_inputs_of_real_classes_are_understood() {
    let info = real();
    let InputKind::DynamicCombo(options) = &input(&info, "ResizeImageMaskNode", "resize_type").kind else {
        panic!("no dynamic combo")
    };
    let option = options.iter().find(|option| option.key == "scale dimensions").unwrap();
    let parts: Vec<&str> = option.inputs.iter().map(|part| part.name.as_str()).collect();
    assert_eq!(parts, ["width", "height", "crop"]);
    let InputKind::Autogrow(grow) = &input(&info, "BatchImagesNode", "images").kind else {
        panic!("no autogrow")
    };
    assert_eq!(grow.part("images", 0).as_deref(), Some("image0"));
    assert_eq!((grow.part("images", 49).is_some(), grow.part("images", 50)), (true, None));
    assert_eq!(grow.template[0].type_name, "IMAGE");
    let InputKind::Autogrow(named) = &input(&info, "StringFormat", "values").kind else {
        panic!("no autogrow")
    };
    assert!(named.has_part("values", "z") && !named.has_part("values", "aa"));
    let InputKind::MatchType { template_id, allowed_types } =
        &input(&info, "ComfySwitchNode", "on_true").kind
    else {
        panic!("no match")
    };
    assert_eq!((template_id.as_str(), allowed_types.as_str()), ("switch", "*"));
    assert_eq!(info.class("ComfySwitchNode").unwrap().outputs[0].match_template.as_deref(), Some("switch"));
}

#[test]
fn combos_of_numbers_stay_numbers() {
    let info = real();
    let InputKind::Combo { choices, by_options: true, .. } =
        &input(&info, "MinimaxHailuoVideoNode", "duration").kind
    else {
        panic!("no combo")
    };
    assert_eq!(choices[..], [json!(6), json!(10)]);
}

#[test]
fn one_class_alone_is_read_the_same() {
    let body: Value = serde_json::from_str(REAL).unwrap();
    let alone = ObjectInfo::parse(&json!({"KSampler": body["KSampler"]}).to_string()).unwrap();
    assert_eq!(alone.class("KSampler"), real().class("KSampler"));
    assert!(ObjectInfo::parse("{}").unwrap().is_empty());
}

#[test]
fn servers_together_have_the_classes_of_all() {
    let other = ObjectInfo::parse(r#"{"Mine": {"input": {"required": {}}, "output": []}}"#).unwrap();
    let servers = vec![Arc::new(other), Arc::new(real())];
    assert!(servers.class("Mine").is_some() && servers.class("KSampler").is_some());
    assert!(servers.class("Nobody's").is_none());
    assert_eq!(servers.names().count(), real().len() + 1);
}
