//! Returns, lists, cancels and deletes jobs, and reads their output files.

use std::time::Duration;

use super::outlook::JobView;
use super::state::Service;
use crate::core::JobEnd;
use crate::domain::id::PromptId;
use crate::domain::job::JobStatus;
use crate::domain::media::MediaFile;
use crate::domain::registered::WorkflowRef;
use crate::media::{ByteSource, MediaError};
use crate::store::{CancelOutcome, DeleteOutcome, JobLookup, PageCursor, StoreError};

/// Why a job or a file cannot be read or deleted.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// No job or file has this id.
    #[error("no such job exists")]
    Unknown,
    /// The job was deleted, or its retention ended.
    #[error("the job was deleted, or its retention ended")]
    Gone,
    /// The job has not ended yet.
    #[error("the job has not ended yet")]
    Unfinished,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The media store failed.
    #[error(transparent)]
    Media(#[from] MediaError),
}

/// A page of jobs, newest first.
#[derive(Debug)]
pub struct JobPage {
    /// The jobs on this page.
    pub jobs: Vec<JobView>,
    /// The start of the next page; `None` on the last page.
    pub next: Option<PageCursor>,
}

impl Service {
    /// Returns a job, after waiting up to `wait` for it to end. The wait ends early at shutdown.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub async fn result(&self, id: PromptId, wait: Duration) -> Result<JobView, ReadError> {
        let mut subscription = (!wait.is_zero()).then(|| self.core.hub.subscribe(id));
        let deadline = self.core.clock.now().plus(wait);
        loop {
            let view = self.view(id).await?;
            let Some(subscription) = &mut subscription else { return Ok(view) };
            let status = view.record.state.status();
            if status.is_terminal() || self.core.clock.now() >= deadline || self.stopping.is_cancelled() {
                return Ok(view);
            }
            tokio::select! {
                () = subscription.wait_for_change() => {}
                () = self.core.clock.sleep_until(deadline) => {}
                () = self.stopping.cancelled() => {}
            }
        }
    }

    async fn view(&self, id: PromptId) -> Result<JobView, ReadError> {
        match self.core.store.get(id).await? {
            JobLookup::Found(record) => self.views(vec![*record]).await.pop().ok_or(ReadError::Unknown),
            JobLookup::Gone => Err(ReadError::Gone),
            JobLookup::Unknown => Err(ReadError::Unknown),
        }
    }

    /// Lists jobs, newest first.
    ///
    /// # Errors
    /// The store failed.
    pub async fn list(
        &self,
        status: Option<JobStatus>,
        workflow: Option<&WorkflowRef>,
        cursor: Option<PageCursor>,
        limit: u32,
    ) -> Result<JobPage, ReadError> {
        let page = self.core.store.list(status, workflow, cursor, limit).await?;
        Ok(JobPage { jobs: self.views(page.jobs).await, next: page.next })
    }

    /// Cancels a job. A queued job ends at once, a running job as soon as its backend confirms. A job that has ended stays
    /// unchanged.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub async fn cancel(&self, id: PromptId) -> Result<JobView, ReadError> {
        let now = self.core.clock.now();
        let expires_at = self.core.expiry(now);
        match self.core.store.request_cancel(id, now, expires_at).await? {
            CancelOutcome::Cancelled => self.core.announce_end(JobEnd::cancelled(id)),
            CancelOutcome::Requested => self.core.hub.cancel_attempt(id),
            CancelOutcome::AlreadyTerminal | CancelOutcome::NotFound => {}
        }
        let view = self.view(id).await?;
        if view.record.state.status().is_terminal() {
            self.core.hub.forget_cancel(id);
        }
        Ok(view)
    }

    /// Deletes a job that has ended, and its output files.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub async fn delete(&self, id: PromptId) -> Result<(), ReadError> {
        match self.core.store.delete(id, self.core.clock.now()).await? {
            DeleteOutcome::Deleted => Ok(self.core.media.remove(id).await?),
            DeleteOutcome::Unfinished => Err(ReadError::Unfinished),
            DeleteOutcome::NotFound => Err(self.view(id).await.err().unwrap_or(ReadError::Unknown)),
        }
    }

    /// Finds an output file of a job by its stored name.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub async fn file(&self, id: PromptId, stored_as: &str) -> Result<MediaFile, ReadError> {
        match self.core.store.media(id, stored_as).await? {
            Some(file) => Ok(file),
            None => match self.core.store.get(id).await? {
                JobLookup::Gone => Err(ReadError::Gone),
                JobLookup::Found(_) | JobLookup::Unknown => Err(ReadError::Unknown),
            },
        }
    }

    /// The bytes of `range` of an output file.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub async fn bytes(
        &self,
        id: PromptId,
        stored_as: &str,
        range: std::ops::Range<u64>,
    ) -> Result<ByteSource<'static>, ReadError> {
        self.core.media.read(id, stored_as, range).await?.ok_or(ReadError::Unknown)
    }
}
