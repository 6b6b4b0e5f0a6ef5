//! What happens by the clock alone, with a clock turned by hand: looks at silent runs, waits that end, results that
//! are forgotten.

use std::sync::Arc;
use std::time::Duration;

use comfy_gateway::clock::{Clock, ManualClock};
use comfy_gateway::domain::time::UnixMillis;
use comfy_gateway::simulator::{FaultRoute, RequestFault, Simulator};
use serde_json::{Value, json};

use crate::support::{Gateway, hold, picture, simulator};

const DAY: Duration = Duration::from_hours(24);

fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::new(UnixMillis::from_millis(1_800_000_000_000)))
}

async fn gateway(clock: &Arc<ManualClock>, comfy: &Simulator) -> Gateway {
    Gateway::on_clock(clock.clone(), &[comfy], |settings| settings.scheduler.poll = Duration::from_secs(1))
        .await
}

fn has_ended(job: &Value) -> bool {
    !["queued", "running"].contains(&job["status"].as_str().unwrap())
}

/// Advances the clock in small steps until the job has ended.
async fn ended(gateway: &Gateway, clock: &ManualClock, id: &str) -> Value {
    ended_within(gateway, clock, id, DAY * 365).await
}

/// The same, but the clock stands still when that time is over: what takes real time may take more of it.
async fn ended_within(gateway: &Gateway, clock: &ManualClock, id: &str, limit: Duration) -> Value {
    let until = clock.now().plus(limit);
    while clock.now() < until {
        let now = gateway.job(id).await;
        if has_ended(&now) {
            return now;
        }
        clock.advance(Duration::from_millis(5));
    }
    gateway.until(id, has_ended).await
}

/// The status of a response; `None` if the jump of the clock ended the connection.
async fn asked(gateway: &Gateway, path: &str) -> Option<u16> {
    let answer = gateway.http.get(format!("{}{path}", gateway.base)).send().await;
    answer.ok().map(|answer| answer.status().as_u16())
}

/// Advances the clock until a path answers with this status.
async fn answers(gateway: &Gateway, clock: &ManualClock, path: &str, status: u16) {
    while asked(gateway, path).await != Some(status) {
        clock.advance(Duration::from_mins(10));
    }
}

#[tokio::test]
async fn results_are_kept_for_their_time_then_told_as_gone_then_unknown() {
    let (clock, comfy) = (clock(), simulator().await);
    let gateway = gateway(&clock, &comfy).await;
    let id = gateway.submit(picture(1)).await;
    let result = ended(&gateway, &clock, &id).await;
    let path = format!("/results/{id}");
    let file = result["images"][0].as_str().unwrap().strip_prefix(&gateway.base).unwrap().to_owned();
    let expires: UnixMillis = clock.now().plus(DAY * 7);
    assert_eq!(&result["expires_at"].as_str().unwrap()[..16], &expires.to_string()[..16]);

    clock.advance(DAY * 6);
    let folder = gateway.data.path().join("media").join(&id[34..]).join(&id);
    assert_eq!(gateway.get(&path).await.status(), 200);
    assert_eq!(gateway.get(&file).await.status(), 200);

    answers(&gateway, &clock, &path, 410).await;
    answers(&gateway, &clock, &file, 410).await;
    while folder.exists() {
        tokio::task::yield_now().await;
    }
    // A month later not even the id is kept; it goes when the next results are looked through.
    clock.advance(DAY * 30);
    answers(&gateway, &clock, &path, 404).await;
    gateway.finish().await;
}

#[tokio::test]
async fn results_may_be_kept_for_ever() {
    let (clock, comfy) = (clock(), simulator().await);
    let gateway = Gateway::on_clock(clock.clone(), &[&comfy], |settings| settings.retention = None).await;
    let kept = gateway.submit(picture(1)).await;
    assert_eq!(ended(&gateway, &clock, &kept).await["expires_at"], Value::Null);
    clock.advance(DAY * 4_000);
    let next = gateway.submit(picture(2)).await;
    ended(&gateway, &clock, &next).await;
    assert_eq!(gateway.get(&format!("/results/{kept}")).await.status(), 200);
    gateway.finish().await;
}

#[tokio::test]
async fn without_a_websocket_an_end_is_found_within_two_seconds() {
    let (clock, comfy) = (clock(), simulator().await);
    comfy.faults().always(FaultRoute::Ws, RequestFault::Status(403, "no".to_owned()));
    let gateway = gateway(&clock, &comfy).await;
    let id = gateway.submit(hold("a")).await;
    comfy.holding("a").await;
    comfy.release("a");
    comfy.finished(&id).await;
    assert_eq!(gateway.job(&id).await["status"], "running");
    // Asleep until its next look: nobody told it of the end.
    ended_within(&gateway, &clock, &id, Duration::from_secs(2)).await;
    gateway.finish().await;
}

#[tokio::test]
async fn a_deaf_websocket_costs_no_more_than_none() {
    let (clock, comfy) = (clock(), simulator().await);
    let gateway = gateway(&clock, &comfy).await;
    comfy.until(|record| record.open_sockets() == 1).await;
    let id = gateway.submit(hold("a")).await;
    comfy.holding("a").await;
    comfy.deafen_websockets();
    comfy.release("a");
    comfy.finished(&id).await;
    let result = ended_within(&gateway, &clock, &id, Duration::from_secs(2)).await;
    assert_eq!(result["status"], "completed");
    gateway.finish().await;
}

