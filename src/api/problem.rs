//! Errors as clients see them: one format (`application/problem+json`, RFC 9457) and one list of codes. The outermost
//! middleware writes the body, because it knows the request's id.

use std::time::Duration;

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::domain::capped::CappedList;
use crate::domain::fault::{WorkflowFault, WorkflowFaults};
use crate::domain::text::and_more;

/// A kind of error: its stable code, status and title.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProblemKind {
    /// The code that clients match on. It never changes.
    pub code: &'static str,
    /// The HTTP status of the response.
    pub status: StatusCode,
    /// A sentence that describes this kind of error in general.
    pub title: &'static str,
    /// Whether the same request may succeed later, without changes.
    pub retryable: bool,
}

macro_rules! kinds {
    ($($name:ident = $code:literal, $status:ident, $retryable:literal, $title:literal;)*) => {
        $(#[doc = $title] pub const $name: ProblemKind =
            ProblemKind { code: $code, status: StatusCode::$status, title: $title, retryable: $retryable };)*
        /// Every kind of error.
        pub const KINDS: &[ProblemKind] = &[$($name),*];
    };
}

kinds! {
    MALFORMED_REQUEST = "malformed_request", BAD_REQUEST, false, "The request is not valid HTTP";
    URI_TOO_LONG = "uri_too_long", URI_TOO_LONG, false, "The URL is too long";
    HEADERS_TOO_LARGE = "headers_too_large", REQUEST_HEADER_FIELDS_TOO_LARGE, false, "The headers are too large";
    MALFORMED_JSON = "malformed_json", BAD_REQUEST, false, "The body is not valid JSON";
    INVALID_PROMPT_ID = "invalid_prompt_id", BAD_REQUEST, false, "The prompt id is not a UUID";
    INVALID_NAME = "invalid_name", BAD_REQUEST, false, "The name of the workflow is not valid";
    INVALID_QUERY = "invalid_query", BAD_REQUEST, false, "A query parameter or header is not valid";
    NOT_FOUND = "not_found", NOT_FOUND, false, "The requested resource does not exist";
    METHOD_NOT_ALLOWED = "method_not_allowed", METHOD_NOT_ALLOWED, false, "This path does not support the HTTP method";
    REQUEST_TIMEOUT = "request_timeout", REQUEST_TIMEOUT, true, "The request body did not arrive in time";
    UNFINISHED = "unfinished", CONFLICT, true, "The job has not ended yet";
    GONE = "gone", GONE, false, "The job was deleted or its retention ended";
    BODY_TOO_LARGE = "body_too_large", PAYLOAD_TOO_LARGE, false, "The request body is too large";
    UNSUPPORTED_MEDIA_TYPE = "unsupported_media_type", UNSUPPORTED_MEDIA_TYPE, false, "This path does not accept the content type of the body";
    MALFORMED_FORM = "malformed_form", BAD_REQUEST, false, "The body is not a valid multipart form";
    RANGE_NOT_SATISFIABLE = "range_not_satisfiable", RANGE_NOT_SATISFIABLE, false, "The requested range is outside the file";
    INVALID_REQUEST = "invalid_request", UNPROCESSABLE_ENTITY, false, "A field of the request is not valid";
    INVALID_WORKFLOW = "invalid_workflow", UNPROCESSABLE_ENTITY, false, "The workflow cannot run on any backend";
    INVALID_PARAMS = "invalid_params", UNPROCESSABLE_ENTITY, false, "The parameters do not fit the workflow";
    FROM_FOLDER = "from_folder", CONFLICT, false, "The workflow was loaded from a file and can only be changed there";
    BACKEND_EXISTS = "backend_exists", CONFLICT, false, "A backend with this name or address already exists";
    BACKEND_BUSY = "backend_busy", CONFLICT, true, "The backend still has jobs";
    BACKEND_CONFIGURED = "backend_configured", CONFLICT, false, "The backend is defined in the configuration";
    WORKFLOW_UNAVAILABLE = "workflow_unavailable", BAD_GATEWAY, true, "The workflow could not be fetched";
    SERVERS_UNKNOWN = "servers_unknown", SERVICE_UNAVAILABLE, true, "The node classes of the backends are not known yet";
    INTERNAL = "internal", INTERNAL_SERVER_ERROR, true, "The gateway failed unexpectedly";
    QUEUE_FULL = "queue_full", SERVICE_UNAVAILABLE, true, "Too many jobs are queued";
    STORE_UNAVAILABLE = "store_unavailable", SERVICE_UNAVAILABLE, true, "The gateway's database is not available";
    STORAGE_UNAVAILABLE = "storage_unavailable", SERVICE_UNAVAILABLE, true, "The gateway's file storage is not available";
    DISK_FULL = "disk_full", SERVICE_UNAVAILABLE, true, "The gateway's disk is full";
    NOT_READY = "not_ready", SERVICE_UNAVAILABLE, true, "The gateway cannot run jobs now";
}

/// A fault of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct FieldError {
    /// A JSON pointer (RFC 6901) into the request body, or the name of a query parameter.
    pub pointer: String,
    /// A human-readable sentence that explains the fault.
    pub message: String,
    /// The id of the faulty node, if the fault concerns a node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_id: Option<String>,
}

impl FieldError {
    /// A fault at a JSON pointer into the body.
    #[must_use]
    pub fn at(pointer: &str, message: &str) -> Self {
        Self { pointer: pointer.to_owned(), message: message.to_owned(), node_id: None }
    }
}

