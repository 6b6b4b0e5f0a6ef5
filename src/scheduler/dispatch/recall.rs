//! Chooses jobs to ask back from a backend's own queue because another backend is idle. The attempt makes
//! sure that a job that already runs stays.

use std::time::Duration;

use super::backend_queue::{AssignedJob, BackendQueue};
use super::estimates::RunEstimates;
use super::placement::BackendQueues;
use crate::domain::id::PromptId;
use crate::domain::time::UnixMillis;

/// A job is asked back only if it would wait longer than this where it is.
const WORTHWHILE: Duration = Duration::from_secs(2);

/// The jobs to ask back now: at most one for each idle backend.
pub(super) fn recalls(backends: &mut BackendQueues, times: &RunEstimates, now: UnixMillis) -> Vec<PromptId> {
    let idle: Vec<&BackendQueue> = backends.values().filter(|backend| is_idle(backend)).collect();
    let mut recalled = Vec::new();
    for backend in idle {
        let found = backends.values().filter_map(|donor| last_waiting(donor).map(|job| (donor, job))).find(
            |(donor, job)| {
                let key = &job.key;
                let suits =
                    key.can_run_on(backend) && key.is_allowed_on(backend) && !key.has_failed_on(backend);
                suits && !recalled.contains(&job.id) && is_worthwhile(backend, donor, job, times, now)
            },
        );
        recalled.extend(found.map(|(_, job)| job.id));
    }
    for job in backends.values_mut().flat_map(|backend| &mut backend.jobs) {
        job.recalled |= recalled.contains(&job.id);
    }
    recalled
}

/// When asking a job back may become worthwhile although nothing else happens.
pub(super) fn next(backends: &BackendQueues, now: UnixMillis) -> Option<UnixMillis> {
    if !backends.values().any(is_idle) {
        return None;
    }
    let donors = backends.values().filter(|donor| last_waiting(donor).is_some());
    let moments = donors.filter_map(|donor| Some(donor.jobs.first()?.first_since?.plus(WORTHWHILE)));
    moments.filter(|moment| *moment > now).min()
}

fn is_idle(backend: &BackendQueue) -> bool {
    backend.is_open() && backend.load() == 0
}

/// The last job of a backend, if another is ahead of it.
fn last_waiting(donor: &BackendQueue) -> Option<&AssignedJob> {
    let has_another = donor.load() >= 2;
    donor.jobs.last().filter(|job| has_another && !job.recalled)
}

/// Whether the last job of `donor` would start so much sooner on `backend`, loading its models included, that
/// asking it back is worthwhile. Placement uses the same measure, so the job does not return to `donor`.
fn is_worthwhile(
    backend: &BackendQueue,
    donor: &BackendQueue,
    job: &AssignedJob,
    times: &RunEstimates,
    now: UnixMillis,
) -> bool {
    let wait = donor.wait_ahead(donor.jobs.len() - 1, now);
    let warm = backend.is_warm_for(&job.needs.models);
    let load = if warm { Some(Duration::ZERO) } else { times.load_time(&job.needs) };
    load.is_some_and(|load| wait >= load + WORTHWHILE)
}
