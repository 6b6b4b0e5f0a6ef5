//! A full disk: which requests are refused, which work continues, and how it recovers.

use std::sync::Arc;

use comfy_gateway::simulator::{FaultRoute, RequestFault};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::{
    Behaviour, Gateway, SmallDisk, StoppedGateway, Web, hold, picture, png, settings, simulator,
};

/// A reserve larger than any disk, so that it is never free.
const NO_ROOM: u64 = 1 << 60;

/// Starts a gateway on the same data with this reserve.
async fn with_reserve(mut left: StoppedGateway, reserve: u64) -> Gateway {
    left.settings.disk_reserve = reserve;
    left.start().await
}

/// Asserts that a response reports a full disk without showing a path.
async fn says_full(gateway: &Gateway, response: reqwest::Response) -> String {
    assert_eq!(response.status(), 503);
    assert!(response.headers().contains_key("retry-after"));
    let problem: Value = response.json().await.unwrap();
    assert_eq!((&problem["code"], &problem["retryable"]), (&json!("disk_full"), &json!(true)), "{problem:#}");
    let detail = problem["detail"].as_str().unwrap().to_owned();
    assert!(!detail.contains(gateway.data.path().to_str().unwrap()), "{detail}");
    detail
}

async fn delete(gateway: &Gateway, id: &str) -> StatusCode {
    let request = gateway.http.request(Method::DELETE, format!("{}/results/{id}", gateway.base));
    request.send().await.unwrap().status()
}

async fn upload(gateway: &Gateway, bytes: usize) -> reqwest::Response {
    let part = reqwest::multipart::Part::bytes(vec![7; bytes]).file_name("x.bin");
    let form = reqwest::multipart::Form::new().part("file", part);
    gateway.http.post(format!("{}/files", gateway.base)).multipart(form).send().await.unwrap()
}

#[tokio::test]
async fn with_only_the_reserve_left_new_jobs_and_files_are_refused_and_old_ones_can_go() {
    let comfy = simulator().await;
    let gateway = Gateway::in_front_of(&[&comfy]).await;
    let ended = gateway.run(picture(1)).await["prompt_id"].as_str().unwrap().to_owned();
    comfy.crash().await;
    let queued = gateway.submit(picture(2)).await;
    let gateway = with_reserve(gateway.stop().await, NO_ROOM).await;

    assert!(says_full(&gateway, gateway.get("/readyz").await).await.contains("database"));
    let refused = gateway.post("/execute", &json!({ "workflow": picture(3) })).await;
    assert!(says_full(&gateway, refused).await.contains("the disk of the gateway's database is full"));
    assert!(says_full(&gateway, upload(&gateway, 10).await).await.contains("media files"));
    assert_eq!(gateway.get("/healthz").await.status(), 200);
    assert_eq!(gateway.job(&ended).await["status"], "completed");
    assert_eq!(gateway.cancel(&queued).await["status"], "cancelled");
    assert_eq!(delete(&gateway, &ended).await, 204);

    let gateway = with_reserve(gateway.stop().await, 0).await;
    assert_eq!(upload(&gateway, 10).await.status(), 201);
    gateway.cancel(&gateway.submit(picture(3)).await).await;
    gateway.stop().await;
}

#[tokio::test]
async fn a_job_whose_files_find_no_room_waits_for_it_and_can_be_cancelled() {
    let comfy = simulator().await;
    let gateway = Gateway::in_front_of(&[&comfy]).await;
    let jobs = [gateway.submit(held_picture("a", 1)).await, gateway.submit(held_picture("b", 2)).await];
    for id in &jobs {
        gateway.until(id, |job| job["status"] == "running").await;
    }
    let gateway = with_reserve(gateway.stop().await, NO_ROOM).await;
    comfy.release("a");
    comfy.release("b");
    for id in &jobs {
        comfy.until(|record| record.runs(id).succeeded > 0).await;
    }
    assert_eq!(gateway.cancel(&jobs[0]).await["status"], "running");
    let cancelled = gateway.result(&jobs[0]).await;
    assert_eq!(cancelled["status"], "cancelled", "{cancelled:#}");
    assert_eq!(gateway.job(&jobs[1]).await["status"], "running");

    let gateway = with_reserve(gateway.stop().await, 0).await;
    let completed = gateway.result(&jobs[1]).await;
    assert_eq!(completed["status"], "completed", "{completed:#}");
    assert!(gateway.bytes(&completed["images"][0]).await.starts_with(b"\x89PNG"));
    gateway.finish().await;
}

/// A picture beside a node that the test releases.
fn held_picture(name: &str, color: u32) -> Value {
    let mut workflow = picture(color);
    workflow["3"] = hold(name)["1"].clone();
    workflow
}

