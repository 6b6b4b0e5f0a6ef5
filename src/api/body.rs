//! JSON bodies. Their type, size and syntax are checked, then their fields one by one; all faults are reported together.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{FromRequest, Request};
use axum::http::HeaderMap;
use axum::http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::{Deserializer, Error, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::problem::{self, FieldError, Problem, in_a_sentence};
use super::server::TooSlow;
use super::state::{ApiLimits, ApiState};
use crate::domain::capped::CappedList;
use crate::domain::fault::escaped;
use crate::domain::json_scan::{JsonExcess, JsonLimits, scan};
use crate::domain::params::nearest;
use crate::domain::text::brief;

/// A complete body that was sent as JSON. [`JsonObject::fields`] checks that it is an object.
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
    let given = if essence.is_empty() {
        "the request has no Content-Type".to_owned()
    } else {
        format!("the request has {essence:?}")
    };
    Err(Problem::new(
        problem::UNSUPPORTED_MEDIA_TYPE,
        format!("send JSON with `Content-Type: application/json`; {given}"),
    ))
}

/// Rejects a compressed body.
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
    // A body whose `Content-Length` is too large is rejected before any of it is read.
    if body.size_hint().lower() > limit as u64 {
        return Err(too_large(limit));
    }
    let collected = tokio::select! {
        collected = Limited::new(body, limit).collect() => collected,
        () = state.clock.sleep(patience) => {
            return Err(Problem::new(problem::REQUEST_TIMEOUT, format!("the body did not arrive within {} s", patience.as_secs())));
        }
    };
    match collected {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.downcast_ref::<LengthLimitError>().is_some() => Err(too_large(limit)),
        // If the connection broke, no client reads this response.
        Err(error) => match TooSlow::of(&*error) {
            Some(slow) => Err(slow.into()),
            None => Err(Problem::new(problem::MALFORMED_JSON, "the body ended early")),
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
    /// `malformed_json` if the body is not UTF-8.
    pub fn text(&self) -> Result<&str, Problem> {
        std::str::from_utf8(&self.0)
            .map_err(|_| Problem::new(problem::MALFORMED_JSON, "the body is not valid UTF-8"))
    }

    /// The body's length in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.0.len()
    }

    /// The body's text, checked to be one JSON object within `limits`.
    ///
    /// # Errors
    /// `malformed_json` if it is not one JSON object; `body_too_large` if it has too many values.
    pub fn object(&self, limits: &ApiLimits) -> Result<&str, Problem> {
        self.fields(&[], limits).map(|fields| fields.text)
    }

    /// The object's fields. A field whose name is not `known` is a fault.
    ///
    /// # Errors
    /// As [`JsonObject::object`].
    pub fn fields<'a>(&'a self, known: &[&str], limits: &ApiLimits) -> Result<FieldReader<'a>, Problem> {
        let text = self.scanned(limits)?;
        let mut fields = FieldReader { text, entries: Vec::new(), errors: CappedList::default() };
        let mut json = serde_json::Deserializer::from_str(text);
        let read = json.deserialize_map(KnownFields { known, fields: &mut fields }).and_then(|()| json.end());
        read.map_err(|error| malformed(format!("the body must be a JSON object: {error}")))?;
        Ok(fields)
    }

    /// The members of an object whose keys the client chooses, at most `max_params`.
    ///
    /// # Errors
    /// As [`JsonObject::object`]; `invalid_params` if there are more members or one is repeated.
    pub fn members<'a>(&'a self, limits: &ApiLimits) -> Result<Vec<(String, &'a RawValue)>, Problem> {
        let text = self.object(limits)?;
        members(text, limits.max_params)
            .map_err(|why| Problem::new(problem::INVALID_PARAMS, format!("the body {why}")))
    }

    fn scanned(&self, limits: &ApiLimits) -> Result<&str, Problem> {
        let text = self.text()?;
        let within = JsonLimits { depth: usize::MAX, values: limits.max_values };
        match scan(text, within) {
            Ok(()) => Ok(text),
            Err(excess @ JsonExcess::Values(most)) => {
                let problem = Problem::new(problem::BODY_TOO_LARGE, format!("the body {excess}"));
                Err(problem.limit(most as u64))
            }
            Err(excess) => Err(malformed(format!("the body {excess}"))),
        }
    }
}

fn malformed(detail: String) -> Problem {
    Problem::new(problem::MALFORMED_JSON, detail)
}

/// Reads the members of an object. The error is the predicate of a sentence whose subject is the object.
fn members(text: &str, most: usize) -> Result<Vec<(String, &RawValue)>, String> {
    let mut seen = UniqueMembers { most, members: Vec::new(), names: HashSet::new(), fault: None };
    let mut json = serde_json::Deserializer::from_str(text);
    let read = json.deserialize_map(&mut seen).and_then(|()| json.end());
    match (read, seen.fault) {
        (_, Some(fault)) => Err(fault),
        (Ok(()), None) => Ok(seen.members),
        (Err(_), None) => Err("must be an object".to_owned()),
    }
}

/// Reads members, and stops at the first repeated or surplus one.
struct UniqueMembers<'de> {
    most: usize,
    members: Vec<(String, &'de RawValue)>,
    names: HashSet<String>,
    fault: Option<String>,
}

