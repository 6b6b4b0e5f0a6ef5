//! The body of `POST /backends`, read field by field. Error messages never contain a credential.

use std::collections::HashMap;

use axum::http::HeaderName;
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::value::RawValue;
use url::Url;
use utoipa::ToSchema;

use super::body::{FieldReader, JsonObject};
use super::problem::{self, Problem};
use super::state::ApiLimits;
use crate::domain::fault::escaped;
use crate::domain::id::BackendName;
use crate::domain::time::UnixMillis;
use crate::pool::{DEFAULT_SLOTS, SLOTS};
use crate::service::find_unusable;
use crate::store::StoredBackend;

const FIELDS: &[&str] = &["name", "url", "slots", "labels", "bearer", "cookies", "headers", "api_key"];

/// The longest URL and the longest credential, in bytes.
const LONGEST: usize = 8_192;
/// The most labels, and the most headers, of one backend.
const MOST: usize = 64;

/// A backend to add.
#[derive(Debug, ToSchema, Deserialize)]
#[schema(as = ServerBody)]
#[expect(dead_code, reason = "documents the body, which is read field by field")]
pub struct BackendRequest {
    /// The backend's name in results, logs and metrics. No two backends have the same name.
    #[schema(pattern = "^[A-Za-z0-9._-]{1,64}$")]
    name: String,
    /// The backend's `http://` or `https://` URL. Its path becomes the prefix of every request, its query is sent with
    /// every request, and a user and password are sent as basic authentication.
    #[schema(example = "http://10.0.0.7:8188", max_length = 8192)]
    url: String,
    /// The most jobs that the gateway sends to the backend at the same time. The backend runs one at a time; the others
    /// wait in its own queue, so that the GPU never idles between short jobs.
    #[schema(minimum = 1, maximum = 64, default = 8)]
    slots: Option<u32>,
    /// Labels that jobs can require. Each has 1 to 64 letters, digits, `.`, `_` or `-`.
    #[schema(max_items = 64)]
    labels: Option<Vec<String>>,
    /// Sent as `Authorization: Bearer …`.
    #[schema(write_only, min_length = 1, max_length = 8192)]
    bearer: Option<String>,
    /// Sent as the `Cookie` header, in its form `name=value; name=value`.
    #[schema(write_only, min_length = 1, max_length = 8192)]
    cookies: Option<String>,
    /// Further headers for every request, by name.
    #[schema(write_only)]
    headers: Option<HashMap<String, String>>,
    /// The API key for ComfyUI's paid API nodes, sent with each job.
    #[schema(write_only, min_length = 1, max_length = 8192)]
    api_key: Option<String>,
}

/// Reads the backend that a body describes; `now` becomes its creation time.
///
/// # Errors
/// `malformed_json`, or `invalid_request` with all faults.
pub fn read(body: &JsonObject, limits: &ApiLimits, now: UnixMillis) -> Result<StoredBackend, Problem> {
    let mut fields = body.fields(FIELDS, limits)?;
    let name = name(&mut fields);
    let url = url(&mut fields);
    let slots = slots(&mut fields);
    let (labels, headers) = (labels(&mut fields), headers(&mut fields));
    let [bearer, cookies, api_key] = ["bearer", "cookies", "api_key"].map(|name| secret(&mut fields, name));
    let backend = name.zip(url).map(|(name, url)| StoredBackend {
        name,
        url,
        slots,
        labels,
        bearer,
        cookies,
        headers,
        api_key,
        created_at: now,
    });
    if let Some(reason) = backend.as_ref().and_then(find_unusable) {
        fields.fault(field_of(&reason), reason);
    }
    fields.finish()?;
    // Unreachable: a missing name or URL is a fault, so `finish` has returned it.
    backend.ok_or_else(|| Problem::new(problem::INVALID_REQUEST, "name and url are required"))
}

