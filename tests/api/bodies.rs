//! Bodies of `POST /execute` that are malformed, and fields with invalid values.

use std::time::Duration;

use reqwest::Method;
use reqwest::header::{CONTENT_ENCODING, CONTENT_TYPE};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;

use crate::scene::{Scene, plain, rest};

#[tokio::test]
async fn malformed_json() {
    let scene = Scene::new().await;
    let cases: [&[u8]; 10] = [
        b"",
        b"{",
        b"nonsense",
        b"{\"workflow\":{}",
        b"[]",
        b"null",
        b"7",
        b"\"x\"",
        b"{\"workflow\": {}} x",
        b"{\"a\":\"\xff\"}",
    ];
    for body in cases {
        let refusal = scene.refused(scene.execute(body.to_vec()), 400, "malformed_json").await;
        assert_eq!(refusal.body["retryable"], false);
    }
    let nan = scene.refused(scene.execute(r#"{"workflow": NaN}"#), 400, "malformed_json").await;
    assert!(nan.words().contains("line 1"), "it says where: {}", nan.words());
    scene.finish().await;
}

#[tokio::test]
async fn wrong_content_type() {
    let scene = Scene::new().await;
    let body = json!({ "workflow": plain() }).to_string();
    for given in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/mixed; boundary=x",
        "application/jsonp",
        "",
    ] {
        let request = scene.request(Method::POST, "/execute").header(CONTENT_TYPE, given).body(body.clone());
        let refusal = scene.refused(request, 415, "unsupported_media_type").await;
        assert!(refusal.words().contains("application/json"));
    }
    let without = scene.request(Method::POST, "/execute").body(body.clone());
    assert!(
        scene.refused(without, 415, "unsupported_media_type").await.words().contains("has no Content-Type")
    );
    for given in ["application/json", "Application/JSON; charset=utf-8", "application/vnd.mine+json"] {
        let request = scene.request(Method::POST, "/execute").header(CONTENT_TYPE, given).body(body.clone());
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), 202, "{given}");
        let id = answer.json::<Value>().await.unwrap()["prompt_id"].as_str().unwrap().to_owned();
        scene.gateway.result(&id).await;
    }
    scene.finish().await;
}

#[tokio::test]
async fn a_compressed_body() {
    let scene = Scene::new().await;
    let body = json!({ "workflow": plain() }).to_string();
    for coding in ["gzip", "br", "identity, GZIP"] {
        let json = scene.execute(body.clone()).header(CONTENT_ENCODING, coding);
        let form = reqwest::multipart::Form::new().text("request", body.clone());
        let form = scene.request(Method::POST, "/execute").header(CONTENT_ENCODING, coding).multipart(form);
        let registration =
            scene.request(Method::PUT, "/workflows/a").header(CONTENT_TYPE, "application/json");
        let registration = registration.header(CONTENT_ENCODING, coding).body(plain().to_string());
        for request in [json, form, registration] {
            let told = scene.refused(request, 415, "unsupported_media_type").await.words();
            assert!(told.contains("Content-Encoding") && told.contains("uncompressed"), "{told}");
        }
    }
    let answer = scene.execute(body).header(CONTENT_ENCODING, "identity").send().await.unwrap();
    assert_eq!(answer.status(), 202);
    let id = answer.json::<Value>().await.unwrap()["prompt_id"].as_str().unwrap().to_owned();
    scene.gateway.result(&id).await;
    scene.finish().await;
}

/// The head of a request to `/execute`, without its end.
const HEAD: &str =
    "POST /execute HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nConnection: close\r\n";

