//! `/workflows`: naming workflows, and running them by name.

use axum::extract::State;
use axum::http::header::LOCATION;
use axum::http::{HeaderValue, StatusCode, request::Parts};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::body::JsonObject;
use super::convert::WarningBody;
use super::dto::ExecuteResult;
use super::execute::{self, add_parts, given};
use super::extract::{BaseUrl, QueryParams, WorkflowPath, preferred_wait};
use super::form::JobBody;
use super::options;
use super::problem::{self, FieldError, Problem, ProblemBody};
use super::state::{ApiLimits, ApiState};
use super::validate::BackendFit;
use crate::domain::registered::{WorkflowName, WorkflowRef};
use crate::service::{JobSubmission, NewRegistration, WorkflowSource, WorkflowView};
use crate::store::{RegistrationOutcome, WorkflowSummary};

/// The longest title and the longest description, in characters.
const LONGEST: (usize, usize) = (200, 10_000);

/// A workflow to register.
#[derive(Debug, ToSchema, Deserialize)]
#[expect(dead_code, reason = "documents the body, which is read field by field")]
pub struct WorkflowRegistration {
    /// An API-format graph, or the file that the ComfyUI editor saves.
    #[schema(value_type = Object)]
    workflow: Value,
    /// A title for people.
    #[schema(max_length = 200)]
    title: Option<String>,
    /// What it does.
    #[schema(max_length = 10_000)]
    description: Option<String>,
}

/// A registered workflow at a glance.
#[derive(Debug, Serialize, ToSchema)]
pub struct WorkflowItem {
    /// Its name.
    name: String,
    /// Its newest version.
    version: u32,
    /// A title for people.
    title: Option<String>,
    /// What it does.
    description: Option<String>,
    /// Whether it comes from the folder of workflow files, and is changed there.
    from_folder: bool,
    /// When that version came.
    #[schema(format = "date-time")]
    created_at: String,
}

/// All registered workflows.
#[derive(Debug, Serialize, ToSchema)]
pub struct WorkflowList {
    /// They, by name.
    workflows: Vec<WorkflowItem>,
}

/// One version of a workflow.
#[derive(Debug, Serialize, ToSchema)]
pub struct WorkflowVersion {
    /// Its number; `name@version` runs it.
    version: u32,
    /// When it came.
    #[schema(format = "date-time")]
    created_at: String,
}

/// One thing that a workflow gives.
#[derive(Debug, Serialize, ToSchema)]
pub struct WorkflowOutput {
    /// The key in `*_by_var`.
    var: String,
    /// The node.
    node_id: String,
    /// Its class.
    class_type: String,
}

/// A registered workflow with all that is known of it.
#[derive(Debug, Serialize, ToSchema)]
pub struct WorkflowDetails {
    /// At a glance.
    #[serde(flatten)]
    item: WorkflowItem,
    /// All versions, the oldest first.
    versions: Vec<WorkflowVersion>,
    /// The JSON Schema (draft 2020-12) of its parameters.
    #[schema(value_type = Object)]
    params: Value,
    /// What it gives.
    outputs: Vec<WorkflowOutput>,
    /// Which servers can run it.
    backends: Vec<BackendFit>,
    /// The API-format graph.
    #[schema(value_type = Object)]
    workflow: Box<RawValue>,
    /// What may not be as its author meant; only in the answer to a registration.
    warnings: Vec<WarningBody>,
}

impl From<WorkflowSummary> for WorkflowItem {
    fn from(workflow: WorkflowSummary) -> Self {
        Self {
            name: workflow.name.to_string(),
            version: workflow.version,
            title: workflow.title,
            description: workflow.description,
            from_folder: workflow.from_folder,
            created_at: workflow.created_at.to_string(),
        }
    }
}

impl WorkflowDetails {
    fn new(view: WorkflowView, warnings: Vec<WarningBody>) -> Result<Self, Problem> {
        let WorkflowView { record, versions, params, outputs, fits } = view;
        let internal = |error: serde_json::Error| Problem::new(problem::INTERNAL, error.to_string());
        let workflow = RawValue::from_string(record.workflow.graph).map_err(internal)?;
        Ok(Self {
            item: WorkflowItem {
                name: record.workflow.name.to_string(),
                version: record.version,
                title: record.workflow.title,
                description: record.workflow.description,
                from_folder: record.workflow.from_folder,
                created_at: record.workflow.created_at.to_string(),
            },
            versions: versions
                .into_iter()
                .map(|(version, at)| WorkflowVersion { version, created_at: at.to_string() })
                .collect(),
            params,
            outputs: outputs
                .into_iter()
                .map(|output| WorkflowOutput {
                    var: output.var,
                    node_id: output.node_id,
                    class_type: output.class_type,
                })
                .collect(),
            backends: fits.iter().map(BackendFit::new).collect(),
            workflow,
            warnings,
        })
    }
}

