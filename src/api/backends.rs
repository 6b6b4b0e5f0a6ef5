//! `/backends`: lists, adds, removes, cordons and drains the ComfyUI backends.

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::LOCATION;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::backend_request::{BackendRequest, read};
use super::body::JsonObject;
use super::dto::ProgressBody;
use super::extract::BackendNamePath;
use super::problem::{
    BACKEND_BUSY, BACKEND_CONFIGURED, BACKEND_EXISTS, INVALID_REQUEST, MALFORMED_JSON, NOT_FOUND, Problem,
};
use super::problem_responses::{BODY_READ, STORE_WRITE, problem_responses};
use super::state::ApiState;
use crate::pool::{AttemptFeed, Backend, BackendMode};

/// A job that runs on a backend.
#[derive(Debug, Serialize, ToSchema)]
pub struct RunningJob {
    /// The job's id.
    prompt_id: String,
    /// When the backend began to execute the job.
    #[schema(format = "date-time")]
    started_at: String,
    /// The job's progress.
    progress: ProgressBody,
}

/// The GPU memory of a backend, in bytes.
#[derive(Debug, Serialize, ToSchema)]
pub struct VramBody {
    /// The total memory, in bytes.
    total: u64,
    /// The free memory, in bytes, as last reported by the backend.
    free: u64,
}

/// How a backend's runs ended, counted since the gateway started.
#[derive(Debug, Serialize, ToSchema)]
pub struct TotalsBody {
    /// The number of runs that completed.
    completed: u64,
    /// The number of runs that failed because of the job itself, or were cancelled.
    failed: u64,
    /// The number of runs that failed because of the backend: it went down, lost the job, or made no progress.
    server_faults: u64,
}

/// A ComfyUI backend and its state.
#[derive(Debug, Serialize, ToSchema)]
pub struct BackendBody {
    /// The backend's name.
    name: String,
    /// The backend's URL, without credentials.
    url: String,
    /// `starting`, `up`, `degraded` (it receives jobs, but something is wrong) or `down`. A usable backend whose mode is
    /// `cordoned` or `draining` shows that mode instead.
    state: &'static str,
    /// Why the backend is not `up`.
    reason: Option<String>,
    /// When the backend's health last changed.
    #[schema(format = "date-time")]
    since: Option<String>,
    /// The mode set by the operator: `open`, `cordoned` (no new jobs) or `draining` (no new jobs, and jobs that have not
    /// started there are requeued).
    mode: &'static str,
    /// Whether the backend is draining and has none of this gateway's jobs left.
    drained: bool,
    /// Whether the backend is defined in the configuration. Otherwise it was added at run time.
    configured: bool,
    /// The version of ComfyUI.
    version: Option<String>,
    /// The most jobs that the gateway sends to the backend at the same time.
    slots: usize,
    /// The number of this gateway's jobs on the backend, running or waiting in its queue.
    running: usize,
    /// This gateway's jobs that are running on the backend.
    running_jobs: Vec<RunningJob>,
    /// The ids of this gateway's jobs in the backend's queue, in the order in which they were submitted.
    waiting_jobs: Vec<String>,
    /// The number of jobs in the backend's queue that this gateway did not submit, as last seen. The gateway never changes
    /// these jobs.
    foreign_jobs: u64,
    /// The number of jobs in the backend's queue from all clients, as last reported by the backend.
    queue_remaining: u64,
    /// The model files that the backend is believed to have loaded.
    loaded_models: Vec<String>,
    /// The backend's GPU memory; `null` while it is not known.
    vram: Option<VramBody>,
    /// How the backend's runs ended.
    totals: TotalsBody,
    /// The share of the last 50 runs that failed because of the backend, from 0 to 1; `null` before the first run.
    error_rate: Option<f64>,
    /// Whether the gateway's websocket to the backend is connected. Jobs run without it, too.
    websocket: bool,
    /// The backend's labels.
    labels: Vec<String>,
}

