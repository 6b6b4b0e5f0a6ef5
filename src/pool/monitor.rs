//! The two tasks of each server: one asks whether it is there, one drains its websocket.
//! They must never wait for whoever uses what they learn: a slow reader blocks all clients of a ComfyUI.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::backend::Backend;
use crate::comfy::{ComfyEvent, EventStream};

/// Between two probes of a server that is up.
const PROBE_UP: Duration = Duration::from_secs(5);
/// Between two probes of a server that is down, at first and at most.
const PROBE_DOWN: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(5));
/// Failed probes, other than refused ones, until a server that was up counts as down: loading a large model
/// can keep ComfyUI from answering for a while.
const FAILED_PROBES: u32 = 2;
/// Between two tries to open the websocket.
pub(super) const RECONNECT: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// Probes the server until the process stops.
pub(super) async fn health(backend: Arc<Backend>, stopping: CancellationToken) -> Result<(), Infallible> {
    let mut failed = 0;
    loop {
        let probe = tokio::select! {
            () = stopping.cancelled() => return Ok(()),
            probe = backend.client().system_stats() => probe,
        };
        let wait = match probe {
            Ok(stats) => {
                failed = 0;
                backend.is_up(stats.version);
                PROBE_UP
            }
            Err(error) => {
                failed += 1;
                if error.is_unreachable()
                    || error.status().is_some()
                    || failed >= FAILED_PROBES
                    || !backend.is_usable()
                {
                    backend.is_down(error.to_string());
                }
                back_off(PROBE_DOWN, failed)
            }
        };
        tokio::select! {
            () = stopping.cancelled() => return Ok(()),
            () = backend.clock().sleep(wait) => {}
            () = backend.probe_now.notified() => {}
        }
    }
}

/// How long to wait after that many failures: doubled each time, from the first up to the most.
pub(super) fn back_off((first, most): (Duration, Duration), failed: u32) -> Duration {
    first.saturating_mul(1 << failed.saturating_sub(1).min(16)).min(most)
}

/// Keeps a websocket open while the server is up, and hands on what it tells.
pub(super) async fn events(backend: Arc<Backend>, stopping: CancellationToken) -> Result<(), Infallible> {
    let mut health = backend.watch_health();
    let mut failed = 0;
    loop {
        let connected = tokio::select! {
            () = stopping.cancelled() => return Ok(()),
            connected = async {
                // The sender lives in the backend: waiting ends only with a usable server.
                drop(health.wait_for(super::Health::is_usable).await);
                backend.client().events(backend.client_id()).await
            } => connected,
        };
        match connected {
            Ok(events) => {
                failed = 0;
                backend.listening.store(true, Ordering::Relaxed);
                let reason = listen(&backend, events, &stopping).await;
                backend.listening.store(false, Ordering::Relaxed);
                tracing::debug!(backend = %backend.name(), reason, "the websocket ended");
                // Most often it ends because the server does: ask.
                backend.probe_now.notify_one();
                backend.may_have_restarted();
            }
            Err(error) => tracing::debug!(backend = %backend.name(), %error, "no websocket"),
        }
        failed += 1;
        tokio::select! {
            () = stopping.cancelled() => return Ok(()),
            () = backend.clock().sleep(back_off(RECONNECT, failed)) => {}
        }
    }
}

async fn listen(backend: &Backend, mut events: EventStream, stopping: &CancellationToken) -> String {
    loop {
        let event = tokio::select! {
            () = stopping.cancelled() => return "stopping".to_owned(),
            () = backend.deaf.notified() => {
                events.close().await;
                return "it kept silent about a run that ended".to_owned();
            }
            event = events.next() => event,
        };
        match event {
            Some(Ok(ComfyEvent::Status { queue_remaining: Some(remaining), .. })) => {
                backend.queue_remaining.store(remaining, Ordering::Relaxed);
            }
            Some(Ok(event)) => backend.feeds().hear(&event),
            Some(Err(error)) => return error.to_string(),
            None => return "closed".to_owned(),
        }
    }
}
