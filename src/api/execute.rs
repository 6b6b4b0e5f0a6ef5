//! `POST /execute`: queues a job for a workflow.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::http::header::{LOCATION, RETRY_AFTER};
use axum::http::{HeaderValue, StatusCode, request::Parts};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::body::{FieldReader, JsonObject};
use super::dto::ExecuteResult;
use super::extract::{BaseUrl, PreferWait, preferred_wait};
use super::form::JobBody;
use super::options::{self, RequiresBody};
use super::problem::{
    self, INVALID_PARAMS, INVALID_REQUEST, INVALID_WORKFLOW, MALFORMED_FORM, MALFORMED_JSON, Problem,
    QUEUE_FULL, SERVERS_UNKNOWN, STORAGE_UNAVAILABLE, WORKFLOW_UNAVAILABLE,
};
use super::problem_responses::{BODY_READ, STORE_WRITE, problem_responses};
use super::results::POLL_AGAIN;
use super::state::{ApiLimits, ApiState};
use crate::domain::binding::GivenValue;
use crate::domain::text::brief;
use crate::service::{JobSubmission, RequestFile, WorkflowSource};

/// The fields of a request, apart from its options.
const FIELDS: [&str; 2] = ["workflow", "params"];

/// A workflow to run.
#[derive(Debug, ToSchema, Deserialize)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "workflow": {
        "1": {"class_type": "EmptyImage", "inputs": {"width": 512, "height": 512, "batch_size": 1, "color": 0}, "_meta": {"title": "$color!"}},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "plain"}, "_meta": {"title": "$output.cover"}},
    },
    "params": {"color": 4_620_980},
}))]
#[expect(dead_code, reason = "documents the body, which is read field by field")]
pub struct ExecuteRequest {
    /// The workflow to run.
    workflow: AnyWorkflow,
    /// Values for the parameters that the workflow's node titles declare. A media parameter takes a URL, a data URL,
    /// `{"base64": …}`, `{"file": …}` with an id from `POST /files`, `{"result": …, "var": …}` of an earlier job, or the
    /// name of a file on the backend. A parameter that accepts several files takes a list of these.
    #[schema(value_type = Option<Object>)]
    params: Option<serde_json::Value>,
    /// The job's priority. Jobs of a higher priority run first.
    #[schema(default = 0, minimum = 0, maximum = 1000)]
    priority: Option<i32>,
    /// The longest time the job may run, in seconds. At most the setting `max_timeout`, which is 7 days by default.
    #[schema(minimum = 0.001, maximum = 604_800)]
    timeout: Option<f64>,
    /// The longest time the job may wait in the gateway's queue, in seconds; it starts anew when the job is requeued. At
    /// most `max_timeout`. Time in a backend's own queue does not count, because the job is already `running` there.
    #[schema(minimum = 0.001, maximum = 604_800)]
    queue_timeout: Option<f64>,
    /// Your own data, returned with the result; up to 64 KiB.
    #[schema(value_type = Option<Object>)]
    metadata: Option<serde_json::Value>,
    /// Identifies on whose behalf the job runs, such as your customer's id. Within one priority, callers take turns, so that
    /// one caller's thousand jobs do not delay another caller's first job.
    #[schema(max_length = 128)]
    caller: Option<String>,
    /// Restricts which backends may run the job. The job waits in the queue until such a backend is available.
    requires: Option<RequiresBody>,
    /// The number of attempts that may fail before the job fails. Defaults to the setting `max_attempts`.
    #[schema(minimum = 1, maximum = 100)]
    max_attempts: Option<u32>,
    /// Whether the job may run if some of its outputs cannot. By default, a workflow is rejected if any of its outputs
    /// cannot run. If true, `dropped_outputs` in the result lists the missing outputs and the reasons.
    #[schema(default = false)]
    partial: Option<bool>,
}