/// All backends.
#[derive(Debug, Serialize, ToSchema)]
pub struct BackendList {
    /// The configured backends in their order, then the backends that were added at run time.
    backends: Vec<BackendBody>,
}

impl From<&Backend> for BackendBody {
    fn from(backend: &Backend) -> Self {
        let (health, mode, totals) = (backend.health().current(), backend.mode(), backend.health().totals());
        let (running_jobs, waiting_jobs) = jobs(&backend.feeds().all());
        Self {
            name: backend.name().to_string(),
            url: backend.client().shown_url().to_owned(),
            state: health.name_in_mode(mode),
            reason: health.reason().map(str::to_owned),
            since: health.since().map(|since| since.to_string()),
            mode: mode.as_str(),
            drained: backend.is_drained(),
            configured: backend.is_configured(),
            version: backend.capabilities().version(),
            slots: backend.settings().slots,
            running: running_jobs.len() + waiting_jobs.len(),
            running_jobs,
            waiting_jobs,
            foreign_jobs: backend.health().foreign_jobs(),
            queue_remaining: backend.websocket().queue_remaining(),
            loaded_models: backend.memory().loaded_models(),
            vram: backend.memory().vram().map(|vram| VramBody { total: vram.total, free: vram.free }),
            error_rate: totals.error_rate(),
            totals: TotalsBody {
                completed: totals.completed,
                failed: totals.failed,
                server_faults: totals.backend_faults,
            },
            websocket: backend.websocket().is_open(),
            labels: backend.settings().labels.clone(),
        }
    }
}

fn jobs(feeds: &[std::sync::Arc<AttemptFeed>]) -> (Vec<RunningJob>, Vec<String>) {
    let (mut running, mut waiting) = (Vec::new(), Vec::new());
    for feed in feeds {
        let prompt_id = feed.prompt_id().to_string();
        match feed.started_at() {
            Some(at) => running.push(RunningJob {
                prompt_id,
                started_at: at.to_string(),
                progress: feed.progress().into(),
            }),
            None => waiting.push(prompt_id),
        }
    }
    (running, waiting)
}

/// Lists all backends and their states.
#[utoipa::path(
    get, path = "/backends", tag = "servers", operation_id = "list_backends",
    responses((status = 200, description = "All backends", body = BackendList))
)]
pub async fn list(State(state): State<ApiState>) -> axum::Json<BackendList> {
    let backends = state.service.backends();
    axum::Json(BackendList { backends: backends.iter().map(|backend| backend.as_ref().into()).collect() })
}

problem_responses!(GetBackendProblems: &[NOT_FOUND]);

/// Returns a backend and its state.
#[utoipa::path(
    get, path = "/backends/{name}", tag = "servers", operation_id = "get_backend",
    params(("name" = String, Path, pattern = "^[A-Za-z0-9._-]{1,64}$", description = "The backend's name")),
    responses(
        (status = 200, description = "The backend", body = BackendBody),
        GetBackendProblems,
    )
)]
pub async fn get(
    State(state): State<ApiState>,
    BackendNamePath(name): BackendNamePath,
) -> Result<axum::Json<BackendBody>, Problem> {
    Ok(axum::Json(state.service.backend(&name)?.as_ref().into()))
}

problem_responses!(AddBackendProblems: &[MALFORMED_JSON, BACKEND_EXISTS, INVALID_REQUEST], STORE_WRITE, BODY_READ);

/// Adds a backend.
///
/// The backend receives jobs as soon as it responds, and stays after a restart of the gateway. The gateway stores its
/// credentials and never returns them.
#[utoipa::path(
    post, path = "/backends", tag = "servers", operation_id = "add_backend", request_body = BackendRequest,
    responses(
        (status = 201, description = "The backend was added", body = BackendBody, headers(("Location" = String, description = "The backend's path"))),
        AddBackendProblems,
    )
)]
pub async fn add(State(state): State<ApiState>, body: JsonObject) -> Result<Response, Problem> {
    let backend = read(&body, &state.limits, state.clock.now())?;
    let location = format!("/backends/{}", backend.name);
    let backend = state.service.add_backend(backend).await?;
    let body = axum::Json(BackendBody::from(backend.as_ref()));
    Ok((StatusCode::CREATED, [(LOCATION, location)], body).into_response())
}

