//! A whole gateway for tests: real file, real port, the simulator as ComfyUI. Its end asserts what always holds.
#![allow(
    clippy::unwrap_used,
    dead_code,
    missing_docs,
    reason = "helpers of tests; each test binary uses some of them"
)]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use comfy_gateway::api::server::ServerSettings;
use comfy_gateway::api::state::ApiLimits;
use comfy_gateway::app::{App, AppError, AppSettings};
use comfy_gateway::clock::SystemClock;
use comfy_gateway::comfy::ComfyEndpoint;
use comfy_gateway::domain::id::BackendName;
use comfy_gateway::domain::retry::RetryPolicy;
use comfy_gateway::pool::BackendSettings;
use comfy_gateway::random::Random;
use comfy_gateway::scheduler;
use comfy_gateway::service::Limits;
use comfy_gateway::simulator::{Simulator, SimulatorConfig};
use serde_json::{Value, json};
use sqlx::{ConnectOptions, Connection, Row};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

pub type Settings = AppSettings;

/// A simulator that answers as soon as it can.
pub async fn simulator() -> Simulator {
    Simulator::start_local(SimulatorConfig { history_gap: Duration::ZERO, ..SimulatorConfig::default() })
        .await
        .unwrap()
}

pub fn backend(name: &str, url: &str) -> BackendSettings {
    BackendSettings {
        name: BackendName::parse(name).unwrap(),
        endpoint: ComfyEndpoint::new(url.parse().unwrap()),
        slots: 2,
        labels: vec![],
    }
}

/// Settings for those servers, with short waits.
pub fn settings(data_dir: &Path, urls: &[&str]) -> Settings {
    let backends =
        urls.iter().enumerate().map(|(at, url)| backend(&format!("gpu-{}", at + 1), url)).collect();
    AppSettings {
        data_dir: data_dir.to_owned(),
        public_url: None,
        backends,
        scheduler: scheduler::Settings {
            retry: RetryPolicy { base: Duration::from_millis(20), ..RetryPolicy::default() },
            poll: Duration::from_millis(200),
            lost_after: Duration::from_secs(2),
            refused_for: Duration::from_millis(300),
            interrupt_grace: Duration::from_secs(5),
            ..scheduler::Settings::default()
        },
        service: Limits { max_queued: 10_000, default_timeout: Duration::from_mins(10) },
        api: ApiLimits {
            max_body: 1 << 20,
            body_timeout: Duration::from_secs(10),
            max_timeout: Duration::from_hours(24),
            max_wait: Duration::from_mins(1),
        },
        server: ServerSettings {
            max_connections: 200,
            header_timeout: Duration::from_secs(2),
            drain_timeout: Duration::from_secs(2),
        },
    }
}

/// A running gateway and its clients.
pub struct Gateway {
    pub base: String,
    pub http: reqwest::Client,
    pub data: Arc<TempDir>,
    stop: Option<oneshot::Sender<()>>,
    running: JoinHandle<Result<(), AppError>>,
}

impl Gateway {
    /// A gateway of its own before those simulators.
    pub async fn before(simulators: &[&Simulator]) -> Self {
        Self::with(simulators, |_| {}).await
    }

    /// The same with settings of the test's own.
    pub async fn with(simulators: &[&Simulator], adjust: impl FnOnce(&mut Settings)) -> Self {
        let data = Arc::new(tempfile::tempdir().unwrap());
        let urls: Vec<String> = simulators.iter().map(|simulator| simulator.url().clone()).collect();
        let urls: Vec<&str> = urls.iter().map(String::as_str).collect();
        let mut settings = settings(data.path(), &urls);
        adjust(&mut settings);
        Self::start(settings, data).await
    }

    pub async fn start(settings: Settings, data: Arc<TempDir>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let app =
            App::start(settings, listener, Arc::new(SystemClock), Arc::new(Random::from_os())).await.unwrap();
        let base = format!("http://{}", app.address());
        let (stop, stopped) = oneshot::channel();
        let running = spawn(app.run_until_stopped(async {
            drop(stopped.await);
        }));
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        Self { base, http, data, stop: Some(stop), running }
    }

