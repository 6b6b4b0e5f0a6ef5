//! Fetches the inputs that queued jobs name by URL, so that no backend's slot waits for a download.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt};
use indexmap::IndexMap;
use serde_json::value::RawValue;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use url::Url;

use super::context::SchedulerContext;
use crate::core::JobEnd;
use crate::domain::failure::{Failure, FailureCode};
use crate::domain::id::PromptId;
use crate::domain::input::{JobInput, RemoteInput, StoredInput, server_name};
use crate::domain::job::JobStatus;
use crate::fetch::FetchError;
use crate::media::{IncomingFile, MediaError, StoredFile};
use crate::store::{AwaitingJob, StoreError};

/// Jobs whose inputs are fetched at the same time.
const AT_ONCE: u32 = 32;
/// Between two looks that no wakeup asked for.
const LOOK: Duration = Duration::from_secs(2);

/// Fetches until `stopping`. A fetch that is under way then is started again by the next process.
pub(super) async fn run(
    context: Arc<SchedulerContext>,
    stopping: CancellationToken,
) -> Result<(), StoreError> {
    let mut under_way = JoinSet::new();
    let mut known: HashSet<PromptId> = HashSet::new();
    loop {
        match context.core.store.awaiting(AT_ONCE).await {
            Ok(jobs) => {
                for job in jobs.into_iter().filter(|job| known.insert(job.prompt_id)) {
                    under_way.spawn(fetch_job(context.clone(), job));
                }
            }
            Err(error) => {
                tracing::error!(%error, "the jobs that wait for inputs could not be read; trying again");
            }
        }
        tokio::select! {
            biased;
            () = stopping.cancelled() => return Ok(()),
            Some(ended) = under_way.join_next() => match ended {
                Ok(id) => { known.remove(&id); }
                Err(error) => {
                    tracing::error!(%error, "a fetch crashed; the inputs are fetched again");
                    known.clear();
                    under_way.abort_all();
                }
            },
            () = context.core.hub.wait_for_inputs() => {}
            () = context.core.clock.sleep(LOOK) => {}
        }
    }
}

/// Why the result of a fetch could not be written to the store. The fetch is repeated.
type NotNoted = Box<dyn std::error::Error + Send + Sync>;

/// Fetches one job's inputs and records the result, unless the job leaves the queue meanwhile.
async fn fetch_job(context: Arc<SchedulerContext>, job: AwaitingJob) -> PromptId {
    let id = job.prompt_id;
    let mut changes = context.core.hub.subscribe(id);
    let left = async {
        while matches!(context.core.store.status(id).await, Ok(Some(JobStatus::Queued)) | Err(_)) {
            changes.wait_for_change().await;
        }
    };
    let fetched = tokio::select! {
        fetched = fetch_all(&context, &job.files) => fetched,
        () = left => return id,
    };
    let told = match fetched {
        Ok(files) => ready(&context, &job, files).await,
        Err(failure) => fail_job(&context, id, failure).await,
    };
    if let Err(error) = told {
        tracing::error!(prompt_id = %id, %error, "the fetched inputs could not be recorded; they are fetched again");
        context.core.clock.sleep(LOOK).await;
    }
    id
}

/// Stores the fetched inputs and makes the job claimable.
async fn ready(
    context: &SchedulerContext,
    job: &AwaitingJob,
    fetched: Vec<IncomingFile>,
) -> Result<(), NotNoted> {
    let files = keep(context, job, fetched).await?;
    let mut graph = job.graph.get().to_owned();
    let json = |text: &str| serde_json::Value::from(text).to_string();
    for (placeholder, file) in files.iter().filter(|(placeholder, _)| !placeholder.is_empty()) {
        graph = graph.replace(&json(placeholder), &json(&file.name));
    }
    let graph = RawValue::from_string(graph)?;
    let mut kept: Vec<StoredInput> = Vec::with_capacity(files.len());
    for (_, file) in files {
        if !kept.contains(&file) {
            kept.push(file);
        }
    }
    if context.core.store.inputs_ready(job.prompt_id, graph, kept).await? {
        context.core.hub.notify_work();
    }
    Ok(())
}

async fn fail_job(context: &SchedulerContext, id: PromptId, failure: Failure) -> Result<(), NotNoted> {
    let core = &context.core;
    let now = core.clock.now();
    let (outcome, reason) = (failure.code.as_str(), failure.message.clone());
    if core.store.inputs_failed(id, failure, now, core.expiry(now)).await? {
        core.announce_end(JobEnd::failed(id, outcome, Some(&reason)));
    }
    Ok(())
}

