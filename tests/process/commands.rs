//! The commands and their exit codes.

use std::process::{Output, Stdio};

use comfy_gateway::api::openapi;
use comfy_gateway::demo;
use serde_json::{Value, json};
use sqlx::{ConnectOptions, Connection};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::process::Process;
use crate::support::{hold, simulator};

fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_comfy-gateway"));
    command.kill_on_drop(true).stdin(Stdio::null());
    command
}

async fn run(args: &[&str]) -> (Output, String, String) {
    let output = program().args(args).output().await.unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    (output, stdout, stderr)
}

/// The output of a demo until it waits for a signal.
async fn shown(demo: &mut Child) -> String {
    let mut lines = BufReader::new(demo.stdout.take().unwrap()).lines();
    let mut said = String::new();
    while !said.contains("Stop with Ctrl-C.") {
        said += &lines.next_line().await.unwrap().unwrap_or_else(|| panic!("it ended:\n{said}"));
        said.push('\n');
    }
    said
}

/// Sends SIGTERM and asserts a clean exit.
async fn terminate(mut child: Child) {
    let pid = child.id().unwrap().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().await.unwrap().success());
    assert!(child.wait().await.unwrap().success());
}

#[tokio::test]
async fn the_demo_shows_a_result_and_its_picture_and_ends_well() {
    let (output, stdout, stderr) = run(&["demo", "--once"]).await;
    assert!(output.status.success(), "{stdout}\n{stderr}");
    for part in
        ["202 Accepted", "KSampler", "\"status\": \"completed\"", "\"cover\"", "\"caption\"", "a PNG of"]
    {
        assert!(stdout.contains(part), "{part} is missing in\n{stdout}");
    }
}

#[tokio::test]
async fn the_demo_listens_where_it_is_told_and_prints_the_commands_for_that_address() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    for (name, flags) in [("COMFY_GATEWAY_LISTEN", vec![]), ("IGNORED", vec!["--listen", &free])] {
        let mut child = program();
        child.args(["demo"]).args(flags).env(name, &free).stdout(Stdio::piped());
        let mut child = child.spawn().unwrap();
        let said = shown(&mut child).await;
        assert!(said.contains(&demo::COMMANDS.replace("127.0.0.1:8080", &free)), "{said}");
        terminate(child).await;
    }
    let taken = std::net::TcpListener::bind(&free).unwrap();
    let (output, _, stderr) = run(&["demo", "--once", "--listen", &free]).await;
    assert!(!output.status.success() && stderr.contains(&format!("cannot listen on {free}")), "{stderr}");
    drop(taken);
}

#[tokio::test]
async fn the_demo_takes_another_port_if_the_usual_one_is_taken_and_prints_the_commands_for_it() {
    // By this test or by anything else.
    let _taken = std::net::TcpListener::bind("127.0.0.1:8080");
    let mut child = program().args(["demo"]).stdout(Stdio::piped()).spawn().unwrap();
    let said = shown(&mut child).await;
    assert!(said.contains("127.0.0.1:8080 is taken"), "{said}");
    let address = said.split("comfy-gateway http://").nth(1).and_then(|rest| rest.split(' ').next()).unwrap();
    assert!(said.contains(&demo::COMMANDS.replace("127.0.0.1:8080", address)), "{said}");
    terminate(child).await;
}

#[tokio::test]
async fn a_folder_of_workflows_or_a_data_directory_that_cannot_be_used_is_told() {
    let comfy = simulator().await;
    let data = tempfile::tempdir().unwrap();
    let file = data.path().join("file");
    std::fs::write(&file, "").unwrap();
    let (data, file, url) = (data.path().to_str().unwrap(), file.to_str().unwrap(), comfy.url());
    let free = ["--listen", "127.0.0.1:0", "--backend", &url, "--data-dir", data];
    for line in [
        &["check", "--workflows", "/nope"],
        &["--workflows", "/nope", "serve"],
        &["check", "--workflows", file],
    ] {
        let (output, _, stderr) = run(&[&line[..], &free].concat()).await;
        assert_eq!(output.status.code(), Some(1));
        assert!(stderr.contains("--workflows): must be the path of a directory that exists"), "{stderr}");
    }
    let (output, stdout, _) = run(&["--data-dir", file, "check", "--backend", &url]).await;
    assert_eq!(output.status.code(), Some(1), "{stdout}");
    assert!(
        stdout.contains("answers: ComfyUI") && stdout.contains(&format!("{file} cannot be used")),
        "{stdout}"
    );
}

#[tokio::test]
async fn the_simulator_says_where_it_is_and_stops_when_told() {
    let mut child = program().args(["simulate", "--port", "0"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let said = lines.next_line().await.unwrap().unwrap();
    let url = said.split_whitespace().last().unwrap();
    let stats: Value = reqwest::Client::builder()
        .no_proxy()
        .build()
        .unwrap()
        .get(format!("{url}/system_stats"))
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(stats["system"]["comfyui_version"], "0.24.0");
    terminate(child).await;
}

#[tokio::test]
async fn openapi_prints_the_document_in_both_forms() {
    let (_, yaml, _) = run(&["openapi"]).await;
    assert_eq!(yaml, openapi::yaml());
    let (_, text, _) = run(&["openapi", "--format", "json"]).await;
    let document: Value = serde_json::from_str(&text).unwrap();
    assert!(document["paths"]["/execute"].is_object());
}

#[tokio::test]
async fn check_says_of_each_server_whether_it_answers_and_fails_when_none_does() {
    let comfy = simulator().await;
    let url = comfy.url();
    let (output, stdout, _) = run(&["check", "--backend", &url, "--backend", "http://127.0.0.1:9"]).await;
    assert!(output.status.success(), "{stdout}");
    assert!(
        stdout.contains(&url) && stdout.contains("0.24.0") && stdout.contains("http://127.0.0.1:9"),
        "{stdout}"
    );
    comfy.crash().await;
    let (output, ..) = run(&["check", "--backend", &url]).await;
    assert_eq!(output.status.code(), Some(1));
}

#[tokio::test]
async fn wrong_settings_end_the_program_with_all_of_them_told() {
    let (output, _, stderr) = run(&["--max-body", "lots", "--backend", "ftp://x"]).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr.contains("max_body") && stderr.contains("ftp://x"), "{stderr}");
    let (output, _, stderr) = run(&["--log", "inof"]).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr.contains("log (flag --log): must be a level (error, warn, info, "), "{stderr}");
}

