//! `/backends`: the ComfyUI servers and how they stand.

use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::state::ApiState;
use crate::pool::Backend;

/// One ComfyUI server.
#[derive(Debug, Serialize, ToSchema)]
pub struct BackendBody {
    /// Its name.
    name: String,
    /// Its address, without credentials.
    url: String,
    /// `starting`, `up` or `down`.
    state: &'static str,
    /// Why it is down.
    reason: Option<String>,
    /// Since when it is in this state.
    #[schema(format = "date-time")]
    since: Option<String>,
    /// Its ComfyUI version.
    version: Option<String>,
    /// Jobs it is given at once.
    slots: usize,
    /// Jobs it has from this gateway.
    running: usize,
    /// Jobs in its own queue, of all its clients, as last heard.
    queue_remaining: u64,
    /// Whether its websocket stands; without one, jobs still run.
    websocket: bool,
    /// What it is called besides.
    labels: Vec<String>,
}

/// The ComfyUI servers.
#[derive(Debug, Serialize, ToSchema)]
pub struct BackendList {
    /// In the order of the configuration.
    backends: Vec<BackendBody>,
}

/// The ComfyUI servers and how they stand.
#[utoipa::path(
    get, path = "/backends", tag = "servers", operation_id = "list_backends",
    responses((status = 200, description = "The servers", body = BackendList))
)]
pub async fn list(State(state): State<ApiState>) -> axum::Json<BackendList> {
    let backends = state.service.parts().pool.backends().iter().map(|backend| body(backend)).collect();
    axum::Json(BackendList { backends })
}

fn body(backend: &Backend) -> BackendBody {
    let health = backend.health();
    BackendBody {
        name: backend.name().to_string(),
        url: backend.client().server().to_owned(),
        state: health.as_str(),
        reason: health.reason().map(str::to_owned),
        since: health.since().map(|since| since.to_string()),
        version: backend.version(),
        slots: backend.slots(),
        running: backend.in_flight(),
        queue_remaining: backend.queue_remaining(),
        websocket: backend.is_listening(),
        labels: backend.labels().to_vec(),
    }
}
