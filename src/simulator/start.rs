//! Starts one life of the simulated server: its port, its worker and its websockets.

use std::sync::Arc;

use axum::extract::ws::Message;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use super::server::{PersistentWorld, ServerLife};
use super::ws::{OpenSockets, Recipient};
use super::{execute, net};

/// Starts a life that listens on `listener`.
pub(super) fn start(world: Arc<PersistentWorld>, listener: TcpListener) -> Arc<ServerLife> {
    let (sockets, inbox) = OpenSockets::new();
    let server = Arc::new(ServerLife::new(world, sockets));
    server.world.recorder.note(|record| record.alive = true);
    server.world.run_log.up(server.world.clock.now().as_millis());
    server.tasks.spawn(run(Arc::clone(&server), inbox));
    server.tasks.spawn(net::accept(Arc::clone(&server), listener));
    server
}

/// Publishes messages and runs prompts until the end.
async fn run(server: Arc<ServerLife>, inbox: mpsc::Receiver<(Recipient, Message)>) {
    tokio::select! {
        () = server.end.cancelled() => {}
        () = server.closing.cancelled() => {}
        () = server.sockets.publish_all(inbox) => {}
        () = execute::work(Arc::clone(&server)) => {}
    }
}
