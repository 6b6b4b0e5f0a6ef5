//! The history entry of an ended job: `GET /history/{id}`.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::client::ComfyClient;
use super::error::ComfyError;
use super::failure::ExecutionError;
use super::loose::{self, LooseObject};
use super::routes::ComfyRoute;
use crate::domain::time::UnixMillis;

const HISTORY: ComfyRoute = ComfyRoute::get("/history");

/// A job that has ended.
#[derive(Debug, Clone)]
pub struct HistoryEntry {
    /// How the job ended.
    pub status: HistoryStatus,
    /// The outputs. A failed job keeps those of the nodes that finished before the failure.
    pub outputs: RawOutputs,
    /// When the job started, by the clock of the backend.
    pub started_at: Option<UnixMillis>,
    /// When the job ended, by the clock of the backend.
    pub finished_at: Option<UnixMillis>,
    /// The output nodes that ComfyUI accepted. It rejected the other output nodes of the graph. `None` if not
    /// reported.
    pub accepted_outputs: Option<Vec<String>>,
    /// The nodes that did not run because their results were cached. Their files can be those of an earlier job.
    pub cached_nodes: Vec<String>,
}

/// How a job ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HistoryStatus {
    /// All accepted nodes ran.
    Success,
    /// A node failed.
    Error(Box<ExecutionError>),
    /// Some client interrupted the job.
    Interrupted,
}

/// The outputs of a job: a JSON object with one entry per node, unchanged except that `NaN` became `null`.
#[derive(Debug, Clone)]
pub struct RawOutputs(Box<RawValue>);

impl RawOutputs {
    /// The whole object.
    #[must_use]
    pub fn raw(&self) -> &RawValue {
        &self.0
    }

    /// The node ids and outputs, in the order of ComfyUI. An output is usually an object of lists.
    #[must_use]
    pub fn nodes(&self) -> Vec<(Cow<'_, str>, &RawValue)> {
        LooseObject::parse(self.0.get()).map(LooseObject::entries).unwrap_or_default()
    }

    /// Whether there is no output.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.nodes().is_empty()
    }

    fn read(entry: &LooseObject<'_>) -> Self {
        let raw = entry.raw("outputs").filter(|raw| raw.get().starts_with('{'));
        Self(raw.map_or_else(empty_object, ToOwned::to_owned))
    }
}

impl ComfyClient {
    /// The entry of the job `prompt_id`; `None` if the job has not ended or is unknown.
    ///
    /// The entry appears some milliseconds *after* the event [`super::ComfyEvent::Success`]. It is there at the latest
    /// when [`super::ComfyEvent::Executing`] names that job and no node. A restart of ComfyUI deletes all entries.
    ///
    /// # Errors
    /// The call fails with any [`super::CallFault`].
    pub async fn history(&self, prompt_id: &str) -> Result<Option<HistoryEntry>, ComfyError> {
        let request = self.call(HISTORY, Some(prompt_id), &[]).await?;
        let body = self.read_json(HISTORY, request).await?;
        read(&body, prompt_id).map_err(|error| self.malformed(HISTORY, error))
    }
}

fn read(body: &str, prompt_id: &str) -> Result<Option<HistoryEntry>, serde_json::Error> {
    let Some(entry) = LooseObject::parse(body)?.raw(prompt_id) else { return Ok(None) };
    let entry = LooseObject::parse(entry.get())?;
    let status = entry.object("status");
    let messages = status.as_ref().map(messages).unwrap_or_default();
    let moment = |names: &[&str]| last_of(&messages, names).and_then(|(_, data)| data.moment("timestamp"));
    Ok(Some(HistoryEntry {
        status: history_status(status.as_ref(), &messages),
        outputs: RawOutputs::read(&entry),
        started_at: moment(&["execution_start"]),
        finished_at: moment(&["execution_success", "execution_error", "execution_interrupted"]),
        accepted_outputs: entry.raw("prompt").and_then(accepted_outputs),
        cached_nodes: last_of(&messages, &["execution_cached"])
            .map(|(_, data)| data.texts("nodes"))
            .unwrap_or_default(),
    }))
}

