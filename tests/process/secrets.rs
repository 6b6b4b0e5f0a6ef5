//! Secrets never appear in the log, at any level.

use serde_json::{Value, json};

use crate::process::Process;
use crate::support::{Behaviour, Web, png, simulator};

/// Inverts the picture of the required parameter `photo`.
fn invert() -> Value {
    json!({
        "1": {"class_type": "LoadImage", "inputs": {"image": "none.png"}, "_meta": {"title": "$photo.image!"}},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "x"}, "_meta": {"title": "$output.cover"}}
    })
}

#[tokio::test]
async fn no_signature_of_a_url_and_no_value_of_a_parameter_is_logged() {
    let comfy = simulator().await;
    let data = tempfile::tempdir().unwrap();
    let log = "trace,sqlx=off";
    let gateway =
        Process::start_with(data.path(), &[comfy.url()], log, &["--fetch-allow", "127.0.0.1"]).await;
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let run = async |body: Value| -> Value {
        let asked = http.post(format!("{}/execute", gateway.base)).header("prefer", "wait=30").json(&body);
        asked.send().await.unwrap().json().await.unwrap()
    };
    let signed = |web: &Web| format!("{}/signature-1/a?token=signature-2", web.url);
    let photo = Web::serve(png([1, 2, 3]), Behaviour::Good).await;
    let result = run(json!({ "workflow": invert(), "params": {"photo": signed(&photo)} })).await;
    assert_eq!(result["status"], "completed", "{result:#}");
    // A fetch that fails is logged with its reason, and so is a workflow that cannot be had.
    let broken = Web::serve(png([1, 2, 3]), Behaviour::Status(503)).await;
    let result = run(json!({ "workflow": invert(), "params": {"photo": signed(&broken)} })).await;
    assert_eq!(result["error"]["code"], "input_unavailable", "{result:#}");
    let refused = run(json!({ "workflow": signed(&broken) })).await;
    assert_eq!(refused["code"], "workflow_unavailable", "{refused:#}");
    let workflow = Web::serve(invert().to_string(), Behaviour::Tagged).await;
    let refused =
        run(json!({ "workflow": signed(&workflow), "params": {"photo": {"base64": "signature"}} })).await;
    assert_eq!(refused["code"], "invalid_params", "{refused:#}");
    for answer in [result, refused] {
        assert!(!answer.to_string().contains("signature-"), "{answer:#}");
    }
    let log = gateway.stopped().await;
    assert!(log.contains("job accepted") && log.contains("a fetch failed; trying again"), "{log}");
    let told: Vec<&str> = log.lines().filter(|line| line.contains("signature")).collect();
    assert!(told.is_empty(), "{told:#?}");
}

#[tokio::test]
async fn no_credential_of_a_server_added_at_run_time_is_logged() {
    let comfy = simulator().await;
    let data = tempfile::tempdir().unwrap();
    let absent = simulator().await;
    absent.crash().await;
    let gateway = Process::start_with(data.path(), &[absent.url()], "trace,sqlx=off", &[]).await;
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let url = comfy.url().replace("http://", "http://user:signature-0@");
    let server = json!({
        "name": "late", "url": format!("{url}/?token=signature-1"), "cookies": "a=signature-2",
        "headers": {"X-A": "signature-3"}, "api_key": "signature-4",
    });
    let refused = json!({ "name": "late", "url": "ftp://u:signature-5@h", "bearer": "signature-6\n" });
    for (body, status) in [(&refused, 422), (&server, 201), (&server, 409)] {
        let answer = http.post(format!("{}/backends", gateway.base)).json(body).send().await.unwrap();
        assert_eq!(answer.status(), status);
        let text = answer.text().await.unwrap();
        assert!(!text.contains("signature"), "{text}");
    }
    let workflow = json!({ "1": {"class_type": "PreviewAny", "inputs": {"source": "x"}} });
    let run = http.post(format!("{}/execute", gateway.base)).header("prefer", "wait=30");
    let result: Value =
        run.json(&json!({ "workflow": workflow })).send().await.unwrap().json().await.unwrap();
    assert_eq!(result["status"], "completed", "{result:#}");
    // What goes wrong with it is logged too.
    comfy.crash().await;
    while http.get(format!("{}/readyz", gateway.base)).send().await.unwrap().status() != 503 {}
    let log = gateway.stopped().await;
    assert!(log.contains("a backend was added") && log.contains("the backend is down"), "{log}");
    let told: Vec<&str> = log.lines().filter(|line| line.contains("signature")).collect();
    assert!(told.is_empty(), "{told:#?}");
}

