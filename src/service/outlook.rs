//! Builds job views: the stored record with its progress, its queue position, its expected times, and the
//! reason why it waits.

use super::state::Service;
use crate::domain::failure::Failure;
use crate::domain::forecast::{BlockedReason, JobForecast};
use crate::domain::id::{BackendName, PromptId};
use crate::domain::job::{JobState, JobStatus};
use crate::domain::progress::Progress;
use crate::domain::redact::cut_paths;
use crate::domain::text::and_more;
use crate::store::JobRecord;

/// The most names that a message lists; further names are only counted.
const LISTED: usize = 3;

/// A job as it stands now.
#[derive(Debug)]
pub struct JobView {
    /// The stored record.
    pub record: JobRecord,
    /// The progress of a running job.
    pub progress: Option<Progress>,
    /// The forecast; `None` once the job has ended.
    pub expectation: Option<JobForecast>,
}

impl Service {
    /// Builds the views of jobs, with one request for all forecasts.
    pub(super) async fn views(&self, records: Vec<JobRecord>) -> Vec<JobView> {
        let unfinished: Vec<PromptId> = records
            .iter()
            .filter(|record| !record.state.status().is_terminal())
            .map(|record| record.prompt_id)
            .collect();
        let mut expected = Vec::new();
        if !unfinished.is_empty() {
            expected = self.core.hub.forecasts(unfinished).await;
        }
        let mut expected = expected.into_iter();
        let view = |record: JobRecord| {
            let ended = record.state.status().is_terminal();
            let expectation = if ended { None } else { expected.next().flatten() };
            self.view_of(record, expectation)
        };
        records.into_iter().map(view).collect()
    }

    fn view_of(&self, mut record: JobRecord, mut expectation: Option<JobForecast>) -> JobView {
        let status = record.state.status();
        let progress =
            if status == JobStatus::Running { self.core.hub.progress(record.prompt_id) } else { None };
        if status != JobStatus::Queued
            && let Some(expectation) = &mut expectation
        {
            (expectation.position, expectation.start) = (None, None);
        }
        let blocked = expectation.as_ref().and_then(|expectation| expectation.blocked.as_ref());
        if let (JobStatus::Queued, Some(blocked)) = (status, blocked) {
            // The message from the submission says in more detail what the backends lack.
            let detail = record.msg.take();
            record.msg = Some(match (blocked, detail) {
                (BlockedReason::Unable(_), Some(detail)) => detail,
                (BlockedReason::Away(_), Some(detail)) if record.attempts == 0 => {
                    format!("{}; {detail}", self.describe(blocked))
                }
                _ => self.describe(blocked),
            });
        }
        if !self.limits.expose_tracebacks {
            redact(&mut record);
        }
        JobView { record, progress, expectation }
    }

    fn describe(&self, blocked: &BlockedReason) -> String {
        match blocked {
            BlockedReason::NoServers => "waits for a backend, but none is configured".to_owned(),
            BlockedReason::NoSuchBackend(name) => {
                format!("waits for the backend {name}, which does not exist")
            }
            BlockedReason::NoSuchLabels(labels) => {
                format!("waits for a backend with the labels {}; none has them", labels.join(", "))
            }
            BlockedReason::Unable(names) => format!(
                "waits for a backend that has everything the workflow needs; {} cannot run it",
                listed(names.iter().map(BackendName::to_string))
            ),
            BlockedReason::Away(names) => {
                let states = names.iter().map(|name| match self.core.pool.find(name) {
                    Some(backend) => format!("{name} ({})", backend.state_name()),
                    None => name.to_string(),
                });
                format!("waits for a backend that can run the workflow: {}", listed(states))
            }
        }
    }
}

/// Removes tracebacks and paths of the backends' machines, which only operators may see.
fn redact(record: &mut JobRecord) {
    if let JobState::Failed { failure, .. } = &mut record.state {
        let whole = std::mem::replace(failure, Failure::new(failure.code, String::new()));
        *failure = whole.redacted();
    }
    let reasons = record.history.iter_mut().map(|attempt| &mut attempt.reason);
    for words in reasons.chain([&mut record.msg]).flatten() {
        *words = cut_paths(words);
    }
    for output in &mut record.dropped_outputs {
        output.reason = cut_paths(&output.reason);
    }
}

fn listed(names: impl ExactSizeIterator<Item = String>) -> String {
    let more = names.len().saturating_sub(LISTED);
    let first = names.take(LISTED).collect::<Vec<_>>().join(", ");
    match and_more(more) {
        Some(more) => format!("{first} {more}"),
        None => first,
    }
}
