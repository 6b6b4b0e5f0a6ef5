//! `/media`: whole files and byte ranges, with the headers that browsers rely on.

use reqwest::header::{ACCEPT_ENCODING, IF_RANGE, RANGE};
use reqwest::{Method, Response};
use serde_json::{Value, json};

use crate::scene::{Scene, refusal};
use crate::support::{picture, shows};

/// A job with one file of these bytes; the path of the file.
async fn stored(scene: &Scene, name: &str, bytes: &[u8]) -> String {
    std::fs::write(scene.comfy.output_directory().join(name), bytes).unwrap();
    let ui = json!({ "things": [{"filename": name, "subfolder": "", "type": "output"}] });
    path(&scene.gateway.run(shows(&ui)).await["media"][0]["url"], scene)
}

fn path(url: &Value, scene: &Scene) -> String {
    url.as_str().unwrap().strip_prefix(&scene.gateway.base).unwrap().to_owned()
}

fn header<'a>(response: &'a Response, name: &str) -> &'a str {
    response.headers().get(name).map_or("", |value| value.to_str().unwrap())
}

#[tokio::test]
async fn a_file_comes_with_its_true_type_and_may_be_kept_for_ever() {
    let scene = Scene::new().await;
    let result = scene.gateway.run(picture(1)).await;
    let media = &result["media"][0];
    let path = path(&media["url"], &scene);
    let response = scene.gateway.get(&path).await;
    assert_eq!(response.status(), 200);
    assert_eq!(header(&response, "content-type"), "image/png");
    assert_eq!(header(&response, "etag"), format!("\"{}\"", media["sha256"].as_str().unwrap()));
    assert_eq!(header(&response, "content-length"), media["bytes"].to_string());
    assert!(header(&response, "cache-control").contains("immutable"));
    assert_eq!(header(&response, "x-content-type-options"), "nosniff");
    assert_eq!(header(&response, "accept-ranges"), "bytes");
    assert_eq!(header(&response, "content-disposition"), "inline; filename=\"test_00001_.png\"");
    assert!(!header(&response, "x-request-id").is_empty());
    let head = scene.request(Method::HEAD, &path).send().await.unwrap();
    assert_eq!(
        (head.status().as_u16(), header(&head, "content-length")),
        (200, media["bytes"].to_string().as_str())
    );
    assert_eq!(header(&head, "etag"), header(&response, "etag"));
    assert_eq!(head.bytes().await.unwrap(), "");
    scene.finish().await;
}

#[tokio::test]
async fn a_name_in_any_script_is_given_back_as_it_can_be_saved() {
    let scene = Scene::new().await;
    let name = "日本の狐_00001_.png";
    let path = stored(&scene, name, b"\x89PNG\r\n\x1a\n").await;
    assert!(path.ends_with("/_00001_.png"), "{path}");
    let response = scene.gateway.get(&path).await;
    let encoded = "%E6%97%A5%E6%9C%AC%E3%81%AE%E7%8B%90_00001_.png";
    assert_eq!(
        header(&response, "content-disposition"),
        format!("inline; filename=\"_00001_.png\"; filename*=UTF-8''{encoded}")
    );
    let id = path.split('/').nth(2).unwrap();
    let result = scene.gateway.job(id).await;
    assert_eq!(result["media"][0]["filename"], name);
    let odd = "a\u{202e}b\"c.png";
    std::fs::create_dir_all(scene.comfy.output_directory().join("deep")).unwrap();
    std::fs::write(scene.comfy.output_directory().join("deep").join(odd), b"x").unwrap();
    let ui = json!({ "things": [{"filename": odd, "subfolder": "deep", "type": "output"}] });
    let result = scene.gateway.run(shows(&ui)).await;
    assert_eq!(result["media"][0]["filename"], "ab_c.png", "{result:#}");
    assert_eq!(result["outputs"]["1"]["things"][0]["filename"], odd, "outputs are verbatim");
    scene.finish().await;
}

#[tokio::test]
async fn what_calls_itself_a_picture_but_is_a_page_does_not_run_as_one() {
    let scene = Scene::new().await;
    let page = stored(&scene, "page.html", b"<!doctype html><script>alert(1)</script>").await;
    let response = scene.gateway.get(&page).await;
    assert!(header(&response, "content-disposition").starts_with("attachment"));
    assert!(header(&response, "content-security-policy").contains("sandbox"));
    scene.finish().await;
}

#[tokio::test]
async fn parts_of_a_file() {
    let scene = Scene::new().await;
    let bytes: Vec<u8> = (0..=255).collect();
    let path = stored(&scene, "bytes.bin", &bytes).await;
    for (range, from, to) in
        [("bytes=0-9", 0, 10), ("bytes=250-", 250, 256), ("bytes=-6", 250, 256), ("bytes=200-999", 200, 256)]
    {
        let response = scene.request(Method::GET, &path).header(RANGE, range).send().await.unwrap();
        assert_eq!(response.status(), 206, "{range}");
        assert_eq!(header(&response, "content-range"), format!("bytes {from}-{}/256", to - 1));
        assert_eq!(header(&response, "content-length"), (to - from).to_string());
        assert_eq!(response.bytes().await.unwrap(), &bytes[from..to], "{range}");
    }
    for range in ["bytes=0-1,4-5", "lines=1-2"] {
        let response = scene.request(Method::GET, &path).header(RANGE, range).send().await.unwrap();
        assert_eq!(
            (response.status().as_u16(), response.bytes().await.unwrap().len()),
            (200, 256),
            "{range}"
        );
    }
    scene.finish().await;
}

