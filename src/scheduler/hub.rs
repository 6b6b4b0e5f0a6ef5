//! Who waits for what: callers for jobs, the dispatcher for work, attempts for cancels. All of it hints: the
//! store is the truth, and whoever waits registers first and asks the store second.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::dispatch::JobForecast;
use crate::domain::id::PromptId;
use crate::domain::progress::Progress;
use crate::lock::LockExt;
use crate::pool::AttemptFeed;

/// Questions that may wait for the dispatcher; more of them wait outside.
const QUESTIONS: usize = 64;

/// The gateway's wakeups.
#[derive(Debug)]
pub struct JobHub {
    work: Notify,
    inputs: Notify,
    jobs: Mutex<TrackedJobs>,
    /// Jobs that left the queue without being claimed, until the dispatcher has heard of them.
    left: Mutex<Vec<PromptId>>,
    asking: mpsc::Sender<ForecastRequest>,
    asked: Mutex<Option<mpsc::Receiver<ForecastRequest>>>,
}

/// What is expected of some jobs.
#[derive(Debug)]
pub(super) struct ForecastRequest {
    pub ids: Vec<PromptId>,
    /// In the order of `ids`.
    pub answer: oneshot::Sender<Vec<Option<JobForecast>>>,
}

impl Default for JobHub {
    fn default() -> Self {
        let (asking, asked) = mpsc::channel(QUESTIONS);
        Self {
            work: Notify::default(),
            inputs: Notify::default(),
            jobs: Mutex::default(),
            left: Mutex::default(),
            asking,
            asked: Mutex::new(Some(asked)),
        }
    }
}

#[derive(Debug, Default)]
struct TrackedJobs {
    waiting: HashMap<PromptId, watch::Sender<()>>,
    running: HashMap<PromptId, RunningJob>,
    /// Cancels that came between a job's claim and its registration here.
    early_cancels: HashSet<PromptId>,
}

#[derive(Debug)]
struct RunningJob {
    cancel: CancellationToken,
    recall: CancellationToken,
    feed: Arc<AttemptFeed>,
}

impl JobHub {
    fn jobs(&self) -> MutexGuard<'_, TrackedJobs> {
        self.jobs.lock_anyway()
    }

    /// There may be a job to claim.
    pub fn work_came(&self) {
        self.work.notify_one();
    }

    /// Returns when there may be a job to claim.
    pub async fn work(&self) {
        self.work.notified().await;
    }

    /// A job left the queue without being claimed.
    pub fn left_queue(&self, id: PromptId) {
        self.left.lock_anyway().push(id);
        self.work_came();
    }

    pub(super) fn take_left(&self) -> Vec<PromptId> {
        std::mem::take(&mut *self.left.lock_anyway())
    }

    /// What was taken could not be told of.
    pub(super) fn put_left(&self, mut left: Vec<PromptId>) {
        self.left.lock_anyway().append(&mut left);
    }

    /// What is expected of each of these jobs; nothing of those that have ended, or if the dispatcher is gone.
    pub async fn expectations(&self, ids: Vec<PromptId>) -> Vec<Option<JobForecast>> {
        let nothing = vec![None; ids.len()];
        let (answer, answered) = oneshot::channel();
        if self.asking.send(ForecastRequest { ids, answer }).await.is_err() {
            return nothing;
        }
        answered.await.unwrap_or(nothing)
    }

    /// The questions, for the dispatcher: once it drops them, nothing is expected of any job.
    pub(super) fn take_questions(&self) -> Option<mpsc::Receiver<ForecastRequest>> {
        self.asked.lock_anyway().take()
    }

    /// A job is wanted back from its server, unless it runs.
    pub(super) fn recall(&self, id: PromptId) {
        if let Some(running) = self.jobs().running.get(&id) {
            running.recall.cancel();
        }
    }

    /// There may be a job with files to fetch.
    pub fn inputs_wanted(&self) {
        self.inputs.notify_one();
    }

    /// Returns when there may be a job with files to fetch.
    pub(super) async fn wanted(&self) {
        self.inputs.notified().await;
    }

    /// Registers for changes of a job's status.
    #[must_use]
    pub fn subscribe(self: &Arc<Self>, id: PromptId) -> JobSubscription {
        let changes = self.jobs().waiting.entry(id).or_default().subscribe();
        JobSubscription { hub: self.clone(), id, changes: Some(changes) }
    }

    /// A job's status changed.
    pub fn job_changed(&self, id: PromptId) {
        if let Some(waiting) = self.jobs().waiting.get(&id) {
            waiting.send_replace(());
        }
    }

    /// A running job was asked to be cancelled.
    pub fn cancel(&self, id: PromptId) {
        let mut jobs = self.jobs();
        match jobs.running.get(&id) {
            Some(running) => running.cancel.cancel(),
            None => {
                jobs.early_cancels.insert(id);
            }
        }
    }

    /// The job has ended: a cancel that came too late for its attempt is not kept for another.
    pub fn forget_cancel(&self, id: PromptId) {
        self.jobs().early_cancels.remove(&id);
    }

    /// How far a running job has come, if it runs in this process.
    #[must_use]
    pub fn progress(&self, id: PromptId) -> Option<Progress> {
        let feed = self.jobs().running.get(&id)?.feed.clone();
        Some(feed.progress())
    }

    pub(super) fn began(
        &self,
        id: PromptId,
        cancel: CancellationToken,
        recall: CancellationToken,
        feed: Arc<AttemptFeed>,
    ) {
        let mut jobs = self.jobs();
        if jobs.early_cancels.remove(&id) {
            cancel.cancel();
        }
        jobs.running.insert(id, RunningJob { cancel, recall, feed });
    }

    pub(super) fn ended(&self, id: PromptId) {
        let mut jobs = self.jobs();
        jobs.running.remove(&id);
        jobs.early_cancels.remove(&id);
    }
}

