//! Serving connections: a cap, a time limit for headers, and a drain. `axum::serve` sets no timer, so a client
//! that trickles its headers would hold a connection for ever.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use crate::clock::Clock;

/// How connections are served.
#[derive(Debug, Clone)]
pub struct ServerSettings {
    /// Connections at the same time; further ones wait to be accepted.
    pub max_connections: usize,
    /// How long a request's headers may take.
    pub header_timeout: Duration,
    /// How long connections may go on after the stop.
    pub drain_timeout: Duration,
}

/// Serves `router` on `listener` until `stopping`, then finishes what is being answered.
///
/// # Errors
/// None: a failed accept or connection concerns one client and is logged.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    settings: ServerSettings,
    clock: Arc<dyn Clock>,
    stopping: CancellationToken,
) -> Result<(), std::convert::Infallible> {
    let graceful = GracefulShutdown::new();
    let connections = TaskTracker::new();
    let places = Arc::new(Semaphore::new(settings.max_connections));
    loop {
        let accepted = tokio::select! {
            () = stopping.cancelled() => break,
            accepted = accept(&listener, &places) => accepted,
        };
        match accepted {
            Ok((stream, place)) => connect(stream, place, &router, &settings, &graceful, &connections),
            Err(error) => {
                // Most often no file handles are left; some come back as connections end.
                tracing::warn!(%error, "a connection could not be accepted");
                clock.sleep(Duration::from_millis(100)).await;
            }
        }
    }
    drop(listener);
    tokio::select! {
        () = graceful.shutdown() => {}
        () = clock.sleep(settings.drain_timeout) => tracing::warn!("connections are cut that did not end in time"),
    }
    Ok(())
}

async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> std::io::Result<(TcpStream, Option<OwnedSemaphorePermit>)> {
    // The semaphore is never closed, so there always comes a permit.
    let place = places.clone().acquire_owned().await.ok();
    let (stream, _peer) = listener.accept().await?;
    Ok((stream, place))
}

fn connect(
    stream: TcpStream,
    place: Option<OwnedSemaphorePermit>,
    router: &Router,
    settings: &ServerSettings,
    graceful: &GracefulShutdown,
    connections: &TaskTracker,
) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "a connection without TCP_NODELAY");
    }
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(settings.header_timeout);
    builder.http2().timer(TokioTimer::new()).keep_alive_interval(Some(Duration::from_secs(30)));
    let router = router.clone();
    let service =
        hyper::service::service_fn(move |request: Request<Incoming>| router.clone().oneshot(request));
    let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service).into_owned();
    let connection = graceful.watch(connection);
    connections.spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(error, "a connection ended badly");
        }
        drop(place);
    });
}
