//! Queue, history, jobs and their routes.

use serde_json::{Value, json};

use crate::client::{Lab, held, picture};

fn ids(list: &Value) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|item| item[1].as_str().unwrap()).collect()
}

#[tokio::test]
async fn one_job_runs_and_the_others_wait_in_their_order() {
    let lab = Lab::new().await;
    let running = lab.queue(&held("a"), "me").await;
    lab.simulator.holding("a").await;
    let second = lab.queue(&picture(1), "me").await;
    let (_, answer) = lab.submit(&json!({ "prompt": picture(2), "front": true })).await;
    let front = answer["prompt_id"].as_str().unwrap();
    assert_eq!(answer["number"], -2);
    let (_, answer) = lab.submit(&json!({ "prompt": picture(3), "number": 0.5 })).await;
    assert_eq!(answer["number"].to_string(), "0.5");
    let queue = lab.json("/queue").await;
    assert_eq!(ids(&queue["queue_running"]), [running.as_str()]);
    assert_eq!(ids(&queue["queue_pending"]), [front, answer["prompt_id"].as_str().unwrap(), &second]);
    assert_eq!(lab.json("/prompt").await["exec_info"]["queue_remaining"], 4);
    assert_eq!(queue["queue_running"][0][2], held("a"));
    lab.simulator.release("a");
    lab.history(&second).await;
    assert_eq!(lab.json("/queue").await, json!({ "queue_running": [], "queue_pending": [] }));
}

#[tokio::test]
async fn pending_jobs_can_be_deleted_without_a_trace_and_the_running_one_not() {
    let lab = Lab::new().await;
    let running = lab.queue(&held("a"), "me").await;
    lab.simulator.holding("a").await;
    let (one, two) = (lab.queue(&picture(1), "me").await, lab.queue(&picture(2), "me").await);
    assert_eq!(lab.post("/queue", &json!({ "delete": [one, running, "unknown"] })).await.status(), 200);
    let queue = lab.json("/queue").await;
    assert_eq!((ids(&queue["queue_running"]), ids(&queue["queue_pending"])), (vec![&*running], vec![&*two]));
    lab.post("/queue", &json!({ "clear": true })).await;
    assert_eq!(lab.json("/queue").await["queue_pending"], json!([]));
    lab.simulator.release("a");
    lab.history(&running).await;
    assert_eq!(lab.json(&format!("/history/{one}")).await, json!({}));
    assert_eq!((lab.simulator.runs(&one).queued, lab.simulator.runs(&one).started), (1, 0));
}

#[tokio::test]
async fn the_same_id_runs_again_and_history_keeps_the_last() {
    let lab = Lab::new().await;
    let id = "6ae5a0f5-2b7b-4b4e-9e55-0a8b2c7d9e10";
    for color in [1, 2] {
        let (status, _) = lab.submit(&json!({ "prompt": picture(color), "prompt_id": id })).await;
        assert_eq!(status, 200);
        lab.simulator.until(|record| record.runs(id).succeeded == color).await;
    }
    assert_eq!(lab.json(&format!("/history/{id}")).await[id]["prompt"][2], picture(2));
    assert_eq!(lab.simulator.runs(id).started, 2);
}

#[tokio::test]
async fn the_same_id_and_number_pending_is_500_and_runs() {
    let lab = Lab::new().await;
    lab.queue(&held("a"), "me").await;
    lab.simulator.holding("a").await;
    let id = "6ae5a0f5-2b7b-4b4e-9e55-0a8b2c7d9e10";
    let envelope = json!({ "prompt": picture(1), "prompt_id": id, "number": 7 });
    assert_eq!(lab.submit(&envelope).await.0, 200);
    assert_eq!(lab.submit(&envelope).await.0, 500);
    lab.simulator.release("a");
    lab.simulator.until(|record| record.runs(id).succeeded == 2).await;
}

#[tokio::test]
async fn history_is_read_in_windows_and_can_be_cleared() {
    let lab = Lab::new().await;
    let mut queued = Vec::new();
    for color in 0..3 {
        queued.push(lab.queue(&picture(color), "me").await);
        lab.history(&queued[queued.len() - 1]).await;
    }
    let keys = |value: Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(lab.json("/history").await), queued);
    assert_eq!(keys(lab.json("/history?max_items=1").await), queued[2..]);
    assert_eq!(lab.json("/history/unknown").await, json!({}));
    lab.post("/history", &json!({ "delete": [queued[0]] })).await;
    assert_eq!(keys(lab.json("/api/history").await), queued[1..]);
    lab.post("/history", &json!({ "clear": true })).await;
    assert_eq!(lab.json("/history").await, json!({}));
    assert_eq!(lab.http.post(lab.url("/history")).send().await.unwrap().status(), 500);
}

