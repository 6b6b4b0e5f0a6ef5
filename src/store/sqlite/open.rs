//! Opens the database file: permissions, schema version, migrations, and the gateway's id.

use std::fmt::Display;
use std::path::Path;
use std::time::Duration;

use sqlx::migrate::{MigrateError, Migrator};
use sqlx::sqlite::{
    SqliteAutoVacuum, SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{ConnectOptions, Connection, SqliteConnection, SqlitePool};

use super::shrink;
use crate::domain::id::GatewayId;
use crate::store::error::StoreError;

static MIGRATIONS: Migrator = sqlx::migrate!("migrations/sqlite");

/// The size in bytes to which SQLite truncates its write-ahead log after a checkpoint.
const LOG_SIZE_LIMIT: &str = "16777216";

/// The number of read-only connections.
const READERS: u32 = 4;

/// An open database with the counters of its writer.
pub(super) struct OpenDatabase {
    pub writer: SqliteConnection,
    pub readers: SqlitePool,
    pub gateway_id: GatewayId,
    /// The `seq` of the next accepted job.
    pub next_seq: i64,
    /// The highest revision of any queued job.
    pub rev: i64,
}

/// Opens the database at `path`; creates it or migrates its schema if necessary.
pub(super) async fn open(path: &Path, fresh_id: GatewayId) -> Result<OpenDatabase, StoreError> {
    let cannot_open = |error: &dyn Display| StoreError::Open {
        path: path.display().to_string(),
        reason: error.to_string(),
    };
    let options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .busy_timeout(Duration::from_secs(5))
        .foreign_keys(true)
        .disable_statement_logging();
    refuse_newer_schema(&options, &cannot_open).await?;
    make_private(path).map_err(|error| cannot_open(&error))?;
    let writing = options
        .clone()
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .auto_vacuum(SqliteAutoVacuum::Incremental)
        .pragma("journal_size_limit", LOG_SIZE_LIMIT);
    let mut writer = writing.connect().await.map_err(|error| cannot_open(&error))?;
    MIGRATIONS.run(&mut writer).await.map_err(|error| cannot_open(&error))?;
    let gateway_id = gateway_id(&mut writer, fresh_id).await.map_err(|error| cannot_open(&error))?;
    let (next_seq, rev) = counters(&mut writer).await.map_err(|error| cannot_open(&error))?;
    if let Err(error) = shrink::enable_shrinking(&mut writer, path).await {
        tracing::warn!(%error, "the database file could not be made to shrink");
    }
    let readers = SqlitePoolOptions::new()
        .max_connections(READERS)
        .idle_timeout(None)
        .max_lifetime(None)
        .connect_with(options.read_only(true).create_if_missing(false))
        .await
        .map_err(|error| cannot_open(&error))?;
    Ok(OpenDatabase { writer, readers, gateway_id, next_seq, rev })
}

/// Restricts the file to its owner, because it may hold credentials of backends. SQLite gives its companion
/// files the same permissions.
#[cfg(unix)]
fn make_private(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
    const OWNER_ONLY: u32 = 0o600;
    let file =
        std::fs::OpenOptions::new().write(true).create(true).truncate(false).mode(OWNER_ONLY).open(path)?;
    file.set_permissions(std::fs::Permissions::from_mode(OWNER_ONLY))
}

#[cfg(not(unix))]
fn make_private(_path: &Path) -> std::io::Result<()> {
    Ok(())
}

/// Checks the schema version over a read-only connection, before anything can change the file.
async fn refuse_newer_schema(
    options: &SqliteConnectOptions,
    cannot_open: &(dyn Fn(&dyn Display) -> StoreError + Sync),
) -> Result<(), StoreError> {
    if !options.get_filename().exists() {
        return Ok(());
    }
    let read_only = options.clone().read_only(true).create_if_missing(false);
    let mut connection = read_only.connect().await.map_err(|error| cannot_open(&error))?;
    let newest: Result<Option<i64>, _> =
        sqlx::query_scalar("SELECT max(version) FROM _sqlx_migrations").fetch_one(&mut connection).await;
    connection.close().await.map_err(|error| cannot_open(&error))?;
    let known = MIGRATIONS.iter().map(|migration| migration.version).max().unwrap_or(0);
    match newest {
        Ok(Some(found)) if found > known => Err(StoreError::NewerSchema { found, known }),
        // A file without this table is empty or foreign; the migrations find out.
        Err(sqlx::Error::Database(error)) if !error.message().contains("no such table") => {
            Err(cannot_open(&error))
        }
        _ => Ok(()),
    }
}

/// The stored id of the gateway; stores `fresh_id` if the database is new.
async fn gateway_id(
    connection: &mut SqliteConnection,
    fresh_id: GatewayId,
) -> Result<GatewayId, MigrateError> {
    let id: String = sqlx::query_scalar(
        "INSERT INTO gateway (only_row, gateway_id) VALUES (1, ?1)
         ON CONFLICT DO UPDATE SET only_row = 1 RETURNING gateway_id",
    )
    .bind(fresh_id.to_string())
    .fetch_one(connection)
    .await?;
    GatewayId::parse(&id).map_err(|error| MigrateError::Source(Box::new(error)))
}

/// The next `seq` and the highest revision.
async fn counters(connection: &mut SqliteConnection) -> Result<(i64, i64), sqlx::Error> {
    let last: Option<i64> =
        sqlx::query_scalar("SELECT max(seq) FROM jobs").fetch_one(&mut *connection).await?;
    let rev: Option<i64> =
        sqlx::query_scalar("SELECT max(rev) FROM jobs WHERE state = 'queued'").fetch_one(connection).await?;
    Ok((last.unwrap_or(0) + 1, rev.unwrap_or(0)))
}
