//! Which waiting job goes to which free server: first to servers that have its models loaded, but no job waits for that
//! longer than [`DispatchSettings::patience`](super::settings::DispatchSettings). It must not hand anything out itself.

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

/// The servers by name.
pub(super) type BackendQueues = BTreeMap<BackendName, BackendQueue>;

/// What a choice is made by.
pub(super) struct PlacementChoice<'a> {
    pub backends: &'a BackendQueues,
    pub estimates: &'a RunEstimates,
    pub settings: DispatchSettings,
    pub now: UnixMillis,
}

/// A group whose first job a server could take.
struct PlacementCandidate<'l> {
    tag: FairTag,
    id: PromptId,
    key: &'l Arc<GroupKey>,
    overdue: bool,
}

impl PlacementChoice<'_> {
    /// The next job to hand out and its server, if a server has room for one that it may run.
    pub fn next(&self, line: &WaitingQueue) -> Option<(PromptId, BackendName)> {
        let mut free: Vec<&BackendQueue> =
            self.backends.values().filter(|server| server.has_room(self.now)).collect();
        if free.is_empty() {
            return None;
        }
        free.sort_by_key(|server| {
            (server.load(), server.snapshot.degraded, server.remaining_total(self.now))
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

    /// Notes which groups are passed over when the first job of the group `chosen` is given to a server: those with a
    /// higher priority or an earlier job that could have had it.
    pub fn note_passed(&self, line: &mut WaitingQueue, chosen: PromptId, backend: &BackendName) {
        let (Some(entry), Some(server)) = (line.get(chosen).cloned(), self.backends.get(backend)) else {
            return;
        };
        for (priority, level) in line.levels_mut() {
            let tag = level.groups.get(&entry.key).and_then(JobGroup::head).map(|(tag, _)| tag);
            for (key, group) in &mut level.groups {
                let before = priority > entry.priority || group.head().map(|(tag, _)| tag) < tag;
                if before && key.can_run_on(server) {
                    group.passed_since.get_or_insert(self.now);
                }
            }
            if priority == entry.priority {
                return;
            }
        }
    }

    /// Notes which groups are kept from a server that has room, and that the others are not.
    pub fn note_held(&self, line: &mut WaitingQueue) {
        let free: Vec<&BackendQueue> =
            self.backends.values().filter(|server| server.has_room(self.now)).collect();
        for (key, group) in line.levels_mut().flat_map(|(_, level)| &mut level.groups) {
            if free.iter().any(|server| key.can_run_on(server)) {
                group.held_since.get_or_insert(self.now);
            } else {
                group.held_since = None;
            }
        }
    }

    /// The jobs that a server could take, in their order.
    fn candidates<'l>(
        &self,
        server: &BackendQueue,
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
                self.can_take(server, key, overdue).then_some(PlacementCandidate { tag, id, key, overdue })
            })
            .collect();
        candidates.sort_unstable_by_key(|candidate| candidate.tag);
        candidates
    }

    /// Whether a job may go to a server now: one that failed there, or has outgrown it, goes elsewhere if it can.
    fn can_take(&self, server: &BackendQueue, key: &GroupKey, overdue: bool) -> bool {
        if !key.can_run_on(server) {
            return false;
        }
        let better = |good: &dyn Fn(&BackendQueue) -> bool| {
            self.backends.values().any(|other| other.is_open() && key.can_run_on(other) && good(other))
        };
        let outgrown = !key.is_allowed_on(server) && better(&|other| key.is_allowed_on(other));
        let failed = !overdue && key.has_failed_on(server) && better(&|other| !key.has_failed_on(other));
        !outgrown && !failed
    }

    /// A job whose models are loaded where it goes, or that needs none; or one that has waited long enough.
    fn without_loading(
        &self,
        free: &[&BackendQueue],
        groups: &BTreeMap<Arc<GroupKey>, JobGroup>,
    ) -> Option<(PromptId, BackendName)> {
        for server in free {
            let candidates = self.candidates(server, groups);
            let Some(first) = candidates.first() else { continue };
            if first.overdue {
                return Some((first.id, server.snapshot.name.clone()));
            }
            let near = candidates.iter().position(|candidate| self.is_near(server, candidate.key, groups));
            if let Some(at) = near {
                return Some((candidates[at].id, server.snapshot.name.clone()));
            }
        }
        None
    }

    /// A job for which its server must load models, unless it starts sooner where they are loaded.
    fn with_loading(
        &self,
        free: &[&BackendQueue],
        groups: &BTreeMap<Arc<GroupKey>, JobGroup>,
    ) -> Option<(PromptId, BackendName)> {
        let mut free = free.to_vec();
        // Nothing is lost on a server that has nothing loaded, and least where nobody waits for what it has.
        free.sort_by_key(|server| (server.load(), server.snapshot.degraded, wanted(server, groups)));
        for server in free {
            let mut candidates = self.candidates(server, groups).into_iter();
            let here = |candidate: &PlacementCandidate<'_>| {
                candidate.overdue || !self.is_sooner_elsewhere(server, candidate.key, groups)
            };
            if let Some(chosen) = candidates.find(here) {
                return Some((chosen.id, server.snapshot.name.clone()));
            }
        }
        None
    }

    /// Whether a server has what a group needs loaded, and no idle one would have loaded it before this one is ready.
    fn is_near(
        &self,
        server: &BackendQueue,
        key: &Arc<GroupKey>,
        groups: &BTreeMap<Arc<GroupKey>, JobGroup>,
    ) -> bool {
        if !server.is_warm_for(&key.models) {
            return false;
        }
        let wait = server.wait_ahead(server.jobs.len(), self.now);
        let idle_takes_it = |other: &BackendQueue| {
            other.is_open() && other.load() == 0 && self.can_take(other, key, false) && {
                let load = self.loading(key, groups);
                load.is_some_and(|load| load < wait)
            }
        };
        key.models.is_empty() || wait.is_zero() || !self.backends.values().any(idle_takes_it)
    }

    /// How long loading takes what a group needs.
    fn loading(&self, key: &Arc<GroupKey>, groups: &BTreeMap<Arc<GroupKey>, JobGroup>) -> Option<Duration> {
        self.estimates.load_time(groups.get(key)?.sample.as_ref()?)
    }

    /// Whether a server that has the models loaded will be ready for the job before `server` has loaded them.
    fn is_sooner_elsewhere(
        &self,
        server: &BackendQueue,
        key: &Arc<GroupKey>,
        groups: &BTreeMap<Arc<GroupKey>, JobGroup>,
    ) -> bool {
        let Some(load) = self.loading(key, groups) else { return false };
        let here = server.wait_ahead(server.jobs.len(), self.now) + load;
        self.backends.values().any(|other| {
            other.snapshot.name != server.snapshot.name
                && other.is_open()
                && self.can_take(other, key, false)
                && other.is_warm_for(&key.models)
                && other.is_foreseeable()
                && other.wait_ahead(other.jobs.len(), self.now) < here
        })
    }
}

/// How many groups wait for what a server has loaded, with one more for having anything loaded.
fn wanted(server: &BackendQueue, groups: &BTreeMap<Arc<GroupKey>, JobGroup>) -> usize {
    let has = server.models_after_jobs();
    if has.is_empty() {
        return 0;
    }
    1 + groups.keys().filter(|key| !key.models.is_empty() && server.is_warm_for(&key.models)).count()
}
