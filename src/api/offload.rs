//! Parses large bodies away from the async threads. Parsing, checking and binding 64 MiB takes about a second, during
//! which an async thread could serve no other request.

use std::sync::Arc;
use std::thread::available_parallelism;

use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tracing::Instrument;

/// The largest body, in bytes, that is parsed on the async thread: that takes less than a millisecond.
const SMALL: usize = 64 << 10;

/// Limits the threads that parse large bodies to one per processor. Further bodies wait for a free thread.
#[derive(Debug, Clone)]
pub struct ParseThreads(Arc<Semaphore>);

impl Default for ParseThreads {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(available_parallelism().map_or(2, usize::from))))
    }
}

impl ParseThreads {
    /// Runs `work` for a body of `bytes` bytes. Work for a large body runs to completion even if the client disconnects.
    pub async fn judge<T, F>(self, bytes: usize, work: impl FnOnce() -> F + Send + 'static) -> T
    where
        F: Future<Output = T> + Send,
        T: Send + 'static,
    {
        if bytes <= SMALL {
            return work().await;
        }
        // The semaphore is never closed, so `acquire_owned` always returns a permit.
        let permit = self.0.acquire_owned().await.ok();
        let (runtime, span) = (Handle::current(), tracing::Span::current());
        let judging = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            runtime.block_on(async move { work().await }.instrument(span))
        });
        match judging.await {
            Ok(outcome) => outcome,
            Err(failed) => match failed.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // The runtime is shutting down, which drops this future.
                Err(_) => std::future::pending().await,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn thread(bytes: usize) -> std::thread::ThreadId {
        ParseThreads::default().judge(bytes, || async { std::thread::current().id() }).await
    }

    #[tokio::test]
    async fn only_large_bodies_leave_the_async_threads() {
        let here = std::thread::current().id();
        assert_eq!(thread(SMALL).await, here);
        assert_ne!(thread(SMALL + 1).await, here);
    }

    #[tokio::test]
    async fn no_more_than_the_processors_are_at_work() {
        let offload = ParseThreads(Arc::new(Semaphore::new(1)));
        let (started, mut starts) = tokio::sync::mpsc::unbounded_channel();
        let (release, released) = tokio::sync::watch::channel(false);
        let work = |n: u32| {
            let (started, mut released) = (started.clone(), released.clone());
            move || async move {
                started.send(n).unwrap();
                released.wait_for(|released| *released).await.unwrap();
                n
            }
        };
        let both = async {
            tokio::join!(offload.clone().judge(SMALL + 1, work(1)), offload.clone().judge(SMALL + 1, work(2)))
        };
        tokio::pin!(both);
        assert!(futures_util::poll!(&mut both).is_pending());
        tokio::select! { _ = &mut both => unreachable!(), first = starts.recv() => assert_eq!(first, Some(1)) }
        assert!(futures_util::poll!(&mut both).is_pending());
        assert!(starts.try_recv().is_err(), "the second waits for the first");
        release.send(true).unwrap();
        assert_eq!(both.await, (1, 2));
    }

    #[tokio::test]
    #[should_panic(expected = "a bug")]
    async fn a_panic_goes_on_where_it_is_waited_for() {
        ParseThreads::default().judge(SMALL + 1, || async { panic!("a bug") }).await;
    }
}
