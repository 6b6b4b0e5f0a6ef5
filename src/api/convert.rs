//! `POST /convert`: the editor's file in, the API-format graph out.

use axum::extract::State;
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::body::JsonObject;
use super::problem::{self, Problem, ProblemBody};
use super::state::ApiState;
use crate::convert::ConversionWarning;

/// What a file was converted to.
#[derive(Debug, Serialize, ToSchema)]
pub struct ConvertedWorkflow {
    /// The API-format graph.
    #[schema(value_type = Object)]
    workflow: Box<RawValue>,
    /// What may not be as its author meant.
    warnings: Vec<WarningBody>,
}

/// What may not be as the author of a workflow meant.
#[derive(Debug, Serialize, ToSchema)]
pub struct WarningBody {
    /// The node it is about, where it is about one.
    node_id: Option<String>,
    /// The node's title.
    title: Option<String>,
    /// One sentence.
    message: String,
}

impl From<ConversionWarning> for WarningBody {
    fn from(warning: ConversionWarning) -> Self {
        Self { node_id: warning.node_id, title: warning.title, message: warning.message }
    }
}

/// Converts the editor's file to an API-format graph.
///
/// By the node classes of the servers, as ComfyUI's own editor does. Nothing is guessed: what cannot be converted is
/// refused with the node's id and title.
#[utoipa::path(
    post, path = "/convert", tag = "workflows", operation_id = "convert",
    request_body(content = Object, description = "The file that the ComfyUI editor saves: `nodes`, `links` and all else"),
    responses(
        (status = 200, description = "The graph", body = ConvertedWorkflow),
        (status = 400, description = "`malformed_json`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 408, description = "`request_timeout`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 413, description = "`body_too_large`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 415, description = "`unsupported_media_type`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 422, description = "`invalid_workflow`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 500, description = "`internal`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "`servers_unknown`", body = ProblemBody, content_type = "application/problem+json"),
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
