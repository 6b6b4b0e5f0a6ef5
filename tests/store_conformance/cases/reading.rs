//! Reading jobs, their results and the job list.

use comfy_gateway::domain::job::{DroppedOutput, JobEnding, JobStatus, NewJob, PhaseTimings};
use comfy_gateway::store::{JobLookup, JobStore, PageCursor};

use crate::support::*;

pub async fn results_are_read_back_byte_for_byte(store: &dyn JobStore) {
    let metadata = r#"{ "b":1.00, "a":[18446744073709551615, "\u0000 ü"],"b2":1e400 }"#;
    let outputs = r#"{"9":{"images":[ {"filename":"a.png"} ],"x":0.10}}"#;
    let full = NewJob {
        metadata: Some(json(metadata)),
        seeds: vec![("9".to_owned(), u64::MAX), ("1".to_owned(), 0)],
        ..job(1)
    };
    store.insert(full).await.unwrap();
    let queued = stored_job(store, 1).await;
    assert_eq!(queued.metadata.unwrap().get(), metadata);
    assert!(queued.outputs.is_none());
    let claimed = claim_next(store, 1).await.unwrap();
    let mut finish = finish_with(JobEnding::Failed(failure()));
    finish.outputs = Some(json(outputs));
    finish.texts = vec![
        named_text("caption", "line\nnul\u{0} \u{1f408}"),
        named_text("caption", ""),
        named_text("5", "x"),
    ];
    finish.media = vec![picture(2), picture(1)];
    let dropped =
        |var: &str| DroppedOutput { node_id: "9".to_owned(), var: var.to_owned(), reason: "ü\n".to_owned() };
    finish.dropped_outputs = vec![dropped("b"), dropped("a")];
    finish.timings = PhaseTimings {
        queued_ms: Some(999),
        preparing_ms: Some(0),
        executing_ms: None,
        collecting_ms: Some(i64::MAX),
    };
    finish.expires_at = Some(at(77));
    let expected = finish.clone();
    store.finish(claimed.attempt.fence(id(1)), finish).await.unwrap();

    let record = stored_job(store, 1).await;
    assert_eq!(record.metadata.unwrap().get(), metadata);
    assert_eq!(record.seeds.unwrap().get(), r#"{"9":18446744073709551615,"1":0}"#);
    assert_eq!(record.outputs.unwrap().get(), outputs);
    assert_eq!((record.texts, record.media), (expected.texts, expected.media));
    assert_eq!(record.dropped_outputs, expected.dropped_outputs);
    assert_eq!((record.timings, record.expires_at), (expected.timings, Some(at(77))));
}

pub async fn a_claim_says_whether_partial_results_are_allowed(store: &dyn JobStore) {
    for (n, partial) in [(1, false), (2, true)] {
        store.insert(NewJob { partial, ..job(n) }).await.unwrap();
        let claimed = claim_next(store, n).await.unwrap();
        assert_eq!((claimed.prompt_id, claimed.partial), (id(n), partial));
    }
}

pub async fn an_outputs_file_is_separate_from_the_media_files(store: &dyn JobStore) {
    let fence = start_job(store, 1).await;
    let mut finish = finish_with(completed());
    finish.media = vec![picture(1)];
    finish.outputs_file = Some(picture(2));
    let expected = finish.clone();
    store.finish(fence, finish).await.unwrap();
    let record = stored_job(store, 1).await;
    assert_eq!((record.media, record.outputs_file), (expected.media, expected.outputs_file));
    assert!(record.outputs.is_none());
    assert_eq!(store.media(id(1), "cover_2.png").await.unwrap(), Some(picture(2)));
}

pub async fn thousands_of_files_keep_their_order(store: &dyn JobStore) {
    let fence = start_job(store, 1).await;
    let mut finish = finish_with(completed());
    finish.media = (0..2_500).rev().map(picture).collect();
    let expected = finish.media.clone();
    store.finish(fence, finish).await.unwrap();
    assert!(stored_job(store, 1).await.media == expected);
}

pub async fn the_list_is_newest_first_and_continues_at_its_cursor(store: &dyn JobStore) {
    assert!(store.list(None, None, None, 10).await.unwrap().jobs.is_empty());
    accept_jobs(store, 1..=5).await;
    let mut seen = Vec::new();
    let mut cursor: Option<PageCursor> = None;
    let mut pages = 0;
    loop {
        let page = store.list(None, None, cursor, 2).await.unwrap();
        seen.extend(page.jobs.iter().map(|job| job.prompt_id));
        pages += 1;
        if pages == 1 {
            // A job accepted now is newer than the cursor, so it does not shift the next page.
            accept_jobs(store, [6]).await;
        }
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!((seen, pages), ([5, 4, 3, 2, 1].map(id).to_vec(), 3));
    let whole = store.list(None, None, None, 6).await.unwrap();
    assert_eq!((whole.jobs.len(), whole.next), (6, None));
}

pub async fn the_list_can_be_filtered_by_status(store: &dyn JobStore) {
    let fence = start_job(store, 1).await;
    let mut finish = finish_with(completed());
    finish.media = vec![picture(1)];
    store.finish(fence, finish).await.unwrap();
    start_job(store, 2).await;
    accept_jobs(store, [3, 4]).await;
    let ids = async |status| {
        let page = store.list(Some(status), None, None, 10).await.unwrap();
        assert!(page.next.is_none());
        page.jobs.iter().map(|job| job.prompt_id).collect::<Vec<_>>()
    };
    assert_eq!(ids(JobStatus::Queued).await, [id(4), id(3)]);
    assert_eq!(ids(JobStatus::Running).await, [id(2)]);
    assert_eq!(ids(JobStatus::Completed).await, [id(1)]);
    assert!(ids(JobStatus::Failed).await.is_empty());
    let completed = store.list(Some(JobStatus::Completed), None, None, 1).await.unwrap();
    assert_eq!(completed.jobs[0].media, [picture(1)]);
}

pub async fn one_file_is_found_by_its_stored_name(store: &dyn JobStore) {
    let fence = start_job(store, 1).await;
    let mut finish = finish_with(completed());
    finish.media = vec![picture(1), picture(2)];
    store.finish(fence, finish).await.unwrap();
    assert_eq!(store.media(id(1), "cover_2.png").await.unwrap(), Some(picture(2)));
    for (n, name) in [(1, "cover_3.png"), (1, ""), (1, "cover_%"), (2, "cover_2.png")] {
        assert_eq!(store.media(id(n), name).await.unwrap(), None, "{n} {name}");
    }
}

pub async fn unknown_ids_are_unknown_everywhere(store: &dyn JobStore) {
    assert!(matches!(store.get(id(1)).await.unwrap(), JobLookup::Unknown));
    assert_eq!(store.status(id(1)).await.unwrap(), None);
    assert_eq!(store.media(id(1), "a").await.unwrap(), None);
}
