//! Cancels: only the job that is meant, at once where possible, and never a foreign job.

use comfy_gateway::simulator::{FaultRoute, RequestFault};
use serde_json::{Value, json};

use crate::support::{Gateway, hold, picture, simulator, text};

#[tokio::test]
async fn a_job_in_the_gateways_queue_is_cancelled_at_once_and_never_sent() {
    let comfy = simulator().await;
    let gateway = Gateway::with(&[&comfy], |settings| settings.backends[0].slots = 1).await;
    let running = gateway.submit(hold("a")).await;
    comfy.holding("a").await;
    let waiting = gateway.submit(picture(1)).await;
    let answer = gateway.post(&format!("/results/{waiting}/cancel"), &json!({})).await;
    assert_eq!(answer.status(), 200);
    let body: Value = answer.json().await.unwrap();
    assert_eq!(body["status"], "cancelled");
    assert!(body["finished_at"].is_string() && body["msg"].is_string() && body["error"].is_null());
    comfy.release("a");
    assert_eq!(gateway.result(&running).await["status"], "completed");
    gateway.run(text("after", "")).await;
    assert_eq!(comfy.runs(&waiting).queued, 0);
    gateway.finish().await;
}

#[tokio::test]
async fn a_job_in_comfyuis_queue_is_deleted_there_and_never_starts() {
    let comfy = simulator().await;
    let gateway = Gateway::in_front_of(&[&comfy]).await;
    let running = gateway.submit(hold("a")).await;
    comfy.holding("a").await;
    let waiting = gateway.submit(hold("b")).await;
    comfy.queued(&waiting).await;
    gateway.cancel(&waiting).await;
    assert_eq!(gateway.result(&waiting).await["status"], "cancelled");
    assert_eq!(gateway.job(&running).await["status"], "running", "the other job is untouched");
    assert_eq!(comfy.requests(FaultRoute::Interrupt).len(), 0);
    comfy.release("a");
    assert_eq!(gateway.result(&running).await["status"], "completed");
    assert_eq!(comfy.runs(&waiting).started, 0);
    gateway.finish().await;
}

#[tokio::test]
async fn a_running_job_is_interrupted_and_the_next_one_runs() {
    let comfy = simulator().await;
    let gateway = Gateway::in_front_of(&[&comfy]).await;
    let running = gateway.submit(hold("a")).await;
    comfy.holding("a").await;
    let next = gateway.submit(text("next", "")).await;
    comfy.queued(&next).await;
    gateway.cancel(&running).await;
    let twice = gateway.cancel(&running).await;
    assert!(twice["status"] == "running" || twice["status"] == "cancelled", "{twice:#}");
    let result = gateway.result(&running).await;
    assert_eq!((&result["status"], &result["error"]), (&json!("cancelled"), &Value::Null), "{result:#}");
    assert_eq!(comfy.runs(&running).failed, 1, "it was interrupted there");
    assert_eq!(gateway.result(&next).await["status"], "completed");
    for request in comfy.requests(FaultRoute::Interrupt) {
        let body: Value = serde_json::from_slice(&request.body).unwrap();
        assert_eq!(body["prompt_id"], running, "never a global interrupt");
    }
    gateway.finish().await;
}

#[tokio::test]
async fn a_foreign_job_is_never_interrupted() {
    let comfy = simulator().await;
    let foreign = "11111111-2222-4333-8444-555555555555";
    let body = json!({ "prompt": hold("theirs"), "prompt_id": foreign, "client_id": "them" });
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    http.post(format!("{}/prompt", comfy.url())).json(&body).send().await.unwrap();
    comfy.holding("theirs").await;
    let gateway = Gateway::in_front_of(&[&comfy]).await;
    let ours = gateway.submit(picture(1)).await;
    comfy.queued(&ours).await;
    gateway.cancel(&ours).await;
    assert_eq!(gateway.result(&ours).await["status"], "cancelled");
    comfy.release("theirs");
    comfy.finished(foreign).await;
    assert_eq!((comfy.runs(foreign).succeeded, comfy.runs(&ours).started), (1, 0));
    gateway.finish().await;
}

#[tokio::test]
async fn a_job_that_has_ended_stays_as_it_is() {
    let comfy = simulator().await;
    let gateway = Gateway::in_front_of(&[&comfy]).await;
    let done = gateway.run(picture(1)).await;
    let id = done["prompt_id"].as_str().unwrap();
    let answer = gateway.post(&format!("/results/{id}/cancel"), &json!({})).await;
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.json::<Value>().await.unwrap(), done);
    assert_eq!(gateway.job(id).await, done);
    assert_eq!(comfy.requests(FaultRoute::Interrupt).len(), 0);
    gateway.finish().await;
}

#[tokio::test]
async fn a_job_whose_server_died_is_cancelled_and_not_run_again() {
    let comfy = simulator().await;
    let gateway = Gateway::in_front_of(&[&comfy]).await;
    let id = gateway.submit(hold("a")).await;
    comfy.holding("a").await;
    comfy.crash().await;
    gateway.cancel(&id).await;
    assert_eq!(gateway.result(&id).await["status"], "cancelled");
    comfy.restart().await.unwrap();
    assert_eq!(gateway.run(text("alive", "")).await["status"], "completed");
    assert_eq!(comfy.all_runs().len(), 2);
    gateway.finish().await;
}

#[tokio::test]
async fn a_cancel_that_comes_while_the_job_is_being_sent_is_carried_out() {
    let comfy = simulator().await;
    let gateway = Gateway::in_front_of(&[&comfy]).await;
    comfy.faults().next(FaultRoute::Prompt, 1, RequestFault::HangAfter);
    let id = gateway.submit(hold("a")).await;
    comfy.holding("a").await;
    comfy.until(|record| record.hanging() == 1).await;
    let answer = gateway.cancel(&id).await;
    assert_eq!(answer["status"], "running");
    comfy.faults().release_hanging();
    assert_eq!(gateway.result(&id).await["status"], "cancelled");
    gateway.finish().await;
}

#[tokio::test]
async fn a_cancel_that_races_with_the_finish_ends_the_job_once() {
    let comfy = simulator().await;
    let gateway = Gateway::in_front_of(&[&comfy]).await;
    for round in 0..20 {
        let id = gateway.submit(hold("a")).await;
        comfy.holding("a").await;
        comfy.release("a");
        if round % 2 == 0 {
            comfy.finished(&id).await;
        }
        gateway.cancel(&id).await;
        let result = gateway.result(&id).await;
        let status = result["status"].as_str().unwrap();
        assert!(["completed", "cancelled"].contains(&status), "{result:#}");
        assert_eq!(status == "completed", result["texts"] == json!(["a"]), "{result:#}");
        assert_eq!(gateway.job(&id).await, result, "the end is final");
    }
    gateway.finish().await;
}

#[tokio::test]
async fn a_cancelled_job_is_not_tried_again_when_its_attempt_fails() {
    let comfy = simulator().await;
    let gateway = Gateway::in_front_of(&[&comfy]).await;
    let id = gateway.submit(hold("a")).await;
    comfy.holding("a").await;
    comfy.faults().always(FaultRoute::Interrupt, RequestFault::Status(500, String::new()));
    gateway.cancel(&id).await;
    comfy.until(|record| record.requests(FaultRoute::Interrupt) > 0).await;
    comfy.forget(&id);
    assert_eq!(gateway.result(&id).await["status"], "cancelled");
    assert_eq!(comfy.all_runs().len(), 1);
    gateway.finish().await;
}
