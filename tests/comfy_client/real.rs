//! All calls on a real ComfyUI, run by hand:
//! `COMFYUI_BASE_URL=http://127.0.0.1:8188 cargo test --test comfy_client real -- --ignored --nocapture`.
//! Interrupting and deleting need a node class `LabSleep` (seconds, steps, preview, interruptible, seed) there.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use comfy_gateway::clock::{Clock, SystemClock};
use comfy_gateway::comfy::{
    ComfyClient, ComfyEndpoint, ComfyEvent, EventStream, HistoryEntry, HistoryStatus, InputUpload,
    PromptError,
};
use comfy_gateway::domain::outputs::FileRef;
use futures_util::TryStreamExt;
use serde_json::value::RawValue;
use uuid::Uuid;

fn id() -> String {
    Uuid::new_v4().to_string()
}

fn raw(json: &serde_json::Value) -> Box<RawValue> {
    RawValue::from_string(json.to_string()).unwrap()
}

fn picture() -> Box<RawValue> {
    let color = Uuid::new_v4().as_fields().0 % 0xFF_FFFF;
    raw(&serde_json::json!({
        "1": {"class_type": "EmptyImage", "inputs": {"width": 32, "height": 32, "batch_size": 1, "color": color}},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "client é&1"}},
    }))
}

fn nap(seconds: u32) -> Box<RawValue> {
    let seed = Uuid::new_v4().as_fields().0;
    raw(&serde_json::json!({"1": {"class_type": "LabSleep", "inputs":
        {"seconds": seconds, "steps": seconds * 10, "preview": true, "interruptible": true, "seed": seed}}}))
}

/// All events up to the first that satisfies `last`, that one included.
async fn until_event(events: &mut EventStream, last: impl Fn(&ComfyEvent) -> bool) -> Vec<ComfyEvent> {
    let mut all = Vec::new();
    loop {
        all.push(events.next().await.unwrap().unwrap());
        if last(&all[all.len() - 1]) {
            return all;
        }
    }
}

fn is_end(event: &ComfyEvent, id: &str) -> bool {
    matches!(event, ComfyEvent::Executing { prompt_id: Some(of), node: None } if of == id)
}

