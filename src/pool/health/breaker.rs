//! The circuit breaker of one backend, as a pure state machine.
//!
//! A backend that fails run after run gets no work while the breaker is open. Then it gets one job at a time, on
//! trial, until a run completes.

use std::time::Duration;

use crate::domain::time::UnixMillis;

/// Consecutive faults that open the breaker.
pub(in crate::pool) const FAULTS_TO_OPEN: u32 = 3;
/// How long the breaker stays open: the first time, and at most. Each failed trial doubles the time.
const BACK_OFF: (Duration, Duration) = (Duration::from_secs(10), Duration::from_mins(5));

/// How much work the breaker allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::pool) enum BreakerPhase {
    /// As much as the backend has slots for.
    Closed,
    /// None before this moment.
    Open(UnixMillis),
    /// One job at a time, until a run completes.
    Trial,
}

/// Counts the consecutive faults of a backend.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::pool) struct CircuitBreaker {
    faults: u32,
    /// Times the breaker opened since the last completed run.
    openings: u32,
    open_until: Option<UnixMillis>,
    /// Runs that were in flight at the last counted fault and have not ended since. If they fail too, the cause is
    /// taken to be the same, and they are not counted again.
    same_fault: usize,
    last_fault: String,
}

impl CircuitBreaker {
    /// The phase at `now`.
    pub fn phase(&self, now: UnixMillis) -> BreakerPhase {
        match self.open_until {
            None => BreakerPhase::Closed,
            Some(until) if now < until => BreakerPhase::Open(until),
            Some(_) => BreakerPhase::Trial,
        }
    }

    /// The reason of the last counted fault, in words for people; empty before the first.
    pub fn last_fault(&self) -> &str {
        &self.last_fault
    }

    /// Closes the breaker and forgets all faults, as after a completed run.
    pub fn close(&mut self) {
        *self = Self::default();
    }

    /// Counts a run whose end says nothing about the backend: a faulty job or a cancelled one.
    pub fn count_neutral(&mut self) {
        self.same_fault = self.same_fault.saturating_sub(1);
    }

    /// Counts a run that the backend failed while `others` of our runs were in flight there.
    pub fn count_fault(&mut self, now: UnixMillis, reason: String, others: usize) {
        let phase = self.phase(now);
        if self.same_fault > 0 && phase != BreakerPhase::Trial {
            self.same_fault -= 1;
            return;
        }
        self.same_fault = others;
        self.last_fault = reason;
        self.faults += 1;
        let opens = match phase {
            BreakerPhase::Closed => self.faults >= FAULTS_TO_OPEN,
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
        breaker.count_fault(now, "gone".to_owned(), 0);
    }

    fn open_breaker() -> CircuitBreaker {
        let mut breaker = CircuitBreaker::default();
        for _ in 0..FAULTS_TO_OPEN {
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
        breaker.count_neutral();
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
            breaker.close();
        }
        assert_eq!(breaker.phase(START), BreakerPhase::Closed);
    }

    #[test]
    fn after_its_back_off_one_trial_decides() {
        let mut breaker = open_breaker();
        assert_eq!(breaker.phase(after(9)), BreakerPhase::Open(after(10)));
        assert_eq!(breaker.phase(after(10)), BreakerPhase::Trial);
        breaker.count_neutral();
        assert_eq!(breaker.phase(after(11)), BreakerPhase::Trial, "a cancelled trial proves nothing");
        breaker.close();
        assert_eq!(breaker.phase(after(11)), BreakerPhase::Closed);
        assert_eq!(breaker, CircuitBreaker::default());
    }

    #[test]
    fn the_back_off_doubles_with_each_failed_trial_up_to_its_most() {
        let mut breaker = open_breaker();
        let mut waits = Vec::new();
        for _ in 0..8 {
            let BreakerPhase::Open(until) = breaker.phase(START) else { panic!("{breaker:?}") };
            waits.push(until.since(START).as_secs());
            // The trial starts and fails as soon as it is allowed.
            breaker.open_until = Some(START);
            fail(&mut breaker, START);
        }
        assert_eq!(waits, [10, 20, 40, 80, 160, 300, 300, 300]);
    }

    #[test]
    fn runs_that_die_together_are_one_fault() {
        let mut breaker = CircuitBreaker::default();
        for others in [3, 2, 1, 0] {
            breaker.count_fault(START, "the backend died".to_owned(), others);
        }
        assert_eq!(breaker.faults, 1);
        assert_eq!(breaker.phase(START), BreakerPhase::Closed);
        fail(&mut breaker, START);
        fail(&mut breaker, START);
        assert_eq!(breaker.phase(START), BreakerPhase::Open(after(10)));
    }

    #[test]
    fn a_fault_while_it_is_open_does_not_prolong_it() {
        let mut breaker = open_breaker();
        fail(&mut breaker, after(5));
        assert_eq!(breaker.phase(after(5)), BreakerPhase::Open(after(10)));
    }

    proptest! {
        /// After any sequence of runs, the breaker reopens within its longest back-off, and a completed run
        /// closes it.
        #[test]
        fn it_never_stays_open_for_longer_than_its_most(steps in prop::collection::vec((0u8..3, 0u64..400, 0usize..4), 0..80)) {
            let (mut breaker, mut now) = (CircuitBreaker::default(), START);
            for (kind, wait, others) in steps {
                now = now.plus(Duration::from_secs(wait));
                match kind {
                    0 => breaker.close(),
                    1 => breaker.count_neutral(),
                    _ => breaker.count_fault(now, String::new(), others),
                }
                if let BreakerPhase::Open(until) = breaker.phase(now) {
                    prop_assert!(until.since(now) <= BACK_OFF.1);
                }
            }
            breaker.close();
            prop_assert_eq!(breaker.phase(now), BreakerPhase::Closed);
        }
    }
}
