//! The circuit breaker of one server, as a pure machine: a server that fails job after job gets no work for a while,
//! then one job to prove itself. It must not know what a fault is.

use std::time::Duration;

use crate::domain::time::UnixMillis;

/// Faults in a row after which the server gets no work.
pub(in crate::pool) const FAULTS: u32 = 3;
/// How long it gets none, the first time and at most; doubled each time a trial fails.
pub(in crate::pool) const BACK_OFF: (Duration, Duration) = (Duration::from_secs(10), Duration::from_mins(5));

/// What the breaker allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::pool) enum BreakerPhase {
    /// All work.
    Closed,
    /// None until then.
    Open(UnixMillis),
    /// One job at a time, until one succeeds.
    Trial,
}

/// Counts a server's faults.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::pool) struct CircuitBreaker {
    faults: u32,
    /// Times it opened since the last success.
    openings: u32,
    open_until: Option<UnixMillis>,
    /// Runs that were there when a fault was counted and have not ended since: theirs is the same fault.
    together: usize,
    last: String,
}

impl CircuitBreaker {
    /// What is allowed at `now`.
    pub fn phase(&self, now: UnixMillis) -> BreakerPhase {
        match self.open_until {
            None => BreakerPhase::Closed,
            Some(until) if now < until => BreakerPhase::Open(until),
            Some(_) => BreakerPhase::Trial,
        }
    }

    /// What the last counted fault was, for people.
    pub fn last_fault(&self) -> &str {
        &self.last
    }

    /// A run succeeded: all is forgiven.
    pub fn success(&mut self) {
        *self = Self::default();
    }

    /// A run ended in a way that says nothing of the server.
    pub fn neutral(&mut self) {
        self.together = self.together.saturating_sub(1);
    }

    /// A run failed by a fault of the server, while `others` of ours were there too.
    pub fn fault(&mut self, now: UnixMillis, reason: String, others: usize) {
        let phase = self.phase(now);
        if self.together > 0 && phase != BreakerPhase::Trial {
            self.together -= 1;
            return;
        }
        self.together = others;
        self.last = reason;
        self.faults += 1;
        let opens = match phase {
            BreakerPhase::Closed => self.faults >= FAULTS,
            BreakerPhase::Trial => true,
            BreakerPhase::Open(_) => false,
        };
        if opens {
            let (first, most) = BACK_OFF;
            let wait = first.saturating_mul(1 << self.openings.min(16)).min(most);
            self.open_until = Some(now.plus(wait));
            self.openings += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const START: UnixMillis = UnixMillis::from_millis(1_000_000);

    fn after(seconds: u64) -> UnixMillis {
        START.plus(Duration::from_secs(seconds))
    }

    fn fail(breaker: &mut CircuitBreaker, now: UnixMillis) {
        breaker.fault(now, "gone".to_owned(), 0);
    }

    fn opened() -> CircuitBreaker {
        let mut breaker = CircuitBreaker::default();
        for _ in 0..FAULTS {
            fail(&mut breaker, START);
        }
        breaker
    }

    #[test]
    fn it_opens_at_the_third_fault_in_a_row_and_not_before() {
        let mut breaker = CircuitBreaker::default();
        fail(&mut breaker, START);
        fail(&mut breaker, START);
        assert_eq!(breaker.phase(START), BreakerPhase::Closed);
        breaker.neutral();
        fail(&mut breaker, START);
        assert_eq!(breaker.phase(START), BreakerPhase::Open(after(10)));
        assert_eq!(breaker.last_fault(), "gone");
    }

    #[test]
    fn a_success_in_between_begins_the_count_anew() {
        let mut breaker = CircuitBreaker::default();
        for _ in 0..10 {
            fail(&mut breaker, START);
            fail(&mut breaker, START);
            breaker.success();
        }
        assert_eq!(breaker.phase(START), BreakerPhase::Closed);
    }

    #[test]
    fn after_its_back_off_one_trial_decides() {
        let mut breaker = opened();
        assert_eq!(breaker.phase(after(9)), BreakerPhase::Open(after(10)));
        assert_eq!(breaker.phase(after(10)), BreakerPhase::Trial);
        breaker.neutral();
        assert_eq!(breaker.phase(after(11)), BreakerPhase::Trial, "a cancelled trial proves nothing");
        breaker.success();
        assert_eq!(breaker.phase(after(11)), BreakerPhase::Closed);
        assert_eq!(breaker, CircuitBreaker::default());
    }

    #[test]
    fn the_back_off_doubles_with_each_failed_trial_up_to_its_most() {
        let mut breaker = opened();
        let mut waits = Vec::new();
        for _ in 0..8 {
            let BreakerPhase::Open(until) = breaker.phase(START) else { panic!("{breaker:?}") };
            waits.push(until.since(START).as_secs());
            // The trial comes, and fails, the moment it may.
            breaker.open_until = Some(START);
            fail(&mut breaker, START);
        }
        assert_eq!(waits, [10, 20, 40, 80, 160, 300, 300, 300]);
    }

    #[test]
    fn runs_that_die_together_are_one_fault() {
        let mut breaker = CircuitBreaker::default();
        for others in [3, 2, 1, 0] {
            breaker.fault(START, "the server died".to_owned(), others);
        }
        assert_eq!(breaker.faults, 1);
        assert_eq!(breaker.phase(START), BreakerPhase::Closed);
        fail(&mut breaker, START);
        fail(&mut breaker, START);
        assert_eq!(breaker.phase(START), BreakerPhase::Open(after(10)));
    }

    #[test]
    fn a_fault_while_it_is_open_does_not_prolong_it() {
        let mut breaker = opened();
        fail(&mut breaker, after(5));
        assert_eq!(breaker.phase(after(5)), BreakerPhase::Open(after(10)));
    }

    proptest! {
        /// Whatever happens, it is never shut for longer than the most from now on, and a success always opens the door.
        #[test]
        fn it_never_shuts_a_server_out_for_ever(steps in prop::collection::vec((0u8..3, 0u64..400, 0usize..4), 0..80)) {
            let (mut breaker, mut now) = (CircuitBreaker::default(), START);
            for (kind, wait, others) in steps {
                now = now.plus(Duration::from_secs(wait));
                match kind {
                    0 => breaker.success(),
                    1 => breaker.neutral(),
                    _ => breaker.fault(now, String::new(), others),
                }
                if let BreakerPhase::Open(until) = breaker.phase(now) {
                    prop_assert!(until.since(now) <= BACK_OFF.1);
                }
            }
            breaker.success();
            prop_assert_eq!(breaker.phase(now), BreakerPhase::Closed);
        }
    }
}
