//! Runs on backends that answer badly, lose their history, or crash.

use std::time::Duration;

use comfy_gateway::simulator::{FaultRoute, RequestFault};
use serde_json::json;

use crate::support::{Gateway, hold, picture, simulator, text};

/// A held job whose looks meet `fault` three times still completes at its first attempt.
async fn survives(fault: RequestFault) {
    let comfy = simulator().await;
    let gateway = Gateway::with(&[&comfy], |settings| {
        settings.backends[0].endpoint.timeouts.request = Duration::from_millis(300);
    })
    .await;
    let id = gateway.submit(hold("a")).await;
    comfy.holding("a").await;
    let before = comfy.requests(FaultRoute::History).len();
    comfy.faults().next(FaultRoute::History, 3, fault.clone());
    comfy.release("a");
    comfy.until(|record| record.requests(FaultRoute::History) >= before + 3).await;
    let result = gateway.result(&id).await;
    assert_eq!(
        (&result["status"], &result["attempts"]),
        (&json!("completed"), &json!(1)),
        "{fault:?} {result:#}"
    );
    assert_eq!((&result["texts"], comfy.runs(&id).queued), (&json!(["a"]), 1), "{fault:?}");
    comfy.faults().clear();
    gateway.finish().await;
}

#[tokio::test]
async fn a_history_that_answers_500() {
    survives(RequestFault::Status(500, "Internal Server Error".to_owned())).await;
}

#[tokio::test]
async fn a_history_that_is_no_json() {
    survives(RequestFault::Garbage).await;
}

#[tokio::test]
async fn a_history_that_is_no_object() {
    survives(RequestFault::Body("[1, 2".to_owned())).await;
}

#[tokio::test]
async fn a_history_that_breaks_off() {
    survives(RequestFault::Truncate).await;
}

#[tokio::test]
async fn a_history_that_breaks_before_it_answers() {
    survives(RequestFault::DropBefore).await;
}

#[tokio::test]
async fn a_history_that_hangs() {
    survives(RequestFault::Hang).await;
}

#[tokio::test]
async fn a_run_that_its_server_forgets_is_run_again_under_a_new_id() {
    let comfy = simulator().await;
    let gateway = Gateway::in_front_of(&[&comfy]).await;
    let id = gateway.submit(hold("a")).await;
    comfy.holding("a").await;
    comfy.forget(&id);
    comfy.until(|record| record.requests(FaultRoute::Prompt) == 2 && record.is_holding("a")).await;
    comfy.release("a");
    let result = gateway.result(&id).await;
    assert_eq!((&result["status"], &result["attempts"]), (&json!("completed"), &json!(2)), "{result:#}");
    assert_eq!(comfy.runs(&id).queued, 1, "its old id is not used again");
    assert_eq!(comfy.all_runs().len(), 2);
    gateway.finish().await;
}

#[tokio::test]
async fn a_server_that_restarts_in_mid_job_runs_it_again() {
    let comfy = simulator().await;
    let gateway = Gateway::in_front_of(&[&comfy]).await;
    let (running, waiting) = (gateway.submit(hold("a")).await, gateway.submit(text("b", "")).await);
    comfy.holding("a").await;
    comfy.queued(&waiting).await;
    comfy.restart().await.unwrap();
    comfy.holding("a").await;
    comfy.release("a");
    for id in [&running, &waiting] {
        let result = gateway.result(id).await;
        assert_eq!((&result["status"], &result["attempts"]), (&json!("completed"), &json!(2)), "{result:#}");
    }
    let succeeded: u32 = comfy.all_runs().iter().map(|(_, runs)| runs.succeeded).sum();
    assert_eq!(succeeded, 2);
    gateway.finish().await;
}

