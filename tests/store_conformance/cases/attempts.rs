//! Running jobs: finishing, requeueing and adopting them, guarded by their fence.

use comfy_gateway::domain::job::{Fence, JobEnding, JobState, JobStatus, Lease, NewJob};
use comfy_gateway::domain::requeue::RequeueCause;
use comfy_gateway::store::{AdoptScope, JobLookup, JobStore, StoreError};
use futures_util::poll;

use crate::support::*;

pub async fn a_finish_under_the_right_fence_ends_the_job(store: &dyn JobStore) {
    let endings = [
        (completed(), JobState::Completed { finished_at: at(2_000) }, None),
        (
            JobEnding::Completed { msg: Some("two branches were dropped".to_owned()) },
            JobState::Completed { finished_at: at(2_000) },
            Some("two branches were dropped"),
        ),
        (
            JobEnding::Failed(failure()),
            JobState::Failed { finished_at: at(2_000), failure: failure() },
            Some("boom \u{1f4a5}"),
        ),
    ];
    for (n, (ending, state, msg)) in (1..).zip(endings) {
        let fence = start_job(store, n).await;
        store.finish(fence, finish_with(ending)).await.unwrap();
        let record = stored_job(store, n).await;
        assert_eq!((record.state, record.msg.as_deref()), (state, msg));
        assert_eq!((record.attempts, record.started_at), (1, Some(at(1_000))));
    }
}

pub async fn a_finish_under_a_wrong_fence_changes_nothing(store: &dyn JobStore) {
    let fence = start_job(store, 1).await;
    let before = stored_job(store, 1).await.state;
    for wrong in [
        Fence { attempt: 0, ..fence },
        Fence { attempt: 2, ..fence },
        Fence { owner: owner(2), ..fence },
        Fence { prompt_id: id(2), ..fence },
    ] {
        let mut finish = finish_with(completed());
        finish.texts = vec![named_text("a", "late")];
        assert_eq!(store.finish(wrong, finish).await, Err(StoreError::LeaseLost));
        assert_eq!(store.requeue(wrong, backend_lost(true)).await, Err(StoreError::LeaseLost));
    }
    assert_eq!(stored_job(store, 1).await.state, before);

    let lease = Lease { owner: owner(2), until: at(9_000) };
    store.adopt(AdoptScope::All, lease, at(1_000)).await.unwrap();
    assert_eq!(store.finish(fence, finish_with(completed())).await, Err(StoreError::LeaseLost));
    let fence = Fence { owner: owner(2), ..fence };
    store.finish(fence, finish_with(completed())).await.unwrap();
    assert!(stored_job(store, 1).await.texts.is_empty());
}

pub async fn a_job_ends_once(store: &dyn JobStore) {
    let fence = start_job(store, 1).await;
    store.finish(fence, finish_with(completed())).await.unwrap();
    for ending in [completed(), JobEnding::Failed(failure())] {
        assert_eq!(store.finish(fence, finish_with(ending)).await, Err(StoreError::LeaseLost));
    }
    assert_eq!(store.requeue(fence, backend_lost(false)).await, Err(StoreError::LeaseLost));
    assert_eq!(stored_job(store, 1).await.state, JobState::Completed { finished_at: at(2_000) });
    let lease = Lease { owner: owner(2), until: at(9_000) };
    assert!(store.adopt(AdoptScope::All, lease, at(1_000)).await.unwrap().is_empty());
    assert!(claim_next(store, 1).await.is_none());
}

pub async fn a_job_is_cancelled_only_on_request(store: &dyn JobStore) {
    let fence = start_job(store, 1).await;
    assert_eq!(store.finish(fence, finish_with(JobEnding::Cancelled)).await, Err(StoreError::LeaseLost));
    store.request_cancel(id(1), at(1_500), None).await.unwrap();
    store.finish(fence, finish_with(JobEnding::Cancelled)).await.unwrap();
    assert_eq!(stored_job(store, 1).await.state, JobState::Cancelled { finished_at: at(2_000) });

    // A run that completes before the cancel reaches it is completed.
    let fence = start_job(store, 2).await;
    store.request_cancel(id(2), at(1_500), None).await.unwrap();
    store.finish(fence, finish_with(completed())).await.unwrap();
    assert_eq!(store.status(id(2)).await.unwrap(), Some(JobStatus::Completed));
}

pub async fn a_requeued_job_is_queued_again(store: &dyn JobStore) {
    let mut fence = start_job(store, 1).await;
    for (counts, failures) in [(true, 1), (false, 1), (true, 2)] {
        let mut requeue = backend_lost(counts);
        requeue.deadline = Some(at(8_000));
        store.requeue(fence, requeue).await.unwrap();
        let record = stored_job(store, 1).await;
        assert_eq!(record.state, JobState::Queued { not_before: at(1_000), deadline: Some(at(8_000)) });
        assert_eq!(record.msg.as_deref(), Some("the backend gpu-1 was lost"));
        let claimed = claim_next(store, 1).await.unwrap();
        assert_eq!(claimed.failures, failures);
        assert_eq!(claimed.attempt.number, fence.attempt + 1);
        fence = claimed.attempt.fence(id(1));
    }
    let late = || failure();
    assert!(store.expire_queued(at(9_000), late(), None).await.unwrap().is_empty());
    let mut requeue = backend_lost(true);
    requeue.deadline = Some(at(8_000));
    store.requeue(fence, requeue).await.unwrap();
    assert_eq!(store.expire_queued(at(8_000), late(), None).await.unwrap(), [id(1)]);
}

