//! The websocket, with backends that send events, garbage, huge messages or nothing, or close it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use comfy_gateway::clock::ManualClock;
use comfy_gateway::comfy::{CallFault, ComfyClient, ComfyEvent};
use comfy_gateway::domain::time::UnixMillis;
use futures_util::{SinkExt, StreamExt, poll};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, accept_hdr_async};
use tokio_util::task::AbortOnDropHandle;

use crate::support::{FakeBackend, answer, background, client, dead_url, endpoint, impatient};

type Socket = WebSocketStream<TcpStream>;

/// A backend that accepts websockets at `path` and hands each to `talk`. It answers other handshakes with 404. The
/// channel receives the path and the headers of every handshake.
async fn websocket<F: Future<Output = ()> + Send>(
    path: &'static str,
    talk: impl Fn(Socket) -> F + Send + 'static,
) -> (String, mpsc::UnboundedReceiver<String>, AbortOnDropHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (seen, handshakes) = mpsc::unbounded_channel();
    let backend = background(async move {
        while let Ok((socket, _)) = listener.accept().await {
            if let Ok(socket) = accept(socket, path, &seen).await {
                talk(socket).await;
            }
        }
    });
    (url, handshakes, backend)
}

#[expect(clippy::result_large_err, reason = "the callback's signature is the library's")]
async fn accept(
    socket: TcpStream,
    path: &str,
    seen: &mpsc::UnboundedSender<String>,
) -> Result<Socket, Error> {
    let check = |request: &Request, response: Response| -> Result<Response, ErrorResponse> {
        let _gone = seen.send(format!("{} {:?}", request.uri(), request.headers()));
        if request.uri().path() == path {
            return Ok(response);
        }
        let mut refusal = ErrorResponse::new(None);
        *refusal.status_mut() = tokio_tungstenite::tungstenite::http::StatusCode::NOT_FOUND;
        Err(refusal)
    };
    accept_hdr_async(socket, check).await
}

async fn send_text(socket: &mut Socket, text: &str) {
    socket.send(Message::text(text)).await.unwrap();
}

