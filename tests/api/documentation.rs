//! The API's own documentation, which loads nothing from elsewhere.

use serde_json::Value;

use crate::scene::Scene;

#[tokio::test]
async fn the_document_describes_every_route_and_answer() {
    let scene = Scene::new().await;
    let response = scene.gateway.get("/openapi.json").await;
    assert_eq!(response.headers()["content-type"], "application/json");
    let document: Value = response.json().await.unwrap();
    assert!(document["openapi"].as_str().unwrap().starts_with("3."));
    let paths = document["paths"].as_object().unwrap();
    for path in [
        "/execute",
        "/results",
        "/results/{prompt_id}",
        "/results/{prompt_id}/cancel",
        "/media/{prompt_id}/{file}",
        "/backends",
        "/healthz",
        "/readyz",
        "/metrics",
        "/openapi.yaml",
        "/openapi.json",
        "/docs",
    ] {
        assert!(paths.contains_key(path), "{path}");
    }
    let text = document.to_string();
    for kind in comfy_gateway::api::problem::KINDS.iter().filter(|kind| kind.code != "method_not_allowed") {
        assert!(text.contains(&format!("`{}`", kind.code)), "{} stands at no endpoint", kind.code);
    }
    let yaml = scene.gateway.get("/openapi.yaml").await;
    assert_eq!(yaml.headers()["content-type"], "application/yaml");
    assert!(yaml.text().await.unwrap().starts_with("openapi: "));
    scene.finish().await;
}

#[tokio::test]
async fn the_page_loads_nothing_from_elsewhere() {
    let scene = Scene::new().await;
    let response = scene.gateway.get("/docs").await;
    assert!(response.headers()["content-type"].to_str().unwrap().starts_with("text/html"));
    let policy = response.headers()["content-security-policy"].to_str().unwrap().to_owned();
    assert!(policy.contains("default-src 'none'") && !policy.contains("http"), "{policy}");
    let page = response.text().await.unwrap();
    assert!(!page.contains("http://") && !page.contains("https://") && !page.contains("//cdn"), "{page}");
    for attribute in page.split("src=\"").skip(1).chain(page.split("spec-url=\"").skip(1)) {
        let path = attribute.split('"').next().unwrap();
        let loaded = scene.gateway.get(&format!("/{path}")).await;
        assert_eq!(loaded.status(), 200, "{path}");
        assert!(!loaded.bytes().await.unwrap().is_empty());
    }
    scene.finish().await;
}
