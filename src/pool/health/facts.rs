//! How a server stands: the facts that are known of it, and what they come to. A pure machine: time is handed in.

use std::collections::HashSet;
use std::time::Duration;

use crate::comfy::QueueSnapshot;
use crate::domain::time::UnixMillis;
use crate::pool::health::breaker::{BreakerPhase, CircuitBreaker, FAULTS};
use crate::pool::health::state::HealthVerdict;
use crate::pool::health::worker::WorkerWatch;

/// A websocket that is missing for that long is told of: jobs run without it, but are only heard of by polling.
const NO_WEBSOCKET: Duration = Duration::from_secs(30);
/// A new number that is lower than an earlier one by more than this begins a new count: numbers are given out before
/// the server looks at a job, so that two jobs may enter the queue in the wrong order.
const OVERTAKEN: i64 = 8;

/// Whether the server answers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::pool) enum AnswerState {
    /// Not asked yet.
    #[default]
    Unknown,
    /// As ComfyUI does.
    Yes,
    /// Why not, in words for people.
    No(String),
}

/// A run that its server does not give up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::pool) struct QuarantinedRun {
    pub run: String,
    pub reason: String,
}

/// Every fact that a server's health goes by.
#[derive(Debug, Default)]
pub(in crate::pool) struct HealthFacts {
    pub answers: AnswerState,
    /// Since when there is no websocket, and why, while there should be one.
    pub no_websocket: Option<(UnixMillis, String)>,
    /// Why its queue cannot be read.
    pub queue_fault: Option<String>,
    /// Why it is not known what it can run.
    pub unknown_classes: Option<String>,
    pub breaker: CircuitBreaker,
    pub worker: WorkerWatch,
    pub quarantined: Vec<QuarantinedRun>,
    /// Jobs of others in its queue.
    pub foreign: u64,
    /// Runs of ours in its queue that nobody watched when it was last seen.
    strays: HashSet<String>,
    /// The highest running number of a job of ours, and the ids seen with it.
    numbers: (i64, HashSet<String>),
}

impl HealthFacts {
    /// What the facts come to at `now`.
    pub fn judge(&self, now: UnixMillis) -> HealthVerdict {
        match &self.answers {
            AnswerState::Unknown => HealthVerdict::Starting,
            AnswerState::No(reason) => HealthVerdict::Down(reason.clone()),
            AnswerState::Yes => match self.why_no_work(now) {
                Some(reason) => HealthVerdict::Down(reason),
                None => match self.complaints(now).as_slice() {
                    [] => HealthVerdict::Up,
                    complaints => HealthVerdict::Degraded(complaints.join("; ")),
                },
            },
        }
    }

    /// Why a server that answers gets no work.
    fn why_no_work(&self, now: UnixMillis) -> Option<String> {
        if let Some(QuarantinedRun { run, reason }) = self.quarantined.first() {
            return Some(format!("the run {run} does not end there ({reason}): restart this ComfyUI"));
        }
        if self.worker.is_dead() {
            return Some("its worker does not move: restart this ComfyUI".to_owned());
        }
        match self.breaker.phase(now) {
            BreakerPhase::Open(until) => Some(format!(
                "{FAULTS} or more runs in a row failed by its fault (last: {}); it gets a trial job at {until}",
                self.breaker.last_fault()
            )),
            BreakerPhase::Closed | BreakerPhase::Trial => None,
        }
    }

    fn complaints(&self, now: UnixMillis) -> Vec<String> {
        let mut complaints = Vec::new();
        if self.breaker.phase(now) == BreakerPhase::Trial {
            let last = self.breaker.last_fault();
            complaints.push(format!("on trial: one job at a time until one completes (last fault: {last})"));
        }
        if let Some(reason) = &self.queue_fault {
            complaints.push(format!("its queue cannot be read ({reason})"));
        }
        if let Some(reason) = &self.unknown_classes {
            complaints.push(format!("it does not tell what it can run ({reason})"));
        }
        if let Some((since, reason)) = &self.no_websocket
            && now.since(*since) >= NO_WEBSOCKET
        {
            complaints.push(format!("it has no websocket, so jobs are polled ({reason})"));
        }
        complaints
    }

