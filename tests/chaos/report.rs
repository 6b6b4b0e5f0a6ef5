//! The figures of a run: counted, printed as one table, written as JSON, and judged.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde_json::{Value, json};

use crate::audit::{Audit, Job};
use crate::book::{Book, Outcome};
use crate::doubles::doubles;
use crate::figures::{Reruns, busy, gaps, idle_share, percentile, reruns};
use crate::load::Known;

/// The prefix of the markers of jobs that were to keep all backends busy.
pub const CALM: &str = "calm-";
/// The prefix of the markers of jobs whose backend was killed while no other job waited.
pub const MOVED: &str = "moved-";

/// The figures as JSON, and the violations as sentences.
pub struct Report {
    pub figures: Value,
    /// Violations of which none is allowed.
    pub broken: Vec<String>,
}

impl Report {
    pub fn new(seed: u64, known: &Known, audit: &Audit, book: &Book) -> Self {
        let mut report = Self { figures: json!({ "seed": seed }), broken: Vec::new() };
        report.jobs(known, audit);
        report.runs(audit, book);
        report.times(audit, book);
        report
    }

    fn set(&mut self, name: &str, value: impl Into<Value>) {
        self.figures[name] = value.into();
    }

    /// Counts the violations.
    fn never<T: std::fmt::Debug>(&mut self, name: &str, found: &[T]) {
        self.set(name, found.len());
        if !found.is_empty() {
            let some: Vec<_> = found.iter().take(5).collect();
            self.broken.push(format!("{name}: {} such as {some:#?}", found.len()));
        }
    }

    fn jobs(&mut self, known: &Known, audit: &Audit) {
        let accepted = known.accepted.lock().unwrap();
        let over: HashSet<&str> = audit.jobs.iter().filter(|job| job.is_over()).map(|job| &*job.id).collect();
        let mut lost: Vec<&str> = accepted.iter().map(|id| &**id).filter(|id| !over.contains(id)).collect();
        lost.extend(audit.jobs.iter().filter(|job| !job.is_over()).map(|job| &*job.id));
        let denied = known.denied.lock().unwrap();
        lost.extend(denied.iter().map(|id| &**id));
        lost.sort_unstable();
        lost.dedup();
        self.set("accepted", accepted.len());
        self.set("in_database", audit.jobs.len());
        let mut ends: BTreeMap<String, usize> = BTreeMap::new();
        for job in &audit.jobs {
            let code = job.code.as_ref().map(|code| format!(" {code}")).unwrap_or_default();
            *ends.entry(format!("{}{code}", job.state)).or_default() += 1;
        }
        self.set("ends", json!(ends));
        let unplanned = audit.jobs.iter().filter(|job| job.code.is_some() && job.code != job.fails);
        let told = |job: &Job| {
            let planned = job.fails.as_deref().unwrap_or("success");
            format!(
                "{} {}, planned {planned}: {}",
                job.id,
                job.marker,
                job.msg.as_deref().unwrap_or_default()
            )
        };
        self.set("failed_unplanned", unplanned.map(told).collect::<Vec<_>>());
        let refused = known.refused.lock().unwrap();
        self.set("refused", json!(*refused));
        // A gateway without room on its disk says 503; nothing that these callers ask for is wrong.
        let wrongly = refused.keys().filter(|why| !why.contains(" 503 "));
        self.never("refused_wrongly", &wrongly.collect::<Vec<_>>());
        self.never("lost", &lost);
        let completed = || audit.jobs.iter().filter(|job| job.state == "completed");
        self.never("without_result", &completed().filter(|job| job.files.is_empty()).collect::<Vec<_>>());
        let foreign = completed()
            .filter(|job| job.files.iter().any(|file| !file.starts_with(&format!("{}_", job.marker))));
        self.never("with_foreign_result", &foreign.collect::<Vec<_>>());
    }

