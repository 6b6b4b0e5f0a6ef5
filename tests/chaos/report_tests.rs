//! The report on invented jobs, runs and files: every violation is found.

use super::*;
use crate::audit::Job;

fn job(id: &str, marker: &str, state: &str) -> Job {
    Job {
        id: id.to_owned(),
        marker: marker.to_owned(),
        state: state.to_owned(),
        code: None,
        msg: None,
        fails: None,
        created: 0,
        finished: ["completed", "failed", "cancelled"].contains(&state).then_some(100),
        files: if state == "completed" { vec![format!("{marker}_00001_.png")] } else { vec![] },
        waited: vec![(0, 10)],
    }
}

/// The log of one backend in which each marker ran once, successfully, at this time.
fn log(runs: &[(&str, i64)]) -> String {
    let mut lines = vec![json!({ "at": 0, "event": "up" })];
    for (marker, at) in runs {
        for (more, event) in [(0, "queued"), (1, "started"), (9, "succeeded")] {
            lines.push(
                json!({ "at": at + more, "event": event, "id": format!("{marker}-{at}"), "marker": marker }),
            );
        }
    }
    lines.iter().map(Value::to_string).collect::<Vec<_>>().join("\n")
}

fn report(jobs: Vec<Job>, runs: &[(&str, i64)], change: impl FnOnce(&Known, &mut Audit)) -> Report {
    let known = Known::default();
    known.accepted.lock().unwrap().extend(jobs.iter().map(|job| job.id.clone()));
    let mut audit = Audit { jobs, ..Audit::default() };
    change(&known, &mut audit);
    let mut book = Book::default();
    book.add(&log(runs), &[]);
    Report::new(1, &known, &audit, &book)
}

fn good() -> Vec<Job> {
    vec![job("1", "a", "completed"), job("2", "b", "cancelled"), job("3", "c", "failed")]
}

#[test]
fn what_is_as_it_should_be_is_sound() {
    let report = report(good(), &[("a", 10), ("c", 30)], |_, _| {});
    report.assert_sound();
    assert_eq!(
        (&report.figures["accepted"], &report.figures["runs"], &report.figures["lost"]),
        (&json!(3), &json!(2), &json!(0))
    );
    assert_eq!(report.figures["ends"], json!({ "cancelled": 1, "completed": 1, "failed": 1 }));
}

#[track_caller]
fn found(report: &Report, name: &str, count: usize) {
    assert_eq!(report.figures[name], count, "{name}");
    assert!(report.broken.iter().any(|broken| broken.starts_with(name)), "{:?}", report.broken);
}

#[test]
fn lost_jobs_are_found_however_they_are_lost() {
    let unfinished = report(vec![job("1", "a", "running")], &[], |_, _| {});
    found(&unfinished, "lost", 1);
    let vanished = report(good(), &[("a", 10)], |_, audit| {
        audit.jobs.remove(1);
    });
    found(&vanished, "lost", 1);
    let denied = report(good(), &[("a", 10)], |known, _| known.denied.lock().unwrap().push("2".to_owned()));
    found(&denied, "lost", 1);
    let unheard = report(good(), &[("a", 10)], |known, audit| {
        known.accepted.lock().unwrap().clear();
        audit.jobs[1].state = "queued".to_owned();
    });
    found(&unheard, "lost", 1);
}

#[test]
fn doubles_and_runs_and_results_that_fit_nothing_are_found() {
    found(&report(good(), &[("a", 10), ("a", 30)], |_, _| {}), "doubled", 1);
    found(&report(good(), &[("a", 10), ("z", 30)], |_, _| {}), "runs_of_no_job", 1);
    found(&report(good(), &[], |_, _| {}), "completed_without_run", 1);
    let empty = report(good(), &[("a", 10)], |_, audit| audit.jobs[0].files.clear());
    found(&empty, "without_result", 1);
    let foreign =
        report(good(), &[("a", 10)], |_, audit| audit.jobs[0].files[0] = "ab_00001_.png".to_owned());
    found(&foreign, "with_foreign_result", 1);
    let orphan = report(good(), &[("a", 10)], |_, audit| audit.orphans.temporary.push("x".to_owned()));
    found(&orphan, "temporary_files", 1);
    let refused = report(good(), &[("a", 10)], |known, _| {
        known
            .refused
            .lock()
            .unwrap()
            .extend([("submit 503 x".to_owned(), 1), ("submit 500 y".to_owned(), 1)]);
    });
    found(&refused, "refused_wrongly", 1);
    let late = report(good(), &[("a", 10), ("b", 200)], |_, _| {});
    assert_eq!(late.figures["runs_begun_after_their_jobs_end"], 1);
}
