//! The file: its versions, its rules, and what outlives a restart.

use comfy_gateway::domain::job::JobEnding;
use comfy_gateway::store::{JobStore, StoreError};

use super::{Database, gateway_id};
use crate::support::*;

#[tokio::test]
async fn a_database_of_a_newer_version_is_refused_and_left_as_it_is() {
    let database = Database::new().await;
    accept(&database.store, [1]).await;
    let newer = "INSERT INTO _sqlx_migrations VALUES (99999, 'later', datetime(), 1, x'00', 1)";
    database.sql(newer).await.unwrap();
    database.close().await;
    let before = std::fs::read(&database.path).unwrap();
    let refused = Database::at(&database.path, 2).await.err().unwrap();
    assert!(
        matches!(refused, StoreError::NewerSchema { found: 99_999, known } if known < 99_999),
        "{refused}"
    );
    assert!(refused.to_string().contains("newer version of comfy-gateway"), "{refused}");
    assert!(std::fs::read(&database.path).unwrap() == before);
}

#[tokio::test]
async fn what_is_no_database_is_refused_and_left_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("gateway.db");
    let text = "somebody's letters, ".repeat(500);
    std::fs::write(&path, &text).unwrap();
    let refused = Database::at(&path, 1).await.err().unwrap();
    assert!(matches!(&refused, StoreError::Open { path, .. } if path.ends_with("gateway.db")), "{refused}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
    let nowhere = Database::at(&dir.path().join("no/gateway.db"), 1).await.err().unwrap();
    assert!(matches!(nowhere, StoreError::Open { .. }), "{nowhere}");
}

#[tokio::test]
async fn everything_outlives_a_restart() {
    let database = Database::new().await;
    let fence = running(&database.store, 1).await;
    let mut finish = ended(completed());
    finish.media = vec![picture(1)];
    finish.texts = vec![text("a", "b")];
    database.store.finish(fence, finish).await.unwrap();
    running(&database.store, 2).await;
    accept(&database.store, [3]).await;
    let stats = database.store.stats().await.unwrap();
    let running_before = found(&database.store, 2).await.state;
    assert_eq!(database.store.gateway_id(), gateway_id(1));

    let database = database.reopened().await;
    assert_eq!(database.store.gateway_id(), gateway_id(1));
    assert_eq!(database.store.stats().await.unwrap(), stats);
    let record = found(&database.store, 1).await;
    assert_eq!((record.media, record.texts), (vec![picture(1)], vec![text("a", "b")]));
    assert_eq!(found(&database.store, 2).await.state, running_before);
    accept(&database.store, [4]).await;
    let told = database.store.queued_jobs(None, 9).await.unwrap();
    assert_eq!(told.iter().map(|job| job.prompt_id).collect::<Vec<_>>(), [id(3), id(4)]);
    // Whoever read on before the restart goes on after it.
    let news = database.store.queued_jobs(Some(told[0].place), 9).await.unwrap();
    assert_eq!(news.len(), 1);
}

#[tokio::test]
async fn a_closed_store_says_so() {
    let database = Database::new().await;
    database.close().await;
    let refused = database.store.insert(job(1)).await.unwrap_err();
    assert!(matches!(refused, StoreError::Unavailable(_)), "{refused}");
    assert!(database.store.ping().await.is_err());
    database.close().await;
}

/// A queued (1), a running (2), a completed (3) and a failed (4) job.
async fn one_of_each() -> Database {
    let database = Database::new().await;
    let store = &database.store;
    for (n, ending) in [(3, completed()), (4, JobEnding::Failed(failure()))] {
        let fence = running(store, n).await;
        store.finish(fence, ended(ending)).await.unwrap();
    }
    running(store, 2).await;
    accept(store, [1]).await;
    database
}

#[tokio::test]
async fn the_schema_refuses_rows_that_no_transition_leads_to() {
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
        let refused = database.sql(sql).await.expect_err(sql);
        let sqlx::Error::Database(error) = refused else { panic!("{sql}: {refused}") };
        assert!(
            error.message().contains("constraint") || error.message().contains("cannot store"),
            "{sql}: {error}"
        );
    }
}
