//! The facts that decide the health of one backend, and the verdict that follows from them.
//!
//! All of it is pure: the caller passes the time in.

use std::collections::HashSet;
use std::time::Duration;

use super::breaker::{BreakerPhase, CircuitBreaker, FAULTS_TO_OPEN};
use super::numbers::JobNumbers;
use super::state::HealthVerdict;
use super::worker::WorkerWatch;
use crate::comfy::QueueSnapshot;
use crate::domain::time::UnixMillis;

/// How long the websocket may be missing before the backend counts as degraded. Jobs run without a websocket, but
/// their progress is unknown and their end is found only by polling.
const MISSING_WEBSOCKET: Duration = Duration::from_secs(30);

/// Whether the backend answers HTTP as ComfyUI does.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::pool) enum AnswerState {
    /// The backend has not been probed yet.
    #[default]
    Unknown,
    Yes,
    /// It does not, with the reason in words for people.
    No(String),
}

/// A run that the backend neither finishes nor lets itself be taken away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::pool) struct QuarantinedRun {
    /// The id under which ComfyUI lists the run.
    pub run: String,
    pub reason: String,
}

/// Every fact that the health of a backend depends on.
#[derive(Debug, Default)]
pub(in crate::pool) struct HealthFacts {
    pub answers: AnswerState,
    /// Since when the websocket is missing although the backend answers, and why.
    pub missing_websocket: Option<(UnixMillis, String)>,
    /// Why the last attempt to read the queue failed.
    pub queue_fault: Option<String>,
    /// Why the node classes of the backend are unknown.
    pub unknown_classes: Option<String>,
    pub breaker: CircuitBreaker,
    pub worker: WorkerWatch,
    pub quarantined: Vec<QuarantinedRun>,
    /// Jobs in its queue that no attempt of this process watches.
    pub foreign_jobs: u64,
    /// Unwatched runs with our client id in the last queue snapshot.
    strays: HashSet<String>,
    numbers: JobNumbers,
}

impl HealthFacts {
    /// The verdict at `now`.
    pub fn judge(&self, now: UnixMillis) -> HealthVerdict {
        match &self.answers {
            AnswerState::Unknown => HealthVerdict::Starting,
            AnswerState::No(reason) => HealthVerdict::Down(reason.clone()),
            AnswerState::Yes => match self.stopping_problem(now) {
                Some(reason) => HealthVerdict::Down(reason),
                None => match self.minor_problems(now).as_slice() {
                    [] => HealthVerdict::Up,
                    problems => HealthVerdict::Degraded(problems.join("; ")),
                },
            },
        }
    }

    /// Why a backend that answers gets no work.
    fn stopping_problem(&self, now: UnixMillis) -> Option<String> {
        if let Some(QuarantinedRun { run, reason }) = self.quarantined.first() {
            return Some(format!("the run {run} does not end there ({reason}): restart this ComfyUI"));
        }
        if self.worker.is_dead() {
            return Some(
                "jobs wait in its queue but none runs, so its worker is dead: restart this ComfyUI"
                    .to_owned(),
            );
        }
        match self.breaker.phase(now) {
            BreakerPhase::Open(until) => Some(format!(
                "{FAULTS_TO_OPEN} or more runs in a row failed because of this backend (last: {}); it gets one job on trial at {until}",
                self.breaker.last_fault()
            )),
            BreakerPhase::Closed | BreakerPhase::Trial => None,
        }
    }

    fn minor_problems(&self, now: UnixMillis) -> Vec<String> {
        let mut problems = Vec::new();
        if self.breaker.phase(now) == BreakerPhase::Trial {
            let last = self.breaker.last_fault();
            problems.push(format!("on trial: one job at a time until one completes (last fault: {last})"));
        }
        if let Some(reason) = &self.queue_fault {
            problems.push(format!("its queue cannot be read ({reason})"));
        }
        if let Some(reason) = &self.unknown_classes {
            problems
                .push(format!("its node classes cannot be read, so what it can run is unknown ({reason})"));
        }
        if let Some((since, reason)) = &self.missing_websocket
            && now.since(*since) >= MISSING_WEBSOCKET
        {
            problems.push(format!("it has no websocket, so jobs are polled ({reason})"));
        }
        problems
    }