pub async fn refusals_of_a_job_are_counted(store: &dyn JobStore) {
    store.insert(job(1)).await.unwrap();
    for (refused, refusals) in [(false, 0), (true, 0), (true, 1), (false, 2)] {
        let claimed = claim_one(store, 1, 1, at(1_000)).await.unwrap();
        assert_eq!(claimed.refusals, refusals);
        store
            .requeue(
                claimed.attempt.fence(id(1)),
                requeue_for(if refused { RequeueCause::Refused } else { RequeueCause::Recalled }),
            )
            .await
            .unwrap();
    }
}

pub async fn a_requeue_after_a_cancel_or_under_a_wrong_fence_is_refused(store: &dyn JobStore) {
    let fence = start_job(store, 1).await;
    store.request_cancel(id(1), at(1_100), None).await.unwrap();
    assert_eq!(store.requeue(fence, backend_lost(true)).await, Err(StoreError::LeaseLost));
    assert_eq!(store.status(id(1)).await.unwrap(), Some(JobStatus::Running));

    let fence = start_job(store, 2).await;
    store.requeue(fence, backend_lost(true)).await.unwrap();
    assert_eq!(store.requeue(fence, backend_lost(true)).await, Err(StoreError::LeaseLost));
    let second = claim_next(store, 1).await.unwrap();
    assert_eq!(second.failures, 1);
    // The owner is right, but this attempt has ended.
    assert_eq!(store.finish(fence, finish_with(completed())).await, Err(StoreError::LeaseLost));
}

pub async fn adoption_takes_over_the_jobs_of_other_owners(store: &dyn JobStore) {
    for n in 1..=3 {
        start_job(store, n).await;
    }
    store.request_cancel(id(2), at(1_100), None).await.unwrap();
    accept_jobs(store, [4]).await;
    let lease = Lease { owner: owner(2), until: at(7_000) };
    let mut adopted = store.adopt(AdoptScope::All, lease, at(1_200)).await.unwrap();
    adopted.sort_by_key(|job| job.prompt_id);
    assert_eq!(adopted.iter().map(|job| job.prompt_id).collect::<Vec<_>>(), [1, 2, 3].map(id));
    assert_eq!(adopted.iter().map(|job| job.cancel_requested).collect::<Vec<_>>(), [false, true, false]);
    for job in &adopted {
        assert_eq!(job.attempt.lease, lease);
        assert_eq!((job.attempt.number, job.attempt.id), (1, job.prompt_id.first_attempt()));
        assert_eq!(job.graph.get(), r#"{"1":{"class_type":"X","inputs":{}}}"#);
    }
    assert!(store.adopt(AdoptScope::All, lease, at(1_200)).await.unwrap().is_empty());
    assert_eq!(store.status(id(4)).await.unwrap(), Some(JobStatus::Queued));
}

pub async fn adoption_of_expired_leases_leaves_the_others(store: &dyn JobStore) {
    accept_jobs(store, 1..=3).await;
    claim_for_slots(store, vec![slot(1, 1), slot(2, 2), slot(3, 3)], at(500)).await;
    let lease = Lease { owner: owner(9), until: at(9_000) };
    let adopted = store.adopt(AdoptScope::ExpiredAt(at(999)), lease, at(999)).await.unwrap();
    assert!(adopted.is_empty());
    let adopted = store.adopt(AdoptScope::ExpiredAt(at(2_000)), lease, at(2_000)).await.unwrap();
    assert_eq!(adopted.len(), 2);
    assert!(adopted.iter().all(|job| job.prompt_id != id(3) && job.attempt.lease == lease));
}

pub async fn a_renewed_lease_is_not_expired(store: &dyn JobStore) {
    accept_jobs(store, 1..=2).await;
    claim_for_slots(store, vec![slot(1, 1), slot(2, 2)], at(500)).await;
    store.renew(owner(1), at(5_000)).await.unwrap();
    store.renew(owner(7), at(5_000)).await.unwrap();
    let lease = Lease { owner: owner(9), until: at(9_000) };
    let adopted = store.adopt(AdoptScope::ExpiredAt(at(4_999)), lease, at(4_999)).await.unwrap();
    assert_eq!(adopted.iter().map(|job| job.prompt_id).collect::<Vec<_>>(), [id(2)]);
}

pub async fn a_dropped_write_happens_wholly_or_not_at_all(store: &dyn JobStore) {
    for n in 1..=30 {
        let mut insert = Box::pin(store.insert(job(n)));
        let _polled_once = poll!(&mut insert);
    }
    store.insert(NewJob { priority: 1, ..job(100) }).await.unwrap();
    let claimed = claim_one(store, 100, 1, at(1_000)).await.unwrap();
    let fence = claimed.attempt.fence(id(100));
    let mut finish = finish_with(completed());
    finish.texts = vec![named_text("a", "b")];
    finish.media = (0..50).map(picture).collect();
    let mut finishing = Box::pin(store.finish(fence, finish.clone()));
    let _polled_once = poll!(&mut finishing);
    drop(finishing);
    // Writes are applied in order: once this one is done, so are all that were accepted before it.
    accept_jobs(store, [101]).await;
    let record = stored_job(store, 100).await;
    match record.state.status() {
        JobStatus::Completed => assert_eq!((record.media, record.texts), (finish.media, finish.texts)),
        status => assert_eq!((status, record.media.len()), (JobStatus::Running, 0)),
    }
    let mut queued = 1;
    for n in 1..=30 {
        match store.get(id(n)).await.unwrap() {
            JobLookup::Unknown => {}
            JobLookup::Found(job) if job.state.status() == JobStatus::Queued => queued += 1,
            other => panic!("{other:?}"),
        }
    }
    let claims = (0..40).map(|n| slot(n, 1)).collect();
    assert_eq!(claim_for_slots(store, claims, at(1_000)).await.len(), queued);
}