    fn runs(&mut self, audit: &Audit, book: &Book) {
        let markers: HashMap<&str, &str> = audit.jobs.iter().map(|job| (&*job.marker, &*job.state)).collect();
        let doubled = doubles(book, &audit.completed());
        self.set("runs", book.begun());
        let cut = book.runs.iter().filter(|run| run.started.is_some() && run.ended.is_none()).count();
        self.set("runs_cut_off", cut);
        self.never("doubled", &doubled);
        let succeeded: HashSet<&str> = book
            .runs
            .iter()
            .filter(|run| run.ended.is_some_and(|(_, outcome)| outcome == Outcome::Succeeded))
            .map(|run| &*run.marker)
            .collect();
        let never_ran =
            audit.jobs.iter().filter(|job| job.state == "completed" && !succeeded.contains(&*job.marker));
        self.never("completed_without_run", &never_ran.collect::<Vec<_>>());
        let of_nobody = book.runs.iter().filter(|run| !markers.contains_key(&*run.marker));
        self.never("runs_of_no_job", &of_nobody.collect::<Vec<_>>());
        self.never("files_without_row", &audit.orphans.files_without_row);
        self.never("rows_without_file", &audit.orphans.rows_without_file);
        self.never("folders_without_job", &audit.orphans.folders_without_job);
        self.never("temporary_files", &audit.orphans.temporary);
        self.set("orphans", audit.orphans.count());
        let finished: HashMap<&str, i64> =
            audit.jobs.iter().filter_map(|job| Some((&*job.marker, job.finished?))).collect();
        let late = book.runs.iter().filter(|run| {
            run.started.is_some_and(|at| finished.get(&*run.marker).is_some_and(|end| at > *end))
        });
        self.set("runs_begun_after_their_jobs_end", late.count());
    }

    fn times(&mut self, audit: &Audit, book: &Book) {
        let part = |wanted: bool| Book {
            runs: book.runs.iter().filter(|run| run.marker.starts_with(MOVED) == wanted).cloned().collect(),
            lives: book.lives.clone(),
        };
        self.set("moved_when_calm_ms", times(&reruns(&part(true))));
        self.set("moved_under_load_ms", times(&reruns(&part(false))));
        let calm: Vec<_> = audit.jobs.iter().filter(|job| job.marker.starts_with(CALM)).collect();
        let waited: Vec<_> = calm.iter().flat_map(|job| job.waited.clone()).collect();
        let from = waited.iter().map(|span| span.0).min();
        let until = waited.iter().map(|span| span.1).max();
        let share = from.zip(until).and_then(|window| idle_share(window, &busy(book, window), &waited));
        let gaps =
            from.zip(until).map(|window| gaps(window, &busy(book, window), &waited)).unwrap_or_default();
        // Server, milliseconds since the first job, and how many.
        self.set("idle_longest", json!(gaps.iter().take(6).collect::<Vec<_>>()));
        self.set("idle_share", share.map(|share| format!("{:.2} %", share * 100.0)));
        self.set("idle_share_parts", share);
    }

    /// Formats the figures as a table.
    pub fn print(&self) {
        println!("\n{:34} value", "figure");
        for (name, value) in self.figures.as_object().unwrap() {
            println!("{name:34} {value}");
        }
        println!();
    }

    /// Writes the figures to the file that `CHAOS_REPORT` names.
    pub fn save(&self, what: &str) {
        if let Some(path) = std::env::var_os("CHAOS_REPORT") {
            let mut figures = self.figures.clone();
            figures["what"] = what.into();
            std::fs::write(path, format!("{figures:#}\n")).unwrap();
        }
    }

    pub fn assert_sound(&self) {
        assert!(self.broken.is_empty(), "seed {}:\n{}", self.figures["seed"], self.broken.join("\n"));
    }
}

fn times(reruns: &Reruns) -> Value {
    let of = |times: &[i64]| {
        json!({
            "count": times.len(), "p50": percentile(times, 0.5), "p99": percentile(times, 0.99),
            "max": percentile(times, 1.0),
        })
    };
    json!({ "refused": of(&reruns.refused), "restarted": of(&reruns.restarted) })
}

#[cfg(test)]
#[path = "report_tests.rs"]
mod tests;