    /// Takes in what its queue showed. `client_id` is ours, `open` the runs watched here; `asked_with` those in
    /// quarantine when it was asked: one of them that is not listed is over. Returns whether the server was restarted.
    pub fn see_queue(
        &mut self,
        now: UnixMillis,
        queue: &QueueSnapshot,
        client_id: &str,
        open: &HashSet<String>,
        asked_with: &[String],
    ) -> bool {
        self.queue_fault = None;
        self.worker.see(now, queue);
        self.quarantined.retain(|held| queue.contains(&held.run) || !asked_with.contains(&held.run));
        let is_ours = |id: &str, client: Option<&str>| {
            client == Some(client_id)
                || open.contains(id)
                || self.quarantined.iter().any(|held| held.run == id)
        };
        let foreign = queue.jobs.iter().filter(|job| !is_ours(&job.prompt_id, job.client_id.as_deref()));
        self.foreign = foreign.count() as u64;
        self.see_strays(queue, client_id, open);
        self.has_counted_anew(queue, client_id)
    }

    /// Runs of ours that nobody watches, as a killed process may have left them, are load like those of others. One that
    /// has just ended may still be listed, once.
    fn see_strays(&mut self, queue: &QueueSnapshot, client_id: &str, open: &HashSet<String>) {
        let held = |id: &str| self.quarantined.iter().any(|held| held.run == id);
        let ours = queue.jobs.iter().filter(|job| job.client_id.as_deref() == Some(client_id));
        let strays: HashSet<String> = ours
            .map(|job| &*job.prompt_id)
            .filter(|id| !open.contains(*id) && !held(id))
            .map(str::to_owned)
            .collect();
        self.foreign += strays.intersection(&self.strays).count() as u64;
        self.strays = strays;
    }

    /// The server numbers its jobs from 0 after each start. Only our own jobs tell: others may choose their numbers.
    fn has_counted_anew(&mut self, queue: &QueueSnapshot, client_id: &str) -> bool {
        let ours = queue.jobs.iter().filter(|job| job.client_id.as_deref() == Some(client_id));
        let numbered: Vec<(i64, &str)> = ours
            .filter_map(|job| Some((job.number.filter(|number| *number >= 0)?, &*job.prompt_id)))
            .collect();
        let Some(highest) = numbered.iter().map(|(number, _)| *number).max() else { return false };
        let (known, seen) = &self.numbers;
        let anew = numbered
            .iter()
            .any(|(number, id)| !seen.contains(*id) && number.saturating_add(OVERTAKEN) < *known);
        let ids = numbered.iter().map(|(_, id)| (*id).to_owned()).collect();
        self.numbers = (if anew { highest } else { highest.max(*known) }, ids);
        anew
    }

