//! Workflows checked against node classes, one rule each: what is refused, reported only, or accepted.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may stop at once")]
#![allow(clippy::needless_pass_by_value, reason = "graphs are written in place")]

use comfy_gateway::domain::object_info::ObjectInfo;
use comfy_gateway::domain::validation::{
    FaultKind, GraphFaults, MissingKind, NodeFault, SuppliedInputs, check,
};
use comfy_gateway::domain::workflow::Workflow;
use serde_json::{Value, json};

const NOW: SuppliedInputs<'static> = SuppliedInputs { supplied: &[], replaced: &[], expands: true };

/// The faults of one node, number 1, of a class with these inputs; the node is an output itself.
fn faults_as(
    name: &str,
    module: &str,
    required: Value,
    inputs: Value,
    given: SuppliedInputs<'_>,
) -> GraphFaults {
    let classes = json!({
        name: {"input": {"required": required}, "output": [], "output_node": true, "python_module": module},
        "Make": {"input": {}, "output": ["IMAGE", "MASK", "INT,FLOAT", "*"], "python_module": "nodes"},
        "Custom": {"input": {}, "output": ["IMAGE"], "python_module": "custom_nodes.x"}
    });
    let graph = json!({
        "1": {"class_type": name, "inputs": inputs}, "2": {"class_type": "Make", "inputs": {}},
        "3": {"class_type": "Custom", "inputs": {}}
    });
    let (text, info) = (graph.to_string(), ObjectInfo::parse(&classes.to_string()).unwrap());
    check(&Workflow::parse(&text).unwrap(), &info, given)
}

fn faults(required: Value, inputs: Value) -> GraphFaults {
    faults_as("A", "nodes", required, inputs, NOW)
}

fn all(found: &GraphFaults) -> Vec<&NodeFault> {
    found.nodes.iter().flat_map(|node| &node.faults).collect()
}

#[track_caller]
fn only(found: &GraphFaults) -> &NodeFault {
    let [fault] = all(found)[..] else { panic!("{found:#?}") };
    fault
}

#[test]
fn classes_that_check_an_input_themselves_are_left_to_it() {
    for (class, inputs) in [
        ("ComfySoftSwitchNode", &["switch", "on_false", "on_true"][..]),
        ("CustomCombo", &["choice", "anything"]),
        ("FluxProUltraImageNode", &["aspect_ratio"]),
        ("KlingCameraControls", &["horizontal_movement", "vertical_movement", "pan", "tilt", "roll", "zoom"]),
        ("Load3D", &["model_file", "anything"]),
        ("LoadAudio", &["audio"]),
        ("LoadImage", &["image"]),
        ("LoadImageMask", &["image"]),
        ("LoadImageOutput", &["image"]),
        ("LoadImageSetNode", &["images", "resize_method"]),
        ("LoadLatent", &["latent"]),
        ("LoadVideo", &["file"]),
        ("SelectCLIPDevice", &["device"]),
        ("SelectModelDevice", &["device"]),
        ("SelectVAEDevice", &["device"]),
    ] {
        for input in inputs {
            let of = |class: &str, kind: Value, value: Value| {
                faults_as(class, "nodes", json!({ *input: kind }), json!({ *input: value }), NOW)
            };
            for (kind, value) in [
                (json!([["a"], {}]), json!("z")),
                (json!(["INT", {"max": 5}]), json!(6)),
                (json!(["FLOAT", {"min": 0}]), json!(-1)),
            ] {
                assert!(of(class, kind.clone(), value.clone()).is_clean(), "{class}.{input} {kind}");
                assert!(of("Another", kind, value).refused, "{input}");
            }
            // What is no number at all is refused before any check of the class's own.
            let found = of(class, json!(["INT", {}]), json!("x"));
            assert_eq!(
                (only(&found).kind, found.refused),
                (FaultKind::InvalidInputType, true),
                "{class}.{input}"
            );
        }
        if !["CustomCombo", "Load3D"].contains(&class) {
            let other =
                faults_as(class, "nodes", json!({ "other": [["a"], {}] }), json!({ "other": "z" }), NOW);
            assert!(other.refused, "{class} checks only some of its inputs");
        }
    }
}

#[test]
fn a_class_that_checks_types_itself_may_be_linked_to_anything() {
    let linked = |class: &str| {
        faults_as(class, "nodes", json!({ "task": ["MODEL_TASK_ID"] }), json!({ "task": ["2", 0] }), NOW)
    };
    let found = linked("TripoConversionNode");
    assert!(!only(&found).certain && !found.refused);
    assert!(linked("Another").refused);
}

