//! The port: accepting, serving and cutting connections, and keeping the port while nobody listens.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tower::ServiceExt;

use super::answers::DropConnection;
use super::routes;
use super::server::ServerLife;
use crate::lock::LockExt;

/// Accepts connections until the life ends; then the port refuses.
pub(super) async fn accept(server: Arc<ServerLife>, listener: TcpListener) {
    let app = routes::app(Arc::clone(&server));
    let graceful = GracefulShutdown::new();
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => accepted,
            () = server.closing.cancelled() => break,
            () = server.end.cancelled() => break,
        };
        match stream {
            Ok((stream, _)) => {
                let watcher = graceful.watcher();
                server.tasks.spawn(serve(Arc::clone(&server), stream, app.clone(), watcher));
            }
            Err(error) => tracing::debug!(%error, "the simulator could not accept"),
        }
    }
    drop(listener);
    match reserve(server.world.addr) {
        Ok(socket) => *server.world.reserved.lock_anyway() = Some(socket),
        Err(error) => tracing::warn!(%error, "the simulator could not keep its port"),
    }
    tokio::select! {
        () = graceful.shutdown() => {}
        () = server.end.cancelled() => {}
    }
}

async fn serve(
    server: Arc<ServerLife>,
    stream: TcpStream,
    app: Router,
    watcher: hyper_util::server::graceful::Watcher,
) {
    // Small answers go out at once; without it they only come later.
    let _best_effort = stream.set_nodelay(true);
    let service = hyper::service::service_fn(move |request: Request<hyper::body::Incoming>| {
        answer(app.clone(), request.map(Body::new))
    });
    let builder = Builder::new(TokioExecutor::new()).http1_only();
    let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service).into_owned();
    tokio::select! {
        _closed = watcher.watch(connection) => {}
        () = server.end.cancelled() => {}
    }
}

async fn answer(app: Router, request: Request<Body>) -> io::Result<Response<Body>> {
    let Ok(response) = app.oneshot(request).await;
    if response.extensions().get::<DropConnection>().is_some() {
        return Err(io::Error::other("dropped as scripted"));
    }
    Ok(response)
}

/// Holds `addr` without listening: connections are refused, and no search for a free port finds it.
fn reserve(addr: SocketAddr) -> io::Result<TcpSocket> {
    let socket = if addr.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(addr)?;
    Ok(socket)
}
