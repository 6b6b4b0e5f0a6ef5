//! Errors as clients see them: one format (`application/problem+json`, RFC 9457) and one list of codes.
//! The body is written by the outermost middleware, which knows the request's id.

use std::time::Duration;

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::domain::capped::CappedList;
use crate::domain::fault::{WorkflowFault, WorkflowFaults};

/// One kind of refusal: its stable code, status and title.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProblemKind {
    /// The stable code; part of the contract.
    pub code: &'static str,
    /// The HTTP status it comes with.
    pub status: StatusCode,
    /// What it means in general.
    pub title: &'static str,
    /// Whether the same request may succeed later.
    pub retryable: bool,
}

macro_rules! kinds {
    ($($name:ident = $code:literal, $status:ident, $retryable:literal, $title:literal;)*) => {
        $(#[doc = $title] pub const $name: ProblemKind =
            ProblemKind { code: $code, status: StatusCode::$status, title: $title, retryable: $retryable };)*
        /// Every kind of refusal.
        pub const KINDS: &[ProblemKind] = &[$($name),*];
    };
}

kinds! {
    MALFORMED_REQUEST = "malformed_request", BAD_REQUEST, false, "The request is not valid HTTP";
    URI_TOO_LONG = "uri_too_long", URI_TOO_LONG, false, "The URL is too long";
    HEADERS_TOO_LARGE = "headers_too_large", REQUEST_HEADER_FIELDS_TOO_LARGE, false, "The headers are too large";
    MALFORMED_JSON = "malformed_json", BAD_REQUEST, false, "The body is not valid JSON";
    INVALID_PROMPT_ID = "invalid_prompt_id", BAD_REQUEST, false, "The prompt id is not a UUID";
    INVALID_NAME = "invalid_name", BAD_REQUEST, false, "The workflow's name is not valid";
    INVALID_QUERY = "invalid_query", BAD_REQUEST, false, "A query parameter or header is not valid";
    NOT_FOUND = "not_found", NOT_FOUND, false, "The requested resource does not exist";
    METHOD_NOT_ALLOWED = "method_not_allowed", METHOD_NOT_ALLOWED, false, "This path does not take this method";
    REQUEST_TIMEOUT = "request_timeout", REQUEST_TIMEOUT, true, "The body did not arrive in time";
    UNFINISHED = "unfinished", CONFLICT, true, "The job has not ended yet";
    GONE = "gone", GONE, false, "The job was deleted or its retention ended";
    BODY_TOO_LARGE = "body_too_large", PAYLOAD_TOO_LARGE, false, "The body is too large";
    UNSUPPORTED_MEDIA_TYPE = "unsupported_media_type", UNSUPPORTED_MEDIA_TYPE, false, "The body is not of a type this path takes";
    MALFORMED_FORM = "malformed_form", BAD_REQUEST, false, "The body is not a valid multipart form";
    RANGE_NOT_SATISFIABLE = "range_not_satisfiable", RANGE_NOT_SATISFIABLE, false, "The range is not within the file";
    INVALID_REQUEST = "invalid_request", UNPROCESSABLE_ENTITY, false, "A field of the request is not valid";
    INVALID_WORKFLOW = "invalid_workflow", UNPROCESSABLE_ENTITY, false, "The workflow cannot be run";
    INVALID_PARAMS = "invalid_params", UNPROCESSABLE_ENTITY, false, "The parameters do not fit the workflow";
    FROM_FOLDER = "from_folder", CONFLICT, false, "The workflow comes from a file and is changed there";
    BACKEND_EXISTS = "backend_exists", CONFLICT, false, "A server with this name or address exists already";
    BACKEND_BUSY = "backend_busy", CONFLICT, true, "The server has jobs";
    BACKEND_CONFIGURED = "backend_configured", CONFLICT, false, "The server is defined in the configuration";
    WORKFLOW_UNAVAILABLE = "workflow_unavailable", BAD_GATEWAY, true, "The workflow could not be fetched";
    SERVERS_UNKNOWN = "servers_unknown", SERVICE_UNAVAILABLE, true, "No server has told its node classes yet";
    INTERNAL = "internal", INTERNAL_SERVER_ERROR, true, "The gateway failed";
    QUEUE_FULL = "queue_full", SERVICE_UNAVAILABLE, true, "Too many jobs are queued";
    STORE_UNAVAILABLE = "store_unavailable", SERVICE_UNAVAILABLE, true, "The gateway's store does not answer";
    STORAGE_UNAVAILABLE = "storage_unavailable", SERVICE_UNAVAILABLE, true, "The gateway cannot store files now";
    DISK_FULL = "disk_full", SERVICE_UNAVAILABLE, true, "The gateway's disk is full";
    NOT_READY = "not_ready", SERVICE_UNAVAILABLE, true, "The gateway cannot run jobs now";
}

