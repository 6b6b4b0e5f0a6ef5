//! A whole gateway for tests: a real database file, a real port, the simulator as ComfyUI. `finish` asserts
//! the invariants.
#![allow(
    clippy::unwrap_used,
    dead_code,
    unused_imports,
    missing_docs,
    reason = "helpers of tests; each test binary uses some of them"
)]

mod disk;
mod editor;
mod graphs;
mod invariants;
mod pictures;
mod web;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use comfy_gateway::api::server::{MinimumPace, ServerSettings};
use comfy_gateway::api::state::ApiLimits;
use comfy_gateway::app::{App, AppError, AppSettings};
use comfy_gateway::clock::{Clock, SystemClock};
use comfy_gateway::comfy::ComfyEndpoint;
use comfy_gateway::domain::id::BackendName;
use comfy_gateway::domain::retry::RetryPolicy;
use comfy_gateway::domain::workflow::WorkflowLimits;
use comfy_gateway::fetch::AllowList;
use comfy_gateway::pool::BackendSettings;
use comfy_gateway::random::Random;
use comfy_gateway::scheduler;
use comfy_gateway::service::SubmissionLimits;
use comfy_gateway::simulator::{InstalledContent, Simulator, SimulatorConfig};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

pub use self::disk::SmallDisk;
pub use self::editor::editor_picture;
pub use self::graphs::*;
pub use self::invariants::assert_invariants;
pub use self::pictures::{color_of, data_url, png};
pub use self::web::{Behaviour, Web};

/// A test that takes longer is stuck.
const STUCK: Duration = Duration::from_mins(1);

pub type Settings = AppSettings;

/// A simulator that answers as soon as it can.
pub async fn simulator() -> Simulator {
    Simulator::start_local(SimulatorConfig { history_gap: Duration::ZERO, ..SimulatorConfig::default() })
        .await
        .unwrap()
}

/// A simulator with other models or classes.
pub async fn simulator_with(change: impl FnOnce(&mut InstalledContent)) -> Simulator {
    let simulator = simulator().await;
    simulator.install(change);
    simulator
}

pub fn backend(name: &str, url: &str) -> BackendSettings {
    BackendSettings {
        name: BackendName::parse(name).unwrap(),
        endpoint: ComfyEndpoint::new(url.parse().unwrap()),
        slots: 2,
        labels: vec![],
    }
}

/// Settings for backends at these URLs, with short waits.
pub fn settings(data_dir: &Path, urls: &[&str]) -> Settings {
    let backends =
        urls.iter().enumerate().map(|(at, url)| backend(&format!("gpu-{}", at + 1), url)).collect();
    AppSettings {
        data_dir: data_dir.to_owned(),
        disk_reserve: 1 << 20,
        public_url: None,
        retention: Some(Duration::from_hours(7 * 24)),
        workflows: None,
        backends,
        scheduler: scheduler::SchedulerSettings {
            retry: RetryPolicy { base: Duration::from_millis(20), ..RetryPolicy::default() },
            poll: Duration::from_millis(200),
            lost_after: Duration::from_secs(2),
            refused_for: Duration::from_millis(300),
            interrupt_grace: Duration::from_secs(5),
            ..scheduler::SchedulerSettings::default()
        },
        service: SubmissionLimits {
            max_queued: 10_000,
            default_timeout: Duration::from_mins(10),
            max_file: 8 << 20,
            max_inputs: 8,
            workflow: WorkflowLimits { nodes: 10_000, params: 1_000 },
            allow_backend_paths: false,
            max_workflow: 1 << 20,
            expose_tracebacks: false,
            follows_folder: false,
            file_retention: Some(Duration::from_hours(24)),
        },
        // What the tests serve files from; everything else inside is still refused.
        fetch_allow: AllowList::parse("127.0.0.1").unwrap(),
        api: ApiLimits {
            max_body: 1 << 20,
            max_values: 500_000,
            max_params: 1_000,
            body_timeout: Duration::from_secs(10),
            max_timeout: Duration::from_hours(24),
            max_wait: Duration::from_mins(1),
        },
        server: ServerSettings {
            max_connections: 200,
            header_timeout: Duration::from_secs(2),
            // Longer than any test turns its clock: a client's pooled connection would be cut under its request.
            keep_alive: Duration::from_hours(24 * 365 * 1_000),
            pace: MinimumPace { window: Duration::from_secs(10), bytes: 1 << 10 },
            // As long as it is by default: a busy machine may need it to write an answer.
            drain_timeout: Duration::from_secs(4),
        },
    }
}

