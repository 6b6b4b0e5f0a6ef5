//! Removed node classes and their replacements, as ComfyUI 0.24 has them: `GET /node_replacements`, and the
//! replacement itself before a prompt is validated.

use serde_json::{Map, Value, json};

/// Each class that is gone, and the one of the same inputs and outputs that takes its place.
const REPLACED: [(&str, &str); 1] = [("SimEmptyImage", "EmptyImage")];

/// The body of `GET /node_replacements`.
pub(super) fn list() -> Value {
    let entry = |(old, new): (&str, &str)| {
        let replacement = json!({
            "new_node_id": new, "old_node_id": old, "old_widget_ids": null, "input_mapping": null, "output_mapping": null,
        });
        (old.to_owned(), json!([replacement]))
    };
    Value::Object(REPLACED.into_iter().map(entry).collect())
}

/// Exchanges the classes of a graph that are gone.
pub(super) fn apply(graph: &mut Map<String, Value>) {
    for node in graph.values_mut() {
        let new =
            node["class_type"].as_str().and_then(|class| REPLACED.iter().find(|(old, _)| *old == class));
        if let Some((_, new)) = new {
            node["class_type"] = json!(new);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_listed_is_exchanged_and_nothing_else() {
        let listed = list();
        for (old, new) in REPLACED {
            assert_eq!(listed[old][0]["new_node_id"], new);
            let mut graph = json!({"1": {"class_type": old, "inputs": {"width": 1}}, "2": {"class_type": "Other"}, "3": 7});
            apply(graph.as_object_mut().unwrap());
            assert_eq!(graph["1"], json!({"class_type": new, "inputs": {"width": 1}}));
            assert_eq!((&graph["2"]["class_type"], &graph["3"]), (&json!("Other"), &json!(7)));
        }
    }
}