/// All registered workflows.
#[utoipa::path(
    get, path = "/workflows", tag = "workflows", operation_id = "list_workflows",
    responses(
        (status = 200, description = "The newest version of each, by name", body = WorkflowList),
        (status = 500, description = "`internal`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "`store_unavailable`", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn list(State(state): State<ApiState>) -> Result<axum::Json<WorkflowList>, Problem> {
    let workflows = state.service.workflows().await?.into_iter().map(Into::into).collect();
    Ok(axum::Json(WorkflowList { workflows }))
}

/// One registered workflow: its graph, the JSON Schema of its parameters, and what it gives.
#[utoipa::path(
    get, path = "/workflows/{name}", tag = "workflows", operation_id = "get_workflow",
    params(("name" = String, Path, pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}(@[1-9][0-9]{0,8})?$", description = "Its name; with `@version`, that version")),
    responses(
        (status = 200, description = "The workflow", body = WorkflowDetails),
        (status = 400, description = "`invalid_name`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 404, description = "`not_found`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 500, description = "`internal`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "`store_unavailable`", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn get(
    State(state): State<ApiState>,
    WorkflowPath(which): WorkflowPath,
) -> Result<axum::Json<WorkflowDetails>, Problem> {
    let view = state.service.workflow(&which).await.map_err(Problem::of_path)?;
    WorkflowDetails::new(view, Vec::new()).map(axum::Json)
}

/// Registers a workflow under a name.
///
/// A changed workflow is a new version; the old ones stay and run as `name@version`. The body may also be the graph or
/// the editor's file itself.
#[utoipa::path(
    put, path = "/workflows/{name}", tag = "workflows", operation_id = "put_workflow", request_body = WorkflowRegistration,
    params(("name" = String, Path, pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$", description = "1 to 64 letters, digits, `.`, `_` or `-`")),
    responses(
        (status = 200, description = "The newest version is the same already", body = WorkflowDetails),
        (status = 201, description = "A new version", body = WorkflowDetails, headers(("Location" = String, description = "The version's path"))),
        (status = 400, description = "`malformed_json`, `invalid_name`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 408, description = "`request_timeout`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 409, description = "`from_folder`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 413, description = "`body_too_large`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 415, description = "`unsupported_media_type`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 422, description = "`invalid_request`, `invalid_workflow`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 500, description = "`internal`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "`servers_unknown`, `store_unavailable`, `disk_full`", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn put(
    State(state): State<ApiState>,
    WorkflowPath(which): WorkflowPath,
    body: JsonObject,
) -> Result<Response, Problem> {
    state.offload.clone().judge(body.bytes(), move || put_body(state, which, body)).await
}

async fn put_body(state: ApiState, which: WorkflowRef, body: JsonObject) -> Result<Response, Problem> {
    let name = without_version(which)?;
    let registration = registration(name.clone(), &body, &state.limits)?;
    let (registered, warnings) = state.service.register(registration).await?;
    let (status, version) = match registered {
        RegistrationOutcome::New(version) => (StatusCode::CREATED, version),
        RegistrationOutcome::Same(version) => (StatusCode::OK, version),
    };
    let which = WorkflowRef { name, version: Some(version) };
    let view = state.service.workflow(&which).await?;
    let details = WorkflowDetails::new(view, warnings.into_iter().map(Into::into).collect())?;
    let mut response = (status, axum::Json(details)).into_response();
    if let (StatusCode::CREATED, Ok(location)) =
        (status, HeaderValue::from_str(&format!("/workflows/{which}")))
    {
        response.headers_mut().insert(LOCATION, location);
    }
    Ok(response)
}

/// Forgets a workflow with all its versions. Jobs that run it go on.
#[utoipa::path(
    delete, path = "/workflows/{name}", tag = "workflows", operation_id = "delete_workflow",
    params(("name" = String, Path, pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$", description = "Its name")),
    responses(
        (status = 204, description = "Forgotten"),
        (status = 400, description = "`invalid_name`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 404, description = "`not_found`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 409, description = "`from_folder`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 500, description = "`internal`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "`store_unavailable`, `disk_full`", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn delete(
    State(state): State<ApiState>,
    WorkflowPath(which): WorkflowPath,
) -> Result<StatusCode, Problem> {
    state.service.unregister(&without_version(which)?).await.map_err(Problem::of_path)?;
    Ok(StatusCode::NO_CONTENT)
}

/// Queues a job of a registered workflow.
///
/// The body is the parameters and nothing else, as JSON or as a form. Whatever else `POST /execute` takes stands in the
/// query.
#[utoipa::path(
    post, path = "/workflows/{name}/execute", tag = "workflows", operation_id = "execute_workflow",
    request_body(content((Object = "application/json"), (Object = "multipart/form-data"))),
    params(
        ("name" = String, Path, pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}(@[1-9][0-9]{0,8})?$", description = "Its name; with `@version`, that version"),
        ("priority" = Option<i32>, Query, minimum = 0, maximum = 1000, description = "Higher runs first"),
        ("timeout" = Option<f64>, Query, minimum = 0.001, maximum = 604_800, description = "How many seconds the job may run"),
        ("queue_timeout" = Option<f64>, Query, minimum = 0.001, maximum = 604_800, description = "How many seconds the job may wait in the gateway's queue, each time it waits there"),
        ("caller" = Option<String>, Query, max_length = 128, description = "Whose job it is: the jobs of one priority are shared out fairly between callers"),
        ("labels" = Option<String>, Query, description = "Labels that the server must all have, separated by commas"),
        ("backend" = Option<String>, Query, pattern = "^[A-Za-z0-9._-]{1,64}$", description = "The one server that may run it"),
        ("max_attempts" = Option<u32>, Query, minimum = 1, maximum = 100, description = "How many of its attempts may fail"),
        ("partial" = Option<bool>, Query, description = "Whether the job may run although some of its outputs cannot"),
        ("Prefer" = Option<String>, Header, description = "`wait=N`: hold the answer up to N seconds until the job ends"),
    ),
    responses(
        (status = 200, description = "The job ended within the wait", body = ExecuteResult),
        (status = 202, description = "Accepted; the job goes on", body = ExecuteResult,
         headers(("Location" = String, description = "The job's path"), ("Retry-After" = u64, description = "Seconds until to ask again"))),
        (status = 400, description = "`malformed_json`, `malformed_form`, `invalid_name`, `invalid_query`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 404, description = "`not_found`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 408, description = "`request_timeout`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 413, description = "`body_too_large`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 415, description = "`unsupported_media_type`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 422, description = "`invalid_workflow`, `invalid_params`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 500, description = "`internal`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "`queue_full`, `store_unavailable`, `disk_full`, `storage_unavailable`", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn execute(
    State(state): State<ApiState>,
    WorkflowPath(which): WorkflowPath,
    base: BaseUrl,
    parts: Parts,
    body: JobBody,
) -> Result<Response, Problem> {
    let mut query = QueryParams::read(&parts, &options::QUERY);
    let options = options::of_query(&mut query, &state.limits);
    query.finish()?;
    let wait = preferred_wait(&parts, state.limits.max_wait);
    let (service, limits, own_url) = (state.service.clone(), state.limits.clone(), base.clone());
    let submitting = state.offload.clone().judge(body.bytes(), move || async move {
        let JobBody { json, texts, files } = body;
        let params = json.as_ref().map(|json| json.members(&limits)).transpose()?;
        let mut submission = JobSubmission {
            workflow: WorkflowSource::Registered(which),
            params: given(params.unwrap_or_default()),
            parts: Vec::new(),
            own_url: own_url.as_str(),
            options,
        };
        add_parts(&mut submission, &texts, files)?;
        service.submit(submission).await.map_err(Problem::of_path)
    });
    let id = submitting.await?;
    let view = state.service.result(id, wait.time).await?;
    Ok(execute::answer(&ExecuteResult::new(view, &base), &format!("/results/{id}"), wait))
}

fn without_version(which: WorkflowRef) -> Result<WorkflowName, Problem> {
    match which.version {
        None => Ok(which.name),
        Some(_) => Err(Problem::new(
            problem::INVALID_NAME,
            "versions are numbered by the gateway and stay as they are; name the workflow without one",
        )),
    }
}

/// The body: the fields of a registration, or the graph or the editor's file itself.
fn registration<'a>(
    name: WorkflowName,
    body: &'a JsonObject,
    limits: &ApiLimits,
) -> Result<NewRegistration<'a>, Problem> {
    let mut fields = body.fields(&["workflow", "title", "description"], limits)?;
    let Some(workflow) = fields.raw("workflow").filter(|raw| raw.get().starts_with('{')) else {
        if fields.raw("workflow").is_some() {
            let message = "workflow must be a graph or the editor's file, as an object";
            return Err(Problem::new(problem::INVALID_REQUEST, message)
                .errors(FieldError::at("/workflow", message).into()));
        }
        return Ok(NewRegistration {
            name,
            title: None,
            description: None,
            text: body.text()?,
            from_folder: false,
        });
    };
    let (title, description) = LONGEST;
    let registration = NewRegistration {
        name,
        title: fields.text("title", title),
        description: fields.text("description", description),
        text: workflow.get(),
        from_folder: false,
    };
    fields.finish()?;
    Ok(registration)
}
