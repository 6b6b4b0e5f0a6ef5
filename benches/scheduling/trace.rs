//! A trace of jobs, and its total time under each policy, in simulated time.

use std::collections::VecDeque;
use std::time::Duration;

use comfy_gateway::domain::id::{BackendName, PromptId};
use comfy_gateway::domain::needs::JobNeeds;
use comfy_gateway::domain::time::UnixMillis;
use comfy_gateway::scheduler::dispatch::{
    BackendSnapshot, DispatchAction, DispatchEvent, DispatchSettings, DispatchState, RunEstimates,
    RunObservation, handle,
};
use comfy_gateway::store::{QueuePlace, WaitingJob};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

const JOBS: usize = 1_000;
const SERVERS: usize = 4;
const MODELS: usize = 3;
/// Milliseconds to load a model.
const LOAD: i64 = 5_000;

/// How jobs are assigned to backends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// The gateway's dispatcher.
    Dispatcher,
    /// Each to the next backend in turn, on arrival.
    RoundRobin,
    /// Each to the backend with the fewest jobs, on arrival.
    LeastQueue,
    /// The same on backends that have all models loaded.
    NeverLoads,
}

/// A job of the trace; times in milliseconds.
#[derive(Debug, Clone, Copy)]
struct Job {
    comes: i64,
    model: usize,
    runs: i64,
}

/// The jobs in the order of their arrival.
pub struct Trace(Vec<Job>);

/// The result of a trace; times in milliseconds.
pub struct Outcome {
    pub total: i64,
    pub loads: usize,
    pub mean_wait: f64,
}

#[derive(Debug, Clone, Default)]
struct Server {
    queue: VecDeque<usize>,
    loaded: Option<usize>,
    /// The job, its beginning and its end.
    running: Option<(usize, i64, i64)>,
}

