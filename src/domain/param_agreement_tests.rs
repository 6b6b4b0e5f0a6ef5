//! Property: what a parameter's JSON Schema allows is what binding takes and the check of the graph lets
//! pass, given as JSON or as the text of a form.

use proptest::prelude::*;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::binding::GivenValue;
use super::object_info::ObjectInfo;
use super::params::{ParamType, Params};
use super::schema::of_params;
use super::validation::{self, check};
use super::workflow::Workflow;

/// The node class `C` with the input `x`, and a literal for it that suits the class.
#[derive(Debug, Clone)]
struct LiteralCase {
    info: String,
    literal: &'static str,
    value: String,
}

impl LiteralCase {
    fn graph(&self) -> String {
        let literal = self.literal;
        format!(r#"{{"1":{{"class_type":"C","inputs":{{"x":{literal}}},"_meta":{{"title":"$x"}}}}}}"#)
    }

    fn schema_allows(&self, info: &ObjectInfo) -> bool {
        let graph = self.graph();
        let workflow = Workflow::parse(&graph).unwrap();
        let params = Params::declared_in(&workflow, info).unwrap();
        let schema = of_params(&params, info, "#/$defs/media")["properties"]["x"].clone();
        let value: Value = serde_json::from_str(&self.value).unwrap();
        satisfies(&schema, &value)
    }

    /// Whether a submission would be accepted, and the graph that it would run.
    fn bound(&self, info: &ObjectInfo, value: GivenValue<'_>) -> Option<String> {
        let graph = self.graph();
        let workflow = Workflow::parse(&graph).unwrap();
        let params = Params::declared_in(&workflow, info).unwrap();
        let plan = params.plan(&[("x".to_owned(), value)]).ok()?;
        let bound = plan.bind(&[], &mut || 1).graph;
        let workflow = Workflow::parse(&bound).unwrap();
        let given = validation::SuppliedInputs { expands: true, ..validation::SuppliedInputs::default() };
        let accepted = info.is_empty() || !check(&workflow, info, given).refused;
        accepted.then_some(bound)
    }
}

/// The keywords that parameters' schemas use, as JSON Schema (draft 2020-12) defines them.
fn satisfies(schema: &Value, value: &Value) -> bool {
    let number = |value: &Value| value.as_number().and_then(|number| number.to_string().parse::<f64>().ok());
    let is = |name: &Value| match name.as_str().unwrap() {
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "number" => value.is_number(),
        "integer" => number(value).is_some_and(|number| number.fract() == 0.0),
        other => panic!("unknown type {other}"),
    };
    let equal = |choice: &Value| match (number(choice), number(value)) {
        (Some(one), Some(other)) => one.partial_cmp(&other) == Some(std::cmp::Ordering::Equal),
        _ => choice == value,
    };
    let bound =
        |key: &str, holds: fn(f64, f64) -> bool| match (schema.get(key).and_then(number), number(value)) {
            (Some(limit), Some(value)) => holds(value, limit),
            _ => true,
        };
    schema.get("not").is_none()
        && schema.get("type").is_none_or(|kind| match kind {
            Value::Array(kinds) => kinds.iter().any(is),
            kind => is(kind),
        })
        && schema.get("enum").is_none_or(|choices| choices.as_array().unwrap().iter().any(equal))
        && bound("minimum", |value, limit| value >= limit)
        && bound("maximum", |value, limit| value <= limit)
}

fn spec() -> impl Strategy<Value = (Option<Value>, Vec<&'static str>)> {
    let numbers = || vec!["1", "8", "2.0", "7.5"];
    prop_oneof![
        Just((None, vec!["1", "7.5", "\"a\"", "true", "null"])),
        Just((Some(json!(["INT", {"min": 0, "max": 100}])), numbers())),
        Just((Some(json!(["INT", {}])), numbers())),
        Just((Some(json!(["FLOAT", {"min": 0.0, "max": 1.0, "step": 0.01}])), numbers())),
        Just((Some(json!(["FLOAT", {}])), numbers())),
        Just((Some(json!(["STRING", {}])), vec!["\"\"", "\"a\""])),
        Just((Some(json!(["BOOLEAN", {}])), vec!["true", "false"])),
        Just((Some(json!([["a", "8"], {}])), vec!["\"a\"", "\"gone\""])),
        Just((Some(json!(["COMBO", {"options": ["a", "8"]}])), vec!["\"a\""])),
        Just((Some(json!([[1, 2, 8], {}])), vec!["1", "8.0"])),
        Just((Some(json!([["a", 8], {}])), vec!["\"a\"", "8"])),
        Just((Some(json!([[], {"image_upload": true}])), vec!["\"a\""])),
    ]
}

fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        prop::sample::select(vec![
            "0",
            "1",
            "8",
            "-1",
            "101",
            "0.5",
            "1.0",
            "8.00",
            "1e2",
            "-0",
            "-0.0",
            "2.5e1",
            "100e-2",
            "1.5e-1",
            "18446744073709551615",
            "12e20",
            "true",
            "false",
            "null",
            "\"a\"",
            "\"8\"",
            "\"1.5\"",
            "\"\"",
            "[1]",
            "{}",
        ])
        .prop_map(str::to_owned),
        (-300i32..300).prop_map(|number| number.to_string()),
        (-300i32..300, 0u32..4).prop_map(|(number, places)| format!("{number}e-{places}")),
        (-300i32..300, 1usize..4)
            .prop_map(|(number, places)| format!("{:.places$}", f64::from(number) / 8.0)),
    ]
}

