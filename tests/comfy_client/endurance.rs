//! Many calls and long lives: shared clients, restarting backends, dropped futures, large answers.

use std::time::Duration;

use bytes::Bytes;
use comfy_gateway::comfy::{CallFault, ComfyEvent, InputUpload};
use comfy_gateway::domain::outputs::FileRef;
use futures_util::future::join_all;
use futures_util::{SinkExt, StreamExt, TryStreamExt, poll, stream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_tungstenite::accept_async;
use tokio_tungstenite::tungstenite::Message;

use crate::support::{FakeBackend, Reply, STATS, answer, background, client, endpoint, ok};

const EMPTY_QUEUE: &str = r#"{"queue_running":[],"queue_pending":[]}"#;

#[tokio::test]
async fn concurrent_calls_discover_the_routes_once() {
    let backend =
        FakeBackend::raw(|request| ok(if request.line.contains("system") { STATS } else { EMPTY_QUEUE }))
            .await;
    let client = backend.client();
    for queue in join_all((0..20).map(|_| client.queue())).await {
        queue.unwrap();
    }
    let lines = backend.lines();
    assert_eq!(lines.iter().filter(|line| line.contains("system_stats")).count(), 1);
    assert_eq!(lines.len(), 21);
}

#[tokio::test]
async fn a_client_made_before_its_backend_starts_works_then_and_after_a_restart() {
    let reserved = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = reserved.local_addr().unwrap();
    drop(reserved);
    let client = client(endpoint(&format!("http://{address}")));
    for _ in 0..2 {
        assert!(client.queue().await.unwrap_err().is_refused());
        let listener = TcpListener::bind(address).await.unwrap();
        let backend = background(keep_alive(listener));
        client.queue().await.unwrap();
        client.queue().await.unwrap();
        drop(backend);
        // The kept connection ends with the backend, and the client notices that by itself.
        while client.queue().await.is_ok() {}
    }
}

/// Answers every request of every connection, and keeps the connections open.
async fn keep_alive(listener: TcpListener) {
    let connections = stream::unfold(listener, |listener| async move {
        let (socket, _) = listener.accept().await.ok()?;
        Some((socket, listener))
    });
    connections
        .for_each_concurrent(None, |mut socket| async move {
            let mut bytes = Vec::new();
            while socket.read_buf(&mut bytes).await.is_ok_and(|read| read > 0) {
                if !bytes.ends_with(b"\r\n\r\n") {
                    continue;
                }
                let stats = bytes.starts_with(b"GET /system_stats ");
                let body = if stats { STATS } else { EMPTY_QUEUE };
                let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
                let _gone = socket.write_all(answer.as_bytes()).await;
                bytes.clear();
            }
        })
        .await;
}

#[tokio::test]
async fn a_dropped_wait_for_an_event_loses_no_event() {
    let (send, mut pieces) = mpsc::channel::<Vec<u8>>(1);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let _backend = background(async move {
        let socket = listener.accept().await.unwrap().0;
        let mut socket = accept_async(socket).await.unwrap();
        let _features = socket.next().await;
        while let Some(piece) = pieces.recv().await {
            socket.get_mut().write_all(&piece).await.unwrap();
        }
    });
    let mut events = client(endpoint(&url)).events("c").await.unwrap();
    let message = r#"{"type":"execution_start","data":{"prompt_id":"p"}}"#;
    let mut frame = vec![0x81, u8::try_from(message.len()).unwrap()];
    frame.extend_from_slice(message.as_bytes());
    let rest = frame.split_off(20);
    send.send(frame).await.unwrap();
    // The dropped future must not take the first half of the message with it.
    for _ in 0..100 {
        let mut next = Box::pin(events.next());
        assert!(poll!(&mut next).is_pending());
        drop(next);
        tokio::task::yield_now().await;
    }
    send.send(rest).await.unwrap();
    assert_eq!(events.next().await.unwrap().unwrap().prompt_id(), Some("p"));
}

#[tokio::test]
async fn events_come_in_order_and_none_is_missing() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let _backend = background(async move {
        let socket = listener.accept().await.unwrap().0;
        let mut socket = accept_async(socket).await.unwrap();
        for step in 0..5000 {
            let text = format!(r#"{{"type":"progress","data":{{"value":{step},"max":5000,"node":"1"}}}}"#);
            socket.send(Message::text(text)).await.unwrap();
        }
        socket.close(None).await.unwrap();
        while socket.next().await.is_some() {}
    });
    let mut events = client(endpoint(&url)).events("c").await.unwrap();
    for step in 0..5000 {
        let event = events.next().await.unwrap().unwrap();
        let ComfyEvent::Progress { value, .. } = event else { panic!("{event:?}") };
        assert!((value - f64::from(step)).abs() < f64::EPSILON, "{value} instead of {step}");
    }
    let error = events.next().await.unwrap().unwrap_err();
    assert!(matches!(error.fault, CallFault::Closed { .. }), "{error}");
}

#[tokio::test]
async fn a_queue_of_thousands_of_large_workflows_is_read() {
    let graph = format!(r#"{{"1":{{"class_type":"X","inputs":{{"text":"{}"}}}}}}"#, "y".repeat(5000));
    let jobs: Vec<_> = (0..2000).rev().map(|n| format!(r#"[{n},"job-{n}",{graph},{{}},[]]"#)).collect();
    let body = format!(r#"{{"queue_running":[],"queue_pending":[{}]}}"#, jobs.join(","));
    let backend = FakeBackend::new(move |_| ok(&body)).await;
    let queue = backend.client().queue().await.unwrap();
    assert_eq!(queue.pending.len(), 2000);
    assert_eq!((queue.pending[0].as_str(), queue.pending[1999].as_str()), ("job-0", "job-1999"));
}

#[tokio::test]
async fn a_large_and_an_empty_file_arrive_whole() {
    let large = Bytes::from(vec![b'z'; 30 << 20]);
    let body = large.clone();
    let backend = FakeBackend::new(move |request| {
        let body = if request.line.contains("empty") { &[][..] } else { &body };
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
        Reply::Bytes([head.as_bytes(), body].concat())
    })
    .await;
    let client = backend.client();
    for (name, expected) in [("large", &large[..]), ("empty", &[])] {
        let file = FileRef { filename: name.to_owned(), subfolder: String::new(), kind: "temp".to_owned() };
        let view = client.view(&file).await.unwrap();
        assert_eq!(view.content_length(), Some(expected.len() as u64));
        let pieces: Vec<Bytes> = view.into_stream().try_collect().await.unwrap();
        assert!(pieces.concat() == expected, "{name}");
    }
}

#[tokio::test]
async fn a_large_upload_arrives_whole_though_it_takes_longer_than_a_request_may() {
    let backend = FakeBackend::new(|request| {
        let ends = request.text().matches("piece").count();
        if ends == 20 { ok(r#"{"name":"slow.bin"}"#) } else { answer(400, "", "") }
    })
    .await;
    let mut endpoint = endpoint(&backend.url);
    endpoint.timeouts.request = Duration::from_millis(400);
    let client = client(endpoint);
    let pieces = stream::iter(0..20).then(|_| async {
        tokio::time::timeout(Duration::from_millis(30), std::future::pending::<()>()).await.unwrap_err();
        Ok(Bytes::from("piece".to_owned() + &" ".repeat(100_000)))
    });
    let uploaded = client.upload(InputUpload::stream("slow.bin", None, Box::pin(pieces))).await.unwrap();
    assert_eq!(uploaded.name, "slow.bin");
}
