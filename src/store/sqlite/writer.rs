//! The writer task: owns the one connection that writes and commits what waits together (group commit).

use std::sync::Arc;

use sqlx::{Connection, SqliteConnection};
use tokio::sync::{mpsc, oneshot};

use super::op::{Envelope, Op, Reply, WriteError, unavailable};
use super::room::DiskRoom;
use super::{attempts, backends, cleanup, inputs, insert, queue, shapes, shrink, workflows};
use crate::store::StoreError;

/// The most writes of one transaction. Larger batches gain little and delay their first caller.
const LARGEST_BATCH: usize = 256;

/// Told the size of each committed batch.
pub type BatchObserver = Arc<dyn Fn(usize) + Send + Sync>;

/// A waiting write, the wish to give room back to the disk, or to close.
#[derive(Debug)]
pub(super) enum WriterMessage {
    Write(Envelope),
    Shrink(oneshot::Sender<Result<bool, StoreError>>),
    Close(oneshot::Sender<()>),
}

pub(super) struct WriterTask {
    pub connection: SqliteConnection,
    pub inbox: mpsc::Receiver<WriterMessage>,
    pub observer: BatchObserver,
    pub room: Arc<DiskRoom>,
    /// The `seq` of the next accepted job: this task alone inserts.
    pub next_seq: i64,
    /// The revision of the last transaction that let jobs wait: this task alone writes.
    pub rev: i64,
}

impl WriterTask {
    /// Runs until it is told to close or every caller is gone.
    pub async fn run(mut self) -> Result<(), StoreError> {
        let mut waiting = Vec::with_capacity(LARGEST_BATCH);
        let (mut closing, mut shrinking) = (None, Vec::new());
        while closing.is_none() && self.inbox.recv_many(&mut waiting, LARGEST_BATCH).await > 0 {
            let mut batch = Vec::with_capacity(waiting.len());
            for message in waiting.drain(..) {
                match message {
                    WriterMessage::Write(envelope) => batch.push(envelope),
                    WriterMessage::Shrink(done) => shrinking.push(done),
                    WriterMessage::Close(closed) => closing = Some(closed),
                }
            }
            self.write(batch).await;
            for done in shrinking.drain(..) {
                let shrunk = shrink::shrink(&mut self.connection).await.map_err(|error| unavailable(&error));
                // Nobody has to know of it.
                let _: Result<(), _> = done.send(shrunk);
            }
        }
        let closed = self.connection.close().await;
        if let Some(waiter) = closing {
            // Whoever asked may have stopped waiting; the database is closed all the same.
            let _: Result<(), ()> = waiter.send(());
        }
        closed.map_err(|error| unavailable(&error))
    }

    async fn write(&mut self, batch: Vec<Envelope>) {
        let batch = self.refuse_growth(batch);
        let (ops, replies): (Vec<Op>, Vec<_>) =
            batch.into_iter().map(|envelope| (envelope.op, envelope.reply)).unzip();
        let results = match self.transact(&ops).await {
            Ok(results) => results,
            Err(error) if ops.len() > 1 => self.write_apart(&ops, &error).await,
            Err(error) => match ops.first() {
                Some(op) => vec![self.write_again(op, &error).await],
                None => Vec::new(),
            },
        };
        for (reply, result) in replies.into_iter().zip(results) {
            // A caller that hung up does not undo its write.
            let _: Result<(), _> = reply.send(result);
        }
    }

    /// After a failed batch each write gets a transaction of its own, so that one cannot fail the others.
    async fn write_apart(&mut self, ops: &[Op], error: &sqlx::Error) -> Vec<Result<Reply, StoreError>> {
        tracing::warn!(error = %error, writes = ops.len(), "a batch of writes failed; writing them one by one");
        let mut results = Vec::with_capacity(ops.len());
        for op in ops {
            let alone = self.transact(std::slice::from_ref(op)).await;
            results.push(match alone {
                Ok(mut replies) => replies.pop().unwrap_or(Ok(Reply::Done)),
                Err(error) => self.write_again(op, &error).await,
            });
        }
        results
    }

    /// Refuses the writes of a batch that would make the database grow, if it may not.
    fn refuse_growth(&self, batch: Vec<Envelope>) -> Vec<Envelope> {
        let grows = |envelope: &Envelope| envelope.op.grows();
        if !batch.iter().any(grows) || self.room.allows_growth() {
            return batch;
        }
        let (refused, batch): (Vec<_>, Vec<_>) = batch.into_iter().partition(grows);
        for envelope in refused {
            // A caller that hung up does not need the refusal.
            let _: Result<(), _> = envelope.reply.send(Err(StoreError::DiskFull));
        }
        batch
    }

