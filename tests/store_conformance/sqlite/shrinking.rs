//! The database file shrinks after jobs are purged, whichever version created it.

use comfy_gateway::domain::job::NewJob;
use comfy_gateway::store::JobStore;

use super::Database;
use crate::support::*;

impl Database {
    fn bytes(&self) -> u64 {
        std::fs::metadata(&self.path).unwrap().len()
    }

    /// Shrinks the file completely and returns the number of parts.
    async fn shrink(&self) -> u32 {
        let mut parts = 1;
        while self.store.shrink().await.unwrap() {
            parts += 1;
        }
        parts
    }

    /// Stores twenty ended jobs of 500 kB each.
    async fn fill(&self) {
        let graph: std::sync::Arc<str> = format!("{{\"x\":\"{}\"}}", "y".repeat(500_000)).into();
        for n in 1..=20 {
            self.store.insert(NewJob { graph: graph.clone(), ..job(n) }).await.unwrap();
            self.store.request_cancel(id(n), at(2_000), Some(at(3_000))).await.unwrap();
        }
    }
}

#[tokio::test]
async fn the_file_shrinks_in_parts_when_jobs_are_purged() {
    let database = Database::new().await;
    database.fill().await;
    assert_eq!(database.shrink().await, 1, "there are no free pages");
    assert_eq!(database.store.purge(at(3_000), at(0), 100).await.unwrap().len(), 20);
    let before = database.bytes();
    assert!(before > 5_000_000, "{before}");
    assert!(database.shrink().await > 3, "in parts, so that other writes get their turn");
    let after = database.bytes();
    assert!(after < 2_500_000, "{after}");
    accept_jobs(&database.store, [30]).await;
    database.close().await;
}

#[tokio::test]
async fn a_database_of_an_earlier_version_can_shrink_once_opened() {
    let database = Database::new().await;
    database.fill().await;
    database.close().await;
    let earlier = "PRAGMA journal_mode = DELETE; PRAGMA auto_vacuum = NONE; VACUUM;";
    database.execute_sql(earlier).await.unwrap();
    let database = database.reopen().await;
    database.store.purge(at(3_000), at(0), 100).await.unwrap();
    database.shrink().await;
    let after = database.bytes();
    assert!(after < 2_500_000, "{after}");
    database.close().await;
}
