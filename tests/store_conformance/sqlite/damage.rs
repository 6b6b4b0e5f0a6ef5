//! Damaged rows, failing transactions and full disks.

use comfy_gateway::domain::failure::FailureCode;
use comfy_gateway::domain::job::{Lease, NewJob, Status};
use comfy_gateway::store::{AdoptScope, JobStore, StoreError};

use super::Database;
use super::disk::SmallDisk;
use crate::support::*;

async fn damage_graph(database: &Database, n: u8) {
    let sql = format!(
        "UPDATE job_inputs SET graph = '{{\"1\": broken' WHERE seq = (SELECT seq FROM jobs WHERE prompt_id = '{}')",
        id(n)
    );
    database.sql(&sql).await.unwrap();
}

#[tokio::test]
async fn a_damaged_graph_fails_its_job_and_holds_up_no_other() {
    let database = Database::new().await;
    let store = &database.store;
    accept(store, 1..=4).await;
    damage_graph(&database, 1).await;
    damage_graph(&database, 3).await;
    let claimed = hand_out(store, (1..=4).map(|n| slot(n, n)).collect(), at(1_000)).await;
    let pairs: Vec<_> = claimed.iter().map(|job| (job.prompt_id, job.attempt.lease.owner)).collect();
    assert_eq!(pairs, [(id(2), owner(2)), (id(4), owner(4))]);
    for n in [1, 3] {
        let record = found(store, n).await;
        let failure = record.failure().unwrap();
        assert_eq!(failure.code, FailureCode::Internal);
        assert_eq!(record.msg.as_deref(), Some(failure.message.as_str()));
    }
}

#[tokio::test]
async fn damage_to_what_a_job_needs_holds_up_no_other_job() {
    let database = Database::new().await;
    let store = &database.store;
    accept(store, 1..=3).await;
    database.sql("UPDATE jobs SET needs = '{', not_on = '[' WHERE seq = 1").await.unwrap();
    database.sql("UPDATE jobs SET prompt_id = 'x' WHERE seq = 2").await.unwrap();
    let told = store.queued_jobs(None, 10).await.unwrap();
    assert_eq!(told.iter().map(|job| job.prompt_id).collect::<Vec<_>>(), [id(1), id(3)]);
    assert!(claim_job(store, 1, 1, at(1_000)).await.is_none());
    assert_eq!(found(store, 1).await.failure().unwrap().code, FailureCode::Internal);
    assert!(claim_job(store, 3, 1, at(1_000)).await.is_some());
}

#[tokio::test]
async fn a_damaged_graph_found_at_adoption_fails_its_job() {
    let database = Database::new().await;
    let store = &database.store;
    running(store, 1).await;
    running(store, 2).await;
    damage_graph(&database, 1).await;
    let lease = Lease { owner: owner(2), until: at(9_000) };
    let adopted = store.adopt(AdoptScope::All, lease, at(1_000)).await.unwrap();
    assert_eq!(adopted.iter().map(|job| job.prompt_id).collect::<Vec<_>>(), [id(2)]);
    assert_eq!(found(store, 1).await.failure().unwrap().code, FailureCode::Internal);
    // It is forgotten in its time, with nothing of it left open.
    let open = database.sql("DELETE FROM attempts WHERE seq = 1 AND ended_at IS NULL").await.unwrap();
    assert_eq!(open, 0);
    let week = 7 * 24 * 3_600 * 1_000;
    assert_eq!(store.purge(at(1_000 + week), at(0), 10).await.unwrap(), [id(1)]);
}

#[tokio::test]
async fn damage_names_its_table_column_and_row() {
    let database = Database::new().await;
    let store = &database.store;
    store.insert(NewJob { metadata: Some(json("{}")), ..job(1) }).await.unwrap();
    database.sql("UPDATE job_inputs SET metadata = '{'").await.unwrap();
    let error = store.get(id(1)).await.unwrap_err();
    let StoreError::Inconsistent { column: "metadata", row, .. } = &error else { panic!("{error}") };
    assert_eq!(row, "1");
    assert_eq!(store.status(id(1)).await.unwrap(), Some(Status::Queued));
}

/// SQLite ends the whole transaction by itself on some failures, a full disk among them.
#[tokio::test]
async fn a_transaction_that_the_database_ended_itself_does_not_end_the_store() {
    let database = Database::new().await;
    let store = &database.store;
    accept(store, [1]).await;
    let trigger =
        "CREATE TRIGGER full BEFORE INSERT ON jobs BEGIN SELECT RAISE(ROLLBACK, 'the disk is full'); END";
    database.sql(trigger).await.unwrap();
    let (two, cancel, three) =
        tokio::join!(store.insert(job(2)), store.request_cancel(id(1), at(5), None), store.insert(job(3)),);
    for refused in [two, three] {
        let Err(StoreError::Unavailable(reason)) = refused else { panic!("{refused:?}") };
        assert!(reason.contains("the disk is full"), "{reason}");
    }
    cancel.unwrap();
    assert_eq!(store.status(id(1)).await.unwrap(), Some(Status::Cancelled));
    database.sql("DROP TRIGGER full").await.unwrap();
    accept(store, [2, 3]).await;
    assert_eq!(store.queued().await.unwrap(), 2);
    database.close().await;
}

#[tokio::test]
async fn on_a_full_disk_writes_fail_and_reads_go_on_until_there_is_room() {
    let Some(disk) = SmallDisk::new(1) else { return };
    let database = Database::at(&disk.path().join("gateway.db"), 1).await.unwrap();
    let store = &database.store;
    accept(store, [1]).await;
    disk.fill();
    let large = |n| NewJob { graph: format!("{{\"x\":\"{}\"}}", "y".repeat(100_000)).into(), ..job(n) };
    for n in 2..6 {
        let refused = store.insert(large(n)).await.unwrap_err();
        assert_eq!(refused, StoreError::DiskFull);
        assert_eq!(store.status(id(1)).await.unwrap(), Some(Status::Queued));
    }
    disk.clear();
    for n in 2..6 {
        store.insert(large(n)).await.unwrap();
    }
    assert_eq!(store.queued().await.unwrap(), 5);
    database.close().await;
}
