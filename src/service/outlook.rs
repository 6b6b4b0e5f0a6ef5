//! What a job that has not ended may expect: its place, its times, and what stands in its way, in words.
//! It must not decide anything.

use super::{JobView, Service};
use crate::domain::failure::Failure;
use crate::domain::id::{BackendName, PromptId};
use crate::domain::job::{JobState, JobStatus};
use crate::domain::redact::cut_paths;
use crate::scheduler::dispatch::{BlockedReason, JobForecast};
use crate::store::JobRecord;

/// Names told of before the others are only counted.
const TOLD: usize = 3;

impl Service {
    /// Jobs as they stand, with what they may expect.
    pub(super) async fn views(&self, records: Vec<JobRecord>) -> Vec<JobView> {
        let unfinished: Vec<PromptId> = records
            .iter()
            .filter(|record| !record.state.status().is_terminal())
            .map(|record| record.prompt_id)
            .collect();
        let mut expected = Vec::new();
        if !unfinished.is_empty() {
            expected = self.parts.hub.expectations(unfinished).await;
        }
        let mut expected = expected.into_iter();
        let view = |record: JobRecord| {
            let ended = record.state.status().is_terminal();
            let expectation = if ended { None } else { expected.next().flatten() };
            self.seen(record, expectation)
        };
        records.into_iter().map(view).collect()
    }

    fn seen(&self, mut record: JobRecord, mut expectation: Option<JobForecast>) -> JobView {
        let status = record.state.status();
        let progress =
            if status == JobStatus::Running { self.parts.hub.progress(record.prompt_id) } else { None };
        if status != JobStatus::Queued
            && let Some(expectation) = &mut expectation
        {
            (expectation.position, expectation.start) = (None, None);
        }
        let blocked = expectation.as_ref().and_then(|expectation| expectation.blocked.as_ref());
        if let (JobStatus::Queued, Some(blocked)) = (status, blocked) {
            // What those that are there lack was told in more detail when that was found.
            let detail = record.msg.take();
            record.msg = Some(match (blocked, detail) {
                (BlockedReason::Unable(_), Some(detail)) => detail,
                (BlockedReason::Away(_), Some(detail)) if record.attempts == 0 => {
                    format!("{}; {detail}", self.in_words(blocked))
                }
                _ => self.in_words(blocked),
            });
        }
        if !self.limits.expose_tracebacks {
            redact(&mut record);
        }
        JobView { record, progress, expectation }
    }

    fn in_words(&self, blocked: &BlockedReason) -> String {
        match blocked {
            BlockedReason::NoServers => "waits for a server: there is none".to_owned(),
            BlockedReason::NoSuchBackend(name) => {
                format!("waits for the server {name}, which does not exist")
            }
            BlockedReason::NoSuchLabels(labels) => {
                format!("waits for a server with the labels {}; none has them", labels.join(", "))
            }
            BlockedReason::Unable(names) => format!(
                "waits for a server that has what the workflow needs; {} cannot run it",
                listed(names.iter().map(BackendName::to_string))
            ),
            BlockedReason::Away(names) => {
                let states = names.iter().map(|name| match self.parts.pool.find(name) {
                    Some(backend) => format!("{name} ({})", backend.state_name()),
                    None => name.to_string(),
                });
                format!("waits for a server that can run the workflow: {}", listed(states))
            }
        }
    }
}

/// Takes out of a record what is the operator's matter only.
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
    let more = names.len().saturating_sub(TOLD);
    let told = names.take(TOLD).collect::<Vec<_>>().join(", ");
    if more > 0 { format!("{told} and {more} more") } else { told }
}