#[tokio::test]
async fn a_wait_in_the_queue_ends_when_the_clock_says() {
    let (clock, comfy) = (clock(), simulator().await);
    comfy.crash().await;
    let gateway = gateway(&clock, &comfy).await;
    let id = gateway.execute(&json!({ "workflow": picture(1), "queue_timeout": 60 })).await;
    let patient = gateway.execute(&json!({ "workflow": picture(2), "queue_timeout": 6_000 })).await;
    clock.advance(Duration::from_millis(59_999));
    assert_eq!(gateway.job(&id).await["status"], "queued");
    let result = ended(&gateway, &clock, &id).await;
    assert_eq!(result["error"]["code"], "queue_timeout", "{result:#}");
    assert_eq!(gateway.job(&patient).await["status"], "queued");
    gateway.cancel(&patient).await;
    gateway.finish().await;
}

#[tokio::test]
async fn a_run_is_interrupted_when_its_time_is_over_and_not_before() {
    let (clock, comfy) = (clock(), simulator().await);
    let gateway = gateway(&clock, &comfy).await;
    comfy.until(|record| record.open_sockets() == 1).await;
    let id = gateway.execute(&json!({ "workflow": hold("a"), "timeout": 600 })).await;
    comfy.holding("a").await;
    gateway.until(&id, |body| body["progress"]["current_node"] == "1").await;
    let looks = comfy.requests(FaultRoute::Queue).len();
    clock.advance(Duration::from_secs(599));
    comfy.until(|record| record.requests(FaultRoute::Queue) > looks).await;
    assert!(comfy.requests(FaultRoute::Interrupt).is_empty());
    let result = ended(&gateway, &clock, &id).await;
    assert_eq!(result["error"]["code"], "timeout", "{result:#}");
    assert!(!comfy.requests(FaultRoute::Interrupt).is_empty());
    gateway.finish().await;
}

/// The stored inputs.
fn inputs(gateway: &Gateway) -> usize {
    let shards = std::fs::read_dir(gateway.data.path().join("media/inputs"));
    shards.into_iter().flatten().flatten().map(|shard| std::fs::read_dir(shard.path()).unwrap().count()).sum()
}

/// Advances the clock by this much in small steps, so that every periodic task runs.
async fn pass(gateway: &Gateway, clock: &ManualClock, time: Duration) {
    let until = clock.now().plus(time);
    while clock.now() < until {
        clock.advance(Duration::from_secs(20));
        asked(gateway, "/readyz").await;
    }
}

#[tokio::test]
async fn a_jobs_file_is_kept_while_it_may_be_needed_and_forgotten_then() {
    let (clock, comfy) = (clock(), simulator().await);
    let gateway = gateway(&clock, &comfy).await;
    comfy.faults().stick_worker();
    let body = json!({ "workflow": super::inputs::invert(), "params": {"photo": crate::support::data_url([1, 2, 3])}, "timeout": 86_400 });
    let id = gateway.execute(&body).await;
    pass(&gateway, &clock, Duration::from_mins(40)).await;
    assert_eq!(inputs(&gateway), 1);
    comfy.faults().unstick();
    assert_eq!(ended(&gateway, &clock, &id).await["status"], "completed");
    while inputs(&gateway) > 0 {
        clock.advance(Duration::from_secs(20));
        asked(&gateway, "/readyz").await;
    }
    gateway.finish().await;
}

#[tokio::test]
async fn an_uploaded_file_is_forgotten_when_its_time_is_over_and_a_job_keeps_it() {
    let (clock, comfy) = (clock(), simulator().await);
    let gateway = Gateway::on_clock(clock.clone(), &[&comfy], |settings| {
        settings.service.file_retention = Some(Duration::from_hours(2));
    })
    .await;
    let part = reqwest::multipart::Part::bytes(crate::support::png([1, 2, 3])).file_name("a.png");
    let form = reqwest::multipart::Form::new().part("file", part);
    let sent = gateway.http.post(format!("{}/files", gateway.base)).multipart(form).send().await.unwrap();
    let file: Value = sent.json().await.unwrap();
    let path = format!("/files/{}", file["file"].as_str().unwrap());
    pass(&gateway, &clock, Duration::from_mins(40)).await;
    assert_eq!((gateway.get(&path).await.status().as_u16(), inputs(&gateway)), (200, 1));
    comfy.faults().stick_worker();
    let body = json!({ "workflow": super::inputs::invert(), "params": {"photo": {"file": file["file"]}}, "timeout": 86_400 });
    let id = gateway.execute(&body).await;
    answers(&gateway, &clock, &path, 404).await;
    pass(&gateway, &clock, Duration::from_mins(40)).await;
    assert_eq!(inputs(&gateway), 1);
    comfy.faults().unstick();
    ended(&gateway, &clock, &id).await;
    while inputs(&gateway) > 0 {
        clock.advance(Duration::from_secs(20));
        asked(&gateway, "/readyz").await;
    }
    gateway.finish().await;
}
