//! A gateway that is killed, and the next one on its data: nothing is lost and nothing runs twice.

use comfy_gateway::simulator::{FaultRoute, RequestFault};
use serde_json::json;

use crate::support::{Gateway, backend, hold, picture, shows, simulator, text};

#[tokio::test]
async fn queued_jobs_are_run_by_the_next_start() {
    let comfy = simulator().await;
    comfy.crash().await;
    let gateway = Gateway::in_front_of(&[&comfy]).await;
    let (first, second) = (gateway.submit(picture(1)).await, gateway.submit(text("b", "")).await);
    let gateway = gateway.kill().await.start().await;
    assert_eq!(gateway.job(&first).await["status"], "queued");
    comfy.restart().await.unwrap();
    for id in [&first, &second] {
        let result = gateway.result(id).await;
        assert_eq!((&result["status"], &result["attempts"]), (&json!("completed"), &json!(1)));
        assert_eq!(comfy.runs(id).started, 1);
    }
    gateway.finish().await;
}

#[tokio::test]
async fn a_killed_gateway_releases_its_data_and_does_nothing_more() {
    let comfy = simulator().await;
    let gateway = Gateway::in_front_of(&[&comfy]).await;
    let id = gateway.submit(hold("a")).await;
    comfy.holding("a").await;
    let (base, http) = (gateway.base.clone(), gateway.http.clone());
    let left = gateway.kill().await;
    comfy.until(|record| record.open_sockets() == 0).await;
    let before = comfy.requests(FaultRoute::All).len();
    assert!(http.get(format!("{base}/healthz")).send().await.is_err());
    comfy.release("a");
    comfy.finished(&id).await;
    assert_eq!(comfy.requests(FaultRoute::All).len(), before);
    let gateway = left.start().await;
    assert_eq!(gateway.result(&id).await["texts"], json!(["a"]));
    assert_eq!(comfy.runs(&id).queued, 1);
    gateway.finish().await;
}

#[tokio::test]
async fn a_job_that_waits_at_its_server_is_taken_over() {
    let comfy = simulator().await;
    let gateway = Gateway::in_front_of(&[&comfy]).await;
    let (running, waiting) = (gateway.submit(hold("a")).await, gateway.submit(picture(2)).await);
    comfy.holding("a").await;
    comfy.queued(&waiting).await;
    let gateway = gateway.kill().await.start().await;
    let looks = comfy.requests(FaultRoute::Queue).len();
    comfy.until(|record| record.requests(FaultRoute::Queue) > looks + 1).await;
    assert_eq!(gateway.job(&waiting).await["status"], "running");
    comfy.release("a");
    for id in [&running, &waiting] {
        let result = gateway.result(id).await;
        assert_eq!((&result["status"], &result["attempts"]), (&json!("completed"), &json!(1)), "{result:#}");
        assert_eq!((comfy.runs(id).queued, comfy.runs(id).started), (1, 1));
    }
    assert_eq!(gateway.result(&waiting).await["images"].as_array().unwrap().len(), 1);
    gateway.finish().await;
}

#[tokio::test]
async fn a_job_killed_in_the_middle_of_its_submit_runs_once() {
    for (fault, attempts) in [(RequestFault::HangAfter, 1), (RequestFault::Hang, 2)] {
        let comfy = simulator().await;
        let gateway = Gateway::in_front_of(&[&comfy]).await;
        comfy.faults().next(FaultRoute::Prompt, 1, fault);
        let id = gateway.submit(text("once", "")).await;
        comfy.until(|record| record.hanging() == 1).await;
        let left = gateway.kill().await;
        // The request died with its connection: it is not acted on any more.
        comfy.until(|record| record.hanging() == 0).await;
        let gateway = left.start().await;
        let result = gateway.result(&id).await;
        assert_eq!(
            (&result["texts"], &result["attempts"]),
            (&json!(["once"]), &json!(attempts)),
            "{result:#}"
        );
        if attempts > 1 {
            // It was the gateway that went away, not the server.
            let reason = result["attempt_history"][0]["reason"].as_str().unwrap();
            assert!(reason.starts_with("the gateway was restarted before the backend gpu-1"), "{reason}");
        }
        let started: u32 = comfy.all_runs().iter().map(|(_, runs)| runs.started).sum();
        assert_eq!(started, 1);
        gateway.finish().await;
    }
}

