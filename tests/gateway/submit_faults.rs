//! Handing a job over when the answer does not say whether it arrived: it must run, and only once.

use std::time::Duration;

use comfy_gateway::simulator::{FaultRoute, RequestFault, Simulator};
use serde_json::json;

use crate::support::{Gateway, Settings, hold, picture, simulator, text};

/// How often anything was run in all.
fn runs(comfy: &Simulator) -> u32 {
    comfy.all_runs().iter().map(|(_, runs)| runs.started).sum()
}

fn impatient(settings: &mut Settings) {
    settings.backends[0].endpoint.timeouts.request = Duration::from_millis(300);
}

/// A job that meets `fault` at its submit completes after that many attempts, and has run once.
async fn survives(fault: RequestFault, adjust: fn(&mut Settings), attempts: u32) {
    let comfy = simulator().await;
    let gateway = Gateway::with(&[&comfy], adjust).await;
    comfy.faults().next(FaultRoute::Prompt, 1, fault.clone());
    let id = gateway.submit(picture(1)).await;
    let result = gateway.result(&id).await;
    assert_eq!(
        (&result["status"], &result["attempts"]),
        (&json!("completed"), &json!(attempts)),
        "{fault:?} {result:#}"
    );
    assert_eq!(runs(&comfy), 1, "{fault:?}");
    comfy.faults().clear();
    gateway.finish().await;
    assert_eq!(runs(&comfy), 1, "{fault:?}");
}

#[tokio::test]
async fn a_connection_that_breaks_after_the_job_arrived() {
    survives(RequestFault::DropAfter, |_| {}, 1).await;
}

#[tokio::test]
async fn a_connection_that_breaks_before_the_job_arrived() {
    survives(RequestFault::DropBefore, |_| {}, 2).await;
}

#[tokio::test]
async fn an_answer_that_breaks_off() {
    survives(RequestFault::Truncate, |_| {}, 1).await;
}

#[tokio::test]
async fn a_500_in_place_of_an_answer() {
    survives(RequestFault::Status(500, "<html>boom".to_owned()), |_| {}, 2).await;
}

#[tokio::test]
async fn a_proxys_error_page() {
    survives(RequestFault::Status(502, "bad gateway".to_owned()), |_| {}, 2).await;
}

#[tokio::test]
async fn an_answer_that_is_no_json() {
    survives(RequestFault::Garbage, |_| {}, 2).await;
}

#[tokio::test]
async fn an_answer_that_never_comes_though_the_job_arrived() {
    survives(RequestFault::HangAfter, impatient, 1).await;
}

#[tokio::test]
async fn a_request_that_hangs_before_the_job_arrived() {
    survives(RequestFault::Hang, impatient, 2).await;
}

#[tokio::test]
async fn a_server_that_turns_the_job_away_once() {
    survives(RequestFault::Status(401, "who are you?".to_owned()), |_| {}, 2).await;
}

#[tokio::test]
async fn a_server_that_turns_every_job_away_fails_it_with_the_reason() {
    let comfy = simulator().await;
    let gateway = Gateway::with(&[&comfy], |settings| settings.scheduler.retry.max_attempts = 2).await;
    comfy.faults().always(FaultRoute::Prompt, RequestFault::Status(401, "who are you?".to_owned()));
    let result = gateway.run(picture(1)).await;
    assert_eq!(
        (&result["error"]["code"], &result["attempts"]),
        (&json!("backend_lost"), &json!(2)),
        "{result:#}"
    );
    let msg = result["msg"].as_str().unwrap();
    assert!(msg.contains("gpu-1") && msg.contains("401"), "{msg}");
    gateway.finish().await;
}

#[tokio::test]
async fn a_job_that_is_already_in_history_when_it_is_looked_for_is_not_run_again() {
    let comfy = simulator().await;
    let gateway = Gateway::in_front_of(&[&comfy]).await;
    comfy.faults().next(FaultRoute::Prompt, 1, RequestFault::DropAfter);
    comfy.faults().next(FaultRoute::Queue, 2, RequestFault::Status(503, String::new()));
    let id = gateway.submit(text("fast", "")).await;
    comfy.finished(&id).await;
    let result = gateway.result(&id).await;
    assert_eq!((&result["texts"], &result["attempts"]), (&json!(["fast"]), &json!(1)));
    assert_eq!(comfy.runs(&id).queued, 1);
    gateway.finish().await;
}

#[tokio::test]
async fn a_server_that_refuses_connections_gets_its_job_when_it_is_back() {
    let comfy = simulator().await;
    let gateway = Gateway::in_front_of(&[&comfy]).await;
    assert_eq!(gateway.run(text("up", "")).await["status"], "completed");
    comfy.crash().await;
    let id = gateway.submit(text("down", "")).await;
    gateway.until_status("/readyz", 503).await;
    gateway.until(&id, |body| body["status"] == "queued").await;
    comfy.restart().await.unwrap();
    let result = gateway.result(&id).await;
    assert_eq!((&result["status"], &result["error"]), (&json!("completed"), &json!(null)), "{result:#}");
    gateway.finish().await;
}

#[tokio::test]
async fn a_job_that_one_server_cannot_take_goes_to_the_other() {
    let (dead, alive) = (simulator().await, simulator().await);
    let gateway = Gateway::in_front_of(&[&dead, &alive]).await;
    dead.until(|record| record.open_sockets() == 1).await;
    alive.until(|record| record.open_sockets() == 1).await;
    dead.crash().await;
    let mut ids = Vec::new();
    for _ in 0..4 {
        ids.push(gateway.submit(picture(9)).await);
    }
    for id in &ids {
        let result = gateway.result(id).await;
        assert_eq!(
            (&result["status"], &result["backend"]),
            (&json!("completed"), &json!("gpu-2")),
            "{result:#}"
        );
    }
    assert_eq!((runs(&dead), runs(&alive)), (0, 4));
    gateway.finish().await;
}

#[tokio::test]
async fn a_cancel_during_an_unclear_submit_leaves_nothing_behind() {
    let comfy = simulator().await;
    let gateway = Gateway::in_front_of(&[&comfy]).await;
    let first = gateway.submit(hold("a")).await;
    comfy.holding("a").await;
    comfy.faults().next(FaultRoute::Prompt, 1, RequestFault::DropAfter);
    let id = gateway.submit(hold("b")).await;
    comfy.queued(&id).await;
    gateway.cancel(&id).await;
    assert_eq!(gateway.result(&id).await["status"], "cancelled");
    comfy.release("a");
    gateway.result(&first).await;
    assert_eq!(comfy.runs(&id).started, 0);
    gateway.finish().await;
}
