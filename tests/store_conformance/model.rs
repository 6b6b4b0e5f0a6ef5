//! Property test: the store accepts exactly the transitions that the state machine of the domain allows.

use std::future::Future;
use std::time::Duration;

use comfy_gateway::domain::failure::{Failure, FailureCode};
use comfy_gateway::domain::id::PromptId;
use comfy_gateway::domain::job::{Attempt, Fence, JobEnding, JobState, JobStatus, Lease, NewJob};
use comfy_gateway::domain::transition::{AttemptHolder, JobEvent, apply};
use comfy_gateway::store::{
    AdoptScope, CancelOutcome, DeleteOutcome, JobClaim, JobLookup, JobStore, StoreError,
};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::support::*;

/// The number of random jobs.
const CASES: u32 = 300;

/// One event in the life of a job. Moments lie around its back-off and its deadline.
#[derive(Debug, Clone)]
enum Step {
    Claim { owner_number: u8, now: i64 },
    Requeue { by: Actor, not_before: i64, deadline: Option<i64> },
    Finish { by: Actor, ending: u8 },
    Cancel,
    Expire { now: i64 },
    Adopt { owner_number: u8 },
    Renew { owner_number: u8, until: i64 },
}

/// The fence that a guarded write uses; mostly the valid one.
#[derive(Debug, Clone, Copy)]
enum Actor {
    Holder,
    OldAttempt,
    Stranger(u8),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let by = prop_oneof![6 => Just(Actor::Holder), 1 => Just(Actor::OldAttempt), 1 => (1u8..4).prop_map(Actor::Stranger)];
    let owner_number = 1u8..4;
    let step = prop_oneof![
        6 => (owner_number.clone(), 0i64..100).prop_map(|(owner_number, now)| Step::Claim { owner_number, now }),
        4 => (by.clone(), 0i64..100, prop::option::of(0i64..100))
            .prop_map(|(by, not_before, deadline)| Step::Requeue { by, not_before, deadline }),
        1 => (by, 0u8..3).prop_map(|(by, ending)| Step::Finish { by, ending }),
        2 => Just(Step::Cancel),
        1 => (0i64..100).prop_map(|now| Step::Expire { now }),
        2 => owner_number.clone().prop_map(|owner_number| Step::Adopt { owner_number }),
        2 => (owner_number, 0i64..100).prop_map(|(owner_number, until)| Step::Renew { owner_number, until }),
    ];
    prop::collection::vec(step, 1..25)
}

/// Applies random sequences of events to the state machine and to the store that `make` returns, and compares them.
pub fn store_agrees_with_the_state_machine<F: Future<Output = Fixture>>(make: impl FnOnce() -> F) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let fixture = runtime.block_on(make());
    let mut number = 0u64;
    // The runner takes an `Fn`, so the counter needs interior mutability.
    let number = std::cell::RefCell::new(&mut number);
    let mut runner = TestRunner::new(Config { cases: CASES, failure_persistence: None, ..Config::default() });
    let lived = runner.run(&steps(), |steps| {
        **number.borrow_mut() += 1;
        let id =
            PromptId::from_parts(at(0), number.borrow().to_be_bytes().repeat(2)[..10].try_into().unwrap());
        runtime.block_on(run_steps(fixture.store.as_ref(), id, steps))
    });
    lived.unwrap();
}

struct JobModel<'a> {
    store: &'a dyn JobStore,
    id: PromptId,
    state: JobState,
    attempts: u32,
}

async fn run_steps(store: &dyn JobStore, id: PromptId, steps: Vec<Step>) -> Result<(), TestCaseError> {
    let new = NewJob {
        prompt_id: id,
        queue_timeout: Some(Duration::from_millis(50)),
        created_at: at(10),
        ..job(1)
    };
    store.insert(new).await.unwrap();
    let state = JobState::Queued { not_before: at(10), deadline: Some(at(60)) };
    let mut job = JobModel { store, id, state, attempts: 0 };
    for step in steps {
        let event = job.event(&step);
        // The state machine alone decides what is expected; the store must agree.
        let expected = apply(job.state.clone(), job.attempts, event.clone());
        let accepted = job.apply_to_store(&step, event).await;
        prop_assert_eq!(accepted, expected.is_ok(), "{:?} in {:?}", step, job.state);
        if let Ok(state) = expected {
            if let (JobState::Running { attempt, .. }, JobStatus::Queued) = (&state, job.state.status()) {
                job.attempts = attempt.number;
            }
            job.state = state;
        }
        let JobLookup::Found(record) = store.get(id).await.unwrap() else { panic!("the job is gone") };
        prop_assert_eq!(&record.state, &job.state, "after {:?}", step);
        prop_assert_eq!(record.attempts, job.attempts);
    }
    job.end().await;
    Ok(())
}

/// Whether a guarded write was accepted. Any error other than a lost lease fails the test.
fn is_accepted(written: Result<(), StoreError>) -> bool {
    match written {
        Ok(()) => true,
        Err(StoreError::LeaseLost) => false,
        Err(other) => panic!("{other}"),
    }
}

