//! `/healthz`, `/readyz` and `/metrics`: endpoints for load balancers and monitoring.

use std::time::Duration;

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::problem::{self, DISK_FULL, NOT_READY, Problem, STORE_UNAVAILABLE};
use super::problem_responses::{STORE_READ, problem_responses};
use super::state::ApiState;
use crate::service::NotReady;

/// The body of a successful health check.
#[derive(Debug, Serialize, ToSchema)]
pub struct Healthy {
    /// Always `ok`.
    status: &'static str,
}

/// Checks that the process responds. It does not check the store or the backends.
#[utoipa::path(
    get, path = "/healthz", tag = "operation", operation_id = "healthz",
    responses((status = 200, description = "The process responds", body = Healthy))
)]
pub async fn alive() -> axum::Json<Healthy> {
    axum::Json(Healthy { status: "ok" })
}

problem_responses!(ReadyzProblems: &[NOT_READY, STORE_UNAVAILABLE, DISK_FULL]);

/// Checks that the gateway can accept and run jobs.
///
/// The gateway is ready if its store responds, the disks of its database and its media files have free space, and at least
/// one backend accepts jobs.
#[utoipa::path(
    get, path = "/readyz", tag = "operation", operation_id = "readyz",
    responses(
        (status = 200, description = "The gateway is ready", body = Healthy),
        ReadyzProblems,
    )
)]
pub async fn ready(State(state): State<ApiState>) -> Result<axum::Json<Healthy>, Problem> {
    let problem = match state.service.check_readiness().await {
        Ok(()) => return Ok(axum::Json(Healthy { status: "ok" })),
        Err(NotReady::Store(error)) => error.into(),
        Err(NotReady::DatabaseDiskFull) => Problem::disk_full("database"),
        Err(NotReady::MediaDiskFull) => Problem::disk_full("media files"),
        Err(NotReady::NoBackend) => {
            let detail = "no backend accepts jobs now; GET /backends shows the reasons. New jobs are still accepted and wait in the queue";
            Problem::new(problem::NOT_READY, detail).retry_after(Duration::from_secs(2))
        }
    };
    Err(problem)
}

problem_responses!(MetricsProblems: STORE_READ);

/// Returns the metrics in the OpenMetrics text format, for Prometheus.
#[utoipa::path(
    get, path = "/metrics", tag = "operation", operation_id = "metrics",
    responses(
        (status = 200, description = "The metrics", body = String, content_type = "application/openmetrics-text"),
        MetricsProblems,
    )
)]
pub async fn metrics(State(state): State<ApiState>) -> Result<Response, Problem> {
    let text = state.service.metrics_text().await?;
    Ok(([(CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text).into_response())
}
