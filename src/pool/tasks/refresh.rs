//! The task of each server that asks what it can run. It must not judge any workflow by it.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use crate::pool::backend::Backend;
use crate::pool::tasks::probe::{RECONNECT, back_off};

/// Between two looks: models come and go while a server is up.
const LOOK_AGAIN: Duration = Duration::from_mins(5);

/// Asks what the server can run whenever that may have changed.
pub(in crate::pool) async fn capabilities(backend: Arc<Backend>) -> Infallible {
    let mut answers = backend.watch_answers();
    let mut restarts = backend.restarts.subscribe();
    let mut failed = 0;
    loop {
        // The sender lives in the backend: waiting ends only with a server that answers.
        drop(answers.wait_for(|answers| *answers).await);
        restarts.mark_unchanged();
        let asked = backend.refresh_object_info(Duration::ZERO).await;
        let wait = if let Err(error) = &asked {
            failed += 1;
            tracing::debug!(backend = %backend.name(), %error, "what the server can run is not known");
            back_off(RECONNECT, failed)
        } else {
            failed = 0;
            LOOK_AGAIN
        };
        // What it told before is still the best that is known.
        let unknown = asked.err().filter(|_| backend.object_info().is_none());
        backend.note(|facts| facts.standing.unknown_classes = unknown.map(|error| error.to_string()));
        tokio::select! {
            () = backend.clock().sleep(backend.jittered(wait)) => {}
            _ = restarts.changed() => {}
        }
    }
}
