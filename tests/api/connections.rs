//! Connections: time limits for idle and slow clients, and the limit of open connections.

use std::time::Duration;

use comfy_gateway::api::server::MinimumPace;
use reqwest::multipart::{Form, Part};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::scene::{Scene, rest};
use crate::support::Settings;

fn with_short_limits(settings: &mut Settings) {
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
    let scene = Scene::with(with_short_limits).await;
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

const ALIVE: &[u8] = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";

/// A connection that was served one request.
async fn connect_and_use(scene: &Scene) -> TcpStream {
    let mut stream = scene.connect().await;
    send_second_request(&mut stream).await;
    stream
}

async fn send_second_request(stream: &mut TcpStream) {
    stream.write_all(ALIVE).await.unwrap();
    let mut chunk = [0; 1024];
    let read = stream.read(&mut chunk).await.unwrap();
    assert!(chunk[..read].starts_with(b"HTTP/1.1 200 "), "it was cut");
}

async fn soon<T>(cut: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(8), cut).await.expect("a connection is held for ever")
}

#[tokio::test]
async fn a_connection_that_was_served_and_then_keeps_silent_is_cut() {
    let scene = Scene::with(|settings| settings.server.keep_alive = Duration::from_millis(300)).await;
    let mut stream = connect_and_use(&scene).await;
    assert_eq!(soon(rest(&mut stream)).await, "");
    scene.finish().await;
}

#[tokio::test]
async fn a_connection_of_http2_that_keeps_silent_is_cut_too() {
    let scene = Scene::with(|settings| {
        settings.server.max_connections = 1;
        settings.server.keep_alive = Duration::from_millis(300);
    })
    .await;
    let http = reqwest::Client::builder().no_proxy().http2_prior_knowledge().build().unwrap();
    let answer = http.get(format!("{}/healthz", scene.gateway.base)).send().await.unwrap();
    assert_eq!(answer.text().await.unwrap(), r#"{"status":"ok"}"#);
    // The client keeps its connection; its place is free once it is cut.
    let mut second = scene.connect().await;
    soon(send_second_request(&mut second)).await;
    drop(second);
    scene.finish().await;
}

#[tokio::test]
async fn between_requests_a_connection_may_be_silent_for_longer_than_a_head_may_take() {
    let scene = Scene::with(with_short_limits).await;
    let mut stream = connect_and_use(&scene).await;
    for _ in 0..2 {
        // The end of a connection that brings nothing says that the time of heads is over.
        let mut silent = scene.connect().await;
        assert_eq!(soon(rest(&mut silent)).await, "");
    }
    send_second_request(&mut stream).await;
    stream.write_all(b"GET /healthz HT").await.unwrap();
    assert_eq!(soon(rest(&mut stream)).await, "", "a later head has its time limit, too");
    scene.finish().await;
}

#[tokio::test]
async fn a_request_that_takes_longer_than_any_of_the_limits_is_not_cut() {
    let scene = Scene::with(|settings| {
        with_short_limits(settings);
        settings.server.keep_alive = Duration::from_millis(300);
        settings.server.pace.window = Duration::from_millis(300);
    })
    .await;
    let id = scene.gateway.submit(crate::support::hold("a")).await;
    scene.comfy.holding("a").await;
    let response = scene.gateway.get(&format!("/results/{id}?wait=0.8")).await;
    assert_eq!(response.status(), 202);
    scene.comfy.release("a");
    scene.gateway.result(&id).await;
    scene.finish().await;
}

/// A gateway with room for one connection, which is soon cut if an answer is not taken, and the path of a
/// file that is larger than all buffers on its way.
async fn with_a_large_file() -> (Scene, String) {
    let scene = Scene::with(|settings| {
        settings.service.max_file = 64 << 20;
        settings.server.max_connections = 1;
        settings.server.pace = MinimumPace { window: Duration::from_millis(300), bytes: 1 << 10 };
    })
    .await;
    let file = Part::bytes(vec![7; 48 << 20]).file_name("a.bin");
    let http = reqwest::Client::builder().no_proxy().pool_max_idle_per_host(0).build().unwrap();
    let url = format!("{}/files", scene.gateway.base);
    let uploaded = http.post(url).multipart(Form::new().part("a", file)).send().await.unwrap();
    let uploaded: Value = uploaded.json().await.unwrap();
    let path = format!("/files/{}", uploaded["file"].as_str().unwrap_or_else(|| panic!("{uploaded:#}")));
    (scene, path)
}

#[tokio::test]
async fn an_answer_that_nobody_reads_is_given_up() {
    let (scene, path) = with_a_large_file().await;
    let mut first = scene.connect().await;
    first.write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).await.unwrap();
    let mut head = [0; 100];
    first.read_exact(&mut head).await.unwrap();
    // Its place is free once it is cut.
    let mut second = scene.connect().await;
    soon(send_second_request(&mut second)).await;
    drop((first, second));
    scene.finish().await;
}

