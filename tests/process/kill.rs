//! The gateway's process, killed with SIGKILL at seeded moments under load: nothing is lost, nothing is run twice
//! whose first run could be found, no file is missing.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use comfy_gateway::simulator::{FaultRoute, Simulator, SimulatorConfig};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use sqlx::{ConnectOptions, Connection, Row};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::process::Process;
use crate::support::{assert_invariants, picture};

const KILLS: usize = 60;
const CALLERS: usize = 12;

/// When the process is killed: after that many more requests on a route of one server, or accepted jobs.
#[derive(Debug)]
enum Moment {
    Seen {
        simulator: usize,
        route: FaultRoute,
        more: usize,
    },
    Accepted {
        more: u64,
    },
    /// As soon as it reports that it listens.
    Start,
}

fn moment(random: &mut StdRng) -> Moment {
    let simulator = random.random_range(0..2);
    match random.random_range(0..10) {
        0 => Moment::Start,
        1 | 2 => Moment::Accepted { more: random.random_range(1..12) },
        3..=5 => Moment::Seen { simulator, route: FaultRoute::Prompt, more: random.random_range(1..8) },
        6 | 7 => Moment::Seen { simulator, route: FaultRoute::History, more: random.random_range(1..12) },
        _ => Moment::Seen { simulator, route: FaultRoute::View, more: random.random_range(1..8) },
    }
}

/// The callers' knowledge.
#[derive(Debug, Default)]
struct Load {
    accepted: Mutex<Vec<String>>,
    count: AtomicU64,
    colour: AtomicU64,
}

/// Submits pictures of a colour of its own and waits for them, whenever the gateway is up.
async fn call(
    load: Arc<Load>,
    mut base: watch::Receiver<Option<String>>,
    changes: watch::Sender<u64>,
    done: CancellationToken,
) {
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    loop {
        let url = tokio::select! {
            () = done.cancelled() => return,
            url = base.wait_for(Option::is_some) => url.unwrap().clone().unwrap(),
        };
        let colour = u32::try_from(load.colour.fetch_add(1, Ordering::Relaxed)).unwrap();
        let request = http.post(format!("{url}/execute")).json(&json!({ "workflow": picture(colour) }));
        match request.send().await {
            Ok(response) if response.status() == 202 => {
                let Ok(body) = response.json::<Value>().await else { continue };
                let id = body["prompt_id"].as_str().unwrap().to_owned();
                load.accepted.lock().unwrap().push(id.clone());
                changes.send_replace(load.count.fetch_add(1, Ordering::Relaxed) + 1);
                // Its end is asserted later; here it only keeps the load in bounds.
                drop(http.get(format!("{url}/results/{id}?wait=20")).send().await);
            }
            Ok(response) => panic!("{}: {}", response.status(), response.text().await.unwrap_or_default()),
            // It was killed under us: wait for the next one.
            Err(_) => drop(base.wait_for(|now| now.as_ref() != Some(&url)).await),
        }
    }
}

