//! The invariants, and the memory needed to check them.

use std::collections::{BTreeMap, HashMap, HashSet};

use comfy_gateway::domain::id::{AttemptId, BackendName, PromptId};
use comfy_gateway::domain::job::{JobStatus, NewJob};
use comfy_gateway::domain::needs::JobNeeds;
use comfy_gateway::domain::requeue::RequeueCause;
use comfy_gateway::domain::retry::is_due;
use comfy_gateway::domain::time::UnixMillis;
use comfy_gateway::scheduler::attempt::machine::{AttemptEnd, EarlyEnd};
use comfy_gateway::store::JobStore;
use rand::RngExt;
use rand::rngs::StdRng;

use crate::attempt::PATIENCE;
use crate::gateway::{ClaimedHere, Gateway, POLL, SETTINGS};
use crate::server::Server;
use crate::world::begun;

/// A free server and a job it could run may stand side by side for so long, and what the first job in line
/// waits for loaded models on top, in milliseconds.
const LONG: i64 = 2 * POLL + 500;

/// A job as its caller sees it.
struct Known {
    needs: JobNeeds,
    priority: i32,
    ended: bool,
}

/// The memory of the checks.
#[derive(Default)]
pub struct Ledger {
    jobs: BTreeMap<PromptId, Known>,
    /// Since when a job waits in the dispatcher's queue while a backend that could run it is idle.
    idle_since: HashMap<PromptId, i64>,
    /// The waiting jobs, and when each is due by the wall clock.
    due: BTreeMap<PromptId, UnixMillis>,
    /// Since when a job that is due is in the dispatcher's queue.
    in_line_since: HashMap<PromptId, i64>,
    /// Runs that were given up before they began.
    never: HashSet<AttemptId>,
    /// When a job of lower priority first got a backend that a waiting job could have had.
    overtaken_since: HashMap<PromptId, i64>,
}

impl Ledger {
    pub fn accepted(&mut self, job: &NewJob) {
        let known = Known { needs: job.needs.clone(), priority: job.priority, ended: false };
        self.jobs.insert(job.prompt_id, known);
        self.due.insert(job.prompt_id, job.created_at);
    }

    /// Checks that a job ends only once.
    pub fn ended(&mut self, id: PromptId) {
        let job = self.jobs.get_mut(&id).unwrap();
        assert!(!job.ended, "{id} ended twice");
        job.ended = true;
        self.due.remove(&id);
        self.in_line_since.remove(&id);
        self.idle_since.remove(&id);
    }

    pub fn waits_again(&mut self, id: PromptId, due: UnixMillis) {
        assert!(!self.jobs[&id].ended, "{id} waits again after its end");
        self.due.insert(id, due);
    }

    /// Forgets the dispatcher's queue, because the dispatcher is gone.
    pub fn nobody_waits(&mut self) {
        self.in_line_since.clear();
        self.overtaken_since.clear();
        self.idle_since.clear();
    }

    pub fn all_ended(&self) -> bool {
        self.jobs.values().all(|job| job.ended)
    }

    pub fn unfinished(&self) -> Vec<PromptId> {
        self.jobs.iter().filter(|(_, job)| !job.ended).map(|(id, _)| *id).collect()
    }

    pub fn any(&self, random: &mut StdRng) -> Option<PromptId> {
        (!self.jobs.is_empty())
            .then(|| *self.jobs.keys().nth(random.random_range(0..self.jobs.len())).unwrap())
    }

    pub async fn check_ends(&self, store: &dyn JobStore) {
        for id in self.jobs.keys() {
            let status = store.status(*id).await.unwrap();
            assert!(status.is_some_and(JobStatus::is_terminal), "{id} is {status:?}");
        }
    }

    /// A run that is given up as lost, or never begun, is not to be found where it was; one that is left to a
    /// server that does not let go of it is.
    pub fn check_given_up(&mut self, end: AttemptEnd, server: &Server, run: AttemptId) {
        let findable = server.answers() && (server.has(run) || server.history.contains_key(&run));
        match end {
            AttemptEnd::Requeue(_)
            | AttemptEnd::Gone(EarlyEnd::Cancel | EarlyEnd::Timeout | EarlyEnd::Stall | EarlyEnd::InPart) => {
                if !server.begun.contains(&run) {
                    self.never.insert(run);
                }
                assert!(!findable, "{run} was given up as {end:?} and is on {}", server.name);
            }
            AttemptEnd::InHistory(_) | AttemptEnd::Stuck(_) => {}
        }
    }

    /// Checks that a backend that does not answer gets time before its runs count as lost.
    pub fn check_patience(end: AttemptEnd, silent: i64) {
        let needed = match end {
            AttemptEnd::Requeue(RequeueCause::OutOfReach) => PATIENCE.lost_after,
            AttemptEnd::Requeue(RequeueCause::WentAway { .. }) => PATIENCE.refused_for,
            _ => return,
        };
        let enough = silent >= i64::try_from(needed.as_millis()).unwrap();
        assert!(enough, "a run was lost after {silent} ms of silence: {end:?}");
    }

