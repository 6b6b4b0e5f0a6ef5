//! The queue: accepting, claiming, cancelling, expiring.

use std::collections::HashSet;
use std::time::Duration;

use comfy_gateway::domain::failure::{Failure, FailureCode};
use comfy_gateway::domain::job::{JobState, NewJob, Status};
use comfy_gateway::store::{CancelOutcome, JobStore};

use crate::support::*;

pub async fn an_accepted_job_waits_at_its_place(store: &dyn JobStore) {
    accept(store, [1, 2]).await;
    store.insert(NewJob { priority: 5, ..job(3) }).await.unwrap();
    let first = found(store, 1).await;
    assert_eq!(first.state, JobState::Queued { not_before: at(1), deadline: None });
    assert_eq!((first.created_at, first.priority, first.attempts), (at(1), 0, 0));
    assert_eq!((first.backend, first.started_at, first.expires_at, first.msg), (None, None, None, None));
    let mut places = Vec::new();
    for n in [1, 2, 3] {
        places.push(found(store, n).await.queue_position);
    }
    assert_eq!(places, [Some(1), Some(2), Some(0)]);
    claim(store, 1).await.unwrap();
    assert_eq!(found(store, 3).await.queue_position, None);
    assert_eq!(found(store, 1).await.queue_position, Some(0));
    assert_eq!(store.queued().await.unwrap(), 2);
}

pub async fn jobs_are_claimed_by_priority_then_acceptance(store: &dyn JobStore) {
    for (n, priority) in [(9, 0), (2, -7), (3, 7), (4, 0), (5, i32::MAX), (6, i32::MIN)] {
        store.insert(NewJob { priority, ..job(n) }).await.unwrap();
    }
    let mut order = Vec::new();
    while let Some(job) = claim(store, 1).await {
        order.push(job.prompt_id);
    }
    assert_eq!(order, [5, 3, 9, 4, 2, 6].map(id));
}

pub async fn the_first_job_goes_to_the_first_claim(store: &dyn JobStore) {
    accept(store, 1..=4).await;
    let claims = (101..=103).map(|n| slot(n, n - 100)).collect();
    let claimed = store.claim(claims, at(1_000)).await.unwrap();
    let pairs: Vec<_> = claimed.iter().map(|job| (job.prompt_id, job.attempt.lease.owner)).collect();
    assert_eq!(pairs, [(id(1), owner(1)), (id(2), owner(2)), (id(3), owner(3))]);
}

pub async fn fewer_jobs_than_claims_are_no_error(store: &dyn JobStore) {
    assert!(store.claim(vec![slot(1, 1)], at(1_000)).await.unwrap().is_empty());
    accept(store, [1]).await;
    assert!(store.claim(Vec::new(), at(1_000)).await.unwrap().is_empty());
    assert_eq!(store.claim(vec![slot(1, 1), slot(2, 1)], at(1_000)).await.unwrap().len(), 1);
}

pub async fn the_first_attempt_carries_the_jobs_id_and_later_ones_the_given(store: &dyn JobStore) {
    let fence = running(store, 1).await;
    let JobState::Running { attempt, .. } = found(store, 1).await.state else { panic!() };
    assert_eq!((attempt.number, attempt.id), (1, id(1).first_attempt()));
    store.requeue(fence, again(true)).await.unwrap();
    let second = store.claim(vec![slot(77, 1)], at(1_000)).await.unwrap().pop().unwrap();
    assert_eq!((second.attempt.number, second.attempt.id), (2, attempt_id(77)));
}

pub async fn a_job_is_not_claimed_before_its_moment(store: &dyn JobStore) {
    let fence = running(store, 1).await;
    accept(store, [2]).await;
    let mut later = again(true);
    later.not_before = at(5_000);
    store.requeue(fence, later).await.unwrap();
    let early = store.claim(vec![slot(1, 1), slot(2, 1)], at(4_999)).await.unwrap();
    assert_eq!(early.iter().map(|job| job.prompt_id).collect::<Vec<_>>(), [id(2)]);
    let due = store.claim(vec![slot(3, 1)], at(5_000)).await.unwrap();
    assert_eq!(due[0].prompt_id, id(1));
}

pub async fn a_claimed_job_has_all_that_running_it_needs(store: &dyn JobStore) {
    let graph = r#"{"9":{"inputs":{"seed":18446744073709551615, "x":1.0e0},"class_type":"Ü"},"1":{}}"#;
    let full = NewJob {
        graph: graph.into(),
        queue_timeout: Some(Duration::from_millis(2_500)),
        run_timeout: Duration::from_millis(1_234),
        ..job(3)
    };
    store.insert(full).await.unwrap();
    let claimed = claim(store, 4).await.unwrap();
    assert_eq!(claimed.graph.get(), graph);
    assert_eq!(claimed.created_at, at(3));
    assert_eq!(claimed.run_timeout, Duration::from_millis(1_234));
    assert_eq!(claimed.queue_timeout, Some(Duration::from_millis(2_500)));
    assert_eq!((claimed.failures, claimed.cancel_requested), (0, false));
    let attempt = claimed.attempt;
    assert_eq!(attempt.backend.as_str(), "gpu-1");
    assert_eq!((attempt.lease.owner, attempt.lease.until), (owner(4), at(4_000)));
    assert_eq!(attempt.started_at, at(1_000));
    let record = found(store, 3).await;
    assert_eq!((record.started_at, record.attempts), (Some(at(1_000)), 1));
    assert_eq!(record.backend.unwrap().as_str(), "gpu-1");
}

