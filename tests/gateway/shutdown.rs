//! Graceful stops: they are prompt, answer waiting requests, and leave running jobs to the next start.

use std::time::Duration;

use comfy_gateway::clock::{Clock, SystemClock};
use comfy_gateway::simulator::{FaultRoute, RequestFault};
use serde_json::{Value, json};

use crate::support::{Gateway, assert_invariants, hold, picture, simulator, text};

/// The longest that a stop may take.
const PROMPT: Duration = Duration::from_secs(5);

#[tokio::test]
async fn a_stop_leaves_running_jobs_to_the_next_start() {
    let comfy = simulator().await;
    let gateway = Gateway::in_front_of(&[&comfy]).await;
    let (running, waiting) = (gateway.submit(hold("a")).await, gateway.submit(text("b", "")).await);
    let queued = gateway.submit(picture(1)).await;
    comfy.holding("a").await;
    comfy.queued(&waiting).await;
    let began = SystemClock.now();
    let left = gateway.stop().await;
    assert!(SystemClock.now().since(began) < PROMPT);
    assert_eq!((comfy.requests(FaultRoute::Interrupt).len(), comfy.runs(&queued).queued), (0, 0));
    let gateway = left.start().await;
    comfy.release("a");
    for id in [&running, &waiting, &queued] {
        let result = gateway.result(id).await;
        assert_eq!((&result["status"], &result["attempts"]), (&json!("completed"), &json!(1)), "{result:#}");
        assert_eq!(comfy.runs(id).queued, 1);
    }
    gateway.finish().await;
}

#[tokio::test]
async fn a_stop_claims_nothing_more() {
    let comfy = simulator().await;
    let mut gateway = Gateway::in_front_of(&[&comfy]).await;
    let running = [gateway.submit(hold("a")).await, gateway.submit(hold("a")).await];
    comfy.holding("a").await;
    comfy.queued(&running[1]).await;
    let queued = gateway.submit(picture(1)).await;
    for _ in 0..12 {
        gateway = gateway.stop().await.start().await;
        let now = gateway.job(&queued).await;
        assert_eq!((&now["status"], &now["attempts"]), (&json!("queued"), &json!(0)), "{now:#}");
    }
    comfy.release("a");
    comfy.release("a");
    for id in running.iter().chain([&queued]) {
        assert_eq!(gateway.result(id).await["attempts"], 1);
    }
    gateway.finish().await;
}

#[tokio::test]
async fn who_waits_for_a_job_is_answered_at_the_stop() {
    let comfy = simulator().await;
    let gateway = Gateway::in_front_of(&[&comfy]).await;
    let id = gateway.submit(hold("a")).await;
    comfy.holding("a").await;
    let wait = gateway.http.get(format!("{}/results/{id}?wait=60", gateway.base)).send();
    let execute = gateway
        .http
        .post(format!("{}/execute", gateway.base))
        .header("prefer", "wait=60")
        .json(&json!({ "workflow": hold("a") }))
        .send();
    let stop = async {
        // Both are being held once the second job is at the server.
        comfy.until(|record| record.requests(FaultRoute::Prompt) >= 2).await;
        gateway.stop().await
    };
    let (wait, execute, left) = tokio::join!(wait, execute, stop);
    let (wait, execute) = (wait.unwrap(), execute.unwrap());
    assert_eq!(
        (wait.status(), execute.status()),
        (reqwest::StatusCode::ACCEPTED, reqwest::StatusCode::ACCEPTED)
    );
    let second = execute.json::<Value>().await.unwrap()["prompt_id"].as_str().unwrap().to_owned();
    let gateway = left.start().await;
    comfy.release("a");
    comfy.release("a");
    for id in [&id, &second] {
        assert_eq!(gateway.result(id).await["status"], "completed");
        assert_eq!(comfy.runs(id).queued, 1);
    }
    gateway.finish().await;
}

#[tokio::test]
async fn a_stop_does_not_wait_for_a_server_that_hangs() {
    let comfy = simulator().await;
    let gateway = Gateway::in_front_of(&[&comfy]).await;
    comfy.faults().next(FaultRoute::View, 1, RequestFault::Hang);
    let id = gateway.submit(picture(1)).await;
    comfy.until(|record| record.hanging() == 1).await;
    let began = SystemClock.now();
    let left = gateway.stop().await;
    assert!(SystemClock.now().since(began) < PROMPT);
    let gateway = left.start().await;
    assert_eq!(gateway.result(&id).await["status"], "completed");
    assert_eq!(comfy.runs(&id).queued, 1);
    gateway.finish().await;
}

#[tokio::test]
async fn a_stop_with_nothing_to_do_leaves_a_closed_database() {
    let comfy = simulator().await;
    let gateway = Gateway::in_front_of(&[&comfy]).await;
    gateway.run(text("x", "")).await;
    let left = gateway.stop().await;
    assert!(!left.data.path().join("gateway.db-wal").exists(), "the log was written back");
    assert_invariants(left.data.path()).await;
}
