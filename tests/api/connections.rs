//! Connections: none is held for nothing, and there is a limit to them.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::scene::{Scene, rest};
use crate::support::Settings;

fn impatient(settings: &mut Settings) {
    settings.server.header_timeout = Duration::from_millis(300);
}

/// What begins a connection that never becomes a request.
const BEGINNINGS: [&[u8]; 6] = [
    b"",
    b"G",
    b"PRI * HT",
    b"GET /healthz HTTP/1.1\r\nHost: x\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"GET / HTTP/1.1\r\nX-A: ",
];

#[tokio::test]
async fn a_connection_that_never_becomes_a_request_is_cut() {
    let scene = Scene::with(impatient).await;
    for beginning in BEGINNINGS {
        let mut stream = scene.connect().await;
        stream.write_all(beginning).await.unwrap();
        let cut = tokio::time::timeout(Duration::from_secs(5), rest(&mut stream)).await;
        let answer =
            cut.unwrap_or_else(|_| panic!("{:?} is held for ever", String::from_utf8_lossy(beginning)));
        assert!(!answer.contains(" 200 "), "{answer}");
    }
    scene.finish().await;
}

#[tokio::test]
async fn a_connection_that_was_served_and_then_keeps_silent_is_cut() {
    let scene = Scene::with(impatient).await;
    let mut stream = scene.connect().await;
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let answer = tokio::time::timeout(Duration::from_secs(5), rest(&mut stream)).await;
    assert!(answer.expect("it is held for ever").starts_with("HTTP/1.1 200 "));
    scene.finish().await;
}

#[tokio::test]
async fn a_request_that_takes_longer_than_its_headers_may_is_not_cut() {
    let scene = Scene::with(impatient).await;
    let id = scene.gateway.submit(crate::support::hold("a")).await;
    scene.comfy.holding("a").await;
    let response = scene.gateway.get(&format!("/results/{id}?wait=0.8")).await;
    assert_eq!(response.status(), 202);
    scene.comfy.release("a");
    scene.gateway.result(&id).await;
    scene.finish().await;
}

#[tokio::test]
async fn beyond_the_limit_connections_wait_for_their_turn() {
    let scene = Scene::with(|settings| settings.server.max_connections = 1).await;
    let mut first = scene.connect().await;
    let request = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";
    first.write_all(request).await.unwrap();
    let mut chunk = [0; 1024];
    assert!(first.read(&mut chunk).await.unwrap() > 0, "it is served and stays open");
    let mut second = scene.connect().await;
    second.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
    first.write_all(request).await.unwrap();
    assert!(first.read(&mut chunk).await.unwrap() > 0);
    let waiting = rest(&mut second);
    tokio::pin!(waiting);
    assert!(futures_util::poll!(&mut waiting).is_pending(), "the second is not served yet");
    drop(first);
    assert!(waiting.await.starts_with("HTTP/1.1 200 "));
    scene.finish().await;
}

#[tokio::test]
async fn bytes_that_are_no_http_are_refused_and_cut() {
    let scene = Scene::new().await;
    for nonsense in [
        &b"\x16\x03\x01\x02\x00\x01\x00"[..],
        b"nonsense\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"\0\0\0\0\r\n\r\n",
    ] {
        let mut stream = scene.connect().await;
        stream.write_all(nonsense).await.unwrap();
        let answer = tokio::time::timeout(Duration::from_secs(5), rest(&mut stream)).await.unwrap();
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400 "), "{answer}");
    }
    assert_eq!(scene.gateway.get("/healthz").await.status(), 200);
    scene.finish().await;
}

#[tokio::test]
async fn one_connection_serves_many_requests() {
    let scene = Scene::new().await;
    let mut stream = scene.connect().await;
    for _ in 0..3 {
        stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        let mut chunk = [0; 1024];
        let read = stream.read(&mut chunk).await.unwrap();
        assert!(chunk[..read].starts_with(b"HTTP/1.1 200 "));
    }
    stream.write_all(b"GET /nowhere HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
    assert!(rest(&mut stream).await.contains("application/problem+json"));
    scene.finish().await;
}
