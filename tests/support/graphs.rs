//! Workflows for tests, none of which needs a GPU.

use serde_json::{Value, json};

/// A picture of one colour, saved under `$output.cover`.
pub fn picture(color: u32) -> Value {
    json!({
        "1": {"class_type": "EmptyImage", "inputs": {"width": 32, "height": 32, "batch_size": 1, "color": color}},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "test"}, "_meta": {"title": "$output.cover"}}
    })
}

/// A job that runs until the test releases `name`, then shows a text.
pub fn hold(name: &str) -> Value {
    json!({ "1": {"class_type": "SimHold", "inputs": {"name": name}} })
}

/// The workflow with a title on one node.
pub fn titled(mut workflow: Value, node: &str, title: &str) -> Value {
    workflow[node]["_meta"]["title"] = title.into();
    workflow
}

/// A node that shows the given JSON.
pub fn shows(ui: &Value) -> Value {
    json!({ "1": {"class_type": "LabUI", "inputs": {"ui_json": ui.to_string()}} })
}

/// A node that fails in the given way.
pub fn fails(mode: &str) -> Value {
    json!({ "1": {"class_type": "LabFail", "inputs": {"mode": mode, "message": "boom"}} })
}

/// A picture, saved before a second node fails on it.
pub fn picture_then_fails(mode: &str) -> Value {
    let mut workflow = picture(0x12_34_56);
    workflow["3"] =
        json!({"class_type": "LabFail", "inputs": {"mode": mode, "message": "boom", "any": ["1", 0]}});
    workflow
}

/// A text node; `title` names or marks it.
pub fn text(value: &str, title: &str) -> Value {
    json!({
        "1": {"class_type": "PrimitiveString", "inputs": {"value": value}, "_meta": {"title": title}},
        "2": {"class_type": "PreviewAny", "inputs": {"source": ["1", 0]}, "_meta": {"title": "$output.text"}}
    })
}

/// Shows what a checkpoint is, as the text `model`.
pub fn with_model(name: &str) -> Value {
    json!({
        "1": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": name}},
        "2": {"class_type": "PreviewAny", "inputs": {"source": ["1", 0]}, "_meta": {"title": "$output.model"}}
    })
}