    /// Checks that no backend begins the same run twice, or begins a run that was given up before.
    pub fn check_runs(&self, servers: &[Server]) {
        for (run, times) in begun(servers) {
            assert_eq!(times, 1, "the run {run} was begun {times} times");
            assert!(!self.never.contains(&run), "{run} was given up and began after that");
        }
    }

    fn may_run_on(&self, id: PromptId, server: &Server) -> bool {
        self.jobs[&id].needs.labels.iter().all(|label| server.labels.contains(label))
    }

    pub fn check(&mut self, gateway: &Gateway, servers: &[Server], wall: UnixMillis, now: i64, calm: bool) {
        let mut live = HashSet::new();
        for attempt in &gateway.attempts {
            assert!(live.insert(attempt.job.prompt_id), "two attempts of {}", attempt.job.prompt_id);
        }
        Self::check_slots(gateway, servers);
        self.note_line(gateway, wall, now);
        if calm {
            self.check_idleness(gateway, servers, wall, now);
        }
    }

    fn note_line(&mut self, gateway: &Gateway, wall: UnixMillis, now: i64) {
        for (id, due) in &self.due {
            let given = gateway.attempts.iter().any(|attempt| attempt.job.prompt_id == *id);
            if gateway.state.is_waiting(*id) && !given && is_due(*due, wall) {
                self.in_line_since.entry(*id).or_insert(now);
            } else {
                self.in_line_since.remove(id);
            }
        }
    }

    /// Checks that the dispatcher's assigned jobs are those that the backends were given.
    fn check_slots(gateway: &Gateway, servers: &[Server]) {
        for server in servers {
            let mut believed = gateway.state.assigned(&server.name);
            let begun = gateway
                .attempts
                .iter()
                .filter(|attempt| attempt.job.attempt.backend == server.name)
                .map(|attempt| attempt.job.prompt_id);
            let asked = gateway.todo.iter().flat_map(|(_, claims)| claims);
            let asked = asked.filter(|(_, backend)| *backend == server.name).map(|(id, _)| *id);
            let mut given: Vec<PromptId> = begun.chain(asked).collect();
            believed.sort_unstable();
            given.sort_unstable();
            assert_eq!(believed, given, "the slots of {}", server.name);
        }
    }

    /// Checks that no backend is idle for long while a job that it could run waits.
    fn check_idleness(&mut self, gateway: &Gateway, servers: &[Server], wall: UnixMillis, now: i64) {
        let patience = i64::try_from(SETTINGS.patience.as_millis()).unwrap();
        let free: Vec<&Server> = servers
            .iter()
            .filter(|server| server.answers() && gateway.state.assigned(&server.name).is_empty())
            .collect();
        for (&id, due) in &self.due {
            let is_given = gateway.attempts.iter().any(|attempt| attempt.job.prompt_id == id);
            let could = free.iter().any(|server| self.may_run_on(id, server));
            if is_given || !could || !is_due(*due, wall) {
                self.idle_since.remove(&id);
                continue;
            }
            let since = *self.idle_since.entry(id).or_insert(now);
            let bound = LONG + patience;
            assert!(
                now - since <= bound,
                "{id} waits beside a free server for {} ms: {:#?}",
                now - since,
                gateway.state
            );
        }
    }

    /// The waiting jobs, each with the backends that could run it.
    pub fn in_line(&self, gateway: &Gateway, servers: &[Server]) -> Vec<(PromptId, i32, Vec<BackendName>)> {
        let asked = gateway.todo.iter().flat_map(|(_, claims)| claims);
        let asked: HashSet<PromptId> = asked.map(|(id, _)| *id).collect();
        let waiting = self.in_line_since.keys().filter(|id| !asked.contains(*id)).copied();
        waiting
            .map(|id| {
                let able = servers.iter().filter(|server| self.may_run_on(id, server));
                (id, self.jobs[&id].priority, able.map(|server| server.name.clone()).collect())
            })
            .collect()
    }

    /// A job was claimed while `others` waited: those of higher priority may be passed over for a while, for
    /// the sake of loaded models or of another server than the one where they failed.
    pub fn claimed(
        &mut self,
        gateway: &Gateway,
        job: &ClaimedHere,
        others: &[(PromptId, i32, Vec<BackendName>)],
        now: i64,
    ) {
        let patience = i64::try_from(SETTINGS.patience.as_millis()).unwrap();
        let priority = self.jobs[&job.id].priority;
        self.due.remove(&job.id);
        self.in_line_since.remove(&job.id);
        self.idle_since.remove(&job.id);
        self.overtaken_since.remove(&job.id);
        for (id, theirs, able) in others {
            if *theirs > priority && able.contains(&job.backend) {
                let since = *self.overtaken_since.entry(*id).or_insert(now);
                let overtaken = now - since > LONG + patience;
                assert!(
                    !overtaken,
                    "{} overtakes {id} of higher priority on {} since {since}: {:#?}",
                    job.id, job.backend, gateway.state
                );
            }
        }
    }
}
