//! Tests of the SQLite implementation alone: its file, its batches, damaged rows.

mod batches;
mod damage;
#[path = "../support/disk.rs"]
mod disk;
mod schema;
mod shrinking;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use comfy_gateway::domain::id::GatewayId;
use comfy_gateway::lifecycle::TaskOwner;
use comfy_gateway::store::StoreError;
use comfy_gateway::store::sqlite::SqliteStore;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection};
use tempfile::TempDir;

use crate::support::Fixture;

/// An empty store on a new file.
pub async fn fixture() -> Fixture {
    let dir = tempfile::tempdir().unwrap();
    let tasks = TaskOwner::default();
    let path = dir.path().join("gateway.db");
    let store = SqliteStore::open(&path, gateway_id(1), &tasks, Arc::new(|_| {}), 0).await.unwrap();
    Fixture { store: Box::new(store), _keep_alive: Box::new(dir) }
}

fn gateway_id(n: u8) -> GatewayId {
    GatewayId::from_random([n; 16])
}

/// A store with its file and the sizes of the batches committed to it.
struct Database {
    path: PathBuf,
    store: SqliteStore,
    tasks: TaskOwner,
    batches: Arc<Mutex<Vec<usize>>>,
    /// Deletes the file when dropped.
    dir: Option<TempDir>,
}

impl Database {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("gateway.db");
        Self { dir: Some(dir), ..Self::open_at(&path, 1).await.unwrap() }
    }

    async fn open_at(path: &Path, fresh_id: u8) -> Result<Self, StoreError> {
        Self::open_with_reserve(path, fresh_id, 0).await
    }

    /// Opens a store that refuses to grow while less than `reserve` bytes of the disk are free.
    async fn open_with_reserve(path: &Path, fresh_id: u8, reserve: u64) -> Result<Self, StoreError> {
        let batches = Arc::new(Mutex::new(Vec::new()));
        let sizes = Arc::clone(&batches);
        let tasks = TaskOwner::default();
        let observer = Arc::new(move |size| sizes.lock().unwrap().push(size));
        let store = SqliteStore::open(path, gateway_id(fresh_id), &tasks, observer, reserve).await?;
        Ok(Self { path: path.to_owned(), store, tasks, batches, dir: None })
    }

    /// Closes the store and opens the file again, as after a restart.
    async fn reopen(self) -> Self {
        self.close().await;
        Self { dir: self.dir, ..Self::open_at(&self.path, 2).await.unwrap() }
    }

    async fn close(&self) {
        self.store.close().await;
        self.tasks.stop();
        self.tasks.stopped().await.unwrap();
    }

    /// Executes `sql` on a connection of its own and returns the number of changed rows.
    async fn execute_sql(&self, sql: &str) -> Result<u64, sqlx::Error> {
        let mut connection = SqliteConnectOptions::new().filename(&self.path).connect().await?;
        let done = sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&mut connection).await;
        // Closing waits until everything is written.
        connection.close().await?;
        done.map(|done| done.rows_affected())
    }
}