/// Calls `check` until it returns a value; waits between two calls, from 1 ms doubling to 50 ms, and 20 s in all.
pub async fn poll<T>(mut check: impl AsyncFnMut() -> Option<T>) -> T {
    let polling = async {
        let mut wait = Duration::from_millis(1);
        loop {
            if let Some(value) = check().await {
                return value;
            }
            SystemClock.sleep(wait).await;
            wait = (wait * 2).min(Duration::from_millis(50));
        }
    };
    tokio::time::timeout(Duration::from_secs(20), polling).await.unwrap()
}

/// A running gateway and its clients. It has threads of its own, so that it can be killed as a process is.
pub struct Gateway {
    pub base: String,
    pub http: reqwest::Client,
    pub data: Arc<TempDir>,
    settings: Settings,
    runtime: Option<Runtime>,
    stop: Option<oneshot::Sender<()>>,
    running: JoinHandle<Result<(), AppError>>,
}

/// The settings and the data of a gateway that has stopped.
pub struct StoppedGateway {
    pub settings: Settings,
    pub data: Arc<TempDir>,
}

impl StoppedGateway {
    /// Starts the next gateway on the same data.
    pub async fn start(self) -> Gateway {
        Gateway::start(self.settings, self.data).await
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Gateway {
    /// Starts a gateway in front of these simulators.
    pub async fn in_front_of(simulators: &[&Simulator]) -> Self {
        Self::with(simulators, |_| {}).await
    }

    /// The same with adjusted settings.
    pub async fn with(simulators: &[&Simulator], adjust: impl FnOnce(&mut Settings)) -> Self {
        Self::on_clock(Arc::new(SystemClock), simulators, adjust).await
    }

    /// The same on another clock.
    pub async fn on_clock(
        clock: Arc<dyn Clock>,
        simulators: &[&Simulator],
        adjust: impl FnOnce(&mut Settings),
    ) -> Self {
        let data = Arc::new(tempfile::tempdir().unwrap());
        let urls: Vec<String> = simulators.iter().map(|simulator| simulator.url()).collect();
        let urls: Vec<&str> = urls.iter().map(String::as_str).collect();
        let mut settings = settings(data.path(), &urls);
        adjust(&mut settings);
        Self::start_on(clock, settings, data).await
    }

    pub async fn start(settings: Settings, data: Arc<TempDir>) -> Self {
        Self::start_on(Arc::new(SystemClock), settings, data).await
    }

    async fn start_on(clock: Arc<dyn Clock>, settings: Settings, data: Arc<TempDir>) -> Self {
        let own = settings.clone();
        let test = std::thread::current().name().unwrap_or_default().to_owned();
        let gateway =
            tokio::task::spawn_blocking(move || Self::start_on_own_runtime(clock, own, settings, data));
        let gateway = gateway.await.unwrap();
        gateway.runtime.as_ref().unwrap().spawn(async move {
            SystemClock.sleep(STUCK).await;
            eprintln!("{test} is stuck");
            std::process::exit(101);
        });
        gateway
    }

    fn start_on_own_runtime(
        clock: Arc<dyn Clock>,
        own: Settings,
        settings: Settings,
        data: Arc<TempDir>,
    ) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let app = runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            App::start(own, listener, clock, Arc::new(Random::from_os())).await.unwrap()
        });
        let base = format!("http://{}", app.address());
        let (stop, stopped) = oneshot::channel::<()>();
        let running = runtime.spawn(app.run_until_stopped(async { drop(stopped.await) }));
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        Self { base, http, data, settings, runtime: Some(runtime), stop: Some(stop), running }
    }

    pub async fn get(&self, path: &str) -> reqwest::Response {
        self.http.get(format!("{}{path}", self.base)).send().await.unwrap()
    }

    pub async fn post(&self, path: &str, body: &Value) -> reqwest::Response {
        self.http.post(format!("{}{path}", self.base)).json(body).send().await.unwrap()
    }

    /// Submits a workflow and returns its prompt id.
    pub async fn submit(&self, workflow: Value) -> String {
        self.execute(&json!({ "workflow": workflow })).await
    }

    pub async fn execute(&self, body: &Value) -> String {
        let response = self.post("/execute", body).await;
        let status = response.status();
        let body: Value = response.json().await.unwrap();
        assert_eq!(status, 202, "{body:#}");
        body["prompt_id"].as_str().unwrap().to_owned()
    }

    /// The answer of `POST /validate`.
    pub async fn validate(&self, body: &Value) -> Value {
        let response = self.post("/validate", body).await;
        let status = response.status();
        let body: Value = response.json().await.unwrap();
        assert_eq!(status, 200, "{body:#}");
        body
    }

    /// Waits until `/validate` knows the node classes of at least `backends` backends.
    pub async fn until_capabilities_known(&self, backends: usize) {
        let body = json!({ "workflow": picture(1) });
        poll(async || {
            let report = self.validate(&body).await;
            let fits = report["backends"].as_array().unwrap();
            let known = fits.iter().filter(|fit| !fit["can_run"].is_null()).count();
            (known >= backends).then_some(())
        })
        .await;
    }

    /// Polls a path until it answers with `status`.
    pub async fn until_status(&self, path: &str, status: u16) {
        poll(async || (self.get(path).await.status() == status).then_some(())).await;
    }

    /// Waits for a job's end and returns its result.
    pub async fn result(&self, id: &str) -> Value {
        let response = self.get(&format!("/results/{id}?wait=30")).await;
        let status = response.status();
        let body: Value = response.json().await.unwrap();
        assert_eq!(status, 200, "{body:#}");
        body
    }

    /// A job as it is now.
    pub async fn job(&self, id: &str) -> Value {
        self.get(&format!("/results/{id}")).await.json().await.unwrap()
    }

    /// Polls a job until it is as expected, where no signal reports the change.
    pub async fn until(&self, id: &str, expected: impl Fn(&Value) -> bool) -> Value {
        poll(async || {
            let body = self.job(id).await;
            expected(&body).then_some(body)
        })
        .await
    }

    /// Submits a workflow and returns its result.
    pub async fn run(&self, workflow: Value) -> Value {
        let id = self.submit(workflow).await;
        self.result(&id).await
    }

    pub async fn cancel(&self, id: &str) -> Value {
        self.post(&format!("/results/{id}/cancel"), &json!({})).await.json().await.unwrap()
    }

    /// The bytes behind a URL of a result.
    pub async fn bytes(&self, url: &Value) -> bytes::Bytes {
        let response = self.http.get(url.as_str().unwrap()).send().await.unwrap();
        assert_eq!(response.status(), 200, "{url}");
        response.bytes().await.unwrap()
    }

    /// Stops the gateway as SIGTERM does, without checking the invariants.
    pub async fn stop(mut self) -> StoppedGateway {
        if let Some(stop) = self.stop.take() {
            let _: Result<(), ()> = stop.send(());
        }
        (&mut self.running).await.unwrap().unwrap();
        self.kill().await
    }

    /// Ends the gateway at once, as a kill does: every task is dropped and nothing more is written.
    pub async fn kill(mut self) -> StoppedGateway {
        let runtime = self.runtime.take().unwrap();
        // Returns when its threads have ended, and with them the lock on the data directory.
        tokio::task::spawn_blocking(move || runtime.shutdown_timeout(Duration::from_secs(20))).await.unwrap();
        StoppedGateway { settings: self.settings.clone(), data: self.data.clone() }
    }

    /// Stops the gateway and asserts the invariants: every job has ended, and every file belongs to a job.
    pub async fn finish(self) {
        let left = self.stop().await;
        assert_invariants(left.data.path()).await;
    }
}
