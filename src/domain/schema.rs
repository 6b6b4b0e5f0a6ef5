//! A JSON Schema (draft 2020-12) of a workflow's parameters, from its markers and the backends' node classes.

use serde_json::{Map, Value, json};

use super::object_info::{InputKind, InputSpec, NodeClasses, NumberRange, UploadKind};
use super::params::{Param, ParamTarget, ParamType, Params};

/// A combo with more choices is not listed, because a schema of megabytes is useless.
const MOST_CHOICES: usize = 5_000;

/// The schema of an object whose properties are the parameters. `media` is the reference to the schema of a media
/// value, as [`media_value`] has it.
#[must_use]
pub fn of_params(params: &Params<'_, '_>, classes: &dyn NodeClasses, media: &str) -> Value {
    let properties: Map<String, Value> = params
        .declared()
        .iter()
        .map(|(name, param)| (name.clone(), of_param(params, param, classes, media)))
        .collect();
    let required: Vec<&String> =
        params.declared().iter().filter(|(_, param)| param.required).map(|(name, _)| name).collect();
    let mut schema = json!({ "type": "object", "properties": properties, "additionalProperties": false });
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    schema
}

/// The schema of one media value: every form that [`super::input::MediaValue`] reads.
#[must_use]
pub fn media_value() -> Value {
    let object = |required: &str, more: Value| {
        let mut properties = Map::from_iter([(required.to_owned(), json!({ "type": "string" }))]);
        properties.extend(more.as_object().cloned().unwrap_or_default());
        json!({ "type": "object", "required": [required], "properties": properties, "additionalProperties": false })
    };
    json!({
        "title": "Media",
        "description": "A file: an http(s) URL, a data URL, the name of a file on the ComfyUI backend, base64, a file of POST /files, or what an earlier job made",
        "anyOf": [
            {"type": "string", "minLength": 1},
            object("base64", json!({"filename": {"type": "string"}})),
            object("file", json!({"file": {"type": "string", "format": "uuid"}})),
            object("result", json!({
                "result": {"type": "string", "format": "uuid"}, "var": {"type": "string"}, "index": {"type": "integer", "minimum": 0}
            })),
        ]
    })
}

fn of_param(params: &Params<'_, '_>, param: &Param, classes: &dyn NodeClasses, media: &str) -> Value {
    let specs = || param.targets.iter().filter_map(|target| spec(params, target, classes));
    let mut schema =
        if param.media { of_media(param, specs().next(), media) } else { of_value(param, specs()) };
    let told = param.description.clone().or_else(|| specs().find_map(|spec| spec.options.tooltip.clone()));
    if let Some(description) = told {
        schema["description"] = description.into();
    }
    if !param.required
        && let Some(default) = default(params, &param.targets)
    {
        schema["default"] = default;
    }
    schema
}

/// The input that the class of a parameter's node declares.
fn spec<'c>(
    params: &Params<'_, '_>,
    target: &ParamTarget,
    classes: &'c dyn NodeClasses,
) -> Option<&'c InputSpec> {
    classes.class(&params.workflow().nodes()[target.node].class_type)?.input(&target.field)
}

/// The literal in the first field that has one.
fn default(params: &Params<'_, '_>, targets: &[ParamTarget]) -> Option<Value> {
    targets.iter().find_map(|target| {
        let input = params.workflow().nodes()[target.node].input(&target.field)?;
        serde_json::from_str(params.workflow().value(input)).ok().filter(|_| input.link.is_none())
    })
}

fn of_media(param: &Param, spec: Option<&InputSpec>, media: &str) -> Value {
    let one = json!({ "$ref": media });
    let several = param.targets.len() > 1 || param.targets.iter().any(|target| target.list.is_some());
    let mut schema = if several {
        json!({ "anyOf": [one, {"type": "array", "items": one, "minItems": 1}] })
    } else {
        json!({ "allOf": [one] })
    };
    let kind = match spec.and_then(|spec| spec.options.upload) {
        Some(UploadKind::Image) => "image",
        Some(UploadKind::Video) => "video",
        Some(UploadKind::Audio) => "audio",
        Some(UploadKind::File) | None => "file",
    };
    schema["x-media"] = kind.into();
    schema
}