#[tokio::test]
async fn a_run_that_was_taken_over_and_is_heard_of_is_not_looked_for_in_the_queue() {
    let comfy = simulator().await;
    let gateway = Gateway::in_front_of(&[&comfy]).await;
    let id = gateway.submit(hold("a")).await;
    comfy.holding("a").await;
    let left = gateway.kill().await;
    comfy.until(|record| record.open_sockets() == 0).await;
    let gateway = left.start().await;
    comfy.until(|record| record.open_sockets() == 1).await;
    let heard = json!({"type": "progress", "data": {"value": 1, "max": 2, "prompt_id": id, "node": "1"}});
    // The first look sees it running. What follows asks the history alone.
    for look in 1..=3 {
        comfy.send_text(heard.to_string());
        comfy.until(|record| record.requests(FaultRoute::History) >= look).await;
    }
    let looks = comfy.requests(FaultRoute::Queue).len();
    let next = comfy.requests(FaultRoute::History).len();
    comfy.send_text(heard.to_string());
    comfy.until(|record| record.requests(FaultRoute::History) > next).await;
    assert_eq!(comfy.requests(FaultRoute::Queue).len(), looks);
    comfy.release("a");
    assert_eq!(gateway.result(&id).await["attempts"], 1);
    gateway.finish().await;
}

#[tokio::test]
async fn a_kill_before_the_server_had_the_job_costs_it_no_attempt() {
    let comfy = simulator().await;
    let gateway = Gateway::with(&[&comfy], |settings| settings.scheduler.retry.max_attempts = 1).await;
    comfy.faults().next(FaultRoute::Prompt, 1, RequestFault::Hang);
    let id = gateway.submit(text("once", "")).await;
    comfy.until(|record| record.hanging() == 1).await;
    let gateway = gateway.kill().await.start().await;
    let result = gateway.result(&id).await;
    assert_eq!((&result["status"], &result["attempts"]), (&json!("completed"), &json!(2)), "{result:#}");
    gateway.finish().await;
}

#[tokio::test]
async fn a_job_that_ended_while_no_gateway_lived_is_collected() {
    let comfy = simulator().await;
    let gateway = Gateway::in_front_of(&[&comfy]).await;
    let mut graph = picture(3);
    graph["9"] = json!({"class_type": "SimHold", "inputs": {"name": "a"}});
    let id = gateway.submit(graph).await;
    comfy.holding("a").await;
    let left = gateway.kill().await;
    comfy.release("a");
    comfy.finished(&id).await;
    let gateway = left.start().await;
    let result = gateway.result(&id).await;
    assert_eq!((&result["status"], &result["attempts"]), (&json!("completed"), &json!(1)), "{result:#}");
    assert!(gateway.bytes(&result["images_by_var"]["cover"][0]).await.starts_with(b"\x89PNG"));
    assert!(result["duration"].is_number());
    assert_eq!(comfy.runs(&id).queued, 1);
    gateway.finish().await;
}

#[tokio::test]
async fn a_job_killed_while_its_files_were_fetched_gets_all_of_them() {
    let comfy = simulator().await;
    let gateway = Gateway::in_front_of(&[&comfy]).await;
    for name in ["a.bin", "b.bin"] {
        std::fs::write(comfy.output_directory().join(name), name).unwrap();
    }
    let item = |name: &str| json!({"filename": name, "subfolder": "", "type": "output"});
    comfy.faults().next(FaultRoute::View, 1, RequestFault::Hang);
    let id = gateway.submit(shows(&json!({ "things": [item("a.bin"), item("b.bin")] }))).await;
    comfy.until(|record| record.requests(FaultRoute::View) == 2 && record.hanging() == 1).await;
    let gateway = gateway.kill().await.start().await;
    let result = gateway.result(&id).await;
    assert_eq!(result["status"], "completed", "{result:#}");
    assert_eq!(gateway.bytes(&result["files"][0]).await, "a.bin");
    assert_eq!(gateway.bytes(&result["files"][1]).await, "b.bin");
    assert_eq!(comfy.runs(&id).queued, 1);
    gateway.finish().await;
}