async fn until_finished(client: &ComfyClient, id: &str) -> HistoryEntry {
    loop {
        if let Some(entry) = client.history(id).await.unwrap() {
            return entry;
        }
        SystemClock.sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
#[ignore = "needs a real ComfyUI at COMFYUI_BASE_URL"]
async fn every_verb_works() {
    let url = std::env::var("COMFYUI_BASE_URL").expect("COMFYUI_BASE_URL is the URL of a ComfyUI");
    let client = ComfyClient::new(ComfyEndpoint::new(url.parse().unwrap()), Arc::new(SystemClock)).unwrap();
    println!("{:?}", client.system_stats().await.unwrap());
    println!("object_info: {} bytes", client.object_info().await.unwrap().get().len());
    let me = id();
    let mut events = client.events(&me).await.unwrap();
    makes_a_picture(&client, &mut events, &me).await;
    refuses_what_is_wrong(&client, &me).await;
    takes_files(&client).await;
    deletes_and_interrupts(&client, &mut events, &me).await;
    client.free(true, true).await.unwrap();
    events.close().await;
    answers_pings(&url).await;
}

async fn answers_pings(url: &str) {
    let mut endpoint = ComfyEndpoint::new(url.parse().unwrap());
    endpoint.timeouts.ping_every = Duration::from_millis(50);
    endpoint.timeouts.pong_within = Duration::from_secs(1);
    let client = ComfyClient::new(endpoint, Arc::new(SystemClock)).unwrap();
    let mut events = client.events(&id()).await.unwrap();
    let silence = async { while events.next().await.unwrap().is_ok() {} };
    let lost = tokio::time::timeout(Duration::from_secs(3), silence).await;
    assert!(lost.is_err(), "the connection outlives many pings");
}

async fn makes_a_picture(client: &ComfyClient, events: &mut EventStream, me: &str) {
    let job = id();
    let submitted = client.submit(&job, me, &picture()).await.unwrap();
    assert_eq!(submitted.prompt_id, job);
    let seen = until_event(events, |event| is_end(event, &job)).await;
    println!("{seen:#?}");
    assert!(seen.iter().any(|event| matches!(event, ComfyEvent::Executed { node, .. } if node == "2")));
    assert!(seen.iter().any(|event| matches!(event, ComfyEvent::Success { .. })));
    assert!(
        !seen.iter().any(|event| matches!(event, ComfyEvent::Unknown { kind } if kind != "feature_flags"))
    );
    let entry = client.history(&job).await.unwrap().expect("the entry is there with the last message");
    println!("{entry:?}");
    assert_eq!(entry.status, HistoryStatus::Success);
    assert!(!client.queue().await.unwrap().contains(&job));
    let outputs: serde_json::Value = serde_json::from_str(entry.outputs.raw().get()).unwrap();
    let image = &outputs["2"]["images"][0];
    let text = |key: &str| image[key].as_str().unwrap().to_owned();
    let file = FileRef { filename: text("filename"), subfolder: text("subfolder"), kind: text("type") };
    let view = client.view(&file).await.unwrap();
    println!("{file:?}: {:?} {:?}", view.content_length(), view.content_type());
    let bytes: Vec<Bytes> = view.into_stream().try_collect().await.unwrap();
    assert!(bytes.concat().starts_with(b"\x89PNG"));
    let gone = FileRef { filename: "gone.png".to_owned(), ..file };
    assert!(client.view(&gone).await.unwrap_err().is_not_found());
}

async fn refuses_what_is_wrong(client: &ComfyClient, me: &str) {
    for (job, workflow) in [
        (id(), serde_json::json!({})),
        (id(), serde_json::json!({"1": {"class_type": "NoSuchNode", "inputs": {}}})),
        (id(), serde_json::json!({"1": {"class_type": "SaveImage", "inputs": {}}})),
        (id(), serde_json::json!({"1": "x"})),
    ] {
        let error = client.submit(&job, me, &raw(&workflow)).await.unwrap_err();
        println!("{workflow}: {error:?}");
        assert!(matches!(error, PromptError::Rejected(_) | PromptError::InternalError(_)));
    }
    println!(
        "not a UUID: {:?}",
        client.submit("NO-UUID", me, &raw(&serde_json::json!({}))).await.unwrap_err()
    );
}

async fn takes_files(client: &ComfyClient) {
    for name in ["plain.png", "кот é.png"] {
        let upload = InputUpload::bytes(name, id()).subfolder("gw/ü").overwrite(false);
        let uploaded = client.upload(upload).await.unwrap();
        println!("{name}: {uploaded:?}");
        let file = FileRef { filename: uploaded.name, subfolder: uploaded.subfolder, kind: uploaded.kind };
        client.view(&file).await.unwrap();
    }
    let pieces = futures_util::stream::iter([Ok(Bytes::from_static(b"a")), Ok(Bytes::from_static(b"b"))]);
    let huge = client.upload(InputUpload::bytes("huge.bin", vec![0; 101 << 20])).await;
    println!("101 MiB: {huge:?}");
    println!("{:?}", client.upload(InputUpload::stream("streamed.bin", None, pieces)).await.unwrap());
}

async fn deletes_and_interrupts(client: &ComfyClient, events: &mut EventStream, me: &str) {
    let (running, waiting) = (id(), id());
    client.submit(&running, me, &nap(30)).await.unwrap();
    client.submit(&waiting, me, &nap(1)).await.unwrap();
    let seen =
        until_event(events, |event| matches!(event, ComfyEvent::Preview { prompt_id: Some(_), .. })).await;
    assert!(seen.iter().any(|event| matches!(event, ComfyEvent::ExecutionStart { .. })));
    let queue = client.queue().await.unwrap();
    assert_eq!((&queue.running, &queue.pending), (&vec![running.clone()], &vec![waiting.clone()]));
    client.interrupt(&waiting).await.unwrap();
    client.delete_queued(&running).await.unwrap();
    assert_eq!(client.queue().await.unwrap(), queue, "neither applies");
    client.delete_queued(&waiting).await.unwrap();
    assert_eq!(client.queue().await.unwrap().pending, Vec::<String>::new());
    client.interrupt(&running).await.unwrap();
    let seen = until_event(events, |event| matches!(event, ComfyEvent::Interrupted { .. })).await;
    println!("{:?}", seen.last());
    let entry = until_finished(client, &running).await;
    println!("{entry:?}");
    assert_eq!(entry.status, HistoryStatus::Interrupted);
    assert!(client.history(&waiting).await.unwrap().is_none());
}
