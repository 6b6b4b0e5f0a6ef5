//! Files as values of parameters, from every source, up to the resulting picture.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use comfy_gateway::simulator::{FaultRoute, Simulator};
use reqwest::multipart::{Form, Part};
use serde_json::{Value, json};

use crate::support::{Behaviour, Gateway, Settings, Web, color_of, data_url, picture, png, simulator};

/// Inverts the picture of the required parameter `photo`.
pub fn invert() -> Value {
    json!({
        "1": {"class_type": "LoadImage", "inputs": {"image": "none.png"}, "_meta": {"title": "$photo.image!"}},
        "2": {"class_type": "ImageInvert", "inputs": {"image": ["1", 0]}},
        "3": {"class_type": "SaveImage", "inputs": {"images": ["2", 0], "filename_prefix": "inverted"}, "_meta": {"title": "$output.cover"}}
    })
}

fn request(photo: &Value) -> Value {
    json!({ "workflow": invert(), "params": {"photo": photo} })
}

/// A colour when inverted.
fn inverted(color: [u8; 3]) -> [u8; 3] {
    color.map(|byte| 255 - byte)
}

/// Runs the workflow on `photo`, a picture of `color`, and checks every pixel of the result.
async fn runs_on(gateway: &Gateway, photo: &Value, color: [u8; 3]) -> Value {
    let id = gateway.execute(&request(photo)).await;
    let result = gateway.result(&id).await;
    assert_eq!(result["status"], "completed", "{photo}: {result:#}");
    let made = gateway.bytes(&result["images_by_var"]["cover"][0]).await;
    assert_eq!(color_of(&made), inverted(color), "{photo}");
    result
}

async fn fails_on(gateway: &Gateway, url: &str) -> String {
    let id = gateway.execute(&request(&json!(url))).await;
    let result = gateway.result(&id).await;
    assert_eq!(result["error"]["code"], "input_unavailable", "{result:#}");
    assert_eq!((&result["attempts"], &result["backend"]), (&json!(0), &Value::Null));
    result["msg"].as_str().unwrap().to_owned()
}

fn uploads(comfy: &Simulator) -> usize {
    comfy.requests(FaultRoute::Upload).len()
}

/// The files in a backend's input folder.
fn inputs(comfy: &Simulator) -> Vec<String> {
    let folder = std::fs::read_dir(comfy.input_directory()).unwrap().flatten();
    let mut names: Vec<String> = folder.map(|entry| entry.file_name().into_string().unwrap()).collect();
    names.retain(|name| name.starts_with("cg-"));
    names.sort();
    names
}

/// The number and the sizes of the stored inputs.
fn stored_inputs(gateway: &Gateway) -> usize {
    let shards = std::fs::read_dir(gateway.data.path().join("media/inputs"));
    shards.into_iter().flatten().flatten().map(|shard| std::fs::read_dir(shard.path()).unwrap().count()).sum()
}

#[tokio::test]
async fn a_picture_from_a_data_url_from_base64_and_from_a_url() {
    let comfy = simulator().await;
    let gateway = Gateway::in_front_of(&[&comfy]).await;
    let color = [200, 30, 7];
    let text = STANDARD.encode(png(color));
    runs_on(&gateway, &json!(format!("data:image/png;base64,{text}")), color).await;
    runs_on(&gateway, &json!({ "base64": text.trim_end_matches('='), "filename": "x.jpg" }), color).await;
    let web = Web::serve(png(color), Behaviour::Good).await;
    runs_on(&gateway, &json!(format!("{}/photo.jpg?signature=secret", web.url)), color).await;
    // All three are the same bytes: stored once, brought to the server once, under a name by their content.
    assert_eq!((uploads(&comfy), stored_inputs(&gateway), web.asked()), (1, 1, 1));
    let [name] = inputs(&comfy).try_into().unwrap();
    assert!(std::path::Path::new(&name).extension().is_some_and(|extension| extension == "png"), "{name}");
    gateway.finish().await;
}

#[tokio::test]
async fn a_picture_in_the_same_form_as_the_request() {
    let comfy = simulator().await;
    let gateway = Gateway::in_front_of(&[&comfy]).await;
    let color = [1, 2, 3];
    let body = json!({ "workflow": invert() }).to_string();
    // The files may come before or after the request.
    for file_first in [false, true] {
        let photo = Part::bytes(png(color)).file_name("me at the beach.png");
        let form = if file_first {
            Form::new().part("photo", photo).text("request", body.clone())
        } else {
            Form::new().part("request", Part::text(body.clone()).file_name("body.json")).part("photo", photo)
        };
        let url = format!("{}/execute", gateway.base);
        let sent = gateway.http.post(url).header("prefer", "wait=30").multipart(form).send().await.unwrap();
        let result: Value = sent.json().await.unwrap();
        assert_eq!(result["status"], "completed", "{result:#}");
        let made = gateway.bytes(&result["images"][0]).await;
        assert_eq!(color_of(&made), inverted(color));
    }
    gateway.finish().await;
}

