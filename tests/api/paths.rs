//! Unknown ids, queries, routes and methods, and paths that try to escape the media folder.

use reqwest::Method;
use serde_json::{Value, json};

use crate::scene::{Scene, plain};

/// An id that no job has.
const NOBODY: &str = "0198c1c2-7d1e-7abc-8def-0123456789ab";

#[tokio::test]
async fn a_prompt_id_that_is_no_uuid() {
    let scene = Scene::new().await;
    for id in [
        "x",
        "7",
        "0198c1c27d1e7abc8def0123456789ab",
        "%7B0198c1c2-7d1e-7abc-8def-0123456789ab%7D",
        "..%2f..",
        "%ff",
        "%00",
        "'%20OR%201=1",
    ] {
        for (method, path) in [
            (Method::GET, format!("/results/{id}")),
            (Method::DELETE, format!("/results/{id}")),
            (Method::POST, format!("/results/{id}/cancel")),
            (Method::GET, format!("/media/{id}/x.png")),
        ] {
            let refusal = scene.refused(scene.request(method, &path), 400, "invalid_prompt_id").await;
            assert!(refusal.words().contains("UUID"), "{path}");
        }
    }
    scene.finish().await;
}

#[tokio::test]
async fn an_id_that_no_job_has() {
    let scene = Scene::new().await;
    for (method, path) in [
        (Method::GET, format!("/results/{NOBODY}")),
        (Method::GET, format!("/results/{NOBODY}?wait=30")),
        (Method::DELETE, format!("/results/{NOBODY}")),
        (Method::POST, format!("/results/{NOBODY}/cancel")),
        (Method::GET, format!("/media/{NOBODY}/x.png")),
    ] {
        scene.refused(scene.request(method, &path), 404, "not_found").await;
    }
    scene.finish().await;
}

#[tokio::test]
async fn an_id_in_capitals_is_the_same_job() {
    let scene = Scene::new().await;
    let id = scene.gateway.submit(plain()).await;
    assert_eq!(scene.gateway.result(&id.to_uppercase()).await["prompt_id"], id);
    scene.finish().await;
}

#[tokio::test]
async fn query_parameters_that_are_wrong_or_unknown() {
    let scene = Scene::new().await;
    let cases = [
        ("/results?limit=0", "limit"),
        ("/results?limit=101", "limit"),
        ("/results?limit=x", "limit"),
        ("/results?limit=-1", "limit"),
        ("/results?status=done", "status"),
        ("/results?status=", "status"),
        ("/results?status=Queued", "status"),
        ("/results?cursor=5", "cursor"),
        ("/results?cursor=cxyz", "cursor"),
        ("/results?cursor=", "cursor"),
        ("/results?cursor=cffffffffffffffffff", "cursor"),
        ("/results?stat=queued", "stat"),
        ("/results?limit=5&limit=6", "limit"),
        ("/results/0198c1c2-7d1e-7abc-8def-0123456789ab?wait=-1", "wait"),
        ("/results/0198c1c2-7d1e-7abc-8def-0123456789ab?wait=long", "wait"),
        ("/results/0198c1c2-7d1e-7abc-8def-0123456789ab?wait=NaN", "wait"),
        ("/results/0198c1c2-7d1e-7abc-8def-0123456789ab?wiat=3", "wiat"),
    ];
    for (path, parameter) in cases {
        let refusal = scene.refused(scene.request(Method::GET, path), 400, "invalid_query").await;
        assert_eq!(refusal.pointers(), [parameter], "{path}");
    }
    let near = scene.refused(scene.request(Method::GET, "/results?stat=queued"), 400, "invalid_query").await;
    assert!(near.words().contains("did you mean \"status\""), "{}", near.words());
    let all = scene.request(Method::GET, "/results?limit=0&status=x&cursor=y&z=1");
    assert_eq!(scene.refused(all, 400, "invalid_query").await.pointers().len(), 4);
    scene.finish().await;
}

#[tokio::test]
async fn an_unknown_route() {
    let scene = Scene::new().await;
    for path in [
        "/",
        "/result",
        "/results/",
        "/execute/",
        "/media",
        "/media/x",
        "/a/b/c/d",
        "/%2e%2e/etc/passwd",
        "/api/prompt",
    ] {
        let refusal = scene.refused(scene.request(Method::GET, path), 404, "not_found").await;
        assert!(refusal.words().contains("/docs"), "{path}: {}", refusal.words());
    }
    scene.finish().await;
}