/// The inputs that are still to be fetched: each URL once, in the order in which the job names them.
fn urls(files: &[JobInput]) -> IndexMap<&str, &RemoteInput> {
    let mut urls = IndexMap::new();
    for file in files {
        if let JobInput::Remote(file) = file {
            urls.entry(file.url.as_str()).or_insert(file);
        }
    }
    urls
}

async fn fetch_all(context: &SchedulerContext, files: &[JobInput]) -> Result<Vec<IncomingFile>, Failure> {
    let mut fetched = Vec::new();
    for file in urls(files).values() {
        fetched.push(fetch(context, file).await?);
    }
    Ok(fetched)
}

/// All inputs of a job, each with the placeholder that stands for its name in the graph, or with an empty
/// one.
async fn keep(
    context: &SchedulerContext,
    job: &AwaitingJob,
    fetched: Vec<IncomingFile>,
) -> Result<Vec<(String, StoredInput)>, MediaError> {
    let mut by_url: HashMap<&str, StoredInput> = HashMap::new();
    for (url, incoming) in urls(&job.files).into_keys().zip(fetched) {
        let StoredFile { sha256, bytes, extension, .. } =
            context.core.media.keep_input(incoming, context.core.clock.now()).await?;
        let name = server_name(&sha256, &extension);
        by_url.insert(url, StoredInput { sha256, bytes, name });
    }
    let each = job.files.iter().filter_map(|file| match file {
        JobInput::Stored(file) => Some((String::new(), file.clone())),
        JobInput::Remote(file) => Some((file.placeholder.clone(), by_url.get(file.url.as_str())?.clone())),
    });
    Ok(each.collect())
}

async fn fetch(context: &SchedulerContext, file: &RemoteInput) -> Result<IncomingFile, Failure> {
    let unavailable = |why: &dyn std::fmt::Display| {
        let message = format!("the file for the parameter {:?} could not be fetched from {why}", file.param);
        Failure::new(FailureCode::InputUnavailable, message)
    };
    let url = Url::parse(&file.url).map_err(|error| unavailable(&error))?;
    let mut failures = 0;
    loop {
        let error = match fetch_once(context, &url).await {
            Ok(incoming) => return Ok(incoming),
            Err(error) => error,
        };
        if let Some(needed) = error.lacks_room {
            // A full disk is not the host's fault, so it does not count against the retries.
            context.until_room(needed).await;
            continue;
        }
        failures += 1;
        if !error.may_pass || !context.settings.retry.allows(failures) {
            let times = if failures > 1 { format!(" ({failures} times)") } else { String::new() };
            return Err(unavailable(&format!("{}{times}", error.reason)));
        }
        tracing::warn!(param = file.param, reason = error.reason, "a fetch failed; trying again");
        context
            .core
            .clock
            .sleep(context.settings.retry.delay(failures, context.core.random.fraction()))
            .await;
    }
}

/// Why one try to fetch failed.
struct FetchMiss {
    reason: String,
    /// Whether another try may succeed.
    may_pass: bool,
    /// The bytes of free disk that another try needs; `None` if the disk was not the reason.
    lacks_room: Option<u64>,
}

impl From<&FetchError> for FetchMiss {
    fn from(error: &FetchError) -> Self {
        Self { reason: error.to_string(), may_pass: error.is_retryable(), lacks_room: None }
    }
}

async fn fetch_once(context: &SchedulerContext, url: &Url) -> Result<IncomingFile, FetchMiss> {
    let download = context
        .core
        .fetcher
        .open(url, context.settings.inputs)
        .await
        .map_err(|error| FetchMiss::from(&error))?;
    let name = download.file_name();
    let bytes = download.into_stream().map_err(Into::into).boxed();
    let storage = |error: &MediaError| {
        tracing::error!(%error, "a fetched file could not be stored");
        let host = url.host_str().unwrap_or_default();
        let lacks_room = if let MediaError::DiskFull { needed } = error { Some(*needed) } else { None };
        FetchMiss { reason: format!("{host}: the gateway could not store it"), may_pass: true, lacks_room }
    };
    let received = context.core.media.receive(&name, bytes, context.settings.inputs.bytes).await;
    received.map_err(|error| match &error {
        MediaError::Source(source) => match source.downcast_ref::<FetchError>() {
            Some(error) => FetchMiss::from(error),
            None => FetchMiss { reason: source.to_string(), may_pass: true, lacks_room: None },
        },
        MediaError::TooLarge { .. } => {
            FetchMiss { reason: error.to_string(), may_pass: false, lacks_room: None }
        }
        MediaError::DiskFull { .. } | MediaError::Storage(_) => storage(&error),
    })
}
