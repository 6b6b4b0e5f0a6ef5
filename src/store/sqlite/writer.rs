//! The writer task. It owns the only connection that writes, and commits all writes that wait in one transaction
//! (group commit), because each commit waits for the disk.

use std::slice;
use std::sync::Arc;

use sqlx::{Connection, SqliteConnection};
use tokio::sync::{mpsc, oneshot};

use super::disk_room::DiskRoom;
use super::error::unavailable;
use super::insert;
use super::shrink;
use super::write::{PendingWrite, WriteTransaction};
use crate::domain::job::NewJob;
use crate::store::error::StoreError;

/// The largest number of writes in one transaction. Larger batches save little and delay the first caller.
const LARGEST_BATCH: usize = 256;

/// A callback that receives the number of writes in each committed batch.
pub type BatchObserver = Arc<dyn Fn(usize) + Send + Sync>;

/// A request to the writer task.
pub(super) enum WriterMessage {
    /// Apply a write.
    Write(Box<dyn PendingWrite>),
    /// Return free pages to the disk; the reply says whether more remain.
    Shrink(oneshot::Sender<Result<bool, StoreError>>),
    /// Apply the writes queued so far, close the connection and stop.
    Close(oneshot::Sender<()>),
}

/// The state of the writer task.
pub(super) struct WriterTask {
    pub connection: SqliteConnection,
    pub inbox: mpsc::Receiver<WriterMessage>,
    pub observer: BatchObserver,
    pub room: Arc<DiskRoom>,
    /// The `seq` of the next accepted job. Only this task inserts jobs.
    pub next_seq: i64,
    /// The revision of the last committed transaction.
    pub rev: i64,
}

impl WriterTask {
    /// Runs until it is asked to close or all senders are gone.
    pub async fn run(mut self) -> Result<(), StoreError> {
        let mut received = Vec::with_capacity(LARGEST_BATCH);
        let (mut closing, mut shrinking) = (None, Vec::new());
        while closing.is_none() && self.inbox.recv_many(&mut received, LARGEST_BATCH).await > 0 {
            let mut batch = Vec::with_capacity(received.len());
            for message in received.drain(..) {
                match message {
                    WriterMessage::Write(write) => batch.push(write),
                    WriterMessage::Shrink(reply) => shrinking.push(reply),
                    WriterMessage::Close(reply) => closing = Some(reply),
                }
            }
            self.write(batch).await;
            for reply in shrinking.drain(..) {
                let shrunk = shrink::shrink(&mut self.connection).await.map_err(StoreError::from);
                // The caller may have stopped waiting.
                let _: Result<(), _> = reply.send(shrunk);
            }
        }
        let closed = self.connection.close().await;
        if let Some(reply) = closing {
            // The caller may have stopped waiting.
            let _: Result<(), ()> = reply.send(());
        }
        closed.map_err(StoreError::from)
    }

    async fn write(&mut self, batch: Vec<Box<dyn PendingWrite>>) {
        let mut batch = self.refuse_growth(batch);
        match self.transact(&mut batch).await {
            Ok(()) => {}
            Err(error) if batch.len() > 1 => self.write_one_by_one(&mut batch, &error).await,
            Err(error) => self.retry_with_more_room(&mut batch, &error).await,
        }
        for write in batch {
            write.answer();
        }
    }

    /// Answers the writes that need room with [`StoreError::DiskFull`] if the database may not grow; returns
    /// the rest.
    fn refuse_growth(&self, batch: Vec<Box<dyn PendingWrite>>) -> Vec<Box<dyn PendingWrite>> {
        if !batch.iter().any(|write| write.needs_room()) || self.room.allows_growth() {
            return batch;
        }
        let (refused, rest): (Vec<_>, Vec<_>) = batch.into_iter().partition(|write| write.needs_room());
        for mut write in refused {
            write.fail(StoreError::DiskFull);
            write.answer();
        }
        rest
    }

    /// Gives each write of a failed batch its own transaction, so that a bad one does not fail the others.
    async fn write_one_by_one(&mut self, batch: &mut [Box<dyn PendingWrite>], error: &sqlx::Error) {
        tracing::warn!(error = %error, writes = batch.len(), "a batch of writes failed; writing them one by one");
        for write in batch {
            let alone = slice::from_mut(write);
            if let Err(error) = self.transact(alone).await {
                self.retry_with_more_room(alone, &error).await;
            }
        }
    }

    /// Retries a single failed write if `error` says that the disk is full and the ballast can be released.
    /// Writes that need room are not retried: the ballast is for writes that end or delete something.
    async fn retry_with_more_room(&mut self, alone: &mut [Box<dyn PendingWrite>], error: &sqlx::Error) {
        let may_use_ballast = !alone.iter().any(|write| write.needs_room());
        if may_use_ballast && unavailable(error) == StoreError::DiskFull && self.room.release_ballast() {
            // On an error, `transact` has set the outcome.
            let _: Result<(), sqlx::Error> = self.transact(alone).await;
        }
    }

    /// Applies `writes` in one transaction. On an error it is rolled back and every write has failed.
    async fn transact(&mut self, writes: &mut [Box<dyn PendingWrite>]) -> Result<(), sqlx::Error> {
        if writes.is_empty() {
            return Ok(());
        }
        let committed = self.commit_or_roll_back(writes).await;
        match &committed {
            Ok(()) => (self.observer)(writes.len()),
            Err(error) => writes.iter_mut().for_each(|write| write.fail(unavailable(error))),
        }
        committed
    }

    /// `BEGIN`, `COMMIT` and `ROLLBACK` are plain statements: after some errors, such as a full disk, SQLite itself
    /// ends the transaction, which sqlx's own transaction type does not notice.
    async fn commit_or_roll_back(&mut self, writes: &mut [Box<dyn PendingWrite>]) -> Result<(), sqlx::Error> {
        sqlx::query("BEGIN IMMEDIATE").execute(&mut self.connection).await?;
        let committed = self.apply_and_commit(writes).await;
        if committed.is_err() {
            // Fails if SQLite has ended the transaction already.
            let _: Result<_, sqlx::Error> = sqlx::query("ROLLBACK").execute(&mut self.connection).await;
        }
        committed
    }

    async fn apply_and_commit(&mut self, writes: &mut [Box<dyn PendingWrite>]) -> Result<(), sqlx::Error> {
        let rev = self.rev + 1;
        let jobs: Vec<&NewJob> = writes.iter().filter_map(|write| write.new_job()).collect();
        insert::insert_jobs(&mut self.connection, self.next_seq, rev, &jobs).await?;
        let inserted = i64::try_from(jobs.len()).unwrap_or(i64::MAX);
        let mut transaction = WriteTransaction { connection: &mut self.connection, rev };
        for write in writes {
            write.apply(&mut transaction).await?;
        }
        sqlx::query("COMMIT").execute(&mut self.connection).await?;
        self.rev = rev;
        self.next_seq += inserted;
        Ok(())
    }
}