#[tokio::test]
async fn an_answer_over_http2_that_nobody_reads_is_given_up() {
    let (scene, path) = with_a_large_file().await;
    let http = reqwest::Client::builder().no_proxy().http2_prior_knowledge().build().unwrap();
    let answer = http.get(format!("{}{path}", scene.gateway.base)).send().await.unwrap();
    assert_eq!((answer.status().as_u16(), answer.version()), (200, reqwest::Version::HTTP_2));
    let mut second = scene.connect().await;
    soon(send_second_request(&mut second)).await;
    drop((answer, second));
    scene.finish().await;
}

#[tokio::test]
async fn an_answer_that_is_read_slowly_but_steadily_comes_whole() {
    let (scene, path) = with_a_large_file().await;
    let mut stream = scene.connect().await;
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let (mut read, mut chunk) = (0, vec![0; 16 << 10]);
    loop {
        match stream.read(&mut chunk).await.unwrap() {
            0 => break,
            bytes => read += bytes,
        }
        tokio::task::yield_now().await;
    }
    assert!(read > 48 << 20, "{read} bytes");
    scene.finish().await;
}

#[tokio::test]
async fn a_body_that_trickles_is_given_up() {
    let scene = Scene::with(|settings| {
        settings.server.pace = MinimumPace { window: Duration::from_millis(500), bytes: 1 << 30 };
        settings.api.max_body = 1 << 30;
    })
    .await;
    let form = "Content-Type: multipart/form-data; boundary=B\r\n";
    for kind in [form, "Content-Type: application/json\r\n"] {
        let mut stream = scene.connect().await;
        let head = format!("POST /execute HTTP/1.1\r\nHost: x\r\n{kind}Content-Length: 100000000\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        stream
            .write_all(b"--B\r\nContent-Disposition: form-data; name=\"a\"; filename=\"a\"\r\n\r\n")
            .await
            .unwrap();
        let (mut from, mut to) = stream.into_split();
        // A byte whenever there is room for it, far below the least that must come.
        let trickling = async {
            while to.write_all(b"x").await.is_ok() && to.flush().await.is_ok() {
                tokio::task::yield_now().await;
            }
        };
        let mut answer = vec![0; 20];
        let answering = async {
            from.read_exact(&mut answer).await.unwrap();
            String::from_utf8_lossy(&answer).into_owned()
        };
        let answer = tokio::select! {
            answer = soon(answering) => answer,
            () = trickling => panic!("it was cut without an answer"),
        };
        assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    }
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

/// Asserts that an answer is a refusal in the one format, and the last on its connection.
fn assert_refused(answer: &str, status: u16, code: &str) {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {answer}"));
    let head = head.to_ascii_lowercase();
    assert!(head.starts_with(&format!("http/1.1 {status} ")), "{answer}");
    assert!(head.contains("\r\ncontent-type: application/problem+json"), "{answer}");
    assert!(head.contains(&format!("\r\ncontent-length: {}", body.len())), "{answer}");
    let body: Value = serde_json::from_str(body).unwrap();
    assert_eq!((&body["code"], &body["status"]), (&json!(code), &json!(status)), "{body:#}");
    assert!(
        head.contains(&format!("\r\nx-request-id: {}", body["request_id"].as_str().unwrap())),
        "{answer}"
    );
    assert!(body["detail"].as_str().is_some_and(|detail| detail.len() > 20), "{body:#}");
}

#[tokio::test]
async fn what_is_no_http_is_refused_in_the_one_format_and_cut() {
    let scene = Scene::new().await;
    let long = format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(70_000));
    let many = format!("GET / HTTP/1.1\r\nHost: x\r\n{}\r\n", "X-A: 1\r\n".repeat(150));
    let large = format!("GET / HTTP/1.1\r\nHost: x\r\nX-A: {}\r\n\r\n", "a".repeat(4_000_000));
    for (request, status, code) in [
        (&b"\x16\x03\x01\x02\x00\x01\x00"[..], 400, "malformed_request"),
        (b"nonsense\r\n\r\n", 400, "malformed_request"),
        (b"GET / HTTP/9.9\r\n\r\n", 400, "malformed_request"),
        (b"GET /\x01 HTTP/1.1\r\nHost: x\r\n\r\n", 400, "malformed_request"),
        (b"GET / HTTP/1.1\r\nHost : x\r\n\r\n", 400, "malformed_request"),
        (long.as_bytes(), 414, "uri_too_long"),
        (many.as_bytes(), 431, "headers_too_large"),
        (large.as_bytes(), 431, "headers_too_large"),
    ] {
        // After a good request on the same connection, too.
        for mut stream in [scene.connect().await, connect_and_use(&scene).await] {
            stream.write_all(request).await.unwrap();
            assert_refused(&soon(rest(&mut stream)).await, status, code);
        }
    }
    assert_eq!(scene.gateway.get("/healthz").await.status(), 200);
    scene.finish().await;
}

#[tokio::test]
async fn a_request_has_exactly_one_host() {
    let scene = Scene::new().await;
    for hosts in ["", "Host: a\r\nHost: b\r\n", "Host: a\r\nHost: a\r\n"] {
        let request = format!("GET /healthz HTTP/1.1\r\n{hosts}Connection: close\r\n\r\n");
        assert_refused(&scene.raw(request.as_bytes()).await, 400, "malformed_request");
    }
    // Before 1.1 there need be none.
    assert!(scene.raw(b"GET /healthz HTTP/1.0\r\n\r\n").await.contains(" 200 "));
    scene.finish().await;
}

#[tokio::test]
async fn a_client_that_sends_all_before_it_reads_gets_its_refusal() {
    let scene = Scene::with(|settings| settings.service.max_file = 1 << 10).await;
    let form = "Content-Type: multipart/form-data; boundary=B";
    // More than the buffers on the way take.
    let file = vec![b'x'; 32 << 20];
    let beginning = "--B\r\nContent-Disposition: form-data; name=\"a\"; filename=\"a\"\r\n\r\n";
    for (line, kind, status, code) in [
        ("POST /nowhere", form, 404, "not_found"),
        ("POST /results", form, 405, "method_not_allowed"),
        ("POST /convert", form, 415, "unsupported_media_type"),
        ("POST /files", "Content-Type: image/png", 415, "unsupported_media_type"),
        ("POST /files", form, 413, "body_too_large"),
        ("POST /execute", "Content-Type: application/json", 413, "body_too_large"),
        ("POST /execute", "Host: twice", 400, "malformed_request"),
    ] {
        let mut stream = scene.connect().await;
        let length = beginning.len() + file.len();
        let head =
            format!("{line} HTTP/1.1\r\nHost: x\r\n{kind}\r\nContent-Length: {length}\r\n\r\n{beginning}");
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(&file).await.unwrap_or_else(|error| panic!("{line}: {error}"));
        assert_refused(&soon(rest(&mut stream)).await, status, code);
    }
    scene.finish().await;
}

#[tokio::test]
async fn a_client_that_never_ends_sending_after_its_refusal_is_cut() {
    let scene = Scene::new().await;
    let mut stream = scene.connect().await;
    let head = "POST /nowhere HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\nx";
    stream.write_all(head.as_bytes()).await.unwrap();
    assert_refused(&soon(rest(&mut stream)).await, 404, "not_found");
    let endless = vec![b'x'; 1 << 20];
    let sending = async { while stream.write_all(&endless).await.is_ok() {} };
    soon(sending).await;
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
