//! Extractors for paths, queries and headers. Every fault is reported in the common problem format.

use std::time::Duration;

use axum::extract::{FromRequestParts, RawPathParams};
use axum::http::header::HOST;
use axum::http::request::Parts;

use super::problem::{self, FieldError, Problem};
use super::state::ApiState;
use crate::domain::capped::CappedList;
use crate::domain::id::{BackendName, FileId, PromptId};
use crate::domain::params::nearest;
use crate::domain::registered::WorkflowRef;
use crate::domain::text::brief;
use crate::service::ReadError;

/// The `{prompt_id}` of the path.
#[derive(Debug, Clone, Copy)]
pub struct PromptIdPath(pub PromptId);

impl FromRequestParts<ApiState> for PromptIdPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, Problem> {
        let text = path_param(parts, state, "prompt_id").await.unwrap_or_default();
        PromptId::parse(&text)
            .map(Self)
            .map_err(|error| Problem::new(problem::INVALID_PROMPT_ID, error.to_string()))
    }
}

/// The `{name}` of the path: a registered workflow, with or without a version.
#[derive(Debug, Clone)]
pub struct WorkflowPath(pub WorkflowRef);

impl FromRequestParts<ApiState> for WorkflowPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, Problem> {
        let text = path_param(parts, state, "name").await.unwrap_or_default();
        WorkflowRef::parse(&text)
            .map(Self)
            .map_err(|error| Problem::new(problem::INVALID_NAME, error.to_string()))
    }
}

/// The `{name}` of the path: a backend.
#[derive(Debug, Clone)]
pub struct BackendNamePath(pub BackendName);

impl FromRequestParts<ApiState> for BackendNamePath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, Problem> {
        let text = path_param(parts, state, "name").await.unwrap_or_default();
        // A text that is not a valid name cannot be the name of a backend.
        let unknown =
            || Problem::new(problem::NOT_FOUND, "no backend has this name; GET /backends lists all backends");
        BackendName::parse(&text).map(Self).map_err(|_| unknown())
    }
}

/// The `{file_id}` of the path.
#[derive(Debug, Clone, Copy)]
pub struct FileIdPath(pub FileId);

impl FromRequestParts<ApiState> for FileIdPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, Problem> {
        let text = path_param(parts, state, "file_id").await.unwrap_or_default();
        // A text that is not a valid id cannot be the id of a file.
        FileId::parse(&text).map(Self).map_err(|_| ReadError::Unknown.into())
    }
}

/// The `{file}` of the path, percent-decoded; may be any text.
#[derive(Debug, Clone)]
pub struct FilePath(pub String);

impl FromRequestParts<ApiState> for FilePath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, Problem> {
        let file = path_param(parts, state, "file").await;
        file.map(Self).ok_or_else(|| {
            Problem::new(problem::NOT_FOUND, "no file has this name; use the URLs in the job's result")
        })
    }
}

async fn path_param(parts: &mut Parts, state: &ApiState, name: &str) -> Option<String> {
    let params = RawPathParams::from_request_parts(parts, state).await.ok()?;
    params.iter().find(|(key, _)| *key == name).map(|(_, value)| value.to_owned())
}

/// The base of absolute URLs: the configured public URL, else the host that the request was sent to.
#[derive(Debug, Clone)]
pub struct BaseUrl(String);

impl BaseUrl {
    /// The prefix of every URL, without a trailing slash. Empty if neither a public URL nor a valid host is known.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The URL of `path`, which begins with a slash.
    #[must_use]
    pub fn join(&self, path: &str) -> String {
        format!("{}{path}", self.0)
    }
}

impl FromRequestParts<ApiState> for BaseUrl {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, Self::Rejection> {
        if let Some(url) = &state.public_url {
            return Ok(Self(url.as_str().trim_end_matches('/').to_owned()));
        }
        let host = parts.headers.get(HOST).and_then(|host| host.to_str().ok());
        let authority = host.or_else(|| parts.uri.authority().map(axum::http::uri::Authority::as_str));
        let plain = |host: &&str| {
            !host.is_empty()
                && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte))
        };
        Ok(Self(authority.filter(plain).map(|host| format!("http://{host}")).unwrap_or_default()))
    }
}

