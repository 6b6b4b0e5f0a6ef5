//! The operating system's wishes: that the process stops, or reads its configuration again.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;
use tokio_util::task::TaskTracker;

/// A future that ends with the first SIGTERM or SIGINT; the second one ends the process at once.
///
/// # Errors
/// The handlers cannot be installed.
pub fn shutdown() -> std::io::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let (told, first) = oneshot::channel();
    // Nobody waits for this task: it ends with the process.
    TaskTracker::new().spawn(async move {
        let mut next = async || tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} };
        next().await;
        // An error means that the process stops already.
        let _: Result<(), ()> = told.send(());
        next().await;
        std::process::exit(130);
    });
    Ok(async {
        // The task lives as long as the process.
        let _: Result<(), _> = first.await;
    })
}

/// The wishes that the configuration be read again (SIGHUP), which would else end the process.
///
/// # Errors
/// The handler cannot be installed.
pub fn reloads() -> std::io::Result<Signal> {
    signal(SignalKind::hangup())
}
