//! Input files of jobs, uploaded files, and backends that cannot run a job.

use std::collections::HashSet;

use comfy_gateway::domain::failure::{Failure, FailureCode};
use comfy_gateway::domain::id::{BackendName, FileId};
use comfy_gateway::domain::input::JobInput;
use comfy_gateway::domain::job::JobStatus;
use comfy_gateway::domain::requeue::RequeueCause;
use comfy_gateway::store::{FileRecord, GatewayStore};

use crate::support::*;

pub fn uploaded_file(n: u8, expires_at: Option<i64>) -> FileRecord {
    FileRecord {
        id: FileId::from_random([n; 16]),
        sha256: stored_input(n).sha256,
        bytes: 1 << 40,
        filename: "me.png".to_owned(),
        content_type: "image/png".to_owned(),
        extension: "png".to_owned(),
        created_at: at(1),
        expires_at: expires_at.map(at),
    }
}

/// Accepts job `n` with one stored input and one that is still to be fetched.
async fn accept_awaiting(store: &dyn GatewayStore, n: u8) {
    let files = vec![JobInput::Stored(stored_input(n)), remote_input("https://x/secret")];
    store.insert(comfy_gateway::domain::job::NewJob { files, ..job(n) }).await.unwrap();
}

fn hashes_of(numbers: &[u8]) -> HashSet<String> {
    numbers.iter().map(|n| stored_input(*n).sha256).collect()
}

