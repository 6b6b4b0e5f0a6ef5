//! Group commit: writes that wait together share a transaction, and none fails because of another.

use comfy_gateway::domain::job::{Fence, JobStatus};
use comfy_gateway::store::{CancelOutcome, DeleteOutcome, InputStore, JobClaim, JobStore, StoreError};
use futures_util::future::join_all;
use std::sync::Arc;
use tokio_util::task::TaskTracker;

use super::Database;
use crate::cases::inputs::uploaded_file;
use crate::support::*;

#[tokio::test(flavor = "multi_thread")]
async fn jobs_of_many_tasks_all_land_and_share_commits() {
    let database = Arc::new(Database::new().await);
    let tasks = TaskTracker::new();
    let inserts: Vec<_> = (0..64)
        .map(|n| {
            let database = Arc::clone(&database);
            tasks.spawn(async move {
                for round in 0..3 {
                    database.store.insert(job(round * 64 + n)).await.unwrap();
                }
            })
        })
        .collect();
    for insert in join_all(inserts).await {
        insert.unwrap();
    }
    assert_eq!(database.store.queued().await.unwrap(), 192);
    let batches = database.batches.lock().unwrap().clone();
    assert_eq!(batches.iter().sum::<usize>(), 192);
    assert!(batches.len() < 100, "{} commits for 192 writes", batches.len());
    // Jobs of one batch share a revision. Reading page by page must neither miss nor repeat one.
    let mut seqs = Vec::new();
    let mut after = None;
    loop {
        let page = database.store.queued_jobs(after, 50).await.unwrap();
        let Some(last) = page.last() else { break };
        after = Some(last.place);
        seqs.extend(page.iter().map(|job| job.place.seq));
    }
    assert_eq!(seqs, (1..=192).collect::<Vec<_>>());
}

#[tokio::test]
async fn writes_that_wait_together_share_one_commit() {
    let database = Database::new().await;
    let inserts = join_all((1..=100).map(|n| database.store.insert(job(n)))).await;
    assert!(inserts.iter().all(Result::is_ok));
    assert_eq!(*database.batches.lock().unwrap(), [100]);
}

#[tokio::test]
async fn a_failing_write_does_not_fail_the_rest_of_its_batch() {
    let database = Database::new().await;
    let store = &database.store;
    let fence = start_job(store, 1).await;
    let wrong = Fence { owner: owner(9), ..fence };
    // Job 1 exists already, so the batch as a whole cannot be committed.
    let (new, twice, late, end, newer) = tokio::join!(
        store.insert(job(2)),
        store.insert(job(1)),
        store.finish(wrong, finish_with(completed())),
        store.finish(fence, finish_with(completed())),
        store.insert(job(3)),
    );
    assert_eq!((new, end, newer), (Ok(()), Ok(()), Ok(())));
    assert_eq!(late, Err(StoreError::LeaseLost));
    assert!(matches!(twice, Err(StoreError::Unavailable(_))), "{twice:?}");
    assert_eq!(store.status(id(1)).await.unwrap(), Some(JobStatus::Completed));
    assert_eq!(store.queued().await.unwrap(), 2);
    accept_jobs(store, [4]).await;
    let seqs: Vec<_> = store.queued_jobs(None, 9).await.unwrap().iter().map(|job| job.place.seq).collect();
    assert_eq!(seqs.len(), 3);
    assert!(seqs.is_sorted());
}

#[tokio::test]
async fn a_refused_write_leaves_its_batch_in_one_commit() {
    let database = Database::new().await;
    let store = &database.store;
    let fence = start_job(store, 1).await;
    database.batches.lock().unwrap().clear();
    let wrong = Fence { attempt: 7, ..fence };
    let (late, new) = tokio::join!(store.finish(wrong, finish_with(completed())), store.insert(job(2)));
    assert_eq!((late, new), (Err(StoreError::LeaseLost), Ok(())));
    assert_eq!(*database.batches.lock().unwrap(), [2]);
}

#[tokio::test]
async fn each_caller_gets_the_reply_of_its_own_write() {
    let database = Database::new().await;
    let store = &database.store;
    start_job(store, 1).await;
    accept_jobs(store, [2, 3]).await;
    store.insert_file(uploaded_file(1, None)).await.unwrap();
    database.batches.lock().unwrap().clear();
    let (known, unknown, running, queued, gone, claimed) = tokio::join!(
        store.delete_file(uploaded_file(1, None).id),
        store.delete_file(uploaded_file(2, None).id),
        store.request_cancel(id(1), at(5), None),
        store.request_cancel(id(2), at(5), None),
        store.delete(id(2), at(6)),
        store.claim(vec![JobClaim { prompt_id: id(3), ..slot(9, 1) }], at(7)),
    );
    assert_eq!((known, unknown), (Ok(true), Ok(false)));
    assert_eq!((running, queued), (Ok(CancelOutcome::Requested), Ok(CancelOutcome::Cancelled)));
    assert_eq!(gone, Ok(DeleteOutcome::Deleted));
    assert_eq!(claimed.unwrap()[0].prompt_id, id(3));
    assert_eq!(*database.batches.lock().unwrap(), [6], "one commit for all of them");
}

/// A deferred foreign key is checked by COMMIT alone, after every statement has succeeded.
#[tokio::test]
async fn a_write_whose_commit_fails_is_reported_as_failed() {
    let database = Database::new().await;
    let store = &database.store;
    accept_jobs(store, [1, 2]).await;
    let break_commit =
        "CREATE TABLE orphans (seq INTEGER REFERENCES jobs (seq) DEFERRABLE INITIALLY DEFERRED);
         CREATE TRIGGER orphan AFTER UPDATE ON jobs BEGIN INSERT INTO orphans VALUES (-1); END";
    database.execute_sql(break_commit).await.unwrap();
    let alone = store.request_cancel(id(1), at(5), None).await;
    assert!(matches!(alone, Err(StoreError::Unavailable(_))), "{alone:?}");
    let (cancelled, unrelated) =
        tokio::join!(store.request_cancel(id(2), at(5), None), store.renew(owner(1), at(9_000)));
    assert!(matches!(cancelled, Err(StoreError::Unavailable(_))), "{cancelled:?}");
    assert_eq!(unrelated, Ok(()));
    for n in [1, 2] {
        assert_eq!(store.status(id(n)).await.unwrap(), Some(JobStatus::Queued));
    }
    database.execute_sql("DROP TRIGGER orphan").await.unwrap();
    assert_eq!(store.request_cancel(id(1), at(6), None).await, Ok(CancelOutcome::Cancelled));
}
