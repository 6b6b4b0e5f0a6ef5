//! Oversized requests: they are rejected cheaply, and their error messages stay short.

use std::fmt::Write;

use reqwest::header::CONTENT_TYPE;
use serde_json::{Value, json};

use crate::scene::{Refusal, Scene, plain};

/// The most bytes of an answer that tells of faults.
const BRIEF: usize = 150_000;

async fn scene() -> Scene {
    let scene = Scene::with(|settings| {
        settings.api.max_body = 16 << 20;
        settings.service.workflow.nodes = 1_000;
        settings.service.workflow.params = 50;
        settings.api.max_params = 50;
    })
    .await;
    scene.gateway.until_capabilities_known(1).await;
    scene
}

/// Refused, in a short answer.
async fn refused(scene: &Scene, body: String, status: u16, code: &str) -> Refusal {
    let refusal = scene.refused(scene.execute(body), status, code).await;
    assert!(refusal.body.to_string().len() < BRIEF, "{} bytes", refusal.body.to_string().len());
    refusal
}

fn detail(refusal: &Refusal) -> &str {
    refusal.body["detail"].as_str().unwrap()
}

#[tokio::test]
async fn of_many_unknown_fields_a_hundred_are_told_and_the_others_counted() {
    let scene = scene().await;
    let mut body = format!(r#"{{"workflow":{}"#, plain());
    for n in 0..20_000 {
        write!(body, r#","unknown{n}":0"#).unwrap();
    }
    let refusal = refused(&scene, body + "}", 422, "invalid_request").await;
    assert_eq!((refusal.pointers().len(), &refusal.body["more_errors"]), (100, &json!(19_900)));
    assert!(detail(&refusal).contains("and 19999 more"), "{}", detail(&refusal));
    scene.finish().await;
}

#[tokio::test]
async fn of_many_bad_nodes_a_hundred_faults_are_told() {
    let scene = scene().await;
    let shapeless: Value =
        (0..1_000).map(|n| (n.to_string(), json!(7))).collect::<serde_json::Map<_, _>>().into();
    let unknown: Value = (0..1_000)
        .map(|n| (n.to_string(), json!({"class_type": format!("Nope{n}"), "inputs": {"x": ["gone", 0]}})))
        .collect::<serde_json::Map<_, _>>()
        .into();
    for workflow in [shapeless, unknown] {
        let body = json!({ "workflow": workflow });
        let refusal = refused(&scene, body.to_string(), 422, "invalid_workflow").await;
        assert_eq!((refusal.pointers().len(), &refusal.body["more_errors"]), (100, &json!(900)));
        let validated = scene.gateway.validate(&body).await;
        assert_eq!(
            (validated["errors"].as_array().unwrap().len(), &validated["more_errors"]),
            (100, &json!(900))
        );
    }
    scene.finish().await;
}

#[tokio::test]
async fn limits_of_nodes_params_and_values_are_named() {
    let scene = scene().await;
    let nodes: serde_json::Map<_, _> =
        (0..1_001).map(|n| (n.to_string(), json!({"class_type": "A", "inputs": {}}))).collect();
    let refusal = refused(&scene, json!({ "workflow": nodes }).to_string(), 422, "invalid_workflow").await;
    assert!(detail(&refusal).contains("more than 1000 nodes (max_nodes)"), "{}", detail(&refusal));
    let params: serde_json::Map<_, _> = (0..51).map(|n| (n.to_string(), json!(0))).collect();
    let body = json!({ "workflow": plain(), "params": params });
    let refusal = refused(&scene, body.to_string(), 422, "invalid_request").await;
    assert!(detail(&refusal).contains("more than 50 members (max_params)"), "{}", detail(&refusal));
    let title = (0..51).map(|n| format!("$p{n}!")).collect::<Vec<_>>().join(",");
    let body = json!({"workflow": {"1": {"class_type": "A", "inputs": {}, "_meta": {"title": title}}}});
    let refusal = refused(&scene, body.to_string(), 422, "invalid_workflow").await;
    assert!(detail(&refusal).contains("it may declare 50 (max_params)"), "{}", detail(&refusal));
    let metadata = format!("[{}0]", "0,".repeat(500_000));
    let body = format!(r#"{{"workflow":{},"metadata":{{"x":{metadata}}}}}"#, plain());
    let refusal = refused(&scene, body, 413, "body_too_large").await;
    assert_eq!(refusal.body["limit"], 500_000);
    assert!(detail(&refusal).contains("(max_values)"), "{}", detail(&refusal));
    scene.finish().await;
}

#[tokio::test]
async fn names_are_cut_wherever_they_are_told() {
    let scene = scene().await;
    let long = "x".repeat(2 << 20);
    let title = format!("$a.{long}");
    let bodies = [
        (json!({ "workflow": plain(), &long: 1 }), "invalid_request"),
        (json!({ "workflow": plain(), "params": {&long: 1} }), "invalid_params"),
        (json!({ "workflow": plain(), "requires": {&long: 1} }), "invalid_request"),
        (json!({ "workflow": {&long: 7} }), "invalid_workflow"),
        (json!({ "workflow": {"1": {"class_type": &long, "inputs": {}}} }), "invalid_workflow"),
        (
            json!({ "workflow": {"1": {"class_type": "A", "inputs": {&long: [&long, 0]}}} }),
            "invalid_workflow",
        ),
        (
            json!({ "workflow": {"1": {"class_type": "A", "inputs": {}, "_meta": {"title": title}}} }),
            "invalid_workflow",
        ),
        (
            json!({ "workflow": {"1": {"class_type": "LoadImage", "inputs": {"image": format!("/{long}")}}} }),
            "invalid_workflow",
        ),
        (
            json!({ "workflow": {"1": {"class_type": "LabUI", "inputs": {"ui_json": "{}", &long: &long}}, &long: {"class_type": "Nope", "inputs": {}}} }),
            "invalid_workflow",
        ),
    ];
    for (body, code) in bodies {
        let refusal = refused(&scene, body.to_string(), 422, code).await;
        assert!(refusal.body.to_string().len() < 8_000, "{:.300}", refusal.body.to_string());
    }
    scene.finish().await;
}

#[tokio::test]
async fn numbers_that_json_cannot_mean_are_refused_wherever_they_stand() {
    let scene = scene().await;
    let sleep = |seconds: &str| {
        format!(
            r#"{{"1":{{"class_type":"LabSleep","inputs":{{"seconds":{seconds},"steps":1,"preview":false,"interruptible":true}}}}}}"#
        )
    };
    for body in [
        format!(r#"{{"workflow":{}}}"#, sleep("1e999")),
        format!(r#"{{"workflow":{},"params":{{"x":[-1e999]}}}}"#, plain()),
        format!(r#"{{"workflow":{},"metadata":{{"x":1{}}}}}"#, plain(), "0".repeat(400)),
    ] {
        let refusal = refused(&scene, body, 400, "malformed_json").await;
        assert!(detail(&refusal).contains("beyond the range of JSON numbers"), "{}", detail(&refusal));
    }
    scene.finish().await;
}

#[tokio::test]
async fn keys_of_the_envelope_that_are_given_twice_are_refused() {
    let scene = scene().await;
    let graph = plain();
    for (body, pointer) in [
        (format!(r#"{{"workflow":{graph},"priority":1,"priority":2}}"#), "/priority"),
        (format!(r#"{{"workflow":{graph},"workflow":{graph}}}"#), "/workflow"),
        (format!(r#"{{"workflow":{graph},"params":{{"a":1,"a":2}}}}"#), "/params"),
        (format!(r#"{{"workflow":{graph},"requires":{{"labels":[],"labels":["x"]}}}}"#), "/requires"),
    ] {
        let refusal = refused(&scene, body, 422, "invalid_request").await;
        assert_eq!(refusal.pointers(), [pointer]);
        assert!(detail(&refusal).contains("more than once"), "{}", detail(&refusal));
    }
    // A node's inputs are ComfyUI's matter: the last counts, as in Python.
    let twice = r#"{"workflow":{"1":{"class_type":"PreviewAny","inputs":{"source":"a","source":"b"}}}}"#;
    let accepted =
        scene.execute(twice.to_owned()).header(CONTENT_TYPE, "application/json").send().await.unwrap();
    assert_eq!(accepted.status(), 202);
    let id = accepted.json::<Value>().await.unwrap()["prompt_id"].as_str().unwrap().to_owned();
    assert_eq!(scene.gateway.result(&id).await["texts"], json!(["b"]));
    scene.finish().await;
}
