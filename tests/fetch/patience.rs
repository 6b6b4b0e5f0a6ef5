//! Time limits: servers that are silent or slow. The clock is turned by hand.

use std::sync::Arc;
use std::time::Duration;

use comfy_gateway::fetch::{FetchFault, FetchLimits};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use crate::scene::{LIMITS, PUBLIC, Scene, Server, ip, ok};

const STALLED: FetchFault = FetchFault::Stalled { after: LIMITS.idle };

#[tokio::test]
async fn a_trickle_ends_with_the_limit_on_all_of_it() {
    let drops = Arc::new(Semaphore::new(0));
    let tap = Arc::clone(&drops);
    let server = Server::new(move |_, mut socket| {
        let tap = Arc::clone(&tap);
        async move {
            socket.write_all(ok("content-length: 900\r\n", "").as_bytes()).await.unwrap();
            while let Ok(drop) = tap.acquire().await {
                drop.forget();
                if socket.write_all(b"x").await.is_err() {
                    return;
                }
            }
        }
    })
    .await;
    let scene = Scene::new().await;
    let mut download = scene.open(&server.url("a.example", "/")).await.unwrap();
    let mut came = 0;
    let error = loop {
        drops.add_permits(1);
        match download.chunk().await {
            Ok(piece) => came += piece.unwrap().len(),
            Err(error) => break error,
        }
        scene.clock.advance(Duration::from_secs(29));
    };
    assert_eq!(
        (came, error.to_string().as_str()),
        (5, "a.example: took longer than the limit of 120 s (fetch_timeout)")
    );
    assert!(!error.is_retryable());
}

#[tokio::test]
async fn a_body_that_stops_is_given_up() {
    let server = Server::new(|_, mut socket| async move {
        socket.write_all(ok("content-length: 9\r\n", "half").as_bytes()).await.unwrap();
        std::future::pending::<()>().await;
    })
    .await;
    let scene = Scene::new().await;
    let mut download = scene.open(&server.url("a.example", "/")).await.unwrap();
    assert_eq!(download.chunk().await.unwrap().unwrap(), "half");
    let (chunk, ()) = tokio::join!(download.chunk(), scene.pass(LIMITS.idle, || true));
    let error = chunk.unwrap_err();
    assert_eq!(error.fault, STALLED);
    assert!(error.is_retryable());
}

#[tokio::test]
async fn a_head_that_never_ends_is_given_up() {
    let server = Server::new(|_, mut socket| async move {
        socket.write_all(b"HTTP/1.1 200 OK\r\nx-slow: ").await.unwrap();
        std::future::pending::<()>().await;
    })
    .await;
    let scene = Scene::new().await;
    let url = server.url("a.example", "/");
    let asked = || !server.heads().is_empty();
    let (open, ()) = tokio::join!(scene.open(&url), scene.pass(LIMITS.idle, asked));
    assert_eq!(open.unwrap_err().fault, STALLED);
}

#[tokio::test]
async fn a_slow_handshake_is_given_up() {
    let listener = TcpListener::bind((PUBLIC, 0)).await.unwrap();
    let url = format!("https://a.example:{}/", listener.local_addr().unwrap().port());
    let scene = Scene::new().await;
    let silent = async {
        let (mut socket, _) = listener.accept().await.unwrap();
        let hello = socket.read_u8().await.unwrap();
        assert_eq!(hello, 22, "a TLS handshake");
        scene.clock.advance(LIMITS.idle);
        socket
    };
    let (open, _socket) = tokio::join!(scene.open(&url), silent);
    assert_eq!(open.unwrap_err().fault, STALLED);
}

#[tokio::test]
async fn a_silent_resolver_is_given_up() {
    let scene = Scene::with(PUBLIC, |_, _| None).await;
    let asked = || !scene.dns.asked().is_empty();
    let (open, ()) = tokio::join!(scene.open("http://a.example/"), scene.pass(LIMITS.idle, asked));
    assert_eq!(open.unwrap_err().fault, STALLED);
}

#[tokio::test]
async fn redirects_share_the_limit_on_time() {
    let server =
        Server::sending(|_| "HTTP/1.1 302 X\r\nlocation: /\r\ncontent-length: 0\r\n\r\n".to_owned()).await;
    let limits = FetchLimits { total: Duration::from_secs(20), ..LIMITS };
    let clock = Arc::new(std::sync::OnceLock::<Arc<comfy_gateway::clock::ManualClock>>::new());
    let hand = Arc::clone(&clock);
    let scene = Scene::with(PUBLIC, move |_, _| {
        hand.get().unwrap().advance(Duration::from_secs(8));
        Some(vec![ip(PUBLIC)])
    })
    .await;
    clock.set(Arc::clone(&scene.clock)).unwrap();
    let error = scene.fetcher.open(&server.url("a.example", "/").parse().unwrap(), limits).await.unwrap_err();
    assert_eq!(error.fault, FetchFault::Late { after: limits.total });
    assert!(server.heads().len() < 3, "{:?}", server.heads());
}

#[tokio::test]
async fn nobody_there_and_no_certificate_are_told_apart() {
    let scene = Scene::new().await;
    let listener = TcpListener::bind((PUBLIC, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let error = scene.open(&format!("http://a.example:{port}/secret")).await.unwrap_err();
    assert!(
        matches!(&error.fault, FetchFault::Unreachable { reason } if reason.contains("refused")),
        "{error}"
    );
    assert!(error.is_retryable());
    let listener = TcpListener::bind((PUBLIC, 0)).await.unwrap();
    let url = format!("https://a.example:{}/", listener.local_addr().unwrap().port());
    let garbage = async {
        let (mut socket, _) = listener.accept().await.unwrap();
        socket.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        socket
    };
    let (open, _socket) = tokio::join!(scene.open(&url), garbage);
    assert!(matches!(open.unwrap_err().fault, FetchFault::Unreachable { .. }));
}
