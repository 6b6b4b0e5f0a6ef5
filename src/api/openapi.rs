//! The OpenAPI document, generated from the handlers.

use std::sync::LazyLock;

use serde_json::Value;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;

use super::docs::as_yaml;
use super::problem::ProblemBody;
use super::routes;
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
        .merge(routes::all())
        .split_for_parts();
    document
}

/// Returns the document as JSON text, or an empty text if it cannot be serialized.
#[must_use]
pub fn json() -> String {
    document().to_pretty_json().unwrap_or_default()
}

/// Returns the document as YAML text, or an empty text if it cannot be serialized.
#[must_use]
pub fn yaml() -> String {
    as_yaml(&json()).unwrap_or_default()
}

/// Returns the document without operations for registered workflows. It is built once, at its first use.
#[must_use]
pub fn base() -> &'static Value {
    static BASE: LazyLock<Value> = LazyLock::new(|| serde_json::from_str(&json()).unwrap_or_default());
    &BASE
}
