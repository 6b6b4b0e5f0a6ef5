//! Values that would make a backend read files outside its input folder.

use comfy_gateway::simulator::FaultRoute;
use serde_json::{Value, json};

use crate::scene::Scene;

const PATHS: [&str; 4] = ["/etc/ssl/x.png", "../../x.png", "sub/../../x.png", "negative_00001_.png [output]"];

fn negative(image: &str, title: &str) -> Value {
    json!({
        "1": {"class_type": "LoadImage", "inputs": {"image": image}, "_meta": {"title": title}},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "x"}}
    })
}

/// How a workflow and a path in its parameter are refused: code and pointer.
async fn refusals(scene: &Scene, path: &str) -> [(Value, Value); 3] {
    let marked = negative("a.png", "$photo.image");
    // A field of LoadImage is a file even where the marker would take a plain text for it.
    let bodies = [
        json!({ "workflow": marked, "params": {"photo": path} }),
        json!({ "workflow": negative("a.png", "$~photo.image!"), "params": {"photo": [path]} }),
        json!({ "workflow": negative(path, "") }),
    ];
    let mut told = Vec::new();
    for body in bodies {
        let response = scene.gateway.post("/execute", &body).await;
        assert_eq!(response.status(), 422, "{path}");
        let problem: Value = response.json().await.unwrap();
        let message = problem["errors"][0]["message"].as_str().unwrap();
        assert!(message.contains("base64") || message.contains("\"result\""), "{message}");
        let validated = scene.gateway.validate(&body).await;
        assert_eq!(validated["errors"][0]["pointer"], problem["errors"][0]["pointer"]);
        told.push((problem["code"].clone(), problem["errors"][0]["pointer"].clone()));
    }
    told.try_into().unwrap()
}

#[tokio::test]
async fn a_path_on_the_backend_is_refused_in_parameters_and_literals() {
    let scene = Scene::new().await;
    scene.gateway.until_capabilities_known(1).await;
    for path in PATHS {
        let [text, list, literal] = refusals(&scene, path).await;
        assert_eq!(text, (json!("invalid_params"), json!("/params/photo")), "{path}");
        assert_eq!(list, (json!("invalid_params"), json!("/params/photo")), "{path}");
        assert_eq!(literal, (json!("invalid_workflow"), json!("/workflow/1/inputs/image")), "{path}");
    }
    assert!(scene.comfy.requests(FaultRoute::Prompt).is_empty());
    scene.finish().await;
}

#[tokio::test]
async fn the_setting_lets_them_through_to_comfyui() {
    let scene = Scene::with(|settings| settings.service.allow_backend_paths = true).await;
    scene.gateway.until_capabilities_known(1).await;
    let body =
        json!({ "workflow": negative("a.png", "$photo.image"), "params": {"photo": "gone.png [output]"} });
    let result = scene.gateway.result(&scene.gateway.execute(&body).await).await;
    // ComfyUI has been asked, and has no such file.
    assert_eq!(result["error"]["code"], "invalid_workflow", "{result:#}");
    assert_eq!(scene.comfy.requests(FaultRoute::Prompt).len(), 1);
    scene.finish().await;
}
