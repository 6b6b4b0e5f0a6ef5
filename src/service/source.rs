//! Resolves the workflow of a request to an API-format graph. The request may have a graph, an editor file,
//! the name of a registered workflow, or a URL.

use std::borrow::Cow;
use std::time::Duration;

use futures_util::TryStreamExt;
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use super::state::{CAPABILITIES_FRESH, Service};
use super::submission::WorkflowSource;
use super::submit_error::SubmitError;
use crate::convert::{ConversionResult, convert, is_editor_format};
use crate::domain::fault::WorkflowFault;
use crate::domain::params::nearest;
use crate::domain::registered::WorkflowRef;
use crate::fetch::{FetchError, FetchLimits};
use crate::store::{NewWorkflow, WorkflowRecord};

/// The longest time to fetch a workflow; short, because the caller waits for it.
const FETCH_TIMEOUT: Duration = Duration::from_secs(20);

/// A workflow that was resolved to its graph.
#[derive(Debug)]
pub(super) struct ResolvedWorkflow<'a> {
    /// The API-format graph.
    pub graph: Cow<'a, str>,
    /// The registered workflow, as `name@version`; `None` for any other.
    pub label: Option<String>,
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

    /// The graph of a text, which is converted first if it is an editor file.
    async fn graph_of<'a>(&self, text: Cow<'a, str>) -> Result<Cow<'a, str>, SubmitError> {
        if is_editor_format(&text) { Ok(self.convert(&text).await?.graph.into()) } else { Ok(text) }
    }

    /// The graph of a registered workflow. An editor file is converted again for each job, because a `{a|b}`
    /// in a prompt is drawn at random and a date in a file name is today's. If that fails, the graph from its
    /// registration is used.
    async fn registered_graph(&self, workflow: NewWorkflow) -> String {
        match &workflow.source {
            Some(source) => self.convert(source).await.map_or(workflow.graph, |converted| converted.graph),
            None => workflow.graph,
        }
    }

    /// Converts an editor file with the backends' node classes.
    ///
    /// # Errors
    /// [`SubmitError::Unconvertible`], or [`SubmitError::ServersUnknown`] while no backend's node classes are known.
    pub async fn convert(&self, text: &str) -> Result<ConversionResult, SubmitError> {
        let pool = &self.core.pool;
        let mut classes = pool.object_infos();
        if classes.is_empty() {
            pool.refresh_object_infos(CAPABILITIES_FRESH).await;
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
        // An unknown node class may have been installed since the last look.
        pool.refresh_object_infos(CAPABILITIES_FRESH).await;
        convert(text, &pool.object_infos(), now, &mut draw).map_err(SubmitError::Unconvertible)
    }

    fn draw(&self, choices: usize) -> usize {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_precision_loss,
            clippy::cast_sign_loss,
            reason = "there are few choices, and the fraction is below 1"
        )]
        let drawn = (self.core.random.fraction() * choices as f64) as usize;
        drawn.min(choices.saturating_sub(1))
    }

    fn local_time(&self) -> DateTime {
        let now = Timestamp::from_millisecond(self.core.clock.now().as_millis()).unwrap_or_default();
        now.to_zoned(TimeZone::system()).datetime()
    }

    /// Finds a registered workflow.
    ///
    /// # Errors
    /// [`SubmitError::UnknownWorkflow`] with a hint, or the store failed.
    pub(super) async fn registered(&self, which: &WorkflowRef) -> Result<WorkflowRecord, SubmitError> {
        if let Some(record) = self.core.store.workflow(which).await? {
            return Ok(record);
        }
        let known = self.core.store.workflows().await?;
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
        Err(SubmitError::UnknownWorkflow(format!("no workflow {which} is registered{hint}")))
    }

    async fn fetch_workflow(&self, text: &str) -> Result<String, SubmitError> {
        let fetcher = &self.core.fetcher;
        let url = fetcher.guard().parse(text).map_err(|refused| {
            let message = format!("the workflow's URL cannot be fetched: {refused}");
            SubmitError::InvalidWorkflow(WorkflowFault::whole(message))
        })?;
        let unavailable = |error: FetchError| SubmitError::WorkflowUnavailable(error.to_string());
        let limits =
            FetchLimits { bytes: self.limits.max_workflow, total: FETCH_TIMEOUT, ..FetchLimits::default() };
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