#[test]
fn a_type_is_met_by_any_name_in_common() {
    for (slot, wanted, fits) in [
        (0, "IMAGE", true),
        (0, "MASK", false),
        (0, "MASK,IMAGE", true),
        (0, "MASK, IMAGE", true),
        (0, "image", false),
        (2, "FLOAT", true),
        (2, "STRING", false),
        (3, "IMAGE", true),
        (1, "*", true),
        (1, "X,*", true),
        (1, "COMFY_ANYTHING_V3", true),
        (1, "COMFY_ANYTHING", false),
    ] {
        let found = faults(json!({ "x": [wanted] }), json!({ "x": ["2", slot] }));
        assert_eq!(!found.refused, fits, "{slot} {wanted}: {found:?}");
    }
    // From a package's class a type may claim to be equal to any other.
    let found = faults(json!({ "x": ["MASK"] }), json!({ "x": ["3", 0] }));
    assert!(!found.refused && !only(&found).certain);
}

#[test]
fn faults_of_links_say_what_is_wrong() {
    for (link, says) in [
        (json!(["2", 4]), "links to output 4 of node 2 (Make), which has 4"),
        (json!(["2", -5]), "links to output -5 of node 2 (Make), which has 4"),
        (json!(["2", "0"]), "links to output \"0\" of node 2 (Make), which has 4"),
        (json!([2, 0]), "links to node 2, which is not in the workflow"),
        (json!([]), "a list is a link, which has two parts: a node's id and a number"),
        (json!(["2", 0, 0]), "a list is a link, which has two parts: a node's id and a number"),
    ] {
        let found = faults(json!({ "x": ["IMAGE"] }), json!({ "x": link }));
        let fault = only(&found);
        assert_eq!((fault.kind, fault.message.as_str()), (FaultKind::BadLinkedInput, says));
        assert_eq!((fault.received.as_deref(), fault.certain), (Some(link.to_string().as_str()), true));
    }
    // A package's class may have a list of outputs that gives one for any number.
    let found = faults(json!({ "x": ["IMAGE"] }), json!({ "x": ["3", 7] }));
    assert!(!found.refused && !only(&found).certain);
    let found = faults(json!({ "x": ["MASK"] }), json!({ "x": ["2", 0] }));
    assert_eq!(only(&found).message, "`x` takes MASK, but is linked to IMAGE");
}

#[test]
fn long_lists_of_choices_are_counted_and_short_ones_told() {
    let choices: Vec<String> = (0..21).map(|number| format!("model-{number:02}")).collect();
    let of =
        |count: usize| only(&faults(json!({ "x": [choices[..count]] }), json!({ "x": "model-1" }))).clone();
    assert_eq!(of(21).message, "`x` must be one of the 21 values that the backend has; it is `model-1`");
    assert!(of(20).message.starts_with("`x` must be one of: model-00, model-01, "), "{}", of(20).message);
    assert_eq!(of(21).nearest.len(), 3);
    let numbers = faults(json!({ "x": [[1, 2.5, true]] }), json!({ "x": "1" }));
    assert_eq!(only(&numbers).message, "`x` must be one of: 1, 2.5, true; it is `1`");
}

#[test]
fn what_is_no_number_is_told_by_the_kind_of_number() {
    for (kind, word) in [("INT", "a whole number"), ("FLOAT", "a number")] {
        let found = faults(json!({ "x": [kind, {}] }), json!({ "x": "many" }));
        assert_eq!(only(&found).message, format!("`x` must be {word}, not many"));
    }
}

#[test]
fn a_number_is_held_against_its_least_before_its_most() {
    let range = json!({ "x": ["FLOAT", {"min": 5, "max": 3}] });
    let kind = |value: Value| only(&faults(range.clone(), json!({ "x": value }))).kind;
    assert_eq!(kind(json!(4)), FaultKind::ValueSmallerThanMin);
    assert_eq!(kind(json!(6)), FaultKind::ValueBiggerThanMax);
    // The limits themselves are good, however they are written.
    for value in [json!(1), json!(1.0), json!("3"), json!(3.0)] {
        assert!(faults(json!({ "x": ["FLOAT", {"min": 1.0, "max": 3}] }), json!({ "x": value })).is_clean());
    }
}

#[test]
fn models_are_told_from_other_choices_by_the_ends_of_their_names() {
    let kind = |name: &str| {
        let found = faults(json!({ "x": [["a"]] }), json!({ "x": name }));
        let kinds: Vec<MissingKind> = found.missing().map(|missing| missing.kind).collect();
        kinds
    };
    let ends = [
        "safetensors",
        "ckpt",
        "pt",
        "pt2",
        "pth",
        "bin",
        "gguf",
        "sft",
        "onnx",
        "pkl",
        "engine",
        "torchscript",
        "PTH",
    ];
    for end in ends {
        assert_eq!(kind(&format!("some/model.{end}")), [MissingKind::Model], "{end}");
    }
    for name in ["euler", "photo.png", "safetensors", "model.safetensors.txt", ""] {
        assert_eq!(kind(name), [MissingKind::Value], "{name:?}");
    }
    // Only what is named and not there is missing; a number out of its range is not.
    let found = faults(json!({ "x": ["INT", {"max": 1}], "y": ["IMAGE"] }), json!({ "x": 5 }));
    assert_eq!((all(&found).len(), found.missing().count()), (2, 0));
}

