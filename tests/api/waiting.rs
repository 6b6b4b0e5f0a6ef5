//! Waiting for a job: `Prefer: wait`, `?wait=`, and responses before the job has ended.

use std::time::Duration;

use comfy_gateway::simulator::{FaultRoute, RequestFault};
use reqwest::Method;
use serde_json::{Value, json};

use crate::scene::{Scene, plain};
use crate::support::hold;

#[tokio::test]
async fn an_accepted_job_says_where_it_is_and_when_to_ask() {
    let scene = Scene::new().await;
    let response = scene.execute(json!({ "workflow": hold("a") }).to_string()).send().await.unwrap();
    assert_eq!(
        (response.status().as_u16(), &response.headers()["retry-after"]),
        (202, &"1".parse().unwrap())
    );
    assert!(!response.headers().contains_key("preference-applied"));
    let location = response.headers()["location"].to_str().unwrap().to_owned();
    let body: Value = response.json().await.unwrap();
    let id = body["prompt_id"].as_str().unwrap();
    assert_eq!(
        (location, &body["status"] == "queued" || &body["status"] == "running"),
        (format!("/results/{id}"), true)
    );
    let running = scene.gateway.get(&format!("/results/{id}")).await;
    assert_eq!((running.status().as_u16(), &running.headers()["retry-after"]), (202, &"1".parse().unwrap()));
    scene.comfy.release("a");
    scene.gateway.result(id).await;
    let done = scene.gateway.get(&format!("/results/{id}")).await;
    assert_eq!((done.status().as_u16(), done.headers().contains_key("retry-after")), (200, false));
    scene.finish().await;
}

#[tokio::test]
async fn an_execute_that_waits_brings_the_result() {
    let scene = Scene::new().await;
    for prefer in ["wait=30", "respond-async, WAIT = 30", "wait=\"30\""] {
        let request = scene.execute(json!({ "workflow": plain() }).to_string()).header("prefer", prefer);
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 200, "{prefer}");
        assert_eq!(response.headers()["preference-applied"], "wait=30");
        assert!(
            response.headers().contains_key("location") && !response.headers().contains_key("retry-after")
        );
        assert_eq!(response.json::<Value>().await.unwrap()["status"], "completed");
    }
    scene.finish().await;
}

#[tokio::test]
async fn a_wait_that_is_too_short_ends_with_202_and_the_job_goes_on() {
    let scene = Scene::new().await;
    let request = scene.execute(json!({ "workflow": hold("a") }).to_string()).header("prefer", "wait=0.2");
    let response = request.send().await.unwrap();
    assert_eq!(
        (response.status().as_u16(), &response.headers()["preference-applied"]),
        (202, &"wait=0.2".parse().unwrap())
    );
    let id = response.json::<Value>().await.unwrap()["prompt_id"].as_str().unwrap().to_owned();
    let response = scene.gateway.get(&format!("/results/{id}?wait=0.1")).await;
    assert_eq!(response.status(), 202);
    let prefer = scene.request(Method::GET, &format!("/results/{id}")).header("prefer", "wait=0.1");
    let response = prefer.send().await.unwrap();
    assert_eq!(
        (response.status().as_u16(), &response.headers()["preference-applied"]),
        (202, &"wait=0.1".parse().unwrap())
    );
    scene.comfy.release("a");
    assert_eq!(scene.gateway.result(&id).await["status"], "completed");
    scene.finish().await;
}

#[tokio::test]
async fn a_wait_is_cut_to_the_longest_that_is_allowed() {
    let scene = Scene::with(|settings| settings.api.max_wait = Duration::from_millis(200)).await;
    let request = scene.execute(json!({ "workflow": hold("a") }).to_string()).header("prefer", "wait=3600");
    let response = request.send().await.unwrap();
    assert_eq!(
        (response.status().as_u16(), &response.headers()["preference-applied"]),
        (202, &"wait=0.2".parse().unwrap())
    );
    scene.comfy.release("a");
    let id = response.json::<Value>().await.unwrap()["prompt_id"].as_str().unwrap().to_owned();
    scene.gateway.until(&id, |body| body["status"] == "completed").await;
    scene.finish().await;
}

#[tokio::test]
async fn a_preference_that_means_nothing_is_no_fault() {
    let scene = Scene::new().await;
    for prefer in ["wait", "wait=soon", "wait=-1", "handling=lenient", ""] {
        let request = scene.execute(json!({ "workflow": plain() }).to_string()).header("prefer", prefer);
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 202, "{prefer}");
        assert!(!response.headers().contains_key("preference-applied"));
        let id = response.json::<Value>().await.unwrap()["prompt_id"].as_str().unwrap().to_owned();
        scene.gateway.result(&id).await;
    }
    scene.finish().await;
}

#[tokio::test]
async fn everybody_who_waits_is_answered() {
    let scene = Scene::new().await;
    let id = scene.gateway.submit(hold("a")).await;
    scene.comfy.holding("a").await;
    let waiting = (0..20).map(|_| scene.gateway.result(&id));
    let release = async { scene.comfy.release("a") };
    let (results, ()) = tokio::join!(futures_util::future::join_all(waiting), release);
    assert!(results.iter().all(|result| result == &results[0]));
    scene.finish().await;
}

#[tokio::test]
async fn a_cancel_answers_200_at_the_end_and_202_before() {
    let scene = Scene::with(|settings| settings.backends[0].slots = 1).await;
    let running = scene.gateway.submit(hold("a")).await;
    scene.comfy.holding("a").await;
    let queued = scene.gateway.submit(plain()).await;
    let cancel = async |id: &str| {
        scene.gateway.post(&format!("/results/{id}/cancel"), &json!({})).await.status().as_u16()
    };
    assert_eq!(cancel(&queued).await, 200);
    assert_eq!(cancel(&queued).await, 200);
    // Its server takes its time, so that the job is still running when the answer is written.
    scene.comfy.faults().next(FaultRoute::Interrupt, 1, RequestFault::Hang);
    assert_eq!(cancel(&running).await, 202);
    scene.comfy.until(|record| record.hanging() == 1).await;
    scene.comfy.faults().release_hanging();
    assert_eq!(scene.gateway.result(&running).await["status"], "cancelled");
    assert_eq!(cancel(&running).await, 200);
    scene.finish().await;
}
