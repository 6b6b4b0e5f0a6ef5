//! Damaged rows, failing transactions and full disks.

use comfy_gateway::domain::failure::FailureCode;
use comfy_gateway::domain::job::{JobEnding, JobStatus, Lease, NewJob};
use comfy_gateway::domain::mode::BackendMode;
use comfy_gateway::domain::registered::WorkflowRef;
use comfy_gateway::store::{AdoptScope, BackendStore, InputStore, JobStore, StoreError, WorkflowStore};

use super::Database;
use super::disk::SmallDisk;
use crate::cases::backends::backend;
use crate::cases::inputs::uploaded_file;
use crate::cases::workflows::workflow;
use crate::support::*;

async fn damage_graph(database: &Database, n: u8) {
    let sql = format!(
        "UPDATE job_inputs SET graph = '{{\"1\": broken' WHERE seq = (SELECT seq FROM jobs WHERE prompt_id = '{}')",
        id(n)
    );
    database.execute_sql(&sql).await.unwrap();
}

#[tokio::test]
async fn a_damaged_graph_fails_its_own_job_only() {
    let database = Database::new().await;
    let store = &database.store;
    accept_jobs(store, 1..=4).await;
    damage_graph(&database, 1).await;
    damage_graph(&database, 3).await;
    let claimed = claim_for_slots(store, (1..=4).map(|n| slot(n, n)).collect(), at(1_000)).await;
    let pairs: Vec<_> = claimed.iter().map(|job| (job.prompt_id, job.attempt.lease.owner)).collect();
    assert_eq!(pairs, [(id(2), owner(2)), (id(4), owner(4))]);
    for n in [1, 3] {
        let record = stored_job(store, n).await;
        let failure = record.failure().unwrap();
        assert_eq!(failure.code, FailureCode::Internal);
        assert_eq!(record.msg.as_deref(), Some(failure.message.as_str()));
    }
}

#[tokio::test]
async fn damaged_requirements_affect_their_own_job_only() {
    let database = Database::new().await;
    let store = &database.store;
    accept_jobs(store, 1..=3).await;
    database.execute_sql("UPDATE jobs SET needs = '{', not_on = '[' WHERE seq = 1").await.unwrap();
    database.execute_sql("UPDATE jobs SET prompt_id = 'x' WHERE seq = 2").await.unwrap();
    let waiting = store.queued_jobs(None, 10).await.unwrap();
    assert_eq!(waiting.iter().map(|job| job.prompt_id).collect::<Vec<_>>(), [id(1), id(3)]);
    assert!(claim_one(store, 1, 1, at(1_000)).await.is_none());
    assert_eq!(stored_job(store, 1).await.failure().unwrap().code, FailureCode::Internal);
    assert!(claim_one(store, 3, 1, at(1_000)).await.is_some());
}

#[tokio::test]
async fn a_damaged_graph_found_at_adoption_fails_its_job() {
    let database = Database::new().await;
    let store = &database.store;
    start_job(store, 1).await;
    start_job(store, 2).await;
    damage_graph(&database, 1).await;
    let lease = Lease { owner: owner(2), until: at(9_000) };
    let adopted = store.adopt(AdoptScope::All, lease, at(1_000)).await.unwrap();
    assert_eq!(adopted.iter().map(|job| job.prompt_id).collect::<Vec<_>>(), [id(2)]);
    assert_eq!(stored_job(store, 1).await.failure().unwrap().code, FailureCode::Internal);
    // Its attempt is closed, and the job expires after a week.
    let open = database.execute_sql("DELETE FROM attempts WHERE seq = 1 AND ended_at IS NULL").await.unwrap();
    assert_eq!(open, 0);
    let week = 7 * 24 * 3_600 * 1_000;
    assert_eq!(store.purge(at(1_000 + week), at(0), 10).await.unwrap(), [id(1)]);
}

/// Damages one value past the CHECK constraints.
async fn set(database: &Database, table: &str, assignment: &str) {
    let sql = format!("PRAGMA ignore_check_constraints = ON; UPDATE {table} SET {assignment}");
    database.execute_sql(&sql).await.unwrap();
}

/// The table, column and row that an error names, as `table.column row`.
fn place(error: StoreError) -> String {
    let StoreError::Inconsistent { table, column, row, .. } = error else { panic!("{error}") };
    format!("{table}.{column} {row}")
}

#[tokio::test]
async fn damage_to_a_job_names_the_table_column_and_row() {
    for (table, assignment, damaged) in [
        ("jobs", "state = 'paused'", "jobs.state 1"),
        ("jobs", "failure = '{'", "jobs.failure 1"),
        ("jobs", "attempt = -1", "jobs.attempt 1"),
        ("job_inputs", "metadata = '{'", "job_inputs.metadata 1"),
        ("job_outputs", "texts = '['", "job_outputs.texts 1"),
        ("attempts", "backend = ''", "attempts.backend 1/1"),
        ("attempts", "number = 5000000000", "attempts.number 1/5000000000"),
        ("media", "kind = 'gif'", "media.kind 1/0"),
        ("media", "bytes = -1", "media.bytes 1/0"),
    ] {
        let database = Database::new().await;
        let store = &database.store;
        store.insert(NewJob { metadata: Some(json("{}")), ..job(1) }).await.unwrap();
        let fence = claim_one(store, 1, 1, at(1_000)).await.unwrap().attempt.fence(id(1));
        let mut finish = finish_with(JobEnding::Failed(failure()));
        (finish.media, finish.texts) = (vec![picture(1)], vec![named_text("a", "b")]);
        store.finish(fence, finish).await.unwrap();
        set(&database, table, assignment).await;
        assert_eq!(place(store.get(id(1)).await.unwrap_err()), damaged);
        assert_eq!(place(store.list(None, None, None, 1).await.unwrap_err()), damaged);
        if damaged.starts_with("media") {
            assert_eq!(place(store.media(id(1), "cover_1.png").await.unwrap_err()), damaged);
        }
        if damaged != "jobs.state 1" {
            assert_eq!(store.status(id(1)).await.unwrap(), Some(JobStatus::Failed));
        }
    }
}

