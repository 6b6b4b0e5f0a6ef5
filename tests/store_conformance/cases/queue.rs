//! The queue: accepting, claiming, cancelling, expiring.

use std::collections::HashSet;
use std::time::Duration;

use comfy_gateway::domain::failure::{Failure, FailureCode};
use comfy_gateway::domain::id::BackendName;
use comfy_gateway::domain::job::{JobState, JobStatus, NewJob};
use comfy_gateway::domain::needs::JobNeeds;
use comfy_gateway::store::{CancelOutcome, JobClaim, JobStore, ShapeRecord};

use crate::support::*;

pub async fn an_accepted_job_is_queued(store: &dyn JobStore) {
    accept_jobs(store, [1, 2]).await;
    store.insert(NewJob { priority: 5, ..job(3) }).await.unwrap();
    let first = stored_job(store, 1).await;
    assert_eq!(first.state, JobState::Queued { not_before: at(1), deadline: None });
    assert_eq!((first.created_at, first.priority, first.attempts), (at(1), 0, 0));
    assert_eq!((first.backend, first.started_at, first.expires_at, first.msg), (None, None, None, None));
    claim_next(store, 1).await.unwrap();
    assert_eq!(store.queued().await.unwrap(), 2);
}

pub async fn queued_jobs_are_listed_with_everything_placement_needs(store: &dyn JobStore) {
    let needs = JobNeeds { models: vec!["m.ckpt".to_owned()], shape: "s".to_owned(), ..JobNeeds::default() };
    let full = NewJob {
        priority: -7,
        caller: "ü".to_owned(),
        needs: needs.clone(),
        not_on: vec![slot_on(1, "gpu-9").backend],
        ..job(2)
    };
    store.insert(full).await.unwrap();
    let [waiting] = store.queued_jobs(None, 10).await.unwrap().try_into().unwrap();
    assert_eq!((waiting.prompt_id, waiting.priority, waiting.caller.as_str()), (id(2), -7, "ü"));
    assert_eq!((waiting.created_at, waiting.not_before, waiting.awaits_inputs), (at(2), at(2), false));
    assert_eq!((waiting.needs, waiting.failed_on), (needs, None));
    assert_eq!(waiting.not_on, [slot_on(1, "gpu-9").backend]);
    // The backend is named only if the attempt counted as a failure.
    for (counts, failed_on) in [(false, None), (true, Some("gpu-1"))] {
        let fence = claim_one(store, 2, 1, at(1_000)).await.unwrap().attempt.fence(id(2));
        store.requeue(fence, backend_lost(counts)).await.unwrap();
        let waiting = store.queued_jobs(None, 10).await.unwrap().pop().unwrap();
        assert_eq!(waiting.failed_on.as_ref().map(BackendName::as_str), failed_on);
    }
}

pub async fn reading_page_by_page_misses_no_job_queued_meanwhile(store: &dyn JobStore) {
    accept_jobs(store, 1..=5).await;
    let mut seen = Vec::new();
    let mut after = None;
    loop {
        let page = store.queued_jobs(after, 2).await.unwrap();
        let Some(last) = page.last() else { break };
        after = Some(last.place);
        seen.extend(page.iter().map(|job| job.prompt_id));
    }
    assert_eq!(seen, (1..=5).map(id).collect::<Vec<_>>());
    // A requeued job gets a new place; a claimed or cancelled one is no longer listed.
    let fence = claim_one(store, 3, 1, at(1_000)).await.unwrap().attempt.fence(id(3));
    store.request_cancel(id(4), at(9), None).await.unwrap();
    store.requeue(fence, backend_lost(true)).await.unwrap();
    accept_jobs(store, [6]).await;
    let later = store.queued_jobs(after, 10).await.unwrap();
    assert_eq!(later.iter().map(|job| job.prompt_id).collect::<Vec<_>>(), [id(3), id(6)]);
    let all = store.queued_jobs(None, 10).await.unwrap();
    assert_eq!(all.len(), 5);
}

pub async fn only_named_jobs_are_claimed(store: &dyn JobStore) {
    accept_jobs(store, 1..=4).await;
    let claims = [3, 1, 3, 9].map(|n| JobClaim { prompt_id: id(n), ..slot(n, n) });
    let claimed = store.claim(claims.to_vec(), at(1_000)).await.unwrap();
    let pairs: Vec<_> = claimed.iter().map(|job| (job.prompt_id, job.attempt.lease.owner)).collect();
    assert_eq!(pairs, [(id(3), owner(3)), (id(1), owner(1))]);
}