problem_responses!(DeleteBackendProblems: &[NOT_FOUND, BACKEND_BUSY, BACKEND_CONFIGURED], STORE_WRITE);

/// Removes a backend that was added at run time.
///
/// A backend that still has jobs is not removed (409 `backend_busy`): drain it first and wait until `drained` is true. A
/// backend that is defined in the configuration can only be removed there (409 `backend_configured`).
#[utoipa::path(
    delete, path = "/backends/{name}", tag = "servers", operation_id = "delete_backend",
    params(("name" = String, Path, pattern = "^[A-Za-z0-9._-]{1,64}$", description = "The backend's name")),
    responses(
        (status = 204, description = "The backend was removed"),
        DeleteBackendProblems,
    )
)]
pub async fn delete(
    State(state): State<ApiState>,
    BackendNamePath(name): BackendNamePath,
) -> Result<StatusCode, Problem> {
    state.service.remove_backend(&name).await?;
    Ok(StatusCode::NO_CONTENT)
}

problem_responses!(SetModeProblems: &[NOT_FOUND], STORE_WRITE);

/// Stops sending new jobs to a backend.
///
/// Jobs that the backend already has, running or waiting in its queue, stay there. The mode survives a restart of the
/// gateway; `/uncordon` ends it.
#[utoipa::path(
    post, path = "/backends/{name}/cordon", tag = "servers", operation_id = "cordon_backend",
    params(("name" = String, Path, pattern = "^[A-Za-z0-9._-]{1,64}$", description = "The backend's name")),
    responses(
        (status = 200, description = "The backend", body = BackendBody),
        SetModeProblems,
    )
)]
pub async fn cordon(
    state: State<ApiState>,
    name: BackendNamePath,
) -> Result<axum::Json<BackendBody>, Problem> {
    set(state, name, BackendMode::Cordoned).await
}

/// Sends jobs to a backend again, after `/cordon` or `/drain`.
///
/// This also resets the backend's circuit breaker, so that earlier failures no longer keep jobs away from it.
#[utoipa::path(
    post, path = "/backends/{name}/uncordon", tag = "servers", operation_id = "uncordon_backend",
    params(("name" = String, Path, pattern = "^[A-Za-z0-9._-]{1,64}$", description = "The backend's name")),
    responses(
        (status = 200, description = "The backend", body = BackendBody),
        SetModeProblems,
    )
)]
pub async fn uncordon(
    state: State<ApiState>,
    name: BackendNamePath,
) -> Result<axum::Json<BackendBody>, Problem> {
    set(state, name, BackendMode::Open).await
}

/// Drains a backend: it receives no new jobs and finishes the jobs that are running.
///
/// Jobs that wait in the backend's queue return to the gateway's queue. `drained` becomes true when none of this gateway's
/// jobs is left. The mode survives a restart of the gateway; `/uncordon` ends it.
#[utoipa::path(
    post, path = "/backends/{name}/drain", tag = "servers", operation_id = "drain_backend",
    params(("name" = String, Path, pattern = "^[A-Za-z0-9._-]{1,64}$", description = "The backend's name")),
    responses(
        (status = 200, description = "The backend", body = BackendBody),
        SetModeProblems,
    )
)]
pub async fn drain(
    state: State<ApiState>,
    name: BackendNamePath,
) -> Result<axum::Json<BackendBody>, Problem> {
    set(state, name, BackendMode::Draining).await
}

async fn set(
    State(state): State<ApiState>,
    BackendNamePath(name): BackendNamePath,
    mode: BackendMode,
) -> Result<axum::Json<BackendBody>, Problem> {
    Ok(axum::Json(state.service.set_backend_mode(&name, mode).await?.as_ref().into()))
}