/// A place among those who wait for a job.
#[derive(Debug)]
pub struct JobSubscription {
    hub: Arc<JobHub>,
    id: PromptId,
    /// Taken only by `drop`.
    changes: Option<watch::Receiver<()>>,
}

impl JobSubscription {
    /// Returns when the job's status changed since the last call, or since the subscription.
    pub async fn changed(&mut self) {
        if let Some(changes) = &mut self.changes {
            // The sender is removed only when nobody waits.
            let _changed: Result<(), _> = changes.changed().await;
        }
    }
}

impl Drop for JobSubscription {
    fn drop(&mut self) {
        let mut jobs = self.hub.jobs();
        self.changes = None;
        if jobs.waiting.get(&self.id).is_some_and(|waiting| waiting.receiver_count() == 0) {
            jobs.waiting.remove(&self.id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(which: u8) -> PromptId {
        PromptId::from_parts(crate::domain::time::UnixMillis::from_millis(1), [which; 10])
    }

    #[tokio::test]
    async fn a_change_between_registering_and_waiting_is_not_missed() {
        let hub = Arc::new(JobHub::default());
        let mut subscription = hub.subscribe(id(1));
        hub.job_changed(id(1));
        subscription.changed().await;
        hub.job_changed(id(2));
        let waiting = subscription.changed();
        tokio::pin!(waiting);
        assert!(futures_util::poll!(&mut waiting).is_pending());
    }

    #[tokio::test]
    async fn nothing_is_kept_of_those_who_left() {
        let hub = Arc::new(JobHub::default());
        let (first, second) = (hub.subscribe(id(1)), hub.subscribe(id(1)));
        drop(first);
        assert_eq!(hub.jobs().waiting.len(), 1);
        drop(second);
        assert_eq!(hub.jobs().waiting.len(), 0);
    }

    #[test]
    fn a_cancel_that_came_too_late_is_not_kept() {
        let hub = JobHub::default();
        hub.cancel(id(1));
        assert_eq!(hub.jobs().early_cancels.len(), 1);
        hub.forget_cancel(id(1));
        assert_eq!(hub.jobs().early_cancels.len(), 0);
    }

    #[tokio::test]
    async fn work_that_came_while_nobody_waited_is_not_missed() {
        let hub = JobHub::default();
        hub.work_came();
        hub.work().await;
    }
}
