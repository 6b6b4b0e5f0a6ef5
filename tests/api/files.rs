//! `/files`: uploads and downloads have the same bytes, and an incomplete upload leaves no file behind.

use comfy_gateway::fetch::AllowList;
use reqwest::header::RANGE;
use reqwest::multipart::{Form, Part};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;

use crate::scene::{Scene, refusal, rest};
use crate::support::png;

fn part(bytes: impl Into<std::borrow::Cow<'static, [u8]>>, filename: &str) -> Part {
    Part::bytes(bytes).file_name(filename.to_owned())
}

fn upload(scene: &Scene, form: Form) -> RequestBuilder {
    scene.request(Method::POST, "/files").multipart(form)
}

async fn uploaded(scene: &Scene, bytes: &'static [u8], filename: &str) -> Value {
    let answer = upload(scene, Form::new().part("any", part(bytes, filename))).send().await.unwrap();
    assert_eq!(answer.status(), 201);
    answer.json().await.unwrap()
}

/// The numbers of files that are being received, and of files that are stored.
fn file_counts(scene: &Scene) -> (usize, usize) {
    let media = scene.gateway.data.path().join("media");
    let files = |folder: &str| std::fs::read_dir(media.join(folder)).map_or(0, Iterator::count);
    (files("incoming"), files("inputs"))
}

/// What a client sends that says it sends that many bytes.
fn head(length: usize) -> String {
    format!(
        "POST /files HTTP/1.1\r\nhost: x\r\ncontent-type: multipart/form-data; boundary=B\r\ncontent-length: {length}\r\n\r\n"
    )
}

const BEGINNING: &str =
    "--B\r\ncontent-disposition: form-data; name=\"file\"; filename=\"a.txt\"\r\n\r\nhalf of a";

#[tokio::test]
async fn a_file_goes_in_and_comes_out_whole_and_in_parts() {
    let scene = Scene::new().await;
    let answer = upload(&scene, Form::new().part("photo", part(png([1, 2, 3]), "../me & you.jpeg")))
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 201);
    let location = answer.headers()["location"].to_str().unwrap().to_owned();
    let file: Value = answer.json().await.unwrap();
    assert_eq!(location, format!("/files/{}", file["file"].as_str().unwrap()));
    assert_eq!(file["url"], format!("{}{location}", scene.gateway.base));
    // By its content, whatever its name says.
    assert_eq!((&file["content_type"], &file["filename"]), (&json!("image/png"), &json!("me & you.jpeg")));
    assert_eq!(file["bytes"], png([1, 2, 3]).len());
    assert!(file["expires_at"].is_string() && file["created_at"].is_string());

    let whole = scene.gateway.get(&location).await;
    assert_eq!(whole.headers()["content-type"], "image/png");
    assert_eq!(whole.headers()["etag"], format!("\"{}\"", file["sha256"].as_str().unwrap()));
    assert!(whole.headers()["cache-control"].to_str().unwrap().contains("private"));
    assert_eq!(
        whole.headers()["content-disposition"],
        "inline; filename=\"me_you.jpeg\"; filename*=UTF-8''me%20&%20you.jpeg"
    );
    assert_eq!(whole.bytes().await.unwrap(), png([1, 2, 3]));
    let some = scene.request(Method::GET, &location).header(RANGE, "bytes=1-3").send().await.unwrap();
    assert_eq!((some.status().as_u16(), some.bytes().await.unwrap().as_ref()), (206, b"PNG".as_slice()));
    let unchanged = scene
        .request(Method::GET, &location)
        .header("if-none-match", format!("\"{}\"", file["sha256"].as_str().unwrap()));
    assert_eq!(unchanged.send().await.unwrap().status(), 304);
    scene.finish().await;
}

#[tokio::test]
async fn the_same_bytes_are_stored_once_and_known_by_two_ids() {
    let scene = Scene::new().await;
    let (one, two) = (uploaded(&scene, b"same", "a.txt").await, uploaded(&scene, b"same", "b.txt").await);
    assert_ne!(one["file"], two["file"]);
    assert_eq!((&one["sha256"], file_counts(&scene)), (&two["sha256"], (0, 1)));
    let path = |file: &Value| format!("/files/{}", file["file"].as_str().unwrap());
    assert_eq!(scene.request(Method::DELETE, &path(&one)).send().await.unwrap().status(), 204);
    refusal(scene.gateway.get(&path(&one)).await, 404, "not_found").await;
    assert_eq!(scene.gateway.get(&path(&two)).await.bytes().await.unwrap(), "same");
    scene.refused(scene.request(Method::DELETE, &path(&one)), 404, "not_found").await;
    scene.finish().await;
}

