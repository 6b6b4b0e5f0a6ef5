//! Scheduling alone, in simulated time: three models on four servers that take five seconds to load one, a
//! thousand mixed jobs; total time, loads and waits of the gateway's dispatcher against handing the jobs out
//! in turn, against giving each to the server with the shortest queue, and against servers that never need to
//! load anything. Then what a claim costs with ten thousand jobs in the queue, as a ratio to what it costs
//! with a hundred.
//!
//! `cargo bench --bench scheduling`
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a benchmark"
)]

mod trace;

use std::sync::Arc;
use std::time::{Duration, Instant};

use comfy_gateway::domain::id::{AttemptId, BackendName, GatewayId, LeaseOwner, PromptId};
use comfy_gateway::domain::job::{Lease, NewJob};
use comfy_gateway::domain::needs::JobNeeds;
use comfy_gateway::domain::time::UnixMillis;
use comfy_gateway::lifecycle::TaskOwner;
use comfy_gateway::scheduler::dispatch::{
    BackendSnapshot, DispatchAction, DispatchEvent, DispatchSettings, DispatchState, RunEstimates,
    RunObservation, handle,
};
use comfy_gateway::store::sqlite::SqliteStore;
use comfy_gateway::store::{JobClaim, JobStore, QueuePlace, WaitingJob};

use trace::{Outcome, Policy, Trace};

fn main() {
    println!("three models, four servers, 5 s to load a model, 1,000 jobs of 1 to 4 s\n");
    for (title, spread) in
        [("all at once", 0), ("over ten minutes", 600_000), ("over fifteen minutes", 900_000)]
    {
        let trace = Trace::new(7, spread);
        let bound = trace.run(Policy::NeverLoads);
        println!("{title}:");
        println!("  {:<18} {:>10} {:>8} {:>7} {:>11}", "", "total", "ratio", "loads", "mean wait");
        for (name, policy) in [
            ("bound (no loads)", Policy::NeverLoads),
            ("dispatcher", Policy::Dispatcher),
            ("least queue", Policy::LeastQueue),
            ("round robin", Policy::RoundRobin),
        ] {
            let Outcome { total, loads, mean_wait } = trace.run(policy);
            let ratio = total as f64 / bound.total as f64;
            println!(
                "  {name:<18} {:>8.1} s {ratio:>8.2} {loads:>7} {:>9.1} s",
                total as f64 / 1_000.0,
                mean_wait / 1_000.0
            );
        }
        println!();
    }
    claiming();
}

const START: UnixMillis = UnixMillis::from_millis(1_000_000);

fn id(n: u32) -> PromptId {
    let mut bytes = [0; 10];
    // The first bytes hold the version.
    bytes[6..].copy_from_slice(&n.to_be_bytes());
    PromptId::from_parts(START, bytes)
}

fn needs(n: u32) -> JobNeeds {
    JobNeeds {
        models: vec![format!("model-{}", n % 3)],
        shape: format!("shape-{}", n % 30),
        family: format!("family-{}", n % 3),
        ..JobNeeds::default()
    }
}

fn waiting(n: u32) -> WaitingJob {
    WaitingJob {
        place: QueuePlace { rev: i64::from(n), seq: i64::from(n) },
        prompt_id: id(n),
        priority: 0,
        caller: format!("caller-{}", n % 50),
        created_at: START,
        not_before: START,
        awaits_inputs: false,
        not_on: Vec::new(),
        failed_on: None,
        needs: needs(n),
    }
}

/// The cost of choosing and claiming one job, with `queued` jobs in the queue.
fn claiming() {
    println!("one claim with that many jobs of 50 callers in the queue, the mean of 400, 50 servers:");
    println!("  {:>8} {:>14} {:>8} {:>16} {:>8}", "queued", "choosing", "ratio", "claiming on disk", "ratio");
    let mut first: Option<(f64, f64)> = None;
    for queued in [100, 1_000, 10_000, 100_000] {
        let choosing = choosing(queued);
        let on_disk = on_disk(queued);
        let (base, base_disk) = *first.get_or_insert((choosing, on_disk));
        println!(
            "  {queued:>8} {choosing:>11.1} µs {:>8.2} {on_disk:>13.1} µs {:>8.2}",
            choosing / base,
            on_disk / base_disk
        );
    }
}

const CLAIMS: u32 = 400;

fn micros(took: Duration) -> f64 {
    took.as_secs_f64() * 1e6 / f64::from(CLAIMS)
}

/// The dispatcher's part of a claim: an attempt ends, the next job is chosen for its server. The queue stays
/// as long.
fn choosing(queued: u32) -> f64 {
    let name = |n: u32| BackendName::parse(&format!("gpu-{n}")).unwrap();
    let view = |n| BackendSnapshot {
        name: name(n),
        slots: 1,
        labels: Vec::new(),
        vram: None,
        foreign: 0,
        degraded: false,
        restarts: 0,
    };
    let mut state = DispatchState::new(DispatchSettings::default(), RunEstimates::default());
    let _claims = handle(&mut state, START, DispatchEvent::Queued((0..queued + 50).map(waiting).collect()));
    let mut running = Vec::new();
    running.extend(handle(&mut state, START, DispatchEvent::Backends((0..50).map(view).collect())));
    let mut running: std::collections::VecDeque<(PromptId, BackendName)> = running
        .into_iter()
        .flat_map(|action| if let DispatchAction::Claim(claims) = action { claims } else { Vec::new() })
        .collect();
    let begun = Instant::now();
    for n in 0..CLAIMS {
        let _none = handle(&mut state, START, DispatchEvent::Queued(vec![waiting(1_000_000 + n)]));
        let (id, backend) = running.pop_front().unwrap();
        let ended = DispatchEvent::Ended { id, backend, run: RunObservation::Took(Duration::from_secs(1)) };
        for action in handle(&mut state, START, ended) {
            if let DispatchAction::Claim(claims) = action {
                running.extend(claims);
            }
        }
    }
    micros(begun.elapsed())
}

/// The store's part: one transaction on a real file.
fn on_disk(queued: u32) -> f64 {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let data = tempfile::tempdir().unwrap();
        let tasks = TaskOwner::default();
        let gateway = GatewayId::from_random([1; 16]);
        let path = data.path().join("gateway.db");
        let store = Arc::new(SqliteStore::open(&path, gateway, &tasks, Arc::new(|_| {}), 0).await.unwrap());
        let jobs = (0..queued.max(CLAIMS)).map(|n| store.insert(new_job(n)));
        futures_util::future::join_all(jobs).await.into_iter().collect::<Result<Vec<_>, _>>().unwrap();
        let begun = Instant::now();
        for n in 0..CLAIMS {
            let claim = JobClaim {
                prompt_id: id(n * (queued.max(CLAIMS) / CLAIMS)),
                attempt_id: AttemptId::from_random([2; 16]),
                backend: BackendName::parse("gpu-1").unwrap(),
                lease: Lease { owner: LeaseOwner::from_random([3; 16]), until: START },
            };
            assert_eq!(store.claim(vec![claim], START).await.unwrap().len(), 1);
        }
        let took = micros(begun.elapsed());
        store.close().await;
        tasks.stop();
        tasks.stopped().await.unwrap();
        took
    })
}

fn new_job(n: u32) -> NewJob {
    NewJob {
        run_timeout: Duration::from_mins(1),
        caller: format!("caller-{}", n % 50),
        needs: needs(n),
        ..NewJob::new(id(n), r#"{"1":{"class_type":"X","inputs":{}}}"#.into(), START)
    }
}
