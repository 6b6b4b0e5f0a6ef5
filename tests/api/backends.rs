//! Tests of `/backends`: listing, adding, removing and setting modes, and the requests that are rejected.

use comfy_gateway::simulator::FaultRoute;
use reqwest::Method;
use reqwest::header::CONTENT_TYPE;
use serde_json::{Value, json};

use crate::scene::{Scene, refusal};
use crate::support::{Gateway, hold, picture, simulator};

const SECRETS: [&str; 6] = ["s3cret-0", "s3cret-1", "s3cret-2", "s3cret-3", "s3cret-4", "s3cret-5"];

/// A server with every credential there is.
fn guarded(name: &str, url: &str) -> Value {
    json!({
        "name": name, "url": format!("{url}/?token=s3cret-0"), "slots": 1, "labels": ["fast", "24gb"],
        "bearer": "s3cret-1", "cookies": "session=s3cret-2", "api_key": "s3cret-3",
        "headers": {"X-One": "s3cret-4", "X-Two": "s3cret-5"},
    })
}

fn post(scene: &Scene, body: &Value) -> reqwest::RequestBuilder {
    scene.request(Method::POST, "/backends").json(body)
}

async fn backend_list(gateway: &Gateway) -> Value {
    gateway.get("/backends").await.json().await.unwrap()
}

/// The names and modes of all backends.
async fn names_and_modes(gateway: &Gateway) -> Vec<(Value, Value)> {
    let all = backend_list(gateway).await;
    let all = all["backends"].as_array().unwrap();
    all.iter().map(|server| (server["name"].clone(), server["mode"].clone())).collect()
}

#[tokio::test]
async fn everything_that_is_known_of_a_server_is_told() {
    let scene = Scene::new().await;
    let (gateway, comfy) = (&scene.gateway, &scene.comfy);
    comfy.until(|record| record.open_sockets() == 1).await;
    gateway.run(picture(1)).await;
    gateway.run(crate::support::fails("raise")).await;
    let running = gateway.submit(hold("a")).await;
    comfy.holding("a").await;
    let waiting = gateway.submit(hold("b")).await;
    comfy.queued(&waiting).await;
    gateway.until(&running, |body| !body["progress"]["current_node"].is_null()).await;
    let told: Value = gateway.get("/backends/gpu-1").await.json().await.unwrap();
    assert_eq!(
        (&told["state"], &told["mode"], &told["reason"]),
        (&json!("up"), &json!("open"), &Value::Null)
    );
    assert_eq!((&told["configured"], &told["drained"]), (&json!(true), &json!(false)));
    assert_eq!((&told["slots"], &told["running"]), (&json!(2), &json!(2)));
    let [job] = told["running_jobs"].as_array().unwrap().as_slice() else { panic!("{told:#}") };
    assert_eq!((&job["prompt_id"], &job["progress"]["nodes_total"]), (&json!(running), &json!(1)));
    assert!(job["started_at"].is_string());
    assert_eq!(told["waiting_jobs"], json!([waiting]));
    assert_eq!(told["foreign_jobs"], 0);
    assert_eq!(told["totals"], json!({ "completed": 1, "failed": 1, "server_faults": 0 }));
    assert_eq!(told["error_rate"], json!(0.0));
    assert!(told["vram"]["total"].as_u64() >= told["vram"]["free"].as_u64(), "{told:#}");
    assert!(told["vram"]["total"].is_u64() && told["loaded_models"].is_array(), "{told:#}");
    assert_eq!((&told["version"], &told["websocket"]), (&json!("0.24.0"), &json!(true)));
    comfy.release("a");
    comfy.release("b");
    for id in [running, waiting] {
        gateway.result(&id).await;
    }
    scene.finish().await;
}