#[tokio::test]
async fn what_is_no_form_with_one_file_is_refused() {
    let scene = Scene::new().await;
    for given in ["application/json", "image/png", ""] {
        let request = scene.request(Method::POST, "/files").header("content-type", given).body("{}");
        let told = scene.refused(request, 415, "unsupported_media_type").await;
        assert!(told.words().contains("multipart/form-data"), "{}", told.words());
    }
    let empty =
        scene.request(Method::POST, "/files").header("content-type", "multipart/form-data; boundary=B");
    scene.refused(empty.body("--B--\r\n"), 422, "invalid_request").await;
    let two = Form::new().part("a", part(b"a".as_slice(), "a")).part("b", part(b"b".as_slice(), "b"));
    assert!(scene.refused(upload(&scene, two), 422, "invalid_request").await.words().contains("one file"));
    for (kind, body) in [
        ("multipart/form-data", "--B--\r\n"),
        ("multipart/form-data; boundary=B", "no form at all"),
        ("multipart/form-data; boundary=B", BEGINNING),
    ] {
        let request = scene.request(Method::POST, "/files").header("content-type", kind).body(body);
        scene.refused(request, 400, "malformed_form").await;
    }
    assert_eq!(file_counts(&scene), (0, 0));
    scene.finish().await;
}

#[tokio::test]
async fn a_file_that_is_too_large_names_the_limit() {
    let scene = Scene::with(|settings| settings.service.max_file = 1_000).await;
    let exact = Form::new().part("a", part(vec![7; 1_000], "a"));
    assert_eq!(upload(&scene, exact).send().await.unwrap().status(), 201);
    let over = Form::new().part("a", part(vec![8; 1_001], "a"));
    let told = scene.refused(upload(&scene, over), 413, "body_too_large").await;
    assert_eq!(told.body["limit"], 1_000);
    assert!(told.words().contains("max_file"), "{}", told.words());
    assert_eq!(file_counts(&scene), (0, 1));
    scene.finish().await;
}

/// A client that sends all before it looks for an answer gets one, and not a broken connection.
#[tokio::test]
async fn a_large_form_that_is_refused_at_its_beginning_is_heard_out() {
    let scene = Scene::with(|settings| settings.service.max_file = 10).await;
    let body = format!("{BEGINNING}{}\r\n--B--\r\n", "x".repeat(20 << 20));
    let mut stream = scene.connect().await;
    stream.write_all(format!("{}{body}", head(body.len())).as_bytes()).await.unwrap();
    let answer = rest(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 413") && answer.contains("max_file"), "{answer}");
    assert_eq!(file_counts(&scene), (0, 0));
    scene.finish().await;
}

#[tokio::test]
async fn an_upload_that_breaks_off_leaves_nothing() {
    let scene = Scene::new().await;
    let mut stream = scene.connect().await;
    stream.write_all(format!("{}{BEGINNING}", head(5_000)).as_bytes()).await.unwrap();
    // It has arrived: the file is being written.
    crate::scene::poll_until(|| async { file_counts(&scene).0 > 0 }).await;
    drop(stream);
    crate::scene::poll_until(|| async { file_counts(&scene).0 == 0 }).await;
    assert_eq!(file_counts(&scene), (0, 0));
    scene.finish().await;
}

#[tokio::test]
async fn a_length_that_is_wrong_is_noticed() {
    let scene = Scene::new().await;
    let body = format!("{BEGINNING}\r\n--B--\r\n");
    // Shorter than what comes: the form has no end.
    let mut stream = scene.connect().await;
    stream.write_all(format!("{}{body}", head(BEGINNING.len())).as_bytes()).await.unwrap();
    assert!(rest(&mut stream).await.contains("malformed_form"));
    assert_eq!(file_counts(&scene), (0, 0));
    scene.finish().await;
}

#[tokio::test]
async fn an_upload_that_stalls_is_given_up() {
    let scene =
        Scene::with(|settings| settings.server.pace.window = std::time::Duration::from_millis(50)).await;
    let mut stream = scene.connect().await;
    stream.write_all(format!("{}{BEGINNING}", head(5_000)).as_bytes()).await.unwrap();
    let answer = rest(&mut stream).await;
    assert!(answer.contains("request_timeout") && answer.starts_with("HTTP/1.1 408"), "{answer}");
    assert_eq!(file_counts(&scene), (0, 0));
    scene.finish().await;
}

#[tokio::test]
async fn a_disk_that_takes_no_file_is_the_gateways_fault_and_may_pass() {
    let scene = Scene::new().await;
    // A file where its folder should be: every write fails, for whichever user the test runs as.
    let incoming = scene.gateway.data.path().join("media/incoming");
    std::fs::remove_dir(&incoming).unwrap();
    std::fs::write(&incoming, "in the way").unwrap();
    let told = scene
        .refused(
            upload(&scene, Form::new().part("a", part(b"x".as_slice(), "a"))),
            503,
            "storage_unavailable",
        )
        .await;
    assert_eq!((&told.body["retryable"], told.headers.contains_key("retry-after")), (&json!(true), true));
    let body = json!({ "workflow": loads(), "params": {"photo": "data:;base64,AAEC"} });
    scene.refused_body(&body, 503, "storage_unavailable").await;
    std::fs::remove_file(&incoming).unwrap();
    std::fs::create_dir(&incoming).unwrap();
    uploaded(&scene, b"x", "a").await;
    scene.finish().await;
}

/// A picture of the required parameter `photo`, and a text that is no file.
fn loads() -> Value {
    json!({
        "1": {"class_type": "LoadImage", "inputs": {"image": "none.png"}, "_meta": {"title": "$photo.image!"}},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "x"}, "_meta": {"title": "$name.filename_prefix"}}
    })
}

