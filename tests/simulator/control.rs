//! The routes for whoever runs the simulator as a process: faults by HTTP, the report, waiting, and the run log.

use comfy_gateway::simulator::SimulatorConfig;
use serde_json::{Value, json};

use crate::client::{Lab, held, picture, quick};

async fn controlled() -> Lab {
    Lab::with(SimulatorConfig { control: true, ..quick() }).await
}

#[tokio::test]
async fn a_simulator_that_was_not_asked_to_has_no_such_routes() {
    let lab = Lab::new().await;
    assert_eq!(lab.get("/simulator/report").await.status(), 404);
    assert_eq!(lab.post("/simulator/faults", &json!({})).await.status(), 404);
}

#[tokio::test]
async fn faults_are_scripted_taken_back_and_misunderstood_ones_refused() {
    let lab = controlled().await;
    let orders = json!({ "requests": [
        { "route": "queue", "times": 1, "fault": { "status": 503 } },
        { "route": "queue", "times": 1, "fault": "garbage" },
        { "route": "history", "fault": "drop_before" },
        { "route": "all", "fault": { "slow": 1 } },
    ] });
    assert_eq!(lab.post("/simulator/faults", &orders).await.status(), 200);
    assert_eq!(lab.get("/queue").await.status(), 503);
    assert!(lab.get("/queue").await.text().await.unwrap().contains("no JSON"));
    assert_eq!(lab.get("/queue").await.status(), 200);
    for _ in 0..2 {
        assert!(lab.http.get(lab.url("/history")).send().await.is_err());
    }
    lab.post("/simulator/faults", &json!({ "clear": true })).await;
    assert_eq!(lab.get("/history").await.status(), 200);
    let unknown = json!({ "requests": [{ "route": "queue", "fault": "bad luck" }] });
    assert_eq!(lab.post("/simulator/faults", &unknown).await.status(), 400);
}

#[tokio::test]
async fn the_report_counts_runs_and_tells_what_runs_now() {
    let lab = controlled().await;
    let done = lab.queue(&picture(1), "me").await;
    lab.history(&done).await;
    let running = lab.queue(&held("a"), "me").await;
    lab.simulator.holding("a").await;
    let report = lab.json("/simulator/report").await;
    assert_eq!(report["running"], running);
    assert_eq!(report["runs"][&done], json!({ "queued": 1, "started": 1, "succeeded": 1, "failed": 0 }));
    assert_eq!(report["runs"][&running]["succeeded"], 0);
    assert!(report["idle"].as_array().unwrap().len() >= 2, "{report}");
    assert!(report["requests"].as_u64().unwrap() >= 2 && report["sockets_opened"] == 0);
    lab.simulator.release("a");
}

#[tokio::test]
async fn waiting_ends_with_so_many_more_runs_or_requests() {
    let lab = controlled().await;
    let seen = lab.json("/simulator/until?route=prompt&more=2&started=2&ended=1");
    tokio::pin!(seen);
    // What began before the waiting does not count for it.
    let mut colour = 0;
    let report = loop {
        colour += 1;
        let graph = picture(colour);
        tokio::select! {
            report = &mut seen => break report,
            _id = lab.queue(&graph, "me") => {}
        }
    };
    assert!(report["runs"].as_object().unwrap().len() >= 2, "{report}");
}

#[tokio::test]
async fn the_run_log_has_what_happened_over_a_crash() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("runs.jsonl");
    let config = SimulatorConfig { control: true, run_log: Some(path.clone()), ..quick() };
    let lab = Lab::with(config).await;
    let first = lab.queue(&picture(1), "me").await;
    lab.history(&first).await;
    lab.post("/simulator/faults", &json!({ "jobs": { "crash_after": 0 } })).await;
    let second = lab.queue(&picture(2), "me").await;
    lab.simulator.crashed().await;
    lab.simulator.restart().await.unwrap();
    let failing =
        json!({ "1": { "class_type": "LabFail", "inputs": { "mode": "interrupt", "message": "x" } } });
    let third = lab.queue(&failing, "me").await;
    lab.history(&third).await;
    lab.simulator.stop().await;
    let text = std::fs::read_to_string(&path).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let told: Vec<(&str, &str)> = lines
        .iter()
        .map(|line| (line["event"].as_str().unwrap(), line["id"].as_str().unwrap_or_default()))
        .collect();
    let expected = [
        ("up", ""),
        ("queued", &*first),
        ("started", &first),
        ("succeeded", &first),
        ("queued", &second),
        ("started", &second),
        ("down", ""),
        ("up", ""),
        ("queued", &third),
        ("started", &third),
        ("interrupted", &third),
    ];
    assert_eq!(told, expected);
    assert!(lines.iter().all(|line| line["at"].is_number()));
}
