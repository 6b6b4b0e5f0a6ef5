//! The dispatcher as a pure machine: [`DispatchEvent`]s go in and [`DispatchAction`]s come out. It does no
//! I/O, reads no clock and draws no random numbers, so the same events at the same moments give the same
//! actions.
//!
//! It keeps the waiting jobs in claim order ([`super::waiting_queue`]), the jobs assigned to each backend
//! ([`super::backend_queue`]), and estimates of run times ([`super::estimates`]). The store is the truth: a
//! claim that the store refuses does no harm.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::backend_queue::{BackendQueue, BackendSnapshot};
use super::estimates::{RunEstimates, RunObservation};
use super::forecast::{self, QueueForecast};
use super::job_group::GroupKey;
use super::placement::{BackendQueues, PlacementChoice};
use super::recall;
use super::settings::DispatchSettings;
use super::waiting_queue::WaitingQueue;
use crate::domain::id::{BackendName, PromptId};
use crate::domain::needs::JobNeeds;
use crate::domain::time::UnixMillis;
use crate::store::WaitingJob;

/// What the dispatcher is told.
#[derive(Debug, Clone)]
pub enum DispatchEvent {
    /// These jobs are queued, or changed while they are queued.
    Queued(Vec<WaitingJob>),
    /// These jobs left the queue unclaimed: cancelled, expired or failed.
    Left(Vec<PromptId>),
    /// All backends of the pool.
    Backends(Vec<BackendSnapshot>),
    /// An attempt of an earlier process continues on this backend.
    Adopted {
        /// The job.
        id: PromptId,
        /// The backend.
        backend: BackendName,
        /// What the job needs of a backend.
        needs: JobNeeds,
    },
    /// The result of a claim: for each requested job, whether its attempt has begun.
    Claimed(Vec<(PromptId, BackendName, bool)>),
    /// An attempt ended.
    Ended {
        /// The job.
        id: PromptId,
        /// The backend.
        backend: BackendName,
        /// What the run teaches about run times and memory.
        run: RunObservation,
    },
    /// The capabilities of backends changed, so exclusions no longer hold.
    CapabilitiesChanged,
    /// Time has passed.
    Tick,
}

/// What the dispatcher does.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum DispatchAction {
    /// Claim each of these jobs for its backend, in this order.
    Claim(Vec<(PromptId, BackendName)>),
    /// Ask a job back that waits in its backend's own queue, because another backend is idle.
    Recall(PromptId),
}

/// The state of the dispatcher.
#[derive(Debug, Clone, Default)]
pub struct DispatchState {
    settings: DispatchSettings,
    queue: WaitingQueue,
    backends: BackendQueues,
    estimates: RunEstimates,
    /// The moment of the last event.
    last: UnixMillis,
}

impl DispatchState {
    /// A state without jobs and backends. `estimates` were learned by earlier processes.
    #[must_use]
    pub fn new(settings: DispatchSettings, times: RunEstimates) -> Self {
        Self { settings, estimates: times, ..Self::default() }
    }

