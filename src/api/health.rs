//! `/healthz`, `/readyz` and `/metrics`: what machines ask.

use std::time::Duration;

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::problem::{self, Problem, ProblemBody};
use super::state::ApiState;
use crate::service::NotReady;

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
    let problem = match state.service.check_readiness().await {
        Ok(()) => return Ok(axum::Json(Healthy { status: "ok" })),
        Err(NotReady::Store(error)) => error.into(),
        Err(NotReady::DatabaseDiskFull) => Problem::disk_full("database"),
        Err(NotReady::MediaDiskFull) => Problem::disk_full("media files"),
        Err(NotReady::NoBackend) => {
            let detail = "no ComfyUI backend takes work now; GET /backends has the reasons. Jobs are accepted and wait";
            Problem::new(problem::NOT_READY, detail).retry_after(Duration::from_secs(2))
        }
    };
    Err(problem)
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
    let text = state.service.metrics_text().await?;
    Ok(([(CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text).into_response())
}
