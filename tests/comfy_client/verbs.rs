//! The requests of the client, and its reading of proper answers.

use comfy_gateway::comfy::{HistoryStatus, PromptError, QueueSnapshot};
use serde_json::value::RawValue;

use crate::support::{FakeBackend, STATS, answer, client, dead_url, endpoint, ok};

const QUEUE: &str = r#"{"queue_running":[[1,"a",{},{},[]]],"queue_pending":[]}"#;

fn workflow(text: &str) -> Box<RawValue> {
    RawValue::from_string(text.to_owned()).unwrap()
}

#[tokio::test]
async fn every_request_carries_the_credentials_below_the_prefix_and_nothing_of_a_browser() {
    let backend =
        FakeBackend::raw(|request| ok(if request.line.contains("system") { STATS } else { QUEUE })).await;
    let mut endpoint = endpoint(&format!("{}/comfy/", backend.url));
    endpoint.bearer = Some("t0k".into());
    endpoint.cookies = Some("a=1; b=2".into());
    endpoint.headers = vec![("X-Gateway".to_owned(), "yes".into())];
    let queue = client(endpoint).queue().await.unwrap();
    let QueueSnapshot { running, pending, jobs } = queue;
    assert_eq!((running, pending.len(), jobs.len()), (vec!["a".to_owned()], 0, 1));
    assert_eq!(backend.lines(), ["GET /comfy/system_stats", "GET /comfy/queue"]);
    for request in backend.requests() {
        for header in ["authorization: bearer t0k", "cookie: a=1; b=2", "x-gateway: yes"] {
            assert!(request.headers.contains(header), "{header}: {}", request.headers);
        }
        for header in ["origin", "sec-fetch", "referer", "user-agent"] {
            assert!(!request.headers.contains(header), "{header}: {}", request.headers);
        }
    }
}

