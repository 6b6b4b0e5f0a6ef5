//! The runs: a calm phase with a full queue, then faults under load, then backends that die while there is
//! little work.

use std::time::Duration;

use comfy_gateway::clock::{Clock, SystemClock};
use comfy_gateway::domain::time::UnixMillis;
use rand::SeedableRng;
use rand::rngs::StdRng;
use serde_json::{Value, json};

use crate::audit::Audit;
use crate::gateway::Gateway;
use crate::jobs::sleeping_picture;
use crate::load::{Known, Load};
use crate::report::{CALM, MOVED, Report};
use crate::schedule::Schedule;
use crate::server::{Server, book, client};
use crate::trouble::deck;

const SERVERS: usize = 4;
const CALLERS: u64 = 24;
/// How long the job of a backend that is to be killed works, which is longer than it takes to find and kill
/// it.
const MOVED_SECONDS: f64 = 2.0;
/// Between two polls for changes that no signal reports.
const LOOK: Duration = Duration::from_millis(20);
/// Without faults, a longer wait never ends. The calm phase of the long form takes a minute.
const STUCK: Duration = Duration::from_mins(2);

/// The length of a form.
struct Form {
    calm_jobs: usize,
    /// The least number of faults.
    troubles: usize,
    /// The least duration.
    until: UnixMillis,
    moved_jobs: usize,
}

fn setting<T: std::str::FromStr>(name: &str) -> Option<T> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

async fn run(form: Form) -> Report {
    let seed = setting("CHAOS_SEED").unwrap_or(20_261_122);
    println!("seed {seed} (set CHAOS_SEED for another)");
    let folder = tempfile::tempdir().unwrap();
    let mut servers = Vec::new();
    for number in 0..SERVERS {
        servers.push(Server::start(number, folder.path()).await);
    }
    let urls: Vec<String> = servers.iter().map(|server| server.url.clone()).collect();
    let urls: Vec<&str> = urls.iter().map(String::as_str).collect();
    let mut gateway = Gateway::start(&folder.path().join("data"), &urls, &["--max-attempts", "10"]).await;

    let load = Load::default();
    within(&gateway, "the calm phase ends", calm(&gateway, &load.known, form.calm_jobs)).await;
    load.start(CALLERS, seed, &gateway.base);
    let mut schedule = Schedule::new(StdRng::seed_from_u64(seed));
    while schedule.struck < form.troubles || SystemClock.now() < form.until {
        schedule.step(&mut gateway, &mut servers, &load.count).await;
    }
    schedule.mend(&gateway, &mut servers).await;
    within(&gateway, "the last jobs of the callers end", load.finish()).await;
    for number in 0..form.moved_jobs {
        let moved = moved(&gateway, &mut servers, &load.known, number);
        within(&gateway, "the job of a dead server ends elsewhere", moved).await;
    }
    within(&gateway, "every job ends", drain(&gateway, &load.known)).await;
    gateway.stop().await;
    finish(seed, &schedule, &gateway, &servers, &load).await
}

async fn finish(
    seed: u64,
    schedule: &Schedule,
    gateway: &Gateway,
    servers: &[Server],
    load: &Load,
) -> Report {
    let audit = Audit::of(&gateway.data).await;
    let mut report = Report::new(seed, &load.known, &audit, &book(servers));
    report.figures["troubles"] = schedule.struck.into();
    report.figures["gateway_lives"] = gateway.starts.into();
    report
}

/// Fails with the gateway's own explanation when a wait never ends.
async fn within<T>(gateway: &Gateway, what: &str, coming: impl Future<Output = T>) -> T {
    if let Ok(came) = tokio::time::timeout(STUCK, coming).await {
        return came;
    }
    panic!("it never comes that {what}:\n{}", gateway.explain().await);
}

