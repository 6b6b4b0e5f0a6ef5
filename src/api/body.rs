//! JSON bodies: their type, their size, their syntax, and their fields one by one, with every fault told.

use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{FromRequest, Request};
use axum::http::HeaderMap;
use axum::http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde_json::value::RawValue;

use super::problem::{self, FieldError, Problem};
use super::server::TooSlow;
use super::state::ApiState;
use crate::domain::params::nearest;
use crate::domain::workflow::Entries;

/// A body that was read whole and is a JSON object.
#[derive(Debug)]
pub struct JsonObject(Bytes);

impl FromRequest<ApiState> for JsonObject {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &ApiState) -> Result<Self, Problem> {
        expect_json(request.headers())?;
        expect_uncompressed(request.headers())?;
        read(request.into_body(), state.limits.max_body, state.limits.body_timeout, state).await.map(Self)
    }
}

fn expect_json(headers: &HeaderMap) -> Result<(), Problem> {
    let given = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = given.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json")) {
        return Ok(());
    }
    let given =
        if essence.is_empty() { "none was given".to_owned() } else { format!("{essence:?} was given") };
    Err(Problem::new(
        problem::UNSUPPORTED_MEDIA_TYPE,
        format!("send JSON with `Content-Type: application/json`; {given}"),
    ))
}