#[tokio::test]
async fn a_server_that_is_down_for_a_while_gets_the_job_again() {
    let comfy = simulator().await;
    let gateway = Gateway::in_front_of(&[&comfy]).await;
    let id = gateway.submit(hold("a")).await;
    comfy.holding("a").await;
    comfy.crash().await;
    let waiting = gateway.until(&id, |body| body["status"] == "queued").await;
    assert!(waiting["msg"].as_str().unwrap().contains("gpu-1"), "it says why it waits: {waiting:#}");
    comfy.restart().await.unwrap();
    comfy.holding("a").await;
    comfy.release("a");
    let result = gateway.result(&id).await;
    assert_eq!((&result["status"], &result["msg"]), (&json!("completed"), &json!(null)), "{result:#}");
    gateway.finish().await;
}

#[tokio::test]
async fn a_server_that_cannot_be_reached_for_long_loses_the_run_to_another() {
    let (silent, other) = (simulator().await, simulator().await);
    let gateway = Gateway::with(&[&silent, &other], |settings| {
        settings.scheduler.lost_after = Duration::from_millis(600);
        for backend in &mut settings.backends {
            backend.slots = 1;
            backend.endpoint.timeouts.request = Duration::from_millis(200);
        }
    })
    .await;
    silent.until(|record| record.open_sockets() == 1).await;
    other.until(|record| record.open_sockets() == 1).await;
    let (one, two) = (gateway.submit(hold("a")).await, gateway.submit(hold("a")).await);
    silent.holding("a").await;
    other.holding("a").await;
    silent.faults().always(FaultRoute::All, RequestFault::Hang);
    silent.drop_websockets();
    other.release("a");
    other.release("a");
    for id in [&one, &two] {
        let result = gateway.result(id).await;
        assert_eq!(
            (&result["status"], &result["backend"]),
            (&json!("completed"), &json!("gpu-2")),
            "{result:#}"
        );
    }
    silent.faults().clear();
    gateway.finish().await;
}

#[tokio::test]
async fn a_short_silence_of_a_server_loses_nothing() {
    let comfy = simulator().await;
    let gateway = Gateway::with(&[&comfy], |settings| {
        settings.backends[0].endpoint.timeouts.request = Duration::from_millis(200);
        settings.scheduler.lost_after = Duration::from_mins(1);
    })
    .await;
    let id = gateway.submit(hold("a")).await;
    comfy.holding("a").await;
    comfy.faults().always(FaultRoute::All, RequestFault::Hang);
    comfy.drop_websockets();
    let before = comfy.requests(FaultRoute::History).len() + comfy.requests(FaultRoute::Queue).len();
    comfy
        .until(|record| {
            record.requests(FaultRoute::History) + record.requests(FaultRoute::Queue) >= before + 4
        })
        .await;
    comfy.faults().clear();
    comfy.release("a");
    let result = gateway.result(&id).await;
    assert_eq!((&result["status"], &result["attempts"]), (&json!("completed"), &json!(1)), "{result:#}");
    assert_eq!(comfy.runs(&id).queued, 1);
    gateway.finish().await;
}

#[tokio::test]
async fn a_job_of_which_every_run_is_lost_fails() {
    let comfy = simulator().await;
    let gateway = Gateway::with(&[&comfy], |settings| settings.scheduler.retry.max_attempts = 2).await;
    let id = gateway.submit(hold("a")).await;
    comfy.holding("a").await;
    comfy.forget(&id);
    comfy.until(|record| record.requests(FaultRoute::Prompt) == 2 && record.is_holding("a")).await;
    let second = comfy.all_runs().into_iter().map(|(id, _)| id).find(|other| *other != id).unwrap();
    comfy.started(&second).await;
    comfy.forget(&second);
    let result = gateway.result(&id).await;
    let error = &result["error"];
    assert_eq!((&result["status"], &error["code"]), (&json!("failed"), &json!("backend_lost")), "{result:#}");
    assert_eq!((&result["attempts"], &error["retryable"]), (&json!(2), &json!(true)));
    assert_eq!(gateway.run(picture(1)).await["status"], "completed");
    gateway.finish().await;
}
