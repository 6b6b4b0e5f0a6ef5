//! Attempts that fail: what is retried, where, how often, and how the result reports it.

use std::time::Duration;

use comfy_gateway::simulator::{FaultRoute, RequestFault, Simulator, SimulatorConfig};
use serde_json::{Value, json};

use crate::support::{Gateway, Settings, fails, hold, picture, poll, shows, simulator, text};

fn one_slot_each(settings: &mut Settings) {
    settings.backends.iter_mut().for_each(|backend| backend.slots = 1);
}

/// Stalled runs are interrupted soon.
fn impatient(settings: &mut Settings) {
    one_slot_each(settings);
    settings.scheduler.stall = Duration::from_millis(1_800);
    settings.scheduler.interrupt_grace = Duration::from_millis(300);
}

async fn up(servers: &[&Simulator]) {
    for server in servers {
        server.until(|record| record.open_sockets() == 1).await;
    }
}

/// A backend with this many gigabytes.
async fn with_memory(gigabytes: u64) -> Simulator {
    let bytes = gigabytes << 30;
    let config = SimulatorConfig {
        history_gap: Duration::ZERO,
        vram_total: bytes,
        vram_free: bytes,
        ..SimulatorConfig::default()
    };
    Simulator::start_local(config).await.unwrap()
}

async fn until_memory_known(gateway: &Gateway) {
    until_backends(gateway, |backend| backend["vram"]["total"].is_u64()).await;
}

/// Waits until no backend has a reason to be avoided. A probe that was under way while a run ended may count
/// that run as a foreign job, until the next probe.
async fn until_all_alike(gateway: &Gateway) {
    until_backends(gateway, |backend| backend["state"] == "up" && backend["foreign_jobs"] == 0).await;
}

async fn until_backends(gateway: &Gateway, is_ready: impl Fn(&Value) -> bool) {
    poll(async || {
        let body: Value = gateway.get("/backends").await.json().await.unwrap();
        body["backends"].as_array().unwrap().iter().all(&is_ready).then_some(())
    })
    .await;
}

/// The backend and the outcome of each attempt.
fn history(result: &Value) -> Vec<(&str, &str)> {
    let attempts = result["attempt_history"].as_array().unwrap();
    attempts
        .iter()
        .map(|attempt| (attempt["backend"].as_str().unwrap(), attempt["outcome"].as_str().unwrap()))
        .collect()
}

fn reason(result: &Value, attempt: usize) -> &str {
    result["attempt_history"][attempt]["reason"].as_str().unwrap()
}

/// The graphs that were submitted to the backend.
fn graphs(comfy: &Simulator) -> Vec<Value> {
    let seen = comfy.requests(FaultRoute::Prompt).into_iter().filter(|request| request.method == "POST");
    seen.map(|request| serde_json::from_slice::<Value>(&request.body).unwrap()["prompt"].clone()).collect()
}

/// Whether each node of a graph has the input that bypasses the cache.
fn is_fresh(graph: &Value) -> bool {
    graph.as_object().unwrap().values().all(|node| node["inputs"]["comfy_gateway_run"].is_string())
}

/// Waits until the gateway knows that the job runs, and not only that it was submitted.
async fn until_running(gateway: &Gateway, id: &str) {
    gateway.until(id, |body| body["progress"]["current_node"].is_string()).await;
}