/// One of several faults of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct FieldError {
    /// JSON pointer (RFC 6901) into the request's body, or the name of a query parameter.
    pub pointer: String,
    /// What is wrong, in one sentence.
    pub message: String,
    /// The node at fault, where one is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_id: Option<String>,
}

impl FieldError {
    /// A fault at a place in the body.
    #[must_use]
    pub fn at(pointer: &str, message: &str) -> Self {
        Self { pointer: pointer.to_owned(), message: message.to_owned(), node_id: None }
    }
}

/// A refusal on its way out.
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
    /// For the log only.
    internal: Option<String>,
}

/// The body of every error: RFC 9457 problem details with members of our own.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Problem)]
pub struct ProblemBody<'a> {
    /// A URI for the kind of problem.
    #[serde(rename = "type")]
    #[schema(example = "urn:comfy-gateway:problem:invalid_request")]
    uri: String,
    /// What it means in general.
    title: &'a str,
    /// The HTTP status.
    #[schema(example = 422)]
    status: u16,
    /// What is wrong this time, in one sentence.
    detail: &'a str,
    /// The stable code.
    #[schema(example = "invalid_request")]
    code: &'a str,
    /// The request's id, as in `X-Request-Id`.
    request_id: &'a str,
    /// Whether the same request may succeed later.
    retryable: bool,
    /// The faults, where there are several places: the first 100.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    errors: &'a [FieldError],
    /// How many more faults there are than `errors` lists.
    #[serde(skip_serializing_if = "is_zero")]
    #[schema(required = false)]
    more_errors: usize,
    /// What the best of the servers has against the workflow, by node id: `class_type` and `errors`, each with ComfyUI's
    /// name for it (`type`), `message`, `input`, `received` and the `nearest` names there are.
    #[serde(skip_serializing_if = "Value::is_null")]
    #[schema(value_type = Object, required = false)]
    node_errors: &'a Value,
    /// The limit that was exceeded, in bytes or jobs.
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<u64>,
}

impl Problem {
    /// A refusal of that kind, with what is wrong this time.
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

    /// With the faults found.
    #[must_use]
    pub fn errors(mut self, errors: CappedList<FieldError>) -> Self {
        self.0.errors = errors;
        self
    }

    /// With all faults by node.
    #[must_use]
    pub fn node_errors(mut self, node_errors: Value) -> Self {
        self.0.node_errors = node_errors;
        self
    }

    /// With the limit that was exceeded.
    #[must_use]
    pub fn limit(mut self, limit: u64) -> Self {
        self.0.limit = Some(limit);
        self
    }

    /// With the time after which another try makes sense.
    #[must_use]
    pub fn retry_after(mut self, wait: Duration) -> Self {
        self.0.retry_after = Some(wait);
        self
    }

    pub(super) fn internal(mut self, internal: &impl ToString) -> Self {
        self.0.internal = Some(internal.to_string());
        self
    }

    /// Its kind.
    #[must_use]
    pub fn kind(&self) -> ProblemKind {
        self.0.kind
    }

    /// What only the log is told.
    #[must_use]
    pub fn internal_detail(&self) -> Option<&str> {
        self.0.internal.as_deref()
    }

    /// The time after which another try makes sense.
    #[must_use]
    pub fn wait(&self) -> Option<Duration> {
        self.0.retry_after
    }

    /// The body for a request.
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
    /// Only the status; the outermost middleware finds the problem among the extensions and writes it.
    fn into_response(self) -> Response {
        let mut response = self.0.kind.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde asks")]
fn is_zero(number: &usize) -> bool {
    *number == 0
}

/// Faults below a part of the body as errors of the request.
#[must_use]
pub fn field_errors(below: &str, faults: WorkflowFaults) -> CappedList<FieldError> {
    faults.map(|fault: WorkflowFault| FieldError {
        pointer: below.to_owned() + &fault.pointer,
        message: fault.message,
        node_id: fault.node_id,
    })
}

/// One sentence for several faults: the first, and how many there are besides.
#[must_use]
pub fn in_a_sentence(errors: &CappedList<FieldError>) -> String {
    let first = errors.first().map_or_else(String::new, |error| error.message.clone());
    match errors.total() {
        0 | 1 => first,
        total => format!("{first} (and {} more, see errors)", total - 1),
    }
}