fn start(id: &str) -> String {
    format!(r#"{{"type":"execution_start","data":{{"prompt_id":"{id}","timestamp":NaN}}}}"#)
}

#[tokio::test]
async fn the_features_are_requested_first_and_odd_messages_are_ignored() {
    let (url, mut handshakes, _backend) = websocket("/comfy/ws", |mut socket| async move {
        let first = socket.next().await.unwrap().unwrap();
        for text in [first.to_text().unwrap(), "garbage", r#"{"type":"new_thing","data":{}}"#, &start("p")] {
            send_text(&mut socket, text).await;
        }
        socket.send(Message::binary(vec![9])).await.unwrap();
        send_text(&mut socket, r#"{"type":"execution_success","data":{"prompt_id":"p"}}"#).await;
        std::future::pending::<()>().await;
    })
    .await;
    let mut endpoint = endpoint(&format!("{url}/comfy"));
    endpoint.bearer = Some("t0k".into());
    endpoint.cookies = Some("a=1".into());
    let mut events = client(endpoint).events("me&you").await.unwrap();
    let mut next = async || events.next().await.unwrap().unwrap();
    assert!(matches!(next().await, ComfyEvent::Unknown { kind } if kind == "feature_flags"));
    assert!(matches!(next().await, ComfyEvent::Unknown { .. }));
    assert!(matches!(next().await, ComfyEvent::Unknown { kind } if kind == "new_thing"));
    assert!(
        matches!(next().await, ComfyEvent::ExecutionStart { prompt_id, timestamp: None } if prompt_id == "p")
    );
    assert!(matches!(next().await, ComfyEvent::Unknown { .. }));
    assert!(matches!(next().await, ComfyEvent::Success { prompt_id, .. } if prompt_id == "p"));
    let handshake = handshakes.recv().await.unwrap();
    assert!(handshake.starts_with("/comfy/ws?clientId=me%26you "), "{handshake}");
    assert!(handshake.contains("Bearer t0k") && handshake.contains("a=1"), "{handshake}");
    assert!(!handshake.contains("origin"), "{handshake}");
}

#[tokio::test]
async fn a_websocket_that_is_only_under_api_is_discovered_once() {
    let (url, mut handshakes, _backend) = websocket("/api/ws", |mut socket| async move {
        let _features = socket.next().await;
        let _closing = socket.next().await;
    })
    .await;
    let client = client(endpoint(&url));
    client.events("one").await.unwrap().close().await;
    client.events("two").await.unwrap().close().await;
    let mut paths = Vec::new();
    for _ in 0..3 {
        paths.push(handshakes.recv().await.unwrap().split(' ').next().unwrap().to_owned());
    }
    assert_eq!(paths, ["/ws?clientId=one", "/api/ws?clientId=one", "/api/ws?clientId=two"]);
}

#[tokio::test]
async fn a_message_of_70_mb_in_one_frame_is_read() {
    let (url, _handshakes, _backend) = websocket("/ws", |mut socket| async move {
        let output = "x".repeat(70 << 20);
        let executed = format!(
            r#"{{"type":"executed","data":{{"prompt_id":"p","node":"1","output":{{"text":["{output}"]}}}}}}"#
        );
        let _gone = socket.send(Message::text(executed)).await;
        std::future::pending::<()>().await;
    })
    .await;
    let mut events = client(endpoint(&url)).events("c").await.unwrap();
    let ComfyEvent::Executed { output: Some(output), .. } = events.next().await.unwrap().unwrap() else {
        panic!()
    };
    assert!(output.get().len() > 70 << 20);
}

#[tokio::test]
async fn a_message_above_the_limit_ends_the_stream_with_an_error() {
    let (url, _handshakes, _backend) = websocket("/ws", |mut socket| async move {
        let _gone = socket.send(Message::binary(vec![0; 2000])).await;
        std::future::pending::<()>().await;
    })
    .await;
    let mut endpoint = endpoint(&url);
    endpoint.limits.message = 1000;
    let mut events = client(endpoint).events("c").await.unwrap();
    let error = events.next().await.unwrap().unwrap_err();
    assert!(matches!(error.fault, CallFault::Malformed { .. }), "{error}");
    assert!(events.next().await.is_none());
}

#[tokio::test]
async fn the_end_of_the_connection_is_one_error_and_then_nothing() {
    let (url, _handshakes, _backend) = websocket("/ws", |mut socket| async move {
        let frame = CloseFrame { code: CloseCode::Away, reason: "bye".into() };
        let _gone = socket.send(Message::Close(Some(frame))).await;
    })
    .await;
    let mut events = client(endpoint(&url)).events("c").await.unwrap();
    let error = events.next().await.unwrap().unwrap_err();
    assert_eq!(error.fault, CallFault::Closed { code: Some(1001) });
    assert!(events.next().await.is_none());

    let (url, _handshakes, _backend) = websocket("/ws", |socket| async move { drop(socket) }).await;
    let mut events = client(endpoint(&url)).events("c").await.unwrap();
    let error = events.next().await.unwrap().unwrap_err();
    assert!(matches!(error.fault, CallFault::Closed { code: None } | CallFault::Broken { .. }), "{error}");
    assert!(events.next().await.is_none());
}

#[tokio::test]
async fn a_failed_handshake_reports_its_cause() {
    let error = client(endpoint(&dead_url().await)).events("c").await.unwrap_err();
    assert!(error.is_refused(), "{error}");
    let backend = FakeBackend::raw(|_| answer(403, "", "no")).await;
    let error = backend.client().events("c").await.unwrap_err();
    assert_eq!((error.status(), backend.lines().len()), (Some(403), 2));
    assert!(error.to_string().starts_with(&format!("GET /ws at {}: answered 403", backend.url)), "{error}");
    let silent = FakeBackend::raw(|_| crate::support::Reply::Stall(Vec::new())).await;
    let error = impatient(&silent.url).events("c").await.unwrap_err();
    assert!(matches!(error.fault, CallFault::Timeout { .. }), "{error}");
}

fn timed(url: &str) -> (ComfyClient, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::new(UnixMillis::from_millis(0)));
    let client = ComfyClient::new(endpoint(url), Arc::clone(&clock) as _).unwrap();
    (client, clock)
}

#[tokio::test]
async fn a_silent_websocket_is_pinged_and_given_up_without_an_answer() {
    // This backend never reads, so it answers no ping.
    let (url, _handshakes, _backend) = websocket("/ws", |socket| async move {
        std::future::pending::<()>().await;
        drop(socket);
    })
    .await;
    let (client, clock) = timed(&url);
    let mut events = client.events("c").await.unwrap();
    let mut next = Box::pin(events.next());
    assert!(poll!(&mut next).is_pending());
    clock.advance(Duration::from_mins(10));
    assert!(poll!(&mut next).is_pending(), "the ping has its full time even after a jump of the clock");
    clock.advance(Duration::from_secs(30));
    let error = next.await.unwrap().unwrap_err();
    assert_eq!(error.fault, CallFault::Silent { after: Duration::from_secs(30) });
    assert!(events.next().await.is_none());
}

#[tokio::test]
async fn an_answered_ping_keeps_the_connection() {
    let (url, _handshakes, _backend) = websocket("/ws", |mut socket| async move {
        while let Some(Ok(message)) = socket.next().await {
            if let Message::Ping(_) = message {
                send_text(&mut socket, &start("pinged")).await;
            }
        }
    })
    .await;
    let (client, clock) = timed(&url);
    let mut events = client.events("c").await.unwrap();
    for _ in 0..3 {
        let mut next = Box::pin(events.next());
        assert!(poll!(&mut next).is_pending());
        clock.advance(Duration::from_secs(15));
        let event = next.await.unwrap().unwrap();
        assert_eq!(event.prompt_id(), Some("pinged"));
    }
}

#[tokio::test]
async fn a_preview_has_its_image_without_the_header_of_the_message() {
    let (url, _handshakes, _backend) = websocket("/ws", |mut socket| async move {
        socket.send(Message::binary(Bytes::from_static(b"\0\0\0\x01\0\0\0\x02PNG"))).await.unwrap();
        std::future::pending::<()>().await;
    })
    .await;
    let mut events = client(endpoint(&url)).events("c").await.unwrap();
    let event = events.next().await.unwrap().unwrap();
    assert!(matches!(event, ComfyEvent::Preview { mime: "image/png", bytes, .. } if bytes == "PNG"));
}
