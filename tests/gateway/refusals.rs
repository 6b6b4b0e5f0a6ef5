//! Jobs that ComfyUI answers with 500, or turns away, instead of judging them: the job is at fault, not the
//! backend.

use comfy_gateway::simulator::{FaultRoute, RequestFault};
use serde_json::{Value, json};

use crate::support::{Gateway, picture, simulator};

/// A node class that makes a simulated ComfyUI answer 500.
fn fatal() -> Value {
    json!({"1": {"class_type": "SimServerError", "inputs": {}}})
}

async fn states(gateway: &Gateway) -> Vec<Value> {
    let backends: Value = gateway.get("/backends").await.json().await.unwrap();
    backends["backends"].as_array().unwrap().iter().map(|backend| backend["state"].clone()).collect()
}

#[tokio::test]
async fn jobs_that_two_backends_answer_with_500_fail_and_take_no_backend_down() {
    let (one, two) = (simulator().await, simulator().await);
    let gateway = Gateway::in_front_of(&[&one, &two]).await;
    gateway.until_capabilities_known(2).await;
    let mut fatals = Vec::new();
    for _ in 0..6 {
        fatals.push(gateway.submit(fatal()).await);
    }
    for id in &fatals {
        let result = gateway.result(id).await;
        assert_eq!(
            (&result["status"], &result["error"]["code"]),
            (&json!("failed"), &json!("invalid_workflow")),
            "{result:#}"
        );
        let message = result["error"]["message"].as_str().unwrap();
        assert!(message.contains("500"), "{message}");
        let history = result["attempt_history"].as_array().unwrap();
        assert_eq!(history.len(), 2, "{result:#}");
        assert_ne!(history[0]["backend"], history[1]["backend"], "the second opinion is another backend's");
        assert_eq!(history[0]["outcome"], "refused");
    }
    assert_eq!(gateway.run(picture(1)).await["status"], "completed");
    assert_eq!(states(&gateway).await, ["up", "up"]);
    gateway.finish().await;
}

#[tokio::test]
async fn a_single_backend_stays_up_too() {
    let comfy = simulator().await;
    let gateway = Gateway::in_front_of(&[&comfy]).await;
    gateway.until_capabilities_known(1).await;
    for _ in 0..4 {
        let result = gateway.run(fatal()).await;
        assert_eq!((&result["error"]["code"], &result["attempts"]), (&json!("invalid_workflow"), &json!(2)));
    }
    assert_eq!(states(&gateway).await, ["up"]);
    assert_eq!(gateway.run(picture(1)).await["status"], "completed");
    gateway.finish().await;
}

#[tokio::test]
async fn a_proxy_that_turns_away_one_jobs_text_is_no_fault_of_the_backend() {
    let comfy = simulator().await;
    let gateway = Gateway::in_front_of(&[&comfy]).await;
    gateway.until_capabilities_known(1).await;
    // The job, the question whether others are judged, and the same again.
    for _ in 0..2 {
        comfy.faults().next(
            FaultRoute::Prompt,
            1,
            RequestFault::Status(403, "<html>blocked by policy".to_owned()),
        );
        comfy.faults().next(FaultRoute::Prompt, 1, RequestFault::Slow(std::time::Duration::ZERO));
    }
    let result = gateway.run(picture(1)).await;
    assert_eq!(
        (&result["error"]["code"], &result["attempts"]),
        (&json!("invalid_workflow"), &json!(2)),
        "{result:#}"
    );
    gateway.finish().await;
}

#[tokio::test]
async fn a_backend_that_answers_every_submission_with_500_is_at_fault_itself() {
    let (one, two) = (simulator().await, simulator().await);
    one.faults().always(FaultRoute::Prompt, RequestFault::Status(500, "disk full".to_owned()));
    let gateway = Gateway::in_front_of(&[&one, &two]).await;
    gateway.until_capabilities_known(2).await;
    for _ in 0..8 {
        assert_eq!(gateway.run(picture(1)).await["status"], "completed");
    }
    let faults = gateway.get("/metrics").await.text().await.unwrap();
    assert!(
        faults.lines().any(|line| line.contains("faults") && line.contains("gpu-1") && !line.ends_with(" 0")),
        "{faults}"
    );
    gateway.finish().await;
}
