//! Editor files over HTTP: warnings, and the names that markers in node titles define.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::scene::Scene;
use crate::support::editor_picture;

/// Polls until the gateway knows its backend's node classes.
async fn until_classes_known(scene: &Scene) {
    let file = editor_picture(1, "");
    crate::scene::poll_until(|| async {
        scene.gateway.post("/convert", &file).await.status() == StatusCode::OK
    })
    .await;
}

async fn converted(scene: &Scene, file: &Value) -> Value {
    let answer = scene.gateway.post("/convert", file).await;
    let status = answer.status();
    let body: Value = answer.json().await.unwrap();
    assert_eq!(status, 200, "{body:#}");
    body
}

/// A file whose picture lost its last value.
fn shortened() -> Value {
    let mut file = editor_picture(7, "$width");
    file["nodes"][0]["widgets_values"] = json!([48, 16]);
    file
}

#[tokio::test]
async fn warnings_name_the_node_and_come_with_the_graph_and_with_a_registration() {
    let scene = Scene::new().await;
    until_classes_known(&scene).await;
    let body = converted(&scene, &shortened()).await;
    let warnings = body["warnings"].as_array().unwrap();
    assert_eq!(warnings.len(), 1, "{body:#}");
    assert_eq!((&warnings[0]["node_id"], &warnings[0]["title"]), (&json!("1"), &json!("$width")));
    let message = warnings[0]["message"].as_str().unwrap();
    assert!(message.contains("batch_size") && message.contains("color"), "{message}");
    assert_eq!(body["workflow"]["1"]["inputs"]["width"], 48);

    let put = || scene.request(Method::PUT, "/workflows/short").json(&shortened());
    for (status, what) in [(201, "a new version"), (200, "the same once more")] {
        let answer = put().send().await.unwrap();
        assert_eq!(answer.status(), status, "{what}");
        let registered: Value = answer.json().await.unwrap();
        assert_eq!(
            (&registered["warnings"], &registered["version"]),
            (&body["warnings"], &json!(1)),
            "{what}"
        );
    }
    let found: Value = scene.gateway.get("/workflows/short").await.json().await.unwrap();
    assert_eq!(found["warnings"], json!([]), "they belong to the registration");
    scene.finish().await;
}

#[tokio::test]
async fn what_comes_of_a_file_runs_as_a_graph_and_a_file_in_its_wrapping_is_registered() {
    let scene = Scene::new().await;
    until_classes_known(&scene).await;
    let graph = converted(&scene, &editor_picture(3, "$color!")).await["workflow"].clone();
    let id = scene.gateway.execute(&json!({ "workflow": graph, "params": {"color": 4} })).await;
    assert_eq!(scene.gateway.result(&id).await["status"], "completed");
    let body =
        json!({ "workflow": editor_picture(3, "$color!"), "title": "Plain", "description": "One colour" });
    let answer = scene.request(Method::PUT, "/workflows/plain").json(&body).send().await.unwrap();
    let registered: Value = answer.json().await.unwrap();
    assert_eq!((&registered["title"], &registered["workflow"]), (&json!("Plain"), &graph), "{registered:#}");
    scene.finish().await;
}

#[tokio::test]
async fn a_marker_on_a_node_that_is_muted_declares_nothing() {
    let scene = Scene::new().await;
    until_classes_known(&scene).await;
    let mut file = editor_picture(3, "$color!");
    // Muted: the node is left out, and with it what it would have fed.
    file["nodes"][0]["mode"] = json!(2);
    let body = converted(&scene, &file).await;
    assert_eq!(body["workflow"]["1"], Value::Null, "{body:#}");
    let mut alone = editor_picture(3, "");
    alone["nodes"].as_array_mut().unwrap().push(json!({
        "id": 9, "type": "EmptyImage", "title": "$size.width!", "mode": 2, "inputs": [], "outputs": [], "widgets_values": [1, 1, 1, 1]
    }));
    let told =
        scene.refused_body(&json!({ "workflow": alone, "params": {"size": 3} }), 422, "invalid_params").await;
    assert!(told.words().contains("declares none"), "{}", told.words());
    scene.finish().await;
}

#[tokio::test]
async fn a_file_nested_too_deep_or_too_large_is_refused_with_the_limit() {
    let scene = Scene::with(|settings| settings.api.max_body = 20_000).await;
    until_classes_known(&scene).await;
    let (open, close) = ("[".repeat(120), "]".repeat(120));
    let deep = format!(r#"{{"nodes": [], "links": [], "extra": {open}{close}}}"#);
    let convert = |body: String| {
        scene.request(Method::POST, "/convert").header("content-type", "application/json").body(body)
    };
    let told = scene.refused(convert(deep), 422, "invalid_workflow").await;
    assert!(told.words().contains("100 levels"), "{}", told.words());
    let large = json!({ "nodes": [], "links": [], "extra": "x".repeat(20_000) }).to_string();
    assert_eq!(scene.refused(convert(large), 413, "body_too_large").await.body["limit"], 20_000);
    let plain = scene.request(Method::POST, "/convert").body("{}");
    scene.refused(plain, 415, "unsupported_media_type").await;
    scene.finish().await;
}
