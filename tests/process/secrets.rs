//! What must never stand in the log, however much is logged.

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
    assert!(log.contains("job accepted") && log.contains("fetching a file again"), "{log}");
    let told: Vec<&str> = log.lines().filter(|line| line.contains("signature")).collect();
    assert!(told.is_empty(), "{told:#?}");
}