#[tokio::test]
async fn an_uploaded_file_is_used_again_and_again() {
    let comfy = simulator().await;
    let gateway = Gateway::in_front_of(&[&comfy]).await;
    let color = [9, 99, 199];
    let form = Form::new().part("file", Part::bytes(png(color)).file_name("photo.png"));
    let sent = gateway.http.post(format!("{}/files", gateway.base)).multipart(form).send().await.unwrap();
    assert_eq!(sent.status(), 201);
    let file: Value = sent.json().await.unwrap();
    for _ in 0..2 {
        runs_on(&gateway, &json!({ "file": file["file"] }), color).await;
    }
    assert_eq!(gateway.bytes(&file["url"]).await, png(color));
    assert_eq!(uploads(&comfy), 1);
    gateway.finish().await;
}

#[tokio::test]
async fn what_an_earlier_job_made_is_the_input_of_the_next() {
    let comfy = simulator().await;
    let gateway = Gateway::in_front_of(&[&comfy]).await;
    let first = gateway.run(picture(0x10_20_30)).await;
    let (id, color) = (first["prompt_id"].as_str().unwrap(), [0x10, 0x20, 0x30]);
    let url = first["images"][0].as_str().unwrap();
    let path = url.strip_prefix(&gateway.base).unwrap();
    for photo in [
        json!({ "result": id, "var": "cover" }),
        json!({ "result": id }),
        json!({ "result": id, "var": "cover", "index": 0 }),
        json!(url),
        json!(path),
    ] {
        runs_on(&gateway, &photo, color).await;
    }
    // And it stays so for a job that waits while the first one is forgotten.
    comfy.faults().stick_worker();
    let waiting = gateway.execute(&request(&json!({ "result": id }))).await;
    gateway.http.delete(format!("{}/results/{id}", gateway.base)).send().await.unwrap();
    comfy.faults().unstick();
    assert_eq!(gateway.result(&waiting).await["status"], "completed");
    gateway.finish().await;
}

#[tokio::test]
async fn a_file_on_the_server_is_named_and_nothing_is_uploaded() {
    let comfy = simulator().await;
    std::fs::write(comfy.input_directory().join("there.png"), png([5, 5, 5])).unwrap();
    let gateway = Gateway::in_front_of(&[&comfy]).await;
    runs_on(&gateway, &json!("there.png"), [5, 5, 5]).await;
    assert_eq!((uploads(&comfy), stored_inputs(&gateway)), (0, 0));
    gateway.finish().await;
}

#[tokio::test]
async fn several_pictures_for_several_nodes() {
    let comfy = simulator().await;
    let gateway = Gateway::in_front_of(&[&comfy]).await;
    let mut workflow = invert();
    workflow["1"]["_meta"]["title"] = json!("$photos.image");
    workflow["4"] = json!({"class_type": "LoadImage", "inputs": {"image": "none.png"}, "_meta": {"title": "$photos.image"}});
    workflow["5"] = json!({"class_type": "SaveImage", "inputs": {"images": ["4", 0], "filename_prefix": "second"}, "_meta": {"title": "$output.second"}});
    let data = |color| data_url(color);
    let photos = json!([data([1, 1, 1]), data([2, 2, 2])]);
    let id = gateway.execute(&json!({ "workflow": workflow, "params": {"photos": photos} })).await;
    let result = gateway.result(&id).await;
    let cover = gateway.bytes(&result["images_by_var"]["cover"][0]).await;
    let second = gateway.bytes(&result["images_by_var"]["second"][0]).await;
    assert_eq!((color_of(&cover), color_of(&second)), (inverted([1, 1, 1]), [2, 2, 2]));
    gateway.finish().await;
}

#[tokio::test]
async fn a_retry_on_another_server_finds_its_file_there() {
    let (one, two) = (simulator().await, simulator().await);
    let gateway = Gateway::with(&[&one, &two], |settings: &mut Settings| {
        settings.backends.iter_mut().for_each(|backend| backend.slots = 1);
    })
    .await;
    one.faults().crash_after(1);
    two.faults().crash_after(1);
    let photo = json!(data_url([3, 3, 3]));
    let id = gateway.execute(&request(&photo)).await;
    let (crashed, other) =
        tokio::select! { () = one.crashed() => (&one, &two), () = two.crashed() => (&two, &one) };
    other.faults().clear();
    let result = gateway.result(&id).await;
    assert_eq!((&result["status"], &result["attempts"]), (&json!("completed"), &json!(2)), "{result:#}");
    assert_eq!((inputs(crashed), inputs(crashed).len()), (inputs(other), 1));
    gateway.finish().await;
}