/// A full queue of 200 ms jobs without faults: no backend may ever be idle.
async fn calm(gateway: &Gateway, known: &Known, jobs: usize) {
    let mut ids = Vec::new();
    for number in 0..jobs {
        ids.push(submit(gateway, known, &format!("{CALM}{number}"), 0.2).await);
    }
    for id in ids {
        ended(gateway, known, &id).await;
    }
}

/// One job whose backend is killed while it runs, and stays dead until the job has ended elsewhere.
async fn moved(gateway: &Gateway, servers: &mut [Server], known: &Known, number: usize) {
    let id = submit(gateway, known, &format!("{MOVED}{number}"), MOVED_SECONDS).await;
    let server = loop {
        if let Some(server) = running(servers, &id).await {
            break server;
        }
        SystemClock.sleep(LOOK).await;
    };
    servers[server].kill().await;
    ended(gateway, known, &id).await;
    servers[server].revive().await;
}

async fn running(servers: &[Server], id: &str) -> Option<usize> {
    for server in servers {
        if server.report().await["running"] == id {
            return Some(server.number);
        }
    }
    None
}

async fn submit(gateway: &Gateway, known: &Known, marker: &str, seconds: f64) -> String {
    let body = json!({ "workflow": sleeping_picture(marker, seconds), "metadata": { "marker": marker } });
    let response = client().post(format!("{}/execute", gateway.url())).json(&body).send().await.unwrap();
    assert_eq!(response.status(), 202);
    let job: Value = response.json().await.unwrap();
    let id = job["prompt_id"].as_str().unwrap().to_owned();
    known.accepted.lock().unwrap().push(id.clone());
    id
}

/// Waits for a job's end, or until the gateway denies the job.
async fn ended(gateway: &Gateway, known: &Known, id: &str) {
    loop {
        let url = format!("{}/results/{id}?wait=30", gateway.url());
        match client().get(url).send().await.unwrap().status().as_u16() {
            200 => return,
            202 => {}
            404 | 410 => return known.denied.lock().unwrap().push(id.to_owned()),
            other => panic!("{id}: {other}"),
        }
    }
}

/// Waits for the end of every job, including jobs whose acceptance their caller did not receive, and fetches
/// each of them.
async fn drain(gateway: &Gateway, known: &Known) {
    let http = client();
    let mut left = known.accepted.lock().unwrap().clone();
    while !left.is_empty() {
        for id in left.drain(..) {
            ended(gateway, known, &id).await;
        }
        for status in ["queued", "running"] {
            let url = format!("{}/results?limit=100&status={status}", gateway.url());
            let page: Value = http.get(url).send().await.unwrap().json().await.unwrap();
            let jobs = page["results"].as_array().unwrap();
            left.extend(jobs.iter().map(|job| job["prompt_id"].as_str().unwrap().to_owned()));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn short_form_nothing_is_lost_or_doubled_or_left_behind() {
    let now = SystemClock.now();
    let form = Form { calm_jobs: 160, troubles: deck().len(), until: now, moved_jobs: 2 };
    let report = run(form).await;
    report.print();
    report.save("short form");
    report.assert_sound();
}

/// Asserts also the times, on a machine that does nothing else.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes CHAOS_MINUTES (10) minutes, and its times are those of a quiet machine"]
async fn long_form_with_its_times() {
    let minutes = setting("CHAOS_MINUTES").unwrap_or(10);
    let until = SystemClock.now().plus(Duration::from_mins(minutes));
    let report = run(Form { calm_jobs: 1_200, troubles: 0, until, moved_jobs: 25 }).await;
    report.print();
    report.save("long form");
    report.assert_sound();
    let moved = &report.figures["moved_when_calm_ms"]["refused"];
    assert!(moved["p99"].as_i64().is_some_and(|p99| p99 <= 5_000), "{moved}");
    let idle = report.figures["idle_share_parts"].as_f64();
    assert!(idle.is_some_and(|share| share < 0.02), "{idle:?}");
}
