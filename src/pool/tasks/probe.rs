//! The task of each server that asks whether it is there, and what is in its queue. It must not judge what it finds.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use crate::pool::backend::Backend;

/// Between two probes of a server that may have work.
const PROBE_UP: Duration = Duration::from_secs(5);
/// Between two probes of a server that answers, but is given none.
const PROBE_IDLE: Duration = Duration::from_secs(2);
/// Between two probes of a server that is down, at first and at most.
const PROBE_DOWN: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(5));
/// From a probe to one because somebody else seems to have given the server a job.
const PROBE_SOON: Duration = Duration::from_secs(1);
/// Failed probes, other than refused ones, until a server that was up counts as down: loading a large model
/// can keep ComfyUI from answering for a while.
const FAILED_PROBES: u32 = 2;
/// Between two tries to open the websocket.
pub(in crate::pool) const RECONNECT: (Duration, Duration) =
    (Duration::from_millis(100), Duration::from_secs(5));

/// Probes the server for ever.
pub(in crate::pool) async fn health(backend: Arc<Backend>) -> Infallible {
    let mut failed = 0;
    loop {
        match backend.client().system_stats().await {
            Ok(stats) => {
                failed = 0;
                backend.is_up(stats);
                look_at_queue(&backend).await;
                rest(&backend, if backend.is_usable() { PROBE_UP } else { PROBE_IDLE }).await;
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
                rest(&backend, back_off(PROBE_DOWN, failed)).await;
            }
        }
    }
}

async fn look_at_queue(backend: &Backend) {
    let asked_with = backend.quarantined();
    let answer = tokio::select! {
        answer = backend.client().queue() => answer,
        // A queue that hangs must not hide that the server has gone.
        () = backend.probe_now.notified() => {
            backend.probe_now.notify_one();
            return;
        }
    };
    match answer {
        Ok(queue) => backend.queue_showed(&queue, &asked_with),
        Err(error) if error.is_unreachable() => backend.is_down(error.to_string()),
        Err(error) => backend.note(|facts| facts.standing.queue_fault = Some(error.to_string())),
    }
}

/// Waits for the next probe: for so long, unless there is cause to ask before.
async fn rest(backend: &Backend, wait: Duration) {
    let clock = backend.clock();
    let soonest = clock.now().plus(PROBE_SOON);
    let trial = async {
        match backend.trial_at() {
            Some(moment) => clock.sleep_until(moment).await,
            None => std::future::pending().await,
        }
    };
    let soon = async {
        backend.probe_soon.notified().await;
        clock.sleep_until(soonest).await;
    };
    tokio::select! {
        () = clock.sleep(backend.jittered(wait)) => {}
        () = backend.probe_now.notified() => {}
        () = trial => {}
        () = soon => {}
    }
}

/// How long to wait after that many failures: doubled each time, from the first up to the most.
pub(in crate::pool) fn back_off((first, most): (Duration, Duration), failed: u32) -> Duration {
    first.saturating_mul(1 << failed.saturating_sub(1).min(16)).min(most)
}