/// A workflow: a graph, an editor file, or a reference.
#[derive(Debug, ToSchema, Deserialize)]
#[serde(untagged)]
#[expect(dead_code, reason = "documents the body, which is read field by field")]
pub enum AnyWorkflow {
    /// An API-format graph: nodes keyed by id, as ComfyUI's "Export (API)" writes it.
    Graph(BTreeMap<String, WorkflowNode>),
    /// A workflow file as the ComfyUI editor saves it.
    Editor(EditorFile),
    /// The name of a registered workflow (`portrait`), a version of it (`portrait@3`), or the URL of a graph or an editor
    /// file.
    Named(String),
}

/// A workflow file as the ComfyUI editor saves it. All further fields of the file are accepted.
#[derive(Debug, ToSchema, Deserialize)]
#[expect(dead_code, reason = "documents the body, which is read field by field")]
pub struct EditorFile {
    /// The nodes of the workflow.
    #[schema(value_type = Vec<Object>)]
    nodes: Vec<serde_json::Value>,
}

/// The same request as a multipart form, which can carry the input files.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "documents the body, which is read part by part")]
pub struct ExecuteForm {
    /// The JSON request. Every other part of the form is the value of the parameter with the part's name. Several files
    /// under one name form a list.
    request: ExecuteRequest,
}

/// A node of a workflow.
#[derive(Debug, ToSchema, Deserialize)]
#[expect(dead_code, reason = "documents the body, which is read field by field")]
pub struct WorkflowNode {
    /// The node's class.
    #[schema(min_length = 1)]
    class_type: String,
    /// The node inputs: literal values, and links as `[node id, output index]`.
    #[schema(value_type = Object)]
    inputs: serde_json::Value,
    /// The node's metadata. `title` may contain `$param` and `$output.name` markers.
    #[serde(rename = "_meta")]
    #[schema(value_type = Option<Value>)]
    meta: Option<serde_json::Value>,
}

problem_responses!(ExecuteProblems: &[MALFORMED_JSON, MALFORMED_FORM, INVALID_REQUEST, INVALID_WORKFLOW, INVALID_PARAMS, WORKFLOW_UNAVAILABLE, QUEUE_FULL, SERVERS_UNKNOWN, STORAGE_UNAVAILABLE], STORE_WRITE, BODY_READ);

/// Queues a job.
///
/// The job is on disk before the response is sent. With `Prefer: wait=30`, the gateway waits up to 30 seconds for the job
/// to end before it responds.
#[utoipa::path(
    post, path = "/execute", tag = "jobs", operation_id = "execute",
    request_body(content((ExecuteRequest = "application/json"), (ExecuteForm = "multipart/form-data"))),
    params(("Prefer" = Option<String>, Header, description = "`wait=N`: wait up to N seconds for the job to end before responding")),
    responses(
        (status = 200, description = "The job ended within the requested wait", body = ExecuteResult,
         headers(("Preference-Applied" = String, description = "`wait=N` with the wait that was applied"), ("Location" = String, description = "The job's path"))),
        (status = 202, description = "The job was accepted and has not ended", body = ExecuteResult,
         headers(("Location" = String, description = "The job's path"), ("Retry-After" = u64, description = "Seconds to wait before the next request"))),
        ExecuteProblems,
    )
)]
pub async fn execute(
    State(state): State<ApiState>,
    base: BaseUrl,
    parts: Parts,
    body: JobBody,
) -> Result<Response, Problem> {
    let wait = preferred_wait(&parts, state.limits.max_wait);
    let (service, limits, own_url) = (state.service.clone(), state.limits.clone(), base.clone());
    let submitting = state.offload.clone().judge(body.bytes(), move || async move {
        let JobBody { json, texts, files } = body;
        let submission = submission(json.as_ref(), &texts, files, &limits, own_url.as_str())?;
        Ok::<_, Problem>(service.submit(submission).await?)
    });
    let id = submitting.await?;
    let view = state.service.result(id, wait.time).await?;
    Ok(answer(&ExecuteResult::new(view, &base), &format!("/results/{id}"), wait))
}