#[test]
fn an_input_that_grows_needs_its_least_number_by_its_names() {
    let grow = |template: Value| json!({ "x": ["COMFY_AUTOGROW_V3", {"template": template}] });
    let shape = |required: bool| {
        let group = if required { "required" } else { "optional" };
        json!({ group: {"image": ["IMAGE"]} })
    };
    let missing = |found: &GraphFaults| -> Vec<String> {
        all(found).iter().map(|fault| fault.input.clone().unwrap()).collect()
    };
    let named = grow(json!({ "input": shape(true), "names": ["first", "second", "third"], "min": 2 }));
    assert_eq!(missing(&faults(named.clone(), json!({}))), ["x.first", "x.second"]);
    assert_eq!(missing(&faults(named.clone(), json!({ "x.second": ["2", 0] }))), ["x.first"]);
    let wrong =
        faults(named.clone(), json!({ "x.first": ["2", 0], "x.second": ["2", 0], "x.third": ["2", 1] }));
    assert_eq!(
        (missing(&wrong), only(&wrong).kind),
        (vec!["x.third".to_owned()], FaultKind::ReturnTypeMismatch)
    );
    // What is none of its parts is not looked at.
    assert!(
        faults(named.clone(), json!({ "x.first": ["2", 0], "x.second": ["2", 0], "x.fourth": ["2", 1] }))
            .is_clean()
    );
    let supplied = SuppliedInputs { supplied: &[("1", "x.first"), ("1", "x.second")], ..NOW };
    assert!(faults_as("A", "nodes", named, json!({}), supplied).is_clean());
    let unnamed = grow(json!({ "input": shape(true), "min": 1 }));
    assert_eq!(missing(&faults(unnamed, json!({}))), ["x.x0"], "without a prefix the input's own name is it");
    let optional = grow(json!({ "input": shape(false), "prefix": "i", "min": 5 }));
    assert!(faults(optional, json!({})).is_clean());
    // No server lets one grow beyond a hundred, whatever the class says.
    let endless = grow(json!({ "input": shape(true), "prefix": "i", "min": 4_000_000_000_u64 }));
    assert_eq!(missing(&faults(endless, json!({}))).len(), 100);
}

#[test]
fn a_key_of_a_dynamic_combo_may_be_a_number_or_come_by_a_link() {
    let combo = json!({ "x": ["COMFY_DYNAMICCOMBO_V3", {"options": [
        {"key": "1", "inputs": {"required": {"a": ["INT", {}]}}}, {"key": "two", "inputs": {}}]}] });
    let of = |inputs: Value| faults(combo.clone(), inputs);
    assert!(of(json!({ "x": "two" })).is_clean());
    assert_eq!(only(&of(json!({ "x": 1 }))).input.as_deref(), Some("x.a"));
    assert!(of(json!({ "x": ["2", 0] })).is_clean(), "nobody knows what a link will bring");
    let found = of(json!({ "x": "tw" }));
    assert_eq!((only(&found).nearest.as_slice(), found.refused), (&["two".to_owned()][..], false));
    let supplied = SuppliedInputs { supplied: &[("1", "x")], ..NOW };
    assert!(faults_as("A", "nodes", combo, json!({}), supplied).is_clean());
}

#[test]
fn one_class_that_is_missing_outweighs_any_that_are_replaced() {
    let classes =
        json!({ "Save": {"input": {}, "output": [], "output_node": true, "python_module": "nodes"} });
    let info = ObjectInfo::parse(&classes.to_string()).unwrap();
    let of = |classes: &[&str]| {
        let nodes = classes
            .iter()
            .enumerate()
            .map(|(at, class)| (at.to_string(), json!({"class_type": class, "inputs": {}})));
        let text = Value::Object(nodes.collect()).to_string();
        check(&Workflow::parse(&text).unwrap(), &info, SuppliedInputs { replaced: &["Old", "Older"], ..NOW })
    };
    for (classes, refused, no_outputs, nodes) in [
        (&["Save", "Old"][..], false, false, 0),
        (&["Old", "Older"], false, false, 0),
        (&["Old", "Gone"], true, false, 1),
        (&["Gone", "Old"], true, false, 1),
        (&["Save", "Gone"], true, false, 1),
    ] {
        let found = of(classes);
        assert_eq!(
            (found.refused, found.no_outputs, found.nodes.len()),
            (refused, no_outputs, nodes),
            "{classes:?}"
        );
    }
}
