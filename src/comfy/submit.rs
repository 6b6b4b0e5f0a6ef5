//! Submitting a job with `POST /prompt`, and whether ComfyUI may have the job after a failure.
//!
//! Nothing here retries, because a prompt id is not idempotent: a second submission runs the job a second time.

use std::borrow::Cow;

use reqwest::header::CONTENT_TYPE;
use secrecy::ExposeSecret;
use serde_json::value::RawValue;

use super::client::ComfyClient;
use super::error::{CallFault, ComfyError};
use super::loose::LooseObject;
use super::rejection::{NodeErrors, PromptRejection};
use super::routes::ComfyRoute;
use super::sanitize::clean_text;

const PROMPT: ComfyRoute = ComfyRoute::post("/prompt");

/// A job that ComfyUI has put into its queue.
#[derive(Debug, Clone)]
pub struct AcceptedPrompt {
    /// The id under which ComfyUI runs the job. It is the requested one, except on old versions that choose
    /// their own.
    pub prompt_id: String,
    /// The number of the job in the queue. Lower numbers run first.
    pub number: Option<f64>,
    /// The nodes because of which ComfyUI dropped branches of the workflow; empty if it runs the whole workflow.
    pub node_errors: NodeErrors,
}

/// A failed submission. The variant tells whether ComfyUI may have queued the job.
///
/// After [`Self::InternalError`] and [`Self::Ambiguous`] it may have. Then look into the queue and the
/// history before submitting the job again.
#[derive(Debug, thiserror::Error)]
pub enum PromptError {
    /// The job was not sent, because there was no connection or the routes could not be discovered. It was
    /// not queued.
    #[error(transparent)]
    NotDelivered(ComfyError),
    /// ComfyUI validated and rejected the workflow. The job was not queued.
    #[error("ComfyUI refused the workflow: {0}")]
    Rejected(Box<PromptRejection>),
    /// The request was refused regardless of the workflow: no access (401, 403), too large (413), too many requests
    /// (429), or a redirect. The job was not queued.
    #[error(transparent)]
    Denied(ComfyError),
    /// The backend answered 500. A malformed workflow is the likely cause, because ComfyUI fails this way on
    /// some of them. The job may be queued all the same.
    #[error(transparent)]
    InternalError(ComfyError),
    /// The job was sent but there was no clear answer: a timeout, a broken connection, or an error page of a proxy.
    /// The job may be queued.
    #[error(transparent)]
    Ambiguous(ComfyError),
}

impl PromptError {
    /// Whether ComfyUI certainly did not queue the job.
    #[must_use]
    pub fn is_surely_not_accepted(&self) -> bool {
        matches!(self, Self::NotDelivered(_) | Self::Rejected(_) | Self::Denied(_))
    }
}

impl ComfyClient {
    /// Submits `prompt`, a workflow in API format, whose text is sent unchanged.
    ///
    /// `prompt_id` must be a lowercase hyphenated UUID. ComfyUI sends the events of the job to the websocket that was
    /// opened with `client_id`. Do not submit an id again while [`Self::queue`] or [`Self::history`] knows it.
    ///
    /// # Errors
    /// See [`PromptError`], whose variant tells whether the job may be queued.
    pub async fn submit(
        &self,
        prompt_id: &str,
        client_id: &str,
        prompt: &RawValue,
    ) -> Result<AcceptedPrompt, PromptError> {
        let request = self.call(PROMPT, None, &[]).await.map_err(PromptError::NotDelivered)?;
        let body = self.envelope(prompt_id, client_id, prompt);
        let request = request.header(CONTENT_TYPE, "application/json").body(body);
        let request = request.timeout(self.endpoint().timeouts.request);
        let response = self.send(PROMPT, request).await.map_err(|error| {
            if error.is_unreachable() {
                PromptError::NotDelivered(error)
            } else {
                PromptError::Ambiguous(error)
            }
        })?;
        let code = response.status().as_u16();
        let body = self.read_body(PROMPT, response, self.endpoint().limits.json).await;
        match (code, body) {
            (200..=299, body) => body
                .and_then(|body| self.read_accepted(&clean_text(body), prompt_id))
                .map_err(PromptError::Ambiguous),
            (_, body) => Err(self.read_failure(code, body.unwrap_or_default())),
        }
    }

