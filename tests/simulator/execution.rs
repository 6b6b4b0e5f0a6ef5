//! Running jobs: order of messages, history, caching, failures, interruption.

use std::time::Duration;

use comfy_gateway::simulator::{ComfyVersion, SimulatorConfig};
use serde_json::{Value, json};

use crate::client::{Lab, held, picture, quick, types};

/// What a real 0.24.0 said, cut from recorded traffic.
fn recorded(name: &str) -> Value {
    let fixtures: Value = serde_json::from_str(include_str!("../fixtures/comfyui_traffic.json")).unwrap();
    fixtures[name].clone()
}

/// The names of all fields, at every depth, with what differs from run to run left out.
fn shape(value: &Value) -> Value {
    match value {
        Value::Object(fields) => fields.iter().map(|(name, value)| (name.clone(), shape(value))).collect(),
        Value::Array(items) => items.iter().map(shape).collect(),
        Value::Number(_) => json!(0),
        Value::String(_) => json!(""),
        other => other.clone(),
    }
}

#[tokio::test]
async fn a_success_is_told_in_the_order_and_shape_of_a_real_server() {
    let lab = Lab::new().await;
    let mut socket = lab.socket("me").await;
    let id = lab.queue(&picture(1), "me").await;
    let messages = socket.until_over(&id).await;
    let real = recorded("success");
    assert_eq!(types(&messages), types(real.as_array().unwrap()));
    assert_eq!(shape(&messages.clone().into()), shape(&real));
    let entry = lab.history(&id).await;
    assert_eq!(shape(&entry), shape(&recorded("success_history")));
    assert_eq!(entry["outputs"]["2"]["images"][0]["filename"], "cap_00001_.png");
}

#[tokio::test]
async fn success_is_told_before_the_history_entry_is_written() {
    let lab = Lab::with(SimulatorConfig { history_gap: Duration::from_hours(1), ..quick() }).await;
    let mut socket = lab.socket("me").await;
    let id = lab.queue(&picture(1), "me").await;
    while socket.message().await["type"] != "execution_success" {}
    assert_eq!(lab.json(&format!("/history/{id}")).await, json!({}));
    assert_eq!(lab.json("/queue").await["queue_running"][0][1], id);
}

#[tokio::test]
async fn an_error_keeps_the_outputs_before_it_and_is_told_as_by_a_real_server() {
    let lab = Lab::new().await;
    let mut socket = lab.socket("me").await;
    let mut graph = picture(2);
    graph["9"] =
        json!({ "class_type": "LabFail", "inputs": { "mode": "raise", "message": "boom", "any": ["1", 0] } });
    let id = lab.queue(&graph, "me").await;
    let messages = socket.until_over(&id).await;
    let real = recorded("error");
    assert_eq!(types(&messages), types(real.as_array().unwrap()));
    let error = &messages[messages.len() - 2]["data"];
    assert_eq!(error["exception_type"], "ValueError");
    assert_eq!(error["exception_message"], "boom\n");
    assert_eq!(error["current_inputs"]["mode"], json!(["raise"]));
    let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(error), keys(&real[real.as_array().unwrap().len() - 2]["data"]));
    let entry = lab.history(&id).await;
    assert_eq!(entry["status"]["status_str"], "error");
    assert_eq!(entry["status"]["completed"], false);
    assert_eq!(entry["outputs"]["2"]["images"][0]["type"], "output");
    assert_eq!(entry["status"]["messages"][2][0], "execution_error");
}

#[tokio::test]
async fn out_of_memory_has_its_own_type() {
    let lab = Lab::new().await;
    let graph =
        json!({ "9": { "class_type": "LabFail", "inputs": { "mode": "oom", "message": "no room" } } });
    let entry = lab.run(&graph).await;
    assert_eq!(entry["status"]["messages"][2][1]["exception_type"], "torch.OutOfMemoryError");
}

#[tokio::test]
async fn an_interrupted_job_is_told_as_by_a_real_server() {
    let lab = Lab::new().await;
    let mut socket = lab.socket("me").await;
    let id = lab.queue(&held("a"), "me").await;
    lab.simulator.holding("a").await;
    lab.post("/interrupt", &json!({ "prompt_id": "another" })).await;
    assert_eq!(lab.post("/interrupt", &json!({ "prompt_id": id })).await.status(), 200);
    let messages = socket.until_over(&id).await;
    let real = [
        "execution_start",
        "execution_cached",
        "progress_state",
        "executing",
        "execution_interrupted",
        "executing",
    ];
    assert_eq!(types(&messages), real);
    let entry = lab.history(&id).await;
    assert_eq!(entry["status"]["status_str"], "error");
    assert_eq!(shape(&entry["status"]["messages"][2]), shape(&recorded("interrupted")));
}