pub async fn measurements_are_kept_for_the_most_recently_used_shapes(store: &dyn JobStore) {
    let shape = |n: i64| ShapeRecord {
        shape: n.to_string(),
        warm_ms: Some(n),
        cold_ms: None,
        oom_vram: (n == 3).then_some(1 << 40),
        used_at: at(n),
    };
    store.learn(vec![shape(1), shape(2), shape(3)], 10).await.unwrap();
    let again = ShapeRecord { cold_ms: Some(7), used_at: at(9), ..shape(1) };
    store.learn(vec![again.clone()], 2).await.unwrap();
    assert_eq!(store.shapes(10).await.unwrap(), [again.clone(), shape(3)]);
    assert_eq!(store.shapes(1).await.unwrap(), [again]);
}

pub async fn fewer_jobs_than_claims_are_no_error(store: &dyn JobStore) {
    assert!(claim_for_slots(store, vec![slot(1, 1)], at(1_000)).await.is_empty());
    accept_jobs(store, [1]).await;
    assert!(claim_for_slots(store, Vec::new(), at(1_000)).await.is_empty());
    assert_eq!(claim_for_slots(store, vec![slot(1, 1), slot(2, 1)], at(1_000)).await.len(), 1);
}

pub async fn the_first_attempt_has_the_jobs_id_and_later_ones_the_claims(store: &dyn JobStore) {
    let fence = start_job(store, 1).await;
    let JobState::Running { attempt, .. } = stored_job(store, 1).await.state else { panic!() };
    assert_eq!((attempt.number, attempt.id), (1, id(1).first_attempt()));
    store.requeue(fence, backend_lost(true)).await.unwrap();
    let second = claim_for_slots(store, vec![slot(77, 1)], at(1_000)).await.pop().unwrap();
    assert_eq!((second.attempt.number, second.attempt.id), (2, attempt_id(77)));
}

pub async fn a_job_is_not_claimed_before_it_is_due(store: &dyn JobStore) {
    let fence = start_job(store, 1).await;
    accept_jobs(store, [2]).await;
    let mut later = backend_lost(true);
    later.not_before = at(5_000);
    store.requeue(fence, later).await.unwrap();
    let early = claim_for_slots(store, vec![slot(1, 1), slot(2, 1)], at(4_999)).await;
    assert_eq!(early.iter().map(|job| job.prompt_id).collect::<Vec<_>>(), [id(2)]);
    let due = claim_for_slots(store, vec![slot(3, 1)], at(5_000)).await;
    assert_eq!(due[0].prompt_id, id(1));
}

pub async fn a_claimed_job_has_everything_its_run_needs(store: &dyn JobStore) {
    let graph = r#"{"9":{"inputs":{"seed":18446744073709551615, "x":1.0e0},"class_type":"Ü"},"1":{}}"#;
    let full = NewJob {
        graph: graph.into(),
        queue_timeout: Some(Duration::from_millis(2_500)),
        run_timeout: Duration::from_millis(1_234),
        ..job(3)
    };
    store.insert(full).await.unwrap();
    let claimed = claim_next(store, 4).await.unwrap();
    assert_eq!(claimed.graph.get(), graph);
    assert_eq!(claimed.created_at, at(3));
    assert_eq!(claimed.run_timeout, Duration::from_millis(1_234));
    assert_eq!(claimed.queue_timeout, Some(Duration::from_millis(2_500)));
    assert_eq!((claimed.failures, claimed.cancel_requested), (0, false));
    let attempt = claimed.attempt;
    assert_eq!(attempt.backend.as_str(), "gpu-1");
    assert_eq!((attempt.lease.owner, attempt.lease.until), (owner(4), at(4_000)));
    assert_eq!(attempt.started_at, at(1_000));
    let record = stored_job(store, 3).await;
    assert_eq!((record.started_at, record.attempts), (Some(at(1_000)), 1));
    assert_eq!(record.backend.unwrap().as_str(), "gpu-1");
}

