//! What is refused, and how: held against recorded answers of a real 0.24.0.

use comfy_gateway::simulator::{ComfyVersion, SimulatorConfig};
use serde_json::{Value, json};

use crate::client::{Lab, picture, quick};

/// An answer without what differs by design: tracebacks and the exact options of inputs. Errors and outputs come in
/// no order from a real server.
fn plain(value: &Value) -> Value {
    match value {
        Value::Object(fields) => fields
            .iter()
            .map(|(name, value)| {
                let value = match name.as_str() {
                    "traceback" => json!([]),
                    "input_config" => Value::Null,
                    _ => plain(value),
                };
                (name.clone(), value)
            })
            .collect(),
        Value::Array(items) => {
            let mut items: Vec<_> = items.iter().map(plain).collect();
            items.sort_by_key(ToString::to_string);
            items.into()
        }
        other => other.clone(),
    }
}

#[tokio::test]
async fn bad_prompts_are_answered_as_a_real_server_answers_them() {
    let fixtures: Value = serde_json::from_str(include_str!("../fixtures/comfyui_traffic.json")).unwrap();
    let lab = Lab::new().await;
    for (name, case) in fixtures["validation"].as_object().unwrap() {
        let (status, body) = lab.submit(&json!({ "prompt": case["prompt"] })).await;
        assert_eq!(json!(status), case["status"], "{name}: {body}");
        let body = if status == 200 { json!({ "node_errors": body["node_errors"] }) } else { body };
        assert_eq!(plain(&body), plain(&case["body"]), "{name}");
    }
}

#[tokio::test]
async fn what_breaks_the_server_is_500_in_plain_text() {
    let lab = Lab::new().await;
    let bodies = [
        "",
        "{not json",
        "null",
        r#"{"prompt":null}"#,
        r#"{"prompt":[]}"#,
        r#"{"prompt":"abc"}"#,
        r#"{"prompt":{"1":"x"}}"#,
        r#"{"prompt":{"nodes":[],"links":[],"version":0.4}}"#,
        r#"{"prompt":{},"number":"abc"}"#,
    ];
    for body in bodies {
        let response = lab.http.post(lab.url("/prompt")).body(body).send().await.unwrap();
        assert_eq!(response.status(), 500, "{body}");
        assert_eq!(response.headers()["content-type"], "text/plain; charset=utf-8");
    }
    let mut envelope = json!({ "prompt": picture(1), "extra_data": null });
    assert_eq!(lab.submit(&envelope).await.0, 500);
    envelope["extra_data"] = json!([]);
    assert_eq!(lab.submit(&envelope).await.0, 500);
}

#[tokio::test]
async fn an_envelope_without_prompt_is_explained() {
    let lab = Lab::new().await;
    for body in [json!({ "client_id": "x" }), json!([])] {
        let (status, answer) = lab.submit(&body).await;
        assert_eq!((status, &answer["error"]["type"]), (400, &json!("no_prompt")));
    }
}

#[tokio::test]
async fn only_canonical_ids_are_taken_unless_the_release_is_old() {
    let lab = Lab::new().await;
    let old = Lab::with(SimulatorConfig { version: ComfyVersion::V0_3_64, ..quick() }).await;
    for id in [json!("abc"), json!("6AE5A0F5-2B7B-4B4E-9E55-0A8B2C7D9E10"), json!(5), json!(" ")] {
        let envelope = json!({ "prompt": picture(1), "prompt_id": id });
        let (status, answer) = lab.submit(&envelope).await;
        assert_eq!((status, &answer["error"]["type"]), (400, &json!("invalid_prompt_id")), "{id}");
        assert_eq!(old.submit(&envelope).await.0, 200, "{id}");
    }
    let id = "6ae5a0f5-2b7b-4b4e-9e55-0a8b2c7d9e10";
    let (_, answer) = lab.submit(&json!({ "prompt": picture(1), "prompt_id": id })).await;
    assert_eq!(answer["prompt_id"], id);
    let nothing = json!({ "prompt": picture(1), "prompt_id": null });
    assert_eq!(lab.submit(&nothing).await.1["prompt_id"].as_str().unwrap().len(), 36);
    assert_eq!(old.submit(&nothing).await.1["prompt_id"], "None");
}

