//! Health, readiness, metrics and the list of backends.

use serde_json::{Value, json};

use crate::scene::{Scene, plain, refusal};
use crate::support::{Gateway, hold, simulator};

#[tokio::test]
async fn alive_whatever_the_servers_do_and_ready_only_with_one() {
    let scene = Scene::new().await;
    scene.comfy.until(|record| record.open_sockets() == 1).await;
    assert_eq!(scene.gateway.get("/readyz").await.status(), 200);
    assert_eq!(scene.gateway.get("/healthz").await.json::<Value>().await.unwrap(), json!({ "status": "ok" }));
    scene.comfy.crash().await;
    scene.until_readiness(503).await;
    let refusal = refusal(scene.gateway.get("/readyz").await, 503, "not_ready").await;
    assert!(refusal.headers.contains_key("retry-after") && refusal.words().contains("/backends"));
    assert_eq!(scene.gateway.get("/healthz").await.status(), 200);
    scene.comfy.restart().await.unwrap();
    scene.until_readiness(200).await;
    scene.finish().await;
}

#[tokio::test]
async fn without_any_server_jobs_are_accepted_and_wait() {
    let gateway = Gateway::in_front_of(&[]).await;
    assert_eq!(gateway.get("/backends").await.json::<Value>().await.unwrap(), json!({ "backends": [] }));
    assert_eq!(gateway.get("/readyz").await.status(), 503);
    let id = gateway.submit(plain()).await;
    assert_eq!(gateway.cancel(&id).await["status"], "cancelled");
    gateway.finish().await;
}

#[tokio::test]
async fn servers_are_told_without_their_credentials() {
    let comfy = simulator().await;
    let gateway = Gateway::with(&[&comfy], |settings| {
        let backend = &mut settings.backends[0];
        backend.labels = vec!["fast".to_owned()];
        backend.endpoint.url =
            backend.endpoint.url.as_str().replace("http://", "http://user:s3cret@").parse().unwrap();
    })
    .await;
    comfy.until(|record| record.open_sockets() == 1).await;
    let id = gateway.submit(hold("a")).await;
    comfy.holding("a").await;
    let text = gateway.get("/backends").await.text().await.unwrap();
    assert!(!text.contains("s3cret") && !text.contains("user"), "{text}");
    let body: Value = serde_json::from_str(&text).unwrap();
    let backend = &body["backends"][0];
    assert_eq!(backend["name"], "gpu-1");
    assert_eq!((&backend["state"], &backend["reason"]), (&json!("up"), &Value::Null));
    assert_eq!(
        (&backend["slots"], &backend["running"], &backend["websocket"]),
        (&json!(2), &json!(1), &json!(true))
    );
    assert_eq!((&backend["version"], &backend["labels"]), (&json!("0.24.0"), &json!(["fast"])));
    assert_eq!((&backend["url"], backend["since"].is_string()), (&json!(comfy.url()), true));
    comfy.release("a");
    gateway.result(&id).await;
    gateway.finish().await;
}

#[tokio::test]
async fn metrics_tell_of_jobs_servers_and_requests() {
    let scene = Scene::new().await;
    scene.gateway.run(crate::support::picture(1)).await;
    scene.gateway.run(crate::support::fails("raise")).await;
    scene.gateway.get("/results/x").await;
    let response = scene.gateway.get("/metrics").await;
    assert!(response.headers()["content-type"].to_str().unwrap().starts_with("application/openmetrics-text"));
    let text = response.text().await.unwrap();
    assert!(text.ends_with("# EOF\n"));
    let value = |start: &str| {
        let line = text.lines().find(|line| line.starts_with(start) && !line.starts_with('#'));
        let line = line.unwrap_or_else(|| panic!("no {start} in\n{text}"));
        line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap()
    };
    let near = |found: f64, expected: f64| {
        assert!((found - expected).abs() < 1e-9, "{found} is not {expected} in\n{text}");
    };
    near(value("comfy_gateway_jobs_accepted_total"), 2.0);
    near(value(r#"comfy_gateway_jobs_finished_total{status="completed"}"#), 1.0);
    near(value(r#"comfy_gateway_jobs_finished_total{status="failed"}"#), 1.0);
    near(value(r#"comfy_gateway_attempts_total{backend="gpu-1",outcome="node_error"}"#), 1.0);
    near(value(r#"comfy_gateway_jobs{status="queued"}"#), 0.0);
    near(value(r#"comfy_gateway_jobs{status="completed"}"#), 1.0);
    near(value(r#"comfy_gateway_backend_up{backend="gpu-1"}"#), 1.0);
    near(value(r#"comfy_gateway_backend_slots{backend="gpu-1"}"#), 2.0);
    near(value(r#"comfy_gateway_backend_running{backend="gpu-1"}"#), 0.0);
    near(value("comfy_gateway_queue_oldest_age_seconds"), 0.0);
    near(value(r#"comfy_gateway_job_phase_seconds_count{phase="executing"}"#), 2.0);
    assert!(value("comfy_gateway_store_batch_writes_count") >= 2.0);
    near(
        value(r#"comfy_gateway_http_requests_total{method="GET",route="/results/{prompt_id}",status="400"}"#),
        1.0,
    );
    assert!(!text.contains("/results/x"), "a route and not a path: paths are endless");
    scene.finish().await;
}
