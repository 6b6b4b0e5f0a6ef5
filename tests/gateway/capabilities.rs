//! When the gateway reads the node classes of its backends, and how it uses them.

use comfy_gateway::simulator::{FaultRoute, RequestFault, Simulator};
use serde_json::{Value, json};

use crate::support::{Gateway, editor_picture, picture, poll, simulator};

fn class_requests(comfy: &Simulator) -> usize {
    comfy.requests(FaultRoute::ObjectInfo).len()
}

async fn convert(gateway: &Gateway) -> u16 {
    gateway.post("/convert", &editor_picture(1, "")).await.status().as_u16()
}

#[tokio::test]
async fn the_classes_are_read_once_and_again_after_a_restart() {
    let comfy = simulator().await;
    let gateway = Gateway::in_front_of(&[&comfy]).await;
    comfy.until(|record| record.requests(FaultRoute::ObjectInfo) == 1).await;
    for _ in 0..3 {
        assert_eq!(convert(&gateway).await, 200);
    }
    assert_eq!(class_requests(&comfy), 1);
    comfy.crash().await;
    comfy.restart().await.unwrap();
    comfy.until(|record| record.requests(FaultRoute::ObjectInfo) >= 2).await;
    // The classes stay known while the backend is down.
    comfy.crash().await;
    assert_eq!(convert(&gateway).await, 200);
    gateway.finish().await;
}

#[tokio::test]
async fn a_backend_with_unknown_classes_runs_jobs_all_the_same() {
    let comfy = simulator().await;
    comfy.faults().always(FaultRoute::ObjectInfo, RequestFault::Garbage);
    let gateway = Gateway::in_front_of(&[&comfy]).await;
    assert_eq!(gateway.run(picture(1)).await["status"], "completed");
    assert_eq!(convert(&gateway).await, 503);
    comfy.faults().clear();
    // The classes are read again in the background, and for each request that needs them.
    poll(async || (convert(&gateway).await == 200).then_some(())).await;
    gateway.finish().await;
}

#[tokio::test]
async fn a_class_that_comfyui_replaces_by_another_is_not_missing() {
    let comfy = simulator().await;
    let gateway = Gateway::in_front_of(&[&comfy]).await;
    comfy.until(|record| record.requests(FaultRoute::ObjectInfo) > 0).await;
    poll(async || (convert(&gateway).await == 200).then_some(())).await;
    let mut workflow = picture(7);
    workflow["1"]["class_type"] = json!("SimEmptyImage");
    let result = gateway.run(workflow.clone()).await;
    assert_eq!(result["status"], "completed", "{result:#}");
    workflow["1"]["class_type"] = json!("SimEmptyImageOfOld");
    let answer = gateway.post("/execute", &json!({ "workflow": workflow })).await;
    assert_eq!(answer.status(), 422);
    gateway.finish().await;
}

#[tokio::test]
async fn the_classes_of_one_backend_are_enough_for_a_conversion() {
    let (one, two) = (simulator().await, simulator().await);
    one.faults().always(FaultRoute::ObjectInfo, RequestFault::Status(500, String::new()));
    let gateway = Gateway::in_front_of(&[&one, &two]).await;
    two.until(|record| record.requests(FaultRoute::ObjectInfo) > 0).await;
    poll(async || (convert(&gateway).await == 200).then_some(())).await;
    let body = json!({ "workflow": editor_picture(1, "") });
    let id = gateway.execute(&body).await;
    let result: Value = gateway.result(&id).await;
    assert_eq!(result["status"], "completed");
    gateway.finish().await;
}
