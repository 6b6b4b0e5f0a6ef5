//! The waiting jobs in claim order: by priority, then fairly between callers, then first come, first served.
//! Jobs that every backend treats alike share a group, and only the first of each group is looked at.
//!
//! Fairness is start-time fair queueing. Each caller has a virtual time: the estimated run time of its jobs
//! so far. The caller with the least is next. A caller that (re)appears starts at the time of the last one
//! served, so nobody saves up for a burst and nobody waits behind another's backlog.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use super::job_group::GroupKey;
use crate::domain::id::PromptId;
use crate::domain::needs::JobNeeds;
use crate::domain::retry::is_due;
use crate::domain::time::UnixMillis;
use crate::store::WaitingJob;

/// A caller's name, shared by all its jobs.
pub(super) type CallerName = Arc<str>;

/// The order of jobs of one priority: the caller's virtual time in microseconds, then the order of
/// acceptance.
pub(super) type FairTag = (u64, i64);

/// Callers of one priority that are remembered although none of their jobs waits.
const REMEMBERED: usize = 1_024;

/// A waiting job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct QueueEntry {
    pub id: PromptId,
    pub seq: i64,
    pub priority: i32,
    pub caller: CallerName,
    pub needs: Arc<JobNeeds>,
    pub key: Arc<GroupKey>,
    pub not_before: UnixMillis,
    pub awaits_inputs: bool,
}

/// The jobs of one group and priority that could be claimed now.
#[derive(Debug, Clone, Default)]
pub(super) struct JobGroup {
    jobs: HashMap<CallerName, BTreeSet<(i64, PromptId)>>,
    /// Each caller's virtual time and first job.
    heads: BTreeSet<(u64, i64, PromptId, CallerName)>,
    /// Since when later jobs are preferred to the group's first job.
    pub passed_since: Option<UnixMillis>,
    /// Since when the group's first job is kept from a free backend that could run it.
    pub held_since: Option<UnixMillis>,
    /// The needs of one of the group's jobs.
    pub sample: Option<Arc<JobNeeds>>,
}

impl JobGroup {
    /// The group's first job and its place among the other groups' first jobs.
    pub fn head(&self) -> Option<(FairTag, PromptId)> {
        self.heads.first().map(|(virtual_time, seq, id, _)| ((*virtual_time, *seq), *id))
    }

    fn head_of(&self, caller: &CallerName) -> Option<(i64, PromptId)> {
        self.jobs.get(caller)?.first().copied()
    }

    /// Applies `change` to a caller's jobs or virtual time while the caller's head is out of the order.
    fn reorder(
        &mut self,
        caller: &CallerName,
        (before, after): (u64, u64),
        change: impl FnOnce(&mut HashMap<CallerName, BTreeSet<(i64, PromptId)>>),
    ) {
        if let Some((seq, id)) = self.head_of(caller) {
            self.heads.remove(&(before, seq, id, caller.clone()));
        }
        change(&mut self.jobs);
        if let Some((seq, id)) = self.head_of(caller) {
            self.heads.insert((after, seq, id, caller.clone()));
        }
    }
}

#[derive(Debug, Clone, Default)]
struct CallerShare {
    /// In microseconds.
    virtual_time: u64,
    /// The groups in which jobs of the caller wait.
    groups: BTreeSet<Arc<GroupKey>>,
}

/// The jobs of one priority.
#[derive(Debug, Clone, Default)]
pub(super) struct PriorityLevel {
    pub groups: BTreeMap<Arc<GroupKey>, JobGroup>,
    shares: HashMap<CallerName, CallerShare>,
    /// The virtual time of the caller served last.
    clock: u64,
}

/// All waiting jobs.
#[derive(Debug, Clone, Default)]
pub(super) struct WaitingQueue {
    entries: HashMap<PromptId, QueueEntry>,
    levels: BTreeMap<Reverse<i32>, PriorityLevel>,
    /// Jobs that are not due yet.
    delayed: BTreeSet<(UnixMillis, PromptId)>,
    keys: BTreeSet<Arc<GroupKey>>,
    callers: BTreeSet<CallerName>,
}

