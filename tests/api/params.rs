//! Parameters that do not fit the workflow.

use reqwest::Method;
use reqwest::header::CONTENT_TYPE;
use serde_json::{Value, json};

use crate::scene::{Refusal, Scene};

fn workflow() -> Value {
    json!({
        "1": {"class_type": "PrimitiveString", "inputs": {"value": "x"}, "_meta": {"title": "$prompt.value!:what to say"}},
        "2": {"class_type": "LabSleep", "inputs": {"seconds": 0.0, "steps": 1, "preview": false, "interruptible": true, "seed": 5}, "_meta": {"title": "$seconds, $steps, $preview, $seed"}},
        "3": {"class_type": "LoadImage", "inputs": {"image": "a.png"}, "_meta": {"title": "$picture.image"}}
    })
}

async fn refused(scene: &Scene, params: Value) -> Refusal {
    scene.refused_body(&json!({ "workflow": workflow(), "params": params }), 422, "invalid_params").await
}

#[tokio::test]
async fn an_unknown_parameter_names_the_nearest() {
    let scene = Scene::new().await;
    let refusal = refused(&scene, json!({ "prompt": "x", "promt": "y" })).await;
    assert_eq!(refusal.pointers(), ["/params/promt"]);
    assert!(refusal.words().contains("did you mean prompt"), "{}", refusal.words());
    let refusal = refused(&scene, json!({ "prompt": "x", "zzzzzzz": "y" })).await;
    assert!(refusal.words().contains("picture, preview, prompt"), "{}", refusal.words());
    let bare = json!({ "workflow": crate::scene::plain(), "params": {"x": 1} });
    let refusal = scene.refused_body(&bare, 422, "invalid_params").await;
    assert!(refusal.words().contains("declares none"), "{}", refusal.words());
    scene.finish().await;
}

#[tokio::test]
async fn a_missing_one_that_is_required() {
    let scene = Scene::new().await;
    let refusal = refused(&scene, json!({})).await;
    assert_eq!(refusal.pointers(), ["/params/prompt"]);
    assert!(refusal.words().contains("what to say"), "{}", refusal.words());
    scene.finish().await;
}

#[tokio::test]
async fn values_of_a_wrong_type() {
    let scene = Scene::new().await;
    scene.gateway.until_capabilities_known(1).await;
    let cases = [
        ("prompt", json!([7, true, null, [], {}])),
        ("steps", json!([1.5, "1", true, null, []])),
        ("seconds", json!(["1", true, null, {}])),
        ("preview", json!([1, "true", null])),
        ("picture", json!([7, true, {}, "ftp://x/a.png", "data:image/png,AA", {"base64": "AA==", "x": 1}])),
    ];
    for (name, values) in cases {
        for value in values.as_array().unwrap() {
            let mut params = json!({ "prompt": "x" });
            params[name] = value.clone();
            let refusal = refused(&scene, params).await;
            assert_eq!(refusal.pointers(), [format!("/params/{name}")], "{value}");
        }
    }
    scene.finish().await;
}

#[tokio::test]
async fn a_float_input_with_a_whole_literal_takes_fractions() {
    let scene = Scene::new().await;
    scene.gateway.until_capabilities_known(1).await;
    // As JavaScript writes 0.0.
    let mut graph = workflow();
    graph["1"]["_meta"] = json!({});
    graph["2"]["inputs"]["seconds"] = json!(0);
    graph.as_object_mut().unwrap().remove("3");
    let registered = scene
        .request(Method::PUT, "/workflows/sleepy")
        .header(CONTENT_TYPE, "application/json")
        .body(graph.to_string());
    assert_eq!(registered.send().await.unwrap().status(), 201);
    let described: Value = scene.gateway.get("/workflows/sleepy").await.json().await.unwrap();
    assert_eq!(described["params"]["properties"]["seconds"]["type"], "number");
    assert_eq!(described["params"]["properties"]["steps"]["type"], "integer");
    let body = json!({ "workflow": graph, "params": {"seconds": 0.001} });
    assert_eq!(scene.gateway.validate(&body).await["ok"], true);
    let result = scene.gateway.result(&scene.gateway.execute(&body).await).await;
    assert_eq!(result["status"], "completed", "{result:#}");
    scene.finish().await;
}

#[tokio::test]
async fn params_that_are_no_object() {
    let scene = Scene::new().await;
    for params in [json!([]), json!("x"), json!(7), json!(true)] {
        let body = json!({ "workflow": workflow(), "params": params });
        assert_eq!(scene.refused_body(&body, 422, "invalid_request").await.pointers(), ["/params"]);
    }
    scene.finish().await;
}

#[tokio::test]
async fn all_faults_are_told_at_once() {
    let scene = Scene::new().await;
    let refusal = refused(&scene, json!({ "stps": 1, "seconds": "x", "preview": 0 })).await;
    assert_eq!(refusal.pointers(), ["/params/stps", "/params/seconds", "/params/preview", "/params/prompt"]);
    assert!(refusal.body["detail"].as_str().unwrap().contains("3 more"), "{:#}", refusal.body);
    scene.finish().await;
}