#[tokio::test]
async fn the_old_release_words_a_missing_class_differently() {
    let lab = Lab::with(SimulatorConfig { version: ComfyVersion::V0_3_64, ..quick() }).await;
    let (status, answer) =
        lab.submit(&json!({ "prompt": { "1": { "class_type": "Nope", "inputs": {} } } })).await;
    assert_eq!(status, 400);
    assert_eq!(answer["error"]["type"], "invalid_prompt");
    assert_eq!(lab.submit(&json!({ "prompt": { "1": "x" } })).await.0, 400);
}

#[tokio::test]
async fn values_are_converted_and_echoed_converted() {
    let lab = Lab::new().await;
    let mut graph = picture(1);
    graph["1"]["inputs"]["width"] = json!("16");
    graph["1"]["inputs"]["height"] = json!(16.7);
    graph["1"]["inputs"]["unknown"] = json!({ "kept": 1.50 });
    let entry = lab.run(&graph).await;
    let inputs = &entry["prompt"][2]["1"]["inputs"];
    assert_eq!((&inputs["width"], &inputs["height"]), (&json!(16), &json!(16)));
    assert_eq!(inputs["unknown"], json!({ "kept": 1.50 }));
}

#[tokio::test]
async fn a_value_of_the_wrong_kind_for_a_link_fails_only_when_run() {
    let lab = Lab::new().await;
    let graph = json!({ "2": { "class_type": "SaveImage", "inputs": { "images": "hello", "filename_prefix": "v" } } });
    let entry = lab.run(&graph).await;
    let error = &entry["status"]["messages"][2][1];
    assert_eq!(error["exception_type"], "AttributeError");
    assert_eq!(error["exception_message"], "'str' object has no attribute 'shape'\n");
}

#[tokio::test]
async fn only_the_targets_of_a_partial_run_are_run() {
    let lab = Lab::new().await;
    let mut graph = picture(1);
    graph["3"] = json!({ "class_type": "PreviewImage", "inputs": { "images": ["1", 0] } });
    let (_, answer) = lab.submit(&json!({ "prompt": graph, "partial_execution_targets": ["3"] })).await;
    let entry = lab.history(answer["prompt_id"].as_str().unwrap()).await;
    assert_eq!(entry["outputs"].as_object().unwrap().keys().collect::<Vec<_>>(), ["3"]);
    let none = json!({ "prompt": graph, "partial_execution_targets": ["1"] });
    assert_eq!(lab.submit(&none).await.1["error"]["type"], "prompt_no_outputs");
}

#[tokio::test]
async fn object_info_describes_what_can_run() {
    let lab = Lab::new().await;
    let info = lab.json("/object_info").await;
    assert_eq!(info["EmptyImage"]["input"]["required"]["width"][0], "INT");
    assert_eq!(lab.json("/api/object_info/SaveImage").await["SaveImage"]["output_node"], true);
    assert_eq!(lab.json("/object_info/Nope").await, json!({}));
}

#[tokio::test]
async fn a_class_or_a_model_that_a_server_lacks_is_neither_told_nor_run() {
    let lab = Lab::new().await;
    let loads = json!({
        "1": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "mine.safetensors"}},
        "2": {"class_type": "PreviewAny", "inputs": {"source": ["1", 0]}}
    });
    let (status, body) = lab.submit(&json!({ "prompt": loads })).await;
    assert_eq!((status, &body["node_errors"]["1"]["errors"][0]["type"]), (400, &json!("value_not_in_list")));
    lab.simulator.install(|installed| installed.checkpoints = vec!["mine.safetensors".to_owned()]);
    assert_eq!(lab.submit(&json!({ "prompt": loads })).await.0, 200);
    let choices = |info: &Value| info["CheckpointLoaderSimple"]["input"]["required"]["ckpt_name"][0].clone();
    assert_eq!(choices(&lab.json("/object_info").await), json!(["mine.safetensors"]));
    lab.simulator.install(|installed| installed.without_classes.push("PreviewAny".to_owned()));
    let (status, body) = lab.submit(&json!({ "prompt": loads })).await;
    assert_eq!((status, &body["error"]["type"]), (400, &json!("missing_node_type")));
    let info = lab.json("/object_info").await;
    assert!(info.get("PreviewAny").is_none() && info.get("PreviewImage").is_some());
    assert_eq!(lab.json("/object_info/PreviewAny").await, json!({}));
}