#[tokio::test]
async fn an_interruption_of_nothing_is_forgotten_when_the_next_job_begins() {
    let lab = Lab::new().await;
    lab.http.post(lab.url("/interrupt")).send().await.unwrap();
    assert_eq!(lab.run(&picture(1)).await["status"]["status_str"], "success");
}

#[tokio::test]
async fn a_rerun_replays_old_names_even_of_files_that_are_gone() {
    let lab = Lab::new().await;
    let first = lab.run(&picture(3)).await;
    let mut socket = lab.socket("me").await;
    let mut graph = picture(3);
    graph["2"]["_meta"] = json!({ "title": "$output.other" });
    let id = lab.queue(&graph, "me").await;
    let messages = socket.until_over(&id).await;
    assert_eq!(
        types(&messages),
        [
            "execution_start",
            "execution_cached",
            "executed",
            "progress_state",
            "execution_success",
            "executing"
        ]
    );
    assert_eq!(messages[1]["data"]["nodes"], json!(["1", "2"]));
    assert_eq!(lab.history(&id).await["outputs"], first["outputs"]);
    std::fs::remove_file(lab.simulator.output_directory().join("cap_00001_.png")).unwrap();
    assert_eq!(lab.run(&picture(3)).await["outputs"], first["outputs"]);
    assert_eq!(lab.get("/view?filename=cap_00001_.png").await.status(), 404);
    let other = lab.run(&picture(4)).await;
    assert_eq!(other["outputs"]["2"]["images"][0]["filename"], "cap_00001_.png", "names are used again");
}

#[tokio::test]
async fn freed_memory_is_computed_again() {
    let lab = Lab::new().await;
    lab.run(&picture(3)).await;
    lab.post("/free", &json!({ "unload_models": true, "free_memory": true })).await;
    assert_eq!(lab.run(&picture(3)).await["outputs"]["2"]["images"][0]["filename"], "cap_00002_.png");
}

#[tokio::test]
async fn a_blocked_branch_is_no_failure() {
    let lab = Lab::new().await;
    let mut socket = lab.socket("me").await;
    let mut graph = picture(5);
    graph["8"] = json!({ "class_type": "LabBlock", "inputs": { "message": "blocked!", "silent": false } });
    graph["9"] =
        json!({ "class_type": "SaveImage", "inputs": { "images": ["8", 0], "filename_prefix": "b" } });
    let id = lab.queue(&graph, "me").await;
    let messages = socket.until_over(&id).await;
    let error = messages.iter().find(|message| message["type"] == "execution_error").unwrap();
    assert_eq!(error["data"]["exception_type"], "ExecutionBlocked");
    assert_eq!(error["data"]["exception_message"], "Execution Blocked: blocked!");
    let entry = lab.history(&id).await;
    assert_eq!(entry["status"]["status_str"], "success");
    assert_eq!(entry["outputs"].as_object().unwrap().keys().collect::<Vec<_>>(), ["2"]);
}

#[tokio::test]
async fn an_expanded_node_shows_outputs_under_its_childrens_ids_and_cached_none() {
    let lab = Lab::new().await;
    let graph = json!({ "5": { "class_type": "LabExpand", "inputs": { "prefix": "exp", "color": 7 } } });
    let mut socket = lab.socket("me").await;
    let id = lab.queue(&graph, "me").await;
    let messages = socket.until_over(&id).await;
    let real = recorded("expansion");
    assert_eq!(shape(&messages.into()), shape(&real));
    assert_eq!(
        lab.history(&id).await["outputs"].as_object().unwrap().keys().collect::<Vec<_>>(),
        ["5.0.0.2"]
    );
    let again = lab.run(&graph).await;
    assert_eq!(again["outputs"], json!({}));
    assert_eq!(again["status"]["status_str"], "success");
}