fn of_value<'c>(param: &Param, specs: impl Iterator<Item = &'c InputSpec>) -> Value {
    let mut schema = Map::new();
    let mut choices: Option<Vec<Value>> = None;
    for spec in specs {
        match &spec.kind {
            InputKind::Int(range) | InputKind::Float(range) => narrow(&mut schema, range),
            // A file may be uploaded, so the present files are not the only choices.
            InputKind::Combo { choices: listed, remote: false, multiselect: false, .. }
                if spec.options.upload.is_none() =>
            {
                choose(&mut choices, listed);
            }
            InputKind::DynamicCombo(options) => {
                let keys: Vec<Value> = options.iter().map(|option| option.key.as_str().into()).collect();
                choose(&mut choices, &keys);
            }
            _ => {}
        }
    }
    let kinds = param.targets.iter().map(|target| target.kind);
    let kind = kinds.map(Some).reduce(|one, other| one?.meet(other?)).flatten();
    let name = match kind {
        Some(ParamType::Bool) => json!("boolean"),
        Some(ParamType::Int) => json!("integer"),
        Some(ParamType::Number) => json!("number"),
        Some(ParamType::String) => json!("string"),
        Some(ParamType::Untyped) => json!(["string", "number", "boolean"]),
        None => return json!({ "not": {} }),
    };
    match choices {
        Some(choices) if choices.is_empty() => return json!({ "not": {} }),
        Some(choices) => schema.insert("enum".to_owned(), Value::Array(choices)),
        None => schema.insert("type".to_owned(), name),
    };
    Value::Object(schema)
}

/// The constraints that several fields of one parameter share.
fn narrow(schema: &mut Map<String, Value>, range: &NumberRange) {
    let number = |value: &Value| value.as_f64().unwrap_or(f64::NAN);
    for (key, limit, is_tighter) in [
        ("minimum", &range.min, (|new, old| new > old) as fn(f64, f64) -> bool),
        ("maximum", &range.max, |new, old| new < old),
    ] {
        let Some(limit) = limit.clone().map(Value::Number) else { continue };
        if schema.get(key).is_none_or(|known| is_tighter(number(&limit), number(known))) {
            schema.insert(key.to_owned(), limit);
        }
    }
    if let Some(step) = &range.step {
        // A hint for a slider. Backends accept values in between, so it is not a `multipleOf`.
        schema.entry("x-step").or_insert_with(|| Value::Number(step.clone()));
    }
}

