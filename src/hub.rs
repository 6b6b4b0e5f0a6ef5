//! Wakeups between tasks: callers wait for jobs, the dispatcher for work, attempts for cancels.
//!
//! A wakeup is a hint and the store is the truth. Every waiter registers first and reads the store second, so
//! that no change is missed.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use crate::domain::forecast::JobForecast;
use crate::domain::id::PromptId;
use crate::domain::progress::Progress;
use crate::lock::LockExt;
use crate::pool::AttemptFeed;

/// Forecast requests that may wait for the dispatcher; further callers wait for a place.
const QUESTIONS: usize = 64;

/// The gateway's wakeups.
#[derive(Debug)]
pub struct JobHub {
    work: Notify,
    inputs: Notify,
    jobs: Mutex<TrackedJobs>,
    /// Jobs that left the queue unclaimed and that the dispatcher has not removed yet.
    left: Mutex<Vec<PromptId>>,
    asking: mpsc::Sender<ForecastRequest>,
    asked: Mutex<Option<mpsc::Receiver<ForecastRequest>>>,
}

/// A request for the forecasts of some jobs.
#[derive(Debug)]
pub struct ForecastRequest {
    /// The jobs.
    pub ids: Vec<PromptId>,
    /// One answer per job, in the order of `ids`.
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
    running: HashMap<PromptId, RegisteredAttempt>,
    /// Cancels that arrived between a job's claim and the registration of its attempt.
    early_cancels: HashSet<PromptId>,
}

#[derive(Debug)]
struct RegisteredAttempt {
    cancel: CancellationToken,
    recall: CancellationToken,
    feed: Arc<AttemptFeed>,
}

impl JobHub {
    fn jobs(&self) -> MutexGuard<'_, TrackedJobs> {
        self.jobs.lock_anyway()
    }

    /// Wakes the dispatcher, because there may be a job to claim.
    pub fn notify_work(&self) {
        self.work.notify_one();
    }

    /// Waits until there may be a job to claim.
    pub async fn wait_for_work(&self) {
        self.work.notified().await;
    }

    /// Records that a job left the queue unclaimed, and wakes the dispatcher.
    pub fn push_left(&self, id: PromptId) {
        self.left.lock_anyway().push(id);
        self.notify_work();
    }

    /// Takes the jobs that left the queue unclaimed since the last call.
    pub fn take_left(&self) -> Vec<PromptId> {
        std::mem::take(&mut *self.left.lock_anyway())
    }

    /// Gives back jobs that [`Self::take_left`] returned, after the dispatcher failed to remove them.
    pub fn return_left(&self, mut left: Vec<PromptId>) {
        self.left.lock_anyway().append(&mut left);
    }

    /// The forecast of each job. A job that has ended has none, and no job has one once the dispatcher is
    /// gone.
    pub async fn forecasts(&self, ids: Vec<PromptId>) -> Vec<Option<JobForecast>> {
        let nothing = vec![None; ids.len()];
        let (answer, answered) = oneshot::channel();
        if self.asking.send(ForecastRequest { ids, answer }).await.is_err() {
            return nothing;
        }
        answered.await.unwrap_or(nothing)
    }

    /// The receiving end of the forecast requests. Only the first call gets it; when it is dropped, no job
    /// has a forecast.
    pub fn take_forecast_requests(&self) -> Option<mpsc::Receiver<ForecastRequest>> {
        self.asked.lock_anyway().take()
    }

    /// Asks a running job back from its backend. A job that already runs there stays.
    pub fn recall(&self, id: PromptId) {
        if let Some(running) = self.jobs().running.get(&id) {
            running.recall.cancel();
        }
    }

    /// Wakes the fetch task, because there may be a job with inputs to fetch.
    pub fn notify_inputs(&self) {
        self.inputs.notify_one();
    }

    /// Waits until there may be a job with inputs to fetch.
    pub async fn wait_for_inputs(&self) {
        self.inputs.notified().await;
    }

    /// Subscribes to the changes of a job's status.
    #[must_use]
    pub fn subscribe(self: &Arc<Self>, id: PromptId) -> JobSubscription {
        let changes = self.jobs().waiting.entry(id).or_default().subscribe();
        JobSubscription { hub: self.clone(), id, changes: Some(changes) }
    }

    /// Wakes everyone who waits for a change of the job.
    pub fn notify_job(&self, id: PromptId) {
        if let Some(waiting) = self.jobs().waiting.get(&id) {
            waiting.send_replace(());
        }
    }

    /// Wakes everyone who waits for a job that ended. A cancel that came too late for its attempt is
    /// forgotten, and the dispatcher is woken to drop a job that ended `in_queue`.
    pub fn notify_end(&self, id: PromptId, in_queue: bool) {
        self.forget_cancel(id);
        if in_queue {
            self.push_left(id);
        }
        self.notify_job(id);
    }

    /// Asks the attempt of a job to cancel it. A cancel that arrives before the attempt is registered is kept
    /// for it.
    pub fn cancel_attempt(&self, id: PromptId) {
        let mut jobs = self.jobs();
        match jobs.running.get(&id) {
            Some(running) => running.cancel.cancel(),
            None => {
                jobs.early_cancels.insert(id);
            }
        }
    }

    /// Drops a cancel that was kept for the attempt of a job, because the job has ended.
    pub fn forget_cancel(&self, id: PromptId) {
        self.jobs().early_cancels.remove(&id);
    }

    /// The progress of a job that runs in this process.
    #[must_use]
    pub fn progress(&self, id: PromptId) -> Option<Progress> {
        let feed = self.jobs().running.get(&id)?.feed.clone();
        Some(feed.progress())
    }

    /// Registers the attempt of a job, so that a cancel or a recall reaches it.
    pub fn register_attempt(
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
        jobs.running.insert(id, RegisteredAttempt { cancel, recall, feed });
    }

    /// Removes the attempt of a job.
    pub fn remove_attempt(&self, id: PromptId) {
        let mut jobs = self.jobs();
        jobs.running.remove(&id);
        jobs.early_cancels.remove(&id);
    }
}

/// A subscription to one job's changes. Dropping it ends the subscription.
#[derive(Debug)]
pub struct JobSubscription {
    hub: Arc<JobHub>,
    id: PromptId,
    /// `None` only while `drop` runs.
    changes: Option<watch::Receiver<()>>,
}

impl JobSubscription {
    /// Waits for a change of the job's status since the last call, or since the subscription.
    pub async fn wait_for_change(&mut self) {
        if let Some(changes) = &mut self.changes {
            // The sender is removed only when nobody waits for the job.
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
        hub.notify_job(id(1));
        subscription.wait_for_change().await;
        hub.notify_job(id(2));
        let waiting = subscription.wait_for_change();
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
        hub.cancel_attempt(id(1));
        assert_eq!(hub.jobs().early_cancels.len(), 1);
        hub.forget_cancel(id(1));
        assert_eq!(hub.jobs().early_cancels.len(), 0);
    }

    #[tokio::test]
    async fn work_that_came_while_nobody_waited_is_not_missed() {
        let hub = JobHub::default();
        hub.notify_work();
        hub.wait_for_work().await;
    }
}
