//! The world of one seed: backends, callers, the gateway's lives, and the faults.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use comfy_gateway::domain::failure::{Failure, FailureCode};
use comfy_gateway::domain::id::{AttemptId, GatewayId, PromptId};
use comfy_gateway::domain::job::{JobEnding, JobFinish, NewJob};
use comfy_gateway::domain::needs::JobNeeds;
use comfy_gateway::domain::time::UnixMillis;
use comfy_gateway::lifecycle::TaskOwner;
use comfy_gateway::scheduler::dispatch::DispatchEvent;
use comfy_gateway::store::sqlite::SqliteStore;
use comfy_gateway::store::{CancelOutcome, ClaimedJob, JobStore};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tempfile::TempDir;

use crate::attempt::{Attempt, Doing};
use crate::checks::Ledger;
use crate::gateway::{Gateway, Settled, write};
use crate::server::{Run, RunEnd, Server};

/// The number of steps with faults.
const STEPS: usize = 260;
/// The longest that the calm part may take, in the simulation's milliseconds.
const CALM: i64 = 60 * 60 * 1_000;

pub struct World {
    pub random: StdRng,
    pub store: Arc<SqliteStore>,
    pub servers: Vec<Server>,
    pub gateway: Option<Gateway>,
    /// Attempts of earlier lives that are about to record their outcome.
    zombies: Vec<Attempt>,
    pub ledger: Ledger,
    /// Milliseconds of a clock that never jumps.
    pub now: i64,
    /// The offset of the wall clock.
    offset: i64,
    jumped_at: i64,
    next_probe: i64,
    jobs: u8,
    calm: bool,
    tell: bool,
    tale: Vec<String>,
    tasks: TaskOwner,
    data: TempDir,
}

pub fn spent() -> Failure {
    Failure::new(FailureCode::BackendLost, "given up")
}

pub fn ended(ending: JobEnding, at: UnixMillis) -> JobFinish {
    JobFinish::without_outputs(ending, at, None)
}

/// The outcome of a run. It depends on the job and not on chance, so that all its attempts are alike.
fn fate(job: &ClaimedJob) -> Run {
    let shape: i64 = job.needs.shape.parse().unwrap_or(0);
    let end = match shape % 12 {
        7 => RunEnd::NodeError,
        8 => RunEnd::OutOfMemory,
        _ => RunEnd::Success,
    };
    let takes = match shape % 5 {
        0 => 20,
        1 => 200,
        2 => 1_500,
        3 => 6_000,
        _ => 15_000,
    };
    Run { id: job.attempt.id, takes, end }
}