#[tokio::test]
async fn jobs_are_listed_in_all_their_states() {
    let lab = Lab::new().await;
    let done = lab.queue(&picture(1), "me").await;
    lab.history(&done).await;
    let failed = lab
        .queue(
            &json!({ "1": { "class_type": "LabFail", "inputs": { "mode": "raise", "message": "x" } } }),
            "me",
        )
        .await;
    lab.history(&failed).await;
    let running = lab.queue(&held("a"), "me").await;
    lab.simulator.holding("a").await;
    let pending = lab.queue(&picture(2), "me").await;
    for (id, state) in
        [(&done, "completed"), (&failed, "failed"), (&running, "in_progress"), (&pending, "pending")]
    {
        assert_eq!(lab.json(&format!("/api/jobs/{id}")).await["status"], state);
    }
    let job = lab.json(&format!("/api/jobs/{done}")).await;
    assert_eq!(job["preview_output"]["filename"], "cap_00001_.png");
    assert_eq!(job["outputs_count"], 1);
    let list = lab.json("/api/jobs?status=failed,pending").await;
    assert_eq!(list["pagination"]["total"], 2);
    assert_eq!(lab.json("/api/jobs?limit=1").await["pagination"]["has_more"], true);
    assert_eq!(lab.get("/api/jobs/unknown").await.status(), 404);
    let cancel = lab.post(&format!("/api/jobs/{running}/cancel"), &json!({})).await;
    assert!([404, 405].contains(&cancel.status().as_u16()));
}

#[tokio::test]
async fn a_callers_broken_extra_data_breaks_the_list_of_jobs() {
    let lab = Lab::new().await;
    let (_, answer) =
        lab.submit(&json!({ "prompt": picture(1), "extra_data": { "extra_pnginfo": null } })).await;
    lab.history(answer["prompt_id"].as_str().unwrap()).await;
    assert_eq!(lab.get("/api/jobs").await.status(), 500);
    assert_eq!(lab.get("/queue").await.status(), 200);
}

#[tokio::test]
async fn every_route_exists_below_a_prefix_too() {
    let config = comfy_gateway::simulator::SimulatorConfig {
        prefix: Some("/comfy".to_owned()),
        ..crate::client::quick()
    };
    let lab = Lab::with(config).await;
    assert!(lab.simulator.url().ends_with("/comfy"));
    assert_eq!(lab.run(&picture(1)).await["status"]["status_str"], "success");
    assert_eq!(lab.json("/api/queue").await["queue_running"], json!([]));
    let outside = format!("http://{}/queue", lab.simulator.addr());
    assert_eq!(lab.http.get(outside).send().await.unwrap().status(), 404);
}

#[tokio::test]
async fn a_token_is_asked_for_when_configured() {
    let config =
        comfy_gateway::simulator::SimulatorConfig { bearer: Some("secret".into()), ..crate::client::quick() };
    assert!(!format!("{config:?}").contains("secret"));
    let lab = Lab::with(config).await;
    assert_eq!(lab.get("/queue").await.status(), 401);
    let wrong = lab.http.get(lab.url("/queue")).bearer_auth("wrong").send().await.unwrap();
    assert_eq!(wrong.status(), 401);
    let right = lab.http.get(lab.url("/queue")).bearer_auth("secret").send().await.unwrap();
    assert_eq!(right.status(), 200);
    let url = lab.url("/ws?clientId=x").replacen("http", "ws", 1);
    assert!(tokio_tungstenite::connect_async(url).await.is_err());
}

#[tokio::test]
async fn browsers_on_other_sites_are_refused() {
    let lab = Lab::new().await;
    let response =
        lab.http.get(lab.url("/queue")).header("origin", "http://evil.example").send().await.unwrap();
    assert_eq!(response.status(), 403);
}

#[tokio::test]
async fn the_device_and_its_memory_are_shown() {
    let lab = Lab::new().await;
    let stats = lab.json("/api/system_stats").await;
    assert_eq!(stats["system"]["comfyui_version"], "0.24.0");
    assert_eq!(stats["devices"][0]["vram_total"].as_u64(), Some(24 << 30));
    assert_eq!(lab.json("/features").await["max_upload_size"], 104_857_600);
    assert_eq!(lab.json("/embeddings").await, json!([]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_jobs_at_once_each_run_once() {
    let lab = Lab::new().await;
    let mut socket = lab.socket("me").await;
    let graphs: Vec<_> = (0..40).map(picture).collect();
    let ids = futures_util::future::join_all(graphs.iter().map(|graph| lab.queue(graph, "me"))).await;
    let mut over = 0;
    while over < ids.len() {
        let message = socket.message().await;
        over += usize::from(message["type"] == "executing" && message["data"]["node"].is_null());
    }
    for id in &ids {
        assert_eq!(lab.history(id).await["status"]["status_str"], "success");
        assert_eq!((lab.simulator.runs(id).started, lab.simulator.runs(id).succeeded), (1, 1));
    }
    assert_eq!(lab.simulator.all_runs().len(), ids.len());
}