fn case() -> impl Strategy<Value = LiteralCase> {
    (spec(), any::<prop::sample::Index>(), value()).prop_map(|((spec, literals), which, value)| {
        let info = spec.map_or_else(
            || "{}".to_owned(),
            |spec| {
                let class = json!({"input": {"required": {"x": spec}}, "output": [], "output_node": true, "name": "C", "python_module": "nodes"});
                json!({ "C": class }).to_string()
            },
        );
        LiteralCase { info, literal: literals[which.index(literals.len())], value }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn schema_binding_and_check_agree_on_every_value(case in case()) {
        let info = ObjectInfo::parse(&case.info).unwrap();
        let raw = RawValue::from_string(case.value.clone()).unwrap();
        let bound = case.bound(&info, GivenValue::Json(&raw));
        prop_assert_eq!(case.schema_allows(&info), bound.is_some(), "{:?}", case);
    }

    #[test]
    fn a_form_takes_the_numbers_and_booleans_that_json_takes(case in case()) {
        let info = ObjectInfo::parse(&case.info).unwrap();
        let raw = RawValue::from_string(case.value.clone()).unwrap();
        let graph = case.graph();
        let workflow = Workflow::parse(&graph).unwrap();
        let params = Params::declared_in(&workflow, &info).unwrap();
        let kind = params.declared()["x"].targets[0].kind;
        if matches!(kind, ParamType::String | ParamType::Untyped) {
            // A form's text is the text itself there, whatever it looks like.
            return Ok(());
        }
        let by_form = case.bound(&info, GivenValue::Text(&case.value));
        prop_assert_eq!(by_form, case.bound(&info, GivenValue::Json(&raw)), "{:?}", case);
    }
}

#[test]
fn a_class_that_says_float_takes_fractions_whatever_the_literal() {
    let info = r#"{"C":{"input":{"required":{"x":["FLOAT",{"min":0.0,"max":1.0}]}},"output":[],"output_node":true,"name":"C"}}"#;
    let case = LiteralCase { info: info.to_owned(), literal: "1", value: "0.5".to_owned() };
    let info = ObjectInfo::parse(&case.info).unwrap();
    assert!(case.schema_allows(&info));
    let raw = RawValue::from_string("0.5".to_owned()).unwrap();
    assert!(case.bound(&info, GivenValue::Json(&raw)).unwrap().contains(r#""x":0.5"#));
}
