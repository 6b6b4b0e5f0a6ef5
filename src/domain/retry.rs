//! The retry budget and the back-off between attempts.

use std::time::Duration;

use super::time::UnixMillis;

/// A moment further ahead than this was set by another clock, because no wait of the gateway is this long.
pub const FARTHEST_WAIT: Duration = Duration::from_mins(10);

/// Whether a wait until `moment` is over at `now`.
#[must_use]
pub fn is_due(moment: UnixMillis, now: UnixMillis) -> bool {
    moment <= now || moment > now.plus(FARTHEST_WAIT)
}

/// Exponential back-off with a ceiling and full jitter over its upper half.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// The most attempts, including the first; at least 1.
    pub max_attempts: u32,
    /// The wait after the first failed attempt.
    pub base: Duration,
    /// No wait is longer than this.
    pub cap: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self { max_attempts: 3, base: Duration::from_secs(1), cap: Duration::from_mins(1) }
    }
}

impl RetryPolicy {
    /// Whether a job with this many failed attempts may be retried.
    #[must_use]
    pub fn allows(&self, failures: u32) -> bool {
        failures < self.max_attempts
    }

    /// The wait after the `failures`-th failed attempt (from 1). `jitter` in `0.0..=1.0` spreads it over half
    /// to the whole of the exponential step.
    #[must_use]
    pub fn delay(&self, failures: u32, jitter: f64) -> Duration {
        let doublings = failures.saturating_sub(1).min(31);
        let step = self.base.saturating_mul(1 << doublings).min(self.cap);
        step.mul_f64(0.5 + jitter.clamp(0.0, 1.0) / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_wait_doubles_up_to_its_cap() {
        let policy = RetryPolicy::default();
        let waits: Vec<_> = (1..=8).map(|failures| policy.delay(failures, 1.0).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60]);
    }

    #[test]
    fn a_moment_that_a_clock_ahead_of_this_one_has_set_is_due() {
        let at = UnixMillis::from_millis;
        assert!(is_due(at(5), at(5)) && !is_due(at(6), at(5)));
        assert!(!is_due(at(600_005), at(5)) && is_due(at(600_006), at(5)));
    }

    #[test]
    fn attempts_are_counted_from_the_first() {
        let policy = RetryPolicy::default();
        assert!(policy.allows(2));
        assert!(!policy.allows(3));
    }

    proptest! {
        #[test]
        fn the_wait_is_never_over_the_cap_nor_under_half_its_step(failures in 0u32..1_000, jitter in -1.0f64..2.0) {
            let policy = RetryPolicy::default();
            let wait = policy.delay(failures, jitter);
            prop_assert!(wait <= policy.cap);
            prop_assert!(wait >= policy.base / 2);
        }
    }
}
