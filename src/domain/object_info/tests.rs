//! Tests of reading `/object_info`.

use super::*;
use serde_json::{Value, json};

const BODY: &str = r#"{
"KSampler": {"input": {"required": {
    "cfg": ["FLOAT", {"default": 8.0, "min": 0.0, "max": 100.0, "step": 0.1}],
    "seed": ["INT", {"default": 0, "min": 0, "max": 18446744073709551615, "control_after_generate": true}],
    "model": ["MODEL", {"tooltip": "The model."}],
    "scheduler": [["simple", "karras"], {}]}, "hidden": {"unique_id": "UNIQUE_ID", "x": ["PROMPT"]}},
  "input_order": {"required": ["model", "seed"]}, "output": ["LATENT"], "output_is_list": [false],
  "output_name": ["latent"], "display_name": "K Sampler", "output_node": false, "category": "sampling", "python_module": "comfy_extras.nodes_x"},
"Odd": {"input": {"required": {"text": ["STRING", {"multiline": true, "dynamicPrompts": true}], "any": "AUDIO",
    "number": 3, "list": [[1, true], 5], "far": ["COMBO", {"remote": {"route": "/x"}, "image_upload": true}],
    "b": ["BOOLEAN"], "forced": ["STRING", {"forceInput": true, "control_after_generate": false, "default": null}]},
    "optional": {"two": ["INT,FLOAT", {"widgetType": "INT"}], "s": [["simple", "karras"]]}},
  "output": [["a", "b"], "INT", null], "output_is_list": [false, true], "output_matchtypes": [null, "t"],
  "output_node": true, "api_node": true},
"Dynamic": {"input": {"required": {
    "model": ["COMFY_DYNAMICCOMBO_V3", {"options": [
      {"key": "fast", "inputs": {"required": {"steps": ["INT", {"default": 4}]}, "optional": {"mask": ["MASK", {}]}}},
      {"key": "many", "inputs": {"required": {"images": ["COMFY_AUTOGROW_V3", {"template": {
        "input": {"required": {"image": ["IMAGE", {}]}}, "names": ["image_1", "image_2"], "min": 1}}]}}}, 7]}],
    "grow": ["COMFY_AUTOGROW_V3", {"template": {"input": {"required": {"v": ["*", {}]}}, "prefix": "u_", "max": 3}}],
    "on": ["COMFY_MATCHTYPE_V3", {"template": {"template_id": "switch", "allowed_types": "IMAGE,MASK"}}]}}},
"NoClass": "gone", "NoInput": {"output": []}}"#;

fn info() -> ObjectInfo {
    ObjectInfo::parse(BODY).unwrap()
}

#[test]
fn inputs_come_in_the_order_of_definition_with_exact_limits() {
    let info = info();
    let class = info.class("KSampler").unwrap();
    let names: Vec<_> = class.inputs.iter().map(|input| input.name.as_str()).collect();
    assert_eq!(names, ["model", "seed", "cfg", "scheduler"]);
    let InputKind::Int(range) = &class.input("seed").unwrap().kind else { panic!("no INT") };
    assert_eq!(range.max.as_ref().unwrap().to_string(), "18446744073709551615");
    assert_eq!(range.step, None);
    let InputKind::Float(range) = &class.input("cfg").unwrap().kind else { panic!("no FLOAT") };
    assert_eq!(range.step.as_ref().unwrap().to_string(), "0.1");
    assert_eq!(class.input("seed").unwrap().options.control_after_generate, Some(true));
    assert_eq!(class.input("model").unwrap().kind, InputKind::Socket);
    assert_eq!(class.input("model").unwrap().type_name, "MODEL");
    assert_eq!(class.input("model").unwrap().options.tooltip.as_deref(), Some("The model."));
    assert_eq!(class.hidden, ["unique_id", "x"]);
    assert_eq!(class.input("unique_id"), None);
    assert_eq!((class.display_name.as_str(), class.category.as_str()), ("K Sampler", "sampling"));
    let output = OutputSpec {
        type_name: "LATENT".to_owned(),
        name: "latent".to_owned(),
        is_list: false,
        match_template: None,
    };
    assert_eq!(class.outputs, [output]);
    assert!(!class.output_node && !class.api_node);
    assert!(!class.is_custom() && info.class("Odd").unwrap().is_custom(), "what says no module may be any");
}

#[test]
fn odd_classes_are_read_as_far_as_they_go() {
    let info = info();
    assert_eq!((info.len(), info.is_empty()), (3, false));
    let class = info.class("Odd").unwrap();
    assert_eq!(class.display_name, "Odd");
    assert!(class.output_node && class.api_node);
    let kind = |name: &str| &class.input(name).unwrap().kind;
    assert_eq!(kind("text"), &InputKind::String { multiline: true });
    assert!(class.input("text").unwrap().options.dynamic_prompts);
    assert_eq!(class.input("any").unwrap().type_name, "AUDIO");
    assert_eq!(class.input("number").unwrap().type_name, "*");
    let InputKind::Combo { choices, by_options: false, remote: false, .. } = kind("list") else {
        panic!("no combo")
    };
    assert_eq!(choices[..], [json!(1), json!(true)]);
    let InputKind::Combo { choices, by_options: true, remote: true, .. } = kind("far") else {
        panic!("no remote combo")
    };
    assert!(choices.is_empty() && class.input("far").unwrap().options.upload == Some(UploadKind::Image));
    assert_eq!(kind("b"), &InputKind::Boolean);
    let forced = &class.input("forced").unwrap();
    assert!(forced.options.force_input && forced.required && forced.default.is_none());
    assert_eq!(forced.options.control_after_generate, Some(false));
    let two = class.input("two").unwrap();
    assert_eq!((two.type_name.as_str(), two.options.widget_type.as_deref()), ("INT,FLOAT", Some("INT")));
    assert!(!two.required);
    let outputs: Vec<_> =
        class.outputs.iter().map(|o| (o.type_name.as_str(), o.name.as_str(), o.is_list)).collect();
    assert_eq!(outputs, [("COMBO", "COMBO", false), ("INT", "INT", true), ("*", "*", false)]);
    assert_eq!(class.outputs[1].match_template.as_deref(), Some("t"));
}

