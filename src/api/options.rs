//! The options of a job, such as its priority and its timeouts, read from a JSON body or from a query.

use serde::Deserialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::body::{FieldReader, time};
use super::extract::QueryParams;
use super::state::ApiLimits;
use crate::domain::id::BackendName;
use crate::domain::json_scan::is_deeper_than;
use crate::domain::text::brief;
use crate::service::{JobOptions, JobRequirements};

/// The highest priority.
const HIGHEST: i32 = 1_000;
/// The highest `max_attempts`.
const MOST_ATTEMPTS: i32 = 100;
/// The longest `caller`, in characters.
const LONGEST_CALLER: usize = 128;
/// The most labels that a job can require.
const MOST_LABELS: usize = 16;
/// The largest `metadata`: its size in bytes and its nesting levels.
const METADATA: (usize, usize) = (64 * 1024, 32);

/// The option fields of a JSON body.
pub(super) const FIELDS: [&str; 8] =
    ["priority", "timeout", "queue_timeout", "metadata", "caller", "requires", "max_attempts", "partial"];
/// The option parameters of a query.
pub(super) const QUERY: [&str; 8] =
    ["priority", "timeout", "queue_timeout", "caller", "labels", "backend", "max_attempts", "partial"];

/// Restricts which backends may run a job, beyond the needs of its workflow.
#[derive(Debug, ToSchema, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "documents the body, which is read field by field")]
pub struct RequiresBody {
    /// Labels that the backend must have, all of them.
    #[schema(max_items = 16)]
    labels: Option<Vec<String>>,
    /// The name of the only backend that may run the job.
    #[schema(pattern = "^[A-Za-z0-9._-]{1,64}$")]
    backend: Option<String>,
}

/// Reads the options from a JSON body.
pub(super) fn of_body(fields: &mut FieldReader<'_>, limits: &ApiLimits) -> JobOptions {
    let attempts = fields.integer("max_attempts", 1..=MOST_ATTEMPTS);
    JobOptions {
        priority: fields.integer("priority", 0..=HIGHEST).unwrap_or(0),
        timeout: fields.seconds("timeout", limits.max_timeout),
        queue_timeout: fields.seconds("queue_timeout", limits.max_timeout),
        caller: fields.text("caller", LONGEST_CALLER).unwrap_or_default(),
        requires: requires(fields),
        max_attempts: attempts.and_then(|most| u32::try_from(most).ok()),
        partial: fields.boolean("partial").unwrap_or_default(),
        metadata: metadata(fields),
    }
}

fn requires(fields: &mut FieldReader<'_>) -> JobRequirements {
    let mut requires = JobRequirements::default();
    for (name, raw) in fields.object("requires", MOST_LABELS).unwrap_or_default() {
        let read = match name.as_str() {
            _ if raw.get() == "null" => true,
            "labels" => serde_json::from_str::<Vec<BackendName>>(raw.get())
                .ok()
                .filter(|labels| labels.len() <= MOST_LABELS)
                .map(|labels| {
                    requires.labels = labels.iter().map(|label| label.as_str().to_owned()).collect();
                })
                .is_some(),
            "backend" => serde_json::from_str(raw.get()).map(|name| requires.backend = Some(name)).is_ok(),
            _ => {
                let known = "known are labels and backend";
                fields.fault_below("requires", &name, format!("unknown field {:?}; {known}", brief(&name)));
                continue;
            }
        };
        if !read {
            let allowed = match name.as_str() {
                "labels" => "requires.labels must be a list of up to 16 labels",
                _ => "requires.backend must be the name of a backend",
            };
            fields.fault_below("requires", &name, allowed);
        }
    }
    requires
}

fn metadata(fields: &mut FieldReader<'_>) -> Option<Box<RawValue>> {
    let raw = fields.raw("metadata")?;
    let (bytes, levels) = METADATA;
    if raw.get().len() > bytes || is_deeper_than(raw.get(), levels) {
        fields.fault(
            "metadata",
            format!("metadata must be at most {bytes} bytes long and {levels} levels deep"),
        );
        return None;
    }
    if !raw.get().starts_with('{') {
        fields.fault("metadata", "metadata must be a JSON object");
        return None;
    }
    Some(raw.to_owned())
}

/// Reads the options from a query.
pub(super) fn of_query(query: &mut QueryParams, limits: &ApiLimits) -> JobOptions {
    let most = limits.max_timeout;
    let times = format!("a number of seconds from 0.001 to {}", most.as_secs());
    let seconds = |text: &str| time(text.parse().ok()?, most);
    let priority = |text: &str| text.parse().ok().filter(|priority| (0..=HIGHEST).contains(priority));
    let caller = |text: &str| (text.chars().count() <= LONGEST_CALLER).then(|| text.to_owned());
    let attempts = |text: &str| text.parse().ok().filter(|most| (1..=100).contains(most));
    JobOptions {
        priority: query.parse("priority", "a whole number from 0 to 1000", priority).unwrap_or(0),
        timeout: query.parse("timeout", &times, seconds),
        queue_timeout: query.parse("queue_timeout", &times, seconds),
        caller: query.parse("caller", "a string of up to 128 characters", caller).unwrap_or_default(),
        requires: JobRequirements {
            labels: query.parse("labels", "up to 16 labels, separated by commas", labels).unwrap_or_default(),
            backend: query.parse("backend", "the name of a backend", |text| BackendName::parse(text).ok()),
        },
        max_attempts: query.parse("max_attempts", "a whole number from 1 to 100", attempts),
        partial: query.parse("partial", "true or false", |text| text.parse().ok()).unwrap_or_default(),
        metadata: None,
    }
}

fn labels(text: &str) -> Option<Vec<String>> {
    let labels: Option<Vec<String>> = text
        .split(',')
        .map(|label| BackendName::parse(label.trim()).ok().map(|label| label.as_str().to_owned()))
        .collect();
    labels.filter(|labels| labels.len() <= MOST_LABELS)
}
