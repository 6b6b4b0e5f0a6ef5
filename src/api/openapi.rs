//! The OpenAPI document, generated from the handlers.

use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;

use super::problem::ProblemBody;
use super::state::ApiState;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "comfy-gateway",
        description = "A durable REST gateway in front of ComfyUI: submit a workflow, fetch its result.\n\nThe gateway may reject any request before it reaches an endpoint, in the same error format: 400 `malformed_request` (not valid HTTP, or not exactly one `Host` header), 405 `method_not_allowed`, 414 `uri_too_long`, 431 `headers_too_large`.",
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0")
    ),
    components(schemas(ProblemBody)),
    tags(
        (name = "jobs", description = "Run workflows and fetch their results"),
        (name = "media", description = "Output files of jobs"),
        (name = "workflows", description = "Register, convert and validate workflows"),
        (name = "files", description = "Upload files to use as parameter values"),
        (name = "servers", description = "The ComfyUI backends"),
        (name = "operation", description = "Health checks and metrics"),
        (name = "documentation", description = "This document"),
    )
)]
struct WorkflowOperation;

/// Builds the document of every route.
#[must_use]
pub fn document() -> utoipa::openapi::OpenApi {
    let (_router, document) = OpenApiRouter::<ApiState>::with_openapi(WorkflowOperation::openapi())
        .merge(super::routes())
        .split_for_parts();
    document
}

/// Returns the document as JSON text, or an empty text if it cannot be serialized.
#[must_use]
pub fn json() -> String {
    document().to_pretty_json().unwrap_or_default()
}

/// Converts JSON text to YAML text. Going through text keeps numbers as numbers: `serde_json` values with arbitrary
/// precision would turn into maps in another serializer.
///
/// # Errors
/// The text is not valid JSON.
pub fn as_yaml(json: &str) -> Result<String, yaml_serde::Error> {
    let document: yaml_serde::Value = yaml_serde::from_str(json)?;
    yaml_serde::to_string(&document)
}

/// Returns the document as YAML text, or an empty text if it cannot be serialized.
#[must_use]
pub fn yaml() -> String {
    as_yaml(&json()).unwrap_or_default()
}
