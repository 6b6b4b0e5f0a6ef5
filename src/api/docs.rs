//! The API's own documentation: the OpenAPI document and a page that shows it without any network.

use std::sync::LazyLock;

use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::response::{Html, IntoResponse, Response};
use serde_json::Value;

use super::openapi;
use super::problem::{self, Problem, ProblemBody};
use super::signatures::{MEDIA, with_workflows};
use super::state::ApiState;

/// The document without any registered workflow.
static GENERAL: LazyLock<Value> =
    LazyLock::new(|| serde_json::from_str(&openapi::json()).unwrap_or_default());

/// Redoc 2.5.4 (MIT), as published; its licences lie beside it.
const REDOC: &str = include_str!("../../assets/redoc/redoc.standalone.js");

const PAGE: &str = r#"<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>comfy-gateway</title><meta name="viewport" content="width=device-width, initial-scale=1"></head>
<body style="margin:0">
<redoc spec-url="openapi.json" hide-download-button="false"></redoc>
<script src="docs/redoc.js"></script>
</body>
</html>
"#;

/// What the page may load: itself and nothing else.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'unsafe-inline'; img-src 'self' data:; connect-src 'self'; worker-src blob:";

/// The OpenAPI document as YAML.
#[utoipa::path(
    get, path = "/openapi.yaml", tag = "documentation", operation_id = "openapi_yaml",
    responses(
        (status = 200, description = "This document, and an operation for each registered workflow", body = Object, content_type = "application/yaml"),
        (status = 500, description = "`internal`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "`store_unavailable`", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn yaml(State(state): State<ApiState>) -> Result<Response, Problem> {
    let text = openapi::as_yaml(&document(&state).await?.to_string())
        .map_err(|error| Problem::new(problem::INTERNAL, error.to_string()))?;
    Ok(([(CONTENT_TYPE, "application/yaml")], text).into_response())
}

/// The OpenAPI document as JSON.
#[utoipa::path(
    get, path = "/openapi.json", tag = "documentation", operation_id = "openapi_json",
    responses(
        (status = 200, description = "This document, and an operation for each registered workflow", body = Object, content_type = "application/json"),
        (status = 500, description = "`internal`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "`store_unavailable`", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn json(State(state): State<ApiState>) -> Result<Response, Problem> {
    Ok(([(CONTENT_TYPE, "application/json")], document(&state).await?.to_string()).into_response())
}

/// The document of everything there is now: the registered workflows are operations, too.
async fn document(state: &ApiState) -> Result<Value, Problem> {
    let workflows = state.service.signatures(MEDIA).await?;
    Ok(with_workflows(GENERAL.clone(), workflows))
}

/// This documentation as a page.
#[utoipa::path(
    get, path = "/docs", tag = "documentation", operation_id = "docs",
    responses((status = 200, description = "The page", body = String, content_type = "text/html"))
)]
pub async fn page() -> Response {
    ([(CONTENT_SECURITY_POLICY, POLICY)], Html(PAGE)).into_response()
}

/// The page's script.
#[utoipa::path(
    get, path = "/docs/redoc.js", tag = "documentation", operation_id = "docs_script",
    responses((status = 200, description = "The script", body = String, content_type = "text/javascript"))
)]
pub async fn script() -> Response {
    ([(CONTENT_TYPE, "text/javascript; charset=utf-8"), (CACHE_CONTROL, "public, max-age=86400")], REDOC)
        .into_response()
}