/// Refuses a body that would have to be inflated.
pub(super) fn expect_uncompressed(headers: &HeaderMap) -> Result<(), Problem> {
    let codings = headers.get_all(CONTENT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    match codings.flat_map(|value| value.split(',')).map(str::trim).find(|coding| !is_identity(coding)) {
        None => Ok(()),
        Some(coding) => Err(Problem::new(
            problem::UNSUPPORTED_MEDIA_TYPE,
            format!(
                "the body has the `Content-Encoding` {coding:?}; send it uncompressed, without that header"
            ),
        )),
    }
}

fn is_identity(coding: &str) -> bool {
    coding.is_empty() || coding.eq_ignore_ascii_case("identity")
}

async fn read(body: Body, limit: usize, patience: Duration, state: &ApiState) -> Result<Bytes, Problem> {
    // One that says beforehand that it is too large is not waited for.
    if body.size_hint().lower() > limit as u64 {
        return Err(too_large(limit));
    }
    let collected = tokio::select! {
        collected = Limited::new(body, limit).collect() => collected,
        () = state.service.parts().clock.sleep(patience) => {
            return Err(Problem::new(problem::REQUEST_TIMEOUT, format!("the body did not arrive within {} s", patience.as_secs())));
        }
    };
    match collected {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.downcast_ref::<LengthLimitError>().is_some() => Err(too_large(limit)),
        // If the connection broke, nobody will read this.
        Err(error) => match TooSlow::of(&*error) {
            Some(slow) => Err(slow.into()),
            None => Err(Problem::new(problem::MALFORMED_JSON, "the body broke off")),
        },
    }
}

pub(super) fn too_large(limit: usize) -> Problem {
    Problem::new(problem::BODY_TOO_LARGE, format!("the body is larger than {limit} bytes (max_body)"))
        .limit(limit as u64)
}

impl From<String> for JsonObject {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

impl JsonObject {
    /// The body's text.
    ///
    /// # Errors
    /// `malformed_json` for what is not UTF-8.
    pub fn text(&self) -> Result<&str, Problem> {
        std::str::from_utf8(&self.0)
            .map_err(|_| Problem::new(problem::MALFORMED_JSON, "the body is not valid UTF-8"))
    }

    /// The object's fields.
    ///
    /// # Errors
    /// `malformed_json` for anything that is not one JSON object.
    pub fn fields(&self) -> Result<Fields<'_>, Problem> {
        let text = self.text()?;
        let malformed = |detail: String| Problem::new(problem::MALFORMED_JSON, detail);
        let Entries(entries) = serde_json::from_str(text)
            .map_err(|error| malformed(format!("the body must be a JSON object: {error}")))?;
        Ok(Fields { entries, errors: Vec::new() })
    }
}

/// A time of so many seconds, from 0.001 to `most`.
pub(super) fn time(seconds: f64, most: Duration) -> Option<Duration> {
    // Compared as they came: a `Duration` rounds to nanoseconds.
    (0.001..=most.as_secs_f64()).contains(&seconds).then(|| Duration::try_from_secs_f64(seconds).ok())?
}

/// Reads fields and gathers what is wrong with them.
#[derive(Debug)]
pub struct Fields<'a> {
    entries: Vec<(String, &'a RawValue)>,
    errors: Vec<FieldError>,
}

impl<'a> Fields<'a> {
    /// The raw value of a field; `null` counts as not given.
    #[must_use]
    pub fn raw(&self, name: &str) -> Option<&'a RawValue> {
        self.entries
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, raw)| *raw)
            .filter(|raw| raw.get() != "null")
    }

    /// Notes a fault.
    pub fn fault(&mut self, name: &str, message: impl Into<String>) {
        self.errors.push(FieldError { pointer: format!("/{name}"), message: message.into(), node_id: None });
    }

    /// Notes a fault of a field of a field.
    pub fn fault_below(&mut self, name: &str, field: &str, message: impl Into<String>) {
        self.fault(&format!("{name}/{}", field.replace('~', "~0").replace('/', "~1")), message);
    }

    /// Refuses fields of other names.
    pub fn only(&mut self, known: &[&str]) {
        let unknown: Vec<String> = self
            .entries
            .iter()
            .map(|(key, _)| key.clone())
            .filter(|key| !known.contains(&key.as_str()))
            .collect();
        for key in unknown {
            let hint = match nearest(&key, known.iter().copied()).first() {
                Some(near) => format!("did you mean {near:?}?"),
                None => format!("known are {}", known.join(", ")),
            };
            let pointer = format!("/{}", key.replace('~', "~0").replace('/', "~1"));
            self.errors.push(FieldError {
                pointer,
                message: format!("unknown field {key:?}; {hint}"),
                node_id: None,
            });
        }
    }

    /// A text of up to so many characters.
    pub fn text(&mut self, name: &str, most: usize) -> Option<String> {
        let raw = self.raw(name)?;
        let text = serde_json::from_str::<String>(raw.get()).ok().filter(|text| text.chars().count() <= most);
        if text.is_none() {
            self.fault(name, format!("{name} must be a text of up to {most} characters"));
        }
        text
    }

    /// All fields, none of them judged.
    #[must_use]
    pub fn into_entries(self) -> Vec<(String, &'a RawValue)> {
        self.entries
    }

    /// A whole number between two bounds.
    pub fn integer(&mut self, name: &str, range: std::ops::RangeInclusive<i32>) -> Option<i32> {
        let raw = self.raw(name)?;
        let number = serde_json::from_str::<i32>(raw.get()).ok().filter(|number| range.contains(number));
        if number.is_none() {
            self.fault(
                name,
                format!("{name} must be a whole number from {} to {}", range.start(), range.end()),
            );
        }
        number
    }

    /// A positive number of seconds up to `most`.
    pub fn seconds(&mut self, name: &str, most: Duration) -> Option<Duration> {
        let raw = self.raw(name)?;
        let time = serde_json::from_str(raw.get()).ok().and_then(|seconds| time(seconds, most));
        if time.is_none() {
            self.fault(name, format!("{name} must be a number of seconds from 0.001 to {}", most.as_secs()));
        }
        time
    }

    /// The entries of an object.
    pub fn object(&mut self, name: &str) -> Option<Vec<(String, &'a RawValue)>> {
        let raw = self.raw(name)?;
        if let Ok(Entries(entries)) = serde_json::from_str(raw.get()) {
            return Some(entries);
        }
        self.fault(name, format!("{name} must be an object"));
        None
    }

    /// Ends the reading.
    ///
    /// # Errors
    /// `invalid_request` with every fault that was noted.
    pub fn finish(self) -> Result<(), Problem> {
        let Some(first) = self.errors.first() else { return Ok(()) };
        let detail = match self.errors.len() {
            1 => first.message.clone(),
            several => format!("{} (and {} more, see errors)", first.message, several - 1),
        };
        Err(Problem::new(problem::INVALID_REQUEST, detail).errors(self.errors))
    }
}