/// The output ids, which are the last element of `prompt`: `[number, id, graph, extra_data, [output ids]]`.
fn accepted_outputs(prompt: &RawValue) -> Option<Vec<String>> {
    let parts = loose::list(prompt);
    serde_json::from_str(parts.get(4)?.get()).ok()
}

type StatusMessage<'a> = (String, LooseObject<'a>);

/// The messages of a status, as pairs of an event name and its data.
fn messages<'a>(status: &LooseObject<'a>) -> Vec<StatusMessage<'a>> {
    let read = |message| match loose::list(message).as_slice() {
        [name, data, ..] => Some((loose::text(name)?, LooseObject::parse(data.get()).ok()?)),
        _ => None,
    };
    status.list("messages").into_iter().filter_map(read).collect()
}

fn last_of<'m, 'a>(messages: &'m [StatusMessage<'a>], names: &[&str]) -> Option<&'m StatusMessage<'a>> {
    messages.iter().rev().find(|(name, _)| names.contains(&name.as_str()))
}

/// Reads the status from `status_str` and the messages. ComfyUI reports an interruption as `error`, so only the
/// messages tell the two apart. An entry without either still shows that the job has ended, and counts as success.
fn history_status(status: Option<&LooseObject<'_>>, messages: &[StatusMessage<'_>]) -> HistoryStatus {
    let status_str = status.and_then(|status| status.text("status_str"));
    let end = last_of(messages, &["execution_error", "execution_interrupted", "execution_success"]);
    match (status_str.as_deref(), end) {
        (Some("success"), _) => HistoryStatus::Success,
        (_, Some((name, _))) if name == "execution_interrupted" => HistoryStatus::Interrupted,
        (_, Some((name, data))) if name == "execution_error" => {
            HistoryStatus::Error(Box::new(ExecutionError::read(data)))
        }
        (Some("error"), _) => HistoryStatus::Error(Box::default()),
        _ => HistoryStatus::Success,
    }
}

fn empty_object() -> Box<RawValue> {
    loose::owned("{}").unwrap_or_else(|| RawValue::NULL.to_owned())
}

#[cfg(test)]
mod tests {
    use super::super::mutilate;
    use super::*;

    /// Reads the captured answers of both versions. The job id is the only key of each.
    fn captured(name: &str) -> [HistoryEntry; 2] {
        ["0.24.0", "0.3.64"].map(|version| {
            let path = format!("{}/tests/fixtures/comfyui/{version}/{name}.json", env!("CARGO_MANIFEST_DIR"));
            let body = super::super::sanitize::clean_text(std::fs::read(path).unwrap());
            let id = LooseObject::parse(&body).unwrap().entries()[0].0.clone().into_owned();
            read(&body, &id).unwrap().unwrap()
        })
    }