#[tokio::test]
async fn a_second_gateway_on_the_same_data_is_refused() {
    let comfy = simulator().await;
    let data = tempfile::tempdir().unwrap();
    let mut first = Process::start(data.path(), &[comfy.url()]).await;
    let path = data.path().to_str().unwrap();
    let (output, _, stderr) = run(&["--listen", "127.0.0.1:0", "--data-dir", path]).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr.contains("in use by another comfy-gateway"), "{stderr}");
    first.stop().await;
}

#[tokio::test]
async fn a_port_that_is_taken_is_told() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let data = tempfile::tempdir().unwrap();
    let (output, _, stderr) = run(&["--listen", &address, "--data-dir", data.path().to_str().unwrap()]).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr.contains(&address), "{stderr}");
}

#[tokio::test]
async fn sigterm_answers_who_waits_and_leaves_the_running_job_to_the_next_start() {
    let comfy = simulator().await;
    let data = tempfile::tempdir().unwrap();
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let mut first = Process::start(data.path(), &[comfy.url()]).await;
    let accepted = http
        .post(format!("{}/execute", first.base))
        .json(&json!({ "workflow": hold("a") }))
        .send()
        .await
        .unwrap();
    let job: Value = accepted.json().await.unwrap();
    let id = job["prompt_id"].as_str().unwrap().to_owned();
    comfy.holding("a").await;
    let waiting = http.get(format!("{}/results/{id}?wait=60", first.base)).send();
    let (answer, ()) = tokio::join!(waiting, async {
        http.get(format!("{}/healthz", first.base)).send().await.unwrap();
        first.stop().await;
    });
    // A wait that had not reached the gateway before the stop finds nobody; one that had is answered.
    if let Ok(answer) = answer {
        assert_eq!(answer.status(), 202);
    }
    comfy.release("a");
    comfy.finished(&id).await;
    let mut second = Process::start(data.path(), &[comfy.url()]).await;
    let result: Value =
        http.get(format!("{}/results/{id}?wait=30", second.base)).send().await.unwrap().json().await.unwrap();
    assert_eq!((&result["status"], &result["attempts"]), (&json!("completed"), &json!(1)), "{result:#}");
    assert_eq!(comfy.runs(&id).started, 1);
    second.stop().await;
}

#[tokio::test]
async fn a_crash_of_an_internal_task_ends_the_process_with_a_failing_code() {
    let comfy = simulator().await;
    let data = tempfile::tempdir().unwrap();
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let mut first = Process::start(data.path(), &[comfy.url()]).await;
    let body = json!({ "workflow": hold("a") });
    let accepted = http.post(format!("{}/execute", first.base)).json(&body).send().await.unwrap();
    assert_eq!(accepted.status(), 202);
    comfy.holding("a").await;
    first.stop().await;
    // The next dispatcher cannot take the job over: the database refuses.
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(data.path().join("gateway.db"));
    let mut db = options.connect().await.unwrap();
    let refusing = "CREATE TRIGGER refusing BEFORE UPDATE ON jobs BEGIN SELECT RAISE(ABORT, 'refused'); END";
    sqlx::query(refusing).execute(&mut db).await.unwrap();
    db.close().await.unwrap();
    let path = data.path().to_str().unwrap();
    let (output, _, stderr) =
        run(&["--listen", "127.0.0.1:0", "--data-dir", path, "--backend", &comfy.url()]).await;
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("the internal task `dispatcher` crashed"), "{stderr}");
}

#[tokio::test]
async fn health_asks_the_gateway_where_it_listens() {
    let comfy = simulator().await;
    let data = tempfile::tempdir().unwrap();
    let mut gateway = Process::start(data.path(), &[comfy.url()]).await;
    let address = gateway.base.strip_prefix("http://").unwrap().to_owned();
    let port = address.rsplit_once(':').unwrap().1;
    for listen in [address.clone(), format!("0.0.0.0:{port}"), format!("[::]:{port}")] {
        let (output, stdout, stderr) = run(&["health", "--listen", &listen]).await;
        assert_eq!((output.status.code(), stdout.as_str(), stderr.as_str()), (Some(0), "", ""), "{listen}");
        let by_environment = program().arg("health").env("COMFY_GATEWAY_LISTEN", &listen).status().await;
        assert!(by_environment.unwrap().success(), "{listen}");
    }
    gateway.stop().await;
    let (output, _, stderr) = run(&["health", "--listen", &address]).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr.contains(&format!("the gateway at {address} cannot be reached")), "{stderr}");
}
