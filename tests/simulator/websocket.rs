//! Websockets: who gets what, previews, and the quirks of reconnecting.

use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use crate::client::{Lab, held, picture, types};

fn sleep_with_preview() -> Value {
    let inputs = json!({ "seconds": 0, "steps": 2, "preview": true, "interruptible": true, "seed": 1 });
    json!({ "1": { "class_type": "LabSleep", "inputs": inputs } })
}

/// All frames of a job but `status`, by type name or number.
async fn frames(socket: &mut crate::client::Socket) -> Vec<String> {
    let mut names = Vec::new();
    loop {
        match socket.next().await.unwrap() {
            Message::Binary(frame) => {
                names.push(u32::from_be_bytes(*frame.first_chunk().unwrap()).to_string());
            }
            Message::Text(text) => {
                let message: Value = serde_json::from_str(&text).unwrap();
                if message["type"] != "status" {
                    names.push(message["type"].as_str().unwrap().to_owned());
                }
                if message["type"] == "executing" && message["data"]["node"].is_null() {
                    return names;
                }
            }
            _ => {}
        }
    }
}

#[tokio::test]
async fn the_first_message_tells_the_queue_and_the_name_of_the_socket() {
    let lab = Lab::new().await;
    let status = lab.socket("me").await.message().await;
    let data = json!({ "status": { "exec_info": { "queue_remaining": 0 } }, "sid": "me" });
    assert_eq!(status, json!({ "type": "status", "data": data }));
    let nameless = lab.socket("").await.message().await;
    assert_eq!(nameless["data"]["sid"].as_str().unwrap().len(), 32);
}

#[tokio::test]
async fn a_jobs_messages_go_to_its_client_and_status_to_all() {
    let lab = Lab::new().await;
    let (mut mine, mut other) = (lab.socket("me").await, lab.socket("other").await);
    let id = lab.queue(&picture(1), "me").await;
    mine.until_over(&id).await;
    let next = lab.queue(&picture(2), "other").await;
    let messages = other.until_over(&next).await;
    assert!(messages.iter().all(|message| message["data"]["prompt_id"] == next.as_str()));
}

#[tokio::test]
async fn a_job_of_no_client_shows_everybody_its_progress_and_nobody_its_stages() {
    let lab = Lab::new().await;
    let mut socket = lab.socket("me").await;
    let (_, answer) = lab.submit(&json!({ "prompt": sleep_with_preview() })).await;
    lab.history(answer["prompt_id"].as_str().unwrap()).await;
    lab.queue(&picture(1), "me").await;
    let names = frames(&mut socket).await;
    let first: Vec<_> =
        names.iter().take_while(|name| *name != "execution_start").map(String::as_str).collect();
    assert_eq!(
        first,
        [
            "progress_state",
            "progress_state",
            "progress",
            "1",
            "progress_state",
            "progress",
            "1",
            "3",
            "progress_state"
        ]
    );
}

#[tokio::test]
async fn previews_come_with_metadata_for_those_who_take_it() {
    let lab = Lab::new().await;
    let mut plain = lab.socket("plain").await;
    lab.queue(&sleep_with_preview(), "plain").await;
    let names = frames(&mut plain).await;
    assert_eq!(names[4..7], ["progress_state", "progress", "1"]);
    lab.post("/free", &json!({ "free_memory": true })).await;
    let mut rich = lab.socket("rich").await;
    rich.send(&json!({ "type": "feature_flags", "data": { "supports_preview_metadata": true } })).await;
    rich.message().await;
    assert_eq!(rich.message().await["type"], "feature_flags");
    lab.queue(&sleep_with_preview(), "rich").await;
    let names = frames(&mut rich).await;
    assert_eq!(names[4..7], ["progress_state", "4", "progress"]);
}

#[tokio::test]
async fn coming_back_in_the_middle_of_a_job_replays_only_the_node() {
    let lab = Lab::new().await;
    let first = lab.socket("me").await;
    let id = lab.queue(&held("a"), "me").await;
    lab.simulator.holding("a").await;
    first.close().await;
    lab.simulator.until(|record| record.open_sockets() == 0).await;
    let mut second = lab.socket("me").await;
    assert_eq!(second.message().await["type"], "status");
    assert_eq!(second.message().await, json!({ "type": "executing", "data": { "node": "1" } }));
    lab.simulator.release("a");
    let messages = second.until_over(&id).await;
    assert_eq!(types(&messages), ["executed", "progress_state", "execution_success", "executing"]);
}

#[tokio::test]
async fn closing_the_older_of_two_sockets_makes_the_newer_one_deaf() {
    let lab = Lab::new().await;
    let older = lab.socket("me").await;
    let mut newer = lab.socket("me").await;
    lab.simulator.until(|record| record.connections("me") == 2).await;
    let id = lab.queue(&picture(1), "me").await;
    newer.until_over(&id).await;
    older.close().await;
    lab.simulator.until(|record| record.open_sockets() == 1).await;
    let id = lab.queue(&picture(2), "me").await;
    lab.history(&id).await;
    lab.simulator.send_text("never heard");
    lab.simulator.drop_websockets();
    assert_eq!(newer.next().await, None, "it stayed open and got nothing, not even status");
}

#[tokio::test]
async fn a_plain_request_to_the_websocket_is_refused() {
    let lab = Lab::new().await;
    assert_eq!(lab.get("/ws").await.status(), 400);
}
