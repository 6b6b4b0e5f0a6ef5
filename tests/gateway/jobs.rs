//! Jobs that go well.

use comfy_gateway::simulator::FaultRoute;
use serde_json::{Value, json};

use crate::support::{Gateway, hold, picture, simulator, text};

#[tokio::test]
async fn a_picture_comes_back_by_its_name_and_from_our_own_store() {
    let comfy = simulator().await;
    let gateway = Gateway::in_front_of(&[&comfy]).await;
    let result = gateway.run(picture(0xff_8800)).await;
    assert_eq!(result["status"], "completed", "{result:#}");
    let url = &result["images_by_var"]["cover"][0];
    assert!(url.as_str().unwrap().starts_with(&gateway.base));
    assert_eq!(result["images"], json!([url]));
    comfy.crash().await;
    assert!(gateway.bytes(url).await.starts_with(b"\x89PNG"));
    gateway.finish().await;
}

#[tokio::test]
async fn a_result_says_who_ran_it_when_and_how_long() {
    let comfy = simulator().await;
    let gateway = Gateway::in_front_of(&[&comfy]).await;
    let body = json!({ "workflow": picture(1), "metadata": {"user": 7, "tags": ["a"]} });
    let id = gateway.execute(&body).await;
    let result = gateway.result(&id).await;
    assert_eq!((&result["backend"], &result["attempts"]), (&json!("gpu-1"), &json!(1)));
    assert_eq!(result["metadata"], body["metadata"]);
    assert_eq!(
        (&result["error"], &result["msg"], &result["progress"]),
        (&Value::Null, &Value::Null, &Value::Null)
    );
    assert_eq!(result["urls"]["self"], format!("/results/{id}"));
    assert_eq!(result["urls"]["cancel"], format!("/results/{id}/cancel"));
    let moments: Vec<&str> = ["created_at", "started_at", "finished_at", "expires_at"]
        .map(|name| result[name].as_str().unwrap())
        .to_vec();
    assert!(moments.is_sorted() && moments.iter().all(|moment| moment.ends_with('Z')), "{moments:?}");
    for phase in ["queued", "preparing", "executing", "collecting"] {
        assert!(result["timings"][phase].as_f64().is_some_and(|time| time >= 0.0), "{phase}: {result:#}");
    }
    assert_eq!(result["duration"], result["timings"]["executing"]);
    let runs = comfy.runs(&id);
    assert_eq!((runs.queued, runs.started, runs.succeeded), (1, 1, 1));
    gateway.finish().await;
}

#[tokio::test]
async fn a_job_shows_where_it_stands_before_its_end() {
    let comfy = simulator().await;
    let gateway = Gateway::with(&[&comfy], |settings| settings.backends[0].slots = 1).await;
    let running = gateway.submit(hold("a")).await;
    comfy.holding("a").await;
    let (second, third) = (gateway.submit(text("b", "")).await, gateway.submit(text("c", "")).await);
    let queued = gateway.job(&third).await;
    assert_eq!((&queued["status"], &queued["queue_position"]), (&json!("queued"), &json!(1)));
    assert_eq!((&queued["backend"], &queued["started_at"]), (&Value::Null, &Value::Null));
    assert_eq!(gateway.job(&second).await["queue_position"], 0);
    let now = gateway.job(&running).await;
    assert_eq!((&now["status"], &now["queue_position"]), (&json!("running"), &Value::Null));
    for list in ["images", "videos", "audios", "texts", "files", "media"] {
        assert_eq!(now[list], json!([]), "{list}");
    }
    comfy.release("a");
    for id in [running, second, third] {
        assert_eq!(gateway.result(&id).await["status"], "completed");
    }
    gateway.finish().await;
}

#[tokio::test]
async fn a_cached_run_replays_its_names_and_still_gets_files_of_its_own() {
    let comfy = simulator().await;
    let gateway = Gateway::in_front_of(&[&comfy]).await;
    let first = gateway.run(picture(3)).await;
    let second = gateway.run(picture(3)).await;
    assert_eq!(first["outputs"], second["outputs"], "ComfyUI replayed the name");
    assert_ne!(first["images"], second["images"]);
    let gone = gateway.http.delete(format!("{}{}", gateway.base, first["urls"]["self"].as_str().unwrap()));
    assert_eq!(gone.send().await.unwrap().status(), 204);
    assert!(gateway.bytes(&second["images"][0]).await.starts_with(b"\x89PNG"));
    gateway.finish().await;
}

#[tokio::test]
async fn a_burst_runs_every_job_once() {
    let comfy = simulator().await;
    let gateway = Gateway::in_front_of(&[&comfy]).await;
    let mut ids = Vec::new();
    for color in 0..40 {
        ids.push(gateway.submit(picture(color)).await);
    }
    for id in &ids {
        assert_eq!(gateway.result(id).await["status"], "completed");
        assert_eq!((comfy.runs(id).queued, comfy.runs(id).succeeded), (1, 1));
    }
    assert_eq!(comfy.all_runs().len(), ids.len());
    gateway.finish().await;
}

#[tokio::test]
async fn a_server_below_a_path_and_behind_a_token_is_used_as_it_is() {
    let config = comfy_gateway::simulator::SimulatorConfig {
        prefix: Some("/comfy".to_owned()),
        bearer: Some("s3cret".into()),
        ..Default::default()
    };
    let comfy = comfy_gateway::simulator::Simulator::start_local(config).await.unwrap();
    let gateway =
        Gateway::with(&[&comfy], |settings| settings.backends[0].endpoint.bearer = Some("s3cret".into()))
            .await;
    assert_eq!(gateway.run(picture(5)).await["status"], "completed");
    let seen = comfy.requests(FaultRoute::All);
    assert!(seen.iter().all(|request| request.uri.starts_with("/comfy")));
    assert!(
        comfy.requests(FaultRoute::Ws).iter().all(|request| request.headers.contains_key("authorization"))
    );
    gateway.finish().await;
}

#[tokio::test]
async fn an_older_comfyui_does_as_well() {
    let config = comfy_gateway::simulator::SimulatorConfig {
        version: comfy_gateway::simulator::ComfyVersion::V0_3_64,
        ..Default::default()
    };
    let comfy = comfy_gateway::simulator::Simulator::start_local(config).await.unwrap();
    let gateway = Gateway::in_front_of(&[&comfy]).await;
    assert_eq!(gateway.run(picture(5)).await["status"], "completed");
    gateway.finish().await;
}
