//! What the store on SQLite must do besides: its file, its batches, its damage.

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

/// A store on a file of its own.
pub async fn fixture() -> Fixture {
    let dir = tempfile::tempdir().unwrap();
    let tasks = TaskOwner::default();
    let path = dir.path().join("gateway.db");
    let store = SqliteStore::open(&path, gateway_id(1), &tasks, Arc::new(|_| {}), 0).await.unwrap();
    Fixture { store: Box::new(store), _kept: Box::new(dir) }
}

fn gateway_id(n: u8) -> GatewayId {
    GatewayId::from_random([n; 16])
}

/// A file, its store, and the sizes of the batches written to it.
struct Database {
    path: PathBuf,
    store: SqliteStore,
    tasks: TaskOwner,
    batches: Arc<Mutex<Vec<usize>>>,
    /// Lives as long as the file is needed.
    dir: Option<TempDir>,
}

impl Database {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("gateway.db");
        Self { dir: Some(dir), ..Self::at(&path, 1).await.unwrap() }
    }

    async fn at(path: &Path, fresh_id: u8) -> Result<Self, StoreError> {
        Self::leaving(path, fresh_id, 0).await
    }

    /// The same with a reserve on its disk.
    async fn leaving(path: &Path, fresh_id: u8, reserve: u64) -> Result<Self, StoreError> {
        let batches = Arc::new(Mutex::new(Vec::new()));
        let sizes = Arc::clone(&batches);
        let tasks = TaskOwner::default();
        let observer = Arc::new(move |size| sizes.lock().unwrap().push(size));
        let store = SqliteStore::open(path, gateway_id(fresh_id), &tasks, observer, reserve).await?;
        Ok(Self { path: path.to_owned(), store, tasks, batches, dir: None })
    }

    /// Closes the file and opens it as another process would.
    async fn reopened(self) -> Self {
        self.close().await;
        Self { dir: self.dir, ..Self::at(&self.path, 2).await.unwrap() }
    }

    async fn close(&self) {
        self.store.close().await;
        self.tasks.stop();
        self.tasks.stopped().await.unwrap();
    }

    /// Runs `sql` past the store; the rows it changed.
    async fn sql(&self, sql: &str) -> Result<u64, sqlx::Error> {
        let mut connection = SqliteConnectOptions::new().filename(&self.path).connect().await?;
        let done = sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&mut connection).await;
        // Only closing waits until nothing more is written.
        connection.close().await?;
        done.map(|done| done.rows_affected())
    }
}