#[tokio::test]
async fn a_body_that_says_it_is_too_large_is_refused_before_it_is_sent() {
    let scene = Scene::with(|settings| settings.api.max_body = 10_000).await;
    let answer = scene.raw(format!("{HEAD}Content-Length: 9999999999\r\n\r\n{{").as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    assert!(answer.to_ascii_lowercase().contains("\r\nconnection: close\r\n"), "{answer}");
    assert!(answer.contains(r#""code":"body_too_large""#) && answer.contains(r#""limit":10000"#), "{answer}");
    scene.finish().await;
}

#[tokio::test]
async fn a_body_that_turns_out_too_large() {
    let scene = Scene::with(|settings| settings.api.max_body = 10_000).await;
    let chunk = format!("{:x}\r\n{}\r\n", 6_000, "x".repeat(6_000));
    let request = format!("{HEAD}Transfer-Encoding: chunked\r\n\r\n{chunk}{chunk}");
    let answer = scene.raw(request.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    let largest = format!(r#"{{"workflow":{},"metadata":{{"x":"{}"}}}}"#, plain(), "x".repeat(9_000));
    let id = scene.gateway.execute(&serde_json::from_str(&largest).unwrap()).await;
    scene.gateway.result(&id).await;
    let list: Value = scene.gateway.get("/results").await.json().await.unwrap();
    assert_eq!(list["results"].as_array().unwrap().len(), 1);
    scene.finish().await;
}

#[tokio::test]
async fn a_body_that_never_arrives() {
    let scene = Scene::with(|settings| settings.api.body_timeout = Duration::from_millis(200)).await;
    let mut stream = scene.connect().await;
    stream.write_all(format!("{HEAD}Content-Length: 100\r\n\r\n{{").as_bytes()).await.unwrap();
    let answer = rest(&mut stream).await;
    assert!(
        answer.starts_with("HTTP/1.1 408 ") && answer.contains(r#""code":"request_timeout""#),
        "{answer}"
    );
    scene.finish().await;
}

#[tokio::test]
async fn a_client_that_leaves_in_the_middle_of_its_body_leaves_no_job() {
    let scene = Scene::new().await;
    let mut stream = scene.connect().await;
    stream.write_all(format!("{HEAD}Content-Length: 100\r\n\r\n{{\"workflow\":").as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    rest(&mut stream).await;
    let list: Value = scene.gateway.get("/results").await.json().await.unwrap();
    assert_eq!(list["results"], json!([]));
    scene.finish().await;
}

#[tokio::test]
async fn an_unknown_field_names_the_nearest() {
    let scene = Scene::new().await;
    let refusal =
        scene.refused_body(&json!({ "workflow": plain(), "parms": {} }), 422, "invalid_request").await;
    assert_eq!(refusal.pointers(), ["/parms"]);
    assert!(refusal.words().contains("did you mean \"params\""), "{}", refusal.words());
    let refusal =
        scene.refused_body(&json!({ "workflow": plain(), "a/b~c": 1 }), 422, "invalid_request").await;
    assert_eq!(refusal.pointers(), ["/a~1b~0c"]);
    assert!(refusal.words().contains("workflow, params"), "it lists the known ones: {}", refusal.words());
    scene.finish().await;
}

#[tokio::test]
async fn numbers_out_of_their_range() {
    let scene = Scene::new().await;
    let cases = [
        ("priority", json!([-1, 1001, 1e300, 1.5, "5", true, [], 99_999_999_999_i64])),
        (
            "timeout",
            json!([0, -1, 1e300, 86_401, "5", true, {}, 1e-9, 86_400.000_000_000_1, 0.000_999_999_999_9]),
        ),
        ("queue_timeout", json!([0, -0.5, 1e300, 86400.5, "5", false, []])),
    ];
    for (field, values) in cases {
        for value in values.as_array().unwrap() {
            let body = json!({ "workflow": plain(), field: value });
            let refusal = scene.refused_body(&body, 422, "invalid_request").await;
            assert_eq!(refusal.pointers(), [format!("/{field}")], "{value}");
            assert!(refusal.words().contains(field), "{}", refusal.words());
        }
    }
    let huge = format!(r#"{{"workflow":{},"timeout":1{}}}"#, plain(), "0".repeat(400));
    let refusal = scene.refused(scene.execute(huge), 400, "malformed_json").await;
    assert!(refusal.body["detail"].as_str().unwrap().contains("the number 1000"), "{:#}", refusal.body);
    for (field, value) in [("priority", 1000.0), ("timeout", 86400.0), ("queue_timeout", 0.5)] {
        let value = if field == "priority" { json!(1000) } else { json!(value) };
        let id = scene.gateway.execute(&json!({ "workflow": plain(), field: value })).await;
        scene.gateway.result(&id).await;
    }
    scene.finish().await;
}

#[tokio::test]
async fn metadata_that_is_no_object_or_too_much() {
    let scene = Scene::new().await;
    let deep = (0..40).fold(json!(1), |inner, _| json!({ "a": inner }));
    for metadata in [json!([]), json!("x"), json!(7), json!({ "x": "y".repeat(70_000) }), deep] {
        let body = json!({ "workflow": plain(), "metadata": metadata });
        let refusal = scene.refused_body(&body, 422, "invalid_request").await;
        assert_eq!(refusal.pointers(), ["/metadata"]);
    }
    scene.finish().await;
}

#[tokio::test]
async fn all_faults_are_told_at_once() {
    let scene = Scene::new().await;
    let body =
        json!({ "params": 7, "priority": -1, "timeout": 0, "queue_timeout": "x", "metadata": [], "hook": 1 });
    let refusal = scene.refused_body(&body, 422, "invalid_request").await;
    let mut pointers = refusal.pointers();
    pointers.sort_unstable();
    assert_eq!(
        pointers,
        ["/hook", "/metadata", "/params", "/priority", "/queue_timeout", "/timeout", "/workflow"]
    );
    assert!(refusal.body["detail"].as_str().unwrap().contains("6 more"), "{:#}", refusal.body);
    scene.finish().await;
}

#[tokio::test]
async fn fields_that_are_null_count_as_not_given() {
    let scene = Scene::new().await;
    let body = json!({ "workflow": plain(), "params": null, "priority": null, "timeout": null, "queue_timeout": null, "metadata": null });
    let id = scene.gateway.execute(&body).await;
    assert_eq!(scene.gateway.result(&id).await["metadata"], json!({}));
    scene.refused_body(&json!({ "workflow": null }), 422, "invalid_request").await;
    scene.finish().await;
}

#[tokio::test]
async fn a_full_queue_says_so_and_when_to_come_again() {
    let scene = Scene::with(|settings| settings.service.max_queued = 2).await;
    scene.comfy.crash().await;
    scene.until_readiness(503).await;
    let waiting = [scene.gateway.submit(plain()).await, scene.gateway.submit(plain()).await];
    let refusal = scene.refused_body(&json!({ "workflow": plain() }), 503, "queue_full").await;
    assert_eq!((&refusal.body["limit"], &refusal.body["retryable"]), (&json!(2), &json!(true)));
    assert!(refusal.headers["retry-after"].to_str().unwrap().parse::<u64>().unwrap() > 0);
    for id in waiting {
        scene.gateway.cancel(&id).await;
    }
    scene.finish().await;
}