    /// Takes a queue snapshot into account and returns whether it shows that ComfyUI was restarted.
    ///
    /// `client_id` is ours and `watched` are the runs that attempts of this process watch. `asked_with` are
    /// the runs that were quarantined before the snapshot was requested: one of them leaves quarantine if it
    /// is not listed.
    pub fn observe_queue(
        &mut self,
        now: UnixMillis,
        queue: &QueueSnapshot,
        client_id: &str,
        watched: &HashSet<String>,
        asked_with: &[String],
    ) -> bool {
        self.queue_fault = None;
        self.worker.observe(now, queue);
        self.quarantined.retain(|held| queue.contains(&held.run) || !asked_with.contains(&held.run));
        let is_ours = |id: &str, client: Option<&str>| {
            client == Some(client_id) || watched.contains(id) || self.is_quarantined(id)
        };
        let foreign = queue.jobs.iter().filter(|job| !is_ours(&job.prompt_id, job.client_id.as_deref()));
        self.foreign_jobs = foreign.count() as u64;
        self.count_strays(queue, client_id, watched);
        self.numbers.observe(queue, client_id)
    }

    /// Counts unwatched runs with our client id as foreign jobs, because they occupy the backend just as
    /// much. A killed process may have left them behind. A run that has just ended can still be listed once,
    /// so a run counts only from its second snapshot.
    fn count_strays(&mut self, queue: &QueueSnapshot, client_id: &str, watched: &HashSet<String>) {
        let ours = queue.jobs.iter().filter(|job| job.client_id.as_deref() == Some(client_id));
        let strays: HashSet<String> = ours
            .map(|job| &*job.prompt_id)
            .filter(|id| !watched.contains(*id) && !self.is_quarantined(id))
            .map(str::to_owned)
            .collect();
        self.foreign_jobs += strays.intersection(&self.strays).count() as u64;
        self.strays = strays;
    }

    fn is_quarantined(&self, run: &str) -> bool {
        self.quarantined.iter().any(|held| held.run == run)
    }

