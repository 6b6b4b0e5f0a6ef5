//! Workflows that no backend can run: each error names the place and a remedy.

use serde_json::{Value, json};

use crate::scene::{Refusal, Scene, plain};

async fn refused(scene: &Scene, workflow: Value) -> Refusal {
    scene.refused_body(&json!({ "workflow": workflow }), 422, "invalid_workflow").await
}

#[tokio::test]
async fn a_missing_workflow() {
    let scene = Scene::new().await;
    let refusal = scene.refused_body(&json!({}), 422, "invalid_request").await;
    assert_eq!(refusal.pointers(), ["/workflow"]);
    scene.finish().await;
}

#[tokio::test]
async fn an_empty_one_an_array_and_other_shapes() {
    let scene = Scene::new().await;
    for workflow in [json!({}), json!([]), json!([plain()]), json!("name"), json!(7), json!(true)] {
        let refusal = refused(&scene, workflow).await;
        assert_eq!(refusal.pointers(), ["/workflow"]);
    }
    scene.finish().await;
}

#[tokio::test]
async fn a_whole_request_to_comfyui_says_which_part_is_the_workflow() {
    let scene = Scene::new().await;
    let refusal = refused(&scene, json!({ "prompt": plain(), "client_id": "x" })).await;
    assert!(refusal.words().contains("`prompt`"), "{}", refusal.words());
    scene.finish().await;
}

#[tokio::test]
async fn broken_links_where_no_output_depends_on_them_are_run_as_comfyui_runs_them() {
    let scene = Scene::new().await;
    let mut workflow = crate::support::picture(1);
    workflow["7"] = json!({"class_type": "ImageInvert", "inputs": {"image": ["8", 0]}});
    workflow["8"] = json!({"class_type": "ImageInvert", "inputs": {"image": ["7", 0]}});
    workflow["9"] = json!({"class_type": "ImageInvert", "inputs": {"image": ["99", 0]}});
    // The links are broken, but no output needs them. Only a backend whose node classes are known shows that.
    let request = json!({ "workflow": workflow });
    crate::scene::poll_until(|| async {
        scene.gateway.post("/validate", &request).await.json::<Value>().await.unwrap()["ok"] == true
    })
    .await;
    assert_eq!(scene.gateway.run(workflow.clone()).await["status"], "completed");
    workflow["2"]["inputs"]["images"] = json!(["7", 0]);
    let refusal = refused(&scene, workflow).await;
    assert!(refusal.words().contains("cycle"), "{}", refusal.words());
    scene.finish().await;
}

#[tokio::test]
async fn one_deeper_than_a_hundred_levels() {
    let scene = Scene::new().await;
    let nested = |levels: usize| {
        let (open, close) = ("[".repeat(levels), "]".repeat(levels));
        format!(
            r#"{{"workflow":{{"1":{{"class_type":"PreviewAny","inputs":{{"source":"x","deep":{open}{close}}}}}}}}}"#
        )
    };
    for levels in [98, 200, 20_000] {
        let refusal = scene.refused(scene.execute(nested(levels)), 422, "invalid_workflow").await;
        assert!(refusal.words().contains("100 levels"), "{}", refusal.words());
    }
    let answer = scene.execute(nested(97)).header("prefer", "wait=20").send().await.unwrap();
    assert_eq!(answer.status(), 200);
    scene.finish().await;
}

#[tokio::test]
async fn a_link_to_a_missing_node() {
    let scene = Scene::new().await;
    let refusal =
        refused(&scene, json!({ "1": {"class_type": "SaveImage", "inputs": {"images": ["77", 0]}} })).await;
    assert_eq!(refusal.pointers(), ["/workflow/1/inputs/images"]);
    assert_eq!(refusal.body["errors"][0]["node_id"], "1");
    assert!(refusal.words().contains("\"77\""));
    scene.finish().await;
}

#[tokio::test]
async fn a_cycle() {
    let scene = Scene::new().await;
    let cycle = json!({
        "1": {"class_type": "ImageInvert", "inputs": {"image": ["2", 0]}},
        "2": {"class_type": "ImageInvert", "inputs": {"image": ["1", 0]}},
        "3": {"class_type": "SaveImage", "inputs": {"images": ["2", 0]}}
    });
    let refusal = refused(&scene, cycle).await;
    assert!(["/workflow/1", "/workflow/2"].contains(&refusal.pointers()[0]), "{:?}", refusal.pointers());
    let itself =
        refused(&scene, json!({ "1": {"class_type": "ImageInvert", "inputs": {"image": ["1", 0]}} })).await;
    assert_eq!(itself.pointers(), ["/workflow/1"]);
    scene.finish().await;
}

#[tokio::test]
async fn nodes_without_what_a_node_needs_are_all_named() {
    let scene = Scene::new().await;
    let broken = json!({
        "1": {"inputs": {}}, "2": {"class_type": "X"}, "3": {"class_type": 7, "inputs": []}, "4": "node", "a/b": null
    });
    let refusal = refused(&scene, broken).await;
    assert_eq!(
        refusal.pointers(),
        [
            "/workflow/1/class_type",
            "/workflow/2/inputs",
            "/workflow/3/class_type",
            "/workflow/3/inputs",
            "/workflow/4",
            "/workflow/a~1b"
        ]
    );
    scene.finish().await;
}

#[tokio::test]
async fn markers_that_mean_nothing_and_parameters_without_a_default() {
    let scene = Scene::new().await;
    let broken = json!({
        "1": {"class_type": "X", "inputs": {}, "_meta": {"title": "$"}},
        "2": {"class_type": "X", "inputs": {"text": ["1", 0]}, "_meta": {"title": "$text"}}
    });
    let refusal = refused(&scene, broken).await;
    assert_eq!(refusal.body["errors"].as_array().unwrap().len(), 2, "{:#}", refusal.body);
    assert_eq!(refusal.body["errors"][0]["node_id"], "1");
    assert_eq!(refusal.body["errors"][1]["node_id"], "2");
    scene.finish().await;
}
