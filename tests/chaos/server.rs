//! A simulated ComfyUI as a process that is killed, frozen, started again on the same port, and given faults.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use comfy_gateway::clock::{Clock, SystemClock};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::book::Book;

/// A backend over all its lives. Dropping it kills the present life.
pub struct Server {
    pub number: usize,
    pub url: String,
    port: u16,
    folder: PathBuf,
    http: reqwest::Client,
    child: Option<Child>,
    /// When the test ended each life.
    deaths: Vec<Option<i64>>,
}

impl Server {
    /// Starts it on a port of its own, with its files below `folder`.
    pub async fn start(number: usize, folder: &Path) -> Self {
        let folder = folder.join(format!("server-{number}"));
        std::fs::create_dir_all(&folder).unwrap();
        let port = free_port();
        let mut server = Self {
            number,
            url: format!("http://127.0.0.1:{port}"),
            port,
            folder,
            http: client(),
            child: None,
            deaths: Vec::new(),
        };
        server.revive().await;
        server
    }

    /// Starts the next life, unless one is running.
    pub async fn revive(&mut self) {
        if self.child.is_some() {
            return;
        }
        let mut child = Command::new(env!("CARGO_BIN_EXE_comfy-gateway"))
            .args(["simulate", "--control", "--port", &self.port.to_string()])
            .args(["--name", &format!("gpu-{}", self.number)])
            .arg("--directory")
            .arg(self.folder.join("files"))
            .arg("--run-log")
            .arg(self.log())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let said = lines.next_line().await.unwrap();
        assert!(said.is_some_and(|line| line.contains(&self.url)), "server {} did not start", self.number);
        self.child = Some(child);
        self.deaths.push(None);
    }

    fn log(&self) -> PathBuf {
        self.folder.join("runs.jsonl")
    }

    /// Sends SIGKILL.
    pub async fn kill(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        self.note_death();
        child.kill().await.unwrap();
    }

    /// Waits for a scripted death, and kills the process if it does not come in time.
    pub async fn die(&mut self, patience: Duration) {
        let Some(mut child) = self.child.take() else { return };
        if tokio::time::timeout(patience, child.wait()).await.is_err() {
            self.note_death();
            child.kill().await.unwrap();
        } else {
            // The log tells the moment better.
            self.note_death();
        }
    }

    fn note_death(&mut self) {
        *self.deaths.last_mut().unwrap() = Some(SystemClock.now().as_millis());
    }

    /// Sends SIGSTOP or SIGCONT. A frozen process accepts connections and answers none.
    pub async fn signal(&self, name: &str) {
        if let Some(pid) = self.child.as_ref().and_then(Child::id) {
            let sent = Command::new("kill").args([name, &pid.to_string()]).status().await.unwrap();
            assert!(sent.success(), "kill {name} {pid}");
        }
    }

    /// Calls `POST /simulator/faults`; does nothing if the process is dead.
    pub async fn order(&self, order: &Value) {
        if let Ok(response) =
            self.http.post(format!("{}/simulator/faults", self.url)).json(order).send().await
        {
            let (status, text) = (response.status(), response.text().await.unwrap_or_default());
            assert_eq!(status, 200, "{order}: {text}");
        }
    }

    /// Calls `GET /simulator/until?…`, which returns when the condition holds or the process dies.
    pub async fn until(&self, what: &str) -> Option<Value> {
        let asked = self.http.get(format!("{}/simulator/until?{what}", self.url)).send().await;
        asked.ok()?.json().await.ok()
    }

    /// Calls `GET /simulator/report`.
    pub async fn report(&self) -> Value {
        let asked = self.http.get(format!("{}/simulator/report", self.url)).send().await;
        asked.unwrap().json().await.unwrap()
    }
}

/// The content of the backends' run logs.
pub fn book(servers: &[Server]) -> Book {
    let mut book = Book::default();
    for server in servers {
        book.add(&std::fs::read_to_string(server.log()).unwrap(), &server.deaths);
    }
    book
}

pub fn client() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().build().unwrap()
}

/// A free port below those that the system assigns by itself, so that no outgoing connection gets it while
/// the backend is dead.
fn free_port() -> u16 {
    loop {
        let port = rand::random_range(12_000..32_000);
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
