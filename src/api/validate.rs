//! `POST /validate`: checks a submission as `POST /execute` does, and lists the backends that can run it, without
//! queueing a job.

use axum::extract::State;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::execute::{ExecuteRequest, submission};
use super::extract::BaseUrl;
use super::form::JobBody;
use super::problem::{
    FieldError, INVALID_PARAMS, INVALID_REQUEST, INVALID_WORKFLOW, MALFORMED_FORM, MALFORMED_JSON, Problem,
    SERVERS_UNKNOWN, STORAGE_UNAVAILABLE, WORKFLOW_UNAVAILABLE, field_errors,
};
use super::problem_responses::{BODY_READ, STORE_WRITE, problem_responses};
use super::state::ApiState;
use crate::domain::validation::MissingItem;
use crate::service::{BackendFitness, ValidationReport};

/// The result of validating a submission.
#[derive(Debug, Serialize, ToSchema)]
pub struct ValidationBody {
    /// Whether `POST /execute` would accept the submission.
    ok: bool,
    /// The faults of the submission, at most 100.
    errors: Vec<FieldError>,
    /// The number of faults beyond those in `errors`.
    more_errors: usize,
    /// The faults of the workflow on the best-matching backend, keyed by node id. If `ok` is true, these are the nodes that
    /// would be left out.
    #[schema(value_type = Object)]
    node_errors: Value,
    /// The result for each backend. Empty if the workflow or its parameters are invalid on every backend.
    backends: Vec<BackendFit>,
}

/// Whether a backend can run a workflow.
#[derive(Debug, Serialize, ToSchema)]
pub struct BackendFit {
    /// The backend's name.
    name: String,
    /// Whether the backend can run the workflow; `null` while the backend's node classes are not known.
    can_run: Option<bool>,
    /// Models, node classes and values that the workflow uses and the backend does not have.
    missing: Vec<MissingBody>,
}

/// A model, node class or value that a workflow uses and a backend does not have.
#[derive(Debug, Serialize, ToSchema)]
pub struct MissingBody {
    /// `model`, `node_class` or `value`.
    kind: &'static str,
    /// The name as the workflow writes it.
    name: String,
    /// The id of the node that uses it.
    node_id: String,
    /// The node input that uses it; `null` for a node class.
    input: Option<String>,
    /// Similar names that the backend has, best match first.
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
    /// The response body for a backend's fitness.
    pub(super) fn new(fit: &BackendFitness) -> Self {
        let missing = fit.faults.iter().flat_map(|faults| faults.missing().map(Into::into)).collect();
        Self { name: fit.backend.to_string(), can_run: fit.can_run(), missing }
    }
}

problem_responses!(ValidateProblems: &[MALFORMED_JSON, MALFORMED_FORM, INVALID_REQUEST, INVALID_WORKFLOW, INVALID_PARAMS, WORKFLOW_UNAVAILABLE, SERVERS_UNKNOWN, STORAGE_UNAVAILABLE], STORE_WRITE, BODY_READ);

/// Validates a submission without queueing a job.
///
/// The request is the same as for `POST /execute`. Faults of the workflow and its parameters are part of the 200 response.
/// The gateway fetches the workflow if it is given as a URL, but no inputs, and stores no files.
#[utoipa::path(
    post, path = "/validate", tag = "workflows", operation_id = "validate",
    request_body(content((ExecuteRequest = "application/json"), (super::execute::ExecuteForm = "multipart/form-data"))),
    responses(
        (status = 200, description = "The result of the validation", body = ValidationBody),
        ValidateProblems,
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