#[tokio::test]
async fn a_cancel_asked_for_before_the_kill_is_carried_out_after_it() {
    let comfy = simulator().await;
    let gateway = Gateway::in_front_of(&[&comfy]).await;
    let id = gateway.submit(hold("a")).await;
    comfy.holding("a").await;
    comfy.faults().always(FaultRoute::Interrupt, RequestFault::Hang);
    assert_eq!(gateway.cancel(&id).await["status"], "running");
    comfy.until(|record| record.hanging() == 1).await;
    let left = gateway.kill().await;
    comfy.until(|record| record.hanging() == 0).await;
    comfy.faults().clear();
    assert_eq!(comfy.runs(&id).failed, 0);
    let gateway = left.start().await;
    assert_eq!(gateway.result(&id).await["status"], "cancelled");
    assert_eq!(comfy.runs(&id).failed, 1, "it was interrupted there");
    gateway.finish().await;
}

#[tokio::test]
async fn a_job_of_a_server_that_is_not_configured_any_more_runs_elsewhere() {
    let (old, new) = (simulator().await, simulator().await);
    let gateway = Gateway::in_front_of(&[&old]).await;
    let (id, cancelled) = (gateway.submit(hold("a")).await, gateway.submit(hold("a")).await);
    old.holding("a").await;
    old.queued(&cancelled).await;
    let mut left = gateway.kill().await;
    left.settings.backends = vec![backend("gpu-new", &new.url())];
    let gateway = left.start().await;
    new.holding("a").await;
    assert_eq!(gateway.cancel(&cancelled).await["prompt_id"], cancelled);
    new.release("a");
    let result = gateway.result(&id).await;
    assert_eq!(
        (&result["status"], &result["backend"]),
        (&json!("completed"), &json!("gpu-new")),
        "{result:#}"
    );
    assert_eq!(gateway.result(&cancelled).await["status"], "cancelled");
    gateway.finish().await;
}

#[tokio::test]
async fn a_cancelled_job_of_a_server_that_is_not_configured_any_more_is_cancelled() {
    let comfy = simulator().await;
    let gateway = Gateway::in_front_of(&[&comfy]).await;
    let id = gateway.submit(hold("a")).await;
    comfy.holding("a").await;
    comfy.faults().always(FaultRoute::Interrupt, RequestFault::Status(500, String::new()));
    gateway.cancel(&id).await;
    let mut left = gateway.kill().await;
    left.settings.backends.clear();
    let gateway = left.start().await;
    let result = gateway.result(&id).await;
    assert_eq!((&result["status"], &result["attempts"]), (&json!("cancelled"), &json!(1)), "{result:#}");
    gateway.finish().await;
}

#[tokio::test]
async fn a_gateway_that_starts_before_its_comfyui_waits_for_it() {
    let comfy = simulator().await;
    comfy.crash().await;
    let gateway = Gateway::in_front_of(&[&comfy]).await;
    let id = gateway.submit(picture(1)).await;
    while gateway.get("/backends").await.json::<serde_json::Value>().await.unwrap()["backends"][0]["state"]
        != "down"
    {}
    assert_eq!(gateway.job(&id).await["status"], "queued");
    comfy.restart().await.unwrap();
    assert_eq!(gateway.result(&id).await["status"], "completed");
    gateway.finish().await;
}

#[tokio::test]
async fn a_run_lost_together_with_the_gateway_is_run_again() {
    let comfy = simulator().await;
    let gateway = Gateway::in_front_of(&[&comfy]).await;
    let id = gateway.submit(hold("a")).await;
    comfy.holding("a").await;
    let left = gateway.kill().await;
    comfy.restart().await.unwrap();
    let gateway = left.start().await;
    comfy.holding("a").await;
    comfy.release("a");
    let result = gateway.result(&id).await;
    assert_eq!((&result["status"], &result["attempts"]), (&json!("completed"), &json!(2)), "{result:#}");
    gateway.finish().await;
}

#[tokio::test]
async fn killed_again_and_again_it_still_brings_every_job_home_once() {
    let comfy = simulator().await;
    let mut gateway = Gateway::in_front_of(&[&comfy]).await;
    let mut ids = Vec::new();
    for round in 0..6 {
        for color in 0..8 {
            ids.push(gateway.submit(picture(round * 100 + color)).await);
        }
        comfy.started(&ids[ids.len() - 8]).await;
        gateway = gateway.kill().await.start().await;
    }
    for id in &ids {
        let result = gateway.result(id).await;
        assert_eq!(
            (&result["status"], &result["images"][1]),
            (&json!("completed"), &json!(null)),
            "{result:#}"
        );
    }
    for (id, runs) in comfy.all_runs() {
        assert_eq!((runs.queued, runs.started), (1, 1), "{id}");
    }
    gateway.finish().await;
}
