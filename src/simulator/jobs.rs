//! `GET /api/jobs`: queue and history as one list, of ComfyUI 0.24 and later.

use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::answers::{broken, json_body};
use super::queue::QueuedPrompt;
use super::server::ServerLife;

#[derive(Deserialize)]
pub(super) struct JobsFilter {
    /// States, separated by commas.
    status: Option<String>,
    limit: Option<usize>,
    #[serde(default)]
    offset: usize,
}

/// The list, newest first. One caller's broken `extra_pnginfo` breaks it for all callers.
pub(super) async fn list(
    State(server): State<Arc<ServerLife>>,
    Query(filter): Query<JobsFilter>,
) -> Response {
    let Some(mut jobs) = all(&server) else { return broken() };
    if let Some(wanted) = filter.status {
        jobs.retain(|job| wanted.split(',').any(|wanted| job["status"] == wanted.trim()));
    }
    jobs.sort_by_key(|job| std::cmp::Reverse(job["create_time"].as_i64()));
    let total = jobs.len();
    let page: Vec<_> =
        jobs.into_iter().skip(filter.offset).take(filter.limit.unwrap_or(usize::MAX)).collect();
    let has_more = filter.offset + page.len() < total;
    let pagination =
        json!({ "offset": filter.offset, "limit": filter.limit, "total": total, "has_more": has_more });
    json_body(&json!({ "jobs": page, "pagination": pagination }))
}

/// One job, with outputs and workflow once it is over.
pub(super) async fn one(State(server): State<Arc<ServerLife>>, Path(id): Path<String>) -> Response {
    if let Some(entry) = server.queue.history_of(&id) {
        let Some(mut job) = finished(&entry) else { return broken() };
        job["outputs"] = entry["outputs"].clone();
        job["execution_status"] = entry["status"].clone();
        job["workflow"] = json!({ "prompt": entry["prompt"][2], "extra_data": entry["prompt"][3] });
        return json_body(&job);
    }
    let waiting = server.queue.jobs().into_iter().find(|(job, _)| job.id == id);
    match waiting {
        Some((job, state)) => waiting_job(&job, state).map_or_else(broken, |job| json_body(&job)),
        None => (StatusCode::NOT_FOUND, json_body(&json!({ "error": "Job not found" }))).into_response(),
    }
}

fn all(server: &ServerLife) -> Option<Vec<Value>> {
    let waiting = server.queue.jobs();
    let waiting = waiting.iter().map(|(job, state)| waiting_job(job, state));
    let history = server.queue.history(None, None);
    waiting.chain(history.values().map(finished)).collect()
}

/// Puts the id of the caller's workflow into `shown`. `None` is what breaks the server.
fn show_workflow(extra: &Map<String, Value>, shown: &mut Value) -> Option<()> {
    let Some(info) = extra.get("extra_pnginfo") else { return Some(()) };
    let Some(workflow) = info.as_object()?.get("workflow") else { return Some(()) };
    if let Some(id) = workflow.as_object()?.get("id") {
        shown["workflow_id"] = id.clone();
    }
    Some(())
}

fn waiting_job(job: &QueuedPrompt, state: &str) -> Option<Value> {
    let mut shown = json!({
        "id": job.id, "status": state, "priority": job.number, "create_time": job.extra.get("create_time"),
        "outputs_count": 0,
    });
    show_workflow(&job.extra, &mut shown)?;
    Some(shown)
}

fn finished(entry: &Value) -> Option<Value> {
    let prompt = &entry["prompt"];
    let messages = entry["status"]["messages"].as_array();
    let message = |kind: &str| messages.into_iter().flatten().find(|message| message[0] == kind);
    let time = |kind: &str| message(kind).map(|message| message[1]["timestamp"].clone());
    let (state, end) = if let Some(end) = time("execution_success") {
        ("completed", end)
    } else if let Some(end) = time("execution_interrupted") {
        ("cancelled", end)
    } else {
        ("failed", time("execution_error").unwrap_or_default())
    };
    let mut shown = json!({
        "id": prompt[1], "status": state, "priority": prompt[0], "create_time": prompt[3]["create_time"],
        "execution_start_time": time("execution_start"), "execution_end_time": end,
    });
    if let Some(error) = message("execution_error") {
        shown["execution_error"] = error[1].clone();
    }
    let previews = previews(&entry["outputs"]);
    shown["outputs_count"] = json!(previews.len());
    if let Some(preview) = previews.iter().find(|file| file["type"] == "output").or(previews.first()) {
        shown["preview_output"] = preview.clone();
    }
    let nothing = Map::new();
    show_workflow(prompt[3].as_object().unwrap_or(&nothing), &mut shown)?;
    Some(shown)
}

/// Every file among the outputs, with its node and kind.
fn previews(outputs: &Value) -> Vec<Value> {
    let nodes = outputs.as_object().into_iter().flatten();
    let mut files = Vec::new();
    for (node, ui) in nodes {
        for (kind, items) in ui.as_object().into_iter().flatten() {
            for file in items.as_array().into_iter().flatten().filter(|item| item["filename"].is_string()) {
                let mut file = file.clone();
                file["nodeId"] = json!(node);
                file["mediaType"] = json!(kind);
                files.push(file);
            }
        }
    }
    files
}
