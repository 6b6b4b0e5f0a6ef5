//! `POST /validate`: every outcome of a validation, and that it has no side effects.

use comfy_gateway::simulator::{FaultRoute, RequestFault};
use reqwest::header::CONTENT_TYPE;
use reqwest::multipart::{Form, Part};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use crate::scene::{Scene, plain};
use crate::support::{
    Behaviour, Gateway, Web, data_url, editor_picture, picture, png, simulator, simulator_with, titled,
    with_model,
};

const NONE: &str = "none.safetensors";

async fn scene() -> Scene {
    let scene = Scene::new().await;
    scene.gateway.until_capabilities_known(1).await;
    scene
}

fn validate_request(scene: &Scene, body: impl Into<reqwest::Body>) -> RequestBuilder {
    scene.request(Method::POST, "/validate").header(CONTENT_TYPE, "application/json").body(body)
}

/// What it says of a body, having changed nothing.
async fn validation_of(scene: &Scene, body: &Value) -> Value {
    let said = scene.gateway.validate(body).await;
    assert_no_effect(scene).await;
    said
}

async fn assert_no_effect(scene: &Scene) {
    let jobs: Value = scene.gateway.get("/results").await.json().await.unwrap();
    assert_eq!(jobs["results"], json!([]));
    assert!(scene.comfy.requests(FaultRoute::Prompt).is_empty());
    let media = scene.gateway.data.path().join("media");
    assert!(!media.join("inputs").exists(), "a file was kept");
    assert_eq!(std::fs::read_dir(media.join("incoming")).unwrap().count(), 0, "a file was left half way");
}