#[tokio::test]
async fn out_of_memory_unloads_the_models_before_the_next_try_and_the_history_tells_of_both() {
    let comfy = simulator().await;
    let gateway = Gateway::in_front_of(&[&comfy]).await;
    comfy.faults().out_of_memory(1);
    let result = gateway.run(picture(6)).await;
    assert_eq!(history(&result), [("gpu-1", "out_of_memory"), ("gpu-1", "completed")], "{result:#}");
    let all = comfy.requests(FaultRoute::All);
    let order: Vec<FaultRoute> = all
        .iter()
        .filter(|request| request.method == "POST")
        .map(|request| request.route)
        .filter(|route| [FaultRoute::Prompt, FaultRoute::Free].contains(route))
        .collect();
    assert_eq!(order, [FaultRoute::Prompt, FaultRoute::Free, FaultRoute::Prompt]);
    let freed: Value = serde_json::from_slice(&comfy.requests(FaultRoute::Free)[0].body).unwrap();
    assert_eq!(freed, json!({ "unload_models": true, "free_memory": true }));

    assert!(reason(&result, 0).contains("ran out of memory"), "{result:#}");
    let attempts = result["attempt_history"].as_array().unwrap();
    assert_eq!(attempts[1]["reason"], Value::Null);
    // All of the same length, so that their order is that of the moments.
    let mut moments = vec![result["created_at"].as_str().unwrap()];
    for (at, attempt) in attempts.iter().enumerate() {
        assert_eq!(attempt["number"], at + 1);
        moments.extend(["started_at", "ended_at"].map(|which| attempt[which].as_str().unwrap()));
    }
    assert!(moments.is_sorted(), "{moments:?}");
    assert_eq!(result["finished_at"], attempts[1]["ended_at"]);
    gateway.finish().await;
}

#[tokio::test]
async fn what_ran_out_of_memory_goes_to_a_server_with_more_of_it_now_and_the_next_time() {
    let (small, large) = (with_memory(8).await, with_memory(24).await);
    let gateway = Gateway::with(&[&small, &large], one_slot_each).await;
    up(&[&small, &large]).await;
    until_memory_known(&gateway).await;
    small.faults().out_of_memory(1);
    let result = gateway.run(text("one", "")).await;
    assert_eq!(history(&result), [("gpu-1", "out_of_memory"), ("gpu-2", "completed")], "{result:#}");
    // Another job like it, with the small server first in line and idle; and one unlike it.
    let result = gateway.run(text("two", "")).await;
    assert_eq!(history(&result), [("gpu-2", "completed")], "{result:#}");
    until_all_alike(&gateway).await;
    assert_eq!(history(&gateway.run(picture(1)).await), [("gpu-1", "completed")]);
    // It is known after a restart, too, and no reason to wait when the large one is gone.
    let gateway = gateway.stop().await.start().await;
    up(&[&small, &large]).await;
    until_memory_known(&gateway).await;
    assert_eq!(history(&gateway.run(text("three", "")).await), [("gpu-2", "completed")]);
    gateway.post("/backends/gpu-2/cordon", &json!({})).await;
    assert_eq!(history(&gateway.run(text("four", "")).await), [("gpu-1", "completed")]);
    gateway.finish().await;
}

#[tokio::test]
async fn a_job_says_itself_how_often_it_may_fail() {
    let comfy = simulator().await;
    let gateway = Gateway::in_front_of(&[&comfy]).await;
    for most in [1, 2, 4] {
        let body = json!({ "workflow": fails("oom"), "max_attempts": most });
        let id = gateway.execute(&body).await;
        let result = gateway.result(&id).await;
        assert_eq!(
            (&result["error"]["code"], &result["attempts"]),
            (&json!("out_of_memory"), &json!(most)),
            "{result:#}"
        );
        assert_eq!(history(&result), vec![("gpu-1", "out_of_memory"); most]);
    }
    assert_eq!(comfy.requests(FaultRoute::Free).len(), 4, "nothing is freed for a run that is not to come");
    gateway.finish().await;
}

#[tokio::test]
async fn a_job_under_which_two_servers_die_is_given_to_no_third() {
    let servers = [simulator().await, simulator().await, simulator().await];
    let all: Vec<&Simulator> = servers.iter().collect();
    let gateway = Gateway::with(&all, |settings| {
        one_slot_each(settings);
        settings.scheduler.retry.max_attempts = 9;
    })
    .await;
    up(&all).await;
    let id = gateway.submit(hold("a")).await;
    for server in &servers[..2] {
        server.holding("a").await;
        until_running(&gateway, &id).await;
        server.crash().await;
    }
    let result = gateway.result(&id).await;
    let error = &result["error"];
    assert_eq!((&result["status"], &error["code"]), (&json!("failed"), &json!("poison")), "{result:#}");
    let msg = result["msg"].as_str().unwrap();
    assert!(msg.starts_with("the backends gpu-1 and gpu-2 crashed while they ran the job"), "{msg}");
    assert_eq!(history(&result), [("gpu-1", "backend_lost"), ("gpu-2", "poison")]);
    assert_eq!(error["retryable"], false);
    assert_eq!(servers[2].all_runs(), []);
    gateway.finish().await;
}

