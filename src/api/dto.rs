//! The bodies of answers, built from the domain. One shape for a job, from its first second to its last.

use indexmap::IndexMap;
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;
use utoipa::openapi::schema::Type;
use utoipa::openapi::{ObjectBuilder, Schema};

use super::extract::BaseUrl;
use crate::domain::failure::{Failure, FailureCode};
use crate::domain::job::{DroppedOutput, JobState, JobStatus};
use crate::domain::media::{MediaKind, display_name, media_path};
use crate::domain::progress::Progress;
use crate::domain::time::UnixMillis;
use crate::service::{JobForecast, JobView};
use crate::store::AttemptRecord;

/// Lists by the `$output.NAME` of the node's title, else by the node's id; in ComfyUI's order.
type ByVar = IndexMap<String, Vec<String>>;

/// A job and, once it ended, its result.
#[derive(Debug, Serialize, ToSchema)]
pub struct ExecuteResult {
    /// The job's id.
    #[schema(format = "uuid")]
    prompt_id: String,
    /// Where it stands.
    #[schema(value_type = JobStatusSchema)]
    status: &'static str,
    /// One sentence for people; always there for failed jobs.
    msg: Option<String>,
    /// Seconds ComfyUI spent executing, by its own clock.
    duration: Option<f64>,
    /// URLs of pictures.
    images: Vec<String>,
    /// The same, by name.
    #[schema(value_type = std::collections::BTreeMap<String, Vec<String>>)]
    images_by_var: ByVar,
    /// URLs of films.
    videos: Vec<String>,
    /// The same, by name.
    #[schema(value_type = std::collections::BTreeMap<String, Vec<String>>)]
    videos_by_var: ByVar,
    /// URLs of sounds.
    audios: Vec<String>,
    /// The same, by name.
    #[schema(value_type = std::collections::BTreeMap<String, Vec<String>>)]
    audios_by_var: ByVar,
    /// Texts of up to 1 MiB, together up to 16 MiB. Others are in `files` as `text/plain`, and `msg` says so.
    texts: Vec<String>,
    /// The same, by name.
    #[schema(value_type = std::collections::BTreeMap<String, Vec<String>>)]
    texts_by_var: ByVar,
    /// URLs of files that are none of these.
    files: Vec<String>,
    /// The same, by name.
    #[schema(value_type = std::collections::BTreeMap<String, Vec<String>>)]
    files_by_var: ByVar,
    /// ComfyUI's own outputs, verbatim, by node id; `{}` if they have more than 16 MiB.
    #[schema(value_type = Object)]
    outputs: Box<RawValue>,
    /// The URL of ComfyUI's own outputs as a JSON file, if they have more than 16 MiB.
    outputs_url: Option<String>,
    /// Why the job failed.
    error: Option<JobError>,
    /// Every file with all that is known of it.
    media: Vec<Media>,
    /// Outputs of the workflow that were not made: refused by ComfyUI (only with `partial`), or blocked by a node.
    dropped_outputs: Vec<DroppedOutputBody>,
    /// How far a running job has come.
    progress: Option<ProgressBody>,
    /// Jobs that are due before this one, while it is queued.
    queue_position: Option<u64>,
    /// When it is expected to start and to end, as far as earlier runs of the kind tell; until it has ended.
    eta: Option<Eta>,
    /// Attempts so far.
    attempts: u32,
    /// The last attempts, up to 20, in order.
    attempt_history: Vec<AttemptBody>,
    /// The server of the latest attempt.
    backend: Option<String>,
    /// The registered workflow it runs, as `name@version`.
    workflow: Option<String>,
    /// The caller's own data.
    #[schema(value_type = Object)]
    metadata: Box<RawValue>,
    /// Seeds the gateway drew for inputs that asked for it with 0, by node id.
    #[schema(value_type = std::collections::BTreeMap<String, u64>)]
    seeds: Box<RawValue>,
    /// When it was accepted.
    #[schema(format = "date-time")]
    created_at: String,
    /// When its latest attempt started.
    #[schema(format = "date-time")]
    started_at: Option<String>,
    /// When it ended.
    #[schema(format = "date-time")]
    finished_at: Option<String>,
    /// When it may be forgotten.
    #[schema(format = "date-time")]
    expires_at: Option<String>,
    /// Where the time went.
    timings: TimingsBody,
    /// Where to go from here; paths at this gateway.
    urls: Urls,
}

/// Where a job stands.
#[derive(Debug, ToSchema)]
#[schema(as = JobStatus, rename_all = "snake_case")]
#[expect(dead_code, reason = "documents the values of `status`")]
pub enum JobStatusSchema {
    /// Waiting for a server.
    Queued,
    /// Handed to a server.
    Running,
    /// Ended well.
    Completed,
    /// Ended badly.
    Failed,
    /// Ended on request.
    Cancelled,
}

