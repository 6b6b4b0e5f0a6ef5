//! The order in which a server is given its jobs: that of their claims. It must not hold anybody up for long.

use std::sync::Mutex;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::lock::LockExt;

/// A job waits no longer than that for the one before it: order is a courtesy, a server that hangs is not.
const PATIENCE: Duration = Duration::from_secs(1);

/// Hands out turns in order.
#[derive(Debug)]
pub(super) struct SubmitTurns(Mutex<CancellationToken>);

impl SubmitTurns {
    /// Nobody is before the first.
    pub fn new() -> Self {
        let nobody = CancellationToken::new();
        nobody.cancel();
        Self(Mutex::new(nobody))
    }

    /// The turn after all that were taken before.
    pub fn take(&self) -> SubmitTurn {
        let done = CancellationToken::new();
        let mut last = self.0.lock_anyway();
        SubmitTurn { before: std::mem::replace(&mut last, done.clone()), done }
    }
}

/// A place in the order. Dropping it passes it.
#[derive(Debug)]
pub struct SubmitTurn {
    before: CancellationToken,
    done: CancellationToken,
}

impl SubmitTurn {
    /// Returns when the turn before has passed, or has taken too long.
    pub async fn comes(&self, clock: &dyn Clock) {
        tokio::select! {
            biased;
            () = self.before.cancelled() => {}
            () = clock.sleep(PATIENCE) => {}
        }
    }

    /// The next may go.
    pub fn pass(&self) {
        self.done.cancel();
    }
}

impl Drop for SubmitTurn {
    fn drop(&mut self) {
        self.pass();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::clock::ManualClock;
    use crate::domain::time::UnixMillis;

    #[tokio::test]
    async fn turns_come_in_the_order_they_were_taken() {
        let clock = ManualClock::new(UnixMillis::from_millis(0));
        let turns = SubmitTurns::new();
        let (first, second, third) = (turns.take(), turns.take(), turns.take());
        first.comes(&clock).await;
        {
            let waiting = second.comes(&clock);
            tokio::pin!(waiting);
            assert!(futures_util::poll!(&mut waiting).is_pending());
            first.pass();
            waiting.await;
        }
        drop(second);
        third.comes(&clock).await;
    }

    #[tokio::test]
    async fn nobody_waits_long_for_one_that_hangs() {
        let clock = Arc::new(ManualClock::new(UnixMillis::from_millis(0)));
        let turns = SubmitTurns::new();
        let (_hangs, second) = (turns.take(), turns.take());
        let waiting = second.comes(&*clock);
        tokio::pin!(waiting);
        assert!(futures_util::poll!(&mut waiting).is_pending());
        clock.advance(PATIENCE);
        waiting.await;
    }
}
