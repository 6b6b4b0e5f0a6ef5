//! Workflows by name, by URL, from the editor and from a folder, each up to its picture.

use comfy_gateway::simulator::{FaultRoute, RequestFault, Simulator};
use reqwest::multipart::{Form, Part};
use serde_json::{Value, json};

use crate::support::{
    Behaviour, Gateway, Web, color_of, editor_picture, picture, png, poll, simulator, titled,
};

async fn put(gateway: &Gateway, name: &str, body: &Value) -> Value {
    let answer =
        gateway.http.put(format!("{}/workflows/{name}", gateway.base)).json(body).send().await.unwrap();
    let status = answer.status();
    let body: Value = answer.json().await.unwrap();
    assert!(status.is_success(), "{body:#}");
    body
}

/// Runs a body of `/execute`. Returns the result and the colour of the picture `cover`.
async fn color_by(gateway: &Gateway, body: &Value) -> (Value, [u8; 3]) {
    let id = gateway.execute(body).await;
    let result = gateway.result(&id).await;
    assert_eq!(result["status"], "completed", "{result:#}");
    let cover = gateway.bytes(&result["images_by_var"]["cover"][0]).await;
    (result, color_of(&cover))
}

/// Waits until the gateway has asked for a backend's node classes.
async fn until_classes_known(comfy: &Simulator) {
    comfy.until(|record| record.requests(FaultRoute::ObjectInfo) > 0).await;
}

#[tokio::test]
async fn a_workflow_runs_by_name_and_by_version() {
    let comfy = simulator().await;
    let gateway = Gateway::in_front_of(&[&comfy]).await;
    for color in [1, 2] {
        put(&gateway, "plain", &json!({ "workflow": titled(picture(color), "1", "$color") })).await;
    }
    for (workflow, params, label, color) in [
        ("plain", json!({}), "plain@2", [0, 0, 2]),
        ("plain@1", json!({}), "plain@1", [0, 0, 1]),
        ("plain", json!({ "color": 3 }), "plain@2", [0, 0, 3]),
    ] {
        let body = json!({ "workflow": workflow, "params": params });
        let (result, made) = color_by(&gateway, &body).await;
        assert_eq!((&result["workflow"], made), (&json!(label), color));
    }
    let listed: Value = gateway.get("/results?workflow=plain@1").await.json().await.unwrap();
    assert_eq!(listed["results"].as_array().unwrap().len(), 1);
    gateway.finish().await;
}

#[tokio::test]
async fn the_parameters_are_the_whole_body_as_json_and_as_a_form() {
    let comfy = simulator().await;
    let gateway = Gateway::in_front_of(&[&comfy]).await;
    put(&gateway, "plain", &titled(picture(1), "1", "$color!")).await;
    let url = format!("{}/workflows/plain/execute?priority=5&timeout=60", gateway.base);
    let asked = gateway.http.post(&url).header("prefer", "wait=30").json(&json!({ "color": 0x01_02_03 }));
    let result: Value = asked.send().await.unwrap().json().await.unwrap();
    assert_eq!(color_of(&gateway.bytes(&result["images"][0]).await), [1, 2, 3]);
    let asked = gateway.http.post(&url).header("prefer", "wait=30").multipart(Form::new().text("color", "7"));
    let result: Value = asked.send().await.unwrap().json().await.unwrap();
    assert_eq!(color_of(&gateway.bytes(&result["images"][0]).await), [0, 0, 7]);

    put(&gateway, "invert", &super::inputs::invert()).await;
    let form = Form::new().part("photo", Part::bytes(png([1, 2, 3])).file_name("a.png"));
    let asked = gateway.http.post(format!("{}/workflows/invert/execute", gateway.base));
    let result: Value =
        asked.header("prefer", "wait=30").multipart(form).send().await.unwrap().json().await.unwrap();
    assert_eq!(color_of(&gateway.bytes(&result["images"][0]).await), [254, 253, 252]);
    gateway.finish().await;
}

#[tokio::test]
async fn what_the_editor_saves_runs_as_it_is() {
    let comfy = simulator().await;
    let gateway = Gateway::in_front_of(&[&comfy]).await;
    until_classes_known(&comfy).await;
    let (result, color) = color_by(&gateway, &json!({ "workflow": editor_picture(5, "") })).await;
    assert_eq!(color, [0, 0, 5]);
    assert!(result["media"][0]["filename"].as_str().unwrap().starts_with("edited"));
    let body = json!({ "workflow": editor_picture(5, "$color!"), "params": {"color": 6} });
    assert_eq!(color_by(&gateway, &body).await.1, [0, 0, 6]);
    let answer = gateway.post("/convert", &editor_picture(5, "$color!")).await;
    let converted: Value = answer.json().await.unwrap();
    let graph = &converted["workflow"];
    assert_eq!(graph["1"]["inputs"], json!({"width": 32, "height": 16, "batch_size": 1, "color": 5}));
    assert_eq!(
        (&graph["1"]["_meta"]["title"], &graph["2"]["inputs"]["images"]),
        (&json!("$color!"), &json!(["1", 0]))
    );
    assert_eq!(converted["warnings"], json!([]));
    gateway.finish().await;
}

