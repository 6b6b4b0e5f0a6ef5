//! What a caller calls a workflow, made into the API-format graph that it stands for: a graph, the editor's file, the
//! name of a registered one, or a URL. It must not judge the graph.

use std::borrow::Cow;
use std::fmt;
use std::sync::Mutex;
use std::time::Duration;

use futures_util::TryStreamExt;
use indexmap::IndexMap;
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde_json::value::RawValue;
use url::Url;

use super::Service;
use super::submit::SubmitError;
use crate::convert::{ConvertedWorkflow, convert, is_editor_format};
use crate::domain::fault::WorkflowFault;
use crate::domain::params::nearest;
use crate::domain::registered::WorkflowRef;
use crate::fetch::{FetchError, FetchLimits};
use crate::lock::LockExt;
use crate::store::{NewWorkflow, WorkflowRecord};

/// Fetched workflows that are remembered.
const REMEMBERED: usize = 32;
/// How long a workflow may take to come: a caller waits for it.
const FETCH: Duration = Duration::from_secs(20);
/// What servers can run is asked anew before a class counts as unknown, unless it was asked within that time.
pub(super) const FRESH: Duration = Duration::from_secs(10);

/// What a caller calls a workflow.
#[derive(Clone)]
pub enum WorkflowSource<'a> {
    /// A graph or the editor's file.
    Inline(&'a str),
    /// A registered one.
    Registered(WorkflowRef),
    /// Where to fetch a graph or the editor's file.
    Url(String),
}

impl fmt::Debug for WorkflowSource<'_> {
    /// Without the workflow, and without a URL that may carry a signature.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inline(_) => f.write_str("Inline(..)"),
            Self::Registered(which) => f.debug_tuple("Registered").field(which).finish(),
            Self::Url(_) => f.write_str("Url(..)"),
        }
    }
}

impl<'a> WorkflowSource<'a> {
    /// Reads the field `workflow`.
    ///
    /// # Errors
    /// One sentence on what is wrong with a text that is neither a name nor a URL.
    pub fn read(raw: &'a RawValue) -> Result<Self, String> {
        let Ok(text) = serde_json::from_str::<String>(raw.get()) else { return Ok(Self::Inline(raw.get())) };
        if text.contains("://") {
            return Ok(Self::Url(text));
        }
        WorkflowRef::parse(&text).map(Self::Registered).map_err(|error| error.to_string())
    }
}

/// A workflow as it is to run.
#[derive(Debug)]
pub(super) struct ResolvedWorkflow<'a> {
    /// The API-format graph.
    pub graph: Cow<'a, str>,
    /// Which registered workflow it is, as `name@version`.
    pub label: Option<String>,
}

/// Workflows that were fetched, by URL, with the tags they came with.
#[derive(Debug, Default)]
pub(super) struct WorkflowCache(Mutex<IndexMap<Url, (String, String)>>);

impl WorkflowCache {
    fn get(&self, url: &Url) -> Option<(String, String)> {
        self.0.lock_anyway().get(url).cloned()
    }

    fn keep(&self, url: &Url, etag: String, text: String) {
        let mut fetched = self.0.lock_anyway();
        fetched.shift_remove(url);
        if fetched.len() >= REMEMBERED {
            fetched.shift_remove_index(0);
        }
        fetched.insert(url.clone(), (etag, text));
    }
}

