//! The task of each server that asks what it can run. It must not judge any workflow by it.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::backend::Backend;
use super::monitor::{RECONNECT, back_off};

/// Between two looks: models come and go while a server is up.
const LOOK_AGAIN: Duration = Duration::from_mins(5);

/// Asks what the server can run whenever that may have changed.
pub(super) async fn capabilities(
    backend: Arc<Backend>,
    stopping: CancellationToken,
) -> Result<(), Infallible> {
    let mut health = backend.watch_health();
    let mut restarts = backend.restarts.subscribe();
    let mut failed = 0;
    loop {
        let asked = tokio::select! {
            () = stopping.cancelled() => return Ok(()),
            asked = async {
                // The sender lives in the backend: waiting ends only with a usable server.
                drop(health.wait_for(super::Health::is_usable).await);
                restarts.mark_unchanged();
                backend.refresh_object_info(Duration::ZERO).await
            } => asked,
        };
        let wait = if let Err(error) = asked {
            failed += 1;
            tracing::debug!(backend = %backend.name(), %error, "what the server can run is not known");
            back_off(RECONNECT, failed)
        } else {
            failed = 0;
            LOOK_AGAIN
        };
        tokio::select! {
            () = stopping.cancelled() => return Ok(()),
            () = backend.clock().sleep(wait) => {}
            _ = restarts.changed() => {}
        }
    }
}
