//! The growing waits between failed attempts to reach a backend.

use std::time::Duration;

/// The wait between two attempts to open a websocket or read the node classes: the first, and the longest.
pub(in crate::pool) const RECONNECT: (Duration, Duration) =
    (Duration::from_millis(100), Duration::from_secs(5));

/// The wait after `failed` failures in a row. It starts at `first` and doubles each time, up to `longest`.
pub(in crate::pool) fn back_off((first, longest): (Duration, Duration), failed: u32) -> Duration {
    first.saturating_mul(1 << failed.saturating_sub(1).min(16)).min(longest)
}
