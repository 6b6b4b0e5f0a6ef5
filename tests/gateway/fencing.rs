//! Attempts that lost their lease, and backends that ignore the `prompt_id`.

use std::time::Duration;

use comfy_gateway::simulator::{FaultRoute, RequestFault};
use serde_json::json;
use sqlx::{ConnectOptions, Connection};

use crate::support::{Gateway, hold, picture, simulator};

async fn sql(gateway: &Gateway, sql: &'static str) -> u64 {
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(gateway.data.path().join("gateway.db"));
    let mut db = options.busy_timeout(Duration::from_secs(10)).connect().await.unwrap();
    let done = sqlx::query(sql).execute(&mut db).await.unwrap();
    db.close().await.unwrap();
    done.rows_affected()
}

#[tokio::test]
async fn a_late_result_of_a_lost_lease_is_dropped() {
    let comfy = simulator().await;
    let gateway = Gateway::in_front_of(&[&comfy]).await;
    let id = gateway.submit(hold("a")).await;
    comfy.holding("a").await;
    // Somebody else holds the job now, as after a network partition, and has not ended it.
    let stolen =
        "UPDATE jobs SET lease_owner = '00000000-0000-4000-8000-000000000000', lease_until = 99999999999999";
    assert_eq!(sql(&gateway, stolen).await, 1);
    comfy.release("a");
    comfy.finished(&id).await;
    // A result that is written wakes this wait; one that is dropped lets it run out.
    let held: serde_json::Value = gateway.get(&format!("/results/{id}?wait=1")).await.json().await.unwrap();
    assert_eq!(held["status"], "running", "{held:#}");
    gateway.stop().await;
}

#[tokio::test]
async fn a_run_whose_lease_ended_is_taken_over_and_not_run_again() {
    let comfy = simulator().await;
    let gateway =
        Gateway::with(&[&comfy], |settings| settings.scheduler.lease = Duration::from_millis(300)).await;
    let id = gateway.submit(hold("a")).await;
    comfy.holding("a").await;
    let stolen = "UPDATE jobs SET lease_owner = '00000000-0000-4000-8000-000000000000', lease_until = 1";
    assert_eq!(sql(&gateway, stolen).await, 1);
    comfy.release("a");
    let result = gateway.result(&id).await;
    assert_eq!((&result["status"], &result["attempts"]), (&json!("completed"), &json!(1)), "{result:#}");
    assert_eq!(comfy.runs(&id).started, 1);
    gateway.finish().await;
}

#[tokio::test]
async fn a_server_that_makes_up_its_own_prompt_ids_is_refused() {
    let comfy = simulator().await;
    let answer = json!({"prompt_id": "6f0c1d1e-0000-4000-8000-000000000000", "number": 1, "node_errors": {}});
    comfy.faults().next(FaultRoute::Prompt, 1, RequestFault::Body(answer.to_string()));
    let gateway = Gateway::in_front_of(&[&comfy]).await;
    let result = gateway.run(picture(1)).await;
    assert_eq!(result["error"]["code"], "backend_lost", "{result:#}");
    assert!(result["msg"].as_str().unwrap().contains("too old"), "{result:#}");
    let deleted =
        comfy.requests(FaultRoute::Queue).into_iter().filter(|request| request.method == "POST").count();
    assert_eq!(deleted, 1);
    gateway.finish().await;
}