#[tokio::test]
async fn a_registered_file_of_the_editor_runs_also_while_no_server_tells_its_classes() {
    let comfy = simulator().await;
    let gateway = Gateway::in_front_of(&[&comfy]).await;
    until_classes_known(&comfy).await;
    let registered = put(&gateway, "edited", &editor_picture(5, "$color")).await;
    assert_eq!(registered["params"]["properties"]["color"]["default"], 5);
    assert_eq!(registered["workflow"]["2"]["class_type"], "SaveImage");
    comfy.faults().always(FaultRoute::ObjectInfo, RequestFault::Status(500, String::new()));
    let gateway = gateway.stop().await.start().await;
    assert_eq!(color_by(&gateway, &json!({ "workflow": "edited" })).await.1, [0, 0, 5]);
    gateway.finish().await;
}

#[tokio::test]
async fn a_workflow_behind_a_url_is_fetched_when_it_has_changed() {
    let comfy = simulator().await;
    let gateway = Gateway::in_front_of(&[&comfy]).await;
    let web = Web::serve(titled(picture(1), "1", "$color").to_string(), Behaviour::Tagged).await;
    let body = json!({ "workflow": format!("{}/a.json", web.url), "params": {"color": 9} });
    for asked in [1, 2] {
        let (result, color) = color_by(&gateway, &body).await;
        assert_eq!((&result["workflow"], color), (&Value::Null, [0, 0, 9]));
        assert_eq!(web.asked(), asked);
    }
    assert_eq!(web.not_modified(), 1);
    gateway.finish().await;
}

#[tokio::test]
async fn a_folder_is_followed() {
    let comfy = simulator().await;
    let folder = tempfile::tempdir().unwrap();
    let write =
        |name: &str, graph: &Value| std::fs::write(folder.path().join(name), graph.to_string()).unwrap();
    write("my plain.json", &picture(1));
    write("broken.json", &json!({"1": {"inputs": {}}}));
    write("edited.json", &editor_picture(2, ""));
    std::fs::write(folder.path().join("notes.txt"), "x").unwrap();
    let gateway = Gateway::with(&[&comfy], |settings| {
        settings.workflows = Some(folder.path().to_owned());
        settings.service.follows_folder = true;
    })
    .await;
    let until = async |expected: &[(&str, u64)]| {
        poll(async || {
            let all: Value = gateway.get("/workflows").await.json().await.unwrap();
            let all = all["workflows"].as_array().unwrap();
            let found: Vec<_> = all
                .iter()
                .map(|one| (one["name"].as_str().unwrap(), one["version"].as_u64().unwrap()))
                .collect();
            (found == expected).then_some(())
        })
        .await;
    };
    until(&[("edited", 1), ("my-plain", 1)]).await;
    assert_eq!(color_by(&gateway, &json!({ "workflow": "my-plain" })).await.1, [0, 0, 1]);
    assert_eq!(color_by(&gateway, &json!({ "workflow": "edited" })).await.1, [0, 0, 2]);
    // What comes from a file is changed there.
    for request in [
        gateway.http.put(format!("{}/workflows/edited", gateway.base)).json(&picture(3)),
        gateway.http.delete(format!("{}/workflows/edited", gateway.base)),
    ] {
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), 409);
        assert_eq!(answer.json::<Value>().await.unwrap()["code"], "from_folder");
    }
    write("my plain.json", &titled(picture(7), "1", "changed"));
    write("broken.json", &picture(8));
    std::fs::remove_file(folder.path().join("edited.json")).unwrap();
    until(&[("broken", 1), ("my-plain", 2)]).await;
    assert_eq!(color_by(&gateway, &json!({ "workflow": "my-plain" })).await.1, [0, 0, 7]);
    assert_eq!(color_by(&gateway, &json!({ "workflow": "my-plain@1" })).await.1, [0, 0, 1]);
    gateway.finish().await;
}

#[tokio::test]
async fn a_file_of_the_editor_waits_in_its_folder_for_a_server_that_tells_its_classes() {
    let comfy = simulator().await;
    comfy.faults().always(FaultRoute::ObjectInfo, RequestFault::Status(500, String::new()));
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("edited.json"), editor_picture(2, "").to_string()).unwrap();
    let gateway =
        Gateway::with(&[&comfy], |settings| settings.workflows = Some(folder.path().to_owned())).await;
    until_classes_known(&comfy).await;
    let all: Value = gateway.get("/workflows").await.json().await.unwrap();
    assert_eq!(all["workflows"], json!([]));
    comfy.faults().clear();
    gateway.until_status("/workflows/edited", 200).await;
    gateway.finish().await;
}