impl WaitingQueue {
    /// Adds a job, or updates it.
    pub fn upsert(&mut self, job: &WaitingJob, outgrown: Option<u64>, now: UnixMillis) {
        let entry = QueueEntry {
            id: job.prompt_id,
            seq: job.place.seq,
            priority: job.priority,
            caller: interned(&mut self.callers, Arc::from(job.caller.as_str())),
            needs: Arc::new(job.needs.clone()),
            key: interned(&mut self.keys, Arc::new(GroupKey::of(job, outgrown))),
            not_before: job.not_before,
            awaits_inputs: job.awaits_inputs,
        };
        // The whole queue is read again from time to time. A known job keeps its place, and how long it was
        // passed over.
        if self.entries.get(&entry.id) != Some(&entry) {
            self.remove(entry.id);
            self.insert(entry, now);
        }
    }

    fn insert(&mut self, entry: QueueEntry, now: UnixMillis) {
        if !is_due(entry.not_before, now) {
            self.delayed.insert((entry.not_before, entry.id));
        } else if !entry.awaits_inputs {
            self.level(entry.priority).add(&entry);
        }
        self.entries.insert(entry.id, entry);
    }

    fn level(&mut self, priority: i32) -> &mut PriorityLevel {
        self.levels.entry(Reverse(priority)).or_default()
    }

    /// Removes a job.
    pub fn remove(&mut self, id: PromptId) -> Option<QueueEntry> {
        let entry = self.entries.remove(&id)?;
        if !self.delayed.remove(&(entry.not_before, id)) && !entry.awaits_inputs {
            self.take_from_level(&entry, None);
        }
        self.drop_unused();
        Some(entry)
    }

    /// Removes a job that is claimed, and charges its caller `cost`.
    pub fn take_next(&mut self, id: PromptId, cost: Duration) -> Option<QueueEntry> {
        let entry = self.entries.remove(&id)?;
        self.take_from_level(&entry, Some(cost));
        self.drop_unused();
        Some(entry)
    }

    fn take_from_level(&mut self, entry: &QueueEntry, cost: Option<Duration>) {
        let level = self.level(entry.priority);
        level.take(entry, cost.map(|cost| u64::try_from(cost.as_micros()).unwrap_or(u64::MAX).max(1)));
        if level.shares.is_empty() {
            self.levels.remove(&Reverse(entry.priority));
        }
    }

    /// Drops keys and callers that only this table still refers to, once there are many.
    fn drop_unused(&mut self) {
        if self.keys.len() + self.callers.len() > 256 + 4 * self.entries.len() {
            self.keys.retain(|key| Arc::strong_count(key) > 1);
            self.callers.retain(|caller| Arc::strong_count(caller) > 1);
        }
    }

    /// Makes jobs claimable that are due.
    pub fn release_due(&mut self, now: UnixMillis) {
        let due = |(moment, _): &&(UnixMillis, PromptId)| is_due(*moment, now);
        while let Some((moment, id)) =
            self.delayed.first().filter(due).or(self.delayed.last().filter(due)).copied()
        {
            self.delayed.remove(&(moment, id));
            if let Some(entry) = self.entries.get(&id).filter(|entry| !entry.awaits_inputs).cloned() {
                self.level(entry.priority).add(&entry);
            }
        }
    }

    /// When the next job is due.
    pub fn next_release(&self) -> Option<UnixMillis> {
        self.delayed.first().map(|(moment, _)| *moment)
    }

    /// Moves every job for which `change` returns another group to that group.
    pub fn regroup(&mut self, now: UnixMillis, change: impl Fn(&QueueEntry) -> Option<GroupKey>) {
        let changed: Vec<_> =
            self.entries.values().filter_map(|entry| Some((entry.id, change(entry)?))).collect();
        for (id, key) in changed {
            let passed_since = self.group_of(id).and_then(|group| group.passed_since);
            if let Some(entry) = self.remove(id) {
                let key = interned(&mut self.keys, Arc::new(key));
                self.insert(QueueEntry { key, ..entry }, now);
            }
            // The group keeps how long it was passed over.
            if let (Some(since), Some(group)) = (passed_since, self.group_of(id)) {
                group.passed_since.get_or_insert(since);
            }
        }
    }

    /// The group of a job that could be claimed.
    fn group_of(&mut self, id: PromptId) -> Option<&mut JobGroup> {
        let entry = self.entries.get(&id)?;
        self.levels.get_mut(&Reverse(entry.priority))?.groups.get_mut(&entry.key)
    }

    /// The priority levels with claimable jobs, highest first.
    pub fn levels_mut(&mut self) -> impl Iterator<Item = (i32, &mut PriorityLevel)> {
        self.levels.iter_mut().map(|(priority, level)| (priority.0, level))
    }

    /// The same, read-only.
    pub fn levels(&self) -> impl Iterator<Item = &PriorityLevel> {
        self.levels.values()
    }