    /// Submits a workflow without nodes and returns whether ComfyUI validates it as it should.
    ///
    /// ComfyUI 0.3.64 and 0.24.0 reject such a workflow with 400 and a reason, and queue nothing. If an earlier job
    /// failed without such a reason, the result shows whether that job or the backend is at fault.
    pub async fn probe_submissions(&self) -> bool {
        let Ok(request) = self.call(PROMPT, None, &[]).await else { return false };
        let request = request.header(CONTENT_TYPE, "application/json").body(r#"{"prompt":{}}"#);
        let request = request.timeout(self.endpoint().timeouts.request);
        let Ok(response) = self.send(PROMPT, request).await else { return false };
        let rejected = response.status().as_u16() == 400;
        let body = self.read_body(PROMPT, response, self.endpoint().limits.json).await;
        rejected && body.is_ok_and(|body| PromptRejection::read(&clean_text(body)).is_some())
    }

    /// The body of the request. It has only fields that are known to be safe: a client id that is not a string,
    /// `extra_data: null`, or the `number` of another job each break some version of ComfyUI.
    fn envelope(&self, prompt_id: &str, client_id: &str, prompt: &RawValue) -> String {
        let extra = self.endpoint().api_key.as_ref().map_or(Cow::Borrowed(""), |key| {
            format!(r#","extra_data":{{"api_key_comfy_org":{}}}"#, quoted(key.expose_secret())).into()
        });
        let (prompt_id, client_id, prompt) = (quoted(prompt_id), quoted(client_id), prompt.get());
        format!(r#"{{"prompt_id":{prompt_id},"client_id":{client_id}{extra},"prompt":{prompt}}}"#)
    }

    fn read_accepted(&self, body: &str, requested: &str) -> Result<AcceptedPrompt, ComfyError> {
        let answer = LooseObject::parse(body).map_err(|error| self.malformed(PROMPT, error))?;
        let prompt_id = answer.text("prompt_id");
        if prompt_id.is_none() && answer.raw("number").is_none() {
            return Err(self.malformed(PROMPT, "it has neither `prompt_id` nor `number`"));
        }
        Ok(AcceptedPrompt {
            prompt_id: prompt_id.unwrap_or_else(|| requested.to_owned()),
            number: answer.number("number"),
            node_errors: NodeErrors::read(&answer),
        })
    }

    fn read_failure(&self, code: u16, body: Vec<u8>) -> PromptError {
        let error = self.error(PROMPT, CallFault::from_status(code, &body));
        match code {
            400 => match PromptRejection::read(&clean_text(body)) {
                Some(rejection) => PromptError::Rejected(Box::new(rejection)),
                None => PromptError::Denied(error),
            },
            500 => PromptError::InternalError(error),
            300..=499 => PromptError::Denied(error),
            _ => PromptError::Ambiguous(error),
        }
    }
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::endpoint::ComfyEndpoint;
    use super::*;
    use crate::clock::SystemClock;

    fn client(api_key: Option<&str>) -> ComfyClient {
        let mut endpoint = ComfyEndpoint::new(url::Url::parse("http://h").unwrap());
        endpoint.api_key = api_key.map(Into::into);
        ComfyClient::new(endpoint, Arc::new(SystemClock)).unwrap()
    }

    #[test]
    fn the_workflow_is_sent_byte_for_byte_and_nothing_dangerous_with_it() {
        let workflow = r#"{ "2":{"seed":18446744073709551615,"cfg":1.50},"1":{}}"#;
        let workflow = RawValue::from_string(workflow.to_owned()).unwrap();
        let plain = client(None).envelope("id", "cl\"ient", &workflow);
        assert_eq!(
            plain,
            r#"{"prompt_id":"id","client_id":"cl\"ient","prompt":{ "2":{"seed":18446744073709551615,"cfg":1.50},"1":{}}}"#
        );
        let keyed = client(Some("k\"ey")).envelope("id", "c", &workflow);
        assert!(keyed.contains(r#""extra_data":{"api_key_comfy_org":"k\"ey"},"#), "{keyed}");
    }

    #[test]
    fn a_partly_accepted_job_names_the_dropped_branches() {
        for body in [
            include_str!("../../tests/fixtures/comfyui/0.24.0/accepted_partly.json"),
            include_str!("../../tests/fixtures/comfyui/0.3.64/accepted_partly.json"),
        ] {
            let submitted = client(None).read_accepted(body, "requested").unwrap();
            assert!(submitted.number.is_some() && submitted.prompt_id.len() == 36);
            assert_eq!(submitted.node_errors.nodes[0].dependent_outputs, ["5"]);
        }
        let whole = client(None).read_accepted(r#"{"number":0,"node_errors":{}}"#, "requested").unwrap();
        assert_eq!((whole.prompt_id.as_str(), whole.number), ("requested", Some(0.0)));
        assert!(whole.node_errors.is_empty());
        assert!(client(None).read_accepted("{}", "requested").is_err());
    }

    #[test]
    fn the_status_tells_whether_the_job_may_be_queued() {
        let failure = |code, body: &str| client(None).read_failure(code, body.into());
        assert!(matches!(failure(400, r#"{"error":{"type":"no_prompt"}}"#), PromptError::Rejected(_)));
        for code in [302, 400, 401, 403, 404, 405, 413, 429] {
            let error = failure(code, "<html>");
            assert!(matches!(error, PromptError::Denied(_)) && error.is_surely_not_accepted(), "{code}");
        }
        assert!(matches!(failure(500, ""), PromptError::InternalError(_)));
        for code in [500, 502, 503, 504, 520, 102] {
            assert!(!failure(code, "").is_surely_not_accepted(), "{code}");
        }
    }
}
