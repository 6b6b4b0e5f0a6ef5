//! The JSON bodies of responses that describe jobs. A job has the same shape in every state.

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

/// Lists keyed by the output's `$output.NAME`, or by its node's id; in ComfyUI's order.
type ByVar = IndexMap<String, Vec<String>>;

/// A job and, once it has ended, its result.
#[derive(Debug, Serialize, ToSchema)]
pub struct ExecuteResult {
    /// The job's id.
    #[schema(format = "uuid")]
    prompt_id: String,
    /// The job's state.
    #[schema(value_type = JobStatusSchema)]
    status: &'static str,
    /// A human-readable sentence about the job's state. Failed jobs always have one.
    msg: Option<String>,
    /// Seconds that ComfyUI spent executing the job, by its own clock.
    duration: Option<f64>,
    /// URLs of images.
    images: Vec<String>,
    /// The same values, keyed by the output's name.
    #[schema(value_type = std::collections::BTreeMap<String, Vec<String>>)]
    images_by_var: ByVar,
    /// URLs of videos.
    videos: Vec<String>,
    /// The same values, keyed by the output's name.
    #[schema(value_type = std::collections::BTreeMap<String, Vec<String>>)]
    videos_by_var: ByVar,
    /// URLs of audio files.
    audios: Vec<String>,
    /// The same values, keyed by the output's name.
    #[schema(value_type = std::collections::BTreeMap<String, Vec<String>>)]
    audios_by_var: ByVar,
    /// Texts of up to 1 MiB each and 16 MiB together. Larger texts are in `files` as `text/plain`, and `msg` says so.
    texts: Vec<String>,
    /// The same values, keyed by the output's name.
    #[schema(value_type = std::collections::BTreeMap<String, Vec<String>>)]
    texts_by_var: ByVar,
    /// URLs of all other files.
    files: Vec<String>,
    /// The same values, keyed by the output's name.
    #[schema(value_type = std::collections::BTreeMap<String, Vec<String>>)]
    files_by_var: ByVar,
    /// ComfyUI's own outputs, verbatim, keyed by node id. `{}` if they exceed 16 MiB.
    #[schema(value_type = Object)]
    outputs: Box<RawValue>,
    /// The URL of ComfyUI's own outputs as a JSON file, if they exceed 16 MiB.
    outputs_url: Option<String>,
    /// Why the job failed; `null` unless `status` is `failed`.
    error: Option<JobError>,
    /// Every output file with its metadata.
    media: Vec<Media>,
    /// Outputs of the workflow that were not produced: ComfyUI rejected them (only with `partial`), or a node blocked them.
    dropped_outputs: Vec<DroppedOutputBody>,
    /// The progress of a running job.
    progress: Option<ProgressBody>,
    /// The number of jobs ahead of this one, while it is queued.
    queue_position: Option<u64>,
    /// When the job is expected to start and to end, estimated from earlier runs of similar jobs. `null` once it has ended.
    eta: Option<Eta>,
    /// The number of attempts so far.
    attempts: u32,
    /// The latest attempts, at most 20, oldest first.
    attempt_history: Vec<AttemptBody>,
    /// The backend of the latest attempt.
    backend: Option<String>,
    /// The registered workflow that the job runs, as `name@version`.
    workflow: Option<String>,
    /// The `metadata` of the request, unchanged.
    #[schema(value_type = Object)]
    metadata: Box<RawValue>,
    /// Seeds that the gateway generated for seed inputs set to 0, keyed by node id.
    #[schema(value_type = std::collections::BTreeMap<String, u64>)]
    seeds: Box<RawValue>,
    /// When the gateway accepted the job.
    #[schema(format = "date-time")]
    created_at: String,
    /// When the latest attempt started.
    #[schema(format = "date-time")]
    started_at: Option<String>,
    /// When the job ended.
    #[schema(format = "date-time")]
    finished_at: Option<String>,
    /// When the job's retention ends: the gateway then deletes the job and its files.
    #[schema(format = "date-time")]
    expires_at: Option<String>,
    /// Seconds spent in each phase.
    timings: TimingsBody,
    /// Paths of related operations on this gateway.
    urls: Urls,
}

/// The state of a job.
#[derive(Debug, ToSchema)]
#[schema(as = JobStatus, rename_all = "snake_case")]
#[expect(dead_code, reason = "documents the values of `status`")]
pub enum JobStatusSchema {
    /// The job waits in the gateway's queue.
    Queued,
    /// The job was sent to a backend.
    Running,
    /// The job finished and its result is stored.
    Completed,
    /// The job failed; `error` says why.
    Failed,
    /// The job was cancelled on request.
    Cancelled,
}

/// Why a job failed.
#[derive(Debug, Serialize, ToSchema)]
pub struct JobError {
    /// A stable, machine-readable code.
    #[schema(schema_with = error_codes)]
    code: &'static str,
    /// A human-readable sentence that explains the failure.
    message: String,
    /// Whether the same job may succeed if it is submitted again.
    retryable: bool,
    /// The id of the node that failed.
    node_id: Option<String>,
    /// The class of that node.
    node_type: Option<String>,
    /// The type of the Python exception.
    exception_type: Option<String>,
    /// The Python traceback, if the gateway is configured to expose tracebacks.
    traceback: Option<String>,
    /// ComfyUI's own `node_errors` object.
    #[schema(value_type = Option<Object>)]
    node_errors: Option<Box<RawValue>>,
}

