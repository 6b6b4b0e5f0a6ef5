//! Many jobs that are as short as possible: memory and latency stay flat, and the database stays within its
//! retention.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use comfy_gateway::clock::{Clock, SystemClock};
use serde_json::{Value, json};
use tokio_util::task::TaskTracker;

use crate::doubles::doubles;
use crate::figures::percentile;
use crate::gateway::Gateway;
use crate::server::{Server, book, client};

const SERVERS: usize = 8;
const CALLERS: usize = 64;
/// The number of rows of the table.
const SAMPLES: usize = 10;
/// How much more a third of the run may need than the third before, because of noise.
const SLACK: u64 = 32 << 20;

/// The observations since the last sample. Latencies are in milliseconds.
#[derive(Debug, Default)]
struct Seen {
    submits: Vec<i64>,
    results: Vec<i64>,
    turnarounds: Vec<i64>,
}

/// One row of the table. Sizes are in bytes.
#[derive(Debug, Clone, Copy)]
struct Sample {
    rss: u64,
    database: u64,
}

struct Run {
    base: String,
    jobs: usize,
    next: AtomicUsize,
    seen: Mutex<Seen>,
    lost: Mutex<Vec<String>>,
    ended: tokio::sync::watch::Sender<usize>,
}

/// A text, or for every tenth job a picture. It goes to a folder with few others, because the backend lists
/// the folder to number its files.
fn body(number: usize) -> Value {
    let workflow = if number.is_multiple_of(10) {
        json!({
            "1": {"class_type": "EmptyImage", "inputs": {"width": 8, "height": 8, "batch_size": 1, "color": number % 0x00ff_ffff}},
            "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": format!("b{}/e{number}", number / 1_000)}}
        })
    } else {
        json!({
            "1": {"class_type": "PrimitiveString", "inputs": {"value": format!("text {number}")}},
            "2": {"class_type": "PreviewAny", "inputs": {"source": ["1", 0]}}
        })
    };
    json!({ "workflow": workflow })
}

fn now() -> i64 {
    SystemClock.now().as_millis()
}

async fn call(run: Arc<Run>) {
    let http = client();
    loop {
        let number = run.next.fetch_add(1, Ordering::Relaxed);
        if number >= run.jobs {
            return;
        }
        let began = now();
        let request = http.post(format!("{}/execute", run.base)).json(&body(number));
        let job: Value = request.send().await.unwrap().error_for_status().unwrap().json().await.unwrap();
        let submitted = now();
        let url = format!("{}/results/{}", run.base, job["prompt_id"].as_str().unwrap());
        let ended = http.get(format!("{url}?wait=60")).send().await.unwrap();
        let over = now();
        let result: Value = http.get(&url).send().await.unwrap().json().await.unwrap();
        if ended.status() != 200 || result["status"] != "completed" {
            run.lost.lock().unwrap().push(result.to_string());
        }
        let mut seen = run.seen.lock().unwrap();
        seen.submits.push(submitted - began);
        seen.results.push(now() - over);
        seen.turnarounds.push(over - began);
        drop(seen);
        run.ended.send_modify(|ended| *ended += 1);
    }
}

/// Resident memory of a process, from `/proc/PID/status`.
fn rss(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.split_whitespace().next().unwrap().parse::<u64>().unwrap() << 10
}

fn size(data: &Path) -> u64 {
    let size = |name: &str| std::fs::metadata(data.join(name)).map_or(0, |meta| meta.len());
    size("gateway.db") + size("gateway.db-wal")
}

fn row(run: &Run, ended: usize, since: i64, sample: Sample) {
    let seen = std::mem::take(&mut *run.seen.lock().unwrap());
    let both = |values: &[i64]| {
        format!("{:4} /{:5}", percentile(values, 0.5).unwrap_or(0), percentile(values, 0.99).unwrap_or(0))
    };
    let took = usize::try_from(now() - since).unwrap().max(1);
    println!(
        "{ended:8} {:7} {:8.1} {:8.1}  {}  {}  {}",
        seen.submits.len() * 1_000 / took,
        mebibytes(sample.rss),
        mebibytes(sample.database),
        both(&seen.submits),
        both(&seen.results),
        both(&seen.turnarounds)
    );
}

