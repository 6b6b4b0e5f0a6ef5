//! A plain client for the tests.

use std::time::Duration;

use comfy_gateway::simulator::{Simulator, SimulatorConfig};
use futures_util::{SinkExt, StreamExt};
use reqwest::Response;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

/// A config without waiting.
pub fn quick() -> SimulatorConfig {
    SimulatorConfig { history_gap: Duration::ZERO, ..SimulatorConfig::default() }
}

/// A simulator with a client for it.
pub struct Lab {
    pub simulator: Simulator,
    pub http: reqwest::Client,
}

impl Lab {
    pub async fn new() -> Self {
        Self::with(quick()).await
    }

    pub async fn with(config: SimulatorConfig) -> Self {
        let simulator = Simulator::start_local(config).await.unwrap();
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        Self { simulator, http }
    }

    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.simulator.url())
    }

    pub async fn get(&self, path: &str) -> Response {
        self.http.get(self.url(path)).send().await.unwrap()
    }

    pub async fn json(&self, path: &str) -> Value {
        self.get(path).await.json().await.unwrap()
    }

    pub async fn post(&self, path: &str, body: &Value) -> Response {
        self.http.post(self.url(path)).json(body).send().await.unwrap()
    }

    /// Submits a graph, and gives status and body.
    pub async fn submit(&self, envelope: &Value) -> (u16, Value) {
        let response = self.post("/prompt", envelope).await;
        let status = response.status().as_u16();
        let text = response.text().await.unwrap();
        (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    /// Queues a graph for `client` and gives its id.
    pub async fn queue(&self, graph: &Value, client: &str) -> String {
        let (status, body) = self.submit(&json!({ "prompt": graph, "client_id": client })).await;
        assert_eq!(status, 200, "{body}");
        body["prompt_id"].as_str().unwrap().to_owned()
    }

    /// Queues a graph, waits for its end, and gives its history entry.
    pub async fn run(&self, graph: &Value) -> Value {
        let id = self.queue(graph, "nobody").await;
        self.history(&id).await
    }

    /// The history entry of a job, waited for.
    pub async fn history(&self, id: &str) -> Value {
        self.simulator.finished(id).await;
        self.json(&format!("/history/{id}")).await[id].clone()
    }

    pub async fn socket(&self, client: &str) -> Socket {
        let url = self.url(&format!("/ws?clientId={client}")).replacen("http", "ws", 1);
        let (socket, _) = tokio_tungstenite::connect_async(url.into_client_request().unwrap()).await.unwrap();
        Socket(socket)
    }
}

pub struct Socket(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Socket {
    /// The next frame; `None` when the socket ended.
    pub async fn next(&mut self) -> Option<Message> {
        self.0.next().await.and_then(Result::ok)
    }

    /// The next text message.
    pub async fn message(&mut self) -> Value {
        loop {
            if let Message::Text(text) = self.next().await.expect("a message") {
                return serde_json::from_str(&text).unwrap();
            }
        }
    }

    pub async fn send(&mut self, message: &Value) {
        self.0.send(Message::text(message.to_string())).await.unwrap();
    }

    pub async fn close(mut self) {
        self.0.close(None).await.unwrap();
        while self.next().await.is_some() {}
    }

    /// All messages up to the end of the job, `status` left out.
    pub async fn until_over(&mut self, id: &str) -> Vec<Value> {
        let mut messages = Vec::new();
        loop {
            let message = self.message().await;
            let over = message["type"] == "executing"
                && message["data"]["node"].is_null()
                && message["data"]["prompt_id"] == id;
            if message["type"] != "status" {
                messages.push(message);
            }
            if over {
                return messages;
            }
        }
    }
}

/// The types of messages, in order.
pub fn types(messages: &[Value]) -> Vec<&str> {
    messages.iter().map(|message| message["type"].as_str().unwrap()).collect()
}

/// A picture of one colour, saved.
pub fn picture(color: u32) -> Value {
    json!({
        "1": { "class_type": "EmptyImage", "inputs": { "width": 32, "height": 32, "batch_size": 1, "color": color } },
        "2": { "class_type": "SaveImage", "inputs": { "images": ["1", 0], "filename_prefix": "cap" } },
    })
}

/// A job that is held until `name` is released.
pub fn held(name: &str) -> Value {
    json!({ "1": { "class_type": "SimHold", "inputs": { "name": name } } })
}