#[tokio::test]
async fn a_server_that_is_back_before_it_is_missed_went_down_all_the_same() {
    let servers = [simulator().await, simulator().await];
    let gateway = Gateway::with(&[&servers[0], &servers[1]], one_slot_each).await;
    up(&[&servers[0], &servers[1]]).await;
    let id = gateway.submit(hold("a")).await;
    for server in &servers {
        server.holding("a").await;
        until_running(&gateway, &id).await;
        server.restart().await.unwrap();
    }
    let result = gateway.result(&id).await;
    assert_eq!(result["error"]["code"], "poison", "{result:#}");
    gateway.finish().await;
}

#[tokio::test]
async fn a_job_that_only_waited_where_a_server_died_is_no_poison() {
    let (one, two) = (simulator().await, simulator().await);
    two.crash().await;
    let gateway = Gateway::with(&[&one, &two], |settings| settings.scheduler.retry.max_attempts = 9).await;
    let runs = gateway.submit(hold("a")).await;
    let waits = gateway.submit(text("x", "")).await;
    for (server, other) in [(&one, &two), (&two, &one)] {
        server.holding("a").await;
        until_running(&gateway, &runs).await;
        // It may have been the first to be due again, and have had its turn already.
        gateway.until(&waits, |body| body["status"] != "queued").await;
        server.crash().await;
        for id in [&runs, &waits] {
            gateway.until(id, |body| body["status"] != "running").await;
        }
        other.restart().await.unwrap();
    }
    assert_eq!(gateway.result(&runs).await["error"]["code"], "poison");
    assert_eq!(gateway.result(&waits).await["status"], "completed");
    gateway.finish().await;
}

#[tokio::test]
async fn a_run_without_progress_is_interrupted_and_tried_elsewhere() {
    let (one, two) = (simulator().await, simulator().await);
    let gateway = Gateway::with(&[&one, &two], impatient).await;
    up(&[&one, &two]).await;
    let id = gateway.submit(hold("a")).await;
    one.holding("a").await;
    two.holding("a").await;
    assert_eq!(one.all_runs()[0].1.failed, 1, "it is not left to run on");
    two.release("a");
    let result = gateway.result(&id).await;
    assert_eq!(history(&result), [("gpu-1", "stalled"), ("gpu-2", "completed")], "{result:#}");
    assert!(reason(&result, 0).contains("no progress for 1.8 s"), "{result:#}");
    gateway.finish().await;
}

#[tokio::test]
async fn a_server_that_ignores_the_interrupt_gets_no_more_work_until_the_run_is_gone() {
    let (one, two) = (simulator().await, simulator().await);
    let gateway = Gateway::with(&[&one, &two], impatient).await;
    up(&[&one, &two]).await;
    one.faults().stick_worker();
    let id = gateway.submit(hold("a")).await;
    two.holding("a").await;
    two.release("a");
    let result = gateway.result(&id).await;
    assert_eq!(history(&result), [("gpu-1", "stalled"), ("gpu-2", "completed")], "{result:#}");
    let held = one.all_runs()[0].0.clone();
    assert!(!one.requests(FaultRoute::Interrupt).is_empty());
    assert_eq!(one.runs(&held).finished(), 0, "it is still there");
    let down: Value = gateway.get("/backends/gpu-1").await.json().await.unwrap();
    assert_eq!(down["state"], "down", "{down:#}");
    // Its slot is not free: all work goes to the other.
    for color in 0..4 {
        assert_eq!(history(&gateway.run(picture(color)).await), [("gpu-2", "completed")]);
    }
    one.faults().unstick();
    one.finished(&held).await;
    let (both, again) = (gateway.submit(hold("b")).await, gateway.submit(hold("b")).await);
    one.holding("b").await;
    two.holding("b").await;
    one.release("b");
    two.release("b");
    for id in [both, again] {
        assert_eq!(gateway.result(&id).await["status"], "completed");
    }
    gateway.finish().await;
}