#[test]
fn equal_lists_of_choices_are_kept_once() {
    let info = info();
    let choices = |class: &str, input: &str| match &info.class(class).unwrap().input(input).unwrap().kind {
        InputKind::Combo { choices, .. } => Arc::clone(choices),
        other => panic!("{other:?}"),
    };
    assert!(Arc::ptr_eq(&choices("KSampler", "scheduler"), &choices("Odd", "s")));
}

#[test]
fn dynamic_inputs_bring_their_parts() {
    let info = info();
    let class = info.class("Dynamic").unwrap();
    let InputKind::DynamicCombo(options) = &class.input("model").unwrap().kind else { panic!("no combo") };
    let keys: Vec<_> = options.iter().map(|option| option.key.as_str()).collect();
    assert_eq!(keys, ["fast", "many"]);
    let fast: Vec<_> = options[0].inputs.iter().map(|input| (input.name.as_str(), input.required)).collect();
    assert_eq!(fast, [("steps", true), ("mask", false)]);
    let InputKind::Autogrow(named) = &options[1].inputs[0].kind else { panic!("no autogrow") };
    assert_eq!((named.part("images", 1).as_deref(), named.part("images", 2)), (Some("image_2"), None));
    assert!(named.has_part("images", "image_1") && !named.has_part("images", "image_3"));
    assert_eq!((named.min, named.max, named.template.len()), (1, None, 1));
    let InputKind::Autogrow(counted) = &class.input("grow").unwrap().kind else { panic!("no autogrow") };
    assert_eq!((counted.part("grow", 2).as_deref(), counted.part("grow", 3)), (Some("u_2"), None));
    assert!(counted.has_part("grow", "u_0"));
    for part in ["u_3", "u_01", "u_+1", "v0", "u_"] {
        assert!(!counted.has_part("grow", part), "{part}");
    }
    let InputKind::MatchType { template_id, allowed_types } = &class.input("on").unwrap().kind else {
        panic!("no match")
    };
    assert_eq!((template_id.as_str(), allowed_types.as_str()), ("switch", "IMAGE,MASK"));
}

#[test]
fn a_new_node_has_the_default_or_the_least_of_its_kind() {
    let info = info();
    let initial = |class: &str, input: &str| info.class(class).unwrap().input(input).unwrap().initial_value();
    assert_eq!(initial("KSampler", "cfg").unwrap().to_string(), "8.0");
    assert_eq!(initial("KSampler", "scheduler"), Some(json!("simple")));
    assert_eq!(initial("KSampler", "model"), None);
    assert_eq!(initial("Odd", "text"), Some(json!("")));
    assert_eq!(initial("Odd", "b"), Some(Value::Bool(false)));
    assert_eq!(initial("Odd", "far"), None);
    assert_eq!(initial("Dynamic", "model"), Some(json!("fast")));
    assert_eq!(initial("Dynamic", "grow"), None);
}

#[test]
fn the_first_server_that_has_a_class_answers() {
    let other = r#"{"KSampler": {"input": {}, "display_name": "Other"}, "Only": {"input": {}}}"#;
    let servers = vec![Arc::new(info()), Arc::new(ObjectInfo::parse(other).unwrap())];
    assert_eq!(servers.class("KSampler").unwrap().display_name, "K Sampler");
    assert_eq!(servers.class("Only").unwrap().display_name, "Only");
    assert!(NodeClasses::class(&servers, "None").is_none());
    assert_eq!(servers.names().filter(|name| *name == "KSampler").count(), 2);
}

#[test]
fn a_body_that_is_no_object_is_an_error_and_a_bottomless_one_is_cut() {
    for text in ["", "[]", "null", "<html>", "{"] {
        assert!(ObjectInfo::parse(text).is_err(), "{text}");
    }
    let mut input = r#"["INT", {}]"#.to_owned();
    for _ in 0..60 {
        input = format!(
            r#"["COMFY_DYNAMICCOMBO_V3", {{"options": [{{"key": "k", "inputs": {{"required": {{"x": {input}}}}}}}]}}]"#
        );
    }
    let info =
        ObjectInfo::parse(&format!(r#"{{"Deep": {{"input": {{"required": {{"x": {input}}}}}}}}}"#)).unwrap();
    let mut depth = 0;
    let mut inputs = &info.class("Deep").unwrap().inputs;
    while let Some(InputKind::DynamicCombo(options)) = inputs.first().map(|input| &input.kind) {
        let Some(option) = options.first() else { break };
        inputs = &option.inputs;
        depth += 1;
    }
    assert_eq!(depth, 8);
}