    /// The number of waiting jobs.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.queue.len()
    }

    /// Whether the job waits.
    #[must_use]
    pub fn is_waiting(&self, id: PromptId) -> bool {
        self.queue.get(id).is_some()
    }

    /// The jobs assigned to a backend, in the order in which it runs them.
    #[must_use]
    pub fn assigned(&self, backend: &BackendName) -> Vec<PromptId> {
        self.backends
            .get(backend)
            .map(|backend| backend.jobs.iter().map(|job| job.id).collect())
            .unwrap_or_default()
    }

    /// The models that a backend has loaded, according to its last run.
    #[must_use]
    pub fn loaded(&self, backend: &BackendName) -> Vec<String> {
        self.backends.get(backend).map(|backend| backend.loaded.clone()).unwrap_or_default()
    }

    /// The estimates that changed since the last call, to be written to the store.
    #[must_use]
    pub fn take_new_estimates(&mut self) -> Vec<crate::store::ShapeRecord> {
        self.estimates.take_changed()
    }

    /// The latest moment at which [`DispatchEvent::Tick`] is due; `None` while only other events can change
    /// anything.
    #[must_use]
    pub fn next_wake(&self, now: UnixMillis) -> Option<UnixMillis> {
        let rooms = self.backends.values().filter_map(|backend| backend.room_at(now));
        let patience = self
            .queue
            .levels()
            .flat_map(|level| level.groups.values())
            .filter_map(|group| group.passed_since.into_iter().chain(group.held_since).min())
            .map(|since| since.plus(self.settings.patience))
            .filter(|moment| *moment > now);
        let due = self.queue.next_release().into_iter().chain(rooms).chain(patience);
        let next = due.chain(recall::next(&self.backends, now)).min();
        // Moments are whole milliseconds and estimates are not, so a due moment may lie a fraction later.
        next.map(|due| due.max(now.plus(Duration::from_millis(1))))
    }

    /// The forecast of every waiting job.
    #[must_use]
    pub fn forecast(&self, now: UnixMillis) -> QueueForecast {
        forecast::forecast(&self.queue, &self.backends, &self.estimates, now)
    }

    fn assign(
        &mut self,
        id: PromptId,
        backend: &BackendName,
        key: Arc<GroupKey>,
        needs: Arc<JobNeeds>,
        now: UnixMillis,
    ) {
        let backend = self.backends.entry(backend.clone()).or_insert_with(|| {
            // An attempt may be adopted before the pool has reported its backend.
            let mut backend = BackendQueue::new(BackendSnapshot::absent(backend.clone()));
            backend.is_removed = true;
            backend
        });
        backend.assign(id, key, needs, &self.estimates, now);
    }

    fn release(&mut self, id: PromptId, name: &BackendName, run: RunObservation, now: UnixMillis) {
        let Some(backend) = self.backends.get_mut(name) else { return };
        let Some(job) = backend.release(id, now) else { return };
        match run {
            RunObservation::Took(took) => {
                self.estimates.record_run(&job.needs, job.cold, took, now);
                if !job.needs.models.is_empty() {
                    backend.loaded.clone_from(&job.needs.models);
                }
            }
            RunObservation::OutOfMemory => {
                backend.loaded.clear();
                let vram = backend.snapshot.vram;
                if vram.is_some_and(|vram| self.estimates.record_out_of_memory(&job.needs, vram, now)) {
                    self.queue.regroup(now, |entry| {
                        let same = entry.needs.shape == job.needs.shape;
                        same.then(|| GroupKey { outgrown: vram, ..(*entry.key).clone() })
                    });
                }
            }
            RunObservation::Nothing => {}
        }
        if backend.is_removed && backend.jobs.is_empty() {
            self.backends.remove(name);
        }
    }

    /// After the clock was set back, no recorded moment is later than now.
    fn clamp_moments(&mut self, now: UnixMillis) {
        for group in self.queue.levels_mut().flat_map(|(_, level)| level.groups.values_mut()) {
            for moment in [&mut group.passed_since, &mut group.held_since] {
                *moment = moment.map(|moment| moment.min(now));
            }
        }
        for job in self.backends.values_mut().flat_map(|backend| &mut backend.jobs) {
            job.first_since = job.first_since.map(|since| since.min(now));
        }
    }

    fn set_backends(&mut self, views: Vec<BackendSnapshot>) {
        let mut views: BTreeMap<_, _> = views.into_iter().map(|view| (view.name.clone(), view)).collect();
        self.backends.retain(|name, backend| {
            if let Some(view) = views.remove(name) {
                backend.update(view);
                return true;
            }
            backend.is_removed = true;
            !backend.jobs.is_empty()
        });
        self.backends.extend(views.into_iter().map(|(name, view)| (name, BackendQueue::new(view))));
    }

    fn claims(&mut self, now: UnixMillis) -> Vec<(PromptId, BackendName)> {
        let mut claims = Vec::new();
        loop {
            let choice = PlacementChoice {
                backends: &self.backends,
                estimates: &self.estimates,
                settings: self.settings,
                now,
            };
            let Some((id, backend)) = choice.next(&self.queue) else {
                choice.note_held(&mut self.queue);
                return claims;
            };
            choice.note_passed(&mut self.queue, id, &backend);
            let cost =
                self.queue.get(id).map(|entry| self.estimates.estimate_any(&entry.needs)).unwrap_or_default();
            let Some(entry) = self.queue.take_next(id, cost) else { return claims };
            self.assign(id, &backend, entry.key, entry.needs, now);
            claims.push((id, backend));
        }
    }
}

/// Takes one event at `now` and returns the actions that follow.
pub fn handle(state: &mut DispatchState, now: UnixMillis, event: DispatchEvent) -> Vec<DispatchAction> {
    if now < state.last {
        state.clamp_moments(now);
    }
    state.last = now;
    match event {
        DispatchEvent::Queued(jobs) => {
            for job in jobs {
                let outgrown = state.estimates.insufficient_vram(&job.needs);
                state.queue.upsert(&job, outgrown, now);
            }
        }
        DispatchEvent::Left(ids) => ids.into_iter().for_each(|id| drop(state.queue.remove(id))),
        DispatchEvent::Backends(views) => state.set_backends(views),
        DispatchEvent::Adopted { id, backend, needs } => {
            state.assign(id, &backend, Arc::default(), Arc::new(needs), now);
        }
        DispatchEvent::Claimed(answers) => {
            for (id, backend, _) in answers.into_iter().filter(|(.., begun)| !begun) {
                state.release(id, &backend, RunObservation::Nothing, now);
            }
        }
        DispatchEvent::Ended { id, backend, run } => state.release(id, &backend, run, now),
        DispatchEvent::CapabilitiesChanged => state.queue.regroup(now, |entry| {
            let excluded = !entry.key.not_on.is_empty();
            excluded.then(|| GroupKey { not_on: Vec::new(), ..(*entry.key).clone() })
        }),
        DispatchEvent::Tick => {}
    }
    state.queue.release_due(now);
    let claims = state.claims(now);
    let mut actions = Vec::new();
    if !claims.is_empty() {
        actions.push(DispatchAction::Claim(claims));
    }
    actions.extend(
        recall::recalls(&mut state.backends, &state.estimates, now).into_iter().map(DispatchAction::Recall),
    );
    actions
}

#[cfg(test)]
#[path = "machine_tests.rs"]
mod tests;
