//! Entity tags of results, and ids of requests.

use reqwest::Method;

use crate::scene::{Scene, plain};
use crate::support::hold;

#[tokio::test]
async fn a_result_that_did_not_change_is_not_sent_again() {
    let scene = Scene::new().await;
    let id = scene.gateway.submit(plain()).await;
    scene.gateway.result(&id).await;
    let path = format!("/results/{id}");
    let first = scene.gateway.get(&path).await;
    let etag = first.headers()["etag"].to_str().unwrap().to_owned();
    assert!(etag.starts_with('"'), "a strong tag: {etag}");
    let again = scene.request(Method::GET, &path).header("if-none-match", &etag).send().await.unwrap();
    assert_eq!((again.status().as_u16(), again.headers()["etag"].to_str().unwrap()), (304, etag.as_str()));
    assert_eq!(again.bytes().await.unwrap(), "");
    let other = scene.request(Method::GET, &path).header("if-none-match", "\"x\"").send().await.unwrap();
    assert_eq!(other.status(), 200);
    let head = scene.request(Method::HEAD, &path).send().await.unwrap();
    assert_eq!((head.status().as_u16(), head.headers()["etag"].to_str().unwrap()), (200, etag.as_str()));
    scene.finish().await;
}

#[tokio::test]
async fn the_tag_changes_with_the_job() {
    let scene = Scene::new().await;
    let id = scene.gateway.submit(hold("a")).await;
    scene.comfy.holding("a").await;
    let path = format!("/results/{id}");
    let running = scene.gateway.get(&path).await.headers()["etag"].clone();
    scene.comfy.release("a");
    scene.gateway.result(&id).await;
    let done =
        scene.request(Method::GET, &path).header("if-none-match", running.clone()).send().await.unwrap();
    assert_eq!(done.status(), 200);
    assert_ne!(done.headers()["etag"], running);
    scene.finish().await;
}

#[tokio::test]
async fn a_requests_id_is_the_callers_own_if_it_is_plain() {
    let scene = Scene::new().await;
    let ask = async |id: &str| {
        let response =
            scene.request(Method::GET, "/healthz").header("x-request-id", id).send().await.unwrap();
        response.headers()["x-request-id"].to_str().unwrap().to_owned()
    };
    assert_eq!(ask("my-id_1.2:3").await, "my-id_1.2:3");
    for odd in ["a b", "", "<script>", &"x".repeat(129)] {
        let given = ask(odd).await;
        assert_eq!(given.len(), 36, "{odd} became {given}");
    }
    let (one, two) = (scene.gateway.get("/healthz").await, scene.gateway.get("/healthz").await);
    assert_ne!(one.headers()["x-request-id"], two.headers()["x-request-id"]);
    scene.finish().await;
}
