//! Background tasks of the process: how they start, learn of the stop, and what a crash of one means.

use std::future::Future;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The owner of every background task of the process.
///
/// A task that panics or returns an error stops the whole process with a failing exit code, because a
/// supervisor then restarts a complete gateway.
#[derive(Debug, Clone)]
pub struct TaskOwner {
    tracker: TaskTracker,
    soft: CancellationToken,
    crash: watch::Sender<Option<TaskCrash>>,
}

/// A task that ended although no stop was requested.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the internal task `{task}` crashed: {reason}")]
pub struct TaskCrash {
    /// The task's name as given to [`TaskOwner::spawn`].
    pub task: &'static str,
    /// The panic message or error.
    pub reason: String,
}

impl Default for TaskOwner {
    fn default() -> Self {
        Self { tracker: TaskTracker::new(), soft: CancellationToken::new(), crash: watch::Sender::new(None) }
    }
}

impl TaskOwner {
    /// Runs `future` in the background. A panic or an error counts as a crash of the process.
    pub fn spawn<F, E>(&self, task: &'static str, future: F)
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: std::fmt::Display + Send + 'static,
    {
        let running = self.tracker.spawn(future);
        let this = self.clone();
        self.tracker.spawn(async move {
            let reason = match running.await {
                Ok(Ok(())) => return,
                Ok(Err(error)) => error.to_string(),
                Err(join) => panic_message(join),
            };
            tracing::error!(task, reason, "an internal task crashed");
            this.crash.send_replace(Some(TaskCrash { task, reason }));
            this.soft.cancel();
        });
    }

    /// The token that is cancelled when the process stops.
    #[must_use]
    pub fn stopping(&self) -> CancellationToken {
        self.soft.clone()
    }

    /// Asks every task to stop.
    pub fn stop(&self) {
        self.soft.cancel();
    }

    /// Waits until all tasks have ended. Call [`TaskOwner::stop`] first.
    ///
    /// # Errors
    /// The first crash, if a task crashed.
    pub async fn stopped(&self) -> Result<(), TaskCrash> {
        self.tracker.close();
        self.tracker.wait().await;
        self.crash.borrow().clone().map_or(Ok(()), Err)
    }

    /// The first crash, if there was one.
    #[must_use]
    pub fn crashed(&self) -> Option<TaskCrash> {
        self.crash.borrow().clone()
    }
}

fn panic_message(error: tokio::task::JoinError) -> String {
    match error.try_into_panic() {
        Ok(panic) => panic
            .downcast_ref::<&str>()
            .map(ToString::to_string)
            .or_else(|| panic.downcast_ref::<String>().cloned())
            .unwrap_or_else(|| "panic without a message".to_owned()),
        Err(error) => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panicking_task_stops_the_process_and_is_named() {
        let tasks = TaskOwner::default();
        tasks.spawn("patient", {
            let stopping = tasks.stopping();
            async move {
                stopping.cancelled().await;
                Ok::<_, TaskCrash>(())
            }
        });
        tasks.spawn("clumsy", async { panic!("dropped it") as Result<(), TaskCrash> });
        let crash = tasks.stopped().await.unwrap_err();
        assert_eq!(crash.to_string(), "the internal task `clumsy` crashed: dropped it");
    }

    #[tokio::test]
    async fn tasks_that_end_when_asked_are_no_crash() {
        let tasks = TaskOwner::default();
        let stopping = tasks.stopping();
        tasks.spawn("patient", async move {
            stopping.cancelled().await;
            Ok::<_, TaskCrash>(())
        });
        tasks.stop();
        tasks.stopped().await.unwrap();
    }
}
