//! The options of a job, such as `caller`, `requires` and `max_attempts`, in a body and in a query.

use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use crate::scene::{Scene, plain};

#[tokio::test]
async fn a_requirement_that_cannot_be_read_is_pointed_at() {
    let scene = Scene::new().await;
    let many: Vec<String> = (0..17).map(|at| format!("l{at}")).collect();
    for (requires, pointer) in [
        (json!("fast"), "/requires"),
        (json!(["fast"]), "/requires"),
        (json!({ "labels": "fast" }), "/requires/labels"),
        (json!({ "labels": ["fast", 7] }), "/requires/labels"),
        (json!({ "labels": ["with space"] }), "/requires/labels"),
        (json!({ "labels": [""] }), "/requires/labels"),
        (json!({ "labels": many }), "/requires/labels"),
        (json!({ "backend": ["gpu-1"] }), "/requires/backend"),
        (json!({ "backend": "a/b" }), "/requires/backend"),
        (json!({ "backend": "x".repeat(65) }), "/requires/backend"),
        (json!({ "label": ["fast"] }), "/requires/label"),
        (json!({ "a/b~": 1 }), "/requires/a~1b~0"),
    ] {
        let body = json!({ "workflow": plain(), "requires": requires });
        let told = scene.refused_body(&body, 422, "invalid_request").await;
        assert_eq!(told.pointers(), [pointer], "{requires}");
        assert!(
            told.words().contains("requires") || told.words().contains("labels and backend"),
            "{}",
            told.words()
        );
    }
    let both = json!({ "workflow": plain(), "requires": { "labels": 1, "backend": 1, "x": 1 } });
    let told = scene.refused_body(&both, 422, "invalid_request").await;
    assert_eq!(told.pointers(), ["/requires/labels", "/requires/backend", "/requires/x"]);
    scene.finish().await;
}

#[tokio::test]
async fn callers_and_attempts_are_bounded() {
    let scene = Scene::new().await;
    for (field, value) in [
        ("caller", json!(7)),
        ("caller", json!(["a"])),
        ("caller", json!("é".repeat(129))),
        ("max_attempts", json!(0)),
        ("max_attempts", json!(-1)),
        ("max_attempts", json!(101)),
        ("max_attempts", json!(1.5)),
        ("max_attempts", json!("3")),
    ] {
        let body = json!({ "workflow": plain(), field: value });
        let told = scene.refused_body(&body, 422, "invalid_request").await;
        assert_eq!(told.pointers(), [format!("/{field}")], "{value}");
        assert!(told.words().contains(field), "{}", told.words());
    }
    let labels: Vec<String> = (0..16).map(|at| format!("l-{at}_.")).collect();
    for body in [
        json!({ "workflow": plain(), "caller": "é".repeat(128), "max_attempts": 100 }),
        json!({ "workflow": plain(), "caller": "", "max_attempts": 1, "requires": {} }),
        json!({ "workflow": plain(), "caller": null, "max_attempts": null, "requires": null }),
        json!({ "workflow": plain(), "requires": { "labels": null, "backend": null } }),
        json!({ "workflow": plain(), "requires": { "labels": [], "backend": "gpu-1" } }),
    ] {
        let id = scene.gateway.execute(&body).await;
        assert_eq!(scene.gateway.result(&id).await["status"], "completed", "{body}");
    }
    let body = json!({ "workflow": plain(), "requires": { "labels": labels } });
    let waits = scene.gateway.execute(&body).await;
    scene.gateway.cancel(&waits).await;
    scene.finish().await;
}

#[tokio::test]
async fn a_registered_workflow_takes_the_same_in_its_query() {
    let scene = Scene::new().await;
    let put = scene.request(Method::PUT, "/workflows/plain").json(&plain());
    assert!(put.send().await.unwrap().status().is_success());
    let with = |query: &str| -> RequestBuilder {
        scene.request(Method::POST, &format!("/workflows/plain/execute?{query}")).json(&json!({}))
    };
    for (query, parameter) in [
        ("labels=a%20b", "labels"),
        ("labels=a,,b", "labels"),
        ("labels=a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p,q", "labels"),
        ("backend=a%2Fb", "backend"),
        ("backend=", "backend"),
        ("max_attempts=0", "max_attempts"),
        ("max_attempts=101", "max_attempts"),
        ("max_attempts=1.5", "max_attempts"),
        ("requires=fast", "requires"),
    ] {
        let told = scene.refused(with(query), 400, "invalid_query").await;
        assert_eq!(told.pointers(), [parameter], "{query}");
    }
    let long = format!("caller={}", "x".repeat(129));
    assert_eq!(scene.refused(with(&long), 400, "invalid_query").await.pointers(), ["caller"]);

    let run = async |query: &str| -> String {
        let answer: Value = with(query).send().await.unwrap().json().await.unwrap();
        answer["prompt_id"].as_str().unwrap().to_owned()
    };
    let ran = run("backend=gpu-1&caller=me&max_attempts=2").await;
    let ran = scene.gateway.result(&ran).await;
    assert_eq!((&ran["status"], &ran["backend"]), (&json!("completed"), &json!("gpu-1")));
    let waits = run("labels=fast,%2024gb").await;
    let told = scene.gateway.until(&waits, |body| body["msg"].is_string()).await;
    assert!(told["msg"].as_str().unwrap().contains("the labels fast, 24gb"), "{told:#}");
    scene.gateway.cancel(&waits).await;
    scene.finish().await;
}
