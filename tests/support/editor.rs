//! Workflows as the ComfyUI editor saves them, none of which needs a GPU.

use serde_json::{Value, json};

/// Saves a picture of one colour. `title` is the title of the node that makes it.
pub fn editor_picture(color: u32, title: &str) -> Value {
    json!({
        "last_node_id": 2, "last_link_id": 1, "version": 0.4,
        "nodes": [
            {"id": 1, "type": "EmptyImage", "title": title, "mode": 0, "inputs": [],
             "outputs": [{"name": "IMAGE", "type": "IMAGE", "links": [1]}], "widgets_values": [32, 16, 1, color]},
            {"id": 2, "type": "SaveImage", "title": "$output.cover", "mode": 0,
             "inputs": [{"name": "images", "type": "IMAGE", "link": 1}], "outputs": [], "widgets_values": ["edited"]}
        ],
        "links": [[1, 1, 0, 2, 0, "IMAGE"]]
    })
}
