//! Time limits: of the run, and of the wait.

use serde_json::json;

use crate::support::{Gateway, hold, picture, simulator, text};

#[tokio::test]
async fn a_job_that_runs_too_long_is_interrupted() {
    let comfy = simulator().await;
    let gateway = Gateway::in_front_of(&[&comfy]).await;
    let id = gateway.execute(&json!({ "workflow": hold("a"), "timeout": 0.3 })).await;
    let result = gateway.result(&id).await;
    assert_eq!(
        (&result["status"], &result["error"]["code"]),
        (&json!("failed"), &json!("timeout")),
        "{result:#}"
    );
    assert!(result["msg"].as_str().unwrap().contains("0.3 s"), "{result:#}");
    assert_eq!(comfy.runs(&id).failed, 1, "the server has given it up");
    assert_eq!((&result["attempts"], &result["error"]["retryable"]), (&json!(1), &json!(false)));
    assert_eq!(gateway.run(text("the gpu is free", "")).await["status"], "completed");
    gateway.finish().await;
}

#[tokio::test]
async fn without_a_websocket_the_limit_holds_all_the_same() {
    let comfy = simulator().await;
    comfy.faults().always(
        comfy_gateway::simulator::FaultRoute::Ws,
        comfy_gateway::simulator::RequestFault::Status(403, String::new()),
    );
    let gateway = Gateway::in_front_of(&[&comfy]).await;
    let id = gateway.execute(&json!({ "workflow": hold("a"), "timeout": 0.1 })).await;
    assert_eq!(gateway.result(&id).await["error"]["code"], "timeout");
    assert_eq!(comfy.runs(&id).failed, 1);
    gateway.finish().await;
}

#[tokio::test]
async fn waiting_in_comfyuis_queue_does_not_count() {
    let comfy = simulator().await;
    let gateway = Gateway::in_front_of(&[&comfy]).await;
    let first = gateway.submit(hold("a")).await;
    comfy.holding("a").await;
    let patient = gateway.execute(&json!({ "workflow": picture(1), "timeout": 0.3 })).await;
    comfy.queued(&patient).await;
    // A job with the same limit that runs in the meantime on another server shows that the time has passed.
    let other = simulator().await;
    let witness = Gateway::in_front_of(&[&other]).await;
    let late = witness.execute(&json!({ "workflow": hold("b"), "timeout": 0.6 })).await;
    assert_eq!(witness.result(&late).await["error"]["code"], "timeout");
    assert_eq!(gateway.job(&patient).await["status"], "running");
    comfy.release("a");
    for id in [first, patient] {
        assert_eq!(gateway.result(&id).await["status"], "completed");
    }
    gateway.finish().await;
    witness.finish().await;
}

#[tokio::test]
async fn a_job_that_no_server_takes_in_time_fails() {
    let comfy = simulator().await;
    let gateway = Gateway::with(&[&comfy], |settings| settings.backends[0].slots = 1).await;
    let running = gateway.submit(hold("a")).await;
    comfy.holding("a").await;
    let impatient = gateway.execute(&json!({ "workflow": picture(1), "queue_timeout": 0.2 })).await;
    let result = gateway.result(&impatient).await;
    let error = &result["error"];
    assert_eq!(
        (&result["status"], &error["code"]),
        (&json!("failed"), &json!("queue_timeout")),
        "{result:#}"
    );
    assert_eq!((&result["attempts"], &result["msg"]), (&json!(0), &error["message"]));
    comfy.release("a");
    assert_eq!(gateway.result(&running).await["status"], "completed");
    assert_eq!(comfy.runs(&impatient).queued, 0);
    gateway.finish().await;
}

#[tokio::test]
async fn a_job_that_was_taken_in_time_may_run_longer_than_its_wait() {
    let comfy = simulator().await;
    let gateway = Gateway::in_front_of(&[&comfy]).await;
    let body = json!({ "workflow": hold("a"), "queue_timeout": 0.4 });
    let id = gateway.execute(&body).await;
    comfy.holding("a").await;
    let blocked = simulator().await;
    blocked.crash().await;
    let witness = Gateway::in_front_of(&[&blocked]).await;
    let late = witness.execute(&body).await;
    assert_eq!(witness.result(&late).await["error"]["code"], "queue_timeout");
    comfy.release("a");
    assert_eq!(gateway.result(&id).await["status"], "completed");
    gateway.finish().await;
    witness.finish().await;
}