impl JobModel<'_> {
    fn holder(&self, by: Actor) -> AttemptHolder {
        let held = match &self.state {
            JobState::Running { attempt, .. } => attempt.lease.owner,
            _ => owner(1),
        };
        match by {
            Actor::Holder => AttemptHolder { attempt: self.attempts, owner: held },
            Actor::OldAttempt => AttemptHolder { attempt: self.attempts.saturating_sub(1), owner: held },
            Actor::Stranger(owner_number) => {
                AttemptHolder { attempt: self.attempts, owner: owner(owner_number) }
            }
        }
    }

    fn event(&self, step: &Step) -> JobEvent {
        match *step {
            Step::Claim { owner_number, now } => {
                let claim = slot(100, owner_number);
                let first = self.attempts == 0;
                let id = if first { self.id.first_attempt() } else { claim.attempt_id };
                let attempt = Attempt {
                    number: self.attempts + 1,
                    id,
                    backend: claim.backend,
                    lease: claim.lease,
                    started_at: at(now),
                };
                JobEvent::Claim { attempt, now: at(now) }
            }
            Step::Requeue { by, not_before, deadline } => JobEvent::Requeue {
                by: self.holder(by),
                not_before: at(not_before),
                deadline: deadline.map(at),
            },
            Step::Finish { by, ending } => {
                let ending = match ending {
                    0 => completed(),
                    1 => JobEnding::Failed(failure()),
                    _ => JobEnding::Cancelled,
                };
                JobEvent::Finish { by: self.holder(by), ending, at: at(2_000) }
            }
            Step::Cancel => JobEvent::RequestCancel { at: at(70) },
            Step::Expire { now } => JobEvent::QueueDeadline {
                now: at(now),
                failure: Failure::new(FailureCode::QueueTimeout, "late"),
            },
            Step::Adopt { owner_number } => {
                JobEvent::Adopt { lease: Lease { owner: owner(owner_number), until: at(500) } }
            }
            Step::Renew { owner_number, until } => {
                JobEvent::Renew { owner: owner(owner_number), until: at(until) }
            }
        }
    }

    /// Applies `event` to the store; `true` if the store accepted it.
    async fn apply_to_store(&self, step: &Step, event: JobEvent) -> bool {
        let (store, id) = (self.store, self.id);
        let fence = |by: AttemptHolder| Fence { prompt_id: id, attempt: by.attempt, owner: by.owner };
        match event {
            JobEvent::Claim { attempt, now } => {
                let Step::Claim { owner_number, .. } = *step else { unreachable!() };
                let claim = JobClaim { prompt_id: id, ..slot(100, owner_number) };
                let claimed = store.claim(vec![claim], now).await.unwrap();
                assert!(claimed.iter().all(|job| job.prompt_id == id && job.attempt == attempt));
                !claimed.is_empty()
            }
            JobEvent::Requeue { by, not_before, deadline } => {
                let mut requeue = backend_lost(true);
                (requeue.not_before, requeue.deadline) = (not_before, deadline);
                is_accepted(store.requeue(fence(by), requeue).await)
            }
            JobEvent::Finish { by, ending, .. } => {
                is_accepted(store.finish(fence(by), finish_with(ending)).await)
            }
            JobEvent::RequestCancel { at } => {
                let outcome = store.request_cancel(id, at, None).await.unwrap();
                let expected = match self.state.status() {
                    JobStatus::Queued => CancelOutcome::Cancelled,
                    JobStatus::Running => CancelOutcome::Requested,
                    _ => CancelOutcome::AlreadyTerminal,
                };
                assert_eq!(outcome, expected);
                outcome != CancelOutcome::AlreadyTerminal
            }
            JobEvent::QueueDeadline { now, failure } => {
                store.expire_queued(now, failure, None).await.unwrap() == [id]
            }
            JobEvent::Adopt { lease } => {
                let adopted = store.adopt(AdoptScope::All, lease, at(0)).await.unwrap();
                match &self.state {
                    // An owner does not adopt its own jobs but renews their leases.
                    JobState::Running { attempt, .. } if attempt.lease.owner == lease.owner => {
                        assert!(adopted.is_empty());
                        store.renew(lease.owner, lease.until).await.unwrap();
                        true
                    }
                    _ => !adopted.is_empty(),
                }
            }
            JobEvent::Renew { owner, until } => {
                store.renew(owner, until).await.unwrap();
                // A renewal covers all jobs of an owner and returns nothing, so the state decides.
                matches!(&self.state, JobState::Running { attempt, .. } if attempt.lease.owner == owner)
            }
        }
    }

    /// Deletes the job, so that it cannot affect the next case.
    async fn end(&self) {
        self.store.request_cancel(self.id, at(3_000), None).await.unwrap();
        if self.state.status() == JobStatus::Running {
            let AttemptHolder { attempt, owner } = self.holder(Actor::Holder);
            let fence = Fence { prompt_id: self.id, attempt, owner };
            self.store.finish(fence, finish_with(JobEnding::Cancelled)).await.unwrap();
        }
        assert_eq!(self.store.delete(self.id, at(3_000)).await.unwrap(), DeleteOutcome::Deleted);
    }
}
