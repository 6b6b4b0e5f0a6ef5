//! Workflows of which ComfyUI would run only a part: refused, unless the job says that a part is enough.

use comfy_gateway::simulator::{FaultRoute, RequestFault};
use serde_json::{Value, json};

use crate::support::{Gateway, hold, picture, simulator, with_model};

/// A picture, and an output that needs a model which no backend has: the gateway foresees that ComfyUI refuses it.
fn without_model() -> Value {
    let mut workflow = picture(0x01_02_03);
    workflow["8"] = with_model("none.safetensors")["1"].clone();
    workflow["9"] = json!({"class_type": "PreviewAny", "inputs": {"source": ["8", 0]}, "_meta": {"title": "$output.model"}});
    workflow
}

/// A held output, and an output that needs a missing file, which only ComfyUI detects.
fn without_file() -> Value {
    let mut workflow = hold("part");
    workflow["8"] = json!({"class_type": "LoadImage", "inputs": {"image": "missing.png"}});
    workflow["9"] =
        json!({"class_type": "SaveImage", "inputs": {"images": ["8", 0], "filename_prefix": "x"}});
    workflow
}

fn assert_refused(result: &Value) {
    let error = &result["error"];
    assert_eq!(
        (&result["status"], &error["code"]),
        (&json!("failed"), &json!("invalid_workflow")),
        "{result:#}"
    );
}

#[tokio::test]
async fn a_workflow_one_of_whose_outputs_cannot_run_is_refused_before_it_is_queued() {
    let comfy = simulator().await;
    let gateway = Gateway::in_front_of(&[&comfy]).await;
    gateway.until_capabilities_known(1).await;
    let response = gateway.post("/execute", &json!({ "workflow": without_model() })).await;
    assert_eq!(response.status(), 422);
    let problem: Value = response.json().await.unwrap();
    assert_eq!(problem["code"], "invalid_workflow");
    assert_eq!(problem["errors"][0]["pointer"], "/workflow/8/inputs/ckpt_name");
    assert_eq!(problem["node_errors"]["8"]["errors"][0]["type"], "value_not_in_list");
    assert_eq!(comfy.requests(FaultRoute::Prompt).len(), 0);
    gateway.finish().await;
}

#[tokio::test]
async fn a_partial_job_completes_and_names_the_outputs_that_are_missing() {
    let comfy = simulator().await;
    let gateway = Gateway::in_front_of(&[&comfy]).await;
    gateway.until_capabilities_known(1).await;
    let id = gateway.execute(&json!({ "workflow": without_model(), "partial": true })).await;
    let result = gateway.result(&id).await;
    assert_eq!((&result["status"], &result["error"]), (&json!("completed"), &Value::Null), "{result:#}");
    assert_eq!(result["images_by_var"]["cover"].as_array().unwrap().len(), 1);
    let dropped = &result["dropped_outputs"];
    assert_eq!((&dropped[0]["node_id"], &dropped[0]["var"]), (&json!("9"), &json!("model")), "{dropped:#}");
    assert_eq!(dropped.as_array().unwrap().len(), 1);
    let reason = dropped[0]["reason"].as_str().unwrap();
    assert!(
        reason.starts_with("CheckpointLoaderSimple (node 8): ") && reason.contains("none.safetensors"),
        "{reason}"
    );
    assert!(result["msg"].as_str().unwrap().contains("the outputs model were not made"), "{result:#}");
    gateway.finish().await;
}

#[tokio::test]
async fn the_query_of_a_registered_workflow_says_partial_too() {
    let comfy = simulator().await;
    let gateway = Gateway::in_front_of(&[&comfy]).await;
    gateway.until_capabilities_known(1).await;
    let put = gateway.http.put(format!("{}/workflows/part", gateway.base)).json(&without_model());
    assert_eq!(put.send().await.unwrap().status(), 201);
    assert_eq!(gateway.post("/workflows/part/execute", &json!({})).await.status(), 422);
    let accepted = gateway.post("/workflows/part/execute?partial=true", &json!({})).await;
    assert_eq!(accepted.status(), 202);
    let id = accepted.json::<Value>().await.unwrap()["prompt_id"].as_str().unwrap().to_owned();
    assert_eq!(gateway.result(&id).await["dropped_outputs"][0]["node_id"], "9");
    gateway.finish().await;
}

