//! `POST /validate`: what `POST /execute` would say, and which servers could run it, without queueing.

use axum::extract::State;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::execute::{ExecuteRequest, submission};
use super::extract::BaseUrl;
use super::form::JobBody;
use super::problem::{FieldError, Problem, ProblemBody, field_errors};
use super::state::ApiState;
use crate::domain::validation::MissingItem;
use crate::service::{BackendFitness, ValidationReport};

/// What a submission would come to.
#[derive(Debug, Serialize, ToSchema)]
pub struct ValidationBody {
    /// Whether it would be accepted.
    ok: bool,
    /// Why not: the first 100 faults.
    errors: Vec<FieldError>,
    /// How many more faults there are.
    more_errors: usize,
    /// What the servers have against the workflow, by node id. With `ok`, what would be left out of it.
    #[schema(value_type = Object)]
    node_errors: Value,
    /// What each server says; empty where the workflow or its parameters are at fault by themselves.
    backends: Vec<BackendFit>,
}

/// What one server says to a workflow.
#[derive(Debug, Serialize, ToSchema)]
pub struct BackendFit {
    /// The server.
    name: String,
    /// Whether it can run the workflow; null while it has not told what it can run.
    can_run: Option<bool>,
    /// What the workflow names and the server does not have.
    missing: Vec<MissingBody>,
}

/// Something a workflow names and a server does not have.
#[derive(Debug, Serialize, ToSchema)]
pub struct MissingBody {
    /// `model`, `node_class` or `value`.
    kind: &'static str,
    /// Its name.
    name: String,
    /// The node that names it.
    node_id: String,
    /// The input that names it.
    input: Option<String>,
    /// Names that the server has, the best first.
    nearest: Vec<String>,
}

impl From<MissingItem<'_>> for MissingBody {
    fn from(missing: MissingItem<'_>) -> Self {
        Self {
            kind: missing.kind.as_str(),
            name: missing.name.to_owned(),
            node_id: missing.node_id.to_owned(),
            input: missing.input.map(str::to_owned),
            nearest: missing.nearest.to_vec(),
        }
    }
}

impl BackendFit {
    /// The answer's form of what is known.
    pub(super) fn new(fit: &BackendFitness) -> Self {
        let missing = fit.faults.iter().flat_map(|faults| faults.missing().map(Into::into)).collect();
        Self { name: fit.backend.to_string(), can_run: fit.can_run(), missing }
    }
}

/// Tells what a job would come to, without queueing it.
///
/// Takes what `POST /execute` takes. Faults of the workflow and its parameters are the answer, not errors. Nothing is
/// fetched but a workflow behind a URL, and no file is kept.
#[utoipa::path(
    post, path = "/validate", tag = "workflows", operation_id = "validate",
    request_body(content((ExecuteRequest = "application/json"), (super::execute::ExecuteForm = "multipart/form-data"))),
    responses(
        (status = 200, description = "What it would come to", body = ValidationBody),
        (status = 400, description = "`malformed_json`, `malformed_form`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 408, description = "`request_timeout`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 413, description = "`body_too_large`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 415, description = "`unsupported_media_type`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 422, description = "`invalid_request`, `invalid_workflow`, `invalid_params`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 500, description = "`internal`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 502, description = "`workflow_unavailable`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "`servers_unknown`, `store_unavailable`, `disk_full`, `storage_unavailable`", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn validate(
    State(state): State<ApiState>,
    base: BaseUrl,
    body: JobBody,
) -> Result<axum::Json<ValidationBody>, Problem> {
    let judging = state.offload.clone().judge(body.bytes(), move || async move {
        let JobBody { json, texts, files } = body;
        let submission = submission(json.as_ref(), &texts, files, &state.limits, base.as_str())?;
        let ValidationReport { ok, faults, node_errors, fits } = state.service.validate(&submission).await?;
        let errors = field_errors("", faults);
        let backends = fits.iter().map(BackendFit::new).collect();
        Ok(ValidationBody {
            ok,
            more_errors: errors.more(),
            errors: errors.into_iter().collect(),
            node_errors,
            backends,
        })
    });
    judging.await.map(axum::Json)
}
