//! Running jobs: ending them, giving them back, taking them over, each under its fence.

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
        let fence = running(store, n).await;
        store.finish(fence, ended(ending)).await.unwrap();
        let record = found(store, n).await;
        assert_eq!((record.state, record.msg.as_deref()), (state, msg));
        assert_eq!((record.attempts, record.started_at), (1, Some(at(1_000))));
    }
}

pub async fn a_finish_under_a_wrong_fence_changes_nothing(store: &dyn JobStore) {
    let fence = running(store, 1).await;
    let before = found(store, 1).await.state;
    for wrong in [
        Fence { attempt: 0, ..fence },
        Fence { attempt: 2, ..fence },
        Fence { owner: owner(2), ..fence },
        Fence { prompt_id: id(2), ..fence },
    ] {
        let mut finish = ended(completed());
        finish.texts = vec![text("a", "late")];
        assert_eq!(store.finish(wrong, finish).await, Err(StoreError::LeaseLost));
        assert_eq!(store.requeue(wrong, requeue(true)).await, Err(StoreError::LeaseLost));
    }
    assert_eq!(found(store, 1).await.state, before);

    let lease = Lease { owner: owner(2), until: at(9_000) };
    store.adopt(AdoptScope::All, lease, at(1_000)).await.unwrap();
    assert_eq!(store.finish(fence, ended(completed())).await, Err(StoreError::LeaseLost));
    let fence = Fence { owner: owner(2), ..fence };
    store.finish(fence, ended(completed())).await.unwrap();
    assert!(found(store, 1).await.texts.is_empty());
}

pub async fn an_end_is_written_once(store: &dyn JobStore) {
    let fence = running(store, 1).await;
    store.finish(fence, ended(completed())).await.unwrap();
    for ending in [completed(), JobEnding::Failed(failure())] {
        assert_eq!(store.finish(fence, ended(ending)).await, Err(StoreError::LeaseLost));
    }
    assert_eq!(store.requeue(fence, requeue(false)).await, Err(StoreError::LeaseLost));
    assert_eq!(found(store, 1).await.state, JobState::Completed { finished_at: at(2_000) });
    let lease = Lease { owner: owner(2), until: at(9_000) };
    assert!(store.adopt(AdoptScope::All, lease, at(1_000)).await.unwrap().is_empty());
    assert!(claim(store, 1).await.is_none());
}

pub async fn a_job_is_cancelled_only_on_request(store: &dyn JobStore) {
    let fence = running(store, 1).await;
    assert_eq!(store.finish(fence, ended(JobEnding::Cancelled)).await, Err(StoreError::LeaseLost));
    store.request_cancel(id(1), at(1_500), None).await.unwrap();
    store.finish(fence, ended(JobEnding::Cancelled)).await.unwrap();
    assert_eq!(found(store, 1).await.state, JobState::Cancelled { finished_at: at(2_000) });

    // A run that ends by itself before the cancel reaches it has its own end.
    let fence = running(store, 2).await;
    store.request_cancel(id(2), at(1_500), None).await.unwrap();
    store.finish(fence, ended(completed())).await.unwrap();
    assert_eq!(store.status(id(2)).await.unwrap(), Some(JobStatus::Completed));
}

pub async fn a_requeued_job_waits_again(store: &dyn JobStore) {
    let mut fence = running(store, 1).await;
    for (counts, failures) in [(true, 1), (false, 1), (true, 2)] {
        let mut change = requeue(counts);
        change.deadline = Some(at(8_000));
        store.requeue(fence, change).await.unwrap();
        let record = found(store, 1).await;
        assert_eq!(record.state, JobState::Queued { not_before: at(1_000), deadline: Some(at(8_000)) });
        assert_eq!(record.msg.as_deref(), Some("the backend gpu-1 was lost"));
        let claimed = claim(store, 1).await.unwrap();
        assert_eq!(claimed.failures, failures);
        assert_eq!(claimed.attempt.number, fence.attempt + 1);
        fence = claimed.attempt.fence(id(1));
    }
    let late = || failure();
    assert!(store.expire_queued(at(9_000), late(), None).await.unwrap().is_empty());
    let mut change = requeue(true);
    change.deadline = Some(at(8_000));
    store.requeue(fence, change).await.unwrap();
    assert_eq!(store.expire_queued(at(8_000), late(), None).await.unwrap(), [id(1)]);
}

pub async fn refusals_of_a_job_are_counted(store: &dyn JobStore) {
    store.insert(job(1)).await.unwrap();
    for (refused, refusals) in [(false, 0), (true, 0), (true, 1), (false, 2)] {
        let claimed = claim_job(store, 1, 1, at(1_000)).await.unwrap();
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
    let fence = running(store, 1).await;
    store.request_cancel(id(1), at(1_100), None).await.unwrap();
    assert_eq!(store.requeue(fence, requeue(true)).await, Err(StoreError::LeaseLost));
    assert_eq!(store.status(id(1)).await.unwrap(), Some(JobStatus::Running));

    let fence = running(store, 2).await;
    store.requeue(fence, requeue(true)).await.unwrap();
    assert_eq!(store.requeue(fence, requeue(true)).await, Err(StoreError::LeaseLost));
    let second = claim(store, 1).await.unwrap();
    assert_eq!(second.failures, 1);
    // The same owner, but an attempt that is over.
    assert_eq!(store.finish(fence, ended(completed())).await, Err(StoreError::LeaseLost));
}

pub async fn adoption_takes_over_what_others_hold(store: &dyn JobStore) {
    for n in 1..=3 {
        running(store, n).await;
    }
    store.request_cancel(id(2), at(1_100), None).await.unwrap();
    accept(store, [4]).await;
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

pub async fn only_expired_leases_are_adopted_when_asked_so(store: &dyn JobStore) {
    accept(store, 1..=3).await;
    hand_out(store, vec![slot(1, 1), slot(2, 2), slot(3, 3)], at(500)).await;
    let lease = Lease { owner: owner(9), until: at(9_000) };
    let adopted = store.adopt(AdoptScope::ExpiredAt(at(999)), lease, at(999)).await.unwrap();
    assert!(adopted.is_empty());
    let adopted = store.adopt(AdoptScope::ExpiredAt(at(2_000)), lease, at(2_000)).await.unwrap();
    assert_eq!(adopted.len(), 2);
    assert!(adopted.iter().all(|job| job.prompt_id != id(3) && job.attempt.lease == lease));
}

pub async fn a_renewed_lease_is_not_expired(store: &dyn JobStore) {
    accept(store, 1..=2).await;
    hand_out(store, vec![slot(1, 1), slot(2, 2)], at(500)).await;
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
    let claimed = claim_job(store, 100, 1, at(1_000)).await.unwrap();
    let fence = claimed.attempt.fence(id(100));
    let mut finish = ended(completed());
    finish.texts = vec![text("a", "b")];
    finish.media = (0..50).map(picture).collect();
    let mut finishing = Box::pin(store.finish(fence, finish.clone()));
    let _polled_once = poll!(&mut finishing);
    drop(finishing);
    // Whatever was taken on before is done once a later write is.
    accept(store, [101]).await;
    let record = found(store, 100).await;
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
    assert_eq!(hand_out(store, claims, at(1_000)).await.len(), queued);
}
