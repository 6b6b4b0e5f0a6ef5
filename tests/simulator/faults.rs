//! Scripted misfortune, crashes and restarts.

use std::sync::Arc;
use std::time::Duration;

use comfy_gateway::clock::ManualClock;
use comfy_gateway::domain::time::UnixMillis;
use comfy_gateway::simulator::{FaultRoute, RequestFault, Simulator};
use serde_json::json;
use tokio::net::TcpListener;
use tokio_tungstenite::tungstenite::Message;

use crate::client::{Lab, held, picture, quick};

#[tokio::test]
async fn a_status_or_body_comes_in_place_of_the_answer_as_often_as_scripted() {
    let lab = Lab::new().await;
    lab.simulator.faults().next(FaultRoute::Queue, 1, RequestFault::Status(503, "busy".to_owned()));
    lab.simulator.faults().next(FaultRoute::Queue, 1, RequestFault::Garbage);
    lab.simulator.faults().next(FaultRoute::Queue, 1, RequestFault::Body("{}".to_owned()));
    assert_eq!(lab.get("/history").await.status(), 200);
    assert_eq!(lab.get("/queue").await.status(), 503);
    assert!(lab.get("/queue").await.json::<serde_json::Value>().await.is_err());
    assert_eq!(lab.json("/queue").await, json!({}));
    assert_eq!(lab.json("/queue").await["queue_running"], json!([]));
    assert_eq!(lab.simulator.requests(FaultRoute::Queue).len(), 4);
}

#[tokio::test]
async fn a_request_hangs_until_it_is_released() {
    let lab = Lab::new().await;
    lab.simulator.faults().next(FaultRoute::All, 1, RequestFault::Hang);
    let request = lab.get("/queue");
    tokio::pin!(request);
    tokio::select! {
        _answer = &mut request => panic!("it should hang"),
        () = lab.simulator.until(|record| record.hanging() == 1) => {}
    }
    lab.simulator.faults().release_hanging();
    assert_eq!(request.await.status(), 200);
}

#[tokio::test]
async fn a_slow_answer_takes_its_time_on_the_clock() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let clock = Arc::new(ManualClock::new(UnixMillis::from_millis(1_000)));
    let simulator = Simulator::start(listener, quick(), clock.clone()).unwrap();
    simulator.faults().next(FaultRoute::Queue, 1, RequestFault::Slow(Duration::from_mins(1)));
    let request = reqwest::Client::builder().no_proxy().build().unwrap();
    let turn_the_clock = async {
        while clock.sleepers() == 0 {
            tokio::task::yield_now().await;
        }
        clock.advance(Duration::from_mins(1));
    };
    let (answer, ()) = tokio::join!(request.get(format!("{}/queue", simulator.url())).send(), turn_the_clock);
    assert_eq!(answer.unwrap().status(), 200);
}

#[tokio::test]
async fn a_dropped_connection_leaves_open_whether_it_was_acted_on() {
    let lab = Lab::new().await;
    let envelope = json!({ "prompt": picture(1), "prompt_id": "6ae5a0f5-2b7b-4b4e-9e55-0a8b2c7d9e10" });
    let send = async || lab.http.post(lab.url("/prompt")).json(&envelope).send().await;
    lab.simulator.faults().next(FaultRoute::Prompt, 1, RequestFault::DropBefore);
    lab.simulator.faults().next(FaultRoute::Prompt, 1, RequestFault::DropAfter);
    assert!(send().await.is_err());
    let id = envelope["prompt_id"].as_str().unwrap();
    assert_eq!(lab.simulator.runs(id).queued, 0);
    assert!(send().await.is_err());
    lab.history(id).await;
    assert_eq!(lab.simulator.runs(id).succeeded, 1);
}

#[tokio::test]
async fn an_answer_breaks_off_in_its_middle() {
    let lab = Lab::new().await;
    lab.run(&picture(1)).await;
    lab.simulator.faults().next(FaultRoute::View, 1, RequestFault::Truncate);
    let response = lab.get("/view?filename=cap_00001_.png").await;
    assert_eq!(response.status(), 200);
    assert!(response.bytes().await.is_err());
    assert!(lab.get("/view?filename=cap_00001_.png").await.bytes().await.is_ok());
}

#[tokio::test]
async fn a_websocket_is_refused_deaf_dropped_or_sent_anything() {
    let lab = Lab::new().await;
    lab.simulator.faults().next(FaultRoute::Ws, 1, RequestFault::Status(503, String::new()));
    lab.simulator.faults().next(FaultRoute::Ws, 1, RequestFault::Deaf);
    let url = lab.url("/ws?clientId=me").replacen("http", "ws", 1);
    assert!(tokio_tungstenite::connect_async(url).await.is_err());
    let mut deaf = lab.socket("me").await;
    lab.simulator.ws_connected("me").await;
    let id = lab.queue(&picture(1), "me").await;
    lab.history(&id).await;
    lab.simulator.drop_websockets();
    assert_eq!(deaf.next().await, None);
    let mut socket = lab.socket("me").await;
    assert_eq!(socket.message().await["type"], "status");
    lab.simulator.send_text("{no json");
    assert_eq!(socket.next().await, Some(Message::text("{no json")));
    lab.simulator.send_huge(1 << 20);
    assert!(socket.next().await.unwrap().len() > 1 << 20);
    lab.simulator.deafen_websockets();
    lab.simulator.send_text("never heard");
    lab.simulator.drop_websockets();
    assert_eq!(socket.next().await, None);
}

