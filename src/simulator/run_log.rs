//! The log of a simulator's runs: a file that outlives the process, and the busy and idle times of the
//! present life.
//!
//! A line of the file is a JSON object with `at` (milliseconds since the Unix epoch) and `event`. A life
//! begins with `up`; `queued`, `started`, `succeeded`, `failed`, `interrupted` and `dropped` name the `id` of
//! a prompt and its `marker`, the first `filename_prefix` of its graph; `down` is a crash that was scripted.
//! A process that is killed writes nothing more, and everything that it wrote before is complete.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::sync::Mutex;

use serde_json::{Value, json};

use super::queue::QueuedPrompt;

use crate::lock::LockExt;
/// How many idle times are kept, the oldest going first.
const SPANS: usize = 4_096;

/// An event of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RunEvent {
    Queued,
    Started,
    Succeeded,
    Failed,
    Interrupted,
    /// The run was made to vanish while it executed.
    Dropped,
}

impl RunEvent {
    const fn name(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Started => "started",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Interrupted => "interrupted",
            Self::Dropped => "dropped",
        }
    }
}

/// The log of one server over all its lives. Moments are milliseconds since the Unix epoch.
#[derive(Debug)]
pub(super) struct RunLog {
    file: Option<Mutex<File>>,
    times: Mutex<BusyTimes>,
}

/// The busy and idle times of one life, in milliseconds since the Unix epoch.
#[derive(Debug, Default)]
struct BusyTimes {
    up_since: i64,
    /// Since when the present state lasts.
    since: i64,
    running: Option<String>,
    busy: i64,
    idle: VecDeque<(i64, i64)>,
}

impl RunLog {
    /// Appends to the file at `path`, where one is given.
    pub(super) fn open(path: Option<&Path>) -> io::Result<Self> {
        let open = |path| OpenOptions::new().create(true).append(true).open(path);
        Ok(Self { file: path.map(open).transpose()?.map(Mutex::new), times: Mutex::default() })
    }

    /// A life begins.
    pub(super) fn up(&self, at: i64) {
        *self.times.lock_anyway() = BusyTimes { up_since: at, since: at, ..BusyTimes::default() };
        self.write(&json!({ "at": at, "event": "up" }));
    }

    /// A life ends as scripted.
    pub(super) fn down(&self, at: i64) {
        self.write(&json!({ "at": at, "event": "down" }));
    }

    /// Something happened to a run.
    pub(super) fn note(&self, at: i64, job: &QueuedPrompt, happened: RunEvent) {
        match happened {
            RunEvent::Queued => {}
            RunEvent::Started => self.times.lock_anyway().turn(at, Some(&job.id)),
            _ => self.times.lock_anyway().turn(at, None),
        }
        if self.file.is_some() {
            let event = happened.name();
            self.write(&json!({ "at": at, "event": event, "id": job.id, "marker": marker(job) }));
        }
    }

    /// `up_since`, `running` (a prompt's id), `busy_ms` and `idle` (pairs of begin and end) of the present life.
    pub(super) fn report(&self, at: i64) -> Value {
        let times = self.times.lock_anyway();
        let (mut busy, mut idle) = (times.busy, times.idle.clone());
        if times.running.is_some() {
            busy += at - times.since;
        } else {
            idle.push_back((times.since, at));
        }
        json!({ "up_since": times.up_since, "now": at, "running": times.running, "busy_ms": busy, "idle": idle })
    }

    /// One write per line, so that a killed process leaves a complete line or none.
    fn write(&self, line: &Value) {
        let Some(file) = &self.file else { return };
        if let Err(error) = file.lock_anyway().write_all(format!("{line}\n").as_bytes()) {
            tracing::error!(%error, "the simulator's run log cannot be written");
        }
    }
}

impl BusyTimes {
    fn turn(&mut self, at: i64, running: Option<&str>) {
        if self.running.take().is_some() {
            self.busy += at - self.since;
        } else {
            if self.idle.len() == SPANS {
                self.idle.pop_front();
            }
            self.idle.push_back((self.since, at));
        }
        self.since = at;
        self.running = running.map(str::to_owned);
    }
}

/// The submitter's own name of the job, whatever its id is.
fn marker(job: &QueuedPrompt) -> Option<&str> {
    job.graph.values().find_map(|node| node["inputs"]["filename_prefix"].as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Map;
    use tokio_util::sync::CancellationToken;

    fn job(id: &str) -> QueuedPrompt {
        let graph =
            json!({ "1": { "inputs": { "value": 1 } }, "2": { "inputs": { "filename_prefix": "mine" } } });
        let Value::Object(graph) = graph else { panic!() };
        QueuedPrompt {
            order: 0.0,
            number: json!(0),
            id: id.to_owned(),
            graph,
            extra: Map::new(),
            outputs: Vec::new(),
            client_id: None,
            forgotten: CancellationToken::new(),
        }
    }

    #[test]
    fn the_file_has_every_life_and_the_report_only_the_present_one() {
        let path = std::env::temp_dir().join(format!("run-log-{}", uuid::Uuid::new_v4()));
        for life in [100, 1_000] {
            let log = RunLog::open(Some(&path)).unwrap();
            log.up(life);
            log.note(life + 5, &job("a"), RunEvent::Queued);
            log.note(life + 10, &job("a"), RunEvent::Started);
            log.note(life + 40, &job("a"), RunEvent::Succeeded);
            log.note(life + 41, &job("b"), RunEvent::Started);
            let report = log.report(life + 50);
            assert_eq!((&report["busy_ms"], &report["running"]), (&json!(39), &json!("b")));
            assert_eq!(report["idle"], json!([[life, life + 10], [life + 40, life + 41]]));
        }
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.iter().filter(|line| line["event"] == "up").count(), 2);
        assert_eq!(lines[2], json!({ "at": 110, "event": "started", "id": "a", "marker": "mine" }));
        assert_eq!(lines.len(), 10);
    }

    #[test]
    fn a_server_that_waits_is_idle_up_to_now() {
        let log = RunLog::open(None).unwrap();
        log.up(10);
        let report = log.report(25);
        assert_eq!((&report["busy_ms"], &report["idle"]), (&json!(0), &json!([[10, 25]])));
    }
}
