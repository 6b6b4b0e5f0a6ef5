//! Runs the commands of the documents unchanged.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::process::Command;

use crate::process::Process;
use crate::support::simulator;

/// The gateway's address in the documents.
const SHOWN: &str = "http://127.0.0.1:8080";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The shell commands of a document that ask a running gateway, in their order: those of its `sh` blocks that do
/// nothing else.
fn commands(document: &str) -> String {
    let text = std::fs::read_to_string(root().join(document)).unwrap();
    let blocks = text.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next());
    let blocks = blocks.filter(|block| block.contains(SHOWN) && !block.contains("cargo"));
    let commands: String = blocks.collect();
    assert!(commands.contains("curl -s "), "{document} shows no commands");
    commands
}

fn is_there(program: &str) -> bool {
    let asked = std::process::Command::new(program).arg("--version").stdout(Stdio::null()).status();
    asked.is_ok_and(|status| status.success())
}

/// A folder that looks like a checkout, where files may be left.
fn checkout() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(root().join("examples"), folder.path().join("examples")).unwrap();
    let path = folder.path().to_owned();
    (folder, path)
}

async fn works(document: &str) {
    if !(is_there("bash") && is_there("curl")) {
        eprintln!("not tried: it takes bash and curl");
        return;
    }
    let comfy = simulator().await;
    let data = tempfile::tempdir().unwrap();
    let mut gateway = Process::start(data.path(), &[comfy.url()]).await;
    // A refusal must end the script, and say what it was.
    let script = commands(document).replace("curl -s ", "curl -sS --fail-with-body ");
    let script = format!("set -exo pipefail\n{}", script.replace(SHOWN, &gateway.base));
    let (_folder, path) = checkout();
    let mut bash = Command::new("bash");
    bash.arg("-c").arg(script).current_dir(path).stdin(Stdio::null()).env("no_proxy", "*");
    let output = bash.kill_on_drop(true).output().await.unwrap();
    let (said, told) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let last: String = said.chars().rev().take(1_000).collect::<Vec<_>>().into_iter().rev().collect();
    assert!(output.status.success(), "{document}:\n{told}\n… {last}");
    let ended = |status: &str| said.contains(&format!("\"status\":\"{status}\""));
    assert!(ended("completed") && !ended("failed"), "{document}:\n{told}\n… {last}");
    gateway.stop().await;
}

#[tokio::test]
async fn the_readmes_commands_work() {
    works("README.md").await;
}

#[tokio::test]
async fn the_commands_of_the_page_on_workflows_work() {
    works("docs/WORKFLOWS.md").await;
}
