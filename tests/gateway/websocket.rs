//! The websocket only adds speed and progress. Jobs end correctly even if it fails.

use std::sync::Arc;
use std::time::Duration;

use comfy_gateway::clock::ManualClock;
use comfy_gateway::domain::time::UnixMillis;
use comfy_gateway::simulator::{FaultRoute, RequestFault, Simulator, SimulatorConfig};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::support::{Gateway, Settings, hold, simulator, text};

/// Polls so rarely that only the websocket can report an end in time.
fn poll_rarely(settings: &mut Settings) {
    settings.scheduler.poll = Duration::from_mins(10);
}

#[tokio::test]
async fn with_a_websocket_the_end_is_known_without_polling() {
    let comfy = simulator().await;
    let gateway = Gateway::with(&[&comfy], poll_rarely).await;
    comfy.until(|record| record.open_sockets() == 1).await;
    let result = gateway.run(text("x", "")).await;
    assert_eq!(result["status"], "completed");
    assert!(
        comfy.requests(FaultRoute::History).len() <= 3,
        "the history is read only after the event of the end"
    );
    assert_eq!(comfy.requests(FaultRoute::Queue).len(), 1, "only the first probe reads the queue");
    gateway.finish().await;
}

#[tokio::test]
async fn the_history_is_awaited_when_the_event_of_the_end_comes_first() {
    let config = SimulatorConfig { history_gap: Duration::from_millis(60), ..SimulatorConfig::default() };
    let comfy = Simulator::start_local(config).await.unwrap();
    let gateway = Gateway::in_front_of(&[&comfy]).await;
    comfy.until(|record| record.open_sockets() == 1).await;
    let id = gateway.submit(text("x", "")).await;
    let result = gateway.result(&id).await;
    assert_eq!((&result["status"], &result["attempts"]), (&json!("completed"), &json!(1)), "{result:#}");
    assert_eq!(comfy.runs(&id).started, 1);
    gateway.finish().await;
}

#[tokio::test]
async fn a_refused_websocket_costs_no_job() {
    let comfy = simulator().await;
    comfy.faults().always(FaultRoute::Ws, RequestFault::Status(403, String::new()));
    let gateway = Gateway::in_front_of(&[&comfy]).await;
    let id = gateway.submit(hold("a")).await;
    comfy.holding("a").await;
    comfy.release("a");
    comfy.finished(&id).await;
    let polls = comfy.requests(FaultRoute::History).len();
    assert_eq!(gateway.result(&id).await["status"], "completed");
    assert!(comfy.requests(FaultRoute::History).len() <= polls + 2, "the next poll finds the end");
    let backends: Value = gateway.get("/backends").await.json().await.unwrap();
    assert_eq!(backends["backends"][0]["websocket"], false);
    gateway.finish().await;
}

#[tokio::test]
async fn a_websocket_that_breaks_in_mid_job_is_opened_again() {
    let comfy = simulator().await;
    let gateway = Gateway::in_front_of(&[&comfy]).await;
    comfy.until(|record| record.open_sockets() == 1).await;
    let id = gateway.submit(hold("a")).await;
    comfy.holding("a").await;
    comfy.drop_websockets();
    comfy.until(|record| record.requests(FaultRoute::Ws) == 2 && record.open_sockets() == 1).await;
    comfy.release("a");
    assert_eq!(gateway.result(&id).await["status"], "completed");
    assert_eq!(comfy.runs(&id).started, 1);
    gateway.finish().await;
}

#[tokio::test]
async fn a_websocket_that_breaks_for_good_costs_no_job() {
    let comfy = simulator().await;
    let gateway = Gateway::in_front_of(&[&comfy]).await;
    comfy.until(|record| record.open_sockets() == 1).await;
    let id = gateway.submit(hold("a")).await;
    comfy.holding("a").await;
    comfy.faults().always(FaultRoute::Ws, RequestFault::DropBefore);
    comfy.drop_websockets();
    comfy.release("a");
    assert_eq!(gateway.result(&id).await["status"], "completed");
    gateway.finish().await;
}

#[tokio::test]
async fn a_websocket_that_goes_deaf_is_detected_and_replaced() {
    let comfy = simulator().await;
    let gateway = Gateway::in_front_of(&[&comfy]).await;
    comfy.until(|record| record.open_sockets() == 1).await;
    let id = gateway.submit(hold("a")).await;
    comfy.holding("a").await;
    comfy.deafen_websockets();
    // After the first probe, the queue is read only after a silence.
    comfy.until(|record| record.requests(FaultRoute::Queue) > 1).await;
    comfy.release("a");
    assert_eq!(gateway.result(&id).await["status"], "completed");
    comfy.until(|record| record.requests(FaultRoute::Ws) == 2).await;
    gateway.finish().await;
}

