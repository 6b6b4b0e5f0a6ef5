//! The operating system's signals: to stop, and to read the configuration again.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;
use tokio_util::task::TaskTracker;

/// Returns a future that ends with the first SIGTERM or SIGINT. The second signal ends the process at once.
///
/// # Errors
/// The handlers cannot be installed.
pub fn shutdown() -> std::io::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let (told, first) = oneshot::channel();
    // This task ends with the process.
    TaskTracker::new().spawn(async move {
        let mut next = async || tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} };
        next().await;
        // An error means that the process stops already.
        let _: Result<(), ()> = told.send(());
        next().await;
        std::process::exit(130);
    });
    Ok(async {
        // This task lives as long as the process.
        let _: Result<(), _> = first.await;
    })
}

/// Returns a stream of SIGHUPs, each of which asks to read the configuration again.
///
/// # Errors
/// The handler cannot be installed.
pub fn reloads() -> std::io::Result<Signal> {
    signal(SignalKind::hangup())
}
