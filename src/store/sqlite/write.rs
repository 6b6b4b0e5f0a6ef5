//! The contract between a write and the writer task: [`StoreWrite`] does the work, [`PendingWrite`] carries it with
//! the caller's reply channel.

use std::future::Future;

use async_trait::async_trait;
use sqlx::SqliteConnection;
use tokio::sync::oneshot;

use crate::domain::job::NewJob;
use crate::store::error::StoreError;

/// One write, which owns its arguments. It may be applied several times: after a failed transaction it runs again.
pub(super) trait StoreWrite: Send + Sync + 'static {
    /// The result the caller receives once the transaction is committed.
    type Reply: Send;

    /// Executes the write inside the transaction of its batch.
    ///
    /// # Errors
    /// [`WriteError::Refused`] affects this caller alone. Return it before changing anything, because the rest of the
    /// batch is committed.
    /// [`WriteError::Failed`] rolls back the whole batch.
    fn apply(
        &self,
        transaction: &mut WriteTransaction<'_>,
    ) -> impl Future<Output = Result<Self::Reply, WriteError>> + Send;

    /// Whether the write adds data for which the disk must have room beyond the reserve. Writes that end or delete
    /// something return `false`, because they have to work on a full disk.
    fn needs_room(&self) -> bool {
        false
    }

    /// The job this write accepts. The writer task inserts the new jobs of a batch together, before it applies any
    /// write of the batch.
    fn new_job(&self) -> Option<&NewJob> {
        None
    }
}

/// The open transaction of a batch.
pub(super) struct WriteTransaction<'c> {
    /// The connection that holds the transaction.
    pub connection: &'c mut SqliteConnection,
    /// The revision to set on jobs that become claimable or queued in this transaction.
    pub rev: i64,
}

/// Why a write of a batch did not succeed.
#[derive(Debug)]
pub(super) enum WriteError {
    /// A statement failed, so the batch cannot be committed.
    Failed(sqlx::Error),
    /// The write is refused and changed nothing; the rest of its batch can be committed.
    Refused(StoreError),
}

impl From<sqlx::Error> for WriteError {
    fn from(error: sqlx::Error) -> Self {
        Self::Failed(error)
    }
}

impl From<StoreError> for WriteError {
    fn from(error: StoreError) -> Self {
        Self::Refused(error)
    }
}

/// A write of any kind in the writer task's queue.
#[async_trait]
pub(super) trait PendingWrite: Send {
    /// See [`StoreWrite::needs_room`].
    fn needs_room(&self) -> bool;

    /// See [`StoreWrite::new_job`].
    fn new_job(&self) -> Option<&NewJob>;

    /// Applies the write and keeps its outcome.
    ///
    /// # Errors
    /// A statement failed; the transaction must be rolled back.
    async fn apply(&mut self, transaction: &mut WriteTransaction<'_>) -> Result<(), sqlx::Error>;

    /// Replaces the outcome by `error`, because the transaction was not committed.
    fn fail(&mut self, error: StoreError);

    /// Sends the outcome to the caller.
    fn answer(self: Box<Self>);
}

/// The result that the caller of a write receives.
pub(super) type WriteOutcome<W> = Result<<W as StoreWrite>::Reply, StoreError>;

struct QueuedWrite<W: StoreWrite> {
    write: W,
    outcome: WriteOutcome<W>,
    reply: oneshot::Sender<WriteOutcome<W>>,
}

/// Pairs a write with the channel on which its caller receives the outcome.
pub(super) fn queue_write<W: StoreWrite>(
    write: W,
) -> (Box<dyn PendingWrite>, oneshot::Receiver<WriteOutcome<W>>) {
    let (reply, outcome) = oneshot::channel();
    let not_applied = Err(StoreError::Unavailable("the write was not applied".to_owned()));
    (Box::new(QueuedWrite { write, outcome: not_applied, reply }), outcome)
}

#[async_trait]
impl<W: StoreWrite> PendingWrite for QueuedWrite<W> {
    fn needs_room(&self) -> bool {
        self.write.needs_room()
    }

    fn new_job(&self) -> Option<&NewJob> {
        self.write.new_job()
    }

    async fn apply(&mut self, transaction: &mut WriteTransaction<'_>) -> Result<(), sqlx::Error> {
        self.outcome = match self.write.apply(transaction).await {
            Ok(reply) => Ok(reply),
            Err(WriteError::Refused(error)) => Err(error),
            Err(WriteError::Failed(error)) => return Err(error),
        };
        Ok(())
    }

    fn fail(&mut self, error: StoreError) {
        self.outcome = Err(error);
    }

    fn answer(self: Box<Self>) {
        // A caller that stopped waiting does not undo its write.
        let _: Result<(), _> = self.reply.send(self.outcome);
    }
}
