//! Jobs to ask back from a server's own queue because another server has nothing to do. It must not take a job that
//! runs: whoever watches the attempt sees to that.

use std::time::Duration;

use super::place::Servers;
use super::server::{Assigned, Server};
use super::times::Times;
use crate::domain::id::PromptId;
use crate::domain::time::UnixMillis;

/// A job is asked back only if it would wait longer than that where it is.
const WORTHWHILE: Duration = Duration::from_secs(2);

/// Jobs to ask back now: at most one for each server that has nothing to do.
pub(super) fn recalls(servers: &mut Servers, times: &Times, now: UnixMillis) -> Vec<PromptId> {
    let idle: Vec<&Server> = servers.values().filter(|server| is_idle(server)).collect();
    let mut recalled = Vec::new();
    for server in idle {
        let found = servers.values().filter_map(|donor| last_waiting(donor).map(|job| (donor, job))).find(
            |(donor, job)| {
                let key = &job.key;
                let suits = key.may_run_on(server) && key.fits(server) && !key.failed_there(server);
                suits && !recalled.contains(&job.id) && pays(server, donor, job, times, now)
            },
        );
        recalled.extend(found.map(|(_, job)| job.id));
    }
    for job in servers.values_mut().flat_map(|server| &mut server.jobs) {
        job.recalled |= recalled.contains(&job.id);
    }
    recalled
}

/// When a job may become worth asking back although nothing else happens.
pub(super) fn next(servers: &Servers, now: UnixMillis) -> Option<UnixMillis> {
    if !servers.values().any(is_idle) {
        return None;
    }
    let donors = servers.values().filter(|donor| last_waiting(donor).is_some());
    let moments = donors.filter_map(|donor| Some(donor.jobs.first()?.first_since?.plus(WORTHWHILE)));
    moments.filter(|moment| *moment > now).min()
}

fn is_idle(server: &Server) -> bool {
    server.is_open() && server.load() == 0
}

/// The last job of a server, if another is before it.
fn last_waiting(donor: &Server) -> Option<&Assigned> {
    let has_another = donor.load() >= 2;
    donor.jobs.last().filter(|job| has_another && !job.recalled)
}

fn pays(server: &Server, donor: &Server, job: &Assigned, times: &Times, now: UnixMillis) -> bool {
    let before = &donor.jobs[..donor.jobs.len() - 1];
    let ran = donor
        .jobs
        .first()
        .and_then(|first| first.first_since)
        .map_or(Duration::ZERO, |since| now.since(since));
    let known = donor.view.foreign == 0 && before.iter().all(|job| job.expected.is_some());
    let expected: Duration = before.iter().filter_map(|job| job.expected).sum();
    // What has lasted that long already and is not known to end may last longer.
    let wait = if known && expected > ran { expected.saturating_sub(ran) } else { ran };
    let load =
        if server.is_warm_for(&job.needs.models) { Some(Duration::ZERO) } else { times.load(&job.needs) };
    wait >= WORTHWHILE && load.is_none_or(|load| load < wait)
}
