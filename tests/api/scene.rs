//! A gateway to send bad requests to, and what holds of every refusal. It must not know of any one fault.

use comfy_gateway::simulator::{FaultRoute, Simulator};
use reqwest::header::{CONTENT_TYPE, HeaderMap};
use reqwest::{Method, RequestBuilder, Response};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{Gateway, Settings, simulator};

/// A gateway before one simulator.
pub struct Scene {
    pub gateway: Gateway,
    pub comfy: Simulator,
}

/// A refusal as it came.
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

    /// Everything it says, in one text.
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
            // A running job goes on meanwhile.
            job["progress"] = Value::Null;
        }
        (jobs, self.comfy.requests(FaultRoute::Prompt).len())
    }

    /// Sends what must be refused: in the one format, changing nothing.
    pub async fn refused(&self, request: RequestBuilder, status: u16, code: &str) -> Refusal {
        let before = self.state().await;
        let refusal = refusal(request.send().await.unwrap(), status, code).await;
        assert_eq!(self.state().await, before, "a refused request changed something");
        refusal
    }

    /// The same for a body of `/execute`.
    pub async fn refused_body(&self, body: &Value, status: u16, code: &str) -> Refusal {
        self.refused(self.execute(body.to_string()), status, code).await
    }

    /// Sends bytes over a connection of their own; all that comes back until it is closed.
    pub async fn raw(&self, request: &[u8]) -> String {
        let mut stream = self.connect().await;
        stream.write_all(request).await.unwrap();
        rest(&mut stream).await
    }

    pub async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.gateway.base.strip_prefix("http://").unwrap()).await.unwrap()
    }

    pub async fn finish(self) {
        self.gateway.finish().await;
    }
}

/// All that comes until the connection ends, however it ends.
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

/// Asserts what every refusal is like.
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

/// A workflow that any server takes.
pub fn plain() -> Value {
    json!({ "1": {"class_type": "PreviewAny", "inputs": {"source": "x"}} })
}