#[tokio::test]
async fn a_websocket_deaf_from_its_start_costs_no_job() {
    let comfy = simulator().await;
    comfy.faults().always(FaultRoute::Ws, RequestFault::Deaf);
    let gateway = Gateway::in_front_of(&[&comfy]).await;
    comfy.until(|record| record.open_sockets() == 1).await;
    let id = gateway.submit(hold("a")).await;
    comfy.holding("a").await;
    comfy.release("a");
    comfy.finished(&id).await;
    let polls = comfy.requests(FaultRoute::History).len();
    assert_eq!(gateway.result(&id).await["status"], "completed");
    assert!(comfy.requests(FaultRoute::History).len() <= polls + 2);
    gateway.finish().await;
}

#[tokio::test]
async fn garbage_unknown_and_huge_messages_are_ignored() {
    let comfy = simulator().await;
    let gateway = Gateway::with(&[&comfy], poll_rarely).await;
    comfy.until(|record| record.open_sockets() == 1).await;
    let id = gateway.submit(hold("a")).await;
    comfy.holding("a").await;
    for message in [
        "",
        "null",
        "[]",
        "{",
        "{\"type\":7}",
        "{\"type\":\"executing\"}",
        "{\"type\":\"executing\",\"data\":{\"node\":null}}",
        "{\"type\":\"progress\",\"data\":{\"value\":NaN,\"max\":Infinity,\"node\":\"1\"}}",
        "\u{1F4A5}",
    ] {
        comfy.send_text(message);
    }
    comfy.send_text(format!(
        r#"{{"type":"progress_state","data":{{"prompt_id":"{id}","nodes":[1,{{"x":{{}}}}]}}}}"#
    ));
    comfy.send_text(format!(
        r#"{{"type":"progress","data":{{"prompt_id":"{id}","node":"1","value":NaN,"max":-3}}}}"#
    ));
    comfy.send_huge(20 << 20);
    comfy.release("a");
    let result = gateway.result(&id).await;
    assert_eq!(result["status"], "completed", "{result:#}");
    assert_eq!(comfy.requests(FaultRoute::Ws).len(), 1, "the first websocket is still open");
    gateway.finish().await;
}

#[tokio::test]
async fn an_event_of_the_end_without_a_history_entry_is_not_believed() {
    let comfy = simulator().await;
    let gateway = Gateway::in_front_of(&[&comfy]).await;
    comfy.until(|record| record.open_sockets() == 1).await;
    let id = gateway.submit(hold("a")).await;
    comfy.holding("a").await;
    let before = comfy.requests(FaultRoute::History).len();
    comfy.send_text(format!(r#"{{"type":"execution_success","data":{{"prompt_id":"{id}","timestamp":1}}}}"#));
    comfy.until(|record| record.requests(FaultRoute::History) >= before + 4).await;
    assert_eq!(gateway.job(&id).await["status"], "running");
    comfy.release("a");
    let result = gateway.result(&id).await;
    assert_eq!((&result["status"], &result["texts"]), (&json!("completed"), &json!(["a"])));
    assert_eq!(comfy.runs(&id).queued, 1);
    gateway.finish().await;
}

#[tokio::test]
async fn progress_shows_while_a_job_runs() {
    let clock = Arc::new(ManualClock::new(UnixMillis::from_millis(1_700_000_000_000)));
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let config = SimulatorConfig { history_gap: Duration::ZERO, ..SimulatorConfig::default() };
    let comfy = Simulator::start(listener, config, clock.clone()).unwrap();
    let gateway = Gateway::in_front_of(&[&comfy]).await;
    comfy.until(|record| record.open_sockets() == 1).await;
    let id = gateway
        .submit(json!({
            "1": {"class_type": "LabSleep", "inputs": {"seconds": 40.0, "steps": 4, "preview": true, "interruptible": true, "seed": 1}},
            "2": {"class_type": "SimHold", "inputs": {"name": "a", "any": ["1", 0]}}
        }))
        .await;
    comfy.started(&id).await;
    for step in 1..=3 {
        while clock.sleepers() == 0 {
            tokio::task::yield_now().await;
        }
        clock.advance(Duration::from_secs(10));
        let now = gateway.until(&id, |body| body["progress"]["step"] == step).await;
        let progress = &now["progress"];
        assert_eq!((&progress["steps"], &progress["nodes_total"]), (&json!(4), &json!(2)));
        assert_eq!(
            (&progress["current_node"], &progress["current_node_class"]),
            (&json!("1"), &json!("LabSleep"))
        );
        // The first node counts for its four steps, the second for one.
        let expected = f64::from(step) / 5.0;
        assert!((progress["value"].as_f64().unwrap() - expected).abs() < 1e-9, "{progress:#}");
    }
    while clock.sleepers() == 0 {
        tokio::task::yield_now().await;
    }
    clock.advance(Duration::from_secs(10));
    comfy.holding("a").await;
    let now = gateway.until(&id, |body| body["progress"]["current_node"] == "2").await;
    assert_eq!(
        (&now["progress"]["nodes_done"], &now["progress"]["step"]),
        (&json!(1), &Value::Null),
        "{now:#}"
    );
    comfy.release("a");
    let result = gateway.result(&id).await;
    assert_eq!((&result["progress"], &result["duration"]), (&Value::Null, &json!(40.0)));
    gateway.finish().await;
}
