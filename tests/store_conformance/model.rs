//! The state machine as the model of the store: what it allows, the store does, and nothing else.

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

const JOBS: u32 = 300;

/// Something that may happen to the one job. Moments are spread around its back-off and its deadline.
#[derive(Debug, Clone)]
enum Step {
    Claim { who: u8, now: i64 },
    Requeue { by: By, not_before: i64, deadline: Option<i64> },
    Finish { by: By, ending: u8 },
    Cancel,
    Expire { now: i64 },
    Adopt { who: u8 },
    Renew { who: u8, until: i64 },
}

/// Who acts: mostly the one that may.
#[derive(Debug, Clone, Copy)]
enum By {
    Holder,
    OldAttempt,
    Stranger(u8),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let by =
        prop_oneof![6 => Just(By::Holder), 1 => Just(By::OldAttempt), 1 => (1u8..4).prop_map(By::Stranger)];
    let who = 1u8..4;
    let step = prop_oneof![
        6 => (who.clone(), 0i64..100).prop_map(|(who, now)| Step::Claim { who, now }),
        4 => (by.clone(), 0i64..100, prop::option::of(0i64..100))
            .prop_map(|(by, not_before, deadline)| Step::Requeue { by, not_before, deadline }),
        1 => (by, 0u8..3).prop_map(|(by, ending)| Step::Finish { by, ending }),
        2 => Just(Step::Cancel),
        1 => (0i64..100).prop_map(|now| Step::Expire { now }),
        2 => who.clone().prop_map(|who| Step::Adopt { who }),
        2 => (who, 0i64..100).prop_map(|(who, until)| Step::Renew { who, until }),
    ];
    prop::collection::vec(step, 1..25)
}

/// Runs random lives of jobs through the model and through the store that `make` gives.
pub fn agrees_with_the_state_machine<F: Future<Output = Fixture>>(make: impl FnOnce() -> F) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let fixture = runtime.block_on(make());
    let mut number = 0u64;
    // The runner wants a function without state of its own.
    let number = std::cell::RefCell::new(&mut number);
    let mut runner = TestRunner::new(Config { cases: JOBS, failure_persistence: None, ..Config::default() });
    let lived = runner.run(&steps(), |steps| {
        **number.borrow_mut() += 1;
        let id =
            PromptId::from_parts(at(0), number.borrow().to_be_bytes().repeat(2)[..10].try_into().unwrap());
        runtime.block_on(live(fixture.store.as_ref(), id, steps))
    });
    lived.unwrap();
}

struct Life<'a> {
    store: &'a dyn JobStore,
    id: PromptId,
    state: JobState,
    attempts: u32,
}

async fn live(store: &dyn JobStore, id: PromptId, steps: Vec<Step>) -> Result<(), TestCaseError> {
    let new = NewJob {
        prompt_id: id,
        queue_timeout: Some(Duration::from_millis(50)),
        created_at: at(10),
        ..job(1)
    };
    store.insert(new).await.unwrap();
    let state = JobState::Queued { not_before: at(10), deadline: Some(at(60)) };
    let mut life = Life { store, id, state, attempts: 0 };
    for step in steps {
        let event = life.event(&step);
        // The store leaves alone what is its own already; for the model that is no change.
        let expected = apply(life.state.clone(), life.attempts, event.clone());
        let accepted = life.happen(&step, event).await;
        prop_assert_eq!(accepted, expected.is_ok(), "{:?} in {:?}", step, life.state);
        if let Ok(state) = expected {
            if let (JobState::Running { attempt, .. }, JobStatus::Queued) = (&state, life.state.status()) {
                life.attempts = attempt.number;
            }
            life.state = state;
        }
        let JobLookup::Found(record) = store.get(id).await.unwrap() else { panic!("the job is gone") };
        prop_assert_eq!(&record.state, &life.state, "after {:?}", step);
        prop_assert_eq!(record.attempts, life.attempts);
    }
    life.end().await;
    Ok(())
}

/// Whether a guarded write happened; it may fail for no other reason than its guard.
fn taken(written: Result<(), StoreError>) -> bool {
    match written {
        Ok(()) => true,
        Err(StoreError::LeaseLost) => false,
        Err(other) => panic!("{other}"),
    }
}

impl Life<'_> {
    fn holder(&self, by: By) -> AttemptHolder {
        let held = match &self.state {
            JobState::Running { attempt, .. } => attempt.lease.owner,
            _ => owner(1),
        };
        match by {
            By::Holder => AttemptHolder { attempt: self.attempts, owner: held },
            By::OldAttempt => AttemptHolder { attempt: self.attempts.saturating_sub(1), owner: held },
            By::Stranger(who) => AttemptHolder { attempt: self.attempts, owner: owner(who) },
        }
    }

    fn event(&self, step: &Step) -> JobEvent {
        match *step {
            Step::Claim { who, now } => {
                let claim = slot(100, who);
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
            Step::Adopt { who } => JobEvent::Adopt { lease: Lease { owner: owner(who), until: at(500) } },
            Step::Renew { who, until } => JobEvent::Renew { owner: owner(who), until: at(until) },
        }
    }

    /// Lets `event` happen in the store; whether it took it.
    async fn happen(&self, step: &Step, event: JobEvent) -> bool {
        let (store, id) = (self.store, self.id);
        let fence = |by: AttemptHolder| Fence { prompt_id: id, attempt: by.attempt, owner: by.owner };
        match event {
            JobEvent::Claim { attempt, now } => {
                let Step::Claim { who, .. } = *step else { unreachable!() };
                let claim = JobClaim { prompt_id: id, ..slot(100, who) };
                let claimed = store.claim(vec![claim], now).await.unwrap();
                assert!(claimed.iter().all(|job| job.prompt_id == id && job.attempt == attempt));
                !claimed.is_empty()
            }
            JobEvent::Requeue { by, not_before, deadline } => {
                let mut change = requeue(true);
                (change.not_before, change.deadline) = (not_before, deadline);
                taken(store.requeue(fence(by), change).await)
            }
            JobEvent::Finish { by, ending, .. } => taken(store.finish(fence(by), ended(ending)).await),
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
                    // One's own jobs are not adopted but renewed.
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
                // The verb is for all jobs of an owner, so it does not tell; the state does.
                matches!(&self.state, JobState::Running { attempt, .. } if attempt.lease.owner == owner)
            }
        }
    }

    /// Leaves nothing behind that the next life could meet.
    async fn end(&self) {
        self.store.request_cancel(self.id, at(3_000), None).await.unwrap();
        if self.state.status() == JobStatus::Running {
            let AttemptHolder { attempt, owner } = self.holder(By::Holder);
            let fence = Fence { prompt_id: self.id, attempt, owner };
            self.store.finish(fence, ended(JobEnding::Cancelled)).await.unwrap();
        }
        assert_eq!(self.store.delete(self.id, at(3_000)).await.unwrap(), DeleteOutcome::Deleted);
    }
}
