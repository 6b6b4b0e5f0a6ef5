//! Job requests as multipart forms: each part besides `request` is the value of the parameter with its name.

use reqwest::Method;
use reqwest::multipart::{Form, Part};
use serde_json::{Value, json};

use crate::scene::{Refusal, Scene};
use crate::support::png;

fn workflow() -> Value {
    json!({
        "1": {"class_type": "LoadImage", "inputs": {"image": "none.png"}, "_meta": {"title": "$photo.image"}},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "x"}, "_meta": {"title": "$name.filename_prefix"}},
        "3": {"class_type": "LabSleep", "inputs": {"seconds": 0.0, "steps": 1, "preview": false, "interruptible": true, "seed": 5}, "_meta": {"title": "$steps, $preview"}}
    })
}

fn form() -> Form {
    Form::new().text("request", json!({ "workflow": workflow() }).to_string())
}

fn file(bytes: &'static [u8]) -> Part {
    Part::bytes(bytes).file_name("a.png")
}

async fn refused(scene: &Scene, form: Form, status: u16, code: &str) -> Refusal {
    let refusal = scene.refused(scene.request(Method::POST, "/execute").multipart(form), status, code).await;
    let media = scene.gateway.data.path().join("media");
    assert_eq!(std::fs::read_dir(media.join("incoming")).unwrap().count(), 0);
    assert!(!media.join("inputs").exists(), "a refused request left a file");
    refusal
}

#[tokio::test]
async fn texts_become_what_their_parameters_take() {
    let scene = Scene::new().await;
    let form = form()
        .text("name", "12 \"cats\"")
        .text("steps", "2")
        .text("preview", "true")
        .part("photo", Part::bytes(png([1, 1, 1])).file_name("a.png"));
    let request = scene.request(Method::POST, "/execute").header("prefer", "wait=30").multipart(form);
    let result: Value = request.send().await.unwrap().json().await.unwrap();
    assert_eq!(result["status"], "completed", "{result:#}");
    let made = &result["outputs"]["2"]["images"][0]["filename"];
    assert!(made.as_str().unwrap().starts_with("12 \"cats\""), "{result:#}");
    scene.finish().await;
}

#[tokio::test]
async fn a_form_without_its_request_or_with_two() {
    let scene = Scene::new().await;
    let told = refused(&scene, Form::new().part("photo", file(b"x")), 422, "invalid_request").await;
    assert!(told.words().contains("\"request\""), "{}", told.words());
    refused(&scene, form().text("request", "{}"), 400, "malformed_form").await;
    refused(&scene, Form::new().text("request", "{"), 400, "malformed_json").await;
    scene.finish().await;
}

#[tokio::test]
async fn parts_that_fit_no_parameter() {
    let scene = Scene::new().await;
    let told = refused(&scene, form().part("foto", file(b"x")), 422, "invalid_params").await;
    assert!(told.words().contains("did you mean photo"), "{}", told.words());
    let told = refused(&scene, form().part("name", file(b"x")), 422, "invalid_params").await;
    assert!(told.words().contains("takes no file"), "{}", told.words());
    let told = refused(&scene, form().text("steps", "many"), 422, "invalid_params").await;
    assert!(told.words().contains("whole number"), "{}", told.words());
    let two = form().part("photo", file(b"x")).part("photo", file(b"y"));
    let told = refused(&scene, two, 422, "invalid_params").await;
    assert!(told.words().contains("takes one file; 2 were given"), "{}", told.words());
    let twice = Form::new()
        .text("request", json!({ "workflow": workflow(), "params": {"photo": "a.png"} }).to_string())
        .part("photo", file(b"x"));
    assert!(refused(&scene, twice, 422, "invalid_params").await.words().contains("more than once"));
    scene.finish().await;
}

#[tokio::test]
async fn forms_have_limits_that_are_named() {
    let scene = Scene::with(|settings| {
        settings.service.max_inputs = 1;
        settings.api.max_body = 4_000;
    })
    .await;
    let two = form().part("photo", file(b"x")).part("photo", file(b"y"));
    let told = refused(&scene, two, 413, "body_too_large").await;
    assert!(told.words().contains("max_inputs") && told.body["limit"] == 1, "{}", told.words());
    let long = form().text("name", "x".repeat(4_000));
    let told = refused(&scene, long, 413, "body_too_large").await;
    assert!(told.words().contains("max_body") && told.body["limit"] == 4_000, "{}", told.words());
    let many = (0..300).fold(form(), |form, at| form.text(format!("p{at}"), ""));
    refused(&scene, many, 400, "malformed_form").await;
    let odd = form().part("name", Part::bytes(vec![0xff, 0xfe]));
    refused(&scene, odd, 400, "malformed_form").await;
    scene.finish().await;
}
