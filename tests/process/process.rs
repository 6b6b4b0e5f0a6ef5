//! The built gateway as a process.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStderr, Command};
use tokio::sync::watch;
use tokio_util::task::TaskTracker;

/// A running gateway.
pub struct Process {
    pub base: String,
    child: Child,
    log: watch::Receiver<Vec<String>>,
}

impl Process {
    /// Starts the gateway on a free port and waits until it reports that it listens.
    pub async fn start(data: &Path, urls: &[String]) -> Self {
        Self::start_with(data, urls, "info", &[]).await
    }

    /// The same with a `log` filter and further arguments.
    pub async fn start_with(data: &Path, urls: &[String], log: &str, more: &[&str]) -> Self {
        let urls = urls.iter().flat_map(|url| ["--backend", url]);
        let arguments: Vec<&str> =
            ["--log", log].into_iter().chain(urls).chain(more.iter().copied()).collect();
        Self::start_configured(data, &arguments).await
    }

    /// The same with only these arguments besides those that every test needs.
    pub async fn start_configured(data: &Path, arguments: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_comfy-gateway"))
            .args([
                "--listen",
                "127.0.0.1:0",
                "--log-format",
                "json",
                "--poll-interval",
                "200ms",
                "--data-dir",
            ])
            .arg(data)
            .args(arguments)
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let address = address(&mut lines).await;
        // Its log must be read on, or it would block on a full pipe.
        let (said, log) = watch::channel(Vec::new());
        TaskTracker::new().spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                said.send_modify(|said: &mut Vec<String>| said.push(line));
            }
        });
        Self { base: format!("http://{address}"), child, log }
    }

    /// Sends SIGKILL.
    pub async fn kill(&mut self) {
        self.child.kill().await.unwrap();
    }

    /// Sends SIGTERM and asserts a clean exit.
    pub async fn stop(&mut self) {
        let pid = self.child.id().unwrap().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().await.unwrap().success());
        assert!(self.child.wait().await.unwrap().success());
    }

    /// The same, and returns the log since it listened.
    pub async fn stopped(mut self) -> String {
        self.stop().await;
        // Its reader ends with the log.
        while self.log.changed().await.is_ok() {}
        self.log.borrow().join("\n")
    }

    /// Sends SIGHUP, waits for a new log line with this text, and returns the line.
    pub async fn reload(&mut self, expected: &str) -> String {
        let before = self.log.borrow().len();
        let pid = self.child.id().unwrap().to_string();
        assert!(Command::new("kill").args(["-HUP", &pid]).status().await.unwrap().success());
        let found =
            |said: &Vec<String>| said.iter().skip(before).find(|line| line.contains(expected)).cloned();
        let waiting = self.log.wait_for(|said| found(said).is_some());
        let said = tokio::time::timeout(Duration::from_secs(20), waiting).await;
        found(&said.unwrap_or_else(|_| panic!("never logged: {expected}")).unwrap()).unwrap()
    }
}

async fn address(lines: &mut Lines<BufReader<ChildStderr>>) -> String {
    let mut said = Vec::new();
    while let Some(line) = lines.next_line().await.unwrap() {
        let entry: serde_json::Value = serde_json::from_str(&line).unwrap_or_default();
        if let Some(address) = entry["address"].as_str() {
            return address.to_owned();
        }
        said.push(line);
    }
    panic!("the gateway did not start:\n{}", said.join("\n"));
}
