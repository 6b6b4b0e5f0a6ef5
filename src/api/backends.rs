//! `/backends`: the ComfyUI servers, how they stand, and what operators do with them.

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::LOCATION;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::body::JsonObject;
use super::dto::ProgressBody;
use super::extract::BackendNamePath;
use super::problem::{Problem, ProblemBody};
use super::server_body::{ServerBody, read};
use super::state::ApiState;
use crate::pool::{AttemptFeed, Backend, BackendMode};

/// A job that a server runs.
#[derive(Debug, Serialize, ToSchema)]
pub struct RunningJob {
    /// Its id.
    prompt_id: String,
    /// When the server began to run it.
    #[schema(format = "date-time")]
    started_at: String,
    /// How far it has come.
    progress: ProgressBody,
}

/// A server's GPU memory.
#[derive(Debug, Serialize, ToSchema)]
pub struct VramBody {
    /// All of it, in bytes.
    total: u64,
    /// What is free, in bytes, as last told.
    free: u64,
}

/// What became of a server's runs since the gateway was started.
#[derive(Debug, Serialize, ToSchema)]
pub struct TotalsBody {
    /// Runs that completed.
    completed: u64,
    /// Runs that failed by the job's own fault, or were cancelled.
    failed: u64,
    /// Runs that the server failed: it went away, lost the job, or did not move.
    server_faults: u64,
}

/// One ComfyUI server.
#[derive(Debug, Serialize, ToSchema)]
pub struct BackendBody {
    /// Its name.
    name: String,
    /// Its address, without credentials.
    url: String,
    /// `starting`, `up`, `degraded` (it gets work, but something is wrong) or `down`; of a server that could have work, but
    /// is to have none, its mode: `cordoned` or `draining`.
    state: &'static str,
    /// What is wrong.
    reason: Option<String>,
    /// Since when its health is as it is.
    #[schema(format = "date-time")]
    since: Option<String>,
    /// What is wanted of it: `open`, `cordoned` (no new work) or `draining` (it also gives back what only waits there).
    mode: &'static str,
    /// Whether it drains and has none of our jobs left.
    drained: bool,
    /// Whether it stands in the configuration, rather than having been added at run time.
    configured: bool,
    /// Its ComfyUI version.
    version: Option<String>,
    /// Jobs it is given at once when all is well.
    slots: usize,
    /// Jobs it has from this gateway: those that run and those that wait there.
    running: usize,
    /// The jobs of this gateway that it runs.
    running_jobs: Vec<RunningJob>,
    /// The ids of the jobs of this gateway that wait there, in the order in which they were given to it.
    waiting_jobs: Vec<String>,
    /// Jobs of others in its queue, as last seen. They are never touched.
    foreign_jobs: u64,
    /// Jobs in its own queue, of all its clients, as last heard.
    queue_remaining: u64,
    /// The model files that it has loaded, as far as is known.
    loaded_models: Vec<String>,
    /// Its GPU memory.
    vram: Option<VramBody>,
    /// What became of its runs.
    totals: TotalsBody,
    /// The share of its last 50 runs that it failed, 0 to 1; `null` before the first.
    error_rate: Option<f64>,
    /// Whether its websocket stands; without one, jobs still run.
    websocket: bool,
    /// What it is called besides.
    labels: Vec<String>,
}

/// The ComfyUI servers.
#[derive(Debug, Serialize, ToSchema)]
pub struct BackendList {
    /// Those of the configuration in its order, then those that were added.
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

/// The ComfyUI servers and how they stand.
#[utoipa::path(
    get, path = "/backends", tag = "servers", operation_id = "list_backends",
    responses((status = 200, description = "The servers", body = BackendList))
)]
pub async fn list(State(state): State<ApiState>) -> axum::Json<BackendList> {
    let backends = state.service.parts().pool.backends();
    axum::Json(BackendList { backends: backends.iter().map(|backend| backend.as_ref().into()).collect() })
}

