//! A backend that answers each request with prescribed bytes.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use comfy_gateway::clock::SystemClock;
use comfy_gateway::comfy::{ComfyClient, ComfyEndpoint};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

/// A received request.
#[derive(Debug, Clone)]
pub struct Request {
    /// The first line, such as `GET /queue HTTP/1.1`.
    pub line: String,
    /// The head without the first line, in lower case.
    pub headers: String,
    pub body: Vec<u8>,
}

impl Request {
    pub fn is(&self, method_and_path: &str) -> bool {
        self.line == format!("{method_and_path} HTTP/1.1")
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// The reaction to a request.
pub enum Reply {
    /// Sends these bytes and closes the connection.
    Bytes(Vec<u8>),
    /// Sends these bytes and keeps the connection open in silence.
    Stall(Vec<u8>),
}

/// An answer with this status and body. `head` holds further header lines, each with its line break.
pub fn answer(status: u16, head: &str, body: &str) -> Reply {
    let length = body.len();
    Reply::Bytes(
        format!("HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: {length}\r\n{head}\r\n{body}")
            .into(),
    )
}

pub fn ok(body: &str) -> Reply {
    answer(200, "content-type: application/json\r\n", body)
}

/// The answer to the request by which a client discovers the route prefix.
pub const STATS: &str = r#"{"system":{"comfyui_version":"0.24.0"},"devices":[]}"#;

pub struct FakeBackend {
    pub url: String,
    requests: Arc<Mutex<Vec<Request>>>,
    _task: AbortOnDropHandle<()>,
}

impl FakeBackend {
    /// Answers with `reply`, but `/system_stats` always with [`STATS`].
    pub async fn new(reply: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        Self::raw(move |request| if request.is("GET /system_stats") { ok(STATS) } else { reply(request) })
            .await
    }

    /// Answers every request with `reply`.
    pub async fn raw(reply: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (seen, reply) = (Arc::clone(&requests), Arc::new(reply));
        let task = background(async move {
            let connections = TaskTracker::new();
            while let Ok((socket, _)) = listener.accept().await {
                connections.spawn(serve(socket, Arc::clone(&seen), Arc::clone(&reply)));
            }
        });
        Self { url, requests, _task: task }
    }

    pub fn client(&self) -> ComfyClient {
        client(endpoint(&self.url))
    }

    /// The requests so far, without those that discover the route prefix.
    pub fn requests(&self) -> Vec<Request> {
        let all = self.requests.lock().unwrap().clone();
        all.into_iter().filter(|request| !request.is("GET /system_stats")).collect()
    }

    pub fn lines(&self) -> Vec<String> {
        let all = self.requests.lock().unwrap();
        all.iter().map(|request| request.line.trim_end_matches(" HTTP/1.1").to_owned()).collect()
    }
}

pub fn endpoint(url: &str) -> ComfyEndpoint {
    ComfyEndpoint::new(url.parse().unwrap())
}

/// A client with short timeouts, for backends that never answer.
pub fn impatient(url: &str) -> ComfyClient {
    let mut endpoint = endpoint(url);
    endpoint.timeouts.connect = PATIENCE;
    endpoint.timeouts.request = PATIENCE;
    endpoint.timeouts.stall = PATIENCE;
    client(endpoint)
}

/// Long enough for an immediate answer to arrive on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(1);

pub fn client(endpoint: ComfyEndpoint) -> ComfyClient {
    ComfyClient::new(endpoint, Arc::new(SystemClock)).unwrap()
}

/// A URL on whose port nothing listens.
pub async fn dead_url() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

pub fn background(future: impl Future<Output = ()> + Send + 'static) -> AbortOnDropHandle<()> {
    AbortOnDropHandle::new(TaskTracker::new().spawn(future))
}

async fn serve(
    mut socket: TcpStream,
    seen: Arc<Mutex<Vec<Request>>>,
    reply: Arc<impl Fn(&Request) -> Reply>,
) {
    let Some(request) = read_request(&mut socket).await else { return };
    let reply = reply(&request);
    seen.lock().unwrap().push(request);
    match reply {
        Reply::Bytes(bytes) => {
            let _gone = socket.write_all(&bytes).await;
            let _gone = socket.shutdown().await;
        }
        Reply::Stall(bytes) => {
            let _gone = socket.write_all(&bytes).await;
            std::future::pending::<()>().await;
        }
    }
}

async fn read_request(socket: &mut TcpStream) -> Option<Request> {
    let mut bytes = Vec::new();
    let head_end = loop {
        if let Some(at) = find(&bytes, b"\r\n\r\n") {
            break at + 4;
        }
        (socket.read_buf(&mut bytes).await.ok()? > 0).then_some(())?;
    };
    let head = String::from_utf8_lossy(&bytes[..head_end]).into_owned();
    let (line, headers) = head.split_once("\r\n")?;
    let headers = headers.to_lowercase();
    let length = headers
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "))
        .map_or(0, |length| length.parse().unwrap());
    let chunked = headers.contains("transfer-encoding: chunked");
    let mut body = bytes.split_off(head_end);
    while if chunked { !body.ends_with(b"\r\n0\r\n\r\n") } else { body.len() < length } {
        (socket.read_buf(&mut body).await.ok()? > 0).then_some(())?;
    }
    Some(Request { line: line.to_owned(), headers, body })
}

fn find(bytes: &[u8], part: &[u8]) -> Option<usize> {
    bytes.windows(part.len()).position(|window| window == part)
}
