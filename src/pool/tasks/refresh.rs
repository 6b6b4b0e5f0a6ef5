//! The task that keeps the node classes of one backend up to date.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use super::back_off::{RECONNECT, back_off};
use crate::pool::backend::Backend;

/// The wait between two successful requests. Models are added and removed while ComfyUI runs.
const INTERVAL: Duration = Duration::from_mins(5);

/// Requests the node classes at intervals, and at once after each possible restart of ComfyUI.
pub(in crate::pool) async fn run(backend: Arc<Backend>) -> Infallible {
    let mut restarts = backend.subscribe_to_restarts();
    let capabilities = backend.capabilities();
    let mut failed = 0;
    loop {
        backend.health().until_answering().await;
        restarts.mark_unchanged();
        let answer = capabilities.refresh(Duration::ZERO).await;
        let wait = if let Err(error) = &answer {
            failed += 1;
            tracing::debug!(backend = %backend.name(), %error, "the node classes of the backend cannot be read");
            back_off(RECONNECT, failed)
        } else {
            failed = 0;
            INTERVAL
        };
        // An earlier answer remains usable, so a failure matters only before the first answer.
        let unknown = answer.err().filter(|_| capabilities.object_info().is_none());
        backend.health().change(|facts| facts.unknown_classes = unknown.map(|error| error.to_string()));
        tokio::select! {
            () = backend.clock().sleep(backend.jitter(wait)) => {}
            _ = restarts.changed() => {}
        }
    }
}