/// Lists the codes from the domain's own list, so that the documentation is always complete.
fn error_codes() -> Schema {
    let codes = FailureCode::ALL.map(FailureCode::as_str);
    let description = "A stable, machine-readable code of the failure";
    ObjectBuilder::new()
        .schema_type(Type::String)
        .enum_values(Some(codes))
        .description(Some(description))
        .into()
}

/// An output file of a job.
#[derive(Debug, Serialize, ToSchema)]
pub struct Media {
    /// The output's `$output.NAME`, or its node's id.
    var: String,
    /// The id of the node that produced the file.
    node_id: String,
    /// `image`, `video`, `audio` or `file`.
    kind: &'static str,
    /// The URL of the file.
    url: String,
    /// The file name given by ComfyUI, made safe to display and to save. `outputs` has it verbatim.
    filename: String,
    /// The media type, such as `image/png`.
    content_type: String,
    /// The length in bytes.
    bytes: u64,
    /// The lowercase hexadecimal SHA-256 of the file's bytes.
    sha256: String,
}

/// An output of the workflow that was not produced.
#[derive(Debug, Serialize, ToSchema)]
pub struct DroppedOutputBody {
    /// The id of the output node.
    node_id: String,
    /// The `$output.NAME` in the node's title, or the node's id.
    var: String,
    /// Why the output is missing.
    reason: String,
}

impl From<DroppedOutput> for DroppedOutputBody {
    fn from(output: DroppedOutput) -> Self {
        Self { node_id: output.node_id, var: output.var, reason: output.reason }
    }
}

/// The progress of a running job.
#[derive(Debug, Serialize, ToSchema)]
pub struct ProgressBody {
    /// The completed share of the graph, from 0 to 1.
    value: f64,
    /// The number of nodes that have finished.
    nodes_done: usize,
    /// The number of nodes in the graph.
    nodes_total: usize,
    /// The id of the node that is running.
    current_node: Option<String>,
    /// The class of that node.
    current_node_class: Option<String>,
    /// The step that the running node has reached.
    step: Option<u64>,
    /// The number of steps of the running node.
    steps: Option<u64>,
}

/// Seconds that a job spent in each phase. A phase that has not happened is `null`.
#[derive(Debug, Serialize, ToSchema)]
pub struct TimingsBody {
    /// Waiting in the gateway's queue.
    queued: Option<f64>,
    /// Uploading inputs and submitting the job to the backend.
    preparing: Option<f64>,
    /// Executing in ComfyUI.
    executing: Option<f64>,
    /// Fetching the output files from the backend.
    collecting: Option<f64>,
}

/// When a job is expected to start and to end.
#[derive(Debug, Serialize, ToSchema)]
pub struct Eta {
    /// The expected start of the job, while it is queued.
    #[schema(format = "date-time")]
    start: Option<String>,
    /// The expected end of the job.
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

/// One attempt to run the job on a backend.
#[derive(Debug, Serialize, ToSchema)]
pub struct AttemptBody {
    /// The attempt's number, counted from 1.
    number: u32,
    /// The backend that the job was sent to.
    backend: String,
    /// When the attempt started.
    #[schema(format = "date-time")]
    started_at: String,
    /// When the attempt ended; `null` while it runs.
    #[schema(format = "date-time")]
    ended_at: Option<String>,
    /// How the attempt ended: `completed`, `cancelled`, one of the values of `error.code`, or why the job was requeued
    /// (`not_run`, `cannot_run`, `stalled`, `refused`).
    outcome: Option<String>,
    /// The outcome as a human-readable sentence.
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

/// Paths of related operations on this gateway.
#[derive(Debug, Serialize, ToSchema)]
pub struct Urls {
    /// The path of this job.
    #[serde(rename = "self")]
    this: String,
    /// A `POST` to this path cancels the job.
    cancel: String,
}

/// A page of jobs.
#[derive(Debug, Serialize, ToSchema)]
pub struct ResultPage {
    /// The jobs, newest first.
    pub results: Vec<ExecuteResult>,
    /// The `cursor` of the next page; `null` on the last page.
    pub next_cursor: Option<String>,
}

#[expect(clippy::cast_precision_loss, reason = "milliseconds of a job's life are far below 2^52")]
fn seconds(millis: Option<i64>) -> Option<f64> {
    millis.map(|millis| millis as f64 / 1_000.0)
}

fn empty_object() -> Box<RawValue> {
    RawValue::from_string("{}".to_owned()).unwrap_or_default()
}

/// Flattens the map's values in their order.
fn flat(by_var: &ByVar) -> Vec<String> {
    by_var.values().flatten().cloned().collect()
}

impl ExecuteResult {
    /// Builds the body for a job. Its URLs are absolute, below `base`.
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
