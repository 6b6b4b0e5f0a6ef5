//! The clock that every module reads: the system's in production, a manual one in tests.

use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;

use crate::domain::time::UnixMillis;
use crate::lock::LockExt;

/// A source of wall-clock time and of sleeping.
#[async_trait]
pub trait Clock: Send + Sync + std::fmt::Debug {
    /// The current moment, in whole milliseconds since the Unix epoch.
    fn now(&self) -> UnixMillis;

    /// Returns once `duration` has passed on this clock.
    async fn sleep(&self, duration: Duration);

    /// Returns once the clock shows `deadline` or later.
    async fn sleep_until(&self, deadline: UnixMillis) {
        self.sleep(deadline.since(self.now())).await;
    }
}

/// The operating system's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

#[async_trait]
impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the system's clock")]
    fn now(&self) -> UnixMillis {
        let since_epoch =
            std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        UnixMillis::from_millis(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX))
    }

    #[expect(clippy::disallowed_methods, reason = "the one place that sleeps")]
    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}

/// A clock that moves only when [`ManualClock::advance`] is called.
#[derive(Debug)]
pub struct ManualClock {
    now: watch::Sender<UnixMillis>,
    sleepers: Mutex<usize>,
}

impl ManualClock {
    /// A clock that shows `start`.
    #[must_use]
    pub fn new(start: UnixMillis) -> Self {
        Self { now: watch::Sender::new(start), sleepers: Mutex::new(0) }
    }

    /// Moves the clock forward and wakes every sleeper that is due.
    pub fn advance(&self, duration: Duration) {
        self.now.send_modify(|now| *now = now.plus(duration));
    }

    /// The number of tasks that sleep on this clock now.
    #[must_use]
    pub fn sleepers(&self) -> usize {
        *self.sleepers.lock_anyway()
    }

    fn count_sleepers(&self, change: impl FnOnce(&mut usize)) {
        change(&mut self.sleepers.lock_anyway());
    }
}

/// Counts a sleeper, also when its future is dropped.
struct SleeperGuard<'a>(&'a ManualClock);

impl Drop for SleeperGuard<'_> {
    fn drop(&mut self) {
        self.0.count_sleepers(|count| *count -= 1);
    }
}

#[async_trait]
impl Clock for ManualClock {
    fn now(&self) -> UnixMillis {
        *self.now.borrow()
    }

    async fn sleep(&self, duration: Duration) {
        let deadline = self.now().plus(duration);
        self.count_sleepers(|count| *count += 1);
        let _sleeping = SleeperGuard(self);
        let mut now = self.now.subscribe();
        // The sender lives as long as `self`, so the wait can only end with the deadline.
        let _ended = now.wait_for(|now| *now >= deadline).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_manual_clock_wakes_sleepers_only_when_their_moment_has_come() {
        let clock = ManualClock::new(UnixMillis::from_millis(1_000));
        let sleep = clock.sleep(Duration::from_millis(500));
        tokio::pin!(sleep);
        assert!(futures_util::poll!(&mut sleep).is_pending());
        assert_eq!(clock.sleepers(), 1);
        clock.advance(Duration::from_millis(499));
        assert!(futures_util::poll!(&mut sleep).is_pending());
        clock.advance(Duration::from_millis(1));
        sleep.await;
        assert_eq!(clock.now(), UnixMillis::from_millis(1_500));
        assert_eq!(clock.sleepers(), 0);
    }
}
