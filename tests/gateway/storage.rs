//! The gateway's own limits: a disk that takes no files, a full queue, the retention of results.

use std::fs;
use std::time::Duration;

use comfy_gateway::simulator::{FaultRoute, RequestFault};
use serde_json::{Value, json};

use crate::support::{Gateway, picture, poll, simulator};

#[tokio::test]
async fn a_media_store_that_takes_no_files_loses_no_job() {
    let comfy = simulator().await;
    let gateway = Gateway::in_front_of(&[&comfy]).await;
    // A file where its folder should be: every write fails, for whichever user the test runs as.
    let incoming = gateway.data.path().join("media/incoming");
    fs::remove_dir(&incoming).unwrap();
    fs::write(&incoming, "in the way").unwrap();
    let id = gateway.submit(picture(1)).await;
    comfy.until(|record| record.requests(FaultRoute::View) >= 3).await;
    let now = gateway.job(&id).await;
    assert_eq!((&now["status"], &now["attempts"]), (&json!("running"), &json!(1)));
    fs::remove_file(&incoming).unwrap();
    fs::create_dir(&incoming).unwrap();
    let result = gateway.result(&id).await;
    assert_eq!(result["status"], "completed", "{result:#}");
    assert!(gateway.bytes(&result["images"][0]).await.starts_with(b"\x89PNG"));
    assert_eq!(comfy.runs(&id).queued, 1);
    gateway.finish().await;
}

#[tokio::test]
async fn deleting_a_job_deletes_its_files() {
    let comfy = simulator().await;
    let gateway = Gateway::in_front_of(&[&comfy]).await;
    let result = gateway.run(picture(1)).await;
    let id = result["prompt_id"].as_str().unwrap();
    let folder = gateway.data.path().join("media").join(&id[34..]).join(id);
    assert!(folder.exists());
    let response = gateway.http.delete(format!("{}/results/{id}", gateway.base)).send().await.unwrap();
    assert_eq!(response.status(), 204);
    assert!(!folder.exists());
    gateway.finish().await;
}

#[tokio::test]
async fn files_that_belong_to_no_job_are_swept_at_the_start() {
    let comfy = simulator().await;
    let gateway = Gateway::in_front_of(&[&comfy]).await;
    let kept = gateway.run(picture(1)).await;
    let left = gateway.kill().await;
    let orphan = left.data.path().join("media/ab/0198c1c2-7d1e-7abc-8def-0123456789ab");
    fs::create_dir_all(&orphan).unwrap();
    fs::write(orphan.join("x.png"), "x").unwrap();
    let gateway = left.start().await;
    assert!(!orphan.exists());
    let kept = gateway.job(kept["prompt_id"].as_str().unwrap()).await;
    assert!(gateway.bytes(&kept["images"][0]).await.starts_with(b"\x89PNG"));
    gateway.finish().await;
}

#[tokio::test]
async fn without_a_retention_jobs_are_kept_for_ever() {
    let comfy = simulator().await;
    let gateway = Gateway::with(&[&comfy], |settings| settings.retention = None).await;
    let result = gateway.run(picture(1)).await;
    assert_eq!(result["expires_at"], Value::Null);
    gateway.finish().await;
}

#[tokio::test]
async fn a_shorter_retention_holds_for_jobs_that_ended_before() {
    let comfy = simulator().await;
    let gateway = Gateway::with(&[&comfy], |settings| settings.retention = None).await;
    let result = gateway.run(picture(1)).await;
    let id = result["prompt_id"].as_str().unwrap();
    let mut left = gateway.stop().await;
    left.settings.retention = Some(Duration::from_hours(1));
    let gateway = left.start().await;
    let expires = |job: &Value| job["expires_at"].as_str().map(|at| at.parse::<jiff::Timestamp>().unwrap());
    let result = gateway.until(id, |job| expires(job).is_some()).await;
    let finished: jiff::Timestamp = result["finished_at"].as_str().unwrap().parse().unwrap();
    assert_eq!(expires(&result).unwrap().duration_since(finished).as_secs(), 3_600);
    gateway.finish().await;
}

#[tokio::test]
async fn a_full_queue_refuses_and_takes_jobs_again_when_some_have_gone() {
    let comfy = simulator().await;
    comfy.crash().await;
    let gateway = Gateway::with(&[&comfy], |settings| settings.service.max_queued = 2).await;
    let ids = [gateway.submit(picture(1)).await, gateway.submit(picture(2)).await];
    let refused = gateway.post("/execute", &json!({ "workflow": picture(3) })).await;
    assert_eq!(refused.status(), 503);
    assert!(refused.headers().contains_key("retry-after"));
    let problem: Value = refused.json().await.unwrap();
    assert_eq!((&problem["code"], &problem["limit"]), (&json!("queue_full"), &json!(2)), "{problem:#}");
    for id in &ids {
        assert_eq!(gateway.cancel(id).await["status"], "cancelled");
    }
    // The queue is counted anew once a second.
    let accepted = poll(async || {
        let answer = gateway.post("/execute", &json!({ "workflow": picture(3) })).await;
        (answer.status() == 202).then_some(answer)
    });
    let job: Value = accepted.await.json().await.unwrap();
    assert_eq!(gateway.cancel(job["prompt_id"].as_str().unwrap()).await["status"], "cancelled");
    gateway.finish().await;
}

#[tokio::test]
async fn an_output_file_that_never_ends_fails_its_job_and_leaves_nothing() {
    let comfy = simulator().await;
    let gateway = Gateway::with(&[&comfy], |settings| settings.scheduler.max_output_file = 1 << 20).await;
    comfy.faults().next(FaultRoute::View, 1, RequestFault::Endless);
    let result = gateway.run(picture(1)).await;
    let error = &result["error"];
    assert_eq!(
        (&error["code"], &error["node_id"], &error["retryable"]),
        (&json!("output_unavailable"), &json!("2"), &json!(false)),
        "{result:#}"
    );
    let message = error["message"].as_str().unwrap();
    assert!(message.contains("has more than 1048576 bytes (max_output_file)"), "{message}");
    assert_eq!(comfy.requests(FaultRoute::View).len(), 1, "a second fetch would end no better");
    assert_eq!(fs::read_dir(gateway.data.path().join("media/incoming")).unwrap().count(), 0);
    gateway.finish().await;
}

#[tokio::test]
async fn an_output_file_that_is_announced_as_too_large_is_not_read() {
    let comfy = simulator().await;
    let gateway = Gateway::with(&[&comfy], |settings| settings.scheduler.max_output_file = 60).await;
    let result = gateway.run(picture(1)).await;
    assert_eq!(result["error"]["code"], "output_unavailable", "{result:#}");
    assert!(result["msg"].as_str().unwrap().contains("more than 60 bytes"), "{result:#}");
    gateway.finish().await;
}