/// The pointers of what is wrong.
fn pointers(said: &Value) -> Vec<&str> {
    assert_eq!(said["ok"], false, "{said:#}");
    said["errors"].as_array().unwrap().iter().map(|error| error["pointer"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn a_workflow_that_would_run() {
    let scene = scene().await;
    let expected = json!({
        "ok": true, "errors": [], "more_errors": 0, "node_errors": {},
        "backends": [{"name": "gpu-1", "can_run": true, "missing": []}]
    });
    assert_eq!(validation_of(&scene, &json!({ "workflow": picture(1) })).await, expected);
    // Whatever else a request may hold.
    let whole = json!({
        "workflow": titled(picture(1), "1", "$color"), "params": {"color": 5}, "priority": 7, "timeout": 9.5,
        "queue_timeout": 1, "metadata": {"a": [1]}
    });
    assert_eq!(validation_of(&scene, &whole).await, expected);
    scene.finish().await;
}

#[tokio::test]
async fn a_workflow_of_which_a_part_would_be_left_out() {
    let scene = scene().await;
    let mut workflow = picture(1);
    workflow["8"] = with_model(NONE)["1"].clone();
    workflow["9"] = json!({"class_type": "PreviewAny", "inputs": {"source": ["8", 0]}});
    let whole = validation_of(&scene, &json!({ "workflow": workflow })).await;
    assert_eq!(pointers(&whole), ["/workflow/8/inputs/ckpt_name"]);
    let said = validation_of(&scene, &json!({ "workflow": workflow, "partial": true })).await;
    assert_eq!((&said["ok"], &said["errors"]), (&json!(true), &json!([])), "{said:#}");
    assert_eq!(said["node_errors"]["8"]["errors"][0]["type"], "value_not_in_list");
    let backend = &said["backends"][0];
    assert_eq!((&backend["can_run"], &backend["missing"][0]["name"]), (&json!(true), &json!(NONE)));
    scene.finish().await;
}

#[tokio::test]
async fn what_no_server_has_is_named_with_what_there_is_instead() {
    let scene = scene().await;
    let mut workflow = with_model("sd_xl_base_1.safetensors");
    workflow["3"] =
        json!({"class_type": "EmptyImage", "inputs": {"width": 1, "height": 1, "batch_size": 1, "color": 0}});
    workflow["4"] = json!({"class_type": "ImageScale", "inputs": {"image": ["3", 0], "upscale_method": "lanczoz", "width": 1, "height": 1, "crop": "center"}});
    workflow["5"] = json!({"class_type": "PreviewImage", "inputs": {"images": ["4", 0]}});
    let first = validation_of(&scene, &json!({ "workflow": workflow })).await;
    assert_eq!(pointers(&first), ["/workflow/1/inputs/ckpt_name", "/workflow/4/inputs/upscale_method"]);
    let model = json!({
        "kind": "model", "name": "sd_xl_base_1.safetensors", "node_id": "1", "input": "ckpt_name",
        "nearest": ["sd_xl_base_1.0.safetensors"]
    });
    let value = json!({
        "kind": "value", "name": "lanczoz", "node_id": "4", "input": "upscale_method", "nearest": ["lanczos"]
    });
    assert_eq!(first["backends"], json!([{"name": "gpu-1", "can_run": false, "missing": [model, value]}]));
    assert_eq!(first["node_errors"]["1"]["class_type"], "CheckpointLoaderSimple");
    assert_eq!(first["node_errors"]["4"]["errors"][0]["received"], "lanczoz");

    workflow["6"] = json!({"class_type": "PreviewImag", "inputs": {"images": ["3", 0]}});
    let second = validation_of(&scene, &json!({ "workflow": workflow })).await;
    let missing = second["backends"][0]["missing"].as_array().unwrap();
    let class = missing.iter().find(|one| one["kind"] == "node_class").unwrap();
    assert_eq!((&class["name"], &class["node_id"]), (&json!("PreviewImag"), &json!("6")));
    assert_eq!((&class["input"], &class["nearest"][0]), (&Value::Null, &json!("PreviewImage")));
    scene.finish().await;
}

#[tokio::test]
async fn each_server_answers_for_itself() {
    let comfy = [
        simulator().await,
        simulator_with(|installed| installed.without_classes.push("PreviewAny".to_owned())).await,
        simulator_with(|installed| installed.checkpoints.clear()).await,
        simulator().await,
    ];
    comfy[3].crash().await;
    let gateway = Gateway::in_front_of(&comfy.each_ref()).await;
    gateway.until_capabilities_known(3).await;
    let model = "v1-5-pruned-emaonly-fp16.safetensors";
    let said = gateway.validate(&json!({ "workflow": with_model(model) })).await;
    assert_eq!(said["ok"], true);
    let backends = said["backends"].as_array().unwrap();
    let told: Vec<_> = backends
        .iter()
        .map(|one| (one["name"].as_str().unwrap(), &one["can_run"], &one["missing"][0]["name"]))
        .collect();
    let (yes, no, null) = (json!(true), json!(false), Value::Null);
    assert_eq!(
        told,
        [
            ("gpu-1", &yes, &null),
            ("gpu-2", &no, &json!("PreviewAny")),
            ("gpu-3", &no, &json!(model)),
            ("gpu-4", &null, &null)
        ]
    );
    // With a choice of none there is nothing near.
    assert_eq!(backends[2]["missing"][0]["nearest"], json!([]));
    gateway.finish().await;
}

#[tokio::test]
async fn while_no_server_has_told_anything_all_is_well_as_far_as_is_known() {
    let comfy = simulator().await;
    comfy.faults().always(FaultRoute::ObjectInfo, RequestFault::Status(500, String::new()));
    let gateway = Gateway::in_front_of(&[&comfy]).await;
    let said = gateway.validate(&json!({ "workflow": {"1": {"class_type": "Unheard", "inputs": {}}} })).await;
    let expected = json!({
        "ok": true, "errors": [], "more_errors": 0, "node_errors": {},
        "backends": [{"name": "gpu-1", "can_run": null, "missing": []}]
    });
    assert_eq!(said, expected);
    // But the workflow's own faults are known without any server.
    let said = gateway.validate(&json!({ "workflow": {"1": {"class_type": "Unheard"}} })).await;
    assert_eq!(pointers(&said), ["/workflow/1/inputs"]);
    // And the editor's format cannot be read without one.
    let answer = gateway.post("/validate", &json!({ "workflow": editor_picture(1, "") })).await;
    assert_eq!(answer.status(), 503);
    assert_eq!(answer.headers()["retry-after"], "5");
    assert_eq!(answer.json::<Value>().await.unwrap()["code"], "servers_unknown");
    gateway.finish().await;
}

#[tokio::test]
async fn without_any_server_at_all() {
    let gateway = Gateway::in_front_of(&[]).await;
    let said = gateway.validate(&json!({ "workflow": plain() })).await;
    assert_eq!(
        said,
        json!({ "ok": true, "errors": [], "more_errors": 0, "node_errors": {}, "backends": [] })
    );
    gateway.finish().await;
}

#[tokio::test]
async fn the_workflows_own_faults_are_the_answer_and_no_error() {
    let scene = scene().await;
    for (workflow, at) in [
        (json!({}), "/workflow"),
        (json!([1]), "/workflow"),
        (json!({"1": {"inputs": {}}, "2": 5}), "/workflow/1/class_type"),
        (
            json!({"1": {"class_type": "PreviewAny", "inputs": {"source": ["7", 0]}}}),
            "/workflow/1/inputs/source",
        ),
        (titled(picture(1), "1", "$"), "/workflow/1"),
    ] {
        let said = validation_of(&scene, &json!({ "workflow": workflow })).await;
        assert!(pointers(&said)[0].starts_with(at), "{workflow}: {said:#}");
        assert_eq!((&said["backends"], &said["node_errors"]), (&json!([]), &json!({})), "{workflow}");
        assert!(said["errors"].as_array().unwrap().iter().all(|error| !error["message"].is_null()));
    }
    scene.finish().await;
}

#[tokio::test]
async fn the_parameters_faults_are_too() {
    let scene = scene().await;
    let mut workflow = titled(picture(1), "1", "$color!, $size.width");
    let said_of = async |params: Value| {
        validation_of(
            &scene,
            &json!({ "workflow": titled(picture(1), "1", "$color!, $size.width"), "params": params }),
        )
        .await
    };
    assert_eq!(pointers(&said_of(json!({})).await), ["/params/color"]);
    let wrong = said_of(json!({ "color": "red", "sise": 5 })).await;
    assert_eq!(pointers(&wrong), ["/params/color", "/params/sise"]);
    assert!(wrong["errors"][1]["message"].as_str().unwrap().contains("did you mean size"), "{wrong:#}");
    assert_eq!(wrong["backends"], json!([]));
    // One that fits its field and no server's range.
    let wrong = said_of(json!({ "color": 1, "size": 0 })).await;
    assert_eq!(pointers(&wrong), ["/params/size"]);
    assert_eq!(
        (&wrong["errors"][0]["node_id"], &wrong["backends"][0]["can_run"]),
        (&json!("1"), &json!(false))
    );
    workflow["1"]["inputs"]["width"] = json!(0);
    let own = validation_of(&scene, &json!({ "workflow": workflow, "params": {"color": 1} })).await;
    assert_eq!(pointers(&own), ["/workflow/1/inputs/width"]);
    scene.finish().await;
}

#[tokio::test]
async fn a_registered_workflow_is_judged_by_its_name() {
    let scene = scene().await;
    for graph in [with_model(NONE), with_model("sd_xl_base_1.0.safetensors")] {
        let put = scene.request(Method::PUT, "/workflows/model").json(&graph).send().await.unwrap();
        assert!(put.status().is_success());
    }
    assert_eq!(validation_of(&scene, &json!({ "workflow": "model" })).await["ok"], true);
    let first = validation_of(&scene, &json!({ "workflow": "model@1" })).await;
    assert_eq!(pointers(&first), ["/workflow/1/inputs/ckpt_name"]);
    let refusal =
        scene.refused(validate_request(&scene, r#"{"workflow":"modle"}"#), 422, "invalid_workflow").await;
    assert!(refusal.words().contains("did you mean model?"), "{}", refusal.words());
    let refusal =
        scene.refused(validate_request(&scene, r#"{"workflow":"model@9"}"#), 422, "invalid_workflow").await;
    assert!(refusal.words().contains("newest version of model is 2"), "{}", refusal.words());
    scene.finish().await;
}

#[tokio::test]
async fn a_workflow_behind_a_url_is_fetched_to_be_judged() {
    let scene = scene().await;
    let web = Web::serve(with_model(NONE).to_string(), Behaviour::Good).await;
    let found = validation_of(&scene, &json!({ "workflow": web.url })).await;
    assert_eq!(pointers(&found), ["/workflow/1/inputs/ckpt_name"]);
    let gone = Web::serve("", Behaviour::Status(404)).await;
    let body = json!({ "workflow": format!("{}/secret", gone.url) }).to_string();
    let refusal = scene.refused(validate_request(&scene, body), 502, "workflow_unavailable").await;
    assert!(refusal.words().contains("404") && !refusal.words().contains("secret"), "{}", refusal.words());
    // A URL that may not be fetched is a fault of the workflow.
    let inside = validation_of(&scene, &json!({ "workflow": "http://10.0.0.1/a.json" })).await;
    assert_eq!(pointers(&inside), ["/workflow"]);
    scene.finish().await;
}

#[tokio::test]
async fn the_editors_file_is_judged_as_what_it_is_converted_to() {
    let scene = scene().await;
    let good = json!({ "workflow": editor_picture(5, "$color"), "params": {"color": 6} });
    assert_eq!(validation_of(&scene, &good).await["ok"], true);
    let bad = validation_of(&scene, &json!({ "workflow": editor_picture(0x100_0000, "") })).await;
    assert_eq!(pointers(&bad), ["/workflow/1/inputs/color"]);
    let mut foreign = editor_picture(5, "My picture");
    foreign["nodes"][0]["type"] = json!("Unheard");
    let body = json!({ "workflow": foreign }).to_string();
    let refusal = scene.refused(validate_request(&scene, body), 422, "invalid_workflow").await;
    assert!(refusal.words().contains("node 1 (My picture): "), "{}", refusal.words());
    assert_eq!(refusal.body["errors"][0]["node_id"], "1");
    scene.finish().await;
}

#[tokio::test]
async fn a_form_is_judged_and_its_files_are_thrown_away() {
    let scene = scene().await;
    let workflow = json!({
        "1": {"class_type": "LoadImage", "inputs": {"image": "none.png"}, "_meta": {"title": "$photo.image!"}},
        "2": {"class_type": "ImageScale", "inputs": {"image": ["1", 0], "upscale_method": "area", "width": 8, "height": 8, "crop": "center"}, "_meta": {"title": "$size.width"}},
        "3": {"class_type": "PreviewImage", "inputs": {"images": ["2", 0]}}
    });
    let form = || Form::new().text("request", json!({ "workflow": workflow }).to_string());
    let photo = || Part::bytes(png([1, 2, 3])).file_name("a.png");
    let sent = async |form: Form| -> Value {
        let answer = scene.request(Method::POST, "/validate").multipart(form).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        let said = answer.json().await.unwrap();
        assert_no_effect(&scene).await;
        said
    };
    assert_eq!(sent(form().part("photo", photo()).text("size", "16")).await["ok"], true);
    let wrong = sent(form().part("photo", photo()).text("size", "99999")).await;
    assert_eq!(pointers(&wrong), ["/params/size"]);
    assert_eq!(pointers(&sent(form().part("foto", photo())).await), ["/params/foto", "/params/photo"]);
    let none = scene.request(Method::POST, "/validate").multipart(Form::new().part("photo", photo()));
    assert!(scene.refused(none, 422, "invalid_request").await.words().contains("\"request\""));
    let twice = form().text("photo", "a.png").part("photo", photo());
    let twice = scene.request(Method::POST, "/validate").multipart(twice);
    assert!(scene.refused(twice, 422, "invalid_params").await.words().contains("more than once"));
    assert_no_effect(&scene).await;
    scene.finish().await;
}

#[tokio::test]
async fn values_that_are_files_are_taken_as_good_and_names_on_the_server_are_not() {
    let scene = scene().await;
    let workflow = titled(with_model("sd_xl_base_1.0.safetensors"), "1", "$~model.ckpt_name");
    let of = async |value: Value| {
        validation_of(&scene, &json!({ "workflow": workflow, "params": {"model": value} })).await
    };
    // Nothing is fetched and nothing looked up: what is good may still turn out not to be there.
    let web = Web::serve("x", Behaviour::Good).await;
    for value in [
        json!(data_url([1, 1, 1])),
        json!({ "base64": "AAAA" }),
        json!(web.url),
        json!({ "file": "01a2039d-7a7e-7311-8e35-8537dc36c381" }),
        json!({ "result": "01a2039d-7a7e-7311-8e35-8537dc36c381" }),
    ] {
        let said = of(value.clone()).await;
        assert_eq!(said["ok"], true, "{value}: {said:#}");
    }
    assert_eq!(web.asked(), 0);
    assert_eq!(of(json!("v1-5-pruned-emaonly-fp16.safetensors")).await["ok"], true);
    let wrong = of(json!(NONE)).await;
    assert_eq!(pointers(&wrong), ["/params/model"]);
    assert_eq!(wrong["backends"][0]["missing"][0]["kind"], "model");
    for value in [json!(7), json!({ "nothing": 1 }), json!([])] {
        let said = of(value.clone()).await;
        assert_eq!(pointers(&said), ["/params/model"], "{value}");
        assert_eq!(said["backends"], json!([]), "{value}");
    }
    scene.finish().await;
}

#[tokio::test]
async fn a_seed_that_will_be_drawn_is_good() {
    let scene = scene().await;
    let workflow = json!({"1": {"class_type": "LabSleep", "inputs": {"seconds": 0.0, "steps": 1, "preview": false, "interruptible": true, "seed": 0}}});
    let said = validation_of(&scene, &json!({ "workflow": workflow })).await;
    assert_eq!((&said["ok"], &said["node_errors"]), (&json!(true), &json!({})));
    scene.finish().await;
}

#[tokio::test]
async fn what_is_no_request_is_refused_as_by_execute() {
    let scene = scene().await;
    for (body, status, code, at) in [
        ("", 400, "malformed_json", None),
        ("[1]", 400, "malformed_json", None),
        ("{\"workflow\":", 400, "malformed_json", None),
        ("{}", 422, "invalid_request", Some("/workflow")),
        (r#"{"workflow":{},"priority":1001}"#, 422, "invalid_request", Some("/priority")),
        (r#"{"workflow":{},"timeout":0}"#, 422, "invalid_request", Some("/timeout")),
        (r#"{"workflow":{},"queue_timeout":"x"}"#, 422, "invalid_request", Some("/queue_timeout")),
        (r#"{"workflow":{},"params":[]}"#, 422, "invalid_request", Some("/params")),
        (r#"{"workflow":{},"metadata":7}"#, 422, "invalid_request", Some("/metadata")),
        (r#"{"workflow":{},"worflow":{}}"#, 422, "invalid_request", Some("/worflow")),
        (r#"{"workflow":"no name"}"#, 422, "invalid_request", Some("/workflow")),
    ] {
        let validated = scene.refused(validate_request(&scene, body), status, code).await;
        let executed = scene.refused(scene.execute(body), status, code).await;
        assert_eq!(validated.pointers(), at.into_iter().collect::<Vec<_>>(), "{body}");
        assert_eq!(validated.words(), executed.words(), "{body}");
    }
    let text = scene.request(Method::POST, "/validate").body("{}");
    scene.refused(text, 415, "unsupported_media_type").await;
    let large = format!("{{\"workflow\":{{}},\"metadata\":{{\"x\":\"{}\"}}}}", "x".repeat(1 << 20));
    scene.refused(validate_request(&scene, large), 413, "body_too_large").await;
    scene.refused(scene.request(Method::GET, "/validate"), 405, "method_not_allowed").await;
    scene.finish().await;
}

#[tokio::test]
async fn a_registered_workflow_tells_which_servers_can_run_it() {
    let one = simulator().await;
    let two = simulator_with(|installed| installed.without_classes.push("ImageInvert".to_owned())).await;
    let three = simulator().await;
    three.crash().await;
    let gateway = Gateway::in_front_of(&[&one, &two, &three]).await;
    gateway.until_capabilities_known(2).await;
    let put = async |name: &str, graph: &Value| -> Value {
        let url = format!("{}/workflows/{name}", gateway.base);
        gateway.http.put(url).json(graph).send().await.unwrap().json().await.unwrap()
    };
    let get = async |name: &str| -> Value {
        gateway.get(&format!("/workflows/{name}")).await.json().await.unwrap()
    };
    let invert = json!({
        "1": {"class_type": "LoadImage", "inputs": {"image": "none.png"}, "_meta": {"title": "$photo.image!"}},
        "2": {"class_type": "ImageInvert", "inputs": {"image": ["1", 0]}},
        "3": {"class_type": "PreviewImage", "inputs": {"images": ["2", 0]}}
    });
    let expected = json!([
        {"name": "gpu-1", "can_run": true, "missing": []},
        {"name": "gpu-2", "can_run": false, "missing":
            [{"kind": "node_class", "name": "ImageInvert", "node_id": "2", "input": null, "nearest": []}]},
        {"name": "gpu-3", "can_run": null, "missing": []}
    ]);
    let mut told = put("invert", &invert).await;
    assert_eq!(without_nearest(&mut told["backends"]), &expected);
    assert_eq!(without_nearest(&mut get("invert").await["backends"]), &expected);
    // Its own defaults are held against the servers, but not what a caller has to give.
    put("model", &titled(with_model(NONE), "1", "$model.ckpt_name")).await;
    assert_eq!(get("model").await["backends"][0]["missing"][0]["name"], NONE);
    put("model", &titled(with_model(NONE), "1", "$model.ckpt_name!")).await;
    assert_eq!(get("model").await["backends"][0]["can_run"], true);
    put("model", &titled(with_model(NONE), "1", "$~model.ckpt_name")).await;
    assert_eq!(get("model").await["backends"][0]["can_run"], true);
    assert_eq!(get("model@1").await["backends"][0]["can_run"], false);
    // A new model shows there, too.
    one.install(|installed| installed.checkpoints.push(NONE.to_owned()));
    one.crash().await;
    one.restart().await.unwrap();
    crate::scene::poll_until(|| async { get("model@1").await["backends"][0]["can_run"] == true }).await;
    gateway.finish().await;
}

/// What is near to a class is another test's matter.
fn without_nearest(backends: &mut Value) -> &Value {
    for missing in
        backends.as_array_mut().unwrap().iter_mut().flat_map(|one| one["missing"].as_array_mut().unwrap())
    {
        missing["nearest"] = json!([]);
    }
    backends
}
