//! The built gateway as a process of its own.

use std::path::Path;
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStderr, Command};
use tokio_util::task::TaskTracker;

/// A running gateway.
pub struct Process {
    pub base: String,
    child: Child,
}

impl Process {
    /// Starts it on a free port and waits until it says that it listens.
    pub async fn start(data: &Path, urls: &[String]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_comfy-gateway"))
            .args([
                "--listen",
                "127.0.0.1:0",
                "--log",
                "info",
                "--log-format",
                "json",
                "--poll-interval",
                "200ms",
                "--data-dir",
            ])
            .arg(data)
            .args(urls.iter().flat_map(|url| ["--backend", url]))
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let address = address(&mut lines).await;
        // Its log must be read on, or it would block on a full pipe.
        TaskTracker::new().spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Self { base: format!("http://{address}"), child }
    }

    /// SIGKILL.
    pub async fn kill(&mut self) {
        self.child.kill().await.unwrap();
    }

    /// SIGTERM; it must end well.
    pub async fn stop(&mut self) {
        let pid = self.child.id().unwrap().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().await.unwrap().success());
        assert!(self.child.wait().await.unwrap().success());
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
