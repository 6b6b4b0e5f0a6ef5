//! Jobs that fail at ComfyUI, and how their results report it.

use std::time::Duration;

use comfy_gateway::simulator::{FaultRoute, RequestFault};
use serde_json::{Value, json};

use crate::support::{Gateway, fails, hold, picture, picture_then_fails, shows, simulator};

#[tokio::test]
async fn a_workflow_that_comfyui_refuses_fails_with_its_node_and_every_reason() {
    let comfy = simulator().await;
    // A server that does not tell its classes: only itself can say what it refuses.
    comfy.faults().always(FaultRoute::ObjectInfo, RequestFault::Status(500, String::new()));
    let gateway = Gateway::in_front_of(&[&comfy]).await;
    let bad = json!({
        "1": {"class_type": "EmptyImage", "inputs": {"width": 0, "height": 32, "batch_size": 1}},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "x"}}
    });
    let id = gateway.submit(bad).await;
    let result = gateway.result(&id).await;
    let error = &result["error"];
    assert_eq!(
        (&result["status"], &error["code"]),
        (&json!("failed"), &json!("invalid_workflow")),
        "{result:#}"
    );
    assert_eq!((&error["node_id"], &error["node_type"]), (&json!("1"), &json!("EmptyImage")));
    assert_eq!(error["node_errors"]["1"]["errors"].as_array().unwrap().len(), 2);
    assert_eq!(result["msg"], error["message"]);
    assert_eq!((&result["attempts"], &error["retryable"]), (&json!(1), &json!(false)));
    assert_eq!(comfy.runs(&id).queued, 0);
    gateway.finish().await;
}

#[tokio::test]
async fn an_unknown_node_class_is_named() {
    let comfy = simulator().await;
    // A server that does not tell its classes: only itself can say what it refuses.
    comfy.faults().always(FaultRoute::ObjectInfo, RequestFault::Status(500, String::new()));
    let gateway = Gateway::in_front_of(&[&comfy]).await;
    let result = gateway.run(json!({ "7": {"class_type": "NoSuchNode", "inputs": {}} })).await;
    assert_eq!(result["error"]["code"], "invalid_workflow");
    assert!(result["msg"].as_str().unwrap().contains("NoSuchNode"), "{result:#}");
    assert_eq!(result["error"]["node_id"], "7");
    gateway.finish().await;
}

#[tokio::test]
async fn a_node_error_names_the_node_and_keeps_what_was_finished_before() {
    let comfy = simulator().await;
    let gateway = Gateway::with(&[&comfy], |settings| settings.service.expose_tracebacks = true).await;
    let id = gateway.submit(picture_then_fails("raise")).await;
    let result = gateway.result(&id).await;
    let error = &result["error"];
    assert_eq!((&result["status"], &error["code"]), (&json!("failed"), &json!("node_error")), "{result:#}");
    assert_eq!((&error["node_id"], &error["node_type"]), (&json!("3"), &json!("LabFail")));
    assert_eq!(error["exception_type"], "ValueError");
    assert!(error["traceback"].is_string() && result["msg"].as_str().unwrap().contains("boom"));
    assert_eq!((&result["attempts"], comfy.runs(&id).queued), (&json!(1), 1), "never tried again");
    assert!(gateway.bytes(&result["images_by_var"]["cover"][0]).await.starts_with(b"\x89PNG"));
    gateway.finish().await;
}

#[tokio::test]
async fn tracebacks_and_paths_of_a_server_are_for_the_operator_only() {
    let comfy = simulator().await;
    let gateway = Gateway::in_front_of(&[&comfy]).await;
    let mut workflow = fails("raise");
    workflow["1"]["inputs"]["message"] = json!("cannot read '/home/ann/Comfy UI/input/x.png'");
    let result = gateway.run(workflow).await;
    let error = &result["error"];
    assert_eq!((&error["exception_type"], &error["traceback"]), (&json!("ValueError"), &Value::Null));
    assert!(error["message"].as_str().unwrap().ends_with("ValueError: cannot read 'x.png'"), "{result:#}");
    assert!(!result.to_string().contains("home"), "{result:#}");
    let mut left = gateway.stop().await;
    left.settings.service.expose_tracebacks = true;
    let gateway = left.start().await;
    let result = gateway.job(result["prompt_id"].as_str().unwrap()).await;
    assert!(result["msg"].as_str().unwrap().contains("/home/ann"), "the store has all of it: {result:#}");
    assert!(result["error"]["traceback"].is_string());
    gateway.finish().await;
}