impl World {
    pub async fn new(seed: u64, tell: bool) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        // In memory where there is such a place: thousands of databases need not outlive a loss of power.
        let data = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        let (store, tasks) = open(&data).await;
        let count = random.random_range(1..=4);
        let mut servers: Vec<Server> = (1..=count).map(|n| Server::new(&format!("gpu-{n}"))).collect();
        for server in &mut servers {
            if random.random_bool(0.3) {
                server.labels.push("big".to_owned());
            }
        }
        Self {
            random,
            store,
            servers,
            gateway: None,
            zombies: Vec::new(),
            ledger: Ledger::default(),
            now: 1_000_000,
            offset: 0,
            jumped_at: 0,
            next_probe: 0,
            jobs: 0,
            calm: false,
            tell,
            tale: Vec::new(),
            tasks,
            data,
        }
    }

    pub fn wall(&self) -> UnixMillis {
        UnixMillis::from_millis(self.now + self.offset)
    }

    pub fn say(&mut self, what: impl FnOnce() -> String) {
        let line = format!("{} {}", self.now, what());
        if self.tell {
            println!("{line}");
        }
        self.tale.push(line);
    }

    /// The part with faults.
    pub async fn rage(&mut self) {
        self.start_gateway().await;
        for _ in 0..STEPS {
            match self.random.random_range(0..100) {
                0..52 => self.progress().await,
                52..72 => self.advance(500),
                72..86 => self.submit().await,
                86..90 => self.cancel().await,
                90..95 => self.befall_a_server(),
                95..97 => self.kill_gateway().await,
                97 => self.jump(),
                _ => self.zombie_writes().await,
            }
            self.check();
        }
    }

    /// The part without faults, in which every job must end.
    pub async fn calm_down(&mut self) {
        self.say(|| "calm".to_owned());
        self.calm = true;
        for server in &mut self.servers {
            (server.up, server.partitioned, server.deaf, server.history_lag) = (true, false, false, 0);
            // Nothing but a restart brings back a worker that does not move.
            if server.stuck {
                server.crash();
                server.up = true;
            }
        }
        // A job may ask for a label that nobody has: now somebody has.
        self.servers[0].labels.push("big".to_owned());
        if self.gateway.is_none() {
            self.start_gateway().await;
        }
        while !self.zombies.is_empty() {
            self.zombie_writes().await;
        }
        let end = self.now + CALM;
        while !self.ledger.all_ended() {
            while self.is_ready() {
                self.progress().await;
                self.check();
            }
            assert!(self.now < end, "jobs do not end: {:?}", self.ledger.unfinished());
            self.advance(10_000);
            self.check();
        }
        // What was written is what is to be found, and no slot is held any more.
        self.ledger.check_ends(&*self.store).await;
        let gateway = self.gateway.as_ref().unwrap();
        for server in &self.servers {
            assert_eq!(gateway.state.assigned(&server.name), [], "a slot of {} leaked", server.name);
        }
        assert_eq!(gateway.state.waiting(), 0, "the dispatcher still waits for jobs that have ended");
    }

    pub async fn close(self) -> Vec<String> {
        self.store.close().await;
        self.tasks.stop();
        self.tasks.stopped().await.unwrap();
        drop(self.data);
        self.tale
    }

    async fn start_gateway(&mut self) {
        self.say(|| "the gateway starts".to_owned());
        let (wall, now) = (self.wall(), self.now);
        let store = self.store.clone();
        let started = Gateway::start(&*store, &mut self.random, fate, &self.servers, wall, now);
        self.gateway = Some(started.await);
    }

    async fn kill_gateway(&mut self) {
        if let Some(gateway) = self.gateway.take() {
            self.say(|| "the gateway is killed".to_owned());
            self.ledger.nobody_waits();
            let settling = |attempt: &Attempt| matches!(attempt.doing, Doing::Settle(..));
            self.zombies.extend(gateway.attempts.into_iter().filter(settling));
            // A process that has lost its power leaves the file as it is; opened anew, it is whole.
            if self.random.random_bool(0.05) {
                self.store.close().await;
                (self.store, self.tasks) = open(&self.data).await;
            }
        } else {
            self.start_gateway().await;
        }
    }

    /// Lets an attempt of an earlier life record its outcome after another attempt has adopted the job.
    async fn zombie_writes(&mut self) {
        if self.gateway.is_none() || self.zombies.is_empty() {
            return;
        }
        let zombie = self.zombies.swap_remove(self.random.random_range(0..self.zombies.len()));
        let Doing::Settle(end, run) = zombie.doing else { return };
        let (settlement, _) = crate::attempt::settlement(end, run, zombie.took());
        let (store, wall) = (self.store.clone(), self.wall());
        let settled = write(&zombie, settlement, &*store, &mut self.random, wall).await;
        self.say(|| format!("a zombie of {} writes", zombie.job.prompt_id));
        assert!(matches!(settled, Settled::LeaseLost), "a zombie's result was taken");
    }

    async fn submit(&mut self) {
        if self.jobs >= 40 {
            return;
        }
        self.jobs += 1;
        let id = PromptId::from_parts(UnixMillis::from_millis(1), [self.jobs; 10]);
        let model = match self.random.random_range(0..4) {
            0 => Vec::new(),
            n => vec![format!("model-{n}.ckpt")],
        };
        let shape: u32 = self.random.random_range(0..60);
        let labels = if self.random.random_bool(0.1) { vec!["big".to_owned()] } else { Vec::new() };
        let family = format!("family-{}", shape % 5);
        let job = NewJob {
            priority: self.random.random_range(0..3),
            run_timeout: Duration::from_mins(1),
            caller: format!("caller-{}", self.random.random_range(0..3)),
            needs: JobNeeds { labels, backend: None, models: model, shape: shape.to_string(), family },
            ..NewJob::new(id, r#"{"1":{"class_type":"X","inputs":{}}}"#.into(), self.wall())
        };
        self.say(|| format!("{id} is submitted, {} {:?}", job.priority, job.needs));
        self.ledger.accepted(&job);
        self.store.insert(job).await.unwrap();
        if let Some(gateway) = &mut self.gateway {
            gateway.woken = true;
        }
    }

    async fn cancel(&mut self) {
        let Some(id) = self.ledger.any(&mut self.random) else { return };
        self.say(|| format!("{id} is cancelled"));
        match self.store.request_cancel(id, self.wall(), None).await.unwrap() {
            CancelOutcome::Cancelled => {
                self.ledger.ended(id);
                if let Some(gateway) = &mut self.gateway {
                    gateway.left.push(id);
                    gateway.woken = true;
                }
            }
            CancelOutcome::Requested => {
                let attempts = self.gateway.iter_mut().flat_map(|gateway| &mut gateway.attempts);
                attempts.filter(|attempt| attempt.job.prompt_id == id).for_each(|it| it.cancelled = true);
            }
            CancelOutcome::AlreadyTerminal | CancelOutcome::NotFound => {}
        }
    }

    fn befall_a_server(&mut self) {
        let at = self.random.random_range(0..self.servers.len());
        let what = self.random.random_range(0..9);
        let lag = self.random.random_range(0..400);
        let server = &mut self.servers[at];
        match what {
            0 | 1 if server.up => server.crash(),
            0..=2 => server.up = true,
            3 => server.partitioned = !server.partitioned,
            4 => server.partitioned = false,
            5 => server.deaf = !server.deaf,
            6 => server.history_lag = lag,
            // Rare enough not to end most jobs by it.
            7 if lag < 80 => server.stuck = true,
            _ => {
                server.crash();
                server.up = true;
            }
        }
        let (name, up, cut, deaf, stuck) =
            (server.name.clone(), server.up, server.partitioned, server.deaf, server.stuck);
        self.say(|| format!("{name}: up {up}, partitioned {cut}, deaf {deaf}, stuck {stuck}"));
    }

    /// Sets the wall clock: mostly by little, sometimes by hours.
    fn jump(&mut self) {
        let far = if self.random.random_bool(0.2) { 3 * 3_600_000 } else { 5_000 };
        self.jumped_at = self.now;
        self.offset += self.random.random_range(-far..=far);
        // Before the epoch of the simulation nothing was.
        self.offset = self.offset.max(-500_000);
        if let Some(gateway) = &mut self.gateway {
            gateway.woken = true;
        }
        self.ledger.nobody_waits();
        let offset = self.offset;
        self.say(|| format!("the clock is off by {offset}"));
    }

    /// Whether any step is possible now.
    fn is_ready(&self) -> bool {
        self.gateway.as_ref().is_some_and(|gateway| {
            gateway.woken
                || !gateway.todo.is_empty()
                || gateway.attempts.iter().any(|attempt| attempt.is_ready(self.now))
        })
    }

    /// Takes one of the possible steps.
    async fn progress(&mut self) {
        let (wall, now, store) = (self.wall(), self.now, self.store.clone());
        let Some(gateway) = &mut self.gateway else { return };
        let ready: Vec<usize> =
            (0..gateway.attempts.len()).filter(|&at| gateway.attempts[at].is_ready(now)).collect();
        let choices = ready.len() + usize::from(gateway.woken) + usize::from(!gateway.todo.is_empty());
        if choices == 0 {
            return;
        }
        let choice = self.random.random_range(0..choices);
        if let Some(&at) = ready.get(choice) {
            return self.step_attempt(at).await;
        }
        if gateway.woken && (choice == ready.len() || gateway.todo.is_empty()) {
            return gateway.read_on(&*store, wall, now).await;
        }
        let others = self.ledger.in_line(gateway, &self.servers);
        let claimed = gateway.claim(&*store, &mut self.random, fate, &self.servers, (wall, now)).await;
        for job in &claimed {
            self.ledger.claimed(gateway, job, &others, now);
        }
        for job in claimed {
            self.say(|| format!("{} is claimed for {} as {}", job.id, job.backend, job.attempt));
        }
    }

    async fn step_attempt(&mut self, at: usize) {
        let (wall, now, store) = (self.wall(), self.now, self.store.clone());
        let Some(gateway) = &mut self.gateway else { return };
        let attempt = &mut gateway.attempts[at];
        let (id, run) = (attempt.job.prompt_id, attempt.job.attempt.id);
        let backend = attempt.job.attempt.backend.clone();
        let Some(server) = self.servers.iter_mut().find(|server| server.name == backend) else { return };
        if let Doing::Settle(end, _) = attempt.doing {
            let settled = gateway.settle(at, &*store, &mut self.random, wall).await;
            let word = match settled {
                Settled::Ended(id) => {
                    self.ledger.ended(id);
                    "ended"
                }
                Settled::Requeued(id, due) => {
                    self.ledger.waits_again(id, due);
                    "waits again"
                }
                Settled::LeaseLost => panic!("the only attempt of {id} has lost its lease"),
                Settled::Nothing => "nothing",
            };
            return self.say(|| format!("{id} {word}: {end:?}"));
        }
        let doing = attempt.doing;
        attempt.step(server, &mut self.random, now, wall);
        if let Doing::Settle(end, _) = attempt.doing {
            self.ledger.check_given_up(end, server, run);
            let (since, until, _) = attempt.silence;
            if self.jumped_at < since {
                Ledger::check_patience(end, until - since);
            }
        }
        self.say(|| format!("{id} on {backend} ({run}): {doing:?}"));
    }

    /// Advances the clock to the next event, by `most` at most.
    fn advance(&mut self, most: i64) {
        let wall = self.wall();
        let mut next = self.now + most;
        for server in &self.servers {
            next = next.min(server.next_event().filter(|at| *at > self.now).unwrap_or(next));
        }
        if let Some(gateway) = &self.gateway {
            for attempt in &gateway.attempts {
                if let Doing::Wait(until) = attempt.doing {
                    next = next.min(until);
                }
            }
            next = next.min(gateway.next_poll);
            if let Some(wake) = gateway.state.next_wake(wall) {
                next = next.min(self.now + wake.since(wall).as_millis().try_into().unwrap_or(i64::MAX));
            }
        }
        self.now = next.max(self.now + 1);
        let (wall, now) = (self.wall(), self.now);
        for server in &mut self.servers {
            server.work(now);
        }
        let probes = self.now >= self.next_probe;
        if let Some(gateway) = &mut self.gateway {
            for attempt in &mut gateway.attempts {
                let name = &attempt.job.attempt.backend;
                if let Some(server) = self.servers.iter().find(|server| server.name == *name) {
                    attempt.listen(server, wall);
                }
            }
            if probes {
                gateway.learn_servers(&self.servers, wall);
            }
            gateway.happen(DispatchEvent::Tick, wall);
            gateway.woken |= self.now >= gateway.next_poll;
        }
        if probes {
            self.next_probe = self.now + 1_000;
        }
    }

    fn check(&mut self) {
        let wall = self.wall();
        if let Some(gateway) = &self.gateway {
            self.ledger.check(gateway, &self.servers, wall, self.now, self.calm);
        }
        self.ledger.check_runs(&self.servers);
    }
}

async fn open(data: &TempDir) -> (Arc<SqliteStore>, TaskOwner) {
    let tasks = TaskOwner::default();
    let path = data.path().join("gateway.db");
    let id = GatewayId::from_random([7; 16]);
    let store = SqliteStore::open(&path, id, &tasks, Arc::new(|_| {}), 0).await.unwrap();
    (Arc::new(store), tasks)
}

/// The runs that each backend began, by attempt.
pub fn begun(servers: &[Server]) -> BTreeMap<AttemptId, usize> {
    let mut begun = BTreeMap::new();
    for id in servers.iter().flat_map(|server| &server.begun) {
        *begun.entry(*id).or_insert(0) += 1;
    }
    begun
}
