//! `/workflows`: registers workflows under names, and runs them by name.

use axum::extract::State;
use axum::http::header::LOCATION;
use axum::http::{HeaderValue, StatusCode, request::Parts};
use axum::response::{IntoResponse, Response};

use super::body::JsonObject;
use super::dto::ExecuteResult;
use super::execute::{self, add_parts, given};
use super::extract::{BaseUrl, QueryParams, WorkflowPath, preferred_wait};
use super::form::JobBody;
use super::options;
use super::problem::{
    self, FROM_FOLDER, FieldError, INVALID_NAME, INVALID_PARAMS, INVALID_QUERY, INVALID_REQUEST,
    INVALID_WORKFLOW, MALFORMED_FORM, MALFORMED_JSON, NOT_FOUND, Problem, QUEUE_FULL, SERVERS_UNKNOWN,
    STORAGE_UNAVAILABLE,
};
use super::problem_responses::{BODY_READ, STORE_READ, STORE_WRITE, problem_responses};
use super::state::{ApiLimits, ApiState};
use super::workflow_bodies::{WorkflowDetails, WorkflowList, WorkflowRegistration};
use crate::domain::registered::{WorkflowName, WorkflowRef};
use crate::service::{JobSubmission, NewRegistration, WorkflowSource};
use crate::store::RegistrationOutcome;

/// The longest title and the longest description, in characters.
const LONGEST: (usize, usize) = (200, 10_000);

problem_responses!(ListWorkflowsProblems: STORE_READ);

/// Lists the registered workflows.
#[utoipa::path(
    get, path = "/workflows", tag = "workflows", operation_id = "list_workflows",
    responses(
        (status = 200, description = "The newest version of every workflow, sorted by name", body = WorkflowList),
        ListWorkflowsProblems,
    )
)]
pub async fn list(State(state): State<ApiState>) -> Result<axum::Json<WorkflowList>, Problem> {
    let workflows = state.service.workflows().await?.into_iter().map(Into::into).collect();
    Ok(axum::Json(WorkflowList { workflows }))
}

problem_responses!(GetWorkflowProblems: &[INVALID_NAME, NOT_FOUND], STORE_READ);

/// Returns a registered workflow: its graph, the JSON Schema of its parameters, and its outputs.
#[utoipa::path(
    get, path = "/workflows/{name}", tag = "workflows", operation_id = "get_workflow",
    params(("name" = String, Path, pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}(@[1-9][0-9]{0,8})?$", description = "The workflow's name; `name@version` selects a version")),
    responses(
        (status = 200, description = "The workflow", body = WorkflowDetails),
        GetWorkflowProblems,
    )
)]
pub async fn get(
    State(state): State<ApiState>,
    WorkflowPath(which): WorkflowPath,
) -> Result<axum::Json<WorkflowDetails>, Problem> {
    let view = state.service.workflow(&which).await.map_err(Problem::of_path)?;
    WorkflowDetails::new(view, Vec::new()).map(axum::Json)
}

problem_responses!(PutWorkflowProblems: &[MALFORMED_JSON, INVALID_NAME, FROM_FOLDER, INVALID_REQUEST, INVALID_WORKFLOW, SERVERS_UNKNOWN], STORE_WRITE, BODY_READ);

