//! The task that probes one backend: whether it answers, and its queue.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use super::back_off::back_off;
use crate::pool::backend::Backend;

/// The wait between two probes of a usable backend.
const USABLE_INTERVAL: Duration = Duration::from_secs(5);
/// The wait between two probes of a backend that answers but is not usable.
const UNUSABLE_INTERVAL: Duration = Duration::from_secs(2);
/// The wait between two failed probes: the first, and the longest.
const FAILED_INTERVAL: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(5));
/// The shortest wait before a probe that is made because another client seems to have submitted a job.
const FOREIGN_JOB_DELAY: Duration = Duration::from_secs(1);
/// Failed probes in a row that take a usable backend down, if nothing shows that it is really gone. One failure is
/// tolerated because ComfyUI can be silent while it loads a large model.
const TOLERATED_FAILURES: u32 = 2;

/// Probes the backend at intervals.
pub(in crate::pool) async fn run(backend: Arc<Backend>) -> Infallible {
    let mut failed = 0;
    loop {
        match backend.client().system_stats().await {
            Ok(stats) => {
                failed = 0;
                backend.mark_up(stats);
                probe_queue(&backend).await;
                let usable = backend.health().is_usable();
                wait_between_probes(&backend, if usable { USABLE_INTERVAL } else { UNUSABLE_INTERVAL }).await;
            }
            Err(error) => {
                failed += 1;
                if error.is_unreachable()
                    || error.status().is_some()
                    || failed >= TOLERATED_FAILURES
                    || !backend.health().is_usable()
                {
                    backend.health().mark_down(error.to_string());
                }
                wait_between_probes(&backend, back_off(FAILED_INTERVAL, failed)).await;
            }
        }
    }
}

async fn probe_queue(backend: &Backend) {
    let asked_with = backend.health().quarantined_runs();
    let answer = tokio::select! {
        answer = backend.client().queue() => answer,
        // A request that hangs must not delay the discovery that the backend is gone.
        () = backend.health().until_probe_requested() => {
            backend.health().request_probe();
            return;
        }
    };
    match answer {
        Ok(queue) => backend.record_queue(&queue, &asked_with),
        Err(error) if error.is_unreachable() => backend.health().mark_down(error.to_string()),
        Err(error) => backend.health().change(|facts| facts.queue_fault = Some(error.to_string())),
    }
}

/// Waits for `wait`, give or take 10 %, or until an earlier probe is due.
async fn wait_between_probes(backend: &Backend, wait: Duration) {
    let (clock, health) = (backend.clock(), backend.health());
    let soonest = clock.now().plus(FOREIGN_JOB_DELAY);
    let trial = async {
        match health.trial_at() {
            Some(moment) => clock.sleep_until(moment).await,
            None => std::future::pending().await,
        }
    };
    let soon = async {
        health.until_probe_soon_requested().await;
        clock.sleep_until(soonest).await;
    };
    tokio::select! {
        () = clock.sleep(backend.jitter(wait)) => {}
        () = health.until_probe_requested() => {}
        () = trial => {}
        () = soon => {}
    }
}
