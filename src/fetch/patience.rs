//! The limits of one fetch, in bytes and in time.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use super::error::FetchFault;
use crate::clock::Clock;
use crate::domain::time::UnixMillis;

/// The limits of one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FetchLimits {
    /// Its length in bytes.
    pub bytes: u64,
    /// From the start of name resolution to the last byte.
    pub total: Duration,
    /// Until the head of each response, and between two pieces of the body.
    pub idle: Duration,
}

impl Default for FetchLimits {
    fn default() -> Self {
        Self { bytes: 1 << 30, total: Duration::from_mins(2), idle: Duration::from_secs(30) }
    }
}

/// The time that is left for one file.
#[derive(Debug)]
pub(super) struct TimeBudget {
    clock: Arc<dyn Clock>,
    deadline: UnixMillis,
    limits: FetchLimits,
}

impl TimeBudget {
    /// Starts the timer.
    pub fn new(clock: Arc<dyn Clock>, limits: FetchLimits) -> Self {
        let deadline = clock.now().plus(limits.total);
        Self { clock, deadline, limits }
    }

    /// Waits for `work` within both time limits. A file that keeps arriving slowly ends at the total limit.
    pub async fn wait<T>(&self, work: impl Future<Output = T>) -> Result<T, FetchFault> {
        let FetchLimits { total, idle, .. } = self.limits;
        let left = self.deadline.since(self.clock.now());
        let late = FetchFault::Late { after: total };
        if left.is_zero() {
            return Err(late);
        }
        let (within, fault) =
            if left <= idle { (left, late) } else { (idle, FetchFault::Stalled { after: idle }) };
        tokio::select! {
            biased;
            done = work => Ok(done),
            () = self.clock.sleep(within) => Err(fault),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;

    #[tokio::test]
    async fn the_nearer_limit_ends_the_wait() {
        let clock = Arc::new(ManualClock::new(UnixMillis::from_millis(0)));
        let second = Duration::from_secs(1);
        let limits = FetchLimits { bytes: 1, total: second * 10, idle: second * 4 };
        let patience = TimeBudget::new(Arc::clone(&clock) as Arc<dyn Clock>, limits);
        for (step, fault) in [
            (4, FetchFault::Stalled { after: second * 4 }),
            (4, FetchFault::Stalled { after: second * 4 }),
            (2, FetchFault::Late { after: second * 10 }),
        ] {
            let wait = patience.wait(std::future::pending::<()>());
            tokio::pin!(wait);
            assert!(futures_util::poll!(&mut wait).is_pending());
            clock.advance(second * step);
            assert_eq!(wait.await, Err(fault));
        }
        let late = patience.wait(std::future::ready(())).await;
        assert_eq!(late, Err(FetchFault::Late { after: second * 10 }), "also for what is there at once");
    }
}
