//! A minimal ComfyUI: its running and pending runs, its history, and its faults.

use std::collections::{BTreeMap, VecDeque};

use comfy_gateway::domain::id::{AttemptId, BackendName};
use comfy_gateway::scheduler::attempt::machine::RunSighting;

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunEnd {
    Success,
    NodeError,
    OutOfMemory,
    Interrupted,
}

/// A run as the backend knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    pub id: AttemptId,
    pub takes: i64,
    pub end: RunEnd,
}

/// One backend. Moments are milliseconds of the simulation's own clock, which never jumps.
#[derive(Debug)]
pub struct Server {
    pub name: BackendName,
    pub labels: Vec<String>,
    pub up: bool,
    /// Requests get no answer, but may still arrive.
    pub partitioned: bool,
    /// Its websocket reports nothing.
    pub deaf: bool,
    /// Its worker is stuck.
    pub stuck: bool,
    /// How long after a run's end its history has it.
    pub history_lag: i64,
    pub queue: VecDeque<Run>,
    /// The running run and its start.
    pub running: Option<(Run, i64)>,
    /// How and when each run ended.
    pub history: BTreeMap<AttemptId, (RunEnd, i64)>,
    /// Requests that broke off and arrive later.
    pub late: Vec<(i64, Run)>,
    /// Every run that ever began, in order.
    pub begun: Vec<AttemptId>,
    pub restarts: u64,
}

impl Server {
    pub fn new(name: &str) -> Self {
        Self {
            name: BackendName::parse(name).unwrap(),
            labels: Vec::new(),
            up: true,
            partitioned: false,
            deaf: false,
            stuck: false,
            history_lag: 0,
            queue: VecDeque::new(),
            running: None,
            history: BTreeMap::new(),
            late: Vec::new(),
            begun: Vec::new(),
            restarts: 0,
        }
    }

    pub fn answers(&self) -> bool {
        self.up && !self.partitioned
    }

    /// Restarts it, which loses everything.
    pub fn crash(&mut self) {
        self.up = false;
        self.queue.clear();
        self.running = None;
        self.history.clear();
        self.late.clear();
        self.stuck = false;
        self.restarts += 1;
    }

    pub fn accept(&mut self, run: Run, now: i64) {
        self.queue.push_back(run);
        self.work(now);
    }

    /// Carries out everything that is due at `now`.
    pub fn work(&mut self, now: i64) {
        if !self.up {
            return;
        }
        let due: Vec<Run> = self.late.iter().filter(|(at, _)| *at <= now).map(|(_, run)| *run).collect();
        self.late.retain(|(at, _)| *at > now);
        self.queue.extend(due);
        while !self.stuck {
            match self.running {
                Some((run, since)) if since + run.takes <= now => {
                    self.history.insert(run.id, (run.end, since + run.takes));
                    self.running = None;
                    self.begin(since + run.takes);
                }
                Some(_) => return,
                None if self.queue.is_empty() => return,
                None => self.begin(now),
            }
        }
    }

    fn begin(&mut self, at: i64) {
        if let Some(run) = self.queue.pop_front() {
            self.begun.push(run.id);
            self.running = Some((run, at));
        }
    }

    /// The moment of its next event.
    pub fn next_event(&self) -> Option<i64> {
        let end = self.running.filter(|_| self.up && !self.stuck).map(|(run, since)| since + run.takes);
        let late = self.late.iter().map(|(at, _)| *at).min().filter(|_| self.up);
        let visible = self.history.values().map(|(_, at)| at + self.history_lag).min();
        [end, late, visible].into_iter().flatten().min()
    }

    pub fn has(&self, id: AttemptId) -> bool {
        self.is_running(id) || self.queue.iter().any(|run| run.id == id)
    }

    pub fn is_running(&self, id: AttemptId) -> bool {
        self.running.is_some_and(|(run, _)| run.id == id)
    }

    /// The answer of the history at `now`.
    pub fn remembers(&self, id: AttemptId, now: i64) -> Option<RunEnd> {
        self.history.get(&id).filter(|(_, at)| at + self.history_lag <= now).map(|(end, _)| *end)
    }

    /// The answer of the queue; `None` if the history must be asked.
    pub fn in_queue(&self, id: AttemptId) -> Option<RunSighting> {
        if !self.up {
            return Some(RunSighting::Refused);
        }
        if self.partitioned {
            return Some(RunSighting::Unreachable);
        }
        if self.is_running(id) {
            return Some(RunSighting::Running);
        }
        self.has(id).then_some(RunSighting::Pending)
    }

    pub fn in_history(&self, id: AttemptId, now: i64) -> RunSighting {
        match (self.in_queue(id), self.remembers(id, now)) {
            (Some(failed @ (RunSighting::Refused | RunSighting::Unreachable)), _) => failed,
            (_, Some(_)) => RunSighting::Ended,
            // It is between the two: a real server removes it from the queue when it writes the history.
            (_, None) if self.history.contains_key(&id) => RunSighting::Running,
            (_, None) => RunSighting::Absent,
        }
    }

    pub fn interrupt(&mut self, id: AttemptId, now: i64) {
        if self.answers() && !self.stuck && self.is_running(id) {
            self.history.insert(id, (RunEnd::Interrupted, now));
            self.running = None;
            self.work(now);
        }
    }

    pub fn withdraw(&mut self, id: AttemptId) {
        if self.answers() {
            self.queue.retain(|run| run.id != id);
        }
    }
}