pub async fn a_job_is_claimed_only_when_it_has_its_files(store: &dyn GatewayStore) {
    accept_awaiting(store, 1).await;
    accept_jobs(store, [2]).await;
    assert_eq!(claim_next(store, 1).await.unwrap().prompt_id, id(2));
    assert!(claim_next(store, 1).await.is_none());
    let [awaiting] = store.awaiting(10).await.unwrap().try_into().unwrap();
    assert_eq!((awaiting.prompt_id, awaiting.files.len()), (id(1), 2));
    assert_eq!(awaiting.files[1], remote_input("https://x/secret"));
    assert_eq!(awaiting.graph.get(), job(1).graph.as_ref());
    let last_seen = store.queued_jobs(None, 10).await.unwrap().last().map(|job| job.place);
    let graph = json(r#"{"ready":1}"#);
    let files = vec![stored_input(1), stored_input(9)];
    assert!(store.inputs_ready(id(1), graph.clone(), files.clone()).await.unwrap());
    assert!(!store.inputs_ready(id(1), graph, files.clone()).await.unwrap());
    assert!(store.awaiting(10).await.unwrap().is_empty());
    let [ready] = store.queued_jobs(last_seen, 10).await.unwrap().try_into().unwrap();
    assert_eq!(
        (ready.prompt_id, ready.awaits_inputs),
        (id(1), false),
        "a job that is ready gets a new place"
    );
    let claimed = claim_next(store, 1).await.unwrap();
    assert_eq!((claimed.prompt_id, claimed.graph.get(), claimed.files), (id(1), r#"{"ready":1}"#, files));
}

pub async fn files_that_cannot_be_fetched_fail_the_job(store: &dyn GatewayStore) {
    accept_awaiting(store, 1).await;
    let failure = Failure::new(FailureCode::InputUnavailable, "the file is gone\nfor good");
    assert!(store.inputs_failed(id(1), failure.clone(), at(5), Some(at(9))).await.unwrap());
    assert!(!store.inputs_failed(id(1), failure.clone(), at(6), None).await.unwrap());
    let record = stored_job(store, 1).await;
    assert_eq!(record.failure(), Some(&failure));
    assert_eq!((record.msg.as_deref(), record.expires_at), (Some("the file is gone"), Some(at(9))));
    accept_jobs(store, [2]).await;
    assert!(!store.inputs_failed(id(2), failure, at(6), None).await.unwrap());
    assert_eq!(store.status(id(2)).await.unwrap(), Some(JobStatus::Queued));
}

pub async fn a_job_that_left_the_queue_gets_no_files(store: &dyn GatewayStore) {
    accept_awaiting(store, 1).await;
    store.request_cancel(id(1), at(5), None).await.unwrap();
    assert!(store.awaiting(10).await.unwrap().is_empty());
    assert!(!store.inputs_ready(id(1), json("{}"), vec![]).await.unwrap());
    assert_eq!(store.status(id(1)).await.unwrap(), Some(JobStatus::Cancelled));
}

pub async fn an_uploaded_file_is_known_until_it_expires_or_is_deleted(store: &dyn GatewayStore) {
    for known in [uploaded_file(1, Some(1_000)), uploaded_file(2, None)] {
        store.insert_file(known.clone()).await.unwrap();
        assert_eq!(store.file(known.id).await.unwrap(), Some(known));
    }
    store.release_inputs(at(999)).await.unwrap();
    assert!(store.file(uploaded_file(1, None).id).await.unwrap().is_some());
    store.release_inputs(at(1_000)).await.unwrap();
    assert_eq!(store.file(uploaded_file(1, None).id).await.unwrap(), None);
    assert!(store.delete_file(uploaded_file(2, None).id).await.unwrap());
    assert!(!store.delete_file(uploaded_file(2, None).id).await.unwrap());
    assert_eq!(store.file(uploaded_file(2, None).id).await.unwrap(), None);
}

pub async fn files_of_unfinished_jobs_and_uploads_are_needed(store: &dyn GatewayStore) {
    assert_eq!(store.needed_inputs().await.unwrap(), HashSet::new());
    let with =
        |n| comfy_gateway::domain::job::NewJob { files: vec![JobInput::Stored(stored_input(n))], ..job(n) };
    store.insert(with(1)).await.unwrap();
    let fence = {
        let claimed = claim_next(store, 1).await.unwrap();
        claimed.attempt.fence(claimed.prompt_id)
    };
    store.insert(with(2)).await.unwrap();
    accept_awaiting(store, 3).await;
    store.insert_file(uploaded_file(4, Some(1_000))).await.unwrap();
    store.insert_file(uploaded_file(2, None)).await.unwrap();
    assert_eq!(store.needed_inputs().await.unwrap(), hashes_of(&[1, 2, 3, 4]));
    store.finish(fence, finish_with(completed())).await.unwrap();
    store.release_inputs(at(1_000)).await.unwrap();
    assert_eq!(store.needed_inputs().await.unwrap(), hashes_of(&[2, 3]));
}

pub async fn a_backend_that_cannot_run_a_job_is_skipped(store: &dyn GatewayStore) {
    let not_on = vec![BackendName::parse("gpu-1").unwrap(), BackendName::parse("gpu-11").unwrap()];
    store.insert(comfy_gateway::domain::job::NewJob { not_on, ..job(1) }).await.unwrap();
    accept_jobs(store, [2]).await;
    // A slot that gets no job does not use up the job of a later slot.
    let slots = vec![slot_on(3, "gpu-11"), slot_on(4, "gpu-11"), slot_on(5, "gpu-2")];
    let claimed = claim_for_slots(store, slots, at(1_000)).await;
    let got: Vec<_> = claimed.iter().map(|job| (job.prompt_id, job.attempt.backend.as_str())).collect();
    assert_eq!(got, [(id(2), "gpu-11"), (id(1), "gpu-2")]);
}

pub async fn a_job_excluded_from_a_backend_runs_elsewhere(store: &dyn GatewayStore) {
    let fence = start_job(store, 1).await;
    store.requeue(fence, requeue_for(RequeueCause::CannotRun)).await.unwrap();
    assert!(claim_next(store, 1).await.is_none());
    let fence = {
        let [claimed] =
            claim_for_slots(store, vec![slot_on(7, "gpu-2")], at(1_000)).await.try_into().unwrap();
        claimed.attempt.fence(claimed.prompt_id)
    };
    store.requeue(fence, backend_lost(false)).await.unwrap();
    assert!(claim_for_slots(store, vec![slot(8, 1)], at(1_000)).await.is_empty());
    store.clear_not_on().await.unwrap();
    assert_eq!(claim_next(store, 1).await.unwrap().prompt_id, id(1));
}
