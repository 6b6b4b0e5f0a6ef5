//! `/healthz`, `/readyz` and `/metrics`: what machines ask.

use std::time::Duration;

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::problem::{self, Problem, ProblemBody};
use super::state::ApiState;

/// That all is well.
#[derive(Debug, Serialize, ToSchema)]
pub struct Healthy {
    /// Always `ok`.
    status: &'static str,
}

/// Whether the process answers; nothing else is touched.
#[utoipa::path(
    get, path = "/healthz", tag = "operation", operation_id = "healthz",
    responses((status = 200, description = "Alive", body = Healthy))
)]
pub async fn alive() -> axum::Json<Healthy> {
    axum::Json(Healthy { status: "ok" })
}

/// Whether jobs can be accepted and run: the store answers, its disk and that of the files have room, and at least one
/// server takes work.
#[utoipa::path(
    get, path = "/readyz", tag = "operation", operation_id = "readyz",
    responses(
        (status = 200, description = "Ready", body = Healthy),
        (status = 503, description = "`not_ready`, `store_unavailable`, `disk_full`", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn ready(State(state): State<ApiState>) -> Result<axum::Json<Healthy>, Problem> {
    let parts = state.service.parts();
    parts.store.ping().await?;
    if !parts.store.has_room() {
        return Err(Problem::disk_full("database"));
    }
    if !parts.media.has_room_for(0) {
        return Err(Problem::disk_full("media files"));
    }
    if parts.pool.backends().iter().any(|backend| backend.can_take_work()) {
        return Ok(axum::Json(Healthy { status: "ok" }));
    }
    let detail =
        "no ComfyUI server takes work now; GET /backends has the reasons. Jobs are accepted and wait";
    Err(Problem::new(problem::NOT_READY, detail).retry_after(Duration::from_secs(2)))
}

/// Metrics in the OpenMetrics text format, for Prometheus.
#[utoipa::path(
    get, path = "/metrics", tag = "operation", operation_id = "metrics",
    responses(
        (status = 200, description = "The metrics", body = String, content_type = "application/openmetrics-text"),
        (status = 500, description = "`internal`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "`store_unavailable`", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn metrics(State(state): State<ApiState>) -> Result<Response, Problem> {
    state.service.measure().await?;
    let text = state.service.parts().metrics.encode();
    Ok(([(CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text).into_response())
}
