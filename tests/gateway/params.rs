//! The workflow as it arrives at ComfyUI: the same bytes, with the values in their places.

use comfy_gateway::simulator::{FaultRoute, Simulator};
use reqwest::header::CONTENT_TYPE;
use serde_json::{Value, json};

use crate::support::{Gateway, simulator, text};

/// The text of the graph in the last `POST /prompt`.
fn sent(comfy: &Simulator) -> String {
    let seen = comfy.requests(FaultRoute::Prompt);
    let body = seen.iter().rfind(|request| request.method == "POST").unwrap();
    let body = String::from_utf8(body.body.to_vec()).unwrap();
    let (_, graph) = body.split_once(r#""prompt":"#).unwrap();
    graph.strip_suffix('}').unwrap().to_owned()
}

/// Sends a body whose bytes matter.
async fn execute(gateway: &Gateway, body: String) -> Value {
    let request =
        gateway.http.post(format!("{}/execute", gateway.base)).header(CONTENT_TYPE, "application/json");
    let answer: Value =
        request.header("prefer", "wait=30").body(body).send().await.unwrap().json().await.unwrap();
    answer
}

#[tokio::test]
async fn seeds_floats_order_and_spaces_arrive_unchanged() {
    let comfy = simulator().await;
    let gateway = Gateway::in_front_of(&[&comfy]).await;
    let graph = r#"{ "9":{"inputs":{"seconds":0.000000000000000100,"seed":9223372036854775807, "steps":1,"preview":false,"interruptible":true,
        "unknown":{"big":18446744073709551615,"long":3.141592653589793238462643383279}},"class_type":"LabSleep"} ,
        "1":{"class_type":"PrimitiveString","inputs":{"value":"\u00e9\/\ud83d\ude00"},"extra":[1e5,1E+5,-0.0]}}"#;
    let result = execute(&gateway, format!(r#"{{"workflow":{graph}}}"#)).await;
    assert_eq!(result["status"], "completed", "{result:#}");
    assert_eq!(sent(&comfy), graph);
    gateway.finish().await;
}

#[tokio::test]
async fn the_largest_seed_arrives_and_is_used() {
    let comfy = simulator().await;
    let gateway = Gateway::in_front_of(&[&comfy]).await;
    let mut graph = sampler();
    graph["3"]["inputs"]["seed"] = json!(18_446_744_073_709_551_615_u64);
    let id = gateway.execute(&json!({ "workflow": graph, "params": {"prompt": "x"} })).await;
    let result = gateway.result(&id).await;
    assert_eq!(result["status"], "completed", "{result:#}");
    assert!(sent(&comfy).contains(r#""seed":18446744073709551615"#));
    assert_eq!(result["seeds"], json!({}));
    gateway.finish().await;
}

fn sampler() -> Value {
    json!({
        "1": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "sd_xl_base_1.0.safetensors"}},
        "2": {"class_type": "CLIPTextEncode", "inputs": {"text": "a cat", "clip": ["1", 1]}, "_meta": {"title": "$prompt.text!:what to paint"}},
        "3": {"class_type": "KSampler", "inputs": {"model": ["1", 0], "seed": 0, "steps": 2, "cfg": 7.50, "sampler_name": "euler",
              "scheduler": "normal", "positive": ["2", 0], "negative": ["2", 0], "latent_image": ["4", 0], "denoise": 1.0}, "_meta": {"title": "$cfg, $steps"}},
        "4": {"class_type": "EmptyLatentImage", "inputs": {"width": 16, "height": 16, "batch_size": 1}},
        "5": {"class_type": "VAEDecode", "inputs": {"samples": ["3", 0], "vae": ["1", 2]}},
        "6": {"class_type": "SaveImage", "inputs": {"images": ["5", 0], "filename_prefix": "x"}, "_meta": {"title": "$output.cover"}}
    })
}

#[tokio::test]
async fn values_are_bound_with_their_types_and_a_drawn_seed_is_told() {
    let comfy = simulator().await;
    let gateway = Gateway::in_front_of(&[&comfy]).await;
    let prompt = "a \"dog\"\n\\ü";
    let body = json!({ "workflow": sampler(), "params": {"prompt": prompt, "cfg": 3} });
    let id = gateway.execute(&body).await;
    let result = gateway.result(&id).await;
    assert_eq!(result["status"], "completed", "{result:#}");
    let graph: Value = serde_json::from_str(&sent(&comfy)).unwrap();
    assert_eq!(graph["2"]["inputs"]["text"], prompt);
    assert_eq!(graph["3"]["inputs"]["cfg"].to_string(), "3");
    assert_eq!(graph["3"]["inputs"]["steps"], 2, "the default stays");
    let seed = result["seeds"]["3"].as_u64().unwrap();
    assert!(seed > 0);
    assert_eq!(graph["3"]["inputs"]["seed"], seed);
    let again = gateway.execute(&body).await;
    let second = gateway.result(&again).await;
    assert_ne!(second["seeds"]["3"], seed, "each job draws its own");
    gateway.finish().await;
}

#[tokio::test]
async fn only_what_is_known_to_be_safe_stands_around_the_workflow() {
    let comfy = simulator().await;
    let gateway = Gateway::in_front_of(&[&comfy]).await;
    let id = gateway.submit(text("x", "")).await;
    gateway.result(&id).await;
    let seen = comfy.requests(FaultRoute::Prompt);
    let body: Value =
        serde_json::from_slice(&seen.iter().rfind(|request| request.method == "POST").unwrap().body).unwrap();
    let keys: Vec<&String> = body.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["prompt_id", "client_id", "prompt"]);
    assert_eq!(body["prompt_id"], id, "the first attempt carries the job's own id");
    gateway.finish().await;
}
