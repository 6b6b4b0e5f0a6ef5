//! The API's own documentation: the OpenAPI document, and a page that renders it without loading anything from elsewhere.

use axum::Extension;
use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::response::{Html, IntoResponse, Response};
use serde_json::Value;

use super::problem::{self, Problem};
use super::problem_responses::{STORE_READ, problem_responses};
use super::signatures::{MEDIA, with_workflows};
use super::state::ApiState;

/// Returns the document without operations for registered workflows. The router provides it, because the document is
/// generated from all routes, including those of this file.
#[derive(Debug, Clone, Copy)]
pub struct BaseDocument(pub fn() -> &'static Value);

/// Redoc 2.5.4 (MIT), as published. Its licences are in the same folder.
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

/// Allows the page to load only resources of this gateway.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'unsafe-inline'; img-src 'self' data:; connect-src 'self'; worker-src blob:";

problem_responses!(DocumentProblems: STORE_READ);

/// Returns the OpenAPI document as YAML.
#[utoipa::path(
    get, path = "/openapi.yaml", tag = "documentation", operation_id = "openapi_yaml",
    responses(
        (status = 200, description = "This document, with an operation for each registered workflow", body = Object, content_type = "application/yaml"),
        DocumentProblems,
    )
)]
pub async fn yaml(
    State(state): State<ApiState>,
    Extension(base): Extension<BaseDocument>,
) -> Result<Response, Problem> {
    let text = as_yaml(&document(&state, base).await?.to_string())
        .map_err(|error| Problem::new(problem::INTERNAL, error.to_string()))?;
    Ok(([(CONTENT_TYPE, "application/yaml")], text).into_response())
}

/// Returns the OpenAPI document as JSON.
#[utoipa::path(
    get, path = "/openapi.json", tag = "documentation", operation_id = "openapi_json",
    responses(
        (status = 200, description = "This document, with an operation for each registered workflow", body = Object, content_type = "application/json"),
        DocumentProblems,
    )
)]
pub async fn json(
    State(state): State<ApiState>,
    Extension(base): Extension<BaseDocument>,
) -> Result<Response, Problem> {
    Ok(([(CONTENT_TYPE, "application/json")], document(&state, base).await?.to_string()).into_response())
}

/// Builds the document with an operation for each workflow that is registered now.
async fn document(state: &ApiState, BaseDocument(base): BaseDocument) -> Result<Value, Problem> {
    let workflows = state.service.signatures(MEDIA).await?;
    Ok(with_workflows(base().clone(), workflows))
}

/// Returns this documentation as an HTML page.
#[utoipa::path(
    get, path = "/docs", tag = "documentation", operation_id = "docs",
    responses((status = 200, description = "The HTML page", body = String, content_type = "text/html"))
)]
pub async fn page() -> Response {
    ([(CONTENT_SECURITY_POLICY, POLICY)], Html(PAGE)).into_response()
}

/// Returns the script of the documentation page.
#[utoipa::path(
    get, path = "/docs/redoc.js", tag = "documentation", operation_id = "docs_script",
    responses((status = 200, description = "The script", body = String, content_type = "text/javascript"))
)]
pub async fn script() -> Response {
    ([(CONTENT_TYPE, "text/javascript; charset=utf-8"), (CACHE_CONTROL, "public, max-age=86400")], REDOC)
        .into_response()
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