/// Fails in the given way with the parameter `message` as its message.
fn fails(mode: &str) -> Value {
    json!({ "1": {
        "class_type": "LabFail", "inputs": {"mode": mode, "message": "boom"}, "_meta": {"title": "$message"}
    }})
}

#[tokio::test]
async fn no_value_of_a_job_that_fails_is_logged_and_a_callers_mistake_is_no_warning() {
    let comfy = simulator().await;
    let data = tempfile::tempdir().unwrap();
    let gateway = Process::start_with(data.path(), &[comfy.url()], "trace,sqlx=off", &[]).await;
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let run = async |body: Value| -> Value {
        let asked = http.post(format!("{}/execute", gateway.base)).header("prefer", "wait=30").json(&body);
        asked.send().await.unwrap().json().await.unwrap()
    };
    let value = "signature\n2026-11-24T00:00:00Z ERROR forged\u{1b}[2J.png";
    let mut mistakes = Vec::new();
    for (workflow, param, code) in
        [(invert(), "photo", "invalid_workflow"), (fails("raise"), "message", "node_error")]
    {
        let failed = run(json!({ "workflow": workflow, "params": {param: value} })).await;
        assert_eq!(failed["error"]["code"], code, "{failed:#}");
        assert!(failed.to_string().contains("signature"), "the caller is told");
        mistakes.push(failed["prompt_id"].as_str().unwrap().to_owned());
    }
    let body = json!({ "workflow": fails("oom"), "params": {"message": value}, "max_attempts": 2 });
    let failed = run(body).await;
    assert_eq!(failed["error"]["code"], "out_of_memory", "{failed:#}");
    let answers: Value =
        http.get(format!("{}/backends", gateway.base)).send().await.unwrap().json().await.unwrap();
    assert!(!answers.to_string().contains("signature"), "{answers:#}");
    let log = gateway.stopped().await;
    assert!(
        log.contains("the backend rejected the workflow") && log.contains("the job was requeued"),
        "{log}"
    );
    let told: Vec<&str> = log.lines().filter(|line| line.contains("signature")).collect();
    assert!(told.is_empty(), "{told:#?}");
    let is_alarm = |line: &&str| line.contains(r#""level":"WARN""#) || line.contains(r#""level":"ERROR""#);
    let of_mistakes = |line: &&str| mistakes.iter().any(|id| line.contains(id));
    let alarms: Vec<&str> = log.lines().filter(is_alarm).filter(of_mistakes).collect();
    assert!(alarms.is_empty(), "{alarms:#?}");
}

#[tokio::test]
async fn what_dependencies_write_for_themselves_is_not_in_the_log() {
    let comfy = simulator().await;
    let data = tempfile::tempdir().unwrap();
    for filter in ["info", "trace"] {
        let gateway = Process::start_with(data.path(), &[comfy.url()], filter, &[]).await;
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let run = http.post(format!("{}/execute", gateway.base)).header("prefer", "wait=30");
        let workflow = json!({ "1": {"class_type": "PreviewAny", "inputs": {"source": "x"}} });
        let result: Value =
            run.json(&json!({ "workflow": workflow })).send().await.unwrap().json().await.unwrap();
        assert_eq!(result["status"], "completed", "{result:#}");
        let log = gateway.stopped().await;
        assert!(log.contains("job ended"), "{log}");
        let theirs = |line: &&str| {
            ["log.file", "log.target", "/registry/", "tungstenite"].iter().any(|part| line.contains(part))
        };
        let told: Vec<&str> = log.lines().filter(theirs).collect();
        assert!(told.is_empty(), "{told:#?}");
    }
}
