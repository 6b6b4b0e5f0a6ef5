//! Backends that fail during an answer, and the errors that follow.

use comfy_gateway::comfy::{CallFault, PromptError};
use serde_json::value::RawValue;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

use crate::support::{
    FakeBackend, PATIENCE, Reply, answer, background, client, dead_url, endpoint, impatient, ok,
};

#[tokio::test]
async fn a_refused_port_is_distinguished_from_other_failures() {
    let error = client(endpoint(&dead_url().await)).system_stats().await.unwrap_err();
    assert!(error.is_refused(), "{error}");
    let silent = FakeBackend::raw(|_| Reply::Stall(Vec::new())).await;
    let error = impatient(&silent.url).system_stats().await.unwrap_err();
    assert!(!error.is_refused() && !error.is_unreachable(), "{error}");
    assert_eq!(error.fault, CallFault::Timeout { after: PATIENCE });
}

#[tokio::test]
async fn an_answer_that_breaks_off_hangs_or_is_garbage_is_an_error_of_its_kind() {
    let backend = FakeBackend::new(|request| match request.line.as_str() {
        line if line.contains("/cut") => {
            Reply::Bytes(b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{\"cut\":".into())
        }
        line if line.contains("/reset") => Reply::Bytes(Vec::new()),
        line if line.contains("/noise") => Reply::Bytes(b"\x16\x03\x01 not http".into()),
        line if line.contains("/hang") => {
            Reply::Stall(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{".into())
        }
        line if line.contains("/html") => ok("<html>"),
        _ => answer(503, "", "starting"),
    })
    .await;
    let client = impatient(&backend.url);
    let fault = async |id| client.history(id).await.unwrap_err().fault;
    assert!(matches!(fault("cut").await, CallFault::Broken { .. }));
    assert!(matches!(fault("reset").await, CallFault::Broken { .. }));
    assert!(matches!(fault("noise").await, CallFault::Broken { .. }));
    assert!(matches!(fault("hang").await, CallFault::Timeout { .. }));
    assert!(matches!(fault("html").await, CallFault::Malformed { .. }));
    assert_eq!(fault("other").await, CallFault::Status { code: 503, body: "starting".to_owned() });
}

#[tokio::test]
async fn a_job_whose_answer_is_lost_may_run() {
    let replies: [fn() -> Reply; 4] = [
        || Reply::Bytes(Vec::new()),
        || Reply::Stall(Vec::new()),
        || Reply::Bytes(b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{\"prompt".into()),
        || Reply::Stall(b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{\"prompt".into()),
    ];
    for reply in replies {
        let backend = FakeBackend::new(move |_| reply()).await;
        let workflow = RawValue::from_string("{}".to_owned()).unwrap();
        let error = impatient(&backend.url).submit("id", "c", &workflow).await.unwrap_err();
        assert!(matches!(error, PromptError::Ambiguous(_)), "{error}");
        assert_eq!(backend.requests().len(), 1, "a job is never sent twice");
    }
}

#[tokio::test]
async fn an_answer_above_the_limit_is_not_read() {
    let announced = FakeBackend::new(|_| ok(&format!("{{\"x\":\"{}\"}}", "a".repeat(2000)))).await;
    let chunked = FakeBackend::new(|_| {
        let body =
            format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n7d0\r\n{}\r\n", "a".repeat(2000));
        Reply::Stall(body.into())
    })
    .await;
    for backend in [announced, chunked] {
        let mut endpoint = endpoint(&backend.url);
        endpoint.limits.json = 1000;
        let error = client(endpoint).history("x").await.unwrap_err();
        assert_eq!(error.fault, CallFault::TooLarge { limit: 1000 });
    }
}

#[tokio::test]
async fn no_error_shows_a_secret() {
    let dead = dead_url().await.replace("http://", "http://user:pass-word@");
    let mut endpoint = endpoint(&format!("{dead}/comfy?token=query-secret"));
    endpoint.cookies = Some("session=cookie-secret".into());
    endpoint.api_key = Some("key-secret".into());
    let client = client(endpoint);
    let http = client.queue().await.unwrap_err();
    let ws = client.events("client-1").await.unwrap_err();
    for shown in [format!("{http} {http:?}"), format!("{ws} {ws:?}"), format!("{client:?}")] {
        assert!(!shown.contains("secret") && !shown.contains("pass-word"), "{shown}");
    }
    assert!(http.to_string().contains("/comfy: no connection: "), "{http}");
    assert!(http.is_refused() && ws.is_refused());
}

#[tokio::test]
async fn a_backend_that_does_not_speak_tls_receives_nothing() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let _backend = background(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let _gone = socket.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        }
    });
    let client = client(endpoint(&url));
    let workflow = RawValue::from_string("{}".to_owned()).unwrap();
    let error = client.submit("id", "c", &workflow).await.unwrap_err();
    assert!(matches!(&error, PromptError::NotDelivered(error) if error.is_unreachable()), "{error}");
    let error = client.events("c").await.unwrap_err();
    assert!(error.is_unreachable() && !error.is_refused(), "{error}");
}