#[tokio::test]
async fn on_a_disk_that_is_full_to_its_last_byte_jobs_end_and_are_deleted() {
    let Some(disk) = SmallDisk::new(64) else { return };
    let data = Arc::new(tempfile::tempdir_in(disk.path()).unwrap());
    let comfy = simulator().await;
    let mut settings = settings(data.path(), &[&comfy.url()]);
    settings.disk_reserve = 16 << 20;
    let gateway = Gateway::start(settings, data).await;
    let ended = gateway.run(picture(1)).await["prompt_id"].as_str().unwrap().to_owned();
    let running = gateway.submit(hold("x")).await;
    gateway.until(&running, |job| job["status"] == "running").await;

    disk.fill();
    says_full(&gateway, gateway.get("/readyz").await).await;
    let refused = gateway.post("/execute", &json!({ "workflow": picture(2) })).await;
    says_full(&gateway, refused).await;
    comfy.release("x");
    assert_eq!(gateway.result(&running).await["status"], "completed");
    for id in [&ended, &running] {
        assert_eq!(delete(&gateway, id).await, 204);
    }
    says_full(&gateway, gateway.get("/readyz").await).await;
    let reserve = gateway.data.path().join("gateway.reserve");
    assert!(!reserve.exists(), "it was given up for the end of the job");

    disk.clear();
    assert_eq!(gateway.get("/readyz").await.status(), 200);
    assert!(reserve.exists());
    assert_eq!(gateway.run(picture(3)).await["status"], "completed");
    gateway.finish().await;
}

#[tokio::test]
async fn a_gateway_starts_on_a_disk_that_is_full_to_its_last_byte() {
    let Some(disk) = SmallDisk::new(64) else { return };
    let data = Arc::new(tempfile::tempdir_in(disk.path()).unwrap());
    let comfy = simulator().await;
    let mut settings = settings(data.path(), &[&comfy.url()]);
    settings.disk_reserve = 16 << 20;
    let gateway = Gateway::start(settings, data).await;
    let ended = gateway.run(picture(1)).await["prompt_id"].as_str().unwrap().to_owned();
    let running = gateway.submit(hold("x")).await;
    gateway.until(&running, |job| job["status"] == "running").await;
    let left = gateway.kill().await;
    disk.fill();
    let gateway = left.start().await;
    says_full(&gateway, gateway.get("/readyz").await).await;
    comfy.release("x");
    assert_eq!(gateway.result(&running).await["status"], "completed");
    assert_eq!(delete(&gateway, &ended).await, 204);
    disk.clear();
    gateway.finish().await;
}

#[tokio::test]
async fn an_endless_file_takes_no_more_than_what_is_above_the_reserve() {
    let Some(disk) = SmallDisk::new(64) else { return };
    let data = Arc::new(tempfile::tempdir_in(disk.path()).unwrap());
    let comfy = simulator().await;
    let mut settings = settings(data.path(), &[&comfy.url()]);
    settings.disk_reserve = 16 << 20;
    let gateway = Gateway::start(settings, data).await;
    comfy.faults().always(FaultRoute::View, RequestFault::Endless);
    let id = gateway.submit(picture(1)).await;
    comfy.until(|record| record.requests(FaultRoute::View) > 0).await;
    // Only a fetch that waits for room can be cancelled.
    gateway.cancel(&id).await;
    assert_eq!(gateway.result(&id).await["status"], "cancelled");
    assert_eq!(comfy.requests(FaultRoute::View).len(), 1, "it is not asked for again while it cannot fit");
    assert!(gateway.data.path().join("gateway.reserve").exists());
    assert_eq!(std::fs::read_dir(gateway.data.path().join("media/incoming")).unwrap().count(), 0);
    assert_eq!(gateway.get("/readyz").await.status(), 200);
    gateway.finish().await;
}

#[tokio::test]
async fn a_job_whose_inputs_find_no_room_waits_for_it_in_the_queue() {
    let comfy = simulator().await;
    let gateway = Gateway::in_front_of(&[&comfy]).await;
    let web = Web::serve("x", Behaviour::Hangs).await;
    let body = json!({ "workflow": super::inputs::invert(), "params": {"photo": web.url} });
    let id = gateway.execute(&body).await;
    web.came().await;
    let left = gateway.stop().await;
    let web = Web::serve_at(web.stop().await, png([1, 2, 3]), Behaviour::Good).await;
    let gateway = with_reserve(left, NO_ROOM).await;
    web.came().await;
    assert_eq!(gateway.get(&format!("/results/{id}?wait=0.5")).await.status(), 202);
    assert_eq!(web.asked(), 1, "it is not asked for again while there is no room");
    let gateway = with_reserve(gateway.stop().await, 0).await;
    assert_eq!(gateway.result(&id).await["status"], "completed");
    gateway.finish().await;
}