/// Registers a workflow under a name.
///
/// A changed workflow becomes a new version. Old versions stay available as `name@version`. The body may also be a graph
/// or an editor file itself, without `title` and `description`.
#[utoipa::path(
    put, path = "/workflows/{name}", tag = "workflows", operation_id = "put_workflow", request_body = WorkflowRegistration,
    params(("name" = String, Path, pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$", description = "The workflow's name: 1 to 64 letters, digits, `.`, `_` or `-`")),
    responses(
        (status = 200, description = "The newest version is identical; nothing changed", body = WorkflowDetails),
        (status = 201, description = "A new version was registered", body = WorkflowDetails, headers(("Location" = String, description = "The path of the new version"))),
        PutWorkflowProblems,
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

problem_responses!(DeleteWorkflowProblems: &[INVALID_NAME, NOT_FOUND, FROM_FOLDER], STORE_WRITE);

/// Deletes a workflow and all its versions. Jobs that were already accepted still run.
#[utoipa::path(
    delete, path = "/workflows/{name}", tag = "workflows", operation_id = "delete_workflow",
    params(("name" = String, Path, pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$", description = "The workflow's name")),
    responses(
        (status = 204, description = "The workflow was deleted"),
        DeleteWorkflowProblems,
    )
)]
pub async fn delete(
    State(state): State<ApiState>,
    WorkflowPath(which): WorkflowPath,
) -> Result<StatusCode, Problem> {
    state.service.unregister(&without_version(which)?).await.map_err(Problem::of_path)?;
    Ok(StatusCode::NO_CONTENT)
}

problem_responses!(ExecuteWorkflowProblems: &[MALFORMED_JSON, MALFORMED_FORM, INVALID_NAME, INVALID_QUERY, NOT_FOUND, INVALID_WORKFLOW, INVALID_PARAMS, QUEUE_FULL, STORAGE_UNAVAILABLE], STORE_WRITE, BODY_READ);

/// Queues a job for a registered workflow.
///
/// The body contains only the parameters, as JSON or as a multipart form. The options of `POST /execute`, except
/// `metadata`, are query parameters.
#[utoipa::path(
    post, path = "/workflows/{name}/execute", tag = "workflows", operation_id = "execute_workflow",
    request_body(content((Object = "application/json"), (Object = "multipart/form-data"))),
    params(
        ("name" = String, Path, pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}(@[1-9][0-9]{0,8})?$", description = "The workflow's name; `name@version` selects a version"),
        ("priority" = Option<i32>, Query, minimum = 0, maximum = 1000, description = "The job's priority; jobs of a higher priority run first"),
        ("timeout" = Option<f64>, Query, minimum = 0.001, maximum = 604_800, description = "The longest time the job may run, in seconds"),
        ("queue_timeout" = Option<f64>, Query, minimum = 0.001, maximum = 604_800, description = "The longest time the job may wait in the gateway's queue, in seconds; it starts anew when the job is requeued"),
        ("caller" = Option<String>, Query, max_length = 128, description = "Identifies on whose behalf the job runs; within one priority, callers take turns"),
        ("labels" = Option<String>, Query, description = "Labels separated by commas; only backends with all of them may run the job"),
        ("backend" = Option<String>, Query, pattern = "^[A-Za-z0-9._-]{1,64}$", description = "The name of the only backend that may run the job"),
        ("max_attempts" = Option<u32>, Query, minimum = 1, maximum = 100, description = "The number of attempts that may fail before the job fails"),
        ("partial" = Option<bool>, Query, description = "Whether the job may run if some of its outputs cannot"),
        ("Prefer" = Option<String>, Header, description = "`wait=N`: wait up to N seconds for the job to end before responding"),
    ),
    responses(
        (status = 200, description = "The job ended within the requested wait", body = ExecuteResult),
        (status = 202, description = "The job was accepted and has not ended", body = ExecuteResult,
         headers(("Location" = String, description = "The job's path"), ("Retry-After" = u64, description = "Seconds to wait before the next request"))),
        ExecuteWorkflowProblems,
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
            "a version cannot be changed or deleted on its own; send the workflow's name without `@version`",
        )),
    }
}

/// Reads a body, which has the fields of a registration or is itself a graph or an editor file.
fn registration<'a>(
    name: WorkflowName,
    body: &'a JsonObject,
    limits: &ApiLimits,
) -> Result<NewRegistration<'a>, Problem> {
    let mut fields = body.fields(&["workflow", "title", "description"], limits)?;
    let Some(workflow) = fields.raw("workflow").filter(|raw| raw.get().starts_with('{')) else {
        if fields.raw("workflow").is_some() {
            let message = "workflow must be a JSON object: a graph or an editor file";
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
