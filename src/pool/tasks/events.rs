//! The task of each server that drains its websocket. It must never wait for whoever uses what it hears: a slow reader
//! blocks all clients of a ComfyUI.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::comfy::{ComfyEvent, EventStream};
use crate::pool::backend::Backend;
use crate::pool::tasks::probe::{RECONNECT, back_off};

/// ComfyUI greets each websocket with a `status` at once. One that is not greeted was made deaf by the end of the one before it.
const FIRST_WORD: Duration = Duration::from_secs(10);

/// How a websocket ended.
enum SocketEnd {
    /// By the server or on the way; most often because the server itself ends.
    Lost(String),
    /// By us, because it heard nothing any more.
    Deaf(&'static str),
}

/// Keeps a websocket open while the server answers, and hands on what it tells.
pub(in crate::pool) async fn events(backend: Arc<Backend>) -> Infallible {
    let mut answers = backend.watch_answers();
    let mut failed = 0;
    loop {
        // The sender lives in the backend: waiting ends only with a server that answers.
        drop(answers.wait_for(|answers| *answers).await);
        match backend.client().events(backend.client_id()).await {
            Ok(events) => {
                backend.has_websocket(Ok(()));
                let (end, greeted) = listen(&backend, events).await;
                if greeted {
                    failed = 0;
                }
                has_ended(&backend, &end);
            }
            Err(error) => {
                tracing::debug!(backend = %backend.name(), %error, "no websocket");
                backend.has_websocket(Err(error.to_string()));
            }
        }
        failed += 1;
        backend.clock().sleep(backend.jittered(back_off(RECONNECT, failed))).await;
    }
}

fn has_ended(backend: &Backend, end: &SocketEnd) {
    let reason = match end {
        SocketEnd::Lost(reason) => reason.as_str(),
        SocketEnd::Deaf(reason) => reason,
    };
    tracing::debug!(backend = %backend.name(), reason, "the websocket ended");
    backend.has_websocket(Err(reason.to_owned()));
    if let SocketEnd::Lost(_) = end {
        backend.found_restarted();
    }
}

/// Listens until the websocket ends; why, and whether it was greeted.
async fn listen(backend: &Backend, mut events: EventStream) -> (SocketEnd, bool) {
    let mut greeted = false;
    let ungreeted_until = backend.clock().now().plus(FIRST_WORD);
    loop {
        let event = tokio::select! {
            () = backend.deaf.notified() => {
                events.close().await;
                return (SocketEnd::Deaf("it kept silent about what the server did"), greeted);
            }
            () = backend.clock().sleep_until(ungreeted_until), if !greeted => {
                events.close().await;
                return (SocketEnd::Deaf("it was not greeted"), greeted);
            }
            event = events.next() => event,
        };
        // An answer to what we said ourselves is no greeting: only a `status` goes to every socket it knows.
        greeted |= matches!(event, Some(Ok(ComfyEvent::Status { .. })));
        match event {
            Some(Ok(ComfyEvent::Status { queue_remaining: Some(remaining), .. })) => {
                backend.queue_remaining.store(remaining, Ordering::Relaxed);
                backend.statuses.fetch_add(1, Ordering::Relaxed);
                if remaining > backend.in_flight() as u64 || backend.foreign() > 0 {
                    backend.probe_soon.notify_one();
                }
            }
            Some(Ok(event)) => backend.feeds.hear(&event),
            Some(Err(error)) => return (SocketEnd::Lost(error.to_string()), greeted),
            None => return (SocketEnd::Lost("closed".to_owned()), greeted),
        }
    }
}
