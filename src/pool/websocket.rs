//! The state of the websocket to one backend, and whether it still receives the events that it should.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

use tokio::sync::Notify;

use crate::domain::time::UnixMillis;
use crate::lock::LockExt;

/// Consecutive probes at which the websocket must have missed a change of the queue before it counts as deaf.
const DEAF_PROBES: u32 = 2;

/// The websocket to one backend.
///
/// A *deaf* websocket is open but receives nothing. ComfyUI makes one so when an older connection with the same
/// client id ends.
#[derive(Debug, Default)]
pub struct WebsocketState {
    open: AtomicBool,
    /// When the websocket was opened or closed last, in milliseconds since the epoch; 0 before that.
    changed_at: AtomicI64,
    queue_remaining: AtomicU64,
    /// How many `status` events have been received.
    statuses: AtomicU64,
    hearing: Mutex<SocketHearing>,
    deaf: Notify,
}

impl WebsocketState {
    /// Whether the websocket is open.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.open.load(Ordering::Relaxed)
    }

    /// When the websocket was opened; `None` while it is closed.
    #[must_use]
    pub fn open_since(&self) -> Option<UnixMillis> {
        let since = self.changed_at.load(Ordering::Relaxed);
        (self.is_open() && since > 0).then(|| UnixMillis::from_millis(since))
    }

    /// The length of ComfyUI's queue, counting the jobs of all clients, from the last `status` event.
    #[must_use]
    pub fn queue_remaining(&self) -> u64 {
        self.queue_remaining.load(Ordering::Relaxed)
    }

    /// Replaces the websocket if it is open, because HTTP showed an event that it should have received.
    pub fn mark_deaf(&self) {
        if self.is_open() {
            self.deaf.notify_one();
        }
    }

    /// Waits for [`Self::mark_deaf`].
    pub(super) async fn until_deaf(&self) {
        self.deaf.notified().await;
    }

    pub(super) fn set_open(&self, open: bool, now: UnixMillis) {
        self.changed_at.store(now.as_millis(), Ordering::Relaxed);
        self.open.store(open, Ordering::Relaxed);
    }

    /// Records a `status` event, which reports the length of the queue.
    pub(super) fn record_status(&self, queue_remaining: u64) {
        self.queue_remaining.store(queue_remaining, Ordering::Relaxed);
        self.statuses.fetch_add(1, Ordering::Relaxed);
    }

    /// Compares the length of the queue over HTTP with the last `status` event, and marks the websocket deaf if it
    /// has missed the changes of two probes.
    pub(super) fn compare_queue(&self, length: usize) {
        let statuses = self.statuses.load(Ordering::Relaxed);
        let deaf = self.hearing.lock_anyway().observe(statuses, self.queue_remaining(), length);
        if deaf {
            self.mark_deaf();
        }
    }
}

/// Compares `status` events with what HTTP reports.
#[derive(Debug, Default)]
struct SocketHearing {
    /// The number of `status` events at the last probe.
    statuses: u64,
    /// Consecutive probes at which an event was missing.
    misses: u32,
}

impl SocketHearing {
    /// Takes a probe into account and returns whether the websocket is deaf. `reported` is the length of the queue
    /// from the last of `statuses` events, `actual` the length over HTTP.
    fn observe(&mut self, statuses: u64, reported: u64, actual: usize) -> bool {
        let missed = reported != actual as u64 && statuses == self.statuses;
        self.misses = if missed { self.misses + 1 } else { 0 };
        self.statuses = statuses;
        self.misses >= DEAF_PROBES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_websocket_is_deaf_when_it_twice_missed_a_change_of_the_queue_with_no_event_in_between() {
        let mut hearing = SocketHearing::default();
        assert!(!hearing.observe(1, 0, 1), "the event may still be on its way");
        assert!(!hearing.observe(2, 0, 2), "an event arrived since the last probe");
        assert!(!hearing.observe(2, 2, 2));
        assert!(!hearing.observe(2, 2, 3));
        assert!(hearing.observe(2, 2, 3));
    }
}