/// Why a job failed.
#[derive(Debug, Serialize, ToSchema)]
pub struct JobError {
    /// The stable code.
    #[schema(schema_with = error_codes)]
    code: &'static str,
    /// One sentence.
    message: String,
    /// Whether the same job may succeed later.
    retryable: bool,
    /// The node at fault.
    node_id: Option<String>,
    /// Its class.
    node_type: Option<String>,
    /// The Python exception's type.
    exception_type: Option<String>,
    /// The Python traceback, if the gateway is set to expose it.
    traceback: Option<String>,
    /// ComfyUI's own `node_errors`.
    #[schema(value_type = Option<Object>)]
    node_errors: Option<Box<RawValue>>,
}

/// The codes as the domain lists them, so that the documentation cannot lack one.
fn error_codes() -> Schema {
    let codes = FailureCode::ALL.map(FailureCode::as_str);
    let description = "The stable code of the failure";
    ObjectBuilder::new()
        .schema_type(Type::String)
        .enum_values(Some(codes))
        .description(Some(description))
        .into()
}

/// One file of a job.
#[derive(Debug, Serialize, ToSchema)]
pub struct Media {
    /// The name it goes by.
    var: String,
    /// The node that made it.
    node_id: String,
    /// `image`, `video`, `audio` or `file`.
    kind: &'static str,
    /// Where to fetch it.
    url: String,
    /// The name ComfyUI gave it, as it can be shown and saved under; verbatim it is in `outputs`.
    filename: String,
    /// Its media type.
    content_type: String,
    /// Its length in bytes.
    bytes: u64,
    /// The SHA-256 of its bytes.
    sha256: String,
}

/// An output of the workflow that was not made.
#[derive(Debug, Serialize, ToSchema)]
pub struct DroppedOutputBody {
    /// The output node.
    node_id: String,
    /// The `$output.NAME` of its title, else its id.
    var: String,
    /// Why it was not made.
    reason: String,
}

impl From<DroppedOutput> for DroppedOutputBody {
    fn from(output: DroppedOutput) -> Self {
        Self { node_id: output.node_id, var: output.var, reason: output.reason }
    }
}

/// How far a running job has come.
#[derive(Debug, Serialize, ToSchema)]
pub struct ProgressBody {
    /// The share of the graph that is done, from 0 to 1.
    value: f64,
    /// Nodes that are done.
    nodes_done: usize,
    /// Nodes of the graph.
    nodes_total: usize,
    /// The node that runs now.
    current_node: Option<String>,
    /// Its class.
    current_node_class: Option<String>,
    /// The step within that node.
    step: Option<u64>,
    /// The steps of that node.
    steps: Option<u64>,
}

/// Seconds by phase.
#[derive(Debug, Serialize, ToSchema)]
pub struct TimingsBody {
    /// Waiting for a server.
    queued: Option<f64>,
    /// Handing the job to the server.
    preparing: Option<f64>,
    /// ComfyUI's own execution.
    executing: Option<f64>,
    /// Fetching the files.
    collecting: Option<f64>,
}

/// When a job is expected to start and to end.
#[derive(Debug, Serialize, ToSchema)]
pub struct Eta {
    /// When it is expected to start, while it is queued.
    #[schema(format = "date-time")]
    start: Option<String>,
    /// When it is expected to end.
    #[schema(format = "date-time")]
    end: Option<String>,
}

impl Eta {
    fn of(expected: &JobForecast) -> Option<Self> {
        let text = |moment: Option<UnixMillis>| moment.as_ref().map(UnixMillis::to_string);
        let known = expected.start.is_some() || expected.end.is_some();
        known.then(|| Self { start: text(expected.start), end: text(expected.end) })
    }
}

/// One attempt to run the job.
#[derive(Debug, Serialize, ToSchema)]
pub struct AttemptBody {
    /// Its number, from 1.
    number: u32,
    /// Its server.
    backend: String,
    /// When it started.
    #[schema(format = "date-time")]
    started_at: String,
    /// When it ended.
    #[schema(format = "date-time")]
    ended_at: Option<String>,
    /// What became of it: `completed`, `cancelled`, a code of `error.code`, or why the job went back to the queue
    /// (`not_run`, `cannot_run`, `stalled`, `refused`).
    outcome: Option<String>,
    /// The same in words.
    reason: Option<String>,
}

impl From<&AttemptRecord> for AttemptBody {
    fn from(attempt: &AttemptRecord) -> Self {
        Self {
            number: attempt.number,
            backend: attempt.backend.to_string(),
            started_at: attempt.started_at.to_string(),
            ended_at: attempt.ended_at.as_ref().map(UnixMillis::to_string),
            outcome: attempt.outcome.clone(),
            reason: attempt.reason.clone(),
        }
    }
}

/// Where to go from here.
#[derive(Debug, Serialize, ToSchema)]
pub struct Urls {
    /// This job.
    #[serde(rename = "self")]
    this: String,
    /// Cancels it.
    cancel: String,
}

/// A page of jobs.
#[derive(Debug, Serialize, ToSchema)]
pub struct ResultPage {
    /// The jobs, newest first.
    pub results: Vec<ExecuteResult>,
    /// Give it as `cursor` for the next page; `null` after the last.
    pub next_cursor: Option<String>,
}

