//! Backends at run time: added and removed, cordoned and drained, failing and recovering, shared with other
//! clients.

use std::sync::Arc;
use std::time::Duration;

use comfy_gateway::clock::ManualClock;
use comfy_gateway::domain::time::UnixMillis;
use comfy_gateway::simulator::{FaultRoute, RequestFault, Simulator};
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::support::{Gateway, Settings, hold, picture, simulator, text};

fn manual() -> Arc<ManualClock> {
    Arc::new(ManualClock::new(UnixMillis::from_millis(1_700_000_000_000)))
}

fn one_slot(settings: &mut Settings) {
    settings.backends.iter_mut().for_each(|backend| backend.slots = 1);
}

async fn backend(gateway: &Gateway, name: &str) -> Value {
    let response = gateway.get(&format!("/backends/{name}")).await;
    assert_eq!(response.status(), 200);
    response.json().await.unwrap()
}

/// Reads a backend until it is as expected. If a clock is given, it advances by 250 ms before each further reading.
async fn until_backend(
    gateway: &Gateway,
    clock: Option<&ManualClock>,
    name: &str,
    expected: impl Fn(&Value) -> bool,
) -> Value {
    let mut last = Value::Null;
    let asking = async {
        loop {
            last = backend(gateway, name).await;
            if expected(&last) {
                return last.clone();
            }
            if let Some(clock) = clock {
                clock.advance(Duration::from_millis(250));
            }
        }
    };
    let found = tokio::time::timeout(Duration::from_secs(20), asking).await;
    found.unwrap_or_else(|_| panic!("{last:#}"))
}

/// Waits until a job has ended while the clock advances, because retries wait for a back-off.
async fn until_ended(gateway: &Gateway, clock: &ManualClock, id: &str) -> Value {
    let ending = gateway.until(id, |body| {
        clock.advance(Duration::from_millis(100));
        body["status"] != "queued" && body["status"] != "running"
    });
    ending.await
}

fn in_state(state: &'static str) -> impl Fn(&Value) -> bool {
    move |body| body["state"] == state
}

async fn add(gateway: &Gateway, name: &str, comfy: &Simulator) {
    let response = gateway.post("/backends", &json!({ "name": name, "url": comfy.url() })).await;
    assert_eq!(response.status(), StatusCode::CREATED, "{:?}", response.text().await);
}

async fn remove(gateway: &Gateway, name: &str) -> StatusCode {
    gateway.http.delete(format!("{}/backends/{name}", gateway.base)).send().await.unwrap().status()
}

async fn set_mode(gateway: &Gateway, name: &str, action: &str) -> Value {
    let response = gateway.post(&format!("/backends/{name}/{action}"), &json!({})).await;
    assert_eq!(response.status(), 200);
    response.json().await.unwrap()
}

