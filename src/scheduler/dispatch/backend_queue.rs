//! One backend as the dispatcher sees it: its assigned jobs, when they will be done, and its loaded models.

use std::sync::Arc;
use std::time::Duration;

use super::estimates::RunEstimates;
use super::job_group::GroupKey;
use crate::domain::id::{BackendName, PromptId};
use crate::domain::time::UnixMillis;

/// A backend gets its next job when the running one is expected to last no longer than this.
const AHEAD: Duration = Duration::from_secs(10);
/// A backend gets a third job and more only if those before are known to last no longer than this together.
const SHORT: Duration = Duration::from_millis(250);

/// What the pool reports about a backend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackendSnapshot {
    /// Its name.
    pub name: BackendName,
    /// The most jobs of ours that it may have; 0 while it takes none.
    pub slots: usize,
    /// Its labels.
    pub labels: Vec<String>,
    /// The memory of its first device in bytes, if it reports it.
    pub vram: Option<u64>,
    /// Foreign jobs in its queue.
    pub foreign: u64,
    /// Whether it has a problem, so that others are preferred.
    pub degraded: bool,
    /// Grows with each restart, which unloads all models.
    pub restarts: u64,
}

impl BackendSnapshot {
    /// A backend of which only the name is known.
    pub(super) const fn absent(name: BackendName) -> Self {
        Self { name, slots: 0, labels: Vec::new(), vram: None, foreign: 0, degraded: false, restarts: 0 }
    }
}

/// A job assigned to a backend.
#[derive(Debug, Clone)]
pub(super) struct AssignedJob {
    pub id: PromptId,
    pub key: Arc<GroupKey>,
    pub needs: Arc<crate::domain::needs::JobNeeds>,
    /// Its estimated execution time.
    pub expected: Option<Duration>,
    /// Whether its models had to be loaded.
    pub cold: bool,
    /// Since when it is the first of the backend's jobs.
    pub first_since: Option<UnixMillis>,
    /// Whether it was asked back already.
    pub recalled: bool,
}

impl AssignedJob {
    /// The estimated time until it ends, once the jobs before it are done. A job that exceeds its estimate
    /// may end at any moment.
    pub fn remaining(&self, now: UnixMillis) -> Option<Duration> {
        let gone = self.first_since.map_or(Duration::ZERO, |since| now.since(since));
        self.expected.map(|expected| expected.saturating_sub(gone))
    }
}

/// A backend and its assigned jobs.
#[derive(Debug, Clone)]
pub(super) struct BackendQueue {
    pub snapshot: BackendSnapshot,
    /// In the order in which it runs them.
    pub jobs: Vec<AssignedJob>,
    /// The models of its last run.
    pub loaded: Vec<String>,
    /// Whether it has left the pool.
    pub is_removed: bool,
}

impl BackendQueue {
    pub fn new(view: BackendSnapshot) -> Self {
        Self { snapshot: view, jobs: Vec::new(), loaded: Vec::new(), is_removed: false }
    }

    /// Takes over what the pool reports.
    pub fn update(&mut self, view: BackendSnapshot) {
        if view.restarts != self.snapshot.restarts {
            self.loaded.clear();
        }
        self.is_removed = false;
        self.snapshot = view;
    }

    /// Whether it takes work at all.
    pub const fn is_open(&self) -> bool {
        self.snapshot.slots > 0 && !self.is_removed
    }

    /// All jobs in its queue, foreign ones included, as far as is known.
    pub fn load(&self) -> u64 {
        self.snapshot.foreign + self.jobs.len() as u64
    }

    /// Whether it can be given one more job now.
    pub fn has_room(&self, now: UnixMillis) -> bool {
        if !self.is_open() {
            return false;
        }
        match self.jobs.len() {
            0 => true,
            count if count as u64 + self.snapshot.foreign >= self.snapshot.slots as u64 => false,
            1 => self.remaining_total(now) <= AHEAD,
            _ => self.jobs.iter().all(|job| job.expected.is_some()) && self.remaining_total(now) <= SHORT,
        }
    }

    /// When it may have room again although none of its jobs ends.
    pub fn room_at(&self, now: UnixMillis) -> Option<UnixMillis> {
        let room = self.jobs.len() as u64 + self.snapshot.foreign < self.snapshot.slots as u64;
        let [only] = self.jobs.as_slice() else { return None };
        let end = only.first_since?.plus(only.expected?);
        (room && self.is_open() && !self.has_room(now)).then(|| end.minus(AHEAD))
    }

    /// The estimated time until its jobs are done; jobs without an estimate count as zero.
    pub fn remaining_total(&self, now: UnixMillis) -> Duration {
        self.jobs.iter().filter_map(|job| job.remaining(now)).sum()
    }

    /// Whether all its jobs have estimates.
    pub fn is_foreseeable(&self) -> bool {
        self.snapshot.foreign == 0 && self.jobs.iter().all(|job| job.expected.is_some())
    }

    /// How long a job would wait behind the first `ahead` of its jobs. A job that exceeds its estimate, or
    /// has none, may last as long again.
    pub fn wait_ahead(&self, ahead: usize, now: UnixMillis) -> Duration {
        let jobs = &self.jobs[..ahead.min(self.jobs.len())];
        if jobs.is_empty() && self.snapshot.foreign == 0 {
            return Duration::ZERO;
        }
        let since = self.jobs.first().and_then(|first| first.first_since);
        let ran = since.map_or(Duration::ZERO, |since| now.since(since));
        let expected: Duration = jobs.iter().filter_map(|job| job.expected).sum();
        match expected.checked_sub(ran) {
            Some(left) if self.is_foreseeable() && !left.is_zero() => left,
            _ => ran,
        }
    }

    /// The models that will be loaded when its jobs are done.
    pub fn models_after_jobs(&self) -> &[String] {
        let last = self.jobs.iter().rev().find(|job| !job.needs.models.is_empty());
        last.map_or(&self.loaded, |job| &job.needs.models)
    }

    /// Whether a job would find its models loaded.
    pub fn is_warm_for(&self, models: &[String]) -> bool {
        let has = self.models_after_jobs();
        models.iter().all(|model| has.contains(model))
    }

    pub fn assign(
        &mut self,
        id: PromptId,
        key: Arc<GroupKey>,
        needs: Arc<crate::domain::needs::JobNeeds>,
        times: &RunEstimates,
        now: UnixMillis,
    ) {
        let cold = !self.is_warm_for(&needs.models);
        let first_since = self.jobs.is_empty().then_some(now);
        let expected = times.estimate(&needs, cold);
        self.jobs.push(AssignedJob { id, key, needs, expected, cold, first_since, recalled: false });
    }

    /// Removes a job.
    pub fn release(&mut self, id: PromptId, now: UnixMillis) -> Option<AssignedJob> {
        let at = self.jobs.iter().position(|job| job.id == id)?;
        let job = self.jobs.remove(at);
        if let Some(first) = self.jobs.first_mut() {
            first.first_since.get_or_insert(now);
        }
        Some(job)
    }
}