#[expect(clippy::cast_precision_loss, reason = "milliseconds of a job's life are far below 2^52")]
fn seconds(millis: Option<i64>) -> Option<f64> {
    millis.map(|millis| millis as f64 / 1_000.0)
}

fn empty_object() -> Box<RawValue> {
    RawValue::from_string("{}".to_owned()).unwrap_or_default()
}

/// A flat list is its map's values in order.
fn flat(by_var: &ByVar) -> Vec<String> {
    by_var.values().flatten().cloned().collect()
}

impl ExecuteResult {
    /// The body for a job, with absolute URLs below `base`.
    #[must_use]
    pub fn new(view: JobView, base: &BaseUrl) -> Self {
        let JobView { record, progress, expectation } = view;
        let id = record.prompt_id;
        let finished_at = match record.state {
            JobState::Completed { finished_at }
            | JobState::Failed { finished_at, .. }
            | JobState::Cancelled { finished_at } => Some(finished_at),
            JobState::Queued { .. } | JobState::Running { .. } => None,
        };
        let media: Vec<Media> = record
            .media
            .iter()
            .map(|file| Media {
                var: file.var.clone(),
                node_id: file.node_id.clone(),
                kind: file.kind.as_str(),
                url: base.join(&media_path(id, &file.stored_as)),
                filename: display_name(&file.filename),
                content_type: file.content_type.clone(),
                bytes: file.bytes,
                sha256: file.sha256.clone(),
            })
            .collect();
        let by_var = |kind: MediaKind| -> ByVar {
            let mut map = ByVar::new();
            for file in media.iter().filter(|file| file.kind == kind.as_str()) {
                map.entry(file.var.clone()).or_default().push(file.url.clone());
            }
            map
        };
        let (images, videos) = (by_var(MediaKind::Image), by_var(MediaKind::Video));
        let (audios, files) = (by_var(MediaKind::Audio), by_var(MediaKind::File));
        let mut texts = ByVar::new();
        for text in &record.texts {
            texts.entry(text.var.clone()).or_default().push(text.text.clone());
        }
        Self {
            prompt_id: id.to_string(),
            status: record.state.status().as_str(),
            duration: seconds(record.timings.executing_ms),
            images: flat(&images),
            images_by_var: images,
            videos: flat(&videos),
            videos_by_var: videos,
            audios: flat(&audios),
            audios_by_var: audios,
            texts: flat(&texts),
            texts_by_var: texts,
            files: flat(&files),
            files_by_var: files,
            error: record.failure().map(JobError::from),
            msg: record.msg,
            outputs: record.outputs.unwrap_or_else(empty_object),
            outputs_url: record.outputs_file.map(|file| base.join(&media_path(id, &file.stored_as))),
            media,
            dropped_outputs: record.dropped_outputs.into_iter().map(Into::into).collect(),
            progress: progress.map(ProgressBody::from),
            queue_position: expectation.as_ref().and_then(|expected| expected.position),
            eta: expectation.as_ref().and_then(Eta::of),
            attempt_history: record.history.iter().map(AttemptBody::from).collect(),
            attempts: record.attempts,
            backend: record.backend.map(|backend| backend.to_string()),
            workflow: record.workflow,
            metadata: record.metadata.unwrap_or_else(empty_object),
            seeds: record.seeds.unwrap_or_else(empty_object),
            created_at: record.created_at.to_string(),
            started_at: record.started_at.as_ref().map(UnixMillis::to_string),
            finished_at: finished_at.as_ref().map(UnixMillis::to_string),
            expires_at: record.expires_at.as_ref().map(UnixMillis::to_string),
            timings: TimingsBody {
                queued: seconds(record.timings.queued_ms),
                preparing: seconds(record.timings.preparing_ms),
                executing: seconds(record.timings.executing_ms),
                collecting: seconds(record.timings.collecting_ms),
            },
            urls: Urls { this: format!("/results/{id}"), cancel: format!("/results/{id}/cancel") },
        }
    }

    /// Whether the job has ended.
    #[must_use]
    pub fn is_terminal(&self) -> bool {
        JobStatus::parse(self.status).is_some_and(JobStatus::is_terminal)
    }
}

impl From<&Failure> for JobError {
    fn from(failure: &Failure) -> Self {
        Self {
            code: failure.code.as_str(),
            message: failure.message.clone(),
            retryable: failure.code.is_retryable(),
            node_id: failure.node_id.clone(),
            node_type: failure.node_type.clone(),
            exception_type: failure.exception_type.clone(),
            traceback: failure.traceback.clone(),
            node_errors: failure
                .node_errors
                .as_ref()
                .and_then(|json| RawValue::from_string(json.to_string()).ok()),
        }
    }
}

impl From<Progress> for ProgressBody {
    fn from(progress: Progress) -> Self {
        Self {
            value: progress.value,
            nodes_done: progress.nodes_done,
            nodes_total: progress.nodes_total,
            current_node: progress.current_node,
            current_node_class: progress.current_node_class,
            step: progress.step,
            steps: progress.steps,
        }
    }
}
