//! `POST /convert`: converts an editor file to an API-format graph.

use axum::extract::State;
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::body::JsonObject;
use super::problem::{self, INTERNAL, INVALID_WORKFLOW, MALFORMED_JSON, Problem, SERVERS_UNKNOWN};
use super::problem_responses::{BODY_READ, problem_responses};
use super::state::ApiState;
use crate::convert::ConversionWarning;

/// A converted workflow.
#[derive(Debug, Serialize, ToSchema)]
pub struct ConvertedWorkflow {
    /// The API-format graph.
    #[schema(value_type = Object)]
    workflow: Box<RawValue>,
    /// Warnings about conversions that may differ from the author's intent.
    warnings: Vec<WarningBody>,
}

/// A conversion that may differ from the author's intent.
#[derive(Debug, Serialize, ToSchema)]
pub struct WarningBody {
    /// The id of the node that the warning is about, if any.
    node_id: Option<String>,
    /// The node's title.
    title: Option<String>,
    /// A human-readable sentence.
    message: String,
}

impl From<ConversionWarning> for WarningBody {
    fn from(warning: ConversionWarning) -> Self {
        Self { node_id: warning.node_id, title: warning.title, message: warning.message }
    }
}

problem_responses!(ConvertProblems: &[MALFORMED_JSON, INVALID_WORKFLOW, INTERNAL, SERVERS_UNKNOWN], BODY_READ);

/// Converts an editor file to an API-format graph.
///
/// The conversion uses the backends' node classes, as the ComfyUI editor does. If a node cannot be converted, the request
/// is rejected, and the error has the node's id and title.
#[utoipa::path(
    post, path = "/convert", tag = "workflows", operation_id = "convert",
    request_body(content = Object, description = "A workflow file as the ComfyUI editor saves it, with `nodes` and `links`"),
    responses(
        (status = 200, description = "The API-format graph", body = ConvertedWorkflow),
        ConvertProblems,
    )
)]
pub async fn convert(
    State(state): State<ApiState>,
    body: JsonObject,
) -> Result<axum::Json<ConvertedWorkflow>, Problem> {
    let converting = state.offload.clone().judge(body.bytes(), move || async move {
        let converted = state.service.convert(body.object(&state.limits)?).await?;
        let workflow = RawValue::from_string(converted.graph)
            .map_err(|error| Problem::new(problem::INTERNAL, error.to_string()))?;
        let warnings = converted.warnings.into_iter().map(Into::into).collect();
        Ok(ConvertedWorkflow { workflow, warnings })
    });
    converting.await.map(axum::Json)
}