#[tokio::test]
async fn a_method_that_a_path_does_not_take() {
    let scene = Scene::new().await;
    let job = format!("/results/{NOBODY}");
    for (method, path, allowed) in [
        (Method::GET, "/execute".to_owned(), vec!["POST"]),
        (Method::PUT, "/results".to_owned(), vec!["GET", "HEAD"]),
        (Method::PATCH, job.clone(), vec!["DELETE", "GET", "HEAD"]),
        (Method::GET, format!("{job}/cancel"), vec!["POST"]),
        (Method::POST, format!("/media/{NOBODY}/x.png"), vec!["GET", "HEAD"]),
        (Method::DELETE, "/healthz".to_owned(), vec!["GET", "HEAD"]),
    ] {
        let refusal = scene.refused(scene.request(method, &path), 405, "method_not_allowed").await;
        let mut allow: Vec<&str> =
            refusal.headers["allow"].to_str().unwrap().split(',').map(str::trim).collect();
        allow.sort_unstable();
        assert_eq!(allow, allowed, "{path}");
    }
    scene.finish().await;
}

#[tokio::test]
async fn paths_that_try_to_get_out_of_the_media_store() {
    let scene = Scene::new().await;
    let id = scene.gateway.submit(plain()).await;
    scene.gateway.result(&id).await;
    for file in [
        "../../gateway.db",
        "..%2f..%2fgateway.db",
        "..%2F..%2Fgateway.db",
        "%2e%2e%2f%2e%2e%2fgateway.db",
        "..%5c..%5cgateway.db",
        "..",
        "%2e%2e",
        ".",
        "%2fetc%2fpasswd",
        "//etc/passwd",
        "x%00.png",
        "..;/gateway.db",
        "%252e%252e%252fgateway.db",
        "gateway.db",
        "..%c0%af..%c0%afgateway.db",
        "%E2%80%A6%2f",
        "a%0d%0aX-Evil:%201",
    ] {
        let request = format!("GET /media/{id}/{file} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        let answer = scene.raw(request.as_bytes()).await;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 404 ") || head.starts_with("HTTP/1.1 400 "), "{file}: {answer}");
        assert!(
            !body.contains("SQLite") && !body.contains("root:") && !head.contains("X-Evil"),
            "{file}: {answer}"
        );
        assert!(head.contains("application/problem+json"), "{file}: {answer}");
    }
    for path in [
        format!("/media/../media/{id}/x"),
        "/media/..%2f..%2fgateway.db/x".to_owned(),
        "/docs/../../x".to_owned(),
    ] {
        let answer = scene
            .raw(format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes())
            .await;
        assert!(
            answer.starts_with("HTTP/1.1 404 ") || answer.starts_with("HTTP/1.1 400 "),
            "{path}: {answer}"
        );
    }
    scene.finish().await;
}

#[tokio::test]
async fn a_deleted_job_is_gone_and_an_unfinished_one_cannot_be_deleted() {
    let scene = Scene::new().await;
    let id = scene.gateway.submit(crate::support::hold("a")).await;
    scene.comfy.holding("a").await;
    let delete = || scene.request(Method::DELETE, &format!("/results/{id}"));
    let refusal = scene.refused(delete(), 409, "unfinished").await;
    assert!(refusal.headers.contains_key("retry-after"));
    scene.comfy.release("a");
    scene.gateway.result(&id).await;
    let answer = delete().send().await.unwrap();
    assert_eq!((answer.status().as_u16(), answer.text().await.unwrap().as_str()), (204, ""));
    for (method, path) in [
        (Method::GET, format!("/results/{id}")),
        (Method::GET, format!("/results/{id}?wait=30")),
        (Method::DELETE, format!("/results/{id}")),
        (Method::POST, format!("/results/{id}/cancel")),
        (Method::GET, format!("/media/{id}/x.png")),
    ] {
        scene.refused(scene.request(method, &path), 410, "gone").await;
    }
    let list: Value = scene.gateway.get("/results").await.json().await.unwrap();
    assert_eq!(list["results"], json!([]));
    scene.finish().await;
}