/// One ComfyUI server and how it stands.
#[utoipa::path(
    get, path = "/backends/{name}", tag = "servers", operation_id = "get_backend",
    params(("name" = String, Path, pattern = "^[A-Za-z0-9._-]{1,64}$", description = "Its name")),
    responses(
        (status = 200, description = "The server", body = BackendBody),
        (status = 404, description = "`not_found`", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn get(
    State(state): State<ApiState>,
    BackendNamePath(name): BackendNamePath,
) -> Result<axum::Json<BackendBody>, Problem> {
    Ok(axum::Json(state.service.backend(&name)?.as_ref().into()))
}

/// Adds a ComfyUI server.
///
/// It is given work as soon as it answers, and is kept over restarts. Its credentials are kept, and shown nowhere.
#[utoipa::path(
    post, path = "/backends", tag = "servers", operation_id = "add_backend", request_body = ServerBody,
    responses(
        (status = 201, description = "Added", body = BackendBody, headers(("Location" = String, description = "The server's path"))),
        (status = 400, description = "`malformed_json`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 408, description = "`request_timeout`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 409, description = "`backend_exists`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 413, description = "`body_too_large`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 415, description = "`unsupported_media_type`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 422, description = "`invalid_request`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 500, description = "`internal`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "`store_unavailable`, `disk_full`", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn add(State(state): State<ApiState>, body: JsonObject) -> Result<Response, Problem> {
    let server = read(&body, &state.limits, state.service.parts().clock.now())?;
    let location = format!("/backends/{}", server.name);
    let backend = state.service.add_backend(server).await?;
    let body = axum::Json(BackendBody::from(backend.as_ref()));
    Ok((StatusCode::CREATED, [(LOCATION, location)], body).into_response())
}

/// Forgets a ComfyUI server that was added at run time.
///
/// One that has jobs is drained first. One of the configuration is removed there.
#[utoipa::path(
    delete, path = "/backends/{name}", tag = "servers", operation_id = "delete_backend",
    params(("name" = String, Path, pattern = "^[A-Za-z0-9._-]{1,64}$", description = "Its name")),
    responses(
        (status = 204, description = "Forgotten"),
        (status = 404, description = "`not_found`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 409, description = "`backend_busy`, `backend_configured`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 500, description = "`internal`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "`store_unavailable`, `disk_full`", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn delete(
    State(state): State<ApiState>,
    BackendNamePath(name): BackendNamePath,
) -> Result<StatusCode, Problem> {
    state.service.remove_backend(&name).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Gives a server no new work. What it has it keeps. Kept over restarts.
#[utoipa::path(
    post, path = "/backends/{name}/cordon", tag = "servers", operation_id = "cordon_backend",
    params(("name" = String, Path, pattern = "^[A-Za-z0-9._-]{1,64}$", description = "Its name")),
    responses(
        (status = 200, description = "The server", body = BackendBody),
        (status = 404, description = "`not_found`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 500, description = "`internal`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "`store_unavailable`, `disk_full`", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn cordon(
    state: State<ApiState>,
    name: BackendNamePath,
) -> Result<axum::Json<BackendBody>, Problem> {
    set(state, name, BackendMode::Cordoned).await
}

/// Gives a server work again. What its circuit breaker holds against it is forgotten.
#[utoipa::path(
    post, path = "/backends/{name}/uncordon", tag = "servers", operation_id = "uncordon_backend",
    params(("name" = String, Path, pattern = "^[A-Za-z0-9._-]{1,64}$", description = "Its name")),
    responses(
        (status = 200, description = "The server", body = BackendBody),
        (status = 404, description = "`not_found`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 500, description = "`internal`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "`store_unavailable`, `disk_full`", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn uncordon(
    state: State<ApiState>,
    name: BackendNamePath,
) -> Result<axum::Json<BackendBody>, Problem> {
    set(state, name, BackendMode::Open).await
}

/// Empties a server: it gets no new work, finishes what runs, and gives back what only waits in its queue.
///
/// `drained` says when none of our jobs is left there. Kept over restarts; `/uncordon` ends it.
#[utoipa::path(
    post, path = "/backends/{name}/drain", tag = "servers", operation_id = "drain_backend",
    params(("name" = String, Path, pattern = "^[A-Za-z0-9._-]{1,64}$", description = "Its name")),
    responses(
        (status = 200, description = "The server", body = BackendBody),
        (status = 404, description = "`not_found`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 500, description = "`internal`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "`store_unavailable`, `disk_full`", body = ProblemBody, content_type = "application/problem+json"),
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