/// The parameters of a query, each with a known name and given once, and the faults found so far.
#[derive(Debug)]
pub struct QueryParams {
    values: Vec<(String, String)>,
    errors: CappedList<FieldError>,
}

impl QueryParams {
    /// Reads the query of a request; parameters of other names are faults.
    #[must_use]
    pub fn read(parts: &Parts, known: &[&str]) -> Self {
        let pairs = url::form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes());
        let mut query = Self { values: Vec::new(), errors: CappedList::default() };
        for (name, value) in pairs {
            if !known.contains(&name.as_ref()) {
                let near = nearest(&name, known.iter().copied());
                let hint = near.first().map_or_else(String::new, |near| format!("; did you mean {near:?}?"));
                query.fault(&name, format!("unknown query parameter {:?}{hint}", brief(&name)));
            } else if query.get(&name).is_some() {
                query.fault(
                    &name,
                    format!("the query parameter {name:?} is given more than once; send it once"),
                );
            } else {
                query.values.push((name.into_owned(), value.into_owned()));
            }
        }
        query
    }

    /// The value of a parameter.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.values.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The value of a parameter, parsed by `read`. A value that `read` rejects is a fault; `expected` names valid values.
    pub fn parse<T>(
        &mut self,
        name: &str,
        expected: &str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        let value = self.get(name)?;
        let parsed = read(value);
        if parsed.is_none() {
            self.fault(name, format!("{name} must be {expected}"));
        }
        parsed
    }

    fn fault(&mut self, name: &str, message: String) {
        self.errors.push(FieldError { pointer: brief(name).into_owned(), message, node_id: None });
    }

    /// Finishes reading the query.
    ///
    /// # Errors
    /// `invalid_query` with all faults.
    pub fn finish(self) -> Result<(), Problem> {
        let Some(first) = self.errors.first() else { return Ok(()) };
        Err(Problem::new(problem::INVALID_QUERY, first.message.clone()).errors(self.errors))
    }
}

/// How long a request waits for a job to end.
#[derive(Debug, Clone, Copy, Default)]
pub struct PreferWait {
    /// The longest wait, capped by the gateway's limit. Zero means no wait.
    pub time: Duration,
    /// Whether the wait comes from `Prefer: wait`, so that the response must have `Preference-Applied`.
    pub preferred: bool,
}

/// Parses a number of seconds, zero or more. A number too large for a `Duration` becomes `Duration::MAX`.
fn seconds(text: &str) -> Option<Duration> {
    let seconds = text.parse::<f64>().ok().filter(|seconds| seconds.is_finite() && *seconds >= 0.0)?;
    Some(Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX))
}

/// Reads `wait` from the `Prefer` header (RFC 7240). Other preferences are ignored.
pub fn preferred_wait(parts: &Parts, most: Duration) -> PreferWait {
    let prefer = parts.headers.get_all("prefer").iter().filter_map(|value| value.to_str().ok());
    let wait = prefer
        .flat_map(|value| value.split([',', ';']))
        .filter_map(|preference| preference.split_once('='))
        .find(|(name, _)| name.trim().eq_ignore_ascii_case("wait"))
        .and_then(|(_, value)| seconds(value.trim().trim_matches('"')));
    wait.map_or_else(PreferWait::default, |time| PreferWait { time: time.min(most), preferred: true })
}

/// Reads `?wait=` from the query, or else `wait` from the `Prefer` header.
pub fn wanted_wait(query: &mut QueryParams, parts: &Parts, most: Duration) -> PreferWait {
    match query.parse("wait", "a number of seconds, 0 or more", seconds) {
        Some(time) => PreferWait { time: time.min(most), preferred: false },
        None => preferred_wait(parts, most),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_any_number_of_seconds_and_nothing_else() {
        assert_eq!(seconds("1.5"), Some(Duration::from_millis(1_500)));
        assert_eq!(seconds("-0"), Some(Duration::ZERO));
        assert_eq!(seconds("1e300"), Some(Duration::MAX));
        for text in ["", "-1", "NaN", "inf", "infinity", "1e999", "30s"] {
            assert_eq!(seconds(text), None, "{text}");
        }
    }
}