#[tokio::test]
async fn a_part_that_is_not_there() {
    let scene = Scene::new().await;
    let path = stored(&scene, "bytes.bin", &[7; 256]).await;
    for range in ["bytes=256-", "bytes=256-300", "bytes=-0"] {
        let request = scene.request(Method::GET, &path).header(RANGE, range);
        let refusal = scene.refused(request, 416, "range_not_satisfiable").await;
        assert_eq!(refusal.headers["content-range"], "bytes */256", "{range}");
        assert_eq!(refusal.body["limit"], 256);
    }
    for range in ["bytes=9-3", "bytes=x-y", "bytes=", "bytes=--5", "bytes=0-99999999999999999999"] {
        let whole = scene.request(Method::GET, &path).header(RANGE, range).send().await.unwrap();
        assert_eq!((whole.status().as_u16(), whole.content_length()), (200, Some(256)), "{range}");
    }
    let empty = stored(&scene, "empty.bin", b"").await;
    let response = scene.request(Method::GET, &empty).header(RANGE, "bytes=0-").send().await.unwrap();
    assert_eq!(refusal(response, 416, "range_not_satisfiable").await.headers["content-range"], "bytes */0");
    assert_eq!(scene.gateway.get(&empty).await.bytes().await.unwrap(), "");
    scene.finish().await;
}

#[tokio::test]
async fn a_range_of_another_version_gets_the_whole() {
    let scene = Scene::new().await;
    let path = stored(&scene, "bytes.bin", &[7; 256]).await;
    let etag = header(&scene.gateway.get(&path).await, "etag").to_owned();
    for (tag, status) in [(etag.as_str(), 206), ("\"other\"", 200), (&format!("W/{etag}"), 200)] {
        let request = scene.request(Method::GET, &path).header(RANGE, "bytes=0-9").header(IF_RANGE, tag);
        assert_eq!(request.send().await.unwrap().status(), status, "{tag}");
    }
    scene.finish().await;
}

#[tokio::test]
async fn a_file_that_did_not_change_is_not_sent_again() {
    let scene = Scene::new().await;
    let path = stored(&scene, "bytes.bin", &[7; 256]).await;
    let etag = header(&scene.gateway.get(&path).await, "etag").to_owned();
    for tag in [etag.clone(), format!("\"x\", {etag}"), format!("W/{etag}"), "*".to_owned()] {
        let response = scene.request(Method::GET, &path).header("if-none-match", &tag).send().await.unwrap();
        assert_eq!((response.status().as_u16(), header(&response, "etag")), (304, etag.as_str()), "{tag}");
        assert_eq!(response.bytes().await.unwrap(), "");
    }
    let response = scene.request(Method::GET, &path).header("if-none-match", "\"x\"").send().await.unwrap();
    assert_eq!(response.status(), 200);
    scene.finish().await;
}

#[tokio::test]
async fn only_what_shrinks_is_compressed() {
    let scene = Scene::new().await;
    let id = scene.gateway.run(picture(1)).await["prompt_id"].as_str().unwrap().to_owned();
    let image = path(&scene.gateway.job(&id).await["images"][0], &scene);
    let text = stored(&scene, "long.txt", "words ".repeat(1_000).as_bytes()).await;
    let coding = async |path: &str, range: Option<&str>| {
        let request = scene.request(Method::GET, path).header(ACCEPT_ENCODING, "gzip, br");
        let request = if let Some(range) = range { request.header(RANGE, range) } else { request };
        let response = request.send().await.unwrap();
        (response.status().as_u16(), header(&response, "content-encoding").to_owned())
    };
    let (status, json) = coding(&format!("/results/{id}"), None).await;
    assert!(status == 200 && !json.is_empty(), "JSON shrinks");
    let (_, page) = coding("/openapi.json", None).await;
    assert!(!page.is_empty());
    assert_eq!(coding(&image, None).await, (200, String::new()));
    assert_eq!(coding(&image, Some("bytes=0-9")).await, (206, String::new()));
    assert_eq!(
        coding(&text, Some("bytes=0-999")).await,
        (206, String::new()),
        "a part is of the plain bytes"
    );
    let film = stored(&scene, "film.mp4", &[b"\0\0\0\x18ftypmp42".as_slice(), &[0; 4_000]].concat()).await;
    assert_eq!(coding(&film, None).await, (200, String::new()));
    scene.finish().await;
}

#[tokio::test]
async fn a_file_that_the_job_does_not_have() {
    let scene = Scene::new().await;
    let path = stored(&scene, "bytes.bin", &[7; 9]).await;
    let other = path.replace("bytes.bin", "other.bin");
    scene.refused(scene.request(Method::GET, &other), 404, "not_found").await;
    scene.finish().await;
}