#[tokio::test]
async fn damage_elsewhere_names_the_table_column_and_row() {
    let database = Database::new().await;
    let store = &database.store;
    store.put_workflow(workflow("a", "{}")).await.unwrap();
    set(&database, "workflows", "version = 5000000000").await;
    let reference = WorkflowRef::parse("a").unwrap();
    assert_eq!(place(store.workflow(&reference).await.unwrap_err()), "workflows.version a/5000000000");
    assert_eq!(place(store.workflows().await.unwrap_err()), "workflows.version a/5000000000");
    assert_eq!(place(store.versions(&reference.name).await.unwrap_err()), "workflows.version a/5000000000");
    let refused = store.put_workflow(workflow("a", "[]")).await.unwrap_err();
    assert_eq!(place(refused), "workflows.version a/5000000000");

    let upload = uploaded_file(1, None);
    store.insert_file(upload.clone()).await.unwrap();
    set(&database, "files", "bytes = -1").await;
    assert_eq!(place(store.file(upload.id).await.unwrap_err()), format!("files.bytes {}", upload.id));

    let files = vec![remote_input("https://x/photo.png")];
    store.insert(NewJob { files, ..job(1) }).await.unwrap();
    set(&database, "job_inputs", "files = '['").await;
    assert_eq!(place(store.awaiting(9).await.unwrap_err()), "job_inputs.files 1");
    assert_eq!(place(store.needed_inputs().await.unwrap_err()), "job_inputs.files 1");
}

#[tokio::test]
async fn damage_to_a_backend_names_its_row_and_shows_no_secret() {
    let database = Database::new().await;
    let store = &database.store;
    store.add_backend(backend("a")).await.unwrap();
    store.set_backend_mode(&backend("b").name, BackendMode::Draining).await.unwrap();
    set(&database, "backend_modes", "mode = 'asleep'").await;
    assert_eq!(place(store.backend_modes().await.unwrap_err()), "backend_modes.mode b");
    for (assignment, damaged) in [
        ("headers = '[\"s3cret\"]'", "backends.headers a"),
        ("slots = -5, headers = '[]'", "backends.slots a"),
    ] {
        set(&database, "backends", assignment).await;
        let error = store.added_backends().await.unwrap_err();
        assert!(!error.to_string().contains("s3cret"), "{error}");
        assert_eq!(place(error), damaged);
    }
}

/// After some errors, such as a full disk, SQLite itself rolls the transaction back.
#[tokio::test]
async fn the_store_survives_a_transaction_that_sqlite_rolled_back() {
    let database = Database::new().await;
    let store = &database.store;
    accept_jobs(store, [1]).await;
    let trigger =
        "CREATE TRIGGER full BEFORE INSERT ON jobs BEGIN SELECT RAISE(ROLLBACK, 'the disk is full'); END";
    database.execute_sql(trigger).await.unwrap();
    let (two, cancel, three) =
        tokio::join!(store.insert(job(2)), store.request_cancel(id(1), at(5), None), store.insert(job(3)),);
    for refused in [two, three] {
        let Err(StoreError::Unavailable(reason)) = refused else { panic!("{refused:?}") };
        assert!(reason.contains("the disk is full"), "{reason}");
    }
    cancel.unwrap();
    assert_eq!(store.status(id(1)).await.unwrap(), Some(JobStatus::Cancelled));
    database.execute_sql("DROP TRIGGER full").await.unwrap();
    accept_jobs(store, [2, 3]).await;
    assert_eq!(store.queued().await.unwrap(), 2);
    database.close().await;
}

#[tokio::test]
async fn on_a_full_disk_writes_fail_and_reads_work() {
    let Some(disk) = SmallDisk::new(1) else { return };
    let database = Database::open_at(&disk.path().join("gateway.db"), 1).await.unwrap();
    let store = &database.store;
    accept_jobs(store, [1]).await;
    disk.fill();
    let large = |n| NewJob { graph: format!("{{\"x\":\"{}\"}}", "y".repeat(100_000)).into(), ..job(n) };
    for n in 2..6 {
        let refused = store.insert(large(n)).await.unwrap_err();
        assert_eq!(refused, StoreError::DiskFull);
        assert_eq!(store.status(id(1)).await.unwrap(), Some(JobStatus::Queued));
    }
    disk.clear();
    for n in 2..6 {
        store.insert(large(n)).await.unwrap();
    }
    assert_eq!(store.queued().await.unwrap(), 5);
    database.close().await;
}