#[tokio::test]
async fn out_of_memory_is_tried_again() {
    let comfy = simulator().await;
    let gateway = Gateway::in_front_of(&[&comfy]).await;
    comfy.faults().out_of_memory(1);
    let id = gateway.submit(picture(6)).await;
    let result = gateway.result(&id).await;
    assert_eq!((&result["status"], &result["attempts"]), (&json!("completed"), &json!(2)), "{result:#}");
    assert_eq!((&result["msg"], &result["error"]), (&Value::Null, &Value::Null));
    assert_eq!(comfy.runs(&id).queued, 1, "the second attempt has an id of its own");
    assert_eq!(comfy.all_runs().len(), 2);
    gateway.finish().await;
}

#[tokio::test]
async fn out_of_memory_again_and_again_fails_the_job() {
    let comfy = simulator().await;
    let gateway = Gateway::with(&[&comfy], |settings| settings.scheduler.retry.max_attempts = 2).await;
    let result = gateway.run(picture_then_fails("oom")).await;
    let error = &result["error"];
    assert_eq!((&error["code"], &result["attempts"]), (&json!("out_of_memory"), &json!(2)), "{result:#}");
    assert_eq!((&error["node_id"], &error["retryable"]), (&json!("3"), &json!(true)));
    assert_eq!(result["images"].as_array().unwrap().len(), 1, "the last attempt's outputs are kept");
    gateway.finish().await;
}

#[tokio::test]
async fn a_job_that_somebody_else_interrupts_says_so() {
    let comfy = simulator().await;
    let gateway = Gateway::in_front_of(&[&comfy]).await;
    let id = gateway.submit(hold("a")).await;
    comfy.holding("a").await;
    gateway.http.post(format!("{}/interrupt", comfy.url())).send().await.unwrap();
    let result = gateway.result(&id).await;
    assert_eq!((&result["status"], &result["error"]["code"]), (&json!("failed"), &json!("interrupted")));
    assert_eq!(comfy.all_runs().len(), 1, "it is not run again");
    gateway.finish().await;
}

#[tokio::test]
async fn a_file_that_is_gone_is_made_anew_once_and_then_fails_the_job() {
    let comfy = simulator().await;
    let gateway = Gateway::in_front_of(&[&comfy]).await;
    std::fs::write(comfy.output_directory().join("there.bin"), "there").unwrap();
    let item = |name: &str, folder: &str| json!({"filename": name, "subfolder": folder, "type": "output"});
    let ui = json!({ "images": [item("gone.png", "deep"), item("there.bin", "")], "text": ["kept"] });
    let result = gateway.run(shows(&ui)).await;
    let error = &result["error"];
    assert_eq!((&result["status"], &error["code"]), (&json!("failed"), &json!("output_unavailable")));
    assert!(error["message"].as_str().unwrap().contains("deep/gone.png"), "{error:#}");
    assert_eq!(error["node_id"], "1");
    assert_eq!(gateway.bytes(&result["images"][0]).await, "there");
    assert_eq!((&result["texts"], &result["outputs"]["1"]["text"]), (&json!(["kept"]), &json!(["kept"])));
    assert_eq!(comfy.requests(FaultRoute::View).len(), 4, "a 404 is not asked again, but by the second run");
    assert_eq!((&result["attempts"], comfy.all_runs().len()), (&json!(2), 2));
    let history = result["attempt_history"].as_array().unwrap();
    assert!(history.iter().all(|attempt| attempt["outcome"] == "output_unavailable"), "{history:#?}");
    gateway.finish().await;
}