    #[test]
    fn a_success_has_outputs_times_and_cached_nodes() {
        for entry in captured("history_success") {
            assert_eq!(entry.status, HistoryStatus::Success);
            let nodes = entry.outputs.nodes();
            assert_eq!(nodes.len(), 1);
            assert_eq!(nodes[0].0, "2");
            assert!(nodes[0].1.get().contains(r#""type": "output""#));
            let took = entry.finished_at.unwrap().since(entry.started_at.unwrap());
            assert!(took.as_millis() < 1000, "{took:?}");
        }
    }

    #[test]
    fn a_failure_names_its_node_and_keeps_earlier_outputs() {
        for entry in captured("history_error") {
            let HistoryStatus::Error(error) = &entry.status else { panic!("{entry:?}") };
            assert_eq!((error.node_id.as_deref(), error.node_type.as_deref()), (Some("9"), Some("LabFail")));
            assert_eq!(
                (error.exception_type.as_str(), error.exception_message.as_str()),
                ("ValueError", "boom")
            );
            assert_eq!(error.traceback, "Traceback line one\nTraceback line two");
            assert!(entry.finished_at.is_some());
        }
        let [kept, _nothing_was_finished] = captured("history_error");
        assert!(kept.outputs.raw().get().contains("before_fail"));
        for entry in captured("history_out_of_memory") {
            let HistoryStatus::Error(error) = &entry.status else { panic!("{entry:?}") };
            assert!(error.is_out_of_memory() && entry.outputs.is_empty());
        }
    }

    #[test]
    fn interrupted_and_blocked_jobs_are_distinguished_from_failures() {
        for entry in captured("history_interrupted") {
            assert_eq!(entry.status, HistoryStatus::Interrupted);
            assert!(entry.finished_at.is_some());
        }
        for entry in captured("history_blocked") {
            assert_eq!(entry.status, HistoryStatus::Success);
            assert_eq!(entry.outputs.nodes().len(), 1);
        }
    }

    #[test]
    fn nan_in_an_output_becomes_null() {
        for entry in captured("history_nan") {
            assert_eq!(entry.outputs.raw().get(), r#"{"1": {"v": [null]}}"#);
        }
    }

    #[test]
    fn an_unknown_job_has_no_entry() {
        assert!(read("{}", "x").unwrap().is_none());
        assert!(read(r#"{"other":{}}"#, "x").unwrap().is_none());
        assert!(read("<html>", "x").is_err());
        assert!(read(r#"{"x":[]}"#, "x").is_err());
    }

    #[test]
    fn missing_fields_leave_the_others_readable() {
        let entry = |text: &str| read(&format!(r#"{{"x":{text}}}"#), "x").unwrap().unwrap();
        let bare = entry("{}");
        assert_eq!((bare.status, bare.started_at, bare.finished_at), (HistoryStatus::Success, None, None));
        assert_eq!(bare.outputs.raw().get(), "{}");
        let odd = entry(
            r#"{"outputs":[1],"status":{"status_str":"error","messages":[7,["x"],["execution_start",3]]}}"#,
        );
        assert_eq!(odd.status, HistoryStatus::Error(Box::default()));
        assert!(odd.outputs.is_empty());
        let silent = entry(r#"{"status":{"messages":[["execution_interrupted",{"timestamp":5}]]}}"#);
        assert_eq!(silent.status, HistoryStatus::Interrupted);
        assert_eq!(silent.finished_at, Some(UnixMillis::from_millis(5)));
    }

    #[test]
    fn an_entry_without_any_one_of_its_parts_is_read_or_refused() {
        let body = include_str!("../../tests/fixtures/comfyui/0.24.0/history_error.json");
        let id = LooseObject::parse(body).unwrap().entries()[0].0.clone().into_owned();
        for changed in mutilate::variants(body) {
            let Ok(Some(entry)) = read(&changed, &id) else { continue };
            assert!(entry.outputs.raw().get().starts_with('{'), "{changed}");
            // While the status is `error`, no missing field turns it into a success.
            if changed.contains(r#""status_str":"error""#) && changed.contains(&id) {
                assert_ne!(entry.status, HistoryStatus::Success, "{changed}");
            }
        }
        assert!(mutilate::beginnings(body.trim_end()).all(|cut| read(cut, &id).is_err()));
    }

    #[test]
    fn outputs_keep_the_order_of_comfyui() {
        let body = r#"{"x":{"outputs":{"10:2":{},"2":{"text":["a"]},"5.0.0.1":{}}}}"#;
        let entry = read(body, "x").unwrap().unwrap();
        let ids: Vec<_> = entry.outputs.nodes().into_iter().map(|(id, _)| id.into_owned()).collect();
        assert_eq!(ids, ["10:2", "2", "5.0.0.1"]);
    }
}