/// Builds the submission from a request's JSON and the other parts of a form.
pub(super) fn submission<'a>(
    json: Option<&'a JsonObject>,
    texts: &'a [(String, String)],
    files: Vec<(String, RequestFile)>,
    limits: &ApiLimits,
    own_url: &'a str,
) -> Result<JobSubmission<'a>, Problem> {
    let json = json.ok_or_else(|| {
        Problem::new(
            problem::INVALID_REQUEST,
            "the form has no part named \"request\"; send the JSON request in it",
        )
    })?;
    let mut submission =
        read(json.fields(&[&FIELDS[..], &options::FIELDS].concat(), limits)?, limits, own_url)?;
    add_parts(&mut submission, texts, files)?;
    Ok(submission)
}

fn read<'a>(
    mut fields: FieldReader<'a>,
    limits: &ApiLimits,
    own_url: &'a str,
) -> Result<JobSubmission<'a>, Problem> {
    let workflow = workflow(&mut fields);
    let submission = JobSubmission {
        workflow: workflow.unwrap_or(WorkflowSource::Inline("")),
        params: given(fields.object("params", limits.max_params).unwrap_or_default()),
        parts: Vec::new(),
        own_url,
        options: options::of_body(&mut fields, limits),
    };
    fields.finish()?;
    Ok(submission)
}

/// Reads the field `workflow` of a request. Notes a fault if it is missing or invalid.
pub(super) fn workflow<'a>(fields: &mut FieldReader<'a>) -> Option<WorkflowSource<'a>> {
    let Some(raw) = fields.raw("workflow") else {
        fields.fault(
            "workflow",
            "workflow is missing; send a graph, an editor file, a registered workflow's name or a URL",
        );
        return None;
    };
    match WorkflowSource::read(raw) {
        Ok(source) => Some(source),
        Err(why) => {
            fields.fault(
                "workflow",
                format!("workflow is a string that is neither a URL nor a workflow's name: {why}"),
            );
            None
        }
    }
}

pub(super) fn given(values: Vec<(String, &RawValue)>) -> Vec<(String, GivenValue<'_>)> {
    values.into_iter().map(|(name, value)| (name, GivenValue::Json(value))).collect()
}

/// Adds the other parts of a form as parameter values, each under its part's name. Several files under one name form a
/// list.
pub(super) fn add_parts<'a>(
    submission: &mut JobSubmission<'a>,
    texts: &'a [(String, String)],
    files: Vec<(String, RequestFile)>,
) -> Result<(), Problem> {
    for (name, text) in texts {
        add_value(submission, name.clone(), GivenValue::Text(text))?;
    }
    let mut places: Vec<(String, Vec<usize>)> = Vec::new();
    for (place, (name, part)) in files.into_iter().enumerate() {
        submission.parts.push(part);
        match places.iter_mut().find(|(known, _)| *known == name) {
            Some((_, places)) => places.push(place),
            None => places.push((name, vec![place])),
        }
    }
    for (name, places) in places {
        add_value(submission, name, GivenValue::Parts(places))?;
    }
    Ok(())
}

fn add_value<'a>(
    submission: &mut JobSubmission<'a>,
    name: String,
    value: GivenValue<'a>,
) -> Result<(), Problem> {
    if submission.params.iter().any(|(known, _)| *known == name) {
        return Err(Problem::new(
            problem::INVALID_PARAMS,
            format!("the parameter {:?} is given more than once", brief(&name)),
        ));
    }
    submission.params.push((name, value));
    Ok(())
}

pub(super) fn answer(result: &ExecuteResult, location: &str, wait: PreferWait) -> Response {
    let status = if wait.preferred && result.is_terminal() { StatusCode::OK } else { StatusCode::ACCEPTED };
    let mut response = (status, axum::Json(result)).into_response();
    let headers = response.headers_mut();
    if let Ok(location) = HeaderValue::from_str(location) {
        headers.insert(LOCATION, location);
    }
    if status == StatusCode::ACCEPTED {
        headers.insert(RETRY_AFTER, HeaderValue::from(POLL_AGAIN.as_secs()));
    }
    if let (true, Ok(applied)) =
        (wait.preferred, HeaderValue::from_str(&format!("wait={}", wait.time.as_secs_f64())))
    {
        headers.insert("preference-applied", applied);
    }
    response
}
