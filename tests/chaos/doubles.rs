//! Counting doubles.
//!
//! A **double** is a run of a job that began although an earlier run of that job could be found. A job is
//! identified by its marker, so attempts with other ids, and submits whose arrival the gateway never learned
//! of, count too. An earlier run could be found when the later one began
//! * if the life of its backend had not ended by then, **and** the run was still running or had succeeded, so
//!   that `/queue` or `/history` of that backend would have listed it;
//! * or if its job had been `completed` by then, whatever happened to the backend.
//!
//! In every other case a second run is right: the backend died before (even if the run had ended, unless its
//! result had been collected), or the run had failed or been interrupted. Backends that were frozen, slow,
//! cut off or answered nonsense are no excuse: only a crash lasts as long as the gateway's `lost_after`, so
//! the gateway has to wait for their answer.

use std::collections::HashMap;

use crate::book::{Book, Outcome, Run};

/// A double, and the earlier run that could be found.
#[derive(Debug)]
#[expect(dead_code, reason = "shown when a test fails")]
pub struct Double<'a> {
    pub first: &'a Run,
    pub second: &'a Run,
}

/// Finds all doubles. `completed` tells when the job of each marker was completed.
pub fn doubles<'a>(book: &'a Book, completed: &HashMap<String, i64>) -> Vec<Double<'a>> {
    let mut by_job: HashMap<&str, Vec<&Run>> = HashMap::new();
    for run in book.runs.iter().filter(|run| run.started.is_some()) {
        by_job.entry(&run.marker).or_default().push(run);
    }
    let mut found = Vec::new();
    for (marker, mut runs) in by_job {
        runs.sort_by_key(|run| run.started);
        for (at, second) in runs.iter().enumerate() {
            let began = second.started.unwrap_or_default();
            let had_ended = completed.get(marker).is_some_and(|end| *end < began);
            let first = runs[..at].iter().find(|first| had_ended || could_be_found(book, first, began));
            found.extend(first.map(|first| Double { first, second }));
        }
    }
    found
}

fn could_be_found(book: &Book, run: &Run, at: i64) -> bool {
    let alive = book.life(run).died.is_none_or(|died| died > at);
    let there = run.ended.is_none_or(|(ended, outcome)| ended > at || outcome == Outcome::Succeeded);
    alive && there
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// When and how a run ended.
    type End = Option<(i64, &'static str)>;

    /// A log of runs `(id, started, ended)` of the job `job`.
    fn log(job: &str, runs: &[(&str, i64, End)]) -> String {
        let mut lines = vec![json!({ "at": 0, "event": "up" })];
        for (id, started, ended) in runs {
            let mut line = |at: i64, event: &str| {
                lines.push(json!({ "at": at, "event": event, "id": id, "marker": job }));
            };
            line(*started - 1, "queued");
            line(*started, "started");
            if let Some((at, event)) = ended {
                line(*at, event);
            }
        }
        lines.iter().map(serde_json::Value::to_string).collect::<Vec<_>>().join("\n")
    }

    fn count(first: &str, died: Option<i64>, second: &str) -> usize {
        let mut book = Book::default();
        book.add(first, &[died]);
        book.add(second, &[]);
        doubles(&book, &HashMap::new()).len()
    }

    #[test]
    fn a_second_run_beside_a_result_that_is_there_is_a_double() {
        let first = log("job", &[("a", 10, Some((20, "succeeded")))]);
        let second = log("job", &[("b", 30, Some((40, "succeeded")))]);
        assert_eq!(count(&first, None, &second), 1);
        assert_eq!(count(&first, Some(31), &second), 1, "it died too late for an excuse");
        assert_eq!(count(&first, Some(29), &second), 0, "the result was gone");
        assert_eq!(count(&first, None, &log("other", &[("b", 30, None)])), 0, "another job");
    }

    #[test]
    fn a_second_run_beside_one_that_goes_on_is_a_double_however_that_ends() {
        let second = log("job", &[("b", 30, None)]);
        for end in [None, Some((35, "interrupted")), Some((35, "failed")), Some((35, "succeeded"))] {
            assert_eq!(count(&log("job", &[("a", 10, end)]), None, &second), 1, "{end:?}");
        }
        assert_eq!(count(&log("job", &[("a", 10, None)]), Some(15), &second), 0);
    }

    #[test]
    fn a_run_after_a_failure_or_an_interruption_is_a_second_try() {
        for end in ["failed", "interrupted", "dropped"] {
            let first = log("job", &[("a", 10, Some((20, end)))]);
            assert_eq!(count(&first, None, &log("job", &[("b", 30, None)])), 0, "{end}");
        }
    }

    #[test]
    fn the_same_server_and_the_same_id_may_not_run_twice_either() {
        let twice = log("job", &[("a", 10, Some((20, "succeeded"))), ("a", 30, Some((40, "succeeded")))]);
        assert_eq!(count(&twice, None, ""), 1);
        let thrice =
            [("a", 10, Some((20, "succeeded"))), ("b", 30, Some((40, "succeeded"))), ("c", 50, None)];
        assert_eq!(count(&log("job", &thrice), None, ""), 2, "each run too many counts");
    }

    #[test]
    fn a_forgotten_run_that_begins_late_is_a_double_too() {
        // The order of attempts does not matter: the older attempt's run is the later one here.
        let zombie = log("job", &[("attempt-1", 50, Some((60, "succeeded")))]);
        let other = log("job", &[("attempt-2", 10, Some((20, "succeeded")))]);
        assert_eq!(count(&zombie, None, &other), 1);
    }

    #[test]
    fn a_run_after_its_job_was_completed_is_a_double_even_if_the_server_is_gone() {
        let mut book = Book::default();
        book.add(&log("job", &[("a", 10, Some((20, "succeeded")))]), &[Some(25)]);
        book.add(&log("job", &[("b", 30, None)]), &[]);
        assert_eq!(doubles(&book, &HashMap::from([("job".to_owned(), 22)])).len(), 1);
        assert_eq!(doubles(&book, &HashMap::from([("job".to_owned(), 40)])).len(), 0);
    }
}