    /// Whatever it had in memory is gone.
    pub fn has_restarted(&mut self) {
        self.worker = WorkerWatch::default();
        self.numbers = (0, HashSet::new());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::comfy::ListedPrompt;

    const NOW: UnixMillis = UnixMillis::from_millis(1_000_000);
    const US: &str = "this-gateway";

    fn later(seconds: u64) -> UnixMillis {
        NOW.plus(Duration::from_secs(seconds))
    }

    fn well() -> HealthFacts {
        HealthFacts { answers: AnswerState::Yes, ..HealthFacts::default() }
    }

    fn job(id: &str, client: Option<&str>, number: i64) -> ListedPrompt {
        ListedPrompt { prompt_id: id.to_owned(), client_id: client.map(str::to_owned), number: Some(number) }
    }

    /// The first job runs, the others wait.
    fn queue(jobs: Vec<ListedPrompt>) -> QueueSnapshot {
        let ids: Vec<String> = jobs.iter().map(|job| job.prompt_id.clone()).collect();
        let (running, pending) = ids.split_at(ids.len().min(1));
        QueueSnapshot { running: running.to_vec(), pending: pending.to_vec(), jobs }
    }

    fn see(standing: &mut HealthFacts, queue: &QueueSnapshot, open: &[&str], asked_with: &[&str]) -> bool {
        let open = open.iter().map(ToString::to_string).collect();
        let asked_with: Vec<String> = asked_with.iter().map(ToString::to_string).collect();
        standing.see_queue(NOW, queue, US, &open, &asked_with)
    }

    fn reason(judged: HealthVerdict) -> String {
        match judged {
            HealthVerdict::Degraded(reason) | HealthVerdict::Down(reason) => reason,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_server_is_starting_then_up_and_down_with_the_words_of_the_fault() {
        assert_eq!(HealthFacts::default().judge(NOW), HealthVerdict::Starting);
        assert_eq!(well().judge(NOW), HealthVerdict::Up);
        let gone = HealthFacts { answers: AnswerState::No("refused".to_owned()), ..HealthFacts::default() };
        assert_eq!(gone.judge(NOW), HealthVerdict::Down("refused".to_owned()));
    }

    #[test]
    fn what_is_wrong_but_costs_no_job_degrades_it_and_all_of_it_is_told() {
        let mut standing = well();
        standing.no_websocket = Some((NOW, "403".to_owned()));
        assert_eq!(standing.judge(later(29)), HealthVerdict::Up, "a short gap is nothing");
        standing.queue_fault = Some("500".to_owned());
        standing.unknown_classes = Some("no JSON".to_owned());
        let HealthVerdict::Degraded(reason) = standing.judge(later(30)) else { panic!() };
        assert!(["500", "no JSON", "403"].iter().all(|part| reason.contains(part)), "{reason}");
    }

    #[test]
    fn a_breaker_that_is_open_takes_its_work_away_and_a_trial_degrades_it() {
        let mut standing = well();
        for _ in 0..FAULTS {
            standing.breaker.fault(NOW, "connection reset".to_owned(), 0);
        }
        let HealthVerdict::Down(reason) = standing.judge(NOW) else { panic!() };
        assert!(reason.contains("connection reset"), "{reason}");
        let HealthVerdict::Degraded(reason) = standing.judge(later(10)) else { panic!() };
        assert!(reason.starts_with("on trial"), "{reason}");
    }

    #[test]
    fn jobs_of_others_are_counted_and_ours_never_are() {
        let mut standing = well();
        standing.quarantined.push(QuarantinedRun { run: "held".to_owned(), reason: "deaf".to_owned() });
        let queue = queue(vec![
            job("held", None, 1),
            job("open", None, 2),
            job("just-ended", Some(US), 3),
            job("theirs", Some("somebody"), 4),
            job("nameless", None, 5),
        ]);
        assert!(!see(&mut standing, &queue, &["open"], &["held"]));
        assert_eq!(standing.foreign, 2);
        // Seen again, it has not just ended: nobody watches it.
        assert!(!see(&mut standing, &queue, &["open"], &["held"]));
        assert_eq!(standing.foreign, 3);
        assert!(!see(&mut standing, &QueueSnapshot::default(), &[], &[]));
        assert_eq!(standing.foreign, 0);
    }

    #[test]
    fn quarantine_lasts_until_a_later_look_does_not_find_the_run() {
        let mut standing = well();
        standing.quarantined.push(QuarantinedRun { run: "held".to_owned(), reason: "it stalls".to_owned() });
        assert!(reason(standing.judge(NOW)).contains("it stalls"));
        see(&mut standing, &QueueSnapshot::default(), &[], &[]);
        assert_eq!(standing.quarantined.len(), 1, "the server was asked before the quarantine");
        see(&mut standing, &queue(vec![job("held", Some(US), 1)]), &[], &["held"]);
        assert_eq!(standing.quarantined.len(), 1);
        see(&mut standing, &QueueSnapshot::default(), &[], &["held"]);
        assert_eq!(standing.judge(NOW), HealthVerdict::Up);
    }

    #[test]
    fn a_count_that_begins_anew_shows_a_restart_but_neither_fronts_nor_others_do() {
        let mut standing = well();
        assert!(!see(&mut standing, &queue(vec![job("a", Some(US), 40), job("b", Some(US), 41)]), &[], &[]));
        // Numbers are given out before a job is in the queue: a little disorder is none.
        assert!(!see(&mut standing, &queue(vec![job("b", Some(US), 41), job("c", Some(US), 39)]), &[], &[]));
        assert!(!see(&mut standing, &queue(vec![job("front", Some(US), -42)]), &[], &[]));
        assert!(!see(&mut standing, &queue(vec![job("theirs", Some("x"), 0)]), &[], &[]));
        assert!(see(&mut standing, &queue(vec![job("d", Some(US), 0)]), &[], &[]));
        assert!(!see(&mut standing, &queue(vec![job("e", Some(US), 1)]), &[], &[]), "told once");
    }

    #[test]
    fn a_dead_worker_is_down_until_the_server_was_restarted() {
        let mut standing = well();
        let waiting = QueueSnapshot {
            pending: vec!["a".to_owned()],
            jobs: vec![job("a", Some(US), 1)],
            ..QueueSnapshot::default()
        };
        for seconds in [0, 5, 10] {
            standing.see_queue(later(seconds), &waiting, US, &HashSet::new(), &[]);
        }
        assert!(reason(standing.judge(later(10))).contains("worker does not move"));
        standing.has_restarted();
        assert_eq!(standing.judge(later(11)), HealthVerdict::Up);
    }
}