#[tokio::test]
async fn an_added_server_is_answered_with_and_its_credentials_are_used_and_never_shown() {
    let comfy = simulator().await;
    let gateway = Gateway::in_front_of(&[]).await;
    let body = guarded("late", &comfy.url());
    let response = gateway.post("/backends", &body).await;
    assert_eq!(
        (response.status().as_u16(), &response.headers()["location"]),
        (201, &"/backends/late".parse().unwrap())
    );
    let mut shown = vec![response.text().await.unwrap()];
    let added: Value = serde_json::from_str(&shown[0]).unwrap();
    assert_eq!(
        (&added["name"], &added["url"], &added["slots"]),
        (&json!("late"), &json!(comfy.url()), &json!(1))
    );
    assert_eq!((&added["labels"], &added["configured"]), (&json!(["fast", "24gb"]), &json!(false)));
    shown.push(gateway.run(picture(1)).await.to_string());
    comfy.crash().await;
    crate::scene::poll_until(|| async { gateway.get("/readyz").await.status() == 503 }).await;
    shown.push(gateway.get("/backends/late").await.text().await.unwrap());
    shown.push(gateway.get("/readyz").await.text().await.unwrap());
    comfy.restart().await.unwrap();
    let gateway = gateway.stop().await.start().await;
    shown.push(gateway.run(picture(2)).await.to_string());
    for path in ["/backends", "/backends/late", "/metrics", "/results"] {
        shown.push(gateway.get(path).await.text().await.unwrap());
    }
    shown.push(gateway.post("/backends", &body).await.text().await.unwrap());
    for text in &shown {
        assert!(SECRETS.iter().all(|secret| !text.contains(secret)), "{text}");
    }
    for request in comfy.requests(FaultRoute::Prompt) {
        assert_eq!(request.headers["authorization"], "Bearer s3cret-1");
        assert_eq!(
            (&request.headers["cookie"], &request.headers["x-one"]),
            (&"session=s3cret-2".parse().unwrap(), &"s3cret-4".parse().unwrap())
        );
        assert!(request.uri.contains("token=s3cret-0"), "{}", request.uri);
        assert!(String::from_utf8_lossy(&request.body).contains("s3cret-3"));
    }
    assert_eq!(comfy.requests(FaultRoute::Prompt).len(), 2, "before the restart and after it");
    gateway.finish().await;
}

#[tokio::test]
async fn credentials_are_kept_where_only_the_owner_may_read_them() {
    use std::os::unix::fs::PermissionsExt;
    let comfy = simulator().await;
    let gateway = Gateway::in_front_of(&[]).await;
    assert_eq!(gateway.post("/backends", &guarded("late", &comfy.url())).await.status(), 201);
    let mut databases = 0;
    for entry in std::fs::read_dir(gateway.data.path()).unwrap().flatten() {
        let bytes = std::fs::read(entry.path()).unwrap_or_default();
        if bytes.windows(8).any(|window| window == b"s3cret-1") {
            let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
            assert_eq!(mode, 0o600, "{:?}", entry.path());
            databases += 1;
        }
    }
    assert!(databases > 0);
    gateway.finish().await;
}

#[tokio::test]
async fn every_fault_of_a_server_is_told_at_once_and_nothing_is_added() {
    let scene = Scene::new().await;
    let before = names_and_modes(&scene.gateway).await;
    let body = json!({
        "name": "a b", "url": "ftp://user:s3cret-0@h", "slots": 0, "labels": ["", "x"], "bearer": "s3cret-1\n2",
        "cookies": 7, "headers": {"a b": "s3cret-2", "X-A": ["s3cret-3"]}, "api_key": "", "slot": 1,
    });
    let refused = scene.refused(post(&scene, &body), 422, "invalid_request").await;
    assert_eq!(
        refused.pointers(),
        [
            "/slot",
            "/name",
            "/url",
            "/slots",
            "/labels",
            "/headers/a b",
            "/headers/X-A",
            "/bearer",
            "/cookies",
            "/api_key"
        ]
    );
    let words = refused.body.to_string();
    assert!(SECRETS.iter().all(|secret| !words.contains(secret)), "{words}");
    let refused = scene.refused(post(&scene, &json!({})), 422, "invalid_request").await;
    assert_eq!(refused.pointers(), ["/name", "/url"]);
    assert_eq!(names_and_modes(&scene.gateway).await, before);
    scene.finish().await;
}

#[tokio::test]
async fn what_no_connection_can_carry_is_told_at_its_field() {
    let scene = Scene::new().await;
    for (field, value, url) in [
        ("headers", json!({"Upgrade": "x"}), "http://h"),
        ("bearer", json!("t0k"), "http://user:pass@h"),
        ("url", json!("http://"), ""),
        ("url", json!("/relative"), ""),
        ("url", json!(["http://h"]), ""),
        ("url", json!(format!("http://h/{}", "x".repeat(9_000))), ""),
        ("labels", json!("fast"), "http://h"),
        ("labels", json!(vec!["x"; 65]), "http://h"),
        ("slots", json!(65), "http://h"),
        ("slots", json!("2"), "http://h"),
        ("headers", json!("X-A: 1"), "http://h"),
    ] {
        let mut body = json!({ "name": "late", "url": url });
        body[field] = value;
        let refused = scene.refused(post(&scene, &body), 422, "invalid_request").await;
        assert_eq!(refused.pointers(), [format!("/{field}")], "{body}");
    }
    let malformed =
        scene.request(Method::POST, "/backends").header(CONTENT_TYPE, "application/json").body("[");
    scene.refused(malformed, 400, "malformed_json").await;
    let untyped = scene.request(Method::POST, "/backends").body("{}");
    scene.refused(untyped, 415, "unsupported_media_type").await;
    scene.finish().await;
}