    /// After a write that failed alone: once more if the disk was full, the write goes on with what is here, and room
    /// could be made for it.
    async fn write_again(&mut self, op: &Op, error: &sqlx::Error) -> Result<Reply, StoreError> {
        let failed = unavailable(error);
        if failed != StoreError::DiskFull || op.grows() || !self.room.give_up() {
            return Err(failed);
        }
        let mut replies =
            self.transact(std::slice::from_ref(op)).await.map_err(|error| unavailable(&error))?;
        replies.pop().unwrap_or(Ok(Reply::Done))
    }

    /// Does `ops` as one transaction. Its beginning and end are plain statements: some failures, a full disk among
    /// them, make SQLite end the transaction itself, and sqlx's own counting would be wrong from then on.
    async fn transact(&mut self, ops: &[Op]) -> Result<Vec<Result<Reply, StoreError>>, sqlx::Error> {
        if ops.is_empty() {
            return Ok(Vec::new());
        }
        sqlx::query("BEGIN IMMEDIATE").execute(&mut self.connection).await?;
        match self.apply_and_commit(ops).await {
            Ok(results) => {
                (self.observer)(ops.len());
                Ok(results)
            }
            Err(error) => {
                // Fails when the transaction is over already, which is as good.
                let _: Result<_, sqlx::Error> = sqlx::query("ROLLBACK").execute(&mut self.connection).await;
                Err(error)
            }
        }
    }

    async fn apply_and_commit(&mut self, ops: &[Op]) -> Result<Vec<Result<Reply, StoreError>>, sqlx::Error> {
        let jobs: Vec<_> =
            ops.iter().filter_map(|op| if let Op::Insert(job) = op { Some(&**job) } else { None }).collect();
        let rev = self.rev + 1;
        insert::insert(&mut self.connection, self.next_seq, rev, &jobs).await?;
        let mut results = Vec::with_capacity(ops.len());
        for op in ops {
            match apply(&mut self.connection, op, rev).await {
                Ok(reply) => results.push(Ok(reply)),
                Err(WriteError::Refused(error)) => results.push(Err(error)),
                Err(WriteError::Sql(error)) => return Err(error),
            }
        }
        sqlx::query("COMMIT").execute(&mut self.connection).await?;
        self.rev = rev;
        self.next_seq += i64::try_from(jobs.len()).unwrap_or(i64::MAX);
        Ok(results)
    }
}

async fn apply(connection: &mut SqliteConnection, op: &Op, rev: i64) -> Result<Reply, WriteError> {
    match op {
        // Inserted together with the batch's other jobs.
        Op::Insert(_) => Ok(Reply::Done),
        Op::Claim { claims, now } => queue::claim(connection, claims, *now).await.map(Reply::Claimed),
        Op::Adopt { which, lease, now } => {
            attempts::adopt(connection, *which, *lease, *now).await.map(Reply::Claimed)
        }
        Op::Renew { owner, until } => attempts::renew(connection, *owner, *until).await,
        Op::Finish { fence, finish } => attempts::finish(connection, *fence, finish).await,
        Op::Requeue { fence, requeue } => attempts::requeue(connection, *fence, requeue, rev).await,
        Op::RequestCancel { id, at, expires_at } => {
            queue::request_cancel(connection, *id, *at, *expires_at).await.map(Reply::Cancel)
        }
        Op::ExpireQueued { now, failure, expires_at } => {
            queue::expire(connection, *now, failure, *expires_at).await.map(Reply::Ids)
        }
        Op::Delete { id, at } => cleanup::delete(connection, *id, *at).await.map(Reply::Delete),
        Op::ClearNotOn => queue::clear_not_on(connection).await,
        Op::Learn { shapes, keep } => shapes::learn(connection, shapes, *keep).await,
        Op::InsertFile(file) => inputs::insert_file(connection, file).await,
        Op::DeleteFile(id) => inputs::delete_file(connection, *id).await,
        Op::InputsReady { id, graph, files } => inputs::ready(connection, *id, graph, files, rev).await,
        Op::InputsFailed { id, failure, at, expires_at } => {
            inputs::failed(connection, *id, failure, *at, *expires_at).await
        }
        Op::PutWorkflow(workflow) => workflows::put(connection, workflow).await,
        Op::DeleteWorkflow(name) => workflows::delete(connection, name).await,
        Op::AddBackend(backend) => backends::add(connection, backend).await,
        Op::DeleteBackend(name) => backends::delete(connection, name).await,
        Op::SetBackendMode { name, mode } => backends::set_mode(connection, name, *mode).await,
        Op::ReleaseInputs { now } => inputs::release(connection, *now).await,
        Op::ShortenRetention { retention, after, up_to } => {
            cleanup::shorten_retention(connection, *retention, *after, *up_to).await
        }
        Op::Purge { now, tombstones_before, limit } => {
            cleanup::purge(connection, *now, *tombstones_before, *limit).await.map(Reply::Ids)
        }
    }
}
