//! The executable specification of a job's states: which event may follow which state, and with what result.
//! Production does not call it. The store's guarded statements implement the same edges, and the conformance suite
//! (`tests/store_conformance`) drives both side by side. No I/O here.

use super::failure::Failure;
use super::id::LeaseOwner;
use super::job::{Attempt, JobEnding, JobState, Lease};
use super::retry::is_due;
use super::time::UnixMillis;

/// An event in the life of a job.
#[derive(Debug, Clone)]
pub enum JobEvent {
    /// The dispatcher claims the job for a backend.
    Claim {
        /// The attempt that begins; its number must be the next.
        attempt: Attempt,
        /// The moment of the claim.
        now: UnixMillis,
    },
    /// The attempt ended without ending the job, which waits again.
    Requeue {
        /// The attempt that ended.
        by: AttemptHolder,
        /// The earliest next claim.
        not_before: UnixMillis,
        /// The new end of the wait; the job's `queue_timeout` counts from here again.
        deadline: Option<UnixMillis>,
    },
    /// The attempt ended the job.
    Finish {
        /// The attempt that ended it.
        by: AttemptHolder,
        /// How the job ended.
        ending: JobEnding,
        /// When it ended.
        at: UnixMillis,
    },
    /// A caller requests a cancel.
    RequestCancel {
        /// When.
        at: UnixMillis,
    },
    /// The queue deadline is checked.
    QueueDeadline {
        /// The moment of the check.
        now: UnixMillis,
        /// The failure of the job.
        failure: Failure,
    },
    /// Another process adopts the running attempt.
    Adopt {
        /// The new lease.
        lease: Lease,
    },
    /// The holder keeps its lease longer.
    Renew {
        /// The owner that renews.
        owner: LeaseOwner,
        /// The lease's new end.
        until: UnixMillis,
    },
}

/// The attempt and owner that claim to act.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AttemptHolder {
    /// The number of the attempt.
    pub attempt: u32,
    /// The lease's owner.
    pub owner: LeaseOwner,
}

/// Why an event does not apply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTransition {
    /// The state has no such edge.
    #[error("the job's state does not allow this")]
    State,
    /// Another attempt or owner holds the job.
    #[error("the lease is held by another attempt")]
    LeaseLost,
    /// The moment has not come.
    #[error("it is too early for this")]
    TooEarly,
}

/// The state that follows `state` when `event` happens; `previous` is the number of the job's last attempt.
///
/// # Errors
/// [`InvalidTransition`] when the edge does not exist; the job then stays as it was.
pub fn apply(state: JobState, previous: u32, event: JobEvent) -> Result<JobState, InvalidTransition> {
    use InvalidTransition::{LeaseLost, State, TooEarly};
    match (state, event) {
        (JobState::Queued { not_before, .. }, JobEvent::Claim { attempt, now }) => {
            if !is_due(not_before, now) {
                return Err(TooEarly);
            }
            if attempt.number != previous + 1 {
                return Err(LeaseLost);
            }
            Ok(JobState::Running { attempt, cancel_requested: false })
        }
        (JobState::Queued { .. }, JobEvent::RequestCancel { at }) => {
            Ok(JobState::Cancelled { finished_at: at })
        }
        (JobState::Queued { deadline, .. }, JobEvent::QueueDeadline { now, failure }) => match deadline {
            Some(deadline) if deadline <= now => Ok(JobState::Failed { finished_at: now, failure }),
            _ => Err(TooEarly),
        },
        (JobState::Running { attempt, cancel_requested }, event) => run(attempt, cancel_requested, event),
        _ => Err(State),
    }
}

