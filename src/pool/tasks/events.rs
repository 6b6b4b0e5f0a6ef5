//! The task that keeps the websocket of one backend open and delivers its events.
//!
//! It never waits for a consumer of the events: ComfyUI sends to one client after the other, so a client that does
//! not read blocks all of them.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use super::back_off::{RECONNECT, back_off};
use crate::comfy::{ComfyEvent, EventStream};
use crate::pool::backend::Backend;

/// How long to wait for the `status` event that ComfyUI sends first on each websocket. A websocket without it was
/// unregistered when the one before it closed, and stays deaf.
const GREETING: Duration = Duration::from_secs(10);

/// How a websocket ended.
enum SocketEnd {
    /// The connection was lost, most often because ComfyUI itself ended.
    Lost(String),
    /// The gateway closed it because it received no events.
    Deaf(&'static str),
}

/// Keeps a websocket open while the backend answers.
pub(in crate::pool) async fn run(backend: Arc<Backend>) -> Infallible {
    let mut failed = 0;
    loop {
        backend.health().until_answering().await;
        match backend.client().events(backend.client_id()).await {
            Ok(events) => {
                backend.set_websocket(Ok(()));
                let (end, greeted) = listen(&backend, events).await;
                if greeted {
                    failed = 0;
                }
                record_end(&backend, &end);
            }
            Err(error) => {
                tracing::debug!(backend = %backend.name(), %error, "the websocket cannot be opened");
                backend.set_websocket(Err(error.to_string()));
            }
        }
        failed += 1;
        backend.clock().sleep(backend.jitter(back_off(RECONNECT, failed))).await;
    }
}

fn record_end(backend: &Backend, end: &SocketEnd) {
    let reason = match end {
        SocketEnd::Lost(reason) => reason.as_str(),
        SocketEnd::Deaf(reason) => reason,
    };
    tracing::debug!(backend = %backend.name(), reason, "the websocket ended");
    backend.set_websocket(Err(reason.to_owned()));
    if let SocketEnd::Lost(_) = end {
        backend.mark_restarted();
    }
}

/// Delivers events until the websocket ends. Returns how it ended and whether ComfyUI had greeted it.
async fn listen(backend: &Backend, mut events: EventStream) -> (SocketEnd, bool) {
    let mut greeted = false;
    let greeting_due = backend.clock().now().plus(GREETING);
    loop {
        let event = tokio::select! {
            () = backend.websocket().until_deaf() => {
                events.close().await;
                return (SocketEnd::Deaf("it received no events about jobs that HTTP shows"), greeted);
            }
            () = backend.clock().sleep_until(greeting_due), if !greeted => {
                events.close().await;
                return (SocketEnd::Deaf("it received no first status event"), greeted);
            }
            event = events.next() => event,
        };
        // Only a `status` event proves registration. ComfyUI answers messages on unregistered websockets too.
        greeted |= matches!(event, Some(Ok(ComfyEvent::Status { .. })));
        match event {
            Some(Ok(ComfyEvent::Status { queue_remaining: Some(remaining), .. })) => {
                backend.websocket().record_status(remaining);
                let ours = backend.feeds().count() as u64;
                if remaining > ours || backend.health().foreign_jobs() > 0 {
                    backend.health().request_probe_soon();
                }
            }
            Some(Ok(event)) => backend.feeds().deliver(&event),
            Some(Err(error)) => return (SocketEnd::Lost(error.to_string()), greeted),
            None => return (SocketEnd::Lost("closed".to_owned()), greeted),
        }
    }
}
