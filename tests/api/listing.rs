//! `GET /results`: newest first, by status, page by page.

use reqwest::Method;
use serde_json::{Value, json};

use crate::scene::{Scene, plain};
use crate::support::{fails, hold};

async fn ids(scene: &Scene, query: &str) -> (Vec<String>, Value) {
    let response = scene.gateway.get(&format!("/results{query}")).await;
    assert_eq!(response.status(), 200);
    let page: Value = response.json().await.unwrap();
    let results = page["results"].as_array().unwrap();
    let ids = results.iter().map(|job| job["prompt_id"].as_str().unwrap().to_owned()).collect();
    (ids, page["next_cursor"].clone())
}

#[tokio::test]
async fn nothing_yet() {
    let scene = Scene::new().await;
    let page: Value = scene.gateway.get("/results").await.json().await.unwrap();
    assert_eq!(page, json!({ "results": [], "next_cursor": null }));
    scene.finish().await;
}

#[tokio::test]
async fn pages_hold_every_job_once_newest_first_though_new_ones_come() {
    let scene = Scene::new().await;
    let mut submitted = Vec::new();
    for _ in 0..7 {
        submitted.push(scene.gateway.submit(plain()).await);
    }
    submitted.reverse();
    let (mut seen, mut cursor) = ids(&scene, "?limit=3").await;
    let late = scene.gateway.submit(plain()).await;
    while let Some(next) = cursor.as_str().map(str::to_owned) {
        let (page, following) = ids(&scene, &format!("?limit=3&cursor={next}")).await;
        assert!(!page.is_empty() && page.len() <= 3);
        seen.extend(page);
        cursor = following;
    }
    assert_eq!(seen, submitted);
    let (all, cursor) = ids(&scene, "").await;
    assert_eq!((all.len(), &all[0], &cursor), (8, &late, &Value::Null));
    let exactly = ids(&scene, "?limit=8").await;
    assert_eq!((exactly.0.len(), exactly.1), (8, Value::Null), "no empty page follows");
    for id in all {
        scene.gateway.result(&id).await;
    }
    scene.finish().await;
}

#[tokio::test]
async fn jobs_of_one_status() {
    let scene = Scene::with(|settings| settings.backends[0].slots = 1).await;
    let completed = scene.gateway.submit(plain()).await;
    scene.gateway.result(&completed).await;
    let failed = scene.gateway.submit(fails("raise")).await;
    scene.gateway.result(&failed).await;
    let running = scene.gateway.submit(hold("a")).await;
    scene.comfy.holding("a").await;
    let cancelled = scene.gateway.submit(plain()).await;
    scene.gateway.cancel(&cancelled).await;
    let queued = scene.gateway.submit(plain()).await;
    let expected = [
        ("completed", &completed),
        ("failed", &failed),
        ("running", &running),
        ("cancelled", &cancelled),
        ("queued", &queued),
    ];
    for (status, id) in expected {
        assert_eq!(ids(&scene, &format!("?status={status}")).await.0, std::slice::from_ref(id), "{status}");
    }
    scene.comfy.release("a");
    for id in [running, queued] {
        scene.gateway.result(&id).await;
    }
    assert_eq!(ids(&scene, "?status=completed&limit=2").await.0.len(), 2);
    scene.finish().await;
}

#[tokio::test]
async fn a_listed_job_is_told_as_it_is_alone() {
    let scene = Scene::new().await;
    let result = scene.gateway.run(crate::support::picture(1)).await;
    let page: Value = scene.gateway.get("/results").await.json().await.unwrap();
    assert_eq!(page["results"][0], result);
    scene.finish().await;
}

#[tokio::test]
async fn jobs_of_one_workflow_or_of_one_version() {
    let scene = Scene::new().await;
    let put = async |name: &str, color: u32| {
        let request = scene.request(Method::PUT, &format!("/workflows/{name}"));
        let answer = request.json(&crate::support::picture(color)).send().await.unwrap();
        assert_eq!(answer.status(), 201);
    };
    put("one", 1).await;
    put("one", 2).await;
    put("one.more", 3).await;
    let mut by_workflow = Vec::new();
    for workflow in ["one@1", "one@2", "one.more"] {
        let id = scene.gateway.execute(&json!({ "workflow": workflow })).await;
        scene.gateway.result(&id).await;
        by_workflow.push(id);
    }
    let unnamed = scene.gateway.run(plain()).await;
    assert_eq!(unnamed["workflow"], Value::Null);
    let [first, second, third] = &by_workflow[..] else { panic!() };
    for (query, expected) in [
        ("one", vec![second, first]),
        ("one@1", vec![first]),
        ("one@2", vec![second]),
        ("one.more&status=completed", vec![third]),
        ("one&status=failed", vec![]),
        ("one@3", vec![]),
        ("another", vec![]),
    ] {
        let found = ids(&scene, &format!("?workflow={query}")).await.0;
        assert_eq!(found.iter().collect::<Vec<_>>(), expected, "{query}");
    }
    let (page, cursor) = ids(&scene, "?workflow=one&limit=1").await;
    assert_eq!(page, std::slice::from_ref(second));
    let next = format!("?workflow=one&limit=1&cursor={}", cursor.as_str().unwrap());
    assert_eq!(ids(&scene, &next).await, (vec![first.clone()], Value::Null));
    for wrong in ["", "@1", "one@0", "one@x", "a%20b", "one&workflow=two"] {
        let request = scene.request(Method::GET, &format!("/results?workflow={wrong}"));
        let told = scene.refused(request, 400, "invalid_query").await;
        assert!(told.words().contains("workflow"), "{wrong}: {}", told.words());
    }
    scene.finish().await;
}
