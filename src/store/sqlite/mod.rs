//! The store on one SQLite file: WAL, `synchronous=FULL`, one writer task and a pool of readers.
//! It must be the only process on its file: whoever opens it holds the data directory's lock.

mod attempts;
mod backends;
mod cleanup;
mod files;
mod inputs;
mod insert;
mod op;
mod query;
mod queue;
mod room;
mod rows;
mod shapes;
mod shrink;
mod workflows;
mod writer;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use sqlx::migrate::{MigrateError, Migrator};
use sqlx::sqlite::{
    SqliteAutoVacuum, SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{ConnectOptions, Connection, SqliteConnection, SqlitePool};
use tokio::sync::{mpsc, oneshot};

use self::op::{Envelope, Op, Reply, unavailable};
use self::room::DiskRoom;
use self::writer::{WriterMessage, WriterTask};
use super::{
    AdoptScope, CancelOutcome, ClaimedJob, DeleteOutcome, JobClaim, JobLookup, JobStore, PageCursor,
    QueuePlace, QueueStats, RecordPage, Requeue, ShapeRecord, StoreError, WaitingJob,
};
use crate::domain::failure::Failure;
use crate::domain::id::{GatewayId, LeaseOwner, PromptId};
use crate::domain::job::{Fence, Finish, Lease, NewJob, Status};
use crate::domain::media::MediaFile;
use crate::domain::registered::WorkflowRef;
use crate::domain::time::UnixMillis;
use crate::lifecycle::Tasks;

pub use writer::BatchObserver;

static MIGRATIONS: Migrator = sqlx::migrate!("migrations/sqlite");

/// Writes that may wait for the writer task; more callers wait for a place.
const WAITING_WRITES: usize = 1_024;

/// Bytes that SQLite's log of writes keeps when it is empty again.
const LARGEST_LOG: &str = "16777216";

/// Jobs looked at in one transaction when the retention became shorter.
const RETENTION_PART: i64 = 10_000;

/// Connections that read.
const READERS: u32 = 4;

/// The [`JobStore`] on SQLite.
#[derive(Debug)]
pub struct SqliteStore {
    readers: SqlitePool,
    room: Arc<DiskRoom>,
    writer: mpsc::Sender<WriterMessage>,
    gateway_id: GatewayId,
}

impl SqliteStore {
    /// Opens the database at `path`, makes it or brings its schema up to date, and starts the writer on `tasks`.
    /// `fresh_id` becomes the gateway's id if the database is new; `observer` is told each batch's size. New jobs and
    /// files are refused while less than `reserve` bytes of its disk are free.
    ///
    /// # Errors
    /// [`StoreError::NewerSchema`] when a newer version made it, with nothing changed; [`StoreError::Open`] when
    /// it cannot be opened.
    pub async fn open(
        path: &Path,
        fresh_id: GatewayId,
        tasks: &Tasks,
        observer: BatchObserver,
        reserve: u64,
    ) -> Result<Self, StoreError> {
        let cannot = |error: &dyn std::fmt::Display| StoreError::Open {
            path: path.display().to_string(),
            reason: error.to_string(),
        };
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .busy_timeout(Duration::from_secs(5))
            .foreign_keys(true)
            .disable_statement_logging();
        let room = Arc::new(DiskRoom::new(path, reserve));
        room.prepare();
        refuse_newer(&options, &cannot).await?;
        make_private(path).map_err(|error| cannot(&error))?;
        let writing = options
            .clone()
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .auto_vacuum(SqliteAutoVacuum::Incremental)
            .pragma("journal_size_limit", LARGEST_LOG);
        let mut connection = writing.connect().await.map_err(|error| cannot(&error))?;
        MIGRATIONS.run(&mut connection).await.map_err(|error| cannot(&error))?;
        let (gateway_id, next_seq, rev) =
            prepare(&mut connection, fresh_id).await.map_err(|error| cannot(&error))?;
        if let Err(error) = shrink::adapt(&mut connection, path).await {
            tracing::warn!(%error, "the database file could not be made to shrink");
        }
        let readers = SqlitePoolOptions::new()
            .max_connections(READERS)
            .idle_timeout(None)
            .max_lifetime(None)
            .connect_with(options.read_only(true).create_if_missing(false))
            .await
            .map_err(|error| cannot(&error))?;
        let (writer, inbox) = mpsc::channel(WAITING_WRITES);
        tasks.spawn(
            "store writer",
            WriterTask { connection, inbox, observer, room: room.clone(), next_seq, rev }.run(),
        );
        Ok(Self { readers, room, writer, gateway_id })
    }

    /// Writes what waits and closes the database. Verbs fail from then on.
    pub async fn close(&self) {
        self.readers.close().await;
        let (closed, waiting) = oneshot::channel();
        if self.writer.send(WriterMessage::Close(closed)).await.is_ok() {
            // An error means that the writer ended before: closed as well.
            let _: Result<(), _> = waiting.await;
        }
    }

    async fn write(&self, op: Op) -> Result<Reply, StoreError> {
        let closed = || StoreError::Unavailable("the database is closed".to_owned());
        let (reply, answer) = oneshot::channel();
        self.writer.send(WriterMessage::Write(Envelope { op, reply })).await.map_err(|_| closed())?;
        answer.await.map_err(|_| closed())?
    }

    async fn write_claims(&self, op: Op) -> Result<Vec<ClaimedJob>, StoreError> {
        match self.write(op).await? {
            Reply::Claimed(jobs) => Ok(jobs),
            other => Err(mismatch(&other)),
        }
    }

    async fn write_ids(&self, op: Op) -> Result<Vec<PromptId>, StoreError> {
        match self.write(op).await? {
            Reply::Ids(ids) => Ok(ids),
            other => Err(mismatch(&other)),
        }
    }
}

/// The writer answers each write with the reply of its kind; this is only reached by a fault of ours.
fn mismatch(reply: &Reply) -> StoreError {
    StoreError::Unavailable(format!("the writer answered with an unexpected {reply:?}"))
}

/// The database may hold credentials of servers: only its owner may read it. Its companion files go by its own rights.
#[cfg(unix)]
fn make_private(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
    const OWNER_ALONE: u32 = 0o600;
    let file =
        std::fs::OpenOptions::new().write(true).create(true).truncate(false).mode(OWNER_ALONE).open(path)?;
    file.set_permissions(std::fs::Permissions::from_mode(OWNER_ALONE))
}

#[cfg(not(unix))]
fn make_private(_path: &Path) -> std::io::Result<()> {
    Ok(())
}

/// Looks at an existing database through a read-only connection before anything is changed.
async fn refuse_newer(
    options: &SqliteConnectOptions,
    cannot: &(dyn Fn(&dyn std::fmt::Display) -> StoreError + Sync),
) -> Result<(), StoreError> {
    if !options.get_filename().exists() {
        return Ok(());
    }
    let looking = options.clone().read_only(true).create_if_missing(false);
    let mut connection = looking.connect().await.map_err(|error| cannot(&error))?;
    let newest: Result<Option<i64>, _> =
        sqlx::query_scalar("SELECT max(version) FROM _sqlx_migrations").fetch_one(&mut connection).await;
    connection.close().await.map_err(|error| cannot(&error))?;
    let known = MIGRATIONS.iter().map(|migration| migration.version).max().unwrap_or(0);
    match newest {
        Ok(Some(found)) if found > known => Err(StoreError::NewerSchema { found, known }),
        // A file without our table is new, or not ours: the migrations tell.
        Err(sqlx::Error::Database(error)) if !error.message().contains("no such table") => {
            Err(cannot(&error))
        }
        _ => Ok(()),
    }
}

async fn prepare(
    connection: &mut SqliteConnection,
    fresh_id: GatewayId,
) -> Result<(GatewayId, i64, i64), MigrateError> {
    let id: String = sqlx::query_scalar(
        "INSERT INTO gateway (only_row, gateway_id) VALUES (1, ?1) ON CONFLICT DO UPDATE SET only_row = 1 RETURNING gateway_id",
    )
    .bind(fresh_id.to_string())
    .fetch_one(&mut *connection)
    .await?;
    let id = GatewayId::parse(&id).map_err(|error| MigrateError::Source(Box::new(error)))?;
    let last: Option<i64> =
        sqlx::query_scalar("SELECT max(seq) FROM jobs").fetch_one(&mut *connection).await?;
    let rev: Option<i64> =
        sqlx::query_scalar("SELECT max(rev) FROM jobs WHERE state = 'queued'").fetch_one(connection).await?;
    Ok((id, last.unwrap_or(0) + 1, rev.unwrap_or(0)))
}

#[async_trait]
impl JobStore for SqliteStore {
    fn gateway_id(&self) -> GatewayId {
        self.gateway_id
    }

    async fn insert(&self, job: NewJob) -> Result<(), StoreError> {
        self.write(Op::Insert(Box::new(job))).await.map(|_| ())
    }

    async fn queued_jobs(
        &self,
        after: Option<QueuePlace>,
        limit: u32,
    ) -> Result<Vec<WaitingJob>, StoreError> {
        query::queued_jobs(&self.readers, after, limit).await
    }

    async fn learn(&self, shapes: Vec<ShapeRecord>, keep: u32) -> Result<(), StoreError> {
        self.write(Op::Learn { shapes, keep }).await.map(|_| ())
    }

    async fn shapes(&self, limit: u32) -> Result<Vec<ShapeRecord>, StoreError> {
        query::shapes(&self.readers, limit).await
    }

    async fn claim(&self, claims: Vec<JobClaim>, now: UnixMillis) -> Result<Vec<ClaimedJob>, StoreError> {
        self.write_claims(Op::Claim { claims, now }).await
    }

    async fn adopt(
        &self,
        which: AdoptScope,
        lease: Lease,
        now: UnixMillis,
    ) -> Result<Vec<ClaimedJob>, StoreError> {
        self.write_claims(Op::Adopt { which, lease, now }).await
    }

    async fn renew(&self, owner: LeaseOwner, until: UnixMillis) -> Result<(), StoreError> {
        self.write(Op::Renew { owner, until }).await.map(|_| ())
    }

    async fn finish(&self, fence: Fence, finish: Finish) -> Result<(), StoreError> {
        self.write(Op::Finish { fence, finish: Box::new(finish) }).await.map(|_| ())
    }

    async fn requeue(&self, fence: Fence, requeue: Requeue) -> Result<(), StoreError> {
        self.write(Op::Requeue { fence, requeue }).await.map(|_| ())
    }

    async fn clear_not_on(&self) -> Result<(), StoreError> {
        self.write(Op::ClearNotOn).await.map(|_| ())
    }

    async fn request_cancel(
        &self,
        id: PromptId,
        at: UnixMillis,
        expires_at: Option<UnixMillis>,
    ) -> Result<CancelOutcome, StoreError> {
        match self.write(Op::RequestCancel { id, at, expires_at }).await? {
            Reply::Cancel(outcome) => Ok(outcome),
            other => Err(mismatch(&other)),
        }
    }

    async fn expire_queued(
        &self,
        now: UnixMillis,
        failure: Failure,
        expires_at: Option<UnixMillis>,
    ) -> Result<Vec<PromptId>, StoreError> {
        self.write_ids(Op::ExpireQueued { now, failure: Box::new(failure), expires_at }).await
    }

    async fn delete(&self, id: PromptId, at: UnixMillis) -> Result<DeleteOutcome, StoreError> {
        match self.write(Op::Delete { id, at }).await? {
            Reply::Delete(outcome) => Ok(outcome),
            other => Err(mismatch(&other)),
        }
    }

    async fn purge(
        &self,
        now: UnixMillis,
        tombstones_before: UnixMillis,
        limit: u32,
    ) -> Result<Vec<PromptId>, StoreError> {
        self.write_ids(Op::Purge { now, tombstones_before, limit }).await
    }

    async fn shorten_retention(&self, retention: Duration) -> Result<(), StoreError> {
        let last = query::last_seq(&self.readers).await?;
        let mut after = 0;
        while after <= last {
            let up_to = after.saturating_add(RETENTION_PART);
            self.write(Op::ShortenRetention { retention, after, up_to }).await?;
            after = up_to;
        }
        Ok(())
    }

    async fn shrink(&self) -> Result<bool, StoreError> {
        let closed = || StoreError::Unavailable("the database is closed".to_owned());
        let (reply, answer) = oneshot::channel();
        self.writer.send(WriterMessage::Shrink(reply)).await.map_err(|_| closed())?;
        answer.await.map_err(|_| closed())?
    }

    async fn get(&self, id: PromptId) -> Result<JobLookup, StoreError> {
        query::get(&self.readers, id).await
    }

    async fn status(&self, id: PromptId) -> Result<Option<Status>, StoreError> {
        query::status(&self.readers, id).await
    }

    async fn list(
        &self,
        status: Option<Status>,
        workflow: Option<&WorkflowRef>,
        cursor: Option<PageCursor>,
        limit: u32,
    ) -> Result<RecordPage, StoreError> {
        query::list(&self.readers, status, workflow, cursor, limit).await
    }

    async fn media(&self, id: PromptId, stored_as: &str) -> Result<Option<MediaFile>, StoreError> {
        query::media(&self.readers, id, stored_as).await
    }

    async fn stats(&self) -> Result<QueueStats, StoreError> {
        query::stats(&self.readers).await
    }

    async fn queued(&self) -> Result<u64, StoreError> {
        query::queued(&self.readers).await
    }

    async fn ping(&self) -> Result<(), StoreError> {
        query::ping(&self.readers).await
    }

    fn has_room(&self) -> bool {
        self.room.allows_growth()
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        unavailable(&error)
    }
}