fn run(attempt: Attempt, cancel_requested: bool, event: JobEvent) -> Result<JobState, InvalidTransition> {
    use InvalidTransition::{LeaseLost, State};
    let held_by = |by: AttemptHolder| by.attempt == attempt.number && by.owner == attempt.lease.owner;
    match event {
        JobEvent::Requeue { by, .. } | JobEvent::Finish { by, .. } if !held_by(by) => Err(LeaseLost),
        // A cancelled job is not run again: the cancel it waited for is thereby confirmed.
        JobEvent::Requeue { .. } if cancel_requested => Err(State),
        JobEvent::Requeue { not_before, deadline, .. } => Ok(JobState::Queued { not_before, deadline }),
        JobEvent::Finish { ending: JobEnding::Cancelled, .. } if !cancel_requested => Err(State),
        JobEvent::Finish { ending, at, .. } => Ok(match ending {
            JobEnding::Completed { .. } => JobState::Completed { finished_at: at },
            JobEnding::Failed(failure) => JobState::Failed { finished_at: at, failure },
            JobEnding::Cancelled => JobState::Cancelled { finished_at: at },
        }),
        JobEvent::RequestCancel { .. } => Ok(JobState::Running { attempt, cancel_requested: true }),
        JobEvent::Adopt { lease } => {
            Ok(JobState::Running { attempt: Attempt { lease, ..attempt }, cancel_requested })
        }
        JobEvent::Renew { owner, until } if owner == attempt.lease.owner => Ok(JobState::Running {
            attempt: Attempt { lease: Lease { owner, until }, ..attempt },
            cancel_requested,
        }),
        JobEvent::Renew { .. } => Err(LeaseLost),
        JobEvent::Claim { .. } | JobEvent::QueueDeadline { .. } => Err(State),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::failure::FailureCode;
    use crate::domain::id::{AttemptId, BackendName};
    use crate::domain::job::JobStatus;
    use proptest::prelude::*;

    fn owner(which: u8) -> LeaseOwner {
        LeaseOwner::from_random([which; 16])
    }

    fn at(millis: i64) -> UnixMillis {
        UnixMillis::from_millis(millis)
    }

    fn events() -> impl Strategy<Value = JobEvent> {
        let holder =
            (1u32..5, 0u8..2).prop_map(|(attempt, who)| AttemptHolder { attempt, owner: owner(who) });
        let ending = prop_oneof![
            Just(JobEnding::Completed { msg: None }),
            Just(JobEnding::Failed(Failure::new(FailureCode::NodeError, "boom"))),
            Just(JobEnding::Cancelled),
        ];
        prop_oneof![
            4 => (1u32..5, 0u8..2, 0i64..100).prop_map(|(number, who, now)| JobEvent::Claim {
                attempt: Attempt {
                    number,
                    id: AttemptId::from_random([9; 16]),
                    backend: BackendName::parse("a").unwrap(),
                    lease: Lease { owner: owner(who), until: at(now + 30) },
                    started_at: at(now),
                },
                now: at(now),
            }),
            2 => (holder.clone(), 0i64..100).prop_map(|(by, when)| JobEvent::Requeue { by, not_before: at(when), deadline: None }),
            2 => (holder, ending, 0i64..100).prop_map(|(by, ending, when)| JobEvent::Finish { by, ending, at: at(when) }),
            1 => (0i64..100).prop_map(|when| JobEvent::RequestCancel { at: at(when) }),
            1 => (0i64..100).prop_map(|now| JobEvent::QueueDeadline { now: at(now), failure: Failure::new(FailureCode::QueueTimeout, "late") }),
            1 => (0u8..2).prop_map(|who| JobEvent::Adopt { lease: Lease { owner: owner(who), until: at(1) } }),
            1 => (0u8..2).prop_map(|who| JobEvent::Renew { owner: owner(who), until: at(2) }),
        ]
    }

    proptest! {
        /// Whatever happens in whatever order: the end is final, attempts only count up, only the holder ends
        /// a run.
        #[test]
        fn the_machine_keeps_its_promises(events in prop::collection::vec(events(), 0..60)) {
            let mut state = JobState::Queued { not_before: at(10), deadline: Some(at(50)) };
            let mut attempts = 0;
            for event in events {
                let before = state.clone();
                match apply(state.clone(), attempts, event.clone()) {
                    Err(_) => state = before,
                    Ok(after) => {
                        prop_assert!(!before.status().is_terminal(), "{before:?} went on with {event:?}");
                        if let JobState::Running { attempt, .. } = &after
                            && before.status() == JobStatus::Queued
                        {
                            prop_assert_eq!(attempt.number, attempts + 1);
                            attempts = attempt.number;
                        }
                        if let (JobState::Running { attempt, cancel_requested }, JobEvent::Finish { by, .. } | JobEvent::Requeue { by, .. }) = (&before, &event) {
                            prop_assert_eq!(by.owner, attempt.lease.owner);
                            prop_assert_eq!(by.attempt, attempt.number);
                            prop_assert!(!(*cancel_requested && after.status() == JobStatus::Queued));
                        }
                        state = after;
                    }
                }
            }
        }
    }

    #[test]
    fn a_late_result_of_a_lost_attempt_is_refused() {
        let attempt = Attempt {
            number: 2,
            id: AttemptId::from_random([1; 16]),
            backend: BackendName::parse("a").unwrap(),
            lease: Lease { owner: owner(1), until: at(9) },
            started_at: at(0),
        };
        let running = JobState::Running { attempt, cancel_requested: false };
        for by in
            [AttemptHolder { attempt: 1, owner: owner(1) }, AttemptHolder { attempt: 2, owner: owner(2) }]
        {
            let finish = JobEvent::Finish { by, ending: JobEnding::Completed { msg: None }, at: at(5) };
            assert_eq!(apply(running.clone(), 2, finish), Err(InvalidTransition::LeaseLost));
        }
    }
}
