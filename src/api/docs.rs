//! The API's own documentation: the OpenAPI document and a page that shows it without any network.

use std::sync::LazyLock;

use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::response::{Html, IntoResponse, Response};

use super::openapi;

static JSON: LazyLock<String> = LazyLock::new(openapi::json);
static YAML: LazyLock<String> = LazyLock::new(openapi::yaml);

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
    responses((status = 200, description = "This document", body = Object, content_type = "application/yaml"))
)]
pub async fn yaml() -> Response {
    ([(CONTENT_TYPE, "application/yaml")], YAML.as_str()).into_response()
}

/// The OpenAPI document as JSON.
#[utoipa::path(
    get, path = "/openapi.json", tag = "documentation", operation_id = "openapi_json",
    responses((status = 200, description = "This document", body = Object, content_type = "application/json"))
)]
pub async fn json() -> Response {
    ([(CONTENT_TYPE, "application/json")], JSON.as_str()).into_response()
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
