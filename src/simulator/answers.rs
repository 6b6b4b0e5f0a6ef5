//! Responses in the form in which ComfyUI's web server sends them.

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::Value;

use super::pyjson;

/// A JSON response with aiohttp's content type, and with bare `NaN` where there is one.
pub(super) fn json_body(value: &Value) -> Response {
    ([(header::CONTENT_TYPE, "application/json; charset=utf-8")], pyjson::render(value)).into_response()
}

/// The response of ComfyUI when one of its handlers raises an exception.
pub(super) fn broken() -> Response {
    let body = "500 Internal Server Error\n\nServer got itself in trouble";
    let headers = [(header::CONTENT_TYPE, "text/plain; charset=utf-8"), (header::CONNECTION, "close")];
    (StatusCode::INTERNAL_SERVER_ERROR, headers, body).into_response()
}

/// Marks a response whose connection is dropped instead of answered.
#[derive(Debug, Clone, Copy)]
pub(super) struct DropConnection;
