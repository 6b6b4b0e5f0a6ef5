//! Deletion, retention, and tombstones of deleted jobs.

use std::time::Duration;

use comfy_gateway::store::{DeleteOutcome, FileRecord, GatewayStore, JobLookup, JobStore};

use super::inputs::uploaded_file;
use crate::support::*;

async fn is_gone(store: &dyn JobStore, n: u8) -> bool {
    matches!(store.get(id(n)).await.unwrap(), JobLookup::Gone)
}

async fn completed_until(store: &dyn JobStore, n: u8, expires_at: Option<i64>) {
    let fence = start_job(store, n).await;
    let mut finish = finish_with(completed());
    finish.media = vec![picture(1)];
    finish.texts = vec![named_text("a", "b")];
    finish.expires_at = expires_at.map(at);
    store.finish(fence, finish).await.unwrap();
}

pub async fn only_ended_jobs_can_be_deleted(store: &dyn JobStore) {
    completed_until(store, 1, None).await;
    start_job(store, 2).await;
    accept_jobs(store, [3]).await;
    let delete = |n| store.delete(id(n), at(3_000));
    assert_eq!(delete(1).await.unwrap(), DeleteOutcome::Deleted);
    assert_eq!(delete(2).await.unwrap(), DeleteOutcome::Unfinished);
    assert_eq!(delete(3).await.unwrap(), DeleteOutcome::Unfinished);
    assert_eq!(delete(4).await.unwrap(), DeleteOutcome::NotFound);
    assert_eq!(delete(1).await.unwrap(), DeleteOutcome::NotFound);
    assert!(is_gone(store, 1).await);
    assert_eq!(store.status(id(1)).await.unwrap(), None);
    assert_eq!(store.media(id(1), "cover_1.png").await.unwrap(), None);
    assert_eq!(store.list(None, None, None, 10).await.unwrap().jobs.len(), 2);
    stored_job(store, 2).await;
}

pub async fn jobs_are_purged_when_their_retention_ends(store: &dyn JobStore) {
    for (n, expires_at) in [(1, Some(300)), (2, Some(100)), (3, Some(200)), (4, None), (5, Some(9_000))] {
        completed_until(store, n, expires_at).await;
    }
    start_job(store, 6).await;
    accept_jobs(store, [7]).await;
    let purge = |now, limit| store.purge(at(now), at(0), limit);
    assert!(purge(99, 10).await.unwrap().is_empty());
    let mut first = purge(300, 2).await.unwrap();
    first.sort_unstable();
    assert_eq!(first, [id(2), id(3)], "the jobs that expired first are deleted first");
    assert_eq!(purge(300, 2).await.unwrap(), [id(1)]);
    assert!(purge(300, 2).await.unwrap().is_empty());
    for n in [1, 2, 3] {
        assert!(is_gone(store, n).await);
    }
    for n in 4..=7 {
        stored_job(store, n).await;
    }
}

pub async fn a_shorter_retention_applies_to_existing_jobs_and_files(store: &dyn GatewayStore) {
    // Each of these jobs ends at 2,000 ms.
    for (n, expires_at) in [(1, Some(9_000)), (2, None), (3, Some(2_100))] {
        completed_until(store, n, expires_at).await;
    }
    start_job(store, 4).await;
    accept_jobs(store, [5]).await;
    let upload = |n, expires_at| FileRecord { created_at: at(1_000), ..uploaded_file(n, expires_at) };
    for (n, expires_at) in [(1, None), (2, Some(9_000)), (3, Some(1_001))] {
        store.insert_file(upload(n, expires_at)).await.unwrap();
    }
    store.shorten_retention(Duration::from_millis(500)).await.unwrap();
    for (n, expected) in [(1, Some(2_500)), (2, Some(2_500)), (3, Some(2_100)), (4, None), (5, None)] {
        assert_eq!(stored_job(store, n).await.expires_at, expected.map(at), "job {n}");
    }
    for (n, expected) in [(1, 1_500), (2, 1_500), (3, 1_001)] {
        let id = upload(n, None).id;
        assert_eq!(store.file(id).await.unwrap().unwrap().expires_at, Some(at(expected)), "file {n}");
    }
    store.shorten_retention(Duration::from_secs(9)).await.unwrap();
    assert_eq!(stored_job(store, 1).await.expires_at, Some(at(2_500)), "a longer retention changes nothing");
}

pub async fn old_tombstones_are_deleted(store: &dyn JobStore) {
    completed_until(store, 1, None).await;
    completed_until(store, 2, None).await;
    store.delete(id(1), at(3_000)).await.unwrap();
    store.delete(id(2), at(4_000)).await.unwrap();
    store.purge(at(5_000), at(3_000), 10).await.unwrap();
    assert!(is_gone(store, 1).await);
    store.purge(at(5_000), at(3_001), 10).await.unwrap();
    assert!(matches!(store.get(id(1)).await.unwrap(), JobLookup::Unknown));
    assert!(is_gone(store, 2).await);
}