#[expect(clippy::cast_precision_loss, reason = "for people")]
fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// Asserts that the highest value of the last third is not far above the highest of the third before.
fn is_flat(values: &[u64]) -> bool {
    let third = values.len() / 3;
    let most = |values: &[u64]| values.iter().max().copied().unwrap_or(0);
    let (before, last) = (most(&values[third..2 * third]), most(&values[values.len() - third..]));
    last <= before + before / 2 + SLACK
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes as long as ENDURANCE_JOBS (100,000) take; measure with a release build"]
async fn endurance_memory_and_database_stay_within_bounds() {
    let jobs = std::env::var("ENDURANCE_JOBS").ok().and_then(|jobs| jobs.parse().ok()).unwrap_or(100_000);
    let folder = tempfile::tempdir().unwrap();
    let mut servers = Vec::new();
    for number in 0..SERVERS {
        servers.push(Server::start(number, folder.path()).await);
    }
    let urls: Vec<&str> = servers.iter().map(|server| &*server.url).collect();
    // The shortest that may be set: what has ended is forgotten within two minutes.
    let more = ["--retention", "1m"];
    let mut gateway = Gateway::start(&folder.path().join("data"), &urls, &more).await;
    let run = Arc::new(Run {
        base: gateway.url(),
        jobs,
        next: AtomicUsize::new(0),
        seen: Mutex::default(),
        lost: Mutex::default(),
        ended: tokio::sync::watch::Sender::new(0),
    });
    let callers = TaskTracker::new();
    for _ in 0..CALLERS {
        callers.spawn(call(run.clone()));
    }
    let samples = sample(&run, &gateway).await;
    callers.close();
    callers.wait().await;
    gateway.stop().await;
    let lost = run.lost.lock().unwrap();
    assert!(lost.is_empty(), "{} lost, such as {}", lost.len(), lost[0]);
    let book = book(&servers);
    assert_eq!(book.begun(), jobs, "runs");
    assert!(doubles(&book, &std::collections::HashMap::new()).is_empty());
    assert!(
        is_flat(&samples.iter().map(|sample| sample.rss).collect::<Vec<_>>()),
        "memory grows: {samples:?}"
    );
    let sizes: Vec<_> = samples.iter().map(|sample| sample.database).collect();
    assert!(is_flat(&sizes), "the database grows: {samples:?}");
}

async fn sample(run: &Run, gateway: &Gateway) -> Vec<Sample> {
    println!("    jobs   per s  RSS MiB   db MiB  submit ms    result ms    turnaround ms (p50 / p99)");
    let mut ended = run.ended.subscribe();
    let mut samples = Vec::new();
    for step in 1..=SAMPLES {
        let since = now();
        let target = run.jobs * step / SAMPLES;
        let reached = *ended.wait_for(|ended| *ended >= target).await.unwrap();
        let sample = Sample { rss: rss(gateway.pid().unwrap()), database: size(&gateway.data) };
        row(run, reached, since, sample);
        samples.push(sample);
    }
    samples
}

#[test]
fn what_grows_without_bound_is_not_flat() {
    let mib = |values: &[u64]| values.iter().map(|value| value << 20).collect::<Vec<_>>();
    assert!(is_flat(&mib(&[40, 90, 100, 100, 101, 100, 99, 103, 100])));
    assert!(is_flat(&mib(&[20, 200, 400, 420, 410, 400, 420, 400, 430, 410])));
    assert!(!is_flat(&mib(&[100, 200, 300, 400, 500, 600, 700, 800, 950])));
}
