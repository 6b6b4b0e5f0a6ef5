//! Serves connections with a connection limit, time limits, and a graceful shutdown. `axum::serve` sets no timeouts, so a
//! client that trickles its headers or never reads its response would hold a connection without limit.

mod activity;
mod pace;
mod rejection;
mod stream;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use hyper::Version;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use self::activity::{ConnectionActivity, InFlightBody};
use self::pace::{PacedBody, TransferPace};
use self::stream::{ReadLimits, TimedStream};
use crate::clock::Clock;
use crate::random::Random;

pub use self::pace::{MinimumPace, TooSlow};

/// The limits of the HTTP listener and its connections.
#[derive(Debug, Clone)]
pub struct ServerSettings {
    /// The most open connections. Further connections wait to be accepted.
    pub max_connections: usize,
    /// The longest time for a request's headers to arrive, and for a new connection to send its first request.
    pub header_timeout: Duration,
    /// The longest time that a connection may stay idle between requests.
    pub keep_alive: Duration,
    /// The slowest transfer that the gateway tolerates while it waits for a client to send a body or to read a response.
    pub pace: MinimumPace,
    /// The longest time that connections may go on after the shutdown begins.
    pub drain_timeout: Duration,
}

/// Serves `router` on `listener` until `stopping` is cancelled, then lets requests in flight finish.
///
/// # Errors
/// None: a failed accept or connection concerns one client and is logged.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    settings: ServerSettings,
    clock: Arc<dyn Clock>,
    random: Arc<Random>,
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
                let (clock, random) = (clock.clone(), random.clone());
                let connection = AcceptedConnection { stream, place, settings: &settings, clock, random };
                connection.serve(&router, &graceful, &connections);
            }
            Err(error) => {
                // The usual cause is a lack of file descriptors, which become free as connections end.
                tracing::warn!(%error, "a connection could not be accepted");
                clock.sleep(Duration::from_millis(100)).await;
            }
        }
    }
    drop(listener);
    tokio::select! {
        () = graceful.shutdown() => {}
        () = clock.sleep(settings.drain_timeout) => tracing::warn!("closing the connections that did not end within the drain timeout"),
    }
    Ok(())
}

async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> std::io::Result<(TcpStream, Option<OwnedSemaphorePermit>)> {
    // The semaphore is never closed, so `acquire_owned` always returns a permit.
    let place = places.clone().acquire_owned().await.ok();
    let (stream, _peer) = listener.accept().await?;
    Ok((stream, place))
}

/// An accepted connection and everything needed to serve it.
struct AcceptedConnection<'a> {
    stream: TcpStream,
    place: Option<OwnedSemaphorePermit>,
    settings: &'a ServerSettings,
    clock: Arc<dyn Clock>,
    random: Arc<Random>,
}

impl AcceptedConnection<'_> {
    fn serve(self, router: &Router, graceful: &GracefulShutdown, connections: &TaskTracker) {
        let Self { stream, place, settings, clock, random } = self;
        let minimum = settings.pace;
        let activity = Arc::new(ConnectionActivity::default());
        let limits = ReadLimits { head: settings.header_timeout, idle: settings.keep_alive };
        let writing = TransferPace::new(clock.clone(), minimum);
        let stream = TimedStream::new(stream, clock.clone(), activity.clone(), limits, writing, random);
        let mut builder = auto::Builder::new(TokioExecutor::new());
        // The stream enforces all time limits. Hyper's header timeout is off, because it would count idle time between requests.
        builder.http1().header_read_timeout(None);
        builder.http2().timer(TokioTimer::new()).keep_alive_interval(Some(Duration::from_secs(30)));
        let (router, bodies, served) = (router.clone(), clock.clone(), activity.clone());
        let service = hyper::service::service_fn(move |request: Request<Incoming>| {
            let in_flight = served.begin(request.version() == Version::HTTP_2);
            let pace = TransferPace::new(bodies.clone(), minimum);
            let activity = served.clone();
            let response = router.clone().oneshot(request.map(|body| PacedBody::new(body, pace, activity)));
            async move {
                let response = response.await?;
                Ok::<_, std::convert::Infallible>(
                    response.map(|body: Body| InFlightBody::new(body, in_flight)),
                )
            }
        });
        let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service).into_owned();
        let connection = graceful.watch(connection);
        connections.spawn(async move {
            let ended = tokio::select! {
                ended = connection => ended,
                () = until_responses_stall(&activity, &*clock, minimum.window) => {
                    tracing::debug!("closing a connection whose client reads no response");
                    return;
                }
            };
            if let Err(error) = ended {
                tracing::debug!(error, "a connection ended with an error");
            }
            drop(place);
        });
    }
}

/// Waits until the client of an HTTP/2 connection has read nothing of any response for a whole window. The stream cannot
/// detect this, because flow control stops responses before they are written to it.
async fn until_responses_stall(activity: &ConnectionActivity, clock: &dyn Clock, window: Duration) {
    activity.until_multiplexed().await;
    let mut before = None;
    loop {
        clock.sleep(window).await;
        let unread = activity.unread();
        if unread.is_some() && unread == before {
            return;
        }
        before = unread;
    }
}
