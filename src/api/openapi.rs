//! The OpenAPI document, made from the handlers.

use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;

use super::state::ApiState;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "comfy-gateway",
        description = "A durable REST gateway in front of ComfyUI: submit a workflow, fetch its result.\n\nAny request may also be refused before it reaches an endpoint, in the one format of errors: 400 `malformed_request` (no valid HTTP, or not exactly one `Host`), 405 `method_not_allowed`, 414 `uri_too_long`, 431 `headers_too_large`.",
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0")
    ),
    tags(
        (name = "jobs", description = "Running workflows and fetching what they made"),
        (name = "media", description = "The files of jobs"),
        (name = "workflows", description = "Workflows that have names"),
        (name = "files", description = "Files to use as values of parameters"),
        (name = "servers", description = "The ComfyUI servers"),
        (name = "operation", description = "What machines ask"),
        (name = "documentation", description = "This document"),
    )
)]
struct WorkflowOperation;

/// The document of everything the router serves.
#[must_use]
pub fn document() -> utoipa::openapi::OpenApi {
    let (_router, document) = OpenApiRouter::<ApiState>::with_openapi(WorkflowOperation::openapi())
        .merge(super::routes())
        .split_for_parts();
    document
}

/// The document as JSON text.
#[must_use]
pub fn json() -> String {
    document().to_pretty_json().unwrap_or_default()
}

/// JSON text as YAML text. Numbers of `serde_json` would not survive another serializer, so it goes by the text.
///
/// # Errors
/// The text is no JSON.
pub fn as_yaml(json: &str) -> Result<String, yaml_serde::Error> {
    let document: yaml_serde::Value = yaml_serde::from_str(json)?;
    yaml_serde::to_string(&document)
}

/// The document as YAML text.
#[must_use]
pub fn yaml() -> String {
    as_yaml(&json()).unwrap_or_default()
}