    pub fn get(&self, id: PromptId) -> Option<&QueueEntry> {
        self.entries.get(&id)
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// All jobs in claim order, including those that wait for inputs or are not due.
    pub fn in_claim_order(&self, cost: impl Fn(&JobNeeds) -> Duration) -> Vec<&QueueEntry> {
        let mut by_share: BTreeMap<(Reverse<i32>, &CallerName), Vec<&QueueEntry>> = BTreeMap::new();
        for entry in self.entries.values() {
            by_share.entry((Reverse(entry.priority), &entry.caller)).or_default().push(entry);
        }
        let mut tagged: Vec<(Reverse<i32>, u64, i64, &QueueEntry)> = Vec::with_capacity(self.entries.len());
        for ((priority, caller), mut entries) in by_share {
            entries.sort_unstable_by_key(|entry| entry.seq);
            let level = self.levels.get(&priority);
            let mut virtual_time = level.map_or(0, |level| level.time_of(caller));
            for entry in entries {
                tagged.push((priority, virtual_time, entry.seq, entry));
                let cost = u64::try_from(cost(&entry.needs).as_micros()).unwrap_or(u64::MAX);
                virtual_time = virtual_time.saturating_add(cost.max(1));
            }
        }
        tagged.sort_unstable_by_key(|(priority, virtual_time, seq, _)| (*priority, *virtual_time, *seq));
        tagged.into_iter().map(|(.., entry)| entry).collect()
    }
}

impl PriorityLevel {
    fn time_of(&self, caller: &CallerName) -> u64 {
        self.shares.get(caller).map_or(self.clock, |share| {
            if share.groups.is_empty() { share.virtual_time.max(self.clock) } else { share.virtual_time }
        })
    }

    fn add(&mut self, entry: &QueueEntry) {
        let virtual_time = self.time_of(&entry.caller);
        let share = self.shares.entry(entry.caller.clone()).or_default();
        share.virtual_time = virtual_time;
        share.groups.insert(entry.key.clone());
        let group = self.groups.entry(entry.key.clone()).or_default();
        group.sample = Some(entry.needs.clone());
        group.reorder(&entry.caller, (virtual_time, virtual_time), |jobs| {
            jobs.entry(entry.caller.clone()).or_default().insert((entry.seq, entry.id));
        });
    }

    /// Removes a job; a claim advances its caller's virtual time by `cost`.
    fn take(&mut self, entry: &QueueEntry, cost: Option<u64>) {
        let Some(share) = self.shares.get_mut(&entry.caller) else { return };
        let before = share.virtual_time;
        let after = before.saturating_add(cost.unwrap_or(0));
        share.virtual_time = after;
        if cost.is_some() {
            self.clock = self.clock.max(before);
        }
        // The next job of the group finds its models loaded on the same backend. Jobs that avoid a backend
        // have waited no longer than the first of them.
        let finds_its_models = !entry.key.models.is_empty() && entry.key.failed_on.is_none();
        if cost.is_some()
            && finds_its_models
            && let Some(group) = self.groups.get_mut(&entry.key)
        {
            group.passed_since = None;
        }
        let mut emptied = None;
        for key in &share.groups {
            let Some(group) = self.groups.get_mut(key) else { continue };
            group.reorder(&entry.caller, (before, after), |jobs| {
                if *key == entry.key
                    && let Some(waiting) = jobs.get_mut(&entry.caller)
                {
                    waiting.remove(&(entry.seq, entry.id));
                    if waiting.is_empty() {
                        jobs.remove(&entry.caller);
                        emptied = Some(key.clone());
                    }
                }
            });
        }
        if let Some(key) = emptied {
            share.groups.remove(&key);
            if self.groups.get(&key).is_some_and(|group| group.heads.is_empty()) {
                self.groups.remove(&key);
            }
        }
        self.drop_idle_shares();
    }

    /// Drops callers without jobs whose virtual time has been reached, because nothing is left to remember.
    fn drop_idle_shares(&mut self) {
        let nobody_waits = self.groups.is_empty();
        if nobody_waits || self.shares.len() > REMEMBERED {
            let clock = self.clock;
            self.shares
                .retain(|_, share| !share.groups.is_empty() || (!nobody_waits && share.virtual_time > clock));
        }
    }
}

/// The one shared reference for all values equal to `value`.
fn interned<T: ?Sized + Ord>(known: &mut BTreeSet<Arc<T>>, value: Arc<T>) -> Arc<T> {
    if let Some(same) = known.get(&value) {
        return same.clone();
    }
    known.insert(value.clone());
    value
}