pub async fn a_cancel_ends_queued_jobs_and_is_noted_on_running_ones(store: &dyn JobStore) {
    accept(store, [1]).await;
    let cancel = |n, expires| store.request_cancel(id(n), at(50), expires);
    assert_eq!(cancel(1, Some(at(90))).await.unwrap(), CancelOutcome::Cancelled);
    let record = found(store, 1).await;
    assert_eq!(record.state, JobState::Cancelled { finished_at: at(50) });
    assert_eq!((record.expires_at, record.queue_position), (Some(at(90)), None));
    assert!(record.msg.is_some());
    assert_eq!(cancel(1, None).await.unwrap(), CancelOutcome::AlreadyTerminal);
    assert_eq!(found(store, 1).await.expires_at, Some(at(90)));
    assert!(claim(store, 1).await.is_none());

    running(store, 2).await;
    assert_eq!(cancel(2, Some(at(90))).await.unwrap(), CancelOutcome::Requested);
    assert_eq!(cancel(2, None).await.unwrap(), CancelOutcome::Requested);
    let record = found(store, 2).await;
    assert!(matches!(record.state, JobState::Running { cancel_requested: true, .. }));
    assert_eq!(record.expires_at, None);
    assert_eq!(cancel(3, None).await.unwrap(), CancelOutcome::NotFound);
}

pub async fn queued_jobs_expire_at_their_deadline_and_running_ones_do_not(store: &dyn JobStore) {
    let impatient = |n| NewJob { queue_timeout: Some(Duration::from_millis(100)), ..job(n) };
    store.insert(NewJob { priority: 1, ..impatient(1) }).await.unwrap();
    claim(store, 1).await.unwrap();
    store.insert(impatient(2)).await.unwrap();
    store.insert(impatient(3)).await.unwrap();
    accept(store, [4]).await;
    let late = || Failure::new(FailureCode::QueueTimeout, "waited too long");
    assert!(store.expire_queued(at(101), late(), None).await.unwrap().is_empty());
    assert_eq!(store.expire_queued(at(102), late(), Some(at(900))).await.unwrap(), [id(2)]);
    let record = found(store, 2).await;
    assert_eq!(record.state, JobState::Failed { finished_at: at(102), failure: late() });
    assert_eq!((record.msg.as_deref(), record.expires_at), (Some("waited too long"), Some(at(900))));
    assert_eq!(record.failure(), Some(&late()));
    assert_eq!(store.expire_queued(at(9_999), late(), None).await.unwrap(), [id(3)]);
    assert_eq!(store.status(id(1)).await.unwrap(), Some(Status::Running));
    assert_eq!(store.status(id(4)).await.unwrap(), Some(Status::Queued));
}

pub async fn two_dispatchers_never_get_the_same_job(store: &dyn JobStore) {
    accept(store, 1..=40).await;
    let claims = |who| (0..25).map(|n| slot(100 + n, who)).collect();
    let (one, two) = tokio::join!(store.claim(claims(1), at(1_000)), store.claim(claims(2), at(1_000)));
    let (one, two) = (one.unwrap(), two.unwrap());
    assert_eq!(one.len() + two.len(), 40);
    let ids: HashSet<_> = one.iter().chain(&two).map(|job| job.prompt_id).collect();
    assert_eq!(ids.len(), 40);
}

pub async fn the_stats_count_every_status(store: &dyn JobStore) {
    assert_eq!(store.stats().await.unwrap().oldest_queued, None);
    for (n, ending) in [(1, completed()), (2, comfy_gateway::domain::job::Ending::Failed(failure()))] {
        let fence = running(store, n).await;
        store.finish(fence, ended(ending)).await.unwrap();
    }
    accept(store, [3]).await;
    store.request_cancel(id(3), at(9), None).await.unwrap();
    running(store, 4).await;
    accept(store, [5, 6]).await;
    let stats = store.stats().await.unwrap();
    let mut counts = stats.by_status;
    counts.sort_unstable();
    let expected: Vec<_> = Status::ALL.into_iter().zip([2, 1, 1, 1, 1]).collect();
    assert_eq!(counts, expected);
    assert_eq!(stats.oldest_queued, Some(at(5)));
    assert_eq!(store.queued().await.unwrap(), 2);
    store.ping().await.unwrap();
}
