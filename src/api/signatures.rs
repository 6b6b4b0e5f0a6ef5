//! Adds an operation for each registered workflow to the OpenAPI document, so that generated clients have typed
//! parameters.

use std::collections::HashSet;

use serde_json::{Map, Value, json};

use crate::domain::schema::media_value;
use crate::store::WorkflowSummary;

/// The reference to the schema of a media value in the document.
pub const MEDIA: &str = "#/components/schemas/MediaValue";

/// Adds an operation for each workflow to the document.
#[must_use]
pub fn with_workflows(mut document: Value, workflows: Vec<(WorkflowSummary, Value)>) -> Value {
    if workflows.is_empty() {
        return document;
    }
    let general = document["paths"]["/workflows/{name}/execute"]["post"].clone();
    document["components"]["schemas"]["MediaValue"] = media_value();
    let mut taken = operation_ids(&document);
    let mut paths = Map::new();
    for (workflow, params) in workflows {
        let path = format!("/workflows/{}/execute", workflow.name);
        let id = operation_id(workflow.name.as_str(), &mut taken);
        paths.insert(path, json!({ "post": operation(general.clone(), &workflow, &params, id) }));
    }
    if let Some(all) = document["paths"].as_object_mut() {
        all.extend(paths);
    }
    document
}

/// The operation ids of the document. An id must be unique.
fn operation_ids(document: &Value) -> HashSet<String> {
    let paths = document["paths"].as_object().into_iter().flat_map(Map::values);
    let operations = paths.filter_map(Value::as_object).flat_map(Map::values);
    operations.filter_map(|operation| operation["operationId"].as_str()).map(str::to_owned).collect()
}

/// An operation id that is a valid identifier in most languages. Names such as `a-b` and `a.b` lead to the same id, so
/// later ones get a number.
fn operation_id(workflow: &str, taken: &mut HashSet<String>) -> String {
    let plain: String = workflow.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    let mut id = format!("execute_{plain}");
    let mut number = 2;
    while !taken.insert(id.clone()) {
        id = format!("execute_{plain}_{number}");
        number += 1;
    }
    id
}

fn operation(mut operation: Value, workflow: &WorkflowSummary, params: &Value, id: String) -> Value {
    let name = workflow.name.as_str();
    operation["operationId"] = id.into();
    operation["summary"] = workflow.title.as_deref().unwrap_or(name).into();
    let about = workflow.description.as_deref().unwrap_or_default();
    operation["description"] =
        format!("{about}\n\nVersion {} of the workflow `{name}`.", workflow.version).trim().into();
    operation["tags"] = json!(["registered workflows"]);
    operation["requestBody"] = json!({
        "required": params["required"].as_array().is_some_and(|required| !required.is_empty()),
        "content": { "application/json": {"schema": params}, "multipart/form-data": {"schema": form(params)} }
    });
    if let Some(parameters) = operation["parameters"].as_array_mut() {
        parameters.retain(|parameter| parameter["in"] != "path");
    }
    operation
}

/// The schema of the same parameters as parts of a form: media are files, and all other values are texts.
fn form(params: &Value) -> Value {
    let mut form = params.clone();
    for (_, param) in form["properties"].as_object_mut().into_iter().flatten() {
        if param.get("x-media").is_some() {
            let file = json!({ "type": "string", "format": "binary" });
            let several = param.get("anyOf").is_some();
            *param = if several { json!({ "type": "array", "items": file, "minItems": 1 }) } else { file };
        }
    }
    form
}

#[cfg(test)]
#[path = "signatures_tests.rs"]
mod tests;