    /// Forgets the facts that a restart of ComfyUI makes void: its worker and its job numbers.
    pub fn forget_process(&mut self) {
        self.worker = WorkerWatch::default();
        self.numbers = JobNumbers::default();
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

    fn answering() -> HealthFacts {
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

    fn observe(facts: &mut HealthFacts, queue: &QueueSnapshot, open: &[&str], asked_with: &[&str]) -> bool {
        let open = open.iter().map(ToString::to_string).collect();
        let asked_with: Vec<String> = asked_with.iter().map(ToString::to_string).collect();
        facts.observe_queue(NOW, queue, US, &open, &asked_with)
    }

    fn reason(verdict: HealthVerdict) -> String {
        match verdict {
            HealthVerdict::Degraded(reason) | HealthVerdict::Down(reason) => reason,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_backend_is_starting_then_up_and_down_with_the_reason_of_the_fault() {
        assert_eq!(HealthFacts::default().judge(NOW), HealthVerdict::Starting);
        assert_eq!(answering().judge(NOW), HealthVerdict::Up);
        let gone = HealthFacts { answers: AnswerState::No("refused".to_owned()), ..HealthFacts::default() };
        assert_eq!(gone.judge(NOW), HealthVerdict::Down("refused".to_owned()));
    }

    #[test]
    fn problems_that_cost_no_job_degrade_it_and_all_are_reported() {
        let mut facts = answering();
        facts.missing_websocket = Some((NOW, "403".to_owned()));
        assert_eq!(facts.judge(later(29)), HealthVerdict::Up, "a short gap is nothing");
        facts.queue_fault = Some("500".to_owned());
        facts.unknown_classes = Some("no JSON".to_owned());
        let HealthVerdict::Degraded(reason) = facts.judge(later(30)) else { panic!() };
        assert!(["500", "no JSON", "403"].iter().all(|part| reason.contains(part)), "{reason}");
    }

    #[test]
    fn a_breaker_that_is_open_takes_its_work_away_and_a_trial_degrades_it() {
        let mut facts = answering();
        for _ in 0..FAULTS_TO_OPEN {
            facts.breaker.count_fault(NOW, "connection reset".to_owned(), 0);
        }
        let HealthVerdict::Down(reason) = facts.judge(NOW) else { panic!() };
        assert!(reason.contains("connection reset"), "{reason}");
        let HealthVerdict::Degraded(reason) = facts.judge(later(10)) else { panic!() };
        assert!(reason.starts_with("on trial"), "{reason}");
    }

    #[test]
    fn jobs_of_others_are_counted_and_ours_never_are() {
        let mut facts = answering();
        facts.quarantined.push(QuarantinedRun { run: "held".to_owned(), reason: "it stalls".to_owned() });
        let queue = queue(vec![
            job("held", None, 1),
            job("open", None, 2),
            job("just-ended", Some(US), 3),
            job("theirs", Some("somebody"), 4),
            job("nameless", None, 5),
        ]);
        assert!(!observe(&mut facts, &queue, &["open"], &["held"]));
        assert_eq!(facts.foreign_jobs, 2);
        // Listed twice, the run has not just ended: nothing watches it.
        assert!(!observe(&mut facts, &queue, &["open"], &["held"]));
        assert_eq!(facts.foreign_jobs, 3);
        assert!(!observe(&mut facts, &QueueSnapshot::default(), &[], &[]));
        assert_eq!(facts.foreign_jobs, 0);
    }

    #[test]
    fn quarantine_lasts_until_a_later_snapshot_does_not_list_the_run() {
        let mut facts = answering();
        facts.quarantined.push(QuarantinedRun { run: "held".to_owned(), reason: "it stalls".to_owned() });
        assert!(reason(facts.judge(NOW)).contains("it stalls"));
        observe(&mut facts, &QueueSnapshot::default(), &[], &[]);
        assert_eq!(facts.quarantined.len(), 1, "the snapshot was requested before the quarantine");
        observe(&mut facts, &queue(vec![job("held", Some(US), 1)]), &[], &["held"]);
        assert_eq!(facts.quarantined.len(), 1);
        observe(&mut facts, &QueueSnapshot::default(), &[], &["held"]);
        assert_eq!(facts.judge(NOW), HealthVerdict::Up);
    }

    #[test]
    fn a_lower_number_shows_a_restart_but_jobs_at_the_front_and_of_others_do_not() {
        let mut facts = answering();
        assert!(!observe(&mut facts, &queue(vec![job("a", Some(US), 40), job("b", Some(US), 41)]), &[], &[]));
        // Jobs are numbered before they enter the queue, so slight disorder is no restart.
        assert!(!observe(&mut facts, &queue(vec![job("b", Some(US), 41), job("c", Some(US), 39)]), &[], &[]));
        assert!(!observe(&mut facts, &queue(vec![job("front", Some(US), -42)]), &[], &[]));
        assert!(!observe(&mut facts, &queue(vec![job("theirs", Some("x"), 0)]), &[], &[]));
        assert!(observe(&mut facts, &queue(vec![job("d", Some(US), 0)]), &[], &[]));
        assert!(
            !observe(&mut facts, &queue(vec![job("e", Some(US), 1)]), &[], &[]),
            "a restart is reported once"
        );
    }

    #[test]
    fn a_dead_worker_keeps_it_down_until_a_restart() {
        let mut facts = answering();
        let waiting = QueueSnapshot {
            pending: vec!["a".to_owned()],
            jobs: vec![job("a", Some(US), 1)],
            ..QueueSnapshot::default()
        };
        for seconds in [0, 5, 10] {
            facts.observe_queue(later(seconds), &waiting, US, &HashSet::new(), &[]);
        }
        assert!(reason(facts.judge(later(10))).contains("its worker is dead"));
        facts.forget_process();
        assert_eq!(facts.judge(later(11)), HealthVerdict::Up);
    }
}
