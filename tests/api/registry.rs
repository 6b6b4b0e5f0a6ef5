//! Registered workflows: their descriptions, their operations in the OpenAPI document, and rejected registrations.

use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use crate::scene::{Scene, refusal};
use crate::support::{editor_picture, picture, titled};

fn put(scene: &Scene, name: &str, body: &Value) -> RequestBuilder {
    scene.request(Method::PUT, &format!("/workflows/{name}")).json(body)
}

async fn registered(scene: &Scene, name: &str, body: &Value, status: u16) -> Value {
    let answer = put(scene, name, body).send().await.unwrap();
    assert_eq!(answer.status(), status, "{body}");
    answer.json().await.unwrap()
}

async fn get(scene: &Scene, path: &str) -> Value {
    let answer = scene.gateway.get(path).await;
    assert_eq!(answer.status(), 200, "{path}");
    answer.json().await.unwrap()
}

async fn workflows(scene: &Scene) -> Value {
    get(scene, "/workflows").await["workflows"].clone()
}

/// A picture with parameters of several kinds.
fn portrait() -> Value {
    json!({
        "1": {"class_type": "LoadImage", "inputs": {"image": "none.png"}, "_meta": {"title": "$photo.image!:who it is"}},
        "2": {"class_type": "ImageScale", "inputs": {"image": ["1", 0], "upscale_method": "bilinear", "width": 64, "height": 64, "crop": "disabled"},
              "_meta": {"title": "$size.width, $size.height, $method.upscale_method"}},
        "3": {"class_type": "SaveImage", "inputs": {"images": ["2", 0], "filename_prefix": "x"}, "_meta": {"title": "$output.cover"}}
    })
}

/// Polls until the gateway knows its backend's node classes.
async fn until_classes_known(scene: &Scene) {
    crate::scene::poll_until(|| async { !get_schema(scene).await["properties"]["method"]["enum"].is_null() })
        .await;
}

async fn get_schema(scene: &Scene) -> Value {
    get(scene, "/workflows/portrait").await["params"].clone()
}

#[tokio::test]
async fn a_workflow_is_described_with_the_schema_of_its_parameters() {
    let scene = Scene::new().await;
    let body =
        json!({ "workflow": portrait(), "title": "A portrait", "description": "Of whoever is on the photo" });
    let answer = put(&scene, "portrait", &body).send().await.unwrap();
    assert_eq!(
        (answer.status().as_u16(), answer.headers()["location"].to_str().unwrap()),
        (201, "/workflows/portrait@1")
    );
    until_classes_known(&scene).await;
    let found = get(&scene, "/workflows/portrait").await;
    assert_eq!(
        (&found["name"], &found["version"], &found["title"]),
        (&json!("portrait"), &json!(1), &json!("A portrait"))
    );
    assert_eq!(found["workflow"], portrait());
    assert_eq!(found["outputs"], json!([{"var": "cover", "node_id": "3", "class_type": "SaveImage"}]));
    let params = &found["params"];
    assert_eq!(params["required"], json!(["photo"]));
    let photo = &params["properties"]["photo"];
    assert_eq!((&photo["x-media"], &photo["description"]), (&json!("image"), &json!("who it is")));
    assert!(params["$defs"]["media"]["anyOf"].is_array());
    let size = &params["properties"]["size"];
    assert_eq!((&size["type"], &size["default"]), (&json!("integer"), &json!(64)));
    assert!(size["minimum"].is_number() && size["maximum"].is_number(), "{size}");
    let method = &params["properties"]["method"];
    assert!(method["enum"].as_array().unwrap().contains(&json!("bilinear")), "{method}");
    scene.finish().await;
}

#[tokio::test]
async fn what_changes_is_a_new_version_and_what_does_not_is_none() {
    let scene = Scene::new().await;
    assert_eq!(registered(&scene, "a", &picture(1), 201).await["version"], 1);
    assert_eq!(registered(&scene, "a", &picture(1), 200).await["version"], 1);
    assert_eq!(
        registered(&scene, "a", &json!({ "workflow": picture(1), "title": "x" }), 201).await["version"],
        2
    );
    let versions = get(&scene, "/workflows/a").await["versions"].clone();
    assert_eq!((versions[0]["version"].clone(), versions[1]["version"].clone()), (json!(1), json!(2)));
    assert_eq!(get(&scene, "/workflows/a@1").await["title"], Value::Null);
    assert_eq!(get(&scene, "/workflows/a@2").await["title"], "x");
    assert_eq!(workflows(&scene).await[0]["version"], 2);
    let deleted = scene.request(Method::DELETE, "/workflows/a").send().await.unwrap();
    assert_eq!(deleted.status(), 204);
    for path in ["/workflows/a", "/workflows/a@1"] {
        refusal(scene.gateway.get(path).await, 404, "not_found").await;
    }
    assert_eq!(workflows(&scene).await, json!([]));
    scene.finish().await;
}