/// Submits a job of another client directly to the backend.
async fn submit_foreign(gateway: &Gateway, comfy: &Simulator, workflow: Value) -> String {
    let body = json!({ "prompt": workflow, "client_id": "somebody" });
    let sent = gateway.http.post(format!("{}/prompt", comfy.url())).json(&body).send().await.unwrap();
    let answer: Value = sent.json().await.unwrap();
    answer["prompt_id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_backend_added_at_run_time_runs_jobs_and_survives_a_restart_until_it_is_removed() {
    let comfy = simulator().await;
    let gateway = Gateway::in_front_of(&[]).await;
    let waiting = gateway.submit(text("x", "")).await;
    add(&gateway, "late", &comfy).await;
    let result = gateway.result(&waiting).await;
    assert_eq!((&result["status"], &result["backend"]), (&json!("completed"), &json!("late")));

    let gateway = gateway.stop().await.start().await;
    assert_eq!(gateway.run(picture(1)).await["backend"], "late");
    assert_eq!(backend(&gateway, "late").await["configured"], false);
    assert_eq!(remove(&gateway, "late").await, StatusCode::NO_CONTENT);
    assert_eq!(gateway.get("/backends/late").await.status(), 404);

    let gateway = gateway.stop().await.start().await;
    let all: Value = gateway.get("/backends").await.json().await.unwrap();
    assert_eq!(all, json!({ "backends": [] }));
    gateway.finish().await;
}

#[tokio::test]
async fn a_job_that_runs_on_an_added_backend_is_adopted_by_the_next_start() {
    let comfy = simulator().await;
    let gateway = Gateway::in_front_of(&[]).await;
    add(&gateway, "late", &comfy).await;
    let id = gateway.submit(hold("a")).await;
    comfy.holding("a").await;
    let gateway = gateway.kill().await.start().await;
    comfy.release("a");
    assert_eq!(gateway.result(&id).await["status"], "completed");
    assert_eq!(comfy.runs(&id).started, 1, "the job ran once");
    gateway.finish().await;
}

#[tokio::test]
async fn a_removed_backend_is_left_alone_and_can_be_added_again_under_its_name() {
    let (stays, goes) = (simulator().await, simulator().await);
    let gateway = Gateway::in_front_of(&[&stays]).await;
    add(&gateway, "goes", &goes).await;
    goes.until(|record| record.open_sockets() == 1).await;
    assert_eq!(remove(&gateway, "goes").await, StatusCode::NO_CONTENT);
    goes.until(|record| record.open_sockets() == 0).await;
    let asked = goes.requests(FaultRoute::Prompt).len();
    for color in 0..4 {
        assert_eq!(gateway.run(picture(color)).await["backend"], "gpu-1");
    }
    assert_eq!(goes.requests(FaultRoute::Prompt).len(), asked);
    add(&gateway, "goes", &goes).await;
    goes.until(|record| record.open_sockets() == 1).await;
    stays.crash().await;
    until_backend(&gateway, None, "gpu-1", in_state("down")).await;
    assert_eq!(gateway.run(picture(9)).await["backend"], "goes");
    stays.restart().await.unwrap();
    gateway.finish().await;
}

#[tokio::test]
async fn a_backend_with_jobs_is_not_removed_before_it_is_drained() {
    let comfy = simulator().await;
    let gateway = Gateway::in_front_of(&[]).await;
    add(&gateway, "late", &comfy).await;
    let id = gateway.submit(hold("a")).await;
    comfy.holding("a").await;
    assert_eq!(remove(&gateway, "late").await, StatusCode::CONFLICT);
    let body = backend(&gateway, "late").await;
    assert_eq!(
        (&body["mode"], &body["running"]),
        (&json!("open"), &json!(1)),
        "a refused removal changes nothing"
    );
    let body = set_mode(&gateway, "late", "drain").await;
    assert_eq!((&body["state"], &body["drained"]), (&json!("draining"), &json!(false)));
    comfy.release("a");
    assert_eq!(gateway.result(&id).await["status"], "completed");
    until_backend(&gateway, None, "late", |body| body["drained"] == true).await;
    assert_eq!(remove(&gateway, "late").await, StatusCode::NO_CONTENT);
    gateway.finish().await;
}

#[tokio::test]
async fn a_cordoned_backend_keeps_its_jobs_and_gets_no_new_ones_until_it_is_opened() {
    let comfy = simulator().await;
    let gateway = Gateway::in_front_of(&[&comfy]).await;
    let first = gateway.submit(hold("a")).await;
    comfy.holding("a").await;
    assert_eq!(set_mode(&gateway, "gpu-1", "cordon").await["state"], "cordoned");
    let second = gateway.submit(text("x", "")).await;
    comfy.release("a");
    assert_eq!(gateway.result(&first).await["status"], "completed");
    // The mode survives a restart, for a configured backend too.
    let gateway = gateway.stop().await.start().await;
    comfy.until(|record| record.open_sockets() == 1).await;
    let body = until_backend(&gateway, None, "gpu-1", in_state("cordoned")).await;
    assert_eq!((&body["mode"], &body["configured"]), (&json!("cordoned"), &json!(true)));
    assert_eq!(gateway.job(&second).await["status"], "queued");
    assert_eq!(comfy.runs(&second).queued, 0);
    assert_eq!(gateway.get("/readyz").await.status(), 503, "no backend takes work");
    assert_eq!(set_mode(&gateway, "gpu-1", "uncordon").await["mode"], "open");
    assert_eq!(gateway.result(&second).await["status"], "completed");
    let gateway = gateway.stop().await.start().await;
    assert_eq!(backend(&gateway, "gpu-1").await["mode"], "open");
    gateway.finish().await;
}

#[tokio::test]
async fn a_draining_backend_finishes_its_running_job_and_the_others_run_elsewhere() {
    let (drained, other) = (simulator().await, simulator().await);
    let gateway = Gateway::in_front_of(&[&drained]).await;
    let runs = gateway.submit(hold("a")).await;
    drained.holding("a").await;
    let waits = gateway.submit(hold("b")).await;
    drained.queued(&waits).await;
    set_mode(&gateway, "gpu-1", "drain").await;
    add(&gateway, "other", &other).await;
    other.holding("b").await;
    other.release("b");
    assert_eq!(gateway.result(&waits).await["backend"], "other");
    assert_eq!(drained.runs(&waits).started, 0, "the job was withdrawn before it started");
    assert_eq!(backend(&gateway, "gpu-1").await["drained"], false);
    drained.release("a");
    assert_eq!(gateway.result(&runs).await["backend"], "gpu-1");
    until_backend(&gateway, None, "gpu-1", |body| body["drained"] == true).await;
    gateway.finish().await;
}

#[tokio::test]
async fn foreign_jobs_are_counted_and_left_alone() {
    let comfy = simulator().await;
    let gateway = Gateway::in_front_of(&[&comfy]).await;
    comfy.until(|record| record.open_sockets() == 1).await;
    let theirs = submit_foreign(&gateway, &comfy, hold("theirs")).await;
    comfy.holding("theirs").await;
    let waits = submit_foreign(&gateway, &comfy, picture(7)).await;
    until_backend(&gateway, None, "gpu-1", |body| body["foreign_jobs"] == 2).await;
    let ours = gateway.submit(text("x", "")).await;
    gateway.cancel(&ours).await;
    assert_eq!(gateway.result(&ours).await["status"], "cancelled");
    set_mode(&gateway, "gpu-1", "drain").await;
    until_backend(&gateway, None, "gpu-1", |body| body["drained"] == true).await;
    set_mode(&gateway, "gpu-1", "uncordon").await;
    assert_eq!(comfy.runs(&theirs).finished() + comfy.runs(&waits).finished(), 0);
    comfy.release("theirs");
    comfy.finished(&waits).await;
    assert_eq!((comfy.runs(&theirs).succeeded, comfy.runs(&waits).succeeded), (1, 1));
    until_backend(&gateway, None, "gpu-1", |body| body["foreign_jobs"] == 0).await;
    assert_eq!(gateway.run(picture(1)).await["status"], "completed");
    gateway.finish().await;
}

#[tokio::test]
async fn our_own_jobs_are_never_counted_as_foreign() {
    let clock = manual();
    let comfy = simulator().await;
    let gateway = Gateway::on_clock(clock.clone(), &[&comfy], |_| {}).await;
    until_backend(&gateway, Some(&clock), "gpu-1", |body| body["websocket"] == true).await;
    let ids = [gateway.submit(hold("a")).await, gateway.submit(hold("b")).await];
    for id in &ids {
        comfy.queued(id).await;
    }
    comfy.holding("a").await;
    let probes = comfy.requests(FaultRoute::Queue).len();
    let body = until_backend(&gateway, Some(&clock), "gpu-1", |_| {
        comfy.requests(FaultRoute::Queue).len() >= probes + 3
    })
    .await;
    assert_eq!((&body["foreign_jobs"], &body["running"]), (&json!(0), &json!(2)));
    assert_eq!(body["running_jobs"][0]["prompt_id"], ids[0]);
    assert_eq!(body["waiting_jobs"], json!([ids[1]]));
    comfy.release("a");
    comfy.release("b");
    // The clock has advanced so far that the websocket may have timed out, so polling may find the end.
    for id in &ids {
        assert_eq!(until_ended(&gateway, &clock, id).await["status"], "completed");
    }
    gateway.finish().await;
}

#[tokio::test]
async fn a_backend_whose_worker_is_dead_is_down_until_it_is_restarted() {
    let clock = manual();
    let comfy = simulator().await;
    let gateway = Gateway::on_clock(clock.clone(), &[&comfy], |_| {}).await;
    until_backend(&gateway, Some(&clock), "gpu-1", in_state("up")).await;
    let still = r#"{"queue_running":[],"queue_pending":[[3,"theirs",{},{"client_id":"somebody"},[]]]}"#;
    comfy.faults().always(FaultRoute::Queue, RequestFault::Body(still.to_owned()));
    let body = until_backend(&gateway, Some(&clock), "gpu-1", in_state("down")).await;
    assert!(body["reason"].as_str().unwrap().contains("restart this ComfyUI"), "{body:#}");
    let id = gateway.submit(picture(1)).await;
    // An empty queue is no sign of life, because the jobs may have been deleted.
    comfy.faults().clear();
    let probes = comfy.requests(FaultRoute::Queue).len();
    let body = until_backend(&gateway, Some(&clock), "gpu-1", |_| {
        comfy.requests(FaultRoute::Queue).len() > probes + 1
    })
    .await;
    assert_eq!(body["state"], "down");
    assert_eq!(comfy.runs(&id).queued, 0);
    comfy.crash().await;
    comfy.restart().await.unwrap();
    until_backend(&gateway, Some(&clock), "gpu-1", in_state("up")).await;
    assert_eq!(until_ended(&gateway, &clock, &id).await["status"], "completed");
    gateway.finish().await;
}

#[tokio::test]
async fn a_backend_that_fails_job_after_job_gets_no_job_then_one_on_trial_then_all() {
    let clock = manual();
    let comfy = simulator().await;
    let gateway = Gateway::on_clock(clock.clone(), &[&comfy], |_| {}).await;
    until_backend(&gateway, Some(&clock), "gpu-1", |body| body["websocket"] == true).await;
    comfy.faults().always(FaultRoute::Prompt, RequestFault::Status(502, "bad gateway".to_owned()));
    let fails = gateway.submit(picture(1)).await;
    let body = until_backend(&gateway, Some(&clock), "gpu-1", in_state("down")).await;
    let reason = body["reason"].as_str().unwrap();
    assert!(reason.contains("3 or more runs in a row") && reason.contains("502"), "{reason}");
    assert_eq!(body["totals"], json!({ "completed": 0, "failed": 0, "server_faults": 3 }));
    assert_eq!(body["error_rate"], json!(1.0));
    comfy.faults().clear();
    // The clock stands still, so nothing that follows is due to a timeout.
    let result = gateway.result(&fails).await;
    assert_eq!(result["error"]["code"], "backend_lost", "{result:#}");
    let tried = comfy.requests(FaultRoute::Prompt).len();
    let ids = [gateway.submit(hold("a")).await, gateway.submit(hold("b")).await];
    clock.advance(Duration::from_secs(3));
    assert_eq!(backend(&gateway, "gpu-1").await["state"], "down");
    assert_eq!(comfy.requests(FaultRoute::Prompt).len(), tried, "the backend gets no job");
    let body = until_backend(&gateway, Some(&clock), "gpu-1", in_state("degraded")).await;
    assert!(body["reason"].as_str().unwrap().starts_with("on trial"), "{body:#}");
    comfy.holding("a").await;
    until_backend(&gateway, Some(&clock), "gpu-1", |body| body["running"] == 1).await;
    assert_eq!(comfy.runs(&ids[1]).queued, 0, "one job at a time");
    comfy.release("a");
    comfy.finished(&ids[0]).await;
    until_backend(&gateway, Some(&clock), "gpu-1", in_state("up")).await;
    comfy.holding("b").await;
    comfy.release("b");
    for id in &ids {
        assert_eq!(until_ended(&gateway, &clock, id).await["status"], "completed");
    }
    gateway.finish().await;
}

#[tokio::test]
async fn uncordon_ends_the_back_off_of_a_backend_that_failed_jobs() {
    let clock = manual();
    let comfy = simulator().await;
    let gateway = Gateway::on_clock(clock.clone(), &[&comfy], |_| {}).await;
    until_backend(&gateway, Some(&clock), "gpu-1", |body| body["websocket"] == true).await;
    comfy.faults().always(FaultRoute::Prompt, RequestFault::Status(502, String::new()));
    gateway.submit(picture(1)).await;
    until_backend(&gateway, Some(&clock), "gpu-1", in_state("down")).await;
    comfy.faults().clear();
    assert_eq!(set_mode(&gateway, "gpu-1", "uncordon").await["state"], "up");
    let id = gateway.submit(picture(2)).await;
    assert_eq!(until_ended(&gateway, &clock, &id).await["status"], "completed");
    gateway.finish().await;
}

#[tokio::test]
async fn with_every_websocket_refused_backends_are_degraded_and_run_their_jobs() {
    let clock = manual();
    let (one, two) = (simulator().await, simulator().await);
    for comfy in [&one, &two] {
        comfy.faults().always(FaultRoute::Ws, RequestFault::Status(403, String::new()));
    }
    let gateway = Gateway::on_clock(clock.clone(), &[&one, &two], one_slot).await;
    for name in ["gpu-1", "gpu-2"] {
        let body = until_backend(&gateway, Some(&clock), name, in_state("degraded")).await;
        let reason = body["reason"].as_str().unwrap();
        assert!(reason.contains("no websocket") && reason.contains("403"), "{reason}");
    }
    let ids = [gateway.submit(picture(1)).await, gateway.submit(picture(2)).await];
    for id in &ids {
        assert_eq!(until_ended(&gateway, &clock, id).await["status"], "completed");
    }
    for comfy in [&one, &two] {
        comfy.faults().clear();
    }
    until_backend(&gateway, Some(&clock), "gpu-1", in_state("up")).await;
    until_backend(&gateway, Some(&clock), "gpu-2", in_state("up")).await;
    gateway.finish().await;
}

#[tokio::test]
async fn a_websocket_without_a_first_status_is_replaced() {
    let clock = manual();
    let comfy = simulator().await;
    comfy.faults().next(FaultRoute::Ws, 1, RequestFault::Deaf);
    let gateway = Gateway::on_clock(clock.clone(), &[&comfy], |_| {}).await;
    comfy.until(|record| record.open_sockets() == 1).await;
    until_backend(&gateway, Some(&clock), "gpu-1", |_| comfy.requests(FaultRoute::Ws).len() == 2).await;
    let asked = comfy.requests(FaultRoute::Queue).len();
    until_backend(&gateway, Some(&clock), "gpu-1", |_| comfy.requests(FaultRoute::Queue).len() > asked + 3)
        .await;
    assert_eq!(comfy.requests(FaultRoute::Ws).len(), 2, "the second one is kept");
    gateway.finish().await;
}

#[tokio::test]
async fn a_websocket_that_misses_changes_of_the_queue_is_replaced_though_no_job_of_ours_runs() {
    let clock = manual();
    let comfy = simulator().await;
    let gateway = Gateway::on_clock(clock.clone(), &[&comfy], |_| {}).await;
    until_backend(&gateway, Some(&clock), "gpu-1", |body| body["websocket"] == true).await;
    comfy.deafen_websockets();
    submit_foreign(&gateway, &comfy, hold("theirs")).await;
    comfy.holding("theirs").await;
    until_backend(&gateway, Some(&clock), "gpu-1", |_| comfy.requests(FaultRoute::Ws).len() == 2).await;
    let body = until_backend(&gateway, Some(&clock), "gpu-1", |body| body["queue_remaining"] == 1).await;
    assert_eq!(body["foreign_jobs"], 1);
    comfy.release("theirs");
    gateway.finish().await;
}

#[tokio::test]
async fn a_backend_with_lower_job_numbers_was_restarted_and_its_node_classes_are_read_again() {
    let clock = manual();
    let comfy = simulator().await;
    comfy.faults().always(FaultRoute::Ws, RequestFault::Status(403, String::new()));
    let gateway = Gateway::on_clock(clock.clone(), &[&comfy], |_| {}).await;
    let id = gateway.submit(picture(1)).await;
    assert_eq!(until_ended(&gateway, &clock, &id).await["status"], "completed");
    let sent: Value = serde_json::from_slice(&comfy.requests(FaultRoute::Prompt)[0].body).unwrap();
    let queue = |number: u32, id: &str| {
        let job = json!([number, id, {}, { "client_id": sent["client_id"] }, []]);
        RequestFault::Body(json!({ "queue_running": [job], "queue_pending": [] }).to_string())
    };
    let reads = comfy.requests(FaultRoute::ObjectInfo).len();
    comfy.faults().next(FaultRoute::Queue, 3, queue(40, "a"));
    let asked = comfy.requests(FaultRoute::Queue).len();
    until_backend(&gateway, Some(&clock), "gpu-1", |_| comfy.requests(FaultRoute::Queue).len() >= asked + 3)
        .await;
    assert_eq!(comfy.requests(FaultRoute::ObjectInfo).len(), reads);
    comfy.faults().next(FaultRoute::Queue, 1, queue(0, "b"));
    until_backend(&gateway, Some(&clock), "gpu-1", |_| comfy.requests(FaultRoute::Queue).len() >= asked + 4)
        .await;
    // The clock stands still, and the next regular refresh is minutes away.
    let read_again = comfy.until(|record| record.requests(FaultRoute::ObjectInfo) > reads);
    tokio::time::timeout(Duration::from_secs(20), read_again).await.unwrap();
    gateway.finish().await;
}

#[tokio::test]
async fn a_queue_that_cannot_be_read_degrades_its_backend() {
    let clock = manual();
    let comfy = simulator().await;
    let gateway = Gateway::on_clock(clock.clone(), &[&comfy], |_| {}).await;
    comfy.faults().always(FaultRoute::Queue, RequestFault::Status(500, "broken".to_owned()));
    let body = until_backend(&gateway, Some(&clock), "gpu-1", in_state("degraded")).await;
    assert!(body["reason"].as_str().unwrap().contains("queue"), "{body:#}");
    comfy.faults().clear();
    until_backend(&gateway, Some(&clock), "gpu-1", in_state("up")).await;
    gateway.finish().await;
}

#[tokio::test]
async fn a_backend_whose_node_classes_cannot_be_read_is_degraded() {
    let clock = manual();
    let comfy = simulator().await;
    comfy.faults().always(FaultRoute::ObjectInfo, RequestFault::Garbage);
    let gateway = Gateway::on_clock(clock.clone(), &[&comfy], |_| {}).await;
    let body = until_backend(&gateway, Some(&clock), "gpu-1", in_state("degraded")).await;
    assert!(body["reason"].as_str().unwrap().contains("what it can run"), "{body:#}");
    comfy.faults().clear();
    until_backend(&gateway, Some(&clock), "gpu-1", in_state("up")).await;
    gateway.finish().await;
}

#[tokio::test]
async fn a_configured_backend_hides_an_added_one_of_the_same_name() {
    let (configured, added) = (simulator().await, simulator().await);
    let gateway = Gateway::in_front_of(&[]).await;
    add(&gateway, "gpu-1", &added).await;
    let mut left = gateway.stop().await;
    left.settings.backends = vec![crate::support::backend("gpu-1", &configured.url())];
    let gateway = left.start().await;
    let body = backend(&gateway, "gpu-1").await;
    assert_eq!((&body["configured"], &body["url"]), (&json!(true), &json!(configured.url())));
    let mut left = gateway.stop().await;
    left.settings.backends.clear();
    let gateway = left.start().await;
    assert_eq!(
        backend(&gateway, "gpu-1").await["url"],
        added.url(),
        "the added backend was hidden, not deleted"
    );
    gateway.finish().await;
}

#[tokio::test]
async fn a_backend_that_does_not_end_a_run_gets_no_work_until_the_run_is_gone() {
    let clock = manual();
    let comfy = simulator().await;
    let gateway = Gateway::on_clock(clock.clone(), &[&comfy], one_slot).await;
    until_backend(&gateway, Some(&clock), "gpu-1", |body| body["websocket"] == true).await;
    comfy.faults().stick_worker();
    let stuck = gateway.execute(&json!({ "workflow": picture(1), "timeout": 1 })).await;
    comfy.started(&stuck).await;
    let body = until_backend(&gateway, Some(&clock), "gpu-1", in_state("down")).await;
    let reason = body["reason"].as_str().unwrap();
    assert!(reason.contains(&stuck) && reason.contains("restart this ComfyUI"), "{reason}");
    assert_eq!(gateway.result(&stuck).await["error"]["code"], "timeout");
    assert_eq!((&body["foreign_jobs"], &body["drained"]), (&json!(0), &json!(false)));
    let next = gateway.submit(picture(2)).await;
    let probes = comfy.requests(FaultRoute::Queue).len();
    until_backend(&gateway, Some(&clock), "gpu-1", |_| comfy.requests(FaultRoute::Queue).len() > probes + 3)
        .await;
    assert_eq!(
        (backend(&gateway, "gpu-1").await["state"].as_str(), comfy.runs(&next).queued),
        (Some("down"), 0)
    );
    comfy.faults().unstick();
    until_backend(&gateway, Some(&clock), "gpu-1", in_state("up")).await;
    assert_eq!(until_ended(&gateway, &clock, &next).await["status"], "completed");
    gateway.finish().await;
}
