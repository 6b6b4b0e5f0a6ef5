//! Chooses which waiting job goes to which free backend. Backends with the models loaded come first, but no
//! job waits for that longer than [`DispatchSettings::patience`](super::settings::DispatchSettings).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::backend_queue::BackendQueue;
use super::estimates::RunEstimates;
use super::job_group::GroupKey;
use super::settings::DispatchSettings;
use super::waiting_queue::{FairTag, JobGroup, WaitingQueue};
use crate::domain::id::{BackendName, PromptId};
use crate::domain::time::UnixMillis;

/// The backends by name.
pub(super) type BackendQueues = BTreeMap<BackendName, BackendQueue>;

/// What a choice depends on.
pub(super) struct PlacementChoice<'a> {
    pub backends: &'a BackendQueues,
    pub estimates: &'a RunEstimates,
    pub settings: DispatchSettings,
    pub now: UnixMillis,
}

/// A group whose first job a backend could take.
struct PlacementCandidate<'l> {
    tag: FairTag,
    id: PromptId,
    key: &'l Arc<GroupKey>,
    overdue: bool,
}

impl PlacementChoice<'_> {
    /// The next job to assign and its backend, if a backend with room can run one.
    pub fn next(&self, line: &WaitingQueue) -> Option<(PromptId, BackendName)> {
        let mut free: Vec<&BackendQueue> =
            self.backends.values().filter(|backend| backend.has_room(self.now)).collect();
        if free.is_empty() {
            return None;
        }
        free.sort_by_key(|backend| {
            (backend.load(), backend.snapshot.degraded, backend.remaining_total(self.now))
        });
        for level in line.levels() {
            let groups = &level.groups;
            let found = self.without_loading(&free, groups).or_else(|| self.with_loading(&free, groups));
            if found.is_some() {
                return found;
            }
        }
        None
    }

    /// Notes which groups are passed over when the job `chosen` goes to a backend: those with a higher
    /// priority or an earlier job that could have had it.
    /// higher priority or an earlier job that could have had it.
    pub fn note_passed(&self, line: &mut WaitingQueue, chosen: PromptId, backend: &BackendName) {
        let (Some(entry), Some(backend)) = (line.get(chosen).cloned(), self.backends.get(backend)) else {
            return;
        };
        for (priority, level) in line.levels_mut() {
            let tag = level.groups.get(&entry.key).and_then(JobGroup::head).map(|(tag, _)| tag);
            for (key, group) in &mut level.groups {
                let before = priority > entry.priority || group.head().map(|(tag, _)| tag) < tag;
                if before && key.can_run_on(backend) {
                    group.passed_since.get_or_insert(self.now);
                }
            }
            if priority == entry.priority {
                return;
            }
        }
    }

    /// Notes which groups are kept from a backend with room, and clears the note of the others.
    pub fn note_held(&self, line: &mut WaitingQueue) {
        let free: Vec<&BackendQueue> =
            self.backends.values().filter(|backend| backend.has_room(self.now)).collect();
        for (key, group) in line.levels_mut().flat_map(|(_, level)| &mut level.groups) {
            if free.iter().any(|backend| key.can_run_on(backend)) {
                group.held_since.get_or_insert(self.now);
            } else {
                group.held_since = None;
            }
        }
    }

    /// The groups whose first job a backend could take, in claim order.
    fn candidates<'l>(
        &self,
        backend: &BackendQueue,
        groups: &'l BTreeMap<Arc<GroupKey>, JobGroup>,
    ) -> Vec<PlacementCandidate<'l>> {
        let mut candidates: Vec<PlacementCandidate<'_>> = groups
            .iter()
            .filter_map(|(key, group)| {
                let (tag, id) = group.head()?;
                let patience = self.settings.patience;
                let since = group.passed_since.into_iter().chain(group.held_since).min();
                let waited = since.map(|since| self.now.since(since));
                let overdue = patience.is_zero() || waited.is_some_and(|waited| waited >= patience);
                self.can_take(backend, key, overdue).then_some(PlacementCandidate { tag, id, key, overdue })
            })
            .collect();
        candidates.sort_unstable_by_key(|candidate| candidate.tag);
        candidates
    }

    /// Whether a job may go to a backend now. A job that failed there, or needs more memory, goes elsewhere
    /// if it can.
    fn can_take(&self, backend: &BackendQueue, key: &GroupKey, overdue: bool) -> bool {
        if !key.can_run_on(backend) {
            return false;
        }
        let better = |good: &dyn Fn(&BackendQueue) -> bool| {
            self.backends.values().any(|other| other.is_open() && key.can_run_on(other) && good(other))
        };
        let outgrown = !key.is_allowed_on(backend) && better(&|other| key.is_allowed_on(other));
        let failed = !overdue && key.has_failed_on(backend) && better(&|other| !key.has_failed_on(other));
        !outgrown && !failed
    }

    /// The first job that finds its models loaded, needs none, or has waited long enough.
    fn without_loading(
        &self,
        free: &[&BackendQueue],
        groups: &BTreeMap<Arc<GroupKey>, JobGroup>,
    ) -> Option<(PromptId, BackendName)> {
        for backend in free {
            let candidates = self.candidates(backend, groups);
            let Some(first) = candidates.first() else { continue };
            if first.overdue {
                return Some((first.id, backend.snapshot.name.clone()));
            }
            let near = candidates.iter().position(|candidate| self.is_near(backend, candidate.key, groups));
            if let Some(at) = near {
                return Some((candidates[at].id, backend.snapshot.name.clone()));
            }
        }
        None
    }

    /// The first job for which a backend must load models, unless it starts sooner where they are loaded.
    fn with_loading(
        &self,
        free: &[&BackendQueue],
        groups: &BTreeMap<Arc<GroupKey>, JobGroup>,
    ) -> Option<(PromptId, BackendName)> {
        let mut free = free.to_vec();
        // Loading costs least on a backend with nothing loaded, or with models that few jobs wait for.
        free.sort_by_key(|backend| (backend.load(), backend.snapshot.degraded, wanted(backend, groups)));
        for backend in free {
            let mut candidates = self.candidates(backend, groups).into_iter();
            let here = |candidate: &PlacementCandidate<'_>| {
                candidate.overdue || !self.is_sooner_elsewhere(backend, candidate.key, groups)
            };
            if let Some(chosen) = candidates.find(here) {
                return Some((chosen.id, backend.snapshot.name.clone()));
            }
        }
        None
    }

    /// Whether a backend will have a group's models loaded before an idle one could load them.
    fn is_near(
        &self,
        backend: &BackendQueue,
        key: &Arc<GroupKey>,
        groups: &BTreeMap<Arc<GroupKey>, JobGroup>,
    ) -> bool {
        if !backend.is_warm_for(&key.models) {
            return false;
        }
        let wait = backend.wait_ahead(backend.jobs.len(), self.now);
        let idle_takes_it = |other: &BackendQueue| {
            other.is_open() && other.load() == 0 && self.can_take(other, key, false) && {
                let load = self.loading(key, groups);
                load.is_some_and(|load| load < wait)
            }
        };
        key.models.is_empty() || wait.is_zero() || !self.backends.values().any(idle_takes_it)
    }

    /// How long loading a group's models takes.
    fn loading(&self, key: &Arc<GroupKey>, groups: &BTreeMap<Arc<GroupKey>, JobGroup>) -> Option<Duration> {
        self.estimates.load_time(groups.get(key)?.sample.as_ref()?)
    }

    /// Whether a backend with the models loaded will be free before `backend` has loaded them.
    fn is_sooner_elsewhere(
        &self,
        backend: &BackendQueue,
        key: &Arc<GroupKey>,
        groups: &BTreeMap<Arc<GroupKey>, JobGroup>,
    ) -> bool {
        let Some(load) = self.loading(key, groups) else { return false };
        let here = backend.wait_ahead(backend.jobs.len(), self.now) + load;
        self.backends.values().any(|other| {
            other.snapshot.name != backend.snapshot.name
                && other.is_open()
                && self.can_take(other, key, false)
                && other.is_warm_for(&key.models)
                && other.is_foreseeable()
                && other.wait_ahead(other.jobs.len(), self.now) < here
        })
    }
}

/// How many groups wait for a backend's loaded models, plus one if it has any loaded.
fn wanted(backend: &BackendQueue, groups: &BTreeMap<Arc<GroupKey>, JobGroup>) -> usize {
    let has = backend.models_after_jobs();
    if has.is_empty() {
        return 0;
    }
    1 + groups.keys().filter(|key| !key.models.is_empty() && backend.is_warm_for(&key.models)).count()
}
