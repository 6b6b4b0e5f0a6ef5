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
            Ok((stream, place)) => {
                let connection = Connection { stream, place, settings: &settings, clock: clock.clone() };
                connection.serve(&router, &graceful, &connections);
            }
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

/// A connection that was accepted.
struct Connection<'a> {
    stream: TcpStream,
    place: Option<OwnedSemaphorePermit>,
    settings: &'a ServerSettings,
    clock: Arc<dyn Clock>,
}

impl Connection<'_> {
    fn serve(self, router: &Router, graceful: &GracefulShutdown, connections: &TaskTracker) {
        let Self { stream, place, settings, clock } = self;
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "a connection without TCP_NODELAY");
        }
        let mut builder = auto::Builder::new(TokioExecutor::new());
        builder.http1().timer(TokioTimer::new()).header_read_timeout(settings.header_timeout);
        builder.http2().timer(TokioTimer::new()).keep_alive_interval(Some(Duration::from_secs(30)));
        let (router, patience) = (router.clone(), settings.header_timeout);
        let asked = CancellationToken::new();
        let noted = asked.clone();
        let service = hyper::service::service_fn(move |request: Request<Incoming>| {
            noted.cancel();
            router.clone().oneshot(request)
        });
        let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service).into_owned();
        let mut connection = Box::pin(graceful.watch(connection));
        connections.spawn(async move {
            // The builder's own timer starts only when it has seen enough to tell HTTP/1 from HTTP/2, and HTTP/2
            // has none: a connection must bring its first request in time, or it goes.
            let ended = tokio::select! {
                ended = &mut connection => ended,
                () = asked.cancelled() => connection.await,
                () = clock.sleep(patience) => {
                    tracing::debug!("a connection brought no request and is cut");
                    return;
                }
            };
            if let Err(error) = ended {
                tracing::debug!(error, "a connection ended badly");
            }
            drop(place);
        });
    }
}
