//! The gateway as a process that is killed, stopped, left without disk space, and started again on its data.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio_util::task::TaskTracker;

/// The number of last log lines that are shown after an unexpected end.
const LINES: usize = 20;

/// The longest that the gateway may take to answer questions about its state.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long the gateway waits for a backend that does not answer. Only a crash lasts as long.
pub const LOST_AFTER: &str = "30s";

/// The gateway over all its lives. Dropping it kills the present life.
pub struct Gateway {
    /// The address of the present life.
    pub base: watch::Sender<Option<String>>,
    pub data: PathBuf,
    args: Vec<String>,
    child: Option<Child>,
    said: Arc<Mutex<Vec<String>>>,
    pub starts: usize,
}

impl Gateway {
    /// Starts it in front of these backends, with further arguments.
    pub async fn start(data: &Path, urls: &[&str], more: &[&str]) -> Self {
        let mut args: Vec<String> = ["--listen", "127.0.0.1:0", "--log", "info", "--log-format", "json"]
            .into_iter()
            .chain(["--poll-interval", "250ms", "--lost-after", LOST_AFTER])
            .chain(more.iter().copied())
            .map(str::to_owned)
            .collect();
        args.extend(["--data-dir".to_owned(), data.to_str().unwrap().to_owned()]);
        args.extend(urls.iter().flat_map(|url| ["--backend".to_owned(), (*url).to_owned()]));
        let mut gateway = Self {
            base: watch::Sender::new(None),
            data: data.to_owned(),
            args,
            child: None,
            said: Arc::default(),
            starts: 0,
        };
        gateway.revive().await;
        gateway
    }

    /// Starts the next life and waits until it reports that it listens.
    pub async fn revive(&mut self) {
        // What is written beyond a limit on the size of files is to fail, and not to end the process: the shell
        // hands its ignored signal on.
        let mut child = Command::new("sh")
            .args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_comfy-gateway")])
            .args(&self.args)
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        self.said.lock().unwrap().clear();
        let address = loop {
            let line = lines.next_line().await.unwrap();
            let Some(line) = line else {
                panic!("the gateway did not start: {:#?}", self.said.lock().unwrap())
            };
            let entry: serde_json::Value = serde_json::from_str(&line).unwrap_or_default();
            if let Some(address) = entry["address"].as_str() {
                break address.to_owned();
            }
            self.said.lock().unwrap().push(line);
        };
        let said = self.said.clone();
        // Its log must be read on, or it would block on a full pipe.
        TaskTracker::new().spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                let mut said = said.lock().unwrap();
                if said.len() == LINES {
                    said.remove(0);
                }
                said.push(line);
            }
        });
        self.child = Some(child);
        self.starts += 1;
        self.base.send_replace(Some(format!("http://{address}")));
    }

    /// Sends SIGKILL.
    pub async fn kill(&mut self) {
        self.base.send_replace(None);
        if let Some(mut child) = self.child.take() {
            child.kill().await.unwrap();
        }
    }

    /// Sends SIGTERM and asserts a clean exit.
    pub async fn stop(&mut self) {
        self.base.send_replace(None);
        let Some(mut child) = self.child.take() else { return };
        let pid = child.id().unwrap().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().await.unwrap().success());
        let status = child.wait().await.unwrap();
        assert!(status.success(), "it ended with {status}: {:#?}", self.said.lock().unwrap());
    }

    /// Limits every file that the process writes to `bytes`; `None` removes the limit.
    ///
    /// The limit stands for a full disk: data, log and temporary files fail when they need more space. The
    /// error number differs (EFBIG instead of ENOSPC), and only this process is affected.
    pub async fn room(&self, bytes: Option<u64>) {
        let Some(pid) = self.pid() else { return };
        let limit = bytes.map_or("unlimited".to_owned(), |bytes| bytes.to_string());
        let args = ["--pid", &pid.to_string(), &format!("--fsize={limit}:")];
        assert!(Command::new("prlimit").args(args).status().await.unwrap().success());
    }

    /// Its unfinished jobs, its view of the backends, and its last log lines.
    pub async fn explain(&self) -> String {
        let http = crate::server::client();
        let mut told = Vec::new();
        for path in ["/results?status=running&limit=10", "/results?status=queued&limit=10", "/backends"] {
            let asked = http.get(format!("{}{path}", self.url())).timeout(PATIENCE).send().await;
            let text = match asked {
                Ok(response) => response.text().await.unwrap_or_default(),
                Err(error) => error.to_string(),
            };
            told.push(format!("{path}: {text}"));
        }
        told.extend(self.said.lock().unwrap().iter().cloned());
        told.join("\n")
    }

    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().and_then(Child::id)
    }

    pub fn url(&self) -> String {
        self.base.borrow().clone().unwrap()
    }
}
