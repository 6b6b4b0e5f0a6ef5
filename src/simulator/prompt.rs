//! `POST /prompt`: parses the envelope with all its traps, and queues the prompt.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde_json::{Map, Number, Value, json};
use tokio_util::sync::CancellationToken;

use super::answers::{broken, json_body};
use super::config::ComfyVersion;
use super::queue::QueuedPrompt;
use super::run_log::RunEvent;
use super::server::ServerLife;
use super::validate::{PromptRefusal, refusal, validate};
use super::{pyjson, replacements};

/// Queues a prompt. A 400 explains itself; a 500 is an exception inside ComfyUI.
pub(super) async fn submit(State(server): State<Arc<ServerLife>>, body: Bytes) -> Response {
    let body = std::str::from_utf8(&body).ok().and_then(|text| pyjson::parse(text).ok());
    match body {
        Some(Value::Object(envelope)) => match accept(&server, envelope) {
            Ok(answer) => answer,
            Err(EarlyAnswer(answer)) => *answer,
        },
        Some(Value::Array(_) | Value::String(_)) => no_prompt(),
        _ => broken(),
    }
}

/// A response that ends the parsing of an envelope early.
struct EarlyAnswer(Box<Response>);

impl From<Response> for EarlyAnswer {
    fn from(response: Response) -> Self {
        Self(Box::new(response))
    }
}

fn accept(server: &Arc<ServerLife>, mut envelope: Map<String, Value>) -> Result<Response, EarlyAnswer> {
    let (order, number) = number(server, &envelope).ok_or_else(|| EarlyAnswer::from(broken()))?;
    let graph = envelope.remove("prompt").ok_or_else(|| EarlyAnswer::from(no_prompt()))?;
    let version = server.world.config.version;
    let id = prompt_id(envelope.get("prompt_id"), version)?;
    let Value::Object(mut graph) = graph else { return Err(EarlyAnswer::from(broken())) };
    if version == ComfyVersion::V0_24_0 {
        replacements::apply(&mut graph);
    }
    if graph.values().any(|node| node["class_type"] == "SimServerError") {
        // As if a package's own submission hook raised an exception.
        return Err(broken().into());
    }
    let targets = envelope.remove("partial_execution_targets");
    let wanted = |id: &str| match &targets {
        Some(Value::Array(ids)) => ids.iter().any(|wanted| wanted == id),
        Some(Value::String(text)) => text.contains(id),
        _ => true,
    };
    let valid = validate(&mut graph, Some(&wanted), version, &server.world.choices());
    let valid = valid.map_err(|rejection| EarlyAnswer::from(reject(rejection)))?;
    let mut extra = extra_data(envelope.remove("extra_data"), version, envelope.contains_key("client_id"))
        .ok_or_else(|| EarlyAnswer::from(broken()))?;
    if let Some(client) = envelope.remove("client_id") {
        extra.insert("client_id".to_owned(), client);
    }
    if version == ComfyVersion::V0_24_0 {
        extra.insert("create_time".to_owned(), json!(server.world.clock.now().as_millis()));
    }
    let client = extra.get("client_id").cloned().unwrap_or_default();
    let answer = json!({ "prompt_id": id, "number": number, "node_errors": valid.node_errors });
    let job = QueuedPrompt {
        order,
        number,
        id,
        graph,
        extra,
        outputs: valid.outputs,
        client_id: client.as_str().map(str::to_owned),
        forgotten: CancellationToken::new(),
    };
    server.world.recorder.note(|record| record.run(&job.id).queued += 1);
    server.happened(&job, RunEvent::Queued);
    let clean = server.queue.put(job);
    server.tell_status();
    if client.is_array() || client.is_object() {
        // A client_id that Python cannot hash takes the process down with the first message for it.
        server.end.cancel();
    }
    Ok(if clean { json_body(&answer) } else { broken() })
}

fn reject(rejection: PromptRefusal) -> Response {
    match rejection {
        PromptRefusal::Explained(body) => (StatusCode::BAD_REQUEST, json_body(&body)).into_response(),
        PromptRefusal::Crashed => broken(),
    }
}

fn no_prompt() -> Response {
    let (kind, message) = ("no_prompt", "No prompt provided");
    reject(PromptRefusal::Explained(refusal(kind, message, message, &json!({}), &json!({}))))
}

/// The place in the queue, and how it is echoed: a caller's number comes back as a float.
fn number(server: &ServerLife, envelope: &Map<String, Value>) -> Option<(f64, Value)> {
    let Some(given) = envelope.get("number") else {
        let next = server.queue.next_number();
        let front = envelope.get("front").is_some_and(|front| front == true);
        let number = if front { -next } else { next };
        #[expect(clippy::cast_precision_loss, reason = "no server takes 2^53 prompts")]
        return Some((number as f64, json!(number)));
    };
    let number: f64 = match given {
        Value::Number(number) => number.as_f64()?,
        Value::String(text) => text.trim().parse().ok()?,
        Value::Bool(flag) => f64::from(u8::from(*flag)),
        Value::Null | Value::Array(_) | Value::Object(_) => return None,
    };
    let echoed = if number.is_finite() {
        Value::Number(format!("{number:?}").parse().unwrap_or_else(|_| Number::from(0)))
    } else {
        pyjson::nan()
    };
    Some((number, echoed))
}

/// The id to run under. 0.24 takes only canonical UUIDs; 0.3.64 takes `str()` of anything.
fn prompt_id(given: Option<&Value>, version: ComfyVersion) -> Result<String, EarlyAnswer> {
    let fresh = || uuid::Uuid::new_v4().to_string();
    match (version, given) {
        (_, None) | (ComfyVersion::V0_24_0, Some(Value::Null)) => Ok(fresh()),
        (ComfyVersion::V0_3_64, Some(id)) => Ok(pyjson::python(id)),
        (ComfyVersion::V0_24_0, Some(id)) => {
            let canonical =
                |text: &&str| uuid::Uuid::try_parse(text).is_ok_and(|id| id.to_string() == **text);
            id.as_str().filter(canonical).map(str::to_owned).ok_or_else(|| {
                let details = "prompt_id must be a UUID string in canonical lowercase hyphenated form; \
                               omit it to let the server generate one";
                let message = "prompt_id must be a valid UUID";
                let body = refusal("invalid_prompt_id", message, details, &json!({}), &json!({}));
                EarlyAnswer::from(reject(PromptRefusal::Explained(body)))
            })
        }
    }
}

/// The caller's extra data. `None` breaks the server: it must be an object.
fn extra_data(given: Option<Value>, version: ComfyVersion, has_client: bool) -> Option<Map<String, Value>> {
    match given {
        None => Some(Map::new()),
        Some(Value::Object(extra)) => Some(extra),
        // 0.3.64 only fails on it when it has something to write into it.
        Some(Value::Null) if version == ComfyVersion::V0_3_64 && !has_client => Some(Map::new()),
        Some(_) => None,
    }
}