#[tokio::test]
async fn a_server_whose_name_or_address_is_taken_is_refused() {
    let scene = Scene::new().await;
    let before = names_and_modes(&scene.gateway).await;
    let name = json!({ "name": "gpu-1", "url": "http://127.0.0.1:1" });
    let refused = scene.refused(post(&scene, &name), 409, "backend_exists").await;
    assert!(refused.words().contains("gpu-1"));
    // Every name of this machine's own address is the same server.
    for host in ["127.0.0.1", "localhost", "[::1]"] {
        let address = json!({ "name": "late", "url": scene.comfy.url().replace("127.0.0.1", host) });
        let refused = scene.refused(post(&scene, &address), 409, "backend_exists").await;
        assert!(refused.words().contains("slots"), "{host}: {}", refused.words());
    }
    assert_eq!(names_and_modes(&scene.gateway).await, before);
    scene.finish().await;
}

#[tokio::test]
async fn only_an_added_server_without_jobs_is_removed() {
    let scene = Scene::new().await;
    let delete = |name: &str| scene.request(Method::DELETE, &format!("/backends/{name}"));
    scene.refused(delete("gpu-1"), 409, "backend_configured").await;
    scene.refused(delete("nobody"), 404, "not_found").await;
    scene.refused(delete("no%20name"), 404, "not_found").await;
    let comfy = simulator().await;
    let added = post(&scene, &json!({ "name": "late", "url": comfy.url() })).send().await.unwrap();
    assert_eq!(added.status(), 201);
    comfy.until(|record| record.open_sockets() == 1).await;
    scene.gateway.post("/backends/gpu-1/cordon", &json!({})).await;
    let id = scene.gateway.submit(hold("a")).await;
    comfy.holding("a").await;
    let refused = refusal(delete("late").send().await.unwrap(), 409, "backend_busy").await;
    assert!(refused.words().contains("drain") && refused.body["retryable"] == true, "{:#}", refused.body);
    comfy.release("a");
    scene.gateway.result(&id).await;
    crate::scene::poll_until(|| async { delete("late").send().await.unwrap().status() == 204 }).await;
    scene.refused(delete("late"), 404, "not_found").await;
    scene.finish().await;
}

#[tokio::test]
async fn modes_are_set_as_often_as_one_likes_and_only_of_servers_there_are() {
    let scene = Scene::new().await;
    scene.comfy.until(|record| record.open_sockets() == 1).await;
    let order = async |what: &str| -> Value {
        let response = scene.gateway.post(&format!("/backends/gpu-1/{what}"), &json!({})).await;
        assert_eq!(response.status(), 200);
        response.json().await.unwrap()
    };
    for (what, mode, state, drained) in [
        ("cordon", "cordoned", "cordoned", false),
        ("cordon", "cordoned", "cordoned", false),
        ("drain", "draining", "draining", true),
        ("uncordon", "open", "up", false),
        ("uncordon", "open", "up", false),
    ] {
        let body = order(what).await;
        assert_eq!(
            (&body["mode"], &body["state"], &body["drained"]),
            (&json!(mode), &json!(state), &json!(drained)),
            "{what}"
        );
    }
    scene.comfy.crash().await;
    scene.until_readiness(503).await;
    let body = order("cordon").await;
    assert_eq!(
        (&body["mode"], &body["state"]),
        (&json!("cordoned"), &json!("down")),
        "what is worse is shown"
    );
    order("uncordon").await;
    for what in ["cordon", "uncordon", "drain"] {
        let request = scene.request(Method::POST, &format!("/backends/nobody/{what}"));
        scene.refused(request, 404, "not_found").await;
    }
    scene.refused(scene.request(Method::GET, "/backends/nobody"), 404, "not_found").await;
    scene.finish().await;
}
