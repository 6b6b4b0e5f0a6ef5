//! `POST /execute`: a workflow in, a job out.

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
use super::problem::{self, Problem, ProblemBody};
use super::results::POLL_AGAIN;
use super::state::{ApiLimits, ApiState};
use crate::domain::binding::GivenValue;
use crate::domain::text::brief;
use crate::service::{JobSubmission, RequestFile, WorkflowSource};

/// The fields of a request besides its options.
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
    /// What to run.
    workflow: AnyWorkflow,
    /// Values for the parameters that the workflow's titles declare. A media parameter takes a URL, a data URL,
    /// `{"base64": …}`, `{"file": …}` of `POST /files`, `{"result": …, "var": …}` of an earlier job, or the name of a file
    /// on the ComfyUI server; where the workflow takes several, a list of these.
    #[schema(value_type = Option<Object>)]
    params: Option<serde_json::Value>,
    /// Higher runs first.
    #[schema(default = 0, minimum = 0, maximum = 1000)]
    priority: Option<i32>,
    /// How many seconds the job may run; at most `max_timeout`, which is 7 days unless configured.
    #[schema(minimum = 0.001, maximum = 604_800)]
    timeout: Option<f64>,
    /// How many seconds the job may wait in the gateway's queue, each time it waits there; at most `max_timeout`. The wait
    /// in the queue of a ComfyUI, where the job is `running` already, is not counted.
    #[schema(minimum = 0.001, maximum = 604_800)]
    queue_timeout: Option<f64>,
    /// Your own data, given back with the result; up to 64 KiB.
    #[schema(value_type = Option<Object>)]
    metadata: Option<serde_json::Value>,
    /// Whose job it is, such as your customer's id: the jobs of one priority are shared out fairly between callers, so
    /// that one's thousand jobs do not hold up another's first.
    #[schema(max_length = 128)]
    caller: Option<String>,
    /// What it asks of its server besides what the workflow needs. While there is no such server it waits.
    requires: Option<RequiresBody>,
    /// How many of its attempts may fail; the setting `max_attempts` unless given.
    #[schema(minimum = 1, maximum = 100)]
    max_attempts: Option<u32>,
    /// Whether the job may run although some of its outputs cannot. Without it a workflow is refused as soon as one of its
    /// outputs cannot run; with it the result's `dropped_outputs` says which outputs are missing and why.
    #[schema(default = false)]
    partial: Option<bool>,
}

/// A workflow in any of its forms.
#[derive(Debug, ToSchema, Deserialize)]
#[serde(untagged)]
#[expect(dead_code, reason = "documents the body, which is read field by field")]
pub enum AnyWorkflow {
    /// The API-format graph: nodes by id, as ComfyUI's "Export (API)" makes it.
    Graph(BTreeMap<String, WorkflowNode>),
    /// The file that the ComfyUI editor saves.
    Editor(EditorFile),
    /// The name of a registered workflow (`portrait`), one of its versions (`portrait@3`), or the URL of a graph or of
    /// the editor's file.
    Named(String),
}

/// The file that the ComfyUI editor saves; all that stands in it besides is taken, too.
#[derive(Debug, ToSchema, Deserialize)]
#[expect(dead_code, reason = "documents the body, which is read field by field")]
pub struct EditorFile {
    /// Its nodes.
    #[schema(value_type = Vec<Object>)]
    nodes: Vec<serde_json::Value>,
}

/// The same as a form: files need no step of their own.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "documents the body, which is read part by part")]
pub struct ExecuteForm {
    /// What would else be the JSON body. Every other part is the value of the parameter it is named after; several of
    /// one name are a list.
    request: ExecuteRequest,
}

/// A node of a workflow.
#[derive(Debug, ToSchema, Deserialize)]
#[expect(dead_code, reason = "documents the body, which is read field by field")]
pub struct WorkflowNode {
    /// Its class.
    #[schema(min_length = 1)]
    class_type: String,
    /// Its inputs: literal values, and links as `[node id, output]`.
    #[schema(value_type = Object)]
    inputs: serde_json::Value,
    /// `title` may hold `$param` and `$output.name` markers.
    #[serde(rename = "_meta")]
    #[schema(value_type = Option<Value>)]
    meta: Option<serde_json::Value>,
}

/// Queues a job.
///
/// The job is on disk before the answer leaves. With `Prefer: wait=30` the answer is held until the job ends, at most
/// that many seconds.
#[utoipa::path(
    post, path = "/execute", tag = "jobs", operation_id = "execute",
    request_body(content((ExecuteRequest = "application/json"), (ExecuteForm = "multipart/form-data"))),
    params(("Prefer" = Option<String>, Header, description = "`wait=N`: hold the answer up to N seconds until the job ends")),
    responses(
        (status = 200, description = "The job ended within the wait", body = ExecuteResult,
         headers(("Preference-Applied" = String, description = "`wait=N`, as applied"), ("Location" = String, description = "The job's path"))),
        (status = 202, description = "Accepted; the job goes on", body = ExecuteResult,
         headers(("Location" = String, description = "The job's path"), ("Retry-After" = u64, description = "Seconds until to ask again"))),
        (status = 400, description = "`malformed_json`, `malformed_form`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 408, description = "`request_timeout`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 413, description = "`body_too_large`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 415, description = "`unsupported_media_type`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 422, description = "`invalid_request`, `invalid_workflow`, `invalid_params`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 500, description = "`internal`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 502, description = "`workflow_unavailable`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "`queue_full`, `servers_unknown`, `store_unavailable`, `disk_full`, `storage_unavailable`", body = ProblemBody, content_type = "application/problem+json"),
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

/// The job that a request asks for: its JSON, and what a form has besides.
pub(super) fn submission<'a>(
    json: Option<&'a JsonObject>,
    texts: &'a [(String, String)],
    files: Vec<(String, RequestFile)>,
    limits: &ApiLimits,
    own_url: &'a str,
) -> Result<JobSubmission<'a>, Problem> {
    let json = json.ok_or_else(|| {
        Problem::new(problem::INVALID_REQUEST, "the form has no part \"request\" with the JSON")
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

/// The field `workflow` of a request.
pub(super) fn workflow<'a>(fields: &mut FieldReader<'a>) -> Option<WorkflowSource<'a>> {
    let Some(raw) = fields.raw("workflow") else {
        fields.fault(
            "workflow",
            "the field workflow is missing: send a graph, the editor's file, a registered name or a URL",
        );
        return None;
    };
    match WorkflowSource::read(raw) {
        Ok(source) => Some(source),
        Err(why) => {
            fields.fault("workflow", format!("workflow is a text that is neither a URL nor a name: {why}"));
            None
        }
    }
}

pub(super) fn given(values: Vec<(String, &RawValue)>) -> Vec<(String, GivenValue<'_>)> {
    values.into_iter().map(|(name, value)| (name, GivenValue::Json(value))).collect()
}

/// Adds what a form has besides its JSON: every other part is the value of the parameter it is named after, several of
/// one name a list of files.
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