#[tokio::test]
async fn bare_nan_comes_in_history() {
    let lab = Lab::new().await;
    let graph =
        json!({ "1": { "class_type": "LabUI", "inputs": { "ui_json": "{\"v\":[NaN],\"text\":\"hi\"}" } } });
    let id = lab.queue(&graph, "nobody").await;
    lab.simulator.finished(&id).await;
    let text = lab.get(&format!("/history/{id}")).await.text().await.unwrap();
    assert!(text.contains(r#""v":[NaN]"#), "{text}");
    assert!(text.contains(r#""text":["h","i"]"#), "a bare text comes in letters: {text}");
}

#[tokio::test]
async fn text_to_image_makes_a_picture_of_prompt_and_seed_with_progress() {
    let lab = Lab::new().await;
    let graph = |seed: u64| {
        json!({
            "4": { "class_type": "CheckpointLoaderSimple", "inputs": { "ckpt_name": "sd_xl_base_1.0.safetensors" } },
            "5": { "class_type": "EmptyLatentImage", "inputs": { "width": 64, "height": 64, "batch_size": 1 } },
            "6": { "class_type": "CLIPTextEncode", "inputs": { "text": "a cat", "clip": ["4", 1] } },
            "7": { "class_type": "CLIPTextEncode", "inputs": { "text": "", "clip": ["4", 1] } },
            "3": { "class_type": "KSampler", "inputs": {
                "seed": seed, "steps": 4, "cfg": 7, "sampler_name": "euler", "scheduler": "normal", "denoise": 1,
                "model": ["4", 0], "positive": ["6", 0], "negative": ["7", 0], "latent_image": ["5", 0] } },
            "8": { "class_type": "VAEDecode", "inputs": { "samples": ["3", 0], "vae": ["4", 2] } },
            "9": { "class_type": "SaveImage", "inputs": { "images": ["8", 0], "filename_prefix": "x" } },
        })
    };
    let mut socket = lab.socket("me").await;
    let id = lab.queue(&graph(u64::MAX), "me").await;
    let messages = socket.until_over(&id).await;
    let steps: Vec<_> = messages
        .iter()
        .filter(|message| message["type"] == "progress")
        .map(|message| &message["data"]["value"])
        .collect();
    assert_eq!(steps, [1, 2, 3, 4]);
    assert_eq!(lab.history(&id).await["prompt"][2]["3"]["inputs"]["seed"].to_string(), u64::MAX.to_string());
    lab.run(&graph(1)).await;
    let view = async |name: &str| lab.get(&format!("/view?filename={name}")).await.bytes().await.unwrap();
    let (one, two) = (view("x_00001_.png").await, view("x_00002_.png").await);
    assert!(one.starts_with(b"\x89PNG"));
    assert_ne!(one, two);
}

#[tokio::test]
async fn sound_is_a_real_wav_file() {
    let lab = Lab::new().await;
    let graph = json!({
        "1": { "class_type": "SimTone", "inputs": { "seconds": 0.1, "hertz": 440 } },
        "2": { "class_type": "SimSaveWav", "inputs": { "audio": ["1", 0], "filename_prefix": "audio/tone" } },
    });
    let saved = &lab.run(&graph).await["outputs"]["2"]["audio"][0];
    assert_eq!(*saved, json!({ "filename": "tone_00001_.wav", "subfolder": "audio", "type": "output" }));
    let response = lab.get("/view?filename=tone_00001_.wav&subfolder=audio&type=output").await;
    assert!(response.bytes().await.unwrap().starts_with(b"RIFF"));
}

#[tokio::test]
async fn the_model_free_workflow_runs_with_live_progress() {
    let lab = Lab::with(SimulatorConfig { exec: Duration::from_millis(8), steps: 4, ..quick() }).await;
    let mut graph: Value =
        serde_json::from_str(include_str!("../../examples/workflows/model-free.json")).unwrap();
    graph["1"]["inputs"]["value"] = json!("hello");
    let mut socket = lab.socket("me").await;
    let id = lab.queue(&graph, "me").await;
    let messages = socket.until_over(&id).await;
    assert_eq!(messages.iter().filter(|message| message["type"] == "progress").count(), 4);
    let entry = lab.history(&id).await;
    assert_eq!(entry["outputs"]["2"]["text"], json!(["hello"]));
    assert_eq!(entry["outputs"]["4"]["images"][0]["filename"], "model-free_00001_.png");
}

#[tokio::test]
async fn a_save_outside_the_output_directory_fails_the_job() {
    let lab = Lab::new().await;
    let mut graph = picture(1);
    graph["2"]["inputs"]["filename_prefix"] = json!("../../evil");
    let entry = lab.run(&graph).await;
    assert_eq!(entry["status"]["messages"][2][1]["node_id"], "2");
    assert_eq!(entry["outputs"], json!({}));
}

#[tokio::test]
async fn the_older_release_has_no_create_time_and_no_jobs() {
    let lab = Lab::with(SimulatorConfig { version: ComfyVersion::V0_3_64, ..quick() }).await;
    let entry = lab.run(&picture(1)).await;
    assert_eq!(entry["prompt"][3], json!({ "client_id": "nobody" }));
    assert_eq!(lab.get("/api/jobs").await.status(), 404);
    assert_eq!(lab.json("/system_stats").await["system"]["comfyui_version"], "0.3.64");
}

#[tokio::test]
async fn nodes_that_are_no_objects_break_either_release_in_its_own_way() {
    for (version, node, status) in [
        (ComfyVersion::V0_24_0, json!("text"), 500),
        (ComfyVersion::V0_24_0, json!(3), 500),
        (ComfyVersion::V0_3_64, json!("text"), 400),
        (ComfyVersion::V0_3_64, json!([]), 400),
        (ComfyVersion::V0_3_64, json!(3), 500),
        (ComfyVersion::V0_3_64, json!(null), 500),
    ] {
        let lab = Lab::with(SimulatorConfig { version, ..quick() }).await;
        let response = lab.post("/prompt", &json!({ "prompt": { "1": node } })).await;
        assert_eq!(response.status(), status, "{version:?} {node}");
    }
}