#[tokio::test]
async fn jobs_fail_as_scripted() {
    let lab = Lab::new().await;
    lab.simulator.faults().out_of_memory(1);
    let error = |entry: &serde_json::Value| entry["status"]["messages"][2][1]["exception_type"].clone();
    assert_eq!(error(&lab.run(&picture(1)).await), "torch.OutOfMemoryError");
    lab.simulator.faults().node_error(1);
    assert_eq!(error(&lab.run(&picture(1)).await), "RuntimeError");
    lab.simulator.faults().nan(1);
    let id = lab.queue(&picture(1), "me").await;
    lab.simulator.finished(&id).await;
    let text = lab.get(&format!("/history/{id}")).await.text().await.unwrap();
    assert!(text.contains(r#""nan":[NaN]"#), "{text}");
}

#[tokio::test]
async fn a_stuck_worker_moves_nothing_while_http_answers() {
    let lab = Lab::new().await;
    lab.simulator.faults().stick_worker();
    let id = lab.queue(&picture(1), "me").await;
    lab.simulator.started(&id).await;
    assert_eq!(lab.json("/queue").await["queue_running"][0][1], id);
    assert_eq!(lab.simulator.runs(&id).finished(), 0);
    lab.simulator.faults().unstick();
    assert_eq!(lab.history(&id).await["status"]["status_str"], "success");
}

#[tokio::test]
async fn a_forgotten_job_is_nowhere_and_the_next_one_runs() {
    let lab = Lab::new().await;
    let id = lab.queue(&held("a"), "me").await;
    lab.simulator.holding("a").await;
    lab.simulator.forget(&id);
    assert_eq!(lab.json("/queue").await["queue_running"], json!([]));
    assert_eq!(lab.json(&format!("/history/{id}")).await, json!({}));
    assert_eq!(lab.run(&picture(1)).await["status"]["status_str"], "success");
    assert_eq!(lab.simulator.runs(&id).finished(), 0);
}

#[tokio::test]
async fn a_restart_loses_everything_but_the_files() {
    let lab = Lab::new().await;
    let done = lab.queue(&picture(1), "me").await;
    lab.history(&done).await;
    let mut socket = lab.socket("me").await;
    let running = lab.queue(&held("a"), "me").await;
    lab.simulator.holding("a").await;
    let pending = lab.queue(&picture(2), "me").await;
    lab.simulator.crash().await;
    while socket.next().await.is_some() {}
    lab.simulator.until(|record| !record.is_holding("a")).await;
    let refused = lab.http.get(lab.url("/queue")).send().await.unwrap_err();
    assert!(refused.is_connect(), "{refused:?}");
    lab.simulator.restart().await.unwrap();
    assert_eq!(lab.json("/queue").await, json!({ "queue_running": [], "queue_pending": [] }));
    for id in [&done, &running, &pending] {
        assert_eq!(lab.json(&format!("/history/{id}")).await, json!({}));
    }
    assert_eq!(lab.get("/view?filename=cap_00001_.png").await.status(), 200);
    let again = lab.run(&picture(1)).await;
    assert_eq!(again["outputs"]["2"]["images"][0]["filename"], "cap_00002_.png", "the cache is gone");
    assert_eq!(lab.simulator.runs(&done).succeeded, 1, "the record is not");
}

#[tokio::test]
async fn it_dies_in_the_middle_of_a_job() {
    let lab = Lab::new().await;
    lab.simulator.faults().crash_after(1);
    let id = lab.queue(&picture(1), "me").await;
    lab.simulator.crashed().await;
    assert!(lab.http.get(lab.url("/queue")).send().await.is_err());
    assert_eq!((lab.simulator.runs(&id).started, lab.simulator.runs(&id).finished()), (1, 0));
    lab.simulator.restart().await.unwrap();
    lab.queue(
        &json!({ "1": { "class_type": "LabFail", "inputs": { "mode": "exit", "message": "" } } }),
        "me",
    )
    .await;
    lab.simulator.crashed().await;
    lab.simulator.restart().await.unwrap();
    assert_eq!(lab.run(&picture(1)).await["status"]["status_str"], "success");
}

#[tokio::test]
async fn a_client_id_that_is_no_text_takes_it_down() {
    let lab = Lab::new().await;
    // Whether the answer still comes is open.
    let _answer = lab
        .http
        .post(lab.url("/prompt"))
        .json(&json!({ "prompt": picture(1), "client_id": ["a"] }))
        .send()
        .await;
    lab.simulator.crashed().await;
    assert!(lab.http.get(lab.url("/queue")).send().await.is_err());
}

#[tokio::test]
async fn a_graceful_stop_closes_sockets_and_lets_go_of_what_hangs() {
    let lab = Lab::new().await;
    let mut socket = lab.socket("me").await;
    assert_eq!(socket.message().await["type"], "status");
    lab.simulator.faults().next(FaultRoute::Queue, 1, RequestFault::HangAfter);
    let stop = async {
        lab.simulator.until(|record| record.hanging() == 1).await;
        lab.simulator.stop().await;
    };
    let (answer, ()) = tokio::join!(lab.http.get(lab.url("/queue")).send(), stop);
    assert_eq!(answer.unwrap().status(), 200);
    while socket.next().await.is_some() {}
    assert!(lab.http.get(lab.url("/queue")).send().await.is_err());
}