#[tokio::test]
async fn outputs_that_come_empty_from_the_cache_are_made_anew_once() {
    let comfy = simulator().await;
    let gateway = Gateway::in_front_of(&[&comfy]).await;
    let expands = json!({ "1": {"class_type": "LabExpand", "inputs": {"prefix": "e", "color": 9}} });
    let first = gateway.run(expands.clone()).await;
    assert_eq!((history(&first).len(), first["images"].as_array().unwrap().len()), (1, 1), "{first:#}");
    let again = gateway.run(expands).await;
    assert_eq!(history(&again), [("gpu-1", "output_unavailable"), ("gpu-1", "completed")], "{again:#}");
    assert_eq!(again["images"].as_array().unwrap().len(), 1);
    assert!(reason(&again, 0).contains("cache"), "{again:#}");
    let handed: Vec<bool> = graphs(&comfy).iter().map(is_fresh).collect();
    assert_eq!(handed, [false, false, true]);
    gateway.finish().await;
}

#[tokio::test]
async fn a_cached_output_whose_file_is_gone_is_made_anew() {
    let comfy = simulator().await;
    let gateway = Gateway::in_front_of(&[&comfy]).await;
    assert_eq!(gateway.run(picture(7)).await["status"], "completed");
    for file in std::fs::read_dir(comfy.output_directory()).unwrap().flatten() {
        std::fs::remove_file(file.path()).unwrap();
    }
    let again = gateway.run(picture(7)).await;
    assert_eq!(history(&again), [("gpu-1", "output_unavailable"), ("gpu-1", "completed")], "{again:#}");
    assert!(gateway.bytes(&again["images"][0]).await.starts_with(b"\x89PNG"));
    let handed = graphs(&comfy);
    assert!(is_fresh(&handed[2]) && !is_fresh(&handed[1]), "{handed:#?}");
    let ids: Vec<&Value> =
        handed[2].as_object().unwrap().values().map(|node| &node["inputs"]["comfy_gateway_run"]).collect();
    assert!(ids.windows(2).all(|pair| pair[0] == pair[1]), "one run is one run to the cache");
    gateway.finish().await;
}

#[tokio::test]
async fn what_shows_nothing_and_was_not_cached_is_not_run_again() {
    let comfy = simulator().await;
    let gateway = Gateway::in_front_of(&[&comfy]).await;
    let result = gateway.run(shows(&json!({}))).await;
    assert_eq!(history(&result), [("gpu-1", "completed")], "{result:#}");
    gateway.finish().await;
}

#[tokio::test]
async fn faults_of_the_workflow_are_not_tried_again() {
    let comfy = simulator().await;
    let gateway = Gateway::in_front_of(&[&comfy]).await;
    let body = json!({ "workflow": fails("raise"), "max_attempts": 5 });
    let result = gateway.result(&gateway.execute(&body).await).await;
    assert_eq!(history(&result), [("gpu-1", "node_error")], "{result:#}");
    let refused = json!({ "error": {"type": "prompt_outputs_failed_validation", "message": "Prompt outputs failed validation", "details": "", "extra_info": {}}, "node_errors": {} });
    comfy.faults().next(FaultRoute::Prompt, 1, RequestFault::Status(400, refused.to_string()));
    let body = json!({ "workflow": picture(1), "max_attempts": 5 });
    let result = gateway.result(&gateway.execute(&body).await).await;
    assert_eq!(history(&result), [("gpu-1", "invalid_workflow")], "{result:#}");
    gateway.finish().await;
}
