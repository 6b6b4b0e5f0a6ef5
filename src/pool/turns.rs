//! Submits jobs to one backend in the order in which they were claimed.

use std::sync::Mutex;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::lock::LockExt;

/// The longest wait for the job before. Order is only a preference, and one slow submission must not delay
/// the rest.
const PATIENCE: Duration = Duration::from_secs(1);

/// Hands out the turns of one backend.
#[derive(Debug)]
pub struct SubmitTurns(
    /// Cancelled when the last turn taken so far has ended.
    Mutex<CancellationToken>,
);

impl SubmitTurns {
    /// The first turn has nothing to wait for.
    pub(super) fn new() -> Self {
        let ended = CancellationToken::new();
        ended.cancel();
        Self(Mutex::new(ended))
    }

    /// Takes the turn after all turns taken so far.
    #[must_use]
    pub fn take(&self) -> SubmitTurn {
        let ended = CancellationToken::new();
        let mut last = self.0.lock_anyway();
        SubmitTurn { before: std::mem::replace(&mut last, ended.clone()), ended }
    }
}

/// A job's turn to be submitted. Dropping it ends it.
#[derive(Debug)]
pub struct SubmitTurn {
    before: CancellationToken,
    ended: CancellationToken,
}

impl SubmitTurn {
    /// Waits until the turn before has ended, for at most one second.
    pub async fn until_turn(&self, clock: &dyn Clock) {
        tokio::select! {
            biased;
            () = self.before.cancelled() => {}
            () = clock.sleep(PATIENCE) => {}
        }
    }

    /// Lets the next turn begin.
    pub fn end(&self) {
        self.ended.cancel();
    }
}

impl Drop for SubmitTurn {
    fn drop(&mut self) {
        self.end();
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
        first.until_turn(&clock).await;
        {
            let waiting = second.until_turn(&clock);
            tokio::pin!(waiting);
            assert!(futures_util::poll!(&mut waiting).is_pending());
            first.end();
            waiting.await;
        }
        drop(second);
        third.until_turn(&clock).await;
    }

    #[tokio::test]
    async fn no_turn_waits_long_for_one_that_hangs() {
        let clock = Arc::new(ManualClock::new(UnixMillis::from_millis(0)));
        let turns = SubmitTurns::new();
        let (_hangs, second) = (turns.take(), turns.take());
        let waiting = second.until_turn(&*clock);
        tokio::pin!(waiting);
        assert!(futures_util::poll!(&mut waiting).is_pending());
        clock.advance(PATIENCE);
        waiting.await;
    }
}