#[tokio::test]
async fn a_file_that_breaks_off_is_fetched_again() {
    let comfy = simulator().await;
    let gateway = Gateway::in_front_of(&[&comfy]).await;
    comfy.faults().next(FaultRoute::View, 1, RequestFault::Truncate);
    comfy.faults().next(FaultRoute::View, 1, RequestFault::Status(500, "busy".to_owned()));
    let result = gateway.run(picture(7)).await;
    assert_eq!((&result["status"], &result["attempts"]), (&json!("completed"), &json!(1)), "{result:#}");
    let stored = gateway.bytes(&result["images"][0]).await;
    let original = std::fs::read(comfy.output_directory().join("test_00001_.png")).unwrap();
    assert!(stored == original, "no half of a file is left in it");
    assert_eq!(result["media"][0]["bytes"], original.len());
    gateway.finish().await;
}

#[tokio::test]
async fn a_file_that_never_arrives_fails_the_job_but_is_not_run_again() {
    let comfy = simulator().await;
    let gateway = Gateway::in_front_of(&[&comfy]).await;
    comfy.faults().always(FaultRoute::View, RequestFault::Truncate);
    let result = gateway.run(picture(7)).await;
    assert_eq!(result["error"]["code"], "output_unavailable", "{result:#}");
    assert!(result["msg"].as_str().unwrap().contains("test_00001_.png"));
    assert_eq!((comfy.requests(FaultRoute::View).len(), comfy.all_runs().len()), (3, 1));
    gateway.finish().await;
}

#[tokio::test]
async fn a_file_that_stalls_is_given_up_and_fetched_again() {
    let comfy = simulator().await;
    let gateway = Gateway::with(&[&comfy], |settings| {
        let timeouts = &mut settings.backends[0].endpoint.timeouts;
        (timeouts.request, timeouts.stall) = (Duration::from_millis(300), Duration::from_millis(300));
    })
    .await;
    comfy.faults().next(FaultRoute::View, 1, RequestFault::Hang);
    let result = gateway.run(picture(8)).await;
    assert_eq!(result["status"], "completed", "{result:#}");
    comfy.faults().release_hanging();
    gateway.finish().await;
}

#[tokio::test]
async fn empty_and_large_files_arrive_whole() {
    let comfy = simulator().await;
    let gateway = Gateway::in_front_of(&[&comfy]).await;
    let large: Vec<u8> = (0..20_u32 << 20).map(|at| at.to_le_bytes()[(at % 3) as usize]).collect();
    std::fs::write(comfy.output_directory().join("large.bin"), &large).unwrap();
    std::fs::write(comfy.output_directory().join("empty.bin"), "").unwrap();
    let item = |name: &str| json!({"filename": name, "subfolder": "", "type": "output"});
    let result = gateway.run(shows(&json!({ "things": [item("large.bin"), item("empty.bin")] }))).await;
    assert_eq!(result["status"], "completed", "{result:#}");
    assert!(gateway.bytes(&result["files"][0]).await == large);
    assert_eq!(gateway.bytes(&result["files"][1]).await, "");
    assert_eq!(
        (&result["media"][0]["bytes"], &result["media"][1]["bytes"]),
        (&json!(large.len()), &json!(0))
    );
    gateway.finish().await;
}

#[tokio::test]
async fn a_server_that_dies_at_every_try_loses_the_job_for_good() {
    let comfy = simulator().await;
    let gateway = Gateway::with(&[&comfy], |settings| settings.scheduler.retry.max_attempts = 2).await;
    let id = gateway.submit(fails("exit")).await;
    comfy.crashed().await;
    comfy.restart().await.unwrap();
    comfy.until(|record| record.requests(FaultRoute::Prompt) >= 2).await;
    let result = gateway.result(&id).await;
    assert_eq!(
        (&result["error"]["code"], &result["attempts"]),
        (&json!("backend_lost"), &json!(2)),
        "{result:#}"
    );
    assert!(result["msg"].as_str().unwrap().contains("gpu-1"), "{result:#}");
    gateway.finish().await;
}