/// An error response before it is written.
#[derive(Debug, Clone)]
pub struct Problem(Box<ProblemDetails>);

#[derive(Debug, Clone)]
struct ProblemDetails {
    kind: ProblemKind,
    detail: String,
    errors: CappedList<FieldError>,
    node_errors: Value,
    limit: Option<u64>,
    retry_after: Option<Duration>,
    /// The cause, for the log only; clients never see it.
    internal: Option<String>,
}

/// The body of every error response: RFC 9457 problem details with additional members.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Problem)]
pub struct ProblemBody<'a> {
    /// A URI that identifies the kind of error.
    #[serde(rename = "type")]
    #[schema(example = "urn:comfy-gateway:problem:invalid_request")]
    uri: String,
    /// A sentence that describes this kind of error in general.
    title: &'a str,
    /// The HTTP status of the response.
    #[schema(example = 422)]
    status: u16,
    /// A human-readable sentence that explains this error.
    detail: &'a str,
    /// A stable, machine-readable code.
    #[schema(example = "invalid_request")]
    code: &'a str,
    /// The request's id, the same as in the header `X-Request-Id`.
    request_id: &'a str,
    /// Whether the same request may succeed later, without changes.
    retryable: bool,
    /// The faults of the request, each with its place; at most 100.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    errors: &'a [FieldError],
    /// The number of faults beyond those in `errors`.
    #[serde(skip_serializing_if = "is_zero")]
    #[schema(required = false)]
    more_errors: usize,
    /// The faults of the workflow on the best-matching backend, keyed by node id. Each node has its `class_type` and
    /// `errors`, and each error has ComfyUI's `type`, a `message`, the `input`, the `received` value and the `nearest`
    /// valid names.
    #[serde(skip_serializing_if = "Value::is_null")]
    #[schema(value_type = Object, required = false)]
    node_errors: &'a Value,
    /// The limit that the request exceeded, in the unit that `detail` names.
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<u64>,
}

impl Problem {
    /// An error of this kind. `detail` explains what is wrong with this request and how to fix it.
    pub fn new(kind: ProblemKind, detail: impl Into<String>) -> Self {
        let detail = detail.into();
        Self(Box::new(ProblemDetails {
            kind,
            detail,
            errors: CappedList::default(),
            node_errors: Value::Null,
            limit: None,
            retry_after: None,
            internal: None,
        }))
    }

    /// Adds the faults of the request.
    #[must_use]
    pub fn errors(mut self, errors: CappedList<FieldError>) -> Self {
        self.0.errors = errors;
        self
    }

    /// Adds the faults by node id, in the format of ComfyUI's `node_errors`.
    #[must_use]
    pub fn node_errors(mut self, node_errors: Value) -> Self {
        self.0.node_errors = node_errors;
        self
    }

    /// Adds the limit that the request exceeded.
    #[must_use]
    pub fn limit(mut self, limit: u64) -> Self {
        self.0.limit = Some(limit);
        self
    }

    /// Adds a `Retry-After` header.
    #[must_use]
    pub fn retry_after(mut self, wait: Duration) -> Self {
        self.0.retry_after = Some(wait);
        self
    }

    pub(super) fn internal(mut self, internal: &impl ToString) -> Self {
        self.0.internal = Some(internal.to_string());
        self
    }

    /// The kind of this error.
    #[must_use]
    pub fn kind(&self) -> ProblemKind {
        self.0.kind
    }

    /// The cause, for the log only.
    #[must_use]
    pub fn internal_detail(&self) -> Option<&str> {
        self.0.internal.as_deref()
    }

    /// The time to send as `Retry-After`.
    #[must_use]
    pub fn wait(&self) -> Option<Duration> {
        self.0.retry_after
    }

    /// The response body for the request with this id.
    #[must_use]
    pub fn body<'a>(&'a self, request_id: &'a str) -> ProblemBody<'a> {
        let ProblemDetails { kind, detail, errors, node_errors, limit, .. } = &*self.0;
        ProblemBody {
            uri: format!("urn:comfy-gateway:problem:{}", kind.code),
            title: kind.title,
            status: kind.status.as_u16(),
            detail,
            code: kind.code,
            request_id,
            retryable: kind.retryable,
            errors,
            more_errors: errors.more(),
            node_errors,
            limit: *limit,
        }
    }
}

impl IntoResponse for Problem {
    /// Sets only the status and stores the problem in the extensions, where the outermost middleware finds it and writes
    /// the body.
    fn into_response(self) -> Response {
        let mut response = self.0.kind.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(number: &usize) -> bool {
    *number == 0
}

/// Converts faults to errors of the request. `below` is the JSON pointer that their pointers start from.
#[must_use]
pub fn field_errors(below: &str, faults: WorkflowFaults) -> CappedList<FieldError> {
    faults.map(|fault: WorkflowFault| FieldError {
        pointer: below.to_owned() + &fault.pointer,
        message: fault.message,
        node_id: fault.node_id,
    })
}

/// Summarizes faults in one sentence: the first fault, and the number of further ones.
#[must_use]
pub fn in_a_sentence(errors: &CappedList<FieldError>) -> String {
    let first = errors.first().map_or_else(String::new, |error| error.message.clone());
    match and_more(errors.total().saturating_sub(1)) {
        None => first,
        Some(more) => format!("{first} ({more}, see errors)"),
    }
}