impl Service {
    pub(super) async fn resolve<'a>(
        &self,
        source: WorkflowSource<'a>,
    ) -> Result<ResolvedWorkflow<'a>, SubmitError> {
        match source {
            WorkflowSource::Inline(text) => {
                Ok(ResolvedWorkflow { graph: self.graph_of(Cow::Borrowed(text)).await?, label: None })
            }
            WorkflowSource::Url(url) => {
                let text = self.fetch_workflow(&url).await?;
                Ok(ResolvedWorkflow { graph: self.graph_of(Cow::Owned(text)).await?, label: None })
            }
            WorkflowSource::Registered(which) => {
                let WorkflowRecord { version, workflow } = self.registered(&which).await?;
                let label = Some(format!("{}@{version}", workflow.name));
                Ok(ResolvedWorkflow { graph: self.registered_graph(workflow).await.into(), label })
            }
        }
    }

    /// The graph of a text that may be in the editor's format.
    async fn graph_of<'a>(&self, text: Cow<'a, str>) -> Result<Cow<'a, str>, SubmitError> {
        if is_editor_format(&text) { Ok(self.convert(&text).await?.graph.into()) } else { Ok(text) }
    }

    /// What came from the editor is converted anew each time, for a `{a|b}` in a prompt and a date in a file's name are
    /// of the moment. When that cannot be done now, the graph of the registration serves.
    async fn registered_graph(&self, workflow: NewWorkflow) -> String {
        match &workflow.source {
            Some(source) => self.convert(source).await.map_or(workflow.graph, |converted| converted.graph),
            None => workflow.graph,
        }
    }

    /// Converts the editor's file with the node classes of the servers.
    ///
    /// # Errors
    /// [`SubmitError::Unconvertible`], or [`SubmitError::ServersUnknown`] while no server has told its classes.
    pub async fn convert(&self, text: &str) -> Result<ConvertedWorkflow, SubmitError> {
        let pool = &self.parts.pool;
        let mut classes = pool.object_infos();
        if classes.is_empty() {
            pool.refresh_object_infos(FRESH).await;
            classes = pool.object_infos();
            if classes.is_empty() {
                return Err(SubmitError::ServersUnknown);
            }
        }
        let now = self.local_time();
        let mut draw = |choices| self.draw(choices);
        if let Ok(converted) = convert(text, &classes, now, &mut draw) {
            return Ok(converted);
        }
        // A class that is not known may have been installed since.
        pool.refresh_object_infos(FRESH).await;
        convert(text, &pool.object_infos(), now, &mut draw).map_err(SubmitError::Unconvertible)
    }

    fn draw(&self, choices: usize) -> usize {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_precision_loss,
            clippy::cast_sign_loss,
            reason = "a few choices, and a fraction below 1"
        )]
        let drawn = (self.parts.random.fraction() * choices as f64) as usize;
        drawn.min(choices.saturating_sub(1))
    }

    fn local_time(&self) -> DateTime {
        let now = Timestamp::from_millisecond(self.parts.clock.now().as_millis()).unwrap_or_default();
        now.to_zoned(TimeZone::system()).datetime()
    }

    /// A registered workflow.
    pub(super) async fn registered(&self, which: &WorkflowRef) -> Result<WorkflowRecord, SubmitError> {
        if let Some(record) = self.parts.store.workflow(which).await? {
            return Ok(record);
        }
        let known = self.parts.store.workflows().await?;
        let names: Vec<&str> = known.iter().map(|workflow| workflow.name.as_str()).collect();
        let hint =
            match (nearest(which.name.as_str(), names.iter().copied()), names.contains(&which.name.as_str()))
            {
                (_, true) => format!(
                    "; the newest version of {} is {}",
                    which.name,
                    known.iter().find(|known| known.name == which.name).map_or(0, |known| known.version)
                ),
                (near, false) if near.is_empty() => "; GET /workflows lists all workflows".to_owned(),
                (near, false) => format!("; did you mean {}?", near.join(" or ")),
            };
        Err(SubmitError::UnknownWorkflow(format!("there is no workflow {which}{hint}")))
    }

    async fn fetch_workflow(&self, text: &str) -> Result<String, SubmitError> {
        let fetcher = &self.parts.fetcher;
        let url = fetcher.guard().parse(text).map_err(|refused| {
            let message = format!("the workflow's URL cannot be fetched: {refused}");
            SubmitError::InvalidWorkflow(WorkflowFault::whole(message))
        })?;
        let unavailable = |error: FetchError| SubmitError::WorkflowUnavailable(error.to_string());
        let limits = FetchLimits { bytes: self.limits.max_workflow, total: FETCH, ..FetchLimits::default() };
        let known = self.fetched.get(&url);
        let answer = match &known {
            Some((etag, _)) => fetcher.open_if_none_match(&url, etag, limits).await.map_err(unavailable)?,
            None => Some(fetcher.open(&url, limits).await.map_err(unavailable)?),
        };
        let Some(download) = answer else { return Ok(known.map(|(_, text)| text).unwrap_or_default()) };
        let etag = download.etag().map(str::to_owned);
        let bytes = download.into_stream().try_fold(Vec::new(), |mut all, chunk| async move {
            all.extend_from_slice(&chunk);
            Ok(all)
        });
        let text = String::from_utf8(bytes.await.map_err(unavailable)?).map_err(|_| {
            let host = url.host_str().unwrap_or_default();
            SubmitError::WorkflowUnavailable(format!("{host}: the response is not UTF-8 text"))
        })?;
        if let Some(etag) = etag {
            self.fetched.keep(&url, etag, text.clone());
        }
        Ok(text)
    }
}