impl<'de> Visitor<'de> for &mut UniqueMembers<'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some((name, value)) = map.next_entry::<String, &'de RawValue>()? {
            if self.members.len() == self.most {
                self.fault = Some(format!("has more than {} members (max_params)", self.most));
            } else if !self.names.insert(name.clone()) {
                self.fault = Some(format!("has the member {:?} more than once", brief(&name)));
            }
            if self.fault.is_some() {
                return Err(A::Error::custom("not read on"));
            }
            self.members.push((name, value));
        }
        Ok(())
    }
}

/// Keeps the known fields, and notes a fault for every other field.
struct KnownFields<'f, 'a> {
    known: &'f [&'f str],
    fields: &'f mut FieldReader<'a>,
}

impl<'de> Visitor<'de> for KnownFields<'_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Self { known, fields } = self;
        while let Some((key, value)) = map.next_entry::<Cow<'de, str>, &'de RawValue>()? {
            match known.iter().position(|name| *name == key) {
                None => fields.unknown(&key, known),
                Some(_) if fields.entries.iter().any(|(name, _)| *name == key) => {
                    fields.fault(&key, format!("{key} is given more than once; send it once"));
                }
                Some(_) => fields.entries.push((key.into_owned(), value)),
            }
        }
        Ok(())
    }
}

/// Converts a number of seconds, from 0.001 to `most`; `None` if it is out of this range.
pub(super) fn time(seconds: f64, most: Duration) -> Option<Duration> {
    // The comparison uses the original number, because a `Duration` rounds to nanoseconds.
    (0.001..=most.as_secs_f64()).contains(&seconds).then(|| Duration::try_from_secs_f64(seconds).ok())?
}

/// Reads fields and collects their faults, so that one response reports all of them.
#[derive(Debug)]
pub struct FieldReader<'a> {
    text: &'a str,
    entries: Vec<(String, &'a RawValue)>,
    errors: CappedList<FieldError>,
}

impl<'a> FieldReader<'a> {
    /// The raw value of a field. A field that is `null` counts as missing.
    #[must_use]
    pub fn raw(&self, name: &str) -> Option<&'a RawValue> {
        self.entries
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, raw)| *raw)
            .filter(|raw| raw.get() != "null")
    }

    /// Notes a fault of a field.
    pub fn fault(&mut self, name: &str, message: impl Into<String>) {
        self.errors.push(FieldError { pointer: format!("/{name}"), message: message.into(), node_id: None });
    }

    /// Notes a fault of a member of a field.
    pub fn fault_below(&mut self, name: &str, field: &str, message: impl Into<String>) {
        self.fault(&format!("{name}/{}", escaped(field)), message);
    }

    fn unknown(&mut self, key: &str, known: &[&str]) {
        self.errors.push_with(|| {
            let hint = match nearest(key, known.iter().copied()).first() {
                Some(near) => format!("did you mean {near:?}?"),
                None => format!("known are {}", known.join(", ")),
            };
            FieldError {
                pointer: format!("/{}", escaped(key)),
                message: format!("unknown field {:?}; {hint}", brief(key)),
                node_id: None,
            }
        });
    }

    /// Reads a boolean. Any other value is a fault.
    pub fn boolean(&mut self, name: &str) -> Option<bool> {
        let raw = self.raw(name)?;
        let value = raw.get().parse().ok();
        if value.is_none() {
            self.fault(name, format!("{name} must be true or false"));
        }
        value
    }

    /// Reads a string of up to `most` characters. Any other value is a fault.
    pub fn text(&mut self, name: &str, most: usize) -> Option<String> {
        let raw = self.raw(name)?;
        let text = serde_json::from_str::<String>(raw.get()).ok().filter(|text| text.chars().count() <= most);
        if text.is_none() {
            self.fault(name, format!("{name} must be a string of up to {most} characters"));
        }
        text
    }

    /// Reads an integer within `range`. Any other value is a fault.
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

    /// Reads a number of seconds from 0.001 to `most`. Any other value is a fault.
    pub fn seconds(&mut self, name: &str, most: Duration) -> Option<Duration> {
        let raw = self.raw(name)?;
        let time = serde_json::from_str(raw.get()).ok().and_then(|seconds| time(seconds, most));
        if time.is_none() {
            self.fault(name, format!("{name} must be a number of seconds from 0.001 to {}", most.as_secs()));
        }
        time
    }

    /// Reads the members of an object, at most `most`, without repeats. Any other value is a fault.
    pub fn object(&mut self, name: &str, most: usize) -> Option<Vec<(String, &'a RawValue)>> {
        let raw = self.raw(name)?;
        match members(raw.get(), most) {
            Ok(members) => Some(members),
            Err(why) => {
                self.fault(name, format!("{name} {why}"));
                None
            }
        }
    }

    /// Finishes reading the fields.
    ///
    /// # Errors
    /// `invalid_request` with all faults that were noted.
    pub fn finish(self) -> Result<(), Problem> {
        if self.errors.is_empty() {
            return Ok(());
        }
        let detail = in_a_sentence(&self.errors);
        Err(Problem::new(problem::INVALID_REQUEST, detail).errors(self.errors))
    }
}