#[tokio::test]
async fn what_is_no_workflow_is_not_registered() {
    let scene = Scene::new().await;
    let linked = json!({"1": {"class_type": "A", "inputs": {"x": ["9", 0]}}});
    for (body, pointer) in [
        (json!({}), "/workflow"),
        (json!({ "workflow": linked }), "/workflow/1/inputs/x"),
        (linked, "/workflow/1/inputs/x"),
        (titled(picture(1), "1", "$"), "/workflow/1/_meta/title"),
        (titled(picture(1), "1", "$nothing"), "/workflow/1/inputs/nothing"),
    ] {
        let told = scene.refused(put(&scene, "a", &body), 422, "invalid_workflow").await;
        assert_eq!(told.pointers(), [pointer], "{body}");
    }
    for (body, pointer) in [
        (json!({ "workflow": "portrait" }), "/workflow"),
        (json!({ "workflow": [] }), "/workflow"),
        (json!({ "workflow": picture(1), "titel": "x" }), "/titel"),
        (json!({ "workflow": picture(1), "title": 7 }), "/title"),
        (json!({ "workflow": picture(1), "title": "x".repeat(201) }), "/title"),
    ] {
        let told = scene.refused(put(&scene, "a", &body), 422, "invalid_request").await;
        assert_eq!(told.pointers(), [pointer], "{body}");
    }
    for name in ["a@1", ".a", "a%20b", "a%2fb"] {
        scene.refused(put(&scene, name, &picture(1)), 400, "invalid_name").await;
    }
    assert_eq!(workflows(&scene).await, json!([]));
    scene.finish().await;
}

#[tokio::test]
async fn a_name_that_nothing_has_is_told_with_the_nearest() {
    let scene = Scene::new().await;
    registered(&scene, "portrait", &picture(1), 201).await;
    for (workflow, why) in [
        ("potrait", "did you mean portrait?"),
        ("zzz", "GET /workflows"),
        ("portrait@2", "the newest version of portrait is 1"),
    ] {
        let told = scene.refused_body(&json!({ "workflow": workflow }), 422, "invalid_workflow").await;
        assert!(told.words().contains(why), "{workflow}: {}", told.words());
        let path = format!("/workflows/{workflow}/execute");
        let told = scene.refused(scene.request(Method::POST, &path).json(&json!({})), 404, "not_found").await;
        assert!(told.words().contains(why), "{workflow}: {}", told.words());
    }
    let told = scene.refused_body(&json!({ "workflow": "no name" }), 422, "invalid_request").await;
    assert_eq!(told.pointers(), ["/workflow"]);
    for path in ["/workflows/zzz", "/workflows/zzz@1"] {
        scene
            .refused(
                scene.request(Method::DELETE, path),
                if path.contains('@') { 400 } else { 404 },
                if path.contains('@') { "invalid_name" } else { "not_found" },
            )
            .await;
    }
    scene.finish().await;
}

#[tokio::test]
async fn running_by_name_takes_parameters_in_the_body_and_all_else_in_the_query() {
    let scene = Scene::new().await;
    registered(&scene, "a", &titled(picture(1), "1", "$color!"), 201).await;
    let post = |query: &str, body: &Value| {
        scene.request(Method::POST, &format!("/workflows/a/execute{query}")).json(body)
    };
    let color = json!({ "color": 1 });
    for query in ["?priority=-1", "?priority=x", "?timeout=0", "?queue_timeout=1e9", "?metadata=x"] {
        scene.refused(post(query, &color), 400, "invalid_query").await;
    }
    let told = scene.refused(post("", &json!({ "colour": 1 })), 422, "invalid_params").await;
    assert_eq!(told.pointers(), ["/params/colour", "/params/color"]);
    scene.refused(post("", &json!([])), 400, "malformed_json").await;
    scene.finish().await;
}

