//! Jobs that go well.

use crate::support::{Gateway, picture, simulator};

#[tokio::test]
async fn a_picture_comes_back_by_its_name_and_from_our_own_store() {
    let comfy = simulator().await;
    let gateway = Gateway::before(&[&comfy]).await;
    let result = gateway.run(picture(0xff_8800)).await;
    assert_eq!(result["status"], "completed", "{result:#}");
    let url = result["images_by_var"]["cover"][0].as_str().unwrap();
    assert!(url.starts_with(&gateway.base));
    comfy.crash().await;
    let bytes = gateway.http.get(url).send().await.unwrap().bytes().await.unwrap();
    assert!(bytes.starts_with(b"\x89PNG"));
    gateway.finish().await;
}
