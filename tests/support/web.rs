//! A web server for inputs by URL, with faults.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use futures_util::{StreamExt, stream};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;

/// How the web server serves its only file.
#[derive(Debug, Clone)]
pub enum Behaviour {
    /// Serves the file.
    Good,
    /// Answers 503 this many times, then serves the file.
    BadFirst(u32),
    /// Answers with this status.
    Status(u16),
    /// Sends the beginning and then stalls.
    Hangs,
    /// Serves the file with an `ETag`, and answers 304 while that matches.
    Tagged,
    /// Announces more than it sends.
    Short,
}

const TAG: &str = "\"one\"";

/// A running web server.
pub struct Web {
    pub url: String,
    address: SocketAddr,
    asked: Arc<AtomicU32>,
    unmodified: Arc<AtomicU32>,
    came: Arc<Notify>,
    server: JoinHandle<()>,
}

impl Drop for Web {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Web {
    /// Serves `file` under every path.
    pub async fn serve(file: impl Into<Bytes>, behaviour: Behaviour) -> Self {
        Self::serve_at(([127, 0, 0, 1], 0).into(), file, behaviour).await
    }

    /// The same on a given address.
    pub async fn serve_at(address: SocketAddr, file: impl Into<Bytes>, behaviour: Behaviour) -> Self {
        let file = file.into();
        let (asked, came) = (Arc::new(AtomicU32::new(0)), Arc::new(Notify::new()));
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let url = format!("http://{address}");
        let unmodified = Arc::new(AtomicU32::new(0));
        let (count, signal, same) = (asked.clone(), came.clone(), unmodified.clone());
        let app = Router::new().fallback(any(move |headers: HeaderMap| {
            let earlier = count.fetch_add(1, Ordering::SeqCst);
            signal.notify_one();
            let known = headers.get("if-none-match").is_some_and(|tag| tag == TAG);
            let answer = if matches!(behaviour, Behaviour::Tagged) && known {
                same.fetch_add(1, Ordering::SeqCst);
                StatusCode::NOT_MODIFIED.into_response()
            } else {
                answer(&file, &behaviour, earlier)
            };
            async move { answer }
        }));
        let server = TaskTracker::new().spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { url, address, asked, unmodified, came, server }
    }

    /// Stops it and returns the address, which is free afterwards.
    pub async fn stop(mut self) -> SocketAddr {
        self.server.abort();
        let _aborted: Result<(), _> = (&mut self.server).await;
        self.address
    }

    /// The number of requests so far.
    pub fn asked(&self) -> u32 {
        self.asked.load(Ordering::SeqCst)
    }

    /// The number of 304 responses so far.
    pub fn not_modified(&self) -> u32 {
        self.unmodified.load(Ordering::SeqCst)
    }

    /// Waits for a request.
    pub async fn came(&self) {
        self.came.notified().await;
    }
}

fn answer(file: &Bytes, behaviour: &Behaviour, earlier: u32) -> Response {
    match behaviour {
        Behaviour::Tagged => ([("etag", TAG)], file.clone()).into_response(),
        Behaviour::BadFirst(times) if earlier < *times => StatusCode::SERVICE_UNAVAILABLE.into_response(),
        Behaviour::Good | Behaviour::BadFirst(_) => file.clone().into_response(),
        Behaviour::Status(code) => StatusCode::from_u16(*code).unwrap().into_response(),
        Behaviour::Hangs => {
            let beginning = stream::iter([Ok::<_, std::io::Error>(file.slice(..1))]);
            Body::from_stream(beginning.chain(stream::pending())).into_response()
        }
        Behaviour::Short => {
            let half = stream::iter([Ok(file.slice(..1)), Err(std::io::Error::other("cut"))]);
            let mut response = Body::from_stream(half).into_response();
            response.headers_mut().insert("content-length", file.len().into());
            response
        }
    }
}
