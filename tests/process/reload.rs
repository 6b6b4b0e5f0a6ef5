//! SIGHUP: the configuration is read again while the gateway runs.

use std::path::Path;

use comfy_gateway::simulator::Simulator;
use serde_json::{Value, json};

use crate::process::Process;
use crate::support::{hold, simulator};

fn write(path: &Path, log: &str, more: &str, servers: &[(&str, &Simulator)]) {
    let table = |(name, comfy): &(&str, &Simulator)| {
        format!("[[backends]]\nname = \"{name}\"\nurl = \"{}\"\n", comfy.url())
    };
    let servers: String = servers.iter().map(table).collect();
    std::fs::write(path, format!("log = \"{log}\"\n{more}\n{servers}")).unwrap();
}

/// Polls until the backends are these, each with its mode.
async fn until_servers(gateway: &Process, expected: &[(&str, &str)]) {
    let asking = async {
        loop {
            let answer = reqwest::Client::builder().no_proxy().build().unwrap();
            let answer: Value =
                answer.get(format!("{}/backends", gateway.base)).send().await.unwrap().json().await.unwrap();
            let servers = answer["backends"].as_array().unwrap().iter();
            let now: Vec<_> = servers
                .map(|server| {
                    (server["name"].as_str().unwrap().to_owned(), server["mode"].as_str().unwrap().to_owned())
                })
                .collect();
            if now.iter().map(|(name, mode)| (name.as_str(), mode.as_str())).eq(expected.iter().copied()) {
                return;
            }
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), asking)
        .await
        .unwrap_or_else(|_| panic!("never {expected:?}"));
}

#[tokio::test]
async fn a_changed_file_is_taken_over_and_a_bad_one_changes_nothing() {
    let (one, two) = (simulator().await, simulator().await);
    let data = tempfile::tempdir().unwrap();
    let file = data.path().join("gateway.toml");
    write(&file, "info", "", &[("one", &one)]);
    let config = file.to_str().unwrap();
    let mut gateway = Process::start_configured(data.path(), &["--config", config]).await;
    until_servers(&gateway, &[("one", "open")]).await;

    write(&file, "debug", "max_body = \"1MiB\"\nretention = \"1d\"", &[("one", &one), ("two", &two)]);
    let told = gateway.reload("the configuration was reloaded").await;
    assert!(told.contains("\"reloaded\":\"log, backends\""), "{told}");
    until_servers(&gateway, &[("one", "open"), ("two", "open")]).await;

    write(&file, "inof", "", &[("two", &two)]);
    let told = gateway.reload("nothing has changed").await;
    assert!(told.contains("\"level\":\"ERROR\"") && told.contains("must be a level"), "{told}");
    until_servers(&gateway, &[("one", "open"), ("two", "open")]).await;

    // Settings that need a restart are told each time.
    write(&file, "debug", "max_body = \"1MiB\"\nretention = \"1d\"", &[("two", &two)]);
    let told = gateway.reload("take effect with the next start").await;
    assert!(told.contains("max_body, retention") && told.contains("\"level\":\"WARN\""), "{told}");
    until_servers(&gateway, &[("two", "open")]).await;
    let log = gateway.stopped().await;
    assert!(log.contains("\"level\":\"DEBUG\""), "the filter was taken over: {log}");
}

#[tokio::test]
async fn a_server_with_jobs_is_drained_before_it_goes_or_changes() {
    let (one, two) = (simulator().await, simulator().await);
    let data = tempfile::tempdir().unwrap();
    let file = data.path().join("gateway.toml");
    write(&file, "info", "", &[("one", &one)]);
    let mut gateway = Process::start_configured(data.path(), &["--config", file.to_str().unwrap()]).await;
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let accepted = http.post(format!("{}/execute", gateway.base)).json(&json!({ "workflow": hold("a") }));
    let job: Value = accepted.send().await.unwrap().json().await.unwrap();
    one.holding("a").await;

    // Its place is taken by another server of its name; it changes its mind once.
    for servers in [[("one", &two)], [("one", &one)], [("one", &two)]] {
        write(&file, "info", "", &servers);
        gateway.reload("the configuration was reloaded").await;
        let drained = std::ptr::eq(servers[0].1, &raw const two);
        until_servers(&gateway, &[("one", if drained { "draining" } else { "open" })]).await;
    }
    one.release("a");
    let path = format!("{}/results/{}?wait=30", gateway.base, job["prompt_id"].as_str().unwrap());
    let result: Value = http.get(path).send().await.unwrap().json().await.unwrap();
    assert_eq!((&result["status"], &result["attempts"]), (&json!("completed"), &json!(1)), "{result:#}");
    until_servers(&gateway, &[("one", "open")]).await;
    let answers: Value =
        http.get(format!("{}/backends", gateway.base)).send().await.unwrap().json().await.unwrap();
    assert_eq!(answers["backends"][0]["url"].as_str().unwrap(), two.url(), "{answers:#}");
    gateway.stop().await;
}