#[tokio::test]
async fn a_half_file_of_a_crash_is_replaced() {
    let comfy = simulator().await;
    let gateway = Gateway::in_front_of(&[&comfy]).await;
    let photo = json!(data_url([4, 4, 4]));
    runs_on(&gateway, &photo, [4, 4, 4]).await;
    let [name] = inputs(&comfy).try_into().unwrap();
    std::fs::write(comfy.input_directory().join(&name), "half").unwrap();
    runs_on(&gateway, &photo, [4, 4, 4]).await;
    assert_eq!(std::fs::read(comfy.input_directory().join(&name)).unwrap(), png([4, 4, 4]));
    gateway.finish().await;
}

#[tokio::test]
async fn a_url_that_fails_at_first_is_asked_again() {
    let comfy = simulator().await;
    let gateway = Gateway::in_front_of(&[&comfy]).await;
    let web = Web::serve(png([8, 8, 8]), Behaviour::BadFirst(2)).await;
    runs_on(&gateway, &json!(web.url), [8, 8, 8]).await;
    assert_eq!(web.asked(), 3);
    gateway.finish().await;
}

#[tokio::test]
async fn a_url_that_cannot_be_had_fails_the_job_and_no_server_hears_of_it() {
    let comfy = simulator().await;
    let gateway = Gateway::with(&[&comfy], |settings| {
        settings.scheduler.inputs.bytes = 1_000;
        settings.scheduler.inputs.idle = std::time::Duration::from_millis(100);
    })
    .await;
    let host = "127.0.0.1";
    for (behaviour, asked, why) in [
        (Behaviour::Status(404), 1, "404"),
        (Behaviour::Status(503), 3, "503"),
        (Behaviour::Hangs, 3, "0.1 s"),
        (Behaviour::Short, 3, "broke"),
    ] {
        let web = Web::serve(png([1, 1, 1]), behaviour.clone()).await;
        let msg = fails_on(&gateway, &format!("{}/a/secret/path?token=secret", web.url)).await;
        assert!(msg.contains("\"photo\"") && msg.contains(host) && msg.contains(why), "{behaviour:?}: {msg}");
        assert!(!msg.contains("secret"), "{msg}");
        assert_eq!(web.asked(), asked, "{behaviour:?}");
    }
    let web = Web::serve(vec![0; 1_001], Behaviour::Good).await;
    let msg = fails_on(&gateway, &web.url).await;
    assert!(msg.contains("fetch_max_bytes"), "{msg}");
    assert_eq!((comfy.requests(FaultRoute::Prompt).len(), stored_inputs(&gateway)), (0, 0));
    gateway.finish().await;
}

#[tokio::test]
async fn a_job_that_waits_for_its_file_holds_nobody_up_and_can_be_cancelled() {
    let comfy = simulator().await;
    let gateway = Gateway::in_front_of(&[&comfy]).await;
    let web = Web::serve(png([1, 1, 1]), Behaviour::Hangs).await;
    let waiting = gateway.execute(&request(&json!(web.url))).await;
    web.came().await;
    assert_eq!(gateway.run(picture(1)).await["status"], "completed");
    assert_eq!(gateway.job(&waiting).await["status"], "queued");
    gateway.cancel(&waiting).await;
    assert_eq!(gateway.result(&waiting).await["status"], "cancelled");
    gateway.finish().await;
}

#[tokio::test]
async fn a_gateway_that_was_killed_while_it_fetched_fetches_again() {
    let comfy = simulator().await;
    let gateway = Gateway::in_front_of(&[&comfy]).await;
    let hanging = Web::serve(png([6, 6, 6]), Behaviour::Hangs).await;
    let id = gateway.execute(&request(&json!(hanging.url))).await;
    hanging.came().await;
    let left = gateway.kill().await;
    let address = hanging.stop().await;
    let _good = Web::serve_at(address, png([6, 6, 6]), Behaviour::Good).await;
    let gateway = left.start().await;
    let result = gateway.result(&id).await;
    assert_eq!(result["status"], "completed", "{result:#}");
    gateway.finish().await;
}

#[tokio::test]
async fn a_server_that_takes_no_file_of_that_size_says_so_and_one_that_breaks_is_tried_again() {
    use comfy_gateway::simulator::RequestFault;
    let comfy = simulator().await;
    let gateway = Gateway::in_front_of(&[&comfy]).await;
    let photo = |color| json!(data_url(color));
    comfy.faults().next(FaultRoute::Upload, 1, RequestFault::Status(413, "too large".to_owned()));
    let id = gateway.execute(&request(&photo([1, 0, 0]))).await;
    let result = gateway.result(&id).await;
    assert_eq!(result["error"]["code"], "input_unavailable", "{result:#}");
    assert!(result["msg"].as_str().unwrap().contains("--max-upload-size"), "{result:#}");
    for (at, fault) in
        [RequestFault::DropBefore, RequestFault::DropAfter, RequestFault::Status(500, String::new())]
            .into_iter()
            .enumerate()
    {
        comfy.faults().next(FaultRoute::Upload, 1, fault);
        let color = [0, 1, u8::try_from(at).unwrap()];
        assert_eq!(runs_on(&gateway, &photo(color), color).await["attempts"], 2);
    }
    gateway.finish().await;
}