#[tokio::test]
async fn a_proxy_that_passes_only_the_api_routes_is_discovered_once() {
    for refusal in [
        (404, ""),
        (200, "<!doctype html>"),
        (200, r#"{"detail":"no such page"}"#),
        (401, "who are you"),
        (502, ""),
    ] {
        let backend = FakeBackend::raw(move |request| match request.line.as_str() {
            line if line.contains("/api/system_stats") => ok(STATS),
            line if line.contains("/api/queue") => ok(QUEUE),
            _ => answer(refusal.0, "", refusal.1),
        })
        .await;
        let client = backend.client();
        client.queue().await.unwrap();
        client.clone().queue().await.unwrap();
        let expected = ["GET /system_stats", "GET /api/system_stats", "GET /api/queue", "GET /api/queue"];
        assert_eq!(backend.lines(), expected, "{refusal:?}");
    }
}

#[tokio::test]
async fn a_backend_without_either_prefix_is_tried_again_by_the_next_call() {
    let backend = FakeBackend::raw(|_| answer(403, "", "go away")).await;
    let client = backend.client();
    for _ in 0..2 {
        let error = client.queue().await.unwrap_err();
        assert_eq!(error.status(), Some(403));
        assert_eq!(error.to_string(), format!("GET /system_stats at {}: answered 403: go away", backend.url));
    }
    assert_eq!(backend.lines().len(), 4);
}

#[tokio::test]
async fn a_job_is_submitted_once_with_its_exact_bytes() {
    let backend = FakeBackend::new(|_| ok(r#"{"prompt_id":"id-1","number":7,"node_errors":{}}"#)).await;
    let mut endpoint = endpoint(&backend.url);
    endpoint.api_key = Some("comfy-key".into());
    let text = r#"{ "1": {"inputs":{"seed":18446744073709551615,"x":1.0e0}} }"#;
    let submitted = client(endpoint).submit("id-1", "client-1", &workflow(text)).await.unwrap();
    assert_eq!((submitted.prompt_id.as_str(), submitted.number), ("id-1", Some(7.0)));
    assert!(submitted.node_errors.is_empty());
    let [request] = backend.requests().try_into().unwrap();
    assert!(request.is("POST /prompt") && request.headers.contains("content-type: application/json"));
    assert_eq!(
        request.text(),
        format!(
            r#"{{"prompt_id":"id-1","client_id":"client-1","extra_data":{{"api_key_comfy_org":"comfy-key"}},"prompt":{text}}}"#
        )
    );
}

#[tokio::test]
async fn a_refused_workflow_has_a_reason() {
    let body = include_str!("../fixtures/comfyui/0.24.0/rejected_inputs.json");
    let backend = FakeBackend::new(move |_| answer(400, "", body)).await;
    let error = backend.client().submit("id", "c", &workflow("{}")).await.unwrap_err();
    assert!(error.is_surely_not_accepted());
    let PromptError::Rejected(rejection) = error else { panic!("{error}") };
    assert_eq!(rejection.node_errors.nodes[0].errors.len(), 3);
}

#[tokio::test]
async fn an_undelivered_job_is_distinguished_from_one_that_may_run() {
    let nobody = client(endpoint(&dead_url().await));
    let error = nobody.submit("id", "c", &workflow("{}")).await.unwrap_err();
    let PromptError::NotDelivered(error) = error else { panic!("{error}") };
    assert!(error.is_refused() && error.is_unreachable());

    let backend = FakeBackend::new(|request| match request.text() {
        text if text.contains("redirect") => answer(302, "location: /login\r\n", ""),
        text if text.contains("large") => answer(413, "", "too large"),
        text if text.contains("trouble") => answer(500, "", "500 Internal Server Error"),
        text if text.contains("gateway") => answer(504, "", "<html>"),
        text if text.contains("page") => answer(200, "", "<html>"),
        _ => unreachable!(),
    })
    .await;
    let client = backend.client();
    let submit = async |id| client.submit(id, "c", &workflow("{}")).await.unwrap_err();
    assert!(matches!(submit("redirect").await, PromptError::Denied(error) if error.status() == Some(302)));
    assert!(matches!(submit("large").await, PromptError::Denied(error) if error.status() == Some(413)));
    assert!(
        matches!(submit("trouble").await, PromptError::InternalError(error) if error.status() == Some(500))
    );
    assert!(matches!(submit("gateway").await, PromptError::Ambiguous(error) if error.status() == Some(504)));
    assert!(matches!(submit("page").await, PromptError::Ambiguous(_)));
    assert_eq!(backend.requests().len(), 5, "nothing is sent twice, and no redirect followed");
}

#[tokio::test]
async fn the_history_of_one_job_is_requested() {
    let backend = FakeBackend::new(|request| match request.line.as_str() {
        line if line.starts_with("GET /history/done ") => {
            ok(r#"{"done":{"outputs":{"1":{"v":[NaN,-Infinity]}},"status":{"status_str":"success"}}}"#)
        }
        _ => ok("{}"),
    })
    .await;
    let client = backend.client();
    assert!(client.history("waiting/..?").await.unwrap().is_none());
    let entry = client.history("done").await.unwrap().unwrap();
    assert_eq!(entry.status, HistoryStatus::Success);
    assert_eq!(entry.outputs.raw().get(), r#"{"1":{"v":[null,null]}}"#);
    assert_eq!(backend.lines()[1], "GET /history/waiting%2F..%3F");
}

#[tokio::test]
async fn a_job_is_deleted_or_interrupted_by_its_id_and_memory_is_freed() {
    let backend = FakeBackend::new(|_| answer(200, "", "")).await;
    let client = backend.client();
    client.delete_queued("job").await.unwrap();
    client.interrupt("job").await.unwrap();
    client.free(true, false).await.unwrap();
    let sent: Vec<_> =
        backend.requests().iter().map(|request| (request.line.clone(), request.text())).collect();
    let expected = [
        ("POST /queue HTTP/1.1", r#"{"delete":["job"]}"#),
        ("POST /interrupt HTTP/1.1", r#"{"prompt_id":"job"}"#),
        ("POST /free HTTP/1.1", r#"{"unload_models":true,"free_memory":false}"#),
    ];
    assert_eq!(sent, expected.map(|(line, body)| (line.to_owned(), body.to_owned())));
}

#[tokio::test]
async fn a_backend_describes_itself_and_its_nodes() {
    let backend =
        FakeBackend::new(|_| ok(r#"{"KSampler":{"input":{"x":["FLOAT",{"max":Infinity}]}}}"#)).await;
    let client = backend.client();
    assert_eq!(client.system_stats().await.unwrap().version.as_deref(), Some("0.24.0"));
    let nodes = client.object_info().await.unwrap();
    assert_eq!(nodes.get(), r#"{"KSampler":{"input":{"x":["FLOAT",{"max":null}]}}}"#);
}