    pub async fn get(&self, path: &str) -> reqwest::Response {
        self.http.get(format!("{}{path}", self.base)).send().await.unwrap()
    }

    pub async fn post(&self, path: &str, body: &Value) -> reqwest::Response {
        self.http.post(format!("{}{path}", self.base)).json(body).send().await.unwrap()
    }

    /// Accepts a workflow; its prompt id.
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

    /// Waits for a job's end; its result.
    pub async fn result(&self, id: &str) -> Value {
        let response = self.get(&format!("/results/{id}?wait=30")).await;
        let status = response.status();
        let body: Value = response.json().await.unwrap();
        assert_eq!(status, 200, "{body:#}");
        body
    }

    /// Submits and waits.
    pub async fn run(&self, workflow: Value) -> Value {
        let id = self.submit(workflow).await;
        self.result(&id).await
    }

    pub async fn cancel(&self, id: &str) -> Value {
        self.post(&format!("/results/{id}/cancel"), &json!({})).await.json().await.unwrap()
    }

    /// Stops it without looking at what it leaves; the data directory for the next one.
    pub async fn stop(mut self) -> Arc<TempDir> {
        if let Some(stop) = self.stop.take() {
            let _: Result<(), ()> = stop.send(());
        }
        (&mut self.running).await.unwrap().unwrap();
        self.data.clone()
    }

    /// Ends it at once, as a kill does: nothing is finished or written down any more.
    pub fn kill(self) -> Arc<TempDir> {
        self.running.abort();
        self.data.clone()
    }

    /// Stops it and asserts what holds after every test: every job has ended, every file belongs to one.
    pub async fn finish(self) {
        let data = self.stop().await;
        assert_invariants(data.path()).await;
    }
}

/// What holds when all jobs have been waited for.
pub async fn assert_invariants(data: &Path) {
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(data.join("gateway.db"));
    let mut db = options.connect().await.unwrap();
    let rows =
        sqlx::query("SELECT prompt_id, state, finished_at FROM jobs").fetch_all(&mut db).await.unwrap();
    let mut known = std::collections::HashSet::new();
    for row in rows {
        let (id, state): (String, String) = (row.get("prompt_id"), row.get("state"));
        assert!(["completed", "failed", "cancelled"].contains(&state.as_str()), "job {id} is left {state}");
        known.insert(id);
    }
    let open: i64 = sqlx::query_scalar("SELECT count(*) FROM attempts WHERE ended_at IS NULL")
        .fetch_one(&mut db)
        .await
        .unwrap();
    assert_eq!(open, 0, "attempts without an end");
    let files = sqlx::query("SELECT prompt_id, stored_as, bytes FROM media JOIN jobs USING (seq)")
        .fetch_all(&mut db)
        .await
        .unwrap();
    for row in files {
        let (id, name, bytes): (String, String, i64) =
            (row.get("prompt_id"), row.get("stored_as"), row.get("bytes"));
        let path = data.join("media").join(&id[34..]).join(&id).join(&name);
        assert_eq!(
            std::fs::metadata(&path).map(|meta| meta.len()).ok(),
            u64::try_from(bytes).ok(),
            "{}",
            path.display()
        );
    }
    for shard in std::fs::read_dir(data.join("media")).unwrap().flatten() {
        for entry in std::fs::read_dir(shard.path()).unwrap().flatten() {
            let name = entry.file_name().into_string().unwrap();
            assert!(known.contains(&name), "media/{} belongs to no job", entry.path().display());
        }
    }
    db.close().await.unwrap();
}

/// A one-node-deep picture of that colour, saved under `$output.cover`.
pub fn picture(color: u32) -> Value {
    json!({
        "1": {"class_type": "EmptyImage", "inputs": {"width": 32, "height": 32, "batch_size": 1, "color": color}},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "test"}, "_meta": {"title": "$output.cover"}}
    })
}

/// A job that runs until the test releases `name`, then shows a text.
pub fn hold(name: &str) -> Value {
    json!({ "1": {"class_type": "SimHold", "inputs": {"name": name}} })
}

#[expect(clippy::disallowed_methods, reason = "a test's own task, joined by the test")]
fn spawn<T: Send + 'static>(future: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
    tokio::spawn(future)
}
