//! Handing a job to ComfyUI: `POST /prompt`, and what can be known of the job's fate when that fails.
//! It must not retry: a prompt id is not idempotent, a second submission runs a second time.

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

/// A job that ComfyUI has taken into its queue.
#[derive(Debug, Clone)]
pub struct AcceptedPrompt {
    /// The id ComfyUI runs the job under: the one that was asked for, except on servers so old that they
    /// choose their own.
    pub prompt_id: String,
    /// The job's number in ComfyUI's queue; lower ones run first.
    pub number: Option<f64>,
    /// Not empty when ComfyUI dropped branches of the workflow and runs only the rest.
    pub node_errors: NodeErrors,
}

/// A job that was not, or not surely, taken. After [`Self::ServerError`] and [`Self::Ambiguous`] the queue
/// and the history must be asked before the job may be submitted again.
#[derive(Debug, thiserror::Error)]
pub enum PromptError {
    /// No connection, or the server could not even be asked for its routes. The job was surely not taken.
    #[error(transparent)]
    NotDelivered(ComfyError),
    /// ComfyUI refused this workflow. The job was surely not taken.
    #[error("ComfyUI refused the workflow: {0}")]
    Rejected(Box<PromptRejection>),
    /// Turned away for a reason that is not the workflow's contents: not let in (401, 403), too large (413),
    /// too many requests (429), a redirect to somewhere else. The job was surely not taken.
    #[error(transparent)]
    Denied(ComfyError),
    /// Answered 500. It may be the workflow's own fault (ComfyUI fails so on malformed ones) and is likely to
    /// come again, but the job can all the same have been queued.
    #[error(transparent)]
    ServerError(ComfyError),
    /// Sent, and no clear answer: a time-out, a broken connection, a proxy's error page. The job may run.
    #[error(transparent)]
    Ambiguous(ComfyError),
}

impl PromptError {
    /// Whether ComfyUI surely does not have the job.
    #[must_use]
    pub fn surely_not_accepted(&self) -> bool {
        matches!(self, Self::NotDelivered(_) | Self::Rejected(_) | Self::Denied(_))
    }
}

impl ComfyClient {
    /// Puts `prompt`, a workflow in API format, into ComfyUI's queue; its text is sent untouched.
    ///
    /// `prompt_id` must be a lowercase hyphenated UUID. Events of the job are sent to the websocket that was
    /// opened with `client_id`. Never submit an id again before [`Self::queue`] and [`Self::history`] both do
    /// not know it.
    ///
    /// # Errors
    /// See [`PromptError`]: its type says whether the job can have been taken.
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
        let body = self.read(PROMPT, response, self.endpoint().limits.json).await;
        match (code, body) {
            (200..=299, body) => body
                .and_then(|body| self.submitted(&clean_text(body), prompt_id))
                .map_err(PromptError::Ambiguous),
            (_, body) => Err(self.refusal(code, body.unwrap_or_default())),
        }
    }

    /// Whether ComfyUI judges submissions at all: it is given a workflow without nodes, which ComfyUI 0.3.64 and 0.24.0
    /// refuse with 400 and a reason, and do not queue. When a job got another answer than such a reason, this tells a
    /// fault of the job from one of the server.
    pub async fn judges_submissions(&self) -> bool {
        let Ok(request) = self.call(PROMPT, None, &[]).await else { return false };
        let request = request.header(CONTENT_TYPE, "application/json").body(r#"{"prompt":{}}"#);
        let request = request.timeout(self.endpoint().timeouts.request);
        let Ok(response) = self.send(PROMPT, request).await else { return false };
        let refused = response.status().as_u16() == 400;
        let body = self.read(PROMPT, response, self.endpoint().limits.json).await;
        refused && body.is_ok_and(|body| PromptRejection::read(&clean_text(body)).is_some())
    }

    /// The request's body. Only what is known to be safe is in it: a client id that is no string,
    /// `extra_data: null` or a `number` that is taken each break some ComfyUI.
    fn envelope(&self, prompt_id: &str, client_id: &str, prompt: &RawValue) -> String {
        let extra = self.endpoint().api_key.as_ref().map_or(Cow::Borrowed(""), |key| {
            format!(r#","extra_data":{{"api_key_comfy_org":{}}}"#, quoted(key.expose_secret())).into()
        });
        let (prompt_id, client_id, prompt) = (quoted(prompt_id), quoted(client_id), prompt.get());
        format!(r#"{{"prompt_id":{prompt_id},"client_id":{client_id}{extra},"prompt":{prompt}}}"#)
    }

    fn submitted(&self, body: &str, asked: &str) -> Result<AcceptedPrompt, ComfyError> {
        let answer = LooseObject::parse(body).map_err(|error| self.malformed(PROMPT, error))?;
        let prompt_id = answer.text("prompt_id");
        if prompt_id.is_none() && answer.raw("number").is_none() {
            return Err(self.malformed(PROMPT, "neither prompt_id nor number in it"));
        }
        Ok(AcceptedPrompt {
            prompt_id: prompt_id.unwrap_or_else(|| asked.to_owned()),
            number: answer.number("number"),
            node_errors: NodeErrors::read(&answer),
        })
    }

    fn refusal(&self, code: u16, body: Vec<u8>) -> PromptError {
        let error = self.error(PROMPT, CallFault::of_status(code, &body));
        match code {
            400 => match PromptRejection::read(&clean_text(body)) {
                Some(rejection) => PromptError::Rejected(Box::new(rejection)),
                None => PromptError::Denied(error),
            },
            500 => PromptError::ServerError(error),
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

    use super::*;
    use crate::clock::SystemClock;
    use crate::comfy::ComfyEndpoint;

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
    fn a_job_that_was_taken_in_part_says_what_was_dropped() {
        for body in [
            include_str!("../../tests/fixtures/comfyui/0.24.0/accepted_partly.json"),
            include_str!("../../tests/fixtures/comfyui/0.3.64/accepted_partly.json"),
        ] {
            let submitted = client(None).submitted(body, "asked").unwrap();
            assert!(submitted.number.is_some() && submitted.prompt_id.len() == 36);
            assert_eq!(submitted.node_errors.nodes[0].dependent_outputs, ["5"]);
        }
        let whole = client(None).submitted(r#"{"number":0,"node_errors":{}}"#, "asked").unwrap();
        assert_eq!((whole.prompt_id.as_str(), whole.number), ("asked", Some(0.0)));
        assert!(whole.node_errors.is_empty());
        assert!(client(None).submitted("{}", "asked").is_err());
    }

    #[test]
    fn the_status_says_whether_the_job_can_have_been_taken() {
        let refusal = |code, body: &str| client(None).refusal(code, body.into());
        assert!(matches!(refusal(400, r#"{"error":{"type":"no_prompt"}}"#), PromptError::Rejected(_)));
        for code in [302, 400, 401, 403, 404, 405, 413, 429] {
            let error = refusal(code, "<html>");
            assert!(matches!(error, PromptError::Denied(_)) && error.surely_not_accepted(), "{code}");
        }
        assert!(matches!(refusal(500, ""), PromptError::ServerError(_)));
        for code in [500, 502, 503, 504, 520, 102] {
            assert!(!refusal(code, "").surely_not_accepted(), "{code}");
        }
    }
}
