//! [`SqliteStore`]: the handle that all callers share. It sends writes to the writer task and reads on its
//! own pool.

use std::path::Path;
use std::sync::Arc;

use sqlx::SqlitePool;
use tokio::sync::{mpsc, oneshot};

use super::disk_room::DiskRoom;
use super::open::{self, OpenDatabase};
use super::write::{StoreWrite, queue_write};
use super::writer::{BatchObserver, WriterMessage, WriterTask};
use crate::domain::id::GatewayId;
use crate::lifecycle::TaskOwner;
use crate::store::error::StoreError;

/// The capacity of the writer's inbox. Callers wait while it is full.
const INBOX_CAPACITY: usize = 1_024;

/// All four stores of the gateway on one SQLite file.
#[derive(Debug)]
pub struct SqliteStore {
    readers: SqlitePool,
    room: Arc<DiskRoom>,
    writer: mpsc::Sender<WriterMessage>,
    gateway_id: GatewayId,
}

impl SqliteStore {
    /// Opens the database at `path` and starts its writer on `tasks`. A missing database is created with `fresh_id` as
    /// the gateway's id; an older schema is migrated. `observer` receives the size of each committed batch. Writes that
    /// add data fail while less than `reserve` bytes of the disk are free.
    ///
    /// # Errors
    /// [`StoreError::NewerSchema`] if a newer version wrote the database, which is then unchanged;
    /// [`StoreError::Open`] for any other reason.
    pub async fn open(
        path: &Path,
        fresh_id: GatewayId,
        tasks: &TaskOwner,
        observer: BatchObserver,
        reserve: u64,
    ) -> Result<Self, StoreError> {
        let room = Arc::new(DiskRoom::new(path, reserve));
        room.make_room_to_open();
        let OpenDatabase { writer: connection, readers, gateway_id, next_seq, rev } =
            open::open(path, fresh_id).await?;
        let (writer, inbox) = mpsc::channel(INBOX_CAPACITY);
        tasks.spawn(
            "store writer",
            WriterTask { connection, inbox, observer, room: room.clone(), next_seq, rev }.run(),
        );
        Ok(Self { readers, room, writer, gateway_id })
    }

    /// Completes the writes queued so far and closes the database. Every later operation fails.
    pub async fn close(&self) {
        self.readers.close().await;
        let (reply, closed) = oneshot::channel();
        if self.writer.send(WriterMessage::Close(reply)).await.is_ok() {
            // An error means that the writer has already stopped.
            let _: Result<(), _> = closed.await;
        }
    }

    /// Waits until the writer has committed or refused `write`.
    pub(super) async fn write<W: StoreWrite>(&self, write: W) -> Result<W::Reply, StoreError> {
        let (write, outcome) = queue_write(write);
        self.writer.send(WriterMessage::Write(write)).await.map_err(|_| closed())?;
        outcome.await.map_err(|_| closed())?
    }

    /// Returns some free pages of the file to the disk; `true` means that more remain.
    pub(super) async fn return_free_pages(&self) -> Result<bool, StoreError> {
        let (reply, outcome) = oneshot::channel();
        self.writer.send(WriterMessage::Shrink(reply)).await.map_err(|_| closed())?;
        outcome.await.map_err(|_| closed())?
    }

    pub(super) const fn readers(&self) -> &SqlitePool {
        &self.readers
    }

    pub(super) const fn id(&self) -> GatewayId {
        self.gateway_id
    }

    pub(super) fn allows_growth(&self) -> bool {
        self.room.allows_growth()
    }
}

fn closed() -> StoreError {
    StoreError::Unavailable("the database is closed".to_owned())
}