#[tokio::test]
async fn every_workflow_is_an_operation_of_the_document_clients_are_made_from() {
    let scene = Scene::new().await;
    let before = get(&scene, "/openapi.json").await;
    registered(&scene, "portrait", &json!({ "workflow": portrait(), "title": "A portrait" }), 201).await;
    for name in ["por.trait", "por-trait", "workflow"] {
        registered(&scene, name, &picture(1), 201).await;
    }
    until_classes_known(&scene).await;
    let document = get(&scene, "/openapi.json").await;
    let operation = &document["paths"]["/workflows/portrait/execute"]["post"];
    assert_eq!(
        (&operation["operationId"], &operation["summary"]),
        (&json!("execute_portrait"), &json!("A portrait"))
    );
    let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
    assert_eq!(schema["properties"]["photo"]["allOf"][0]["$ref"], "#/components/schemas/MediaValue");
    assert!(schema["properties"]["method"]["enum"].is_array());
    let mut ids = std::collections::HashSet::new();
    for operation in
        document["paths"].as_object().unwrap().values().flat_map(|path| path.as_object().unwrap().values())
    {
        assert!(ids.insert(operation["operationId"].as_str().unwrap()), "{operation:#}");
    }
    let yaml = scene.gateway.get("/openapi.yaml").await.text().await.unwrap();
    assert!(yaml.contains("/workflows/portrait/execute:"), "{yaml}");
    for name in ["portrait", "por.trait", "por-trait", "workflow"] {
        scene.request(Method::DELETE, &format!("/workflows/{name}")).send().await.unwrap();
    }
    assert_eq!(get(&scene, "/openapi.json").await, before);
    scene.finish().await;
}

#[tokio::test]
async fn what_cannot_be_converted_names_the_node_as_the_editor_shows_it() {
    let scene = Scene::new().await;
    registered(&scene, "portrait", &portrait(), 201).await;
    until_classes_known(&scene).await;
    let mut unknown = editor_picture(1, "My own node");
    unknown["nodes"][0]["type"] = json!("EmptyImagge");
    let convert = |body: &Value| scene.request(Method::POST, "/convert").json(body);
    let execute = scene.execute(json!({ "workflow": unknown }).to_string());
    for request in [convert(&unknown), put(&scene, "a", &unknown), execute] {
        let told = scene.refused(request, 422, "invalid_workflow").await;
        let words = told.words();
        assert!(words.contains("node 1 (My own node)") && words.contains("EmptyImage"), "{words}");
        assert_eq!(told.body["errors"][0]["node_id"], "1");
    }
    for body in [json!({}), picture(1), json!({ "nodes": 7 })] {
        scene.refused(convert(&body), 422, "invalid_workflow").await;
    }
    scene.refused(convert(&json!([])), 400, "malformed_json").await;
    scene.finish().await;
}

#[tokio::test]
async fn the_editors_file_needs_a_server_that_tells_its_classes() {
    let scene = Scene::with(|settings| {
        settings.backends = vec![crate::support::backend("gpu-1", "http://127.0.0.1:9")];
    })
    .await;
    let convert = scene.request(Method::POST, "/convert").json(&editor_picture(1, ""));
    let told = scene.refused(convert, 503, "servers_unknown").await;
    assert_eq!((&told.body["retryable"], told.headers.contains_key("retry-after")), (&json!(true), true));
    scene.finish().await;
}

#[tokio::test]
async fn a_workflow_url_that_leads_inside_or_nowhere() {
    let scene = Scene::new().await;
    for (url, status, code) in [
        ("http://10.0.0.1/a.json", 422, "invalid_workflow"),
        ("ftp://example.com/a.json", 422, "invalid_workflow"),
        ("http://127.0.0.1:9/secret.json", 502, "workflow_unavailable"),
    ] {
        let told = scene.refused_body(&json!({ "workflow": url }), status, code).await;
        assert!(!told.words().contains("secret"), "{}", told.words());
    }
    let web = crate::support::Web::serve("no workflow", crate::support::Behaviour::Good).await;
    let told = scene.refused_body(&json!({ "workflow": web.url }), 422, "invalid_workflow").await;
    assert!(told.words().contains("object of nodes"), "{}", told.words());
    scene.finish().await;
}