impl Trace {
    /// A thousand jobs that arrive within `spread` milliseconds.
    pub fn new(seed: u64, spread: i64) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let mut comes: Vec<i64> = (0..JOBS).map(|_| random.random_range(0..=spread)).collect();
        comes.sort_unstable();
        let job = |comes| {
            let model = random.random_range(0..MODELS);
            Job {
                comes,
                model,
                runs: 1_000 + 1_000 * i64::try_from(model).unwrap() + random.random_range(0..1_000),
            }
        };
        Self(comes.into_iter().map(job).collect())
    }

    /// Runs the trace.
    pub fn run(&self, policy: Policy) -> Outcome {
        let mut servers = vec![Server::default(); SERVERS];
        let mut dispatcher = (policy == Policy::Dispatcher).then(dispatcher);
        let (mut now, mut next, mut ended, mut loads, mut waited) = (0, 0, 0, 0, 0i64);
        while ended < JOBS {
            while next < JOBS && self.0[next].comes <= now {
                match &mut dispatcher {
                    Some(state) => {
                        self.tell(state, &mut servers, now, DispatchEvent::Queued(vec![self.queued(next)]));
                    }
                    None => choose(policy, next, &mut servers).queue.push_back(next),
                }
                next += 1;
            }
            if let Some(state) = &mut dispatcher {
                self.tell(state, &mut servers, now, DispatchEvent::Tick);
            }
            for server in &mut servers {
                if server.running.is_none()
                    && let Some(job) = server.queue.pop_front()
                {
                    let Job { comes, model, runs } = self.0[job];
                    let cold = policy != Policy::NeverLoads && server.loaded != Some(model);
                    loads += usize::from(cold);
                    waited += now - comes;
                    server.loaded = Some(model);
                    server.running = Some((job, now, now + runs + if cold { LOAD } else { 0 }));
                }
            }
            let ends = servers.iter().filter_map(|server| Some(server.running?.2)).min();
            let comes = self.0.get(next).map(|job| job.comes);
            let wakes =
                dispatcher.as_ref().and_then(|state| state.next_wake(at(now))).map(UnixMillis::as_millis);
            now = [ends, comes, wakes].into_iter().flatten().min().unwrap_or(now).max(now);
            for index in 0..SERVERS {
                if let Some((job, begun, end)) = servers[index].running.filter(|(_, _, end)| *end <= now) {
                    servers[index].running = None;
                    ended += 1;
                    if let Some(state) = &mut dispatcher {
                        let run = RunObservation::Took(Duration::from_millis((end - begun).unsigned_abs()));
                        let event = DispatchEvent::Ended { id: id(job), backend: name(index), run };
                        self.tell(state, &mut servers, now, event);
                    }
                }
            }
        }
        Outcome { total: now, loads, mean_wait: waited as f64 / JOBS as f64 }
    }

    /// Applies an event, assigns claimed jobs to the backends, and returns recalled jobs.
    fn tell(&self, state: &mut DispatchState, servers: &mut [Server], now: i64, event: DispatchEvent) {
        let mut events = vec![event];
        while let Some(event) = events.pop() {
            for action in handle(state, at(now), event) {
                match action {
                    DispatchAction::Claim(claims) => {
                        for (id, backend) in claims {
                            let server = (0..SERVERS).find(|server| name(*server) == backend).unwrap();
                            servers[server].queue.push_back(job_of(id));
                        }
                    }
                    DispatchAction::Recall(id) => {
                        let job = job_of(id);
                        let waits = |server: &Server| server.queue.iter().position(|queued| *queued == job);
                        let found = (0..SERVERS).find_map(|index| Some((index, waits(&servers[index])?)));
                        let Some((index, place)) = found else { continue };
                        servers[index].queue.remove(place);
                        events.push(DispatchEvent::Queued(vec![self.queued(job)]));
                        events.push(DispatchEvent::Ended {
                            id,
                            backend: name(index),
                            run: RunObservation::Nothing,
                        });
                    }
                }
            }
        }
    }

    fn queued(&self, job: usize) -> WaitingJob {
        let Job { comes, model, .. } = self.0[job];
        let seq = i64::try_from(job).unwrap();
        WaitingJob {
            place: QueuePlace { rev: seq, seq },
            prompt_id: id(job),
            priority: 0,
            caller: String::new(),
            created_at: at(comes),
            not_before: at(comes),
            awaits_inputs: false,
            not_on: Vec::new(),
            failed_on: None,
            needs: JobNeeds {
                models: vec![format!("model-{model}")],
                shape: format!("shape-{model}"),
                family: format!("family-{model}"),
                ..JobNeeds::default()
            },
        }
    }
}

fn at(millis: i64) -> UnixMillis {
    UnixMillis::from_millis(millis)
}

fn id(job: usize) -> PromptId {
    let mut bytes = [0; 10];
    bytes[..8].copy_from_slice(&(job as u64).to_be_bytes());
    PromptId::from_parts(at(1), bytes)
}

fn job_of(id: PromptId) -> usize {
    (0..JOBS).find(|job| self::id(*job) == id).unwrap()
}

fn name(server: usize) -> BackendName {
    BackendName::parse(&format!("gpu-{server}")).unwrap()
}

fn dispatcher() -> DispatchState {
    let view = |server| BackendSnapshot {
        name: name(server),
        slots: 8,
        labels: Vec::new(),
        vram: None,
        foreign: 0,
        degraded: false,
        restarts: 0,
    };
    let mut state = DispatchState::new(DispatchSettings::default(), RunEstimates::default());
    let _nothing_waits = handle(&mut state, at(0), DispatchEvent::Backends((0..SERVERS).map(view).collect()));
    state
}

fn choose(policy: Policy, job: usize, servers: &mut [Server]) -> &mut Server {
    if policy == Policy::RoundRobin {
        return &mut servers[job % SERVERS];
    }
    let load = |server: &Server| server.queue.len() + usize::from(server.running.is_some());
    servers.iter_mut().min_by_key(|server| load(server)).unwrap()
}