#[tokio::test]
async fn files_that_cannot_be_had_are_refused_before_anything_is_queued() {
    let scene = Scene::with(|settings| settings.fetch_allow = AllowList::default()).await;
    let unknown = "0198c1c2-7d1e-7abc-8def-0123456789ab";
    let running = scene.gateway.submit(crate::support::hold("x")).await;
    scene.comfy.holding("x").await;
    scene.gateway.until(&running, |body| body["status"] == "running").await;
    for (photo, why) in [
        (json!({ "file": unknown }), "never uploaded"),
        (json!({ "result": unknown, "var": "cover" }), "does not exist"),
        (json!({ "result": running }), "has not ended yet"),
        (json!(format!("/media/{unknown}/a.png")), "does not exist"),
        (json!({ "base64": "not base64!" }), "not valid base64"),
        (json!("data:image/png,plain"), "not base64"),
        (json!("http://127.0.0.1:9/x?token=secret"), "cannot be fetched"),
        (json!("http://169.254.169.254/latest/meta-data"), "cannot be fetched"),
        (json!("http://user:secret@example.com/x"), "cannot be fetched"),
        (json!("file:///etc/passwd"), "no other scheme"),
    ] {
        let body = json!({ "workflow": loads(), "params": {"photo": photo} });
        let refusal = scene.refused_body(&body, 422, "invalid_params").await;
        assert_eq!(refusal.pointers(), ["/params/photo"], "{photo}");
        assert!(refusal.words().contains(why), "{photo}: {}", refusal.words());
        assert!(!refusal.words().contains("secret"), "{}", refusal.words());
    }
    scene.comfy.release("x");
    let ended = scene.gateway.result(&running).await;
    for (photo, why) in [
        (json!({ "result": ended["prompt_id"] }), "has 0"),
        (json!({ "result": ended["prompt_id"], "var": "cover" }), "files of \"cover\""),
        (json!(format!("{}/media/{running}/none.png", scene.gateway.base)), "does not have"),
    ] {
        let body = json!({ "workflow": loads(), "params": {"photo": photo} });
        let refusal = scene.refused_body(&body, 422, "invalid_params").await;
        assert!(refusal.words().contains(why), "{photo}: {}", refusal.words());
    }
    assert_eq!(file_counts(&scene), (0, 0));
    scene.finish().await;
}

#[tokio::test]
async fn of_several_faulty_files_each_is_told_and_the_good_ones_are_not_kept() {
    let scene = Scene::with(|settings| settings.service.max_file = 4).await;
    let mut workflow = loads();
    workflow["3"] = json!({"class_type": "LoadImage", "inputs": {"image": "x"}, "_meta": {"title": "$photo.image!, $other.image"}});
    let photos = json!(["data:;base64,AAEC", "data:;base64,AAECAwQF"]);
    let body = json!({ "workflow": workflow, "params": {"photo": photos, "other": {"base64": "*"}} });
    let told = scene.refused_body(&body, 422, "invalid_params").await;
    assert_eq!(told.pointers(), ["/params/photo/1", "/params/other"]);
    assert!(told.words().contains("max_file"), "{}", told.words());
    assert_eq!(file_counts(&scene), (0, 0));
    scene.finish().await;
}