fn name(fields: &mut FieldReader<'_>) -> Option<BackendName> {
    if fields.raw("name").is_none() {
        fields.fault(
            "name",
            "name is missing; send the name that identifies the backend in results, logs and metrics",
        );
        return None;
    }
    let name = fields.text("name", LONGEST)?;
    BackendName::parse(&name).map_err(|error| fields.fault("name", error.to_string())).ok()
}

fn url(fields: &mut FieldReader<'_>) -> Option<SecretString> {
    let read = |raw: &RawValue| {
        let text = serde_json::from_str::<String>(raw.get()).ok().filter(|text| text.len() <= LONGEST)?;
        let url = Url::parse(text.trim()).ok()?;
        (matches!(url.scheme(), "http" | "https") && url.has_host()).then(|| String::from(url).into())
    };
    let url = fields.raw("url").and_then(read);
    if url.is_none() {
        // The message does not repeat the URL, which may contain a password.
        fields.fault(
            "url",
            "url must be an http:// or https:// URL, such as http://127.0.0.1:8188 or https://gpu.example/comfy",
        );
    }
    url
}

fn slots(fields: &mut FieldReader<'_>) -> u32 {
    let bound = |slots: usize| i32::try_from(slots).unwrap_or(i32::MAX);
    let slots = fields.integer("slots", bound(*SLOTS.start())..=bound(*SLOTS.end()));
    slots
        .and_then(|slots| u32::try_from(slots).ok())
        .or_else(|| u32::try_from(DEFAULT_SLOTS).ok())
        .unwrap_or(1)
}

fn labels(fields: &mut FieldReader<'_>) -> Vec<String> {
    let Some(raw) = fields.raw("labels") else { return Vec::new() };
    let fits = |label: &String| BackendName::parse(label).is_ok();
    let labels = serde_json::from_str::<Vec<String>>(raw.get()).ok();
    labels.filter(|labels| labels.len() <= MOST && labels.iter().all(fits)).unwrap_or_else(|| {
        fields.fault(
            "labels",
            format!(
                "labels must be a list of up to {MOST} names of 1 to 64 letters, digits, `.`, `_` or `-`"
            ),
        );
        Vec::new()
    })
}

/// A non-empty string without control characters, so that a header can carry it.
fn carried(raw: &RawValue) -> Option<SecretString> {
    let text: String = serde_json::from_str(raw.get()).ok()?;
    let text = text.trim();
    let fits = (1..=LONGEST).contains(&text.len()) && !text.chars().any(char::is_control);
    fits.then(|| text.into())
}

fn secret(fields: &mut FieldReader<'_>, name: &str) -> Option<SecretString> {
    let raw = fields.raw(name)?;
    let secret = carried(raw);
    if secret.is_none() {
        fields.fault(
            name,
            format!("{name} must be a string of 1 to {LONGEST} bytes without control characters"),
        );
    }
    secret
}

fn headers(fields: &mut FieldReader<'_>) -> Vec<(String, SecretString)> {
    let given = fields.object("headers", MOST).unwrap_or_default();
    let mut headers = Vec::with_capacity(given.len());
    for (name, raw) in given {
        let pointer = format!("headers/{}", escaped(&name));
        match (name.parse::<HeaderName>(), carried(raw)) {
            (Ok(_), Some(value)) => headers.push((name, value)),
            (Err(_), _) => fields.fault(&pointer, format!("`{name}` is not a valid header name")),
            (_, None) => fields.fault(
                &pointer,
                format!("the value of `{name}` must be a string of 1 to {LONGEST} bytes without control characters"),
            ),
        }
    }
    headers
}

/// The field that an error of the connection settings is about.
fn field_of(reason: &str) -> &'static str {
    let fields =
        [("header", "headers"), ("cookies", "cookies"), ("bearer", "bearer"), ("credentials", "bearer")];
    fields.into_iter().find(|(word, _)| reason.contains(word)).map_or("url", |(_, field)| field)
}