pub async fn simulators() -> Vec<Simulator> {
    let mut simulators = Vec::new();
    for name in ["gpu-1", "gpu-2"] {
        let config = SimulatorConfig {
            name: name.to_owned(),
            exec: Duration::from_millis(6),
            ..SimulatorConfig::default()
        };
        simulators.push(Simulator::start_local(config).await.unwrap());
    }
    simulators
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_moment_it_loses_nothing_and_doubles_nothing() {
    let seed = std::env::var("KILL_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(20_261_122);
    println!("seed {seed} (set KILL_SEED for another)");
    let mut random = StdRng::seed_from_u64(seed);
    let simulators = simulators().await;
    let data = tempfile::tempdir().unwrap();
    let urls: Vec<String> = simulators.iter().map(Simulator::url).collect();

    let load = Arc::new(Load::default());
    let (base, done) = (watch::Sender::new(None), CancellationToken::new());
    let counts = watch::Sender::new(0u64);
    let callers = TaskTracker::new();
    for _ in 0..CALLERS {
        callers.spawn(call(load.clone(), base.subscribe(), counts.clone(), done.clone()));
    }
    for kill in 0..KILLS {
        let moment = moment(&mut random);
        let mut process = Process::start(data.path(), &urls).await;
        base.send_replace(Some(process.base.clone()));
        wait_for(&moment, &simulators, &counts).await;
        process.kill().await;
        base.send_replace(None);
        println!("kill {kill}: {moment:?}, {} accepted", load.count.load(Ordering::Relaxed));
    }
    done.cancel();
    callers.close();
    callers.wait().await;

    let mut process = Process::start(data.path(), &urls).await;
    let accepted = load.accepted.lock().unwrap().clone();
    assert!(accepted.len() >= KILLS, "only {} jobs were accepted", accepted.len());
    drain(&process.base, &accepted).await;
    process.stop().await;
    assert_invariants(data.path()).await;
    assert_single_runs(data.path(), &accepted, &simulators).await;
}

async fn wait_for(moment: &Moment, simulators: &[Simulator], counts: &watch::Sender<u64>) {
    match moment {
        Moment::Start => {}
        Moment::Accepted { more } => {
            let target = *counts.borrow() + more;
            drop(counts.subscribe().wait_for(|count| *count >= target).await);
        }
        Moment::Seen { simulator, route, more } => {
            let mut target = None;
            let reached = simulators[*simulator].until(|record| {
                let seen = record.requests(*route);
                seen >= *target.get_or_insert(seen + more)
            });
            reached.await;
        }
    }
}

/// Waits until every job has ended, including jobs whose acceptance their caller did not receive.
async fn drain(base: &str, accepted: &[String]) {
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let mut waited: HashSet<String> = HashSet::new();
    let unheard = async |status: &str| -> Vec<String> {
        let page: Value = http
            .get(format!("{base}/results?limit=100&status={status}"))
            .send()
            .await
            .unwrap()
            .json()
            .await
            .unwrap();
        page["results"]
            .as_array()
            .unwrap()
            .iter()
            .map(|job| job["prompt_id"].as_str().unwrap().to_owned())
            .collect()
    };
    let mut left = accepted.to_vec();
    while !left.is_empty() {
        for id in left.drain(..) {
            let response = http.get(format!("{base}/results/{id}?wait=60")).send().await.unwrap();
            assert_eq!(response.status(), 200, "job {id} is lost or does not end");
            let result: Value = response.json().await.unwrap();
            assert_eq!(result["status"], "completed", "{result:#}");
            let url = result["images_by_var"]["cover"][0].as_str().unwrap();
            let bytes =
                http.get(url).send().await.unwrap().error_for_status().unwrap().bytes().await.unwrap();
            assert!(bytes.starts_with(b"\x89PNG"), "{url}");
            waited.insert(id);
        }
        left = [unheard("queued").await, unheard("running").await].concat();
    }
    assert!(waited.len() >= accepted.len());
}

/// Asserts that every job ran exactly once, because its first run could always be found.
async fn assert_single_runs(data: &std::path::Path, accepted: &[String], simulators: &[Simulator]) {
    let mut started: HashMap<String, u32> = HashMap::new();
    for (id, runs) in simulators.iter().flat_map(Simulator::all_runs) {
        *started.entry(id).or_default() += runs.started;
    }
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(data.join("gateway.db"));
    let mut db = options.connect().await.unwrap();
    let rows = sqlx::query("SELECT prompt_id, attempts.attempt_id FROM attempts JOIN jobs USING (seq)")
        .fetch_all(&mut db)
        .await
        .unwrap();
    let mut runs: HashMap<String, u32> = HashMap::new();
    for row in rows {
        let (job, attempt): (String, String) = (row.get("prompt_id"), row.get("attempt_id"));
        *runs.entry(job).or_default() += started.remove(&attempt).unwrap_or(0);
    }
    db.close().await.unwrap();
    for id in accepted {
        assert!(runs.contains_key(id), "job {id} is lost");
    }
    let doubled: Vec<_> = runs.iter().filter(|(_, runs)| **runs != 1).collect();
    assert!(doubled.is_empty(), "not run once: {doubled:?}");
    assert!(started.is_empty(), "runs of no job: {started:?}");
    println!("{} jobs, each run once", runs.len());
}