#[tokio::test]
async fn what_only_comfyui_refuses_in_part_fails_and_its_run_is_ended() {
    let comfy = simulator().await;
    let gateway = Gateway::in_front_of(&[&comfy]).await;
    gateway.until_capabilities_known(1).await;
    let id = gateway.submit(without_file()).await;
    let result = gateway.result(&id).await;
    assert_refused(&result);
    let message = result["error"]["message"].as_str().unwrap();
    assert!(message.contains("LoadImage (node 8)") && message.contains("\"partial\": true"), "{message}");
    assert_eq!(
        (&result["error"]["node_id"], &result["error"]["node_type"]),
        (&json!("8"), &json!("LoadImage"))
    );
    assert!(result["error"]["node_errors"]["8"].is_object(), "{result:#}");
    assert_eq!((&result["attempts"], comfy.runs(&id).queued), (&json!(1), 1), "never tried again");
    // Nothing of it holds the backend up: the held node was interrupted.
    assert_eq!(gateway.run(picture(5)).await["status"], "completed");
    gateway.finish().await;
}

#[tokio::test]
async fn one_that_waits_in_the_queue_of_its_backend_is_withdrawn_and_never_runs() {
    let comfy = simulator().await;
    let gateway = Gateway::in_front_of(&[&comfy]).await;
    gateway.until_capabilities_known(1).await;
    let first = gateway.submit(hold("first")).await;
    comfy.holding("first").await;
    let id = gateway.submit(without_file()).await;
    assert_refused(&gateway.result(&id).await);
    assert_eq!((comfy.runs(&id).queued, comfy.runs(&id).started), (1, 0));
    comfy.release("first");
    assert_eq!(gateway.result(&first).await["status"], "completed");
    gateway.finish().await;
}

#[tokio::test]
async fn with_partial_it_runs_and_the_result_says_what_comfyui_refused() {
    let comfy = simulator().await;
    let gateway = Gateway::in_front_of(&[&comfy]).await;
    gateway.until_capabilities_known(1).await;
    let id = gateway.execute(&json!({ "workflow": without_file(), "partial": true })).await;
    comfy.holding("part").await;
    comfy.release("part");
    let result = gateway.result(&id).await;
    assert_eq!((&result["status"], &result["texts"]), (&json!("completed"), &json!(["part"])), "{result:#}");
    assert_eq!(result["dropped_outputs"][0]["node_id"], "9");
    gateway.finish().await;
}

#[tokio::test]
async fn a_gateway_killed_before_it_could_end_the_run_does_not_take_the_part_for_the_whole() {
    for partial in [false, true] {
        let comfy = simulator().await;
        let gateway = Gateway::in_front_of(&[&comfy]).await;
        gateway.until_capabilities_known(1).await;
        // The answer to the submit never comes; the job is queued there all the same.
        comfy.faults().next(FaultRoute::Prompt, 1, RequestFault::HangAfter);
        let id = gateway.execute(&json!({ "workflow": without_file(), "partial": partial })).await;
        comfy.holding("part").await;
        let gateway = gateway.kill().await.start().await;
        gateway.until_capabilities_known(1).await;
        comfy.release("part");
        let result = gateway.result(&id).await;
        if partial {
            assert_eq!(result["status"], "completed", "{result:#}");
            assert_eq!(result["dropped_outputs"][0]["node_id"], "9", "{result:#}");
        } else {
            assert_refused(&result);
            assert_eq!(result["error"]["node_id"], "9");
        }
        assert_eq!(comfy.runs(&id).queued, 1);
        gateway.finish().await;
    }
}

#[tokio::test]
async fn outputs_that_a_node_blocked_are_named_with_its_message() {
    let comfy = simulator().await;
    let gateway = Gateway::in_front_of(&[&comfy]).await;
    gateway.until_capabilities_known(1).await;
    comfy.until(|record| record.open_sockets() == 1).await;
    let blocked = |silent: bool| {
        json!({
            "1": {"class_type": "LabBlock", "inputs": {"message": "blocked!", "silent": silent}},
            "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "x"}, "_meta": {"title": "$output.cover"}},
            "3": {"class_type": "PrimitiveString", "inputs": {"value": "still here"}},
            "4": {"class_type": "PreviewAny", "inputs": {"source": ["3", 0]}}
        })
    };
    for (silent, reason) in [(false, "Execution Blocked: blocked!"), (true, "made no output")] {
        let result = gateway.run(blocked(silent)).await;
        assert_eq!(
            (&result["status"], &result["texts"]),
            (&json!("completed"), &json!(["still here"])),
            "{result:#}"
        );
        let dropped = &result["dropped_outputs"];
        assert_eq!(
            (&dropped[0]["node_id"], &dropped[0]["var"]),
            (&json!("2"), &json!("cover")),
            "{result:#}"
        );
        assert!(dropped[0]["reason"].as_str().unwrap().contains(reason), "{dropped:#}");
        assert_eq!(dropped.as_array().unwrap().len(), 1);
    }
    gateway.finish().await;
}