/// The choices that all fields of one parameter share.
fn choose(common: &mut Option<Vec<Value>>, choices: &[Value]) {
    if choices.is_empty() || choices.len() > MOST_CHOICES {
        return;
    }
    match common {
        Some(common) => common.retain(|choice| choices.contains(choice)),
        None => *common = Some(choices.to_vec()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::object_info::ObjectInfo;
    use crate::domain::workflow::Workflow;

    const INFO: &str = r#"{
        "KSampler": {"input": {"required": {
            "steps": ["INT", {"min": 1, "max": 10000, "step": 1, "default": 20, "tooltip": "how many"}],
            "cfg": ["FLOAT", {"min": 0.0, "max": 100.0, "step": 0.1}],
            "sampler_name": [["euler", "ddim"], {}], "on": ["BOOLEAN", {}]}}, "output": ["LATENT"], "name": "KSampler"},
        "Other": {"input": {"required": {"n": ["INT", {"min": 5, "max": 20}], "sampler": ["COMBO", {"options": ["ddim", "lms"]}],
            "free": ["*", {}]}}, "output": [], "name": "Other"},
        "LoadImage": {"input": {"required": {"image": [["a.png"], {"image_upload": true}]}}, "output": ["IMAGE"], "name": "LoadImage"}}"#;

    fn schema(graph: &str, info: &str) -> Value {
        let workflow = Workflow::parse(graph).unwrap();
        let info = ObjectInfo::parse(info).unwrap();
        let params = Params::declared_in(&workflow, &info).unwrap();
        of_params(&params, &info, "#/$defs/media")
    }

    const GRAPH: &str = r#"{"1":{"class_type":"KSampler","_meta":{"title":"$steps, $cfg:how strong, $sampler.sampler_name!, $on"},
            "inputs":{"steps":20,"cfg":7.0,"sampler_name":"euler","on":false}},
        "2":{"class_type":"Other","_meta":{"title":"$steps.n, $sampler, $anything.free!"},"inputs":{"n":9,"sampler":"ddim","free":["1",0]}}}"#;

    #[test]
    fn types_defaults_limits_and_choices_are_those_of_all_fields() {
        let schema = schema(GRAPH, INFO);
        let of = |name: &str| schema["properties"][name].clone();
        assert_eq!(
            of("steps"),
            json!({"type": "integer", "minimum": 5, "maximum": 20, "x-step": 1, "description": "how many", "default": 20})
        );
        let cfg = of("cfg");
        assert_eq!(
            (&cfg["type"], &cfg["x-step"], &cfg["description"]),
            (&json!("number"), &json!(0.1), &json!("how strong"))
        );
        assert_eq!(of("sampler"), json!({"enum": ["ddim"]}));
        assert_eq!(of("on"), json!({"type": "boolean", "default": false}));
        assert_eq!(of("anything"), json!({"type": ["string", "number", "boolean"]}));
        assert_eq!(schema["required"], json!(["anything", "sampler"]));
        assert_eq!(schema["additionalProperties"], false);
    }

    #[test]
    fn without_any_server_the_literals_tell_the_types() {
        let schema = schema(GRAPH, "{}");
        let types = |name: &str| schema["properties"][name]["type"].clone();
        assert_eq!(
            [types("steps"), types("cfg"), types("sampler"), types("on")],
            ["number", "number", "string", "boolean"]
        );
    }

    #[test]
    fn media_takes_every_form_of_a_file_and_a_list_where_there_are_several() {
        let one =
            r#"{"1":{"class_type":"LoadImage","inputs":{"image":"a.png"},"_meta":{"title":"$photo.image"}}}"#;
        assert_eq!(
            schema(one, INFO)["properties"]["photo"],
            json!({"allOf": [{"$ref": "#/$defs/media"}], "x-media": "image", "default": "a.png"})
        );
        let two = r#"{"1":{"class_type":"LoadImage","inputs":{"image":"a.png"},"_meta":{"title":"$photo.image!"}},
            "2":{"class_type":"LoadImage","inputs":{"image":"a.png"},"_meta":{"title":"$photo.image!"}}}"#;
        assert_eq!(schema(two, "{}")["properties"]["photo"]["anyOf"][1]["type"], "array");
        let forms: Vec<_> = media_value()["anyOf"]
            .as_array()
            .unwrap()
            .iter()
            .map(|form| form["required"][0].clone())
            .collect();
        assert_eq!(forms, [Value::Null, "base64".into(), "file".into(), "result".into()]);
    }

    #[test]
    fn a_list_of_files_in_one_node_is_a_list_and_kinds_are_the_servers() {
        let info = r#"{
            "Video": {"input": {"required": {"file": [["a.mp4"], {"video_upload": true}]}}, "output": [], "name": "Video"},
            "Audio": {"input": {"required": {"audio": [["a.wav"], {"audio_upload": true}]}}, "output": [], "name": "Audio"}}"#;
        let graph = r#"{"1":{"class_type":"Video","inputs":{"file":"a.mp4"},"_meta":{"title":"$~clip.file!"}},
            "2":{"class_type":"Audio","inputs":{"audio":"a.wav"},"_meta":{"title":"$~sound.audio!"}},
            "3":{"class_type":"Unknown","inputs":{"files":["a.png"],"more":{"__value__":["a","b"]}},"_meta":{"title":"$~files!, $~more!"}}}"#;
        let schema = schema(graph, info);
        let kind = |name: &str| schema["properties"][name]["x-media"].clone();
        assert_eq!(["clip", "sound", "files"].map(kind), ["video", "audio", "file"]);
        for name in ["files", "more"] {
            let forms = &schema["properties"][name]["anyOf"];
            assert_eq!(
                (&forms[0]["$ref"], &forms[1]["items"]["$ref"]),
                (&json!("#/$defs/media"), &json!("#/$defs/media"))
            );
        }
    }

    #[test]
    fn a_parameter_of_many_fields_takes_what_all_of_them_take() {
        let graph = r#"{"1":{"class_type":"KSampler","_meta":{"title":"$n.steps, $kind.sampler_name"},"inputs":{"steps":20,"sampler_name":"ddim"}},
            "2":{"class_type":"Other","_meta":{"title":"$n, $kind.sampler"},"inputs":{"n":9,"sampler":"lms"}},
            "3":{"class_type":"KSampler","_meta":{"title":"$n.cfg"},"inputs":{"cfg":7.5}}}"#;
        let schema = schema(graph, INFO);
        let n = &schema["properties"]["n"];
        // Whole, because two fields are; between 5 and 20, because one is; and the first literal is the default.
        assert_eq!(
            (&n["type"], &n["minimum"], &n["maximum"], &n["default"]),
            (&json!("integer"), &json!(5), &json!(20), &json!(20))
        );
        assert_eq!(schema["properties"]["kind"], json!({"enum": ["ddim"], "default": "ddim"}));
        assert_eq!(schema["required"], Value::Null);
    }

    #[test]
    fn choices_that_are_too_many_or_not_final_are_not_listed() {
        let choices: Vec<String> = (0..=MOST_CHOICES).map(|number| format!("model-{number}")).collect();
        let of = |kind: Value| {
            let info = json!({"C": {"input": {"required": {"name": kind}}, "output": [], "name": "C"}});
            let graph = r#"{"1":{"class_type":"C","inputs":{"name":"model-1"},"_meta":{"title":"$name"}}}"#;
            schema(graph, &info.to_string())["properties"]["name"].clone()
        };
        assert_eq!(of(json!([choices, {}])), json!({"type": "string", "default": "model-1"}));
        assert_eq!(of(json!([choices[..2], {}]))["enum"], json!(["model-0", "model-1"]));
        let remote = json!(["COMBO", {"options": [], "remote": {"route": "/models"}}]);
        assert_eq!(of(remote), json!({"type": "string", "default": "model-1"}));
        let told = json!([choices[..2], {"tooltip": "which one"}]);
        assert_eq!(of(told)["description"], "which one");
    }

    #[test]
    fn a_workflow_without_parameters_takes_none() {
        let schema = schema(r#"{"1":{"class_type":"A","inputs":{}}}"#, "{}");
        assert_eq!(schema, json!({"type": "object", "properties": {}, "additionalProperties": false}));
    }
}
