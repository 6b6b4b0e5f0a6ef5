//! Middleware for every request. It assigns an id and a span, writes one log line, counts metrics, and formats errors.

use std::any::Any;
use std::time::Duration;

use axum::extract::{MatchedPath, Request, State};
use axum::http::header::{CONNECTION, CONTENT_TYPE, HOST, RETRY_AFTER};
use axum::http::{HeaderName, HeaderValue, Version};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tracing::Instrument;

use super::problem::{self, Problem};
use super::state::ApiState;

/// The header with the request's id, in requests and in responses.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The outermost middleware: logs and counts the request, and writes the body of an error.
pub async fn observe(State(state): State<ApiState>, request: Request, next: Next) -> Response {
    let started = state.clock.now();
    let id = given_id(&request).unwrap_or_else(|| state.random.attempt_id().to_string());
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().map_or("unmatched", MatchedPath::as_str).to_owned();
    // The span has the highest level, so that no log filter drops its fields.
    let span = tracing::error_span!("request", request_id = %id, %method, route);
    let mut response = next.run(request).instrument(span.clone()).await;
    let took = state.clock.now().since(started);
    state.metrics.request(method.as_str(), &route, response.status().as_u16(), took);
    span.in_scope(|| log(&response, took));
    if let Some(problem) = response.extensions_mut().remove::<Problem>() {
        response = write(&problem, &id, &response);
    }
    if let Ok(id) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    response
}

/// Rejects an HTTP/1.1 request that does not have exactly one `Host` header (RFC 9112, 3.2).
pub async fn expect_host(request: Request, next: Next) -> Response {
    let hosts = request.headers().get_all(HOST).iter().count();
    if request.version() == Version::HTTP_11 && hosts != 1 {
        let detail =
            format!("an HTTP/1.1 request must have exactly one Host header; this request has {hosts}");
        return Problem::new(problem::MALFORMED_REQUEST, detail).into_response();
    }
    next.run(request).await
}

/// The id in the request's own header, if it has 1 to 128 safe characters.
fn given_id(request: &Request) -> Option<String> {
    let id = request.headers().get(REQUEST_ID)?.to_str().ok()?;
    let plain = id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte));
    (plain && (1..=128).contains(&id.len())).then(|| id.to_owned())
}

fn log(response: &Response, took: Duration) {
    let status = response.status().as_u16();
    let took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    let problem = response.extensions().get::<Problem>();
    let code = problem.map(|problem| problem.kind().code);
    if let Some(reason) = problem.and_then(Problem::internal_detail) {
        tracing::error!(status, took_ms, code, reason, "request failed");
    } else {
        tracing::debug!(status, took_ms, code, "request answered");
    }
}

/// Writes the problem as the response body, and keeps the response's other headers.
fn write(problem: &Problem, request_id: &str, response: &Response) -> Response {
    let mut written = (response.status(), axum::Json(problem.body(request_id))).into_response();
    for (name, value) in response.headers() {
        written.headers_mut().entry(name).or_insert_with(|| value.clone());
    }
    let headers = written.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    // The rest of the request body stays unread, so the connection cannot carry another request.
    if [problem::BODY_TOO_LARGE, problem::REQUEST_TIMEOUT].contains(&problem.kind()) {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    if let Some(wait) = problem.wait() {
        headers.insert(RETRY_AFTER, HeaderValue::from(wait.as_secs().max(1)));
    }
    written
}

/// The response for a handler that panicked.
#[must_use]
#[expect(clippy::needless_pass_by_value, reason = "the layer hands it over")]
pub fn panicked(panic: Box<dyn Any + Send + 'static>) -> Response {
    let message =
        panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    tracing::error!(panic = message.unwrap_or("panic without a message"), "a handler panicked");
    Problem::new(
        problem::INTERNAL,
        "the gateway failed unexpectedly; its log has the reason under this request id",
    )
    .into_response()
}

/// The response for a path without a route.
pub async fn not_found(request: Request) -> Problem {
    Problem::new(
        problem::NOT_FOUND,
        format!("the path {} does not exist; /docs lists all paths", request.uri().path()),
    )
}

/// The response for a method that the path does not support. Its `Allow` header lists the supported methods.
pub async fn method_not_allowed(request: Request) -> Problem {
    let detail = format!(
        "the method {} is not supported at {}; the Allow header lists the supported methods",
        request.method(),
        request.uri().path()
    );
    Problem::new(problem::METHOD_NOT_ALLOWED, detail)
}