#[tokio::test]
async fn what_no_server_can_run_is_refused_before_its_files_are_kept() {
    let scene = Scene::new().await;
    let made = scene.gateway.run(crate::support::picture(1)).await;
    let mut workflow = loads();
    workflow["1"]["class_type"] = json!("LoadImage");
    workflow["2"]["inputs"]["images"] = json!(["1", 7]);
    let photo = json!("data:;base64,AAEC");
    let unfit = json!({ "workflow": workflow, "params": {"photo": photo} });
    scene.refused_body(&unfit, 422, "invalid_workflow").await;
    // And one good file does not stay behind when another is not to be had.
    let mut workflow = loads();
    workflow["3"] =
        json!({"class_type": "LoadImage", "inputs": {"image": "x"}, "_meta": {"title": "$photo.image!"}});
    let photos = json!([{ "result": made["prompt_id"] }, { "file": "0198c1c2-7d1e-7abc-8def-0123456789ab" }]);
    let body = json!({ "workflow": workflow, "params": {"photo": photos} });
    assert_eq!(scene.refused_body(&body, 422, "invalid_params").await.pointers(), ["/params/photo/1"]);
    assert_eq!(file_counts(&scene), (0, 0));
    scene.finish().await;
}

#[tokio::test]
async fn more_files_than_a_job_may_have() {
    let scene = Scene::with(|settings| settings.service.max_inputs = 1).await;
    let mut workflow = loads();
    workflow["3"] =
        json!({"class_type": "LoadImage", "inputs": {"image": "x"}, "_meta": {"title": "$photo.image!"}});
    let body = json!({ "workflow": workflow, "params": {"photo": ["a.png", "b.png"]} });
    let told = scene.refused_body(&body, 422, "invalid_params").await;
    assert!(told.words().contains("max_inputs"), "{}", told.words());
    scene.finish().await;
}

#[tokio::test]
async fn the_head_of_a_file_is_that_of_the_file_and_tags_and_ranges_go_together() {
    let scene = Scene::new().await;
    let file = uploaded(&scene, b"0123456789", "digits.txt").await;
    let path = format!("/files/{}", file["file"].as_str().unwrap());
    let tag = format!("\"{}\"", file["sha256"].as_str().unwrap());
    let whole = scene.gateway.get(&path).await;
    let head = scene.request(Method::HEAD, &path).send().await.unwrap();
    assert_eq!(head.status(), 200);
    for name in
        ["content-length", "content-type", "etag", "accept-ranges", "cache-control", "content-disposition"]
    {
        assert_eq!(head.headers().get(name), whole.headers().get(name), "{name}");
    }
    assert_eq!(head.headers()["content-length"], "10");
    assert_eq!(head.bytes().await.unwrap().len(), 0);
    // What a browser sends to go on with a download that broke off.
    for (header, value, range, status, body) in [
        ("if-range", tag.as_str(), "bytes=4-", 206, "456789"),
        ("if-range", "\"another\"", "bytes=4-", 200, "0123456789"),
        ("if-none-match", tag.as_str(), "bytes=4-", 304, ""),
        ("if-none-match", "\"another\"", "bytes=-2", 206, "89"),
        ("if-none-match", "*", "bytes=0-0", 304, ""),
    ] {
        let asked = scene.request(Method::GET, &path).header(header, value).header(RANGE, range);
        let answer = asked.send().await.unwrap();
        assert_eq!(
            (answer.status().as_u16(), answer.text().await.unwrap().as_str()),
            (status, body),
            "{header}: {value}"
        );
    }
    let beyond = scene.request(Method::GET, &path).header(RANGE, "bytes=10-");
    let told = scene.refused(beyond, 416, "range_not_satisfiable").await;
    assert_eq!(told.headers["content-range"], "bytes */10");
    let unknown = scene.request(Method::HEAD, "/files/no-id").send().await.unwrap();
    assert_eq!((unknown.status().as_u16(), unknown.bytes().await.unwrap().len()), (404, 0));
    scene.finish().await;
}

#[tokio::test]
async fn an_empty_file_is_a_file() {
    let scene = Scene::new().await;
    let file = uploaded(&scene, b"", "nothing.txt").await;
    assert_eq!((&file["bytes"], &file["filename"]), (&json!(0), &json!("nothing.txt")));
    let path = format!("/files/{}", file["file"].as_str().unwrap());
    let whole = scene.gateway.get(&path).await;
    assert_eq!((whole.status().as_u16(), whole.bytes().await.unwrap().len()), (200, 0));
    scene.finish().await;
}