pub async fn a_cancel_ends_queued_jobs_and_is_recorded_on_running_ones(store: &dyn JobStore) {
    accept_jobs(store, [1]).await;
    let cancel = |n, expires| store.request_cancel(id(n), at(50), expires);
    assert_eq!(cancel(1, Some(at(90))).await.unwrap(), CancelOutcome::Cancelled);
    let record = stored_job(store, 1).await;
    assert_eq!(record.state, JobState::Cancelled { finished_at: at(50) });
    assert_eq!(record.expires_at, Some(at(90)));
    assert!(record.msg.is_some());
    assert_eq!(cancel(1, None).await.unwrap(), CancelOutcome::AlreadyTerminal);
    assert_eq!(stored_job(store, 1).await.expires_at, Some(at(90)));
    assert!(claim_next(store, 1).await.is_none());

    start_job(store, 2).await;
    assert_eq!(cancel(2, Some(at(90))).await.unwrap(), CancelOutcome::Requested);
    assert_eq!(cancel(2, None).await.unwrap(), CancelOutcome::Requested);
    let record = stored_job(store, 2).await;
    assert!(matches!(record.state, JobState::Running { cancel_requested: true, .. }));
    assert_eq!(record.expires_at, None);
    assert_eq!(cancel(3, None).await.unwrap(), CancelOutcome::NotFound);
}

pub async fn queued_jobs_expire_at_their_deadline_and_running_ones_do_not(store: &dyn JobStore) {
    let impatient = |n| NewJob { queue_timeout: Some(Duration::from_millis(100)), ..job(n) };
    store.insert(NewJob { priority: 1, ..impatient(1) }).await.unwrap();
    claim_next(store, 1).await.unwrap();
    store.insert(impatient(2)).await.unwrap();
    store.insert(impatient(3)).await.unwrap();
    accept_jobs(store, [4]).await;
    let late = || Failure::new(FailureCode::QueueTimeout, "waited too long");
    assert!(store.expire_queued(at(101), late(), None).await.unwrap().is_empty());
    assert_eq!(store.expire_queued(at(102), late(), Some(at(900))).await.unwrap(), [id(2)]);
    let record = stored_job(store, 2).await;
    assert_eq!(record.state, JobState::Failed { finished_at: at(102), failure: late() });
    assert_eq!((record.msg.as_deref(), record.expires_at), (Some("waited too long"), Some(at(900))));
    assert_eq!(record.failure(), Some(&late()));
    assert_eq!(store.expire_queued(at(9_999), late(), None).await.unwrap(), [id(3)]);
    assert_eq!(store.status(id(1)).await.unwrap(), Some(JobStatus::Running));
    assert_eq!(store.status(id(4)).await.unwrap(), Some(JobStatus::Queued));
}

pub async fn two_dispatchers_never_get_the_same_job(store: &dyn JobStore) {
    accept_jobs(store, 1..=40).await;
    let claims = |owner_number| {
        let claim = move |n| JobClaim { prompt_id: id(n), ..slot(100 + n, owner_number) };
        (1..=40).map(claim).collect::<Vec<_>>()
    };
    let (one, two) = tokio::join!(store.claim(claims(1), at(1_000)), store.claim(claims(2), at(1_000)));
    let (one, two) = (one.unwrap(), two.unwrap());
    assert_eq!(one.len() + two.len(), 40);
    let ids: HashSet<_> = one.iter().chain(&two).map(|job| job.prompt_id).collect();
    assert_eq!(ids.len(), 40);
}

pub async fn the_stats_count_every_status(store: &dyn JobStore) {
    assert_eq!(store.stats().await.unwrap().oldest_queued, None);
    for (n, ending) in [(1, completed()), (2, comfy_gateway::domain::job::JobEnding::Failed(failure()))] {
        let fence = start_job(store, n).await;
        store.finish(fence, finish_with(ending)).await.unwrap();
    }
    accept_jobs(store, [3]).await;
    store.request_cancel(id(3), at(9), None).await.unwrap();
    start_job(store, 4).await;
    accept_jobs(store, [5, 6]).await;
    let stats = store.stats().await.unwrap();
    let mut counts = stats.by_status;
    counts.sort_unstable();
    let expected: Vec<_> = JobStatus::ALL.into_iter().zip([2, 1, 1, 1, 1]).collect();
    assert_eq!(counts, expected);
    assert_eq!(stats.oldest_queued, Some(at(5)));
    assert_eq!(store.queued().await.unwrap(), 2);
    store.ping().await.unwrap();
}
