//! Absolute URLs: they use the configured public URL, or else the host of the request.

use reqwest::Method;
use serde_json::Value;

use crate::scene::Scene;
use crate::support::picture;

async fn image(scene: &Scene, id: &str, host: &str) -> String {
    let request = scene.request(Method::GET, &format!("/results/{id}")).header("host", host);
    let body: Value = request.send().await.unwrap().json().await.unwrap();
    assert_eq!(body["images"][0], body["media"][0]["url"]);
    body["images"][0].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn urls_point_where_the_request_was_sent() {
    let scene = Scene::new().await;
    let id = scene.gateway.run(picture(1)).await["prompt_id"].as_str().unwrap().to_owned();
    for host in ["gateway.example", "gateway.example:8080", "[::1]:8080", "10.0.0.7"] {
        assert_eq!(image(&scene, &id, host).await, format!("http://{host}/media/{id}/test_00001_.png"));
    }
    assert_eq!(image(&scene, &id, "evil\"><script>").await, format!("/media/{id}/test_00001_.png"));
    scene.finish().await;
}

#[tokio::test]
async fn urls_point_at_the_configured_address_when_there_is_one() {
    let scene =
        Scene::with(|settings| settings.public_url = Some("https://art.example/gw/".parse().unwrap())).await;
    let id = scene.gateway.run(picture(1)).await["prompt_id"].as_str().unwrap().to_owned();
    assert_eq!(
        image(&scene, &id, "elsewhere").await,
        format!("https://art.example/gw/media/{id}/test_00001_.png")
    );
    scene.finish().await;
}
