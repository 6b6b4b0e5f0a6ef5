//! A gateway with one simulated backend, and the checks that every error response must pass.

use std::time::Duration;

use comfy_gateway::clock::{Clock, SystemClock};
use comfy_gateway::simulator::{FaultRoute, Simulator};
use reqwest::header::{CONTENT_TYPE, HeaderMap};
use reqwest::{Method, RequestBuilder, Response};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{Gateway, Settings, simulator};

/// A gateway in front of one simulated backend.
pub struct Scene {
    pub gateway: Gateway,
    pub comfy: Simulator,
}

/// An error response.
#[derive(Debug)]
pub struct Refusal {
    pub headers: HeaderMap,
    pub body: Value,
}

impl Refusal {
    /// The pointers of all faults.
    pub fn pointers(&self) -> Vec<&str> {
        let errors = self.body["errors"].as_array().map(Vec::as_slice).unwrap_or_default();
        errors.iter().map(|error| error["pointer"].as_str().unwrap()).collect()
    }

    /// The messages of all faults and the detail, one per line.
    pub fn words(&self) -> String {
        let errors = self.body["errors"].as_array().map(Vec::as_slice).unwrap_or_default();
        let messages = errors.iter().map(|error| error["message"].as_str().unwrap());
        messages.chain(self.body["detail"].as_str()).collect::<Vec<_>>().join("\n")
    }
}

impl Scene {
    pub async fn new() -> Self {
        Self::with(|_| {}).await
    }

    pub async fn with(adjust: impl FnOnce(&mut Settings)) -> Self {
        let comfy = simulator().await;
        let gateway = Gateway::with(&[&comfy], adjust).await;
        Self { gateway, comfy }
    }

    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.gateway.http.request(method, format!("{}{path}", self.gateway.base))
    }

    /// A request to `/execute` whose body is this text.
    pub fn execute(&self, body: impl Into<reqwest::Body>) -> RequestBuilder {
        self.request(Method::POST, "/execute").header(CONTENT_TYPE, "application/json").body(body)
    }

    async fn state(&self) -> (Value, usize) {
        let mut jobs: Value = self.gateway.get("/results").await.json().await.unwrap();
        for job in jobs["results"].as_array_mut().unwrap() {
            // The progress of a running job may change at any time.
            job["progress"] = Value::Null;
        }
        (jobs, self.comfy.requests(FaultRoute::Prompt).len())
    }

    /// Sends a request that must fail: in the problem format, and without changing any job.
    pub async fn refused(&self, request: RequestBuilder, status: u16, code: &str) -> Refusal {
        let before = self.state().await;
        let refusal = refusal(request.send().await.unwrap(), status, code).await;
        assert_eq!(self.state().await, before, "a refused request changed something");
        refusal
    }

    /// Sends a body to `/execute` that must be rejected.
    pub async fn refused_body(&self, body: &Value, status: u16, code: &str) -> Refusal {
        self.refused(self.execute(body.to_string()), status, code).await
    }

    /// Sends bytes over a new connection, and returns everything received until it is closed.
    pub async fn raw(&self, request: &[u8]) -> String {
        let mut stream = self.connect().await;
        stream.write_all(request).await.unwrap();
        rest(&mut stream).await
    }

    pub async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.gateway.base.strip_prefix("http://").unwrap()).await.unwrap()
    }

    /// Polls `/readyz` until it responds with this status.
    pub async fn until_readiness(&self, status: u16) {
        poll_until(|| async { self.gateway.get("/readyz").await.status() == status }).await;
    }

    pub async fn finish(self) {
        self.gateway.finish().await;
    }
}

/// Polls until `is_done` returns true, with pauses that grow from 1 ms to 100 ms.
pub async fn poll_until<F: Future<Output = bool>>(is_done: impl Fn() -> F) {
    let mut pause = Duration::from_millis(1);
    while !is_done().await {
        SystemClock.sleep(pause).await;
        pause = (pause * 2).min(Duration::from_millis(100));
    }
}

/// Reads until the connection ends, with or without an error.
pub async fn rest(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    let mut chunk = [0; 4096];
    while let Ok(read) = stream.read(&mut chunk).await
        && read > 0
    {
        answer.extend_from_slice(&chunk[..read]);
    }
    String::from_utf8_lossy(&answer).into_owned()
}

/// Asserts the format of an error response, and returns it.
pub async fn refusal(response: Response, status: u16, code: &str) -> Refusal {
    let headers = response.headers().clone();
    let answered = response.status().as_u16();
    let text = response.text().await.unwrap();
    assert_eq!(answered, status, "{text}");
    assert_eq!(headers[CONTENT_TYPE], "application/problem+json", "{text}");
    let body: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
    assert_eq!(body["code"], code, "{body:#}");
    assert_eq!(body["status"], status);
    assert_eq!(body["type"], format!("urn:comfy-gateway:problem:{code}"));
    assert_eq!(body["request_id"], headers["x-request-id"].to_str().unwrap());
    assert!(body["title"].as_str().is_some_and(|title| !title.is_empty()), "{body:#}");
    assert!(body["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{body:#}");
    assert!(body["retryable"].is_boolean(), "{body:#}");
    Refusal { headers, body }
}

/// A workflow that every backend can run.
pub fn plain() -> Value {
    json!({ "1": {"class_type": "PreviewAny", "inputs": {"source": "x"}} })
}
