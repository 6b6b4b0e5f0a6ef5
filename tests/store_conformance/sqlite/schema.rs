//! The database file: its schema version, its constraints, and restarts.

use comfy_gateway::domain::job::JobEnding;
use comfy_gateway::store::{JobStore, StoreError};

use super::{Database, gateway_id};
use crate::support::*;

#[tokio::test]
async fn a_database_of_a_newer_version_is_refused_and_left_unchanged() {
    let database = Database::new().await;
    accept_jobs(&database.store, [1]).await;
    let newer = "INSERT INTO _sqlx_migrations VALUES (99999, 'later', datetime(), 1, x'00', 1)";
    database.execute_sql(newer).await.unwrap();
    database.close().await;
    let before = std::fs::read(&database.path).unwrap();
    let refused = Database::open_at(&database.path, 2).await.err().unwrap();
    assert!(
        matches!(refused, StoreError::NewerSchema { found: 99_999, known } if known < 99_999),
        "{refused}"
    );
    assert!(refused.to_string().contains("newer version of comfy-gateway"), "{refused}");
    assert!(std::fs::read(&database.path).unwrap() == before);
}

#[tokio::test]
async fn a_file_that_is_no_database_is_refused_and_left_unchanged() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("gateway.db");
    let text = "somebody's letters, ".repeat(500);
    std::fs::write(&path, &text).unwrap();
    let refused = Database::open_at(&path, 1).await.err().unwrap();
    assert!(matches!(&refused, StoreError::Open { path, .. } if path.ends_with("gateway.db")), "{refused}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
    let nowhere = Database::open_at(&dir.path().join("no/gateway.db"), 1).await.err().unwrap();
    assert!(matches!(nowhere, StoreError::Open { .. }), "{nowhere}");
}

#[tokio::test]
async fn everything_survives_a_restart() {
    let database = Database::new().await;
    let fence = start_job(&database.store, 1).await;
    let mut finish = finish_with(completed());
    finish.media = vec![picture(1)];
    finish.texts = vec![named_text("a", "b")];
    database.store.finish(fence, finish).await.unwrap();
    start_job(&database.store, 2).await;
    accept_jobs(&database.store, [3]).await;
    let stats = database.store.stats().await.unwrap();
    let running_before = stored_job(&database.store, 2).await.state;
    assert_eq!(database.store.gateway_id(), gateway_id(1));

    let database = database.reopen().await;
    assert_eq!(database.store.gateway_id(), gateway_id(1));
    assert_eq!(database.store.stats().await.unwrap(), stats);
    let record = stored_job(&database.store, 1).await;
    assert_eq!((record.media, record.texts), (vec![picture(1)], vec![named_text("a", "b")]));
    assert_eq!(stored_job(&database.store, 2).await.state, running_before);
    accept_jobs(&database.store, [4]).await;
    let before = database.store.queued_jobs(None, 9).await.unwrap();
    assert_eq!(before.iter().map(|job| job.prompt_id).collect::<Vec<_>>(), [id(3), id(4)]);
    // A place read before the restart is still valid.
    let later = database.store.queued_jobs(Some(before[0].place), 9).await.unwrap();
    assert_eq!(later.len(), 1);
}

#[tokio::test]
async fn a_closed_store_reports_that_it_is_closed() {
    let database = Database::new().await;
    database.close().await;
    let refused = database.store.insert(job(1)).await.unwrap_err();
    assert!(matches!(refused, StoreError::Unavailable(_)), "{refused}");
    assert!(database.store.ping().await.is_err());
    database.close().await;
}

/// A database with a queued (1), a running (2), a completed (3) and a failed (4) job.
async fn one_of_each() -> Database {
    let database = Database::new().await;
    let store = &database.store;
    for (n, ending) in [(3, completed()), (4, JobEnding::Failed(failure()))] {
        let fence = start_job(store, n).await;
        store.finish(fence, finish_with(ending)).await.unwrap();
    }
    start_job(store, 2).await;
    accept_jobs(store, [1]).await;
    database
}

#[tokio::test]
async fn the_schema_rejects_states_that_no_transition_reaches() {
    let database = one_of_each().await;
    for sql in [
        "UPDATE jobs SET state = 'paused' WHERE state = 'queued'",
        "UPDATE jobs SET state = 'running' WHERE state = 'queued'",
        "UPDATE jobs SET state = 'completed' WHERE state = 'queued'",
        "UPDATE jobs SET cancel_requested = 1 WHERE state = 'queued'",
        "UPDATE jobs SET finished_at = 1 WHERE state = 'queued'",
        "UPDATE jobs SET expires_at = 1 WHERE state = 'queued'",
        "UPDATE jobs SET lease_owner = 'x', lease_until = 1 WHERE state = 'queued'",
        "UPDATE jobs SET lease_owner = NULL, lease_until = NULL WHERE state = 'running'",
        "UPDATE jobs SET lease_until = NULL WHERE state = 'running'",
        "UPDATE jobs SET backend = NULL WHERE state = 'running'",
        "UPDATE jobs SET attempt_id = NULL WHERE state = 'running'",
        "UPDATE jobs SET started_at = NULL WHERE state = 'running'",
        "UPDATE jobs SET attempt = 0 WHERE state = 'running'",
        "UPDATE jobs SET cancel_requested = 2 WHERE state = 'running'",
        "UPDATE jobs SET state = 'queued' WHERE state = 'running'",
        "UPDATE jobs SET state = 'running' WHERE state = 'completed'",
        "UPDATE jobs SET state = 'queued' WHERE state = 'completed'",
        "UPDATE jobs SET state = 'failed' WHERE state = 'completed'",
        "UPDATE jobs SET failure = '{}' WHERE state = 'completed'",
        "UPDATE jobs SET finished_at = NULL WHERE state = 'completed'",
        "UPDATE jobs SET failure = NULL WHERE state = 'failed'",
        "UPDATE jobs SET attempt = -1",
        "UPDATE jobs SET failures = attempt + 1",
        "UPDATE jobs SET run_timeout_ms = 0",
        "UPDATE jobs SET priority = 'high'",
        "UPDATE jobs SET prompt_id = 'same'",
        "INSERT INTO job_inputs (seq, graph) VALUES (999, '{}')",
        "INSERT INTO attempts VALUES (1, 0, 'x', 'gpu', 1, NULL, NULL, NULL)",
        "INSERT INTO attempts VALUES (1, 9, 'x', 'gpu', 1, 2, NULL, NULL)",
        "INSERT INTO media VALUES (1, 0, 'v', '1', 'gif', 'a', 'a', 'image/gif', 1, printf('%064d', 0), 0)",
        "INSERT INTO media VALUES (1, 0, 'v', '1', 'image', 'a', 'a', 'image/gif', 1, 'short', 0)",
        "INSERT INTO media VALUES (1, 0, 'v', '1', 'image', 'a', 'a', 'image/gif', -1, printf('%064d', 0), 0)",
        "INSERT INTO gateway VALUES (2, 'another')",
    ] {
        let refused = database.execute_sql(sql).await.expect_err(sql);
        let sqlx::Error::Database(error) = refused else { panic!("{sql}: {refused}") };
        assert!(
            error.message().contains("constraint") || error.message().contains("cannot store"),
            "{sql}: {error}"
        );
    }
}
