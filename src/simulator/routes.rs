//! The routes, each with and without `/api`, and the small handlers.

use std::sync::Arc;

use axum::Router;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::{DefaultBodyLimit, Path, Query, Request, State};
use axum::http::StatusCode;
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::answers::{broken, json_body};
use super::config::ComfyVersion;
use super::guard::{self, DeafSocket, MAX_BODY};
use super::server::ServerLife;
use super::{control, files_api, jobs, object_info as describe, prompt, pyjson, replacements};

type Shared = State<Arc<ServerLife>>;

/// Client messages above this size in bytes drop the socket.
const MAX_MESSAGE: usize = 4 << 20;

/// The whole application of one life.
pub(super) fn app(server: Arc<ServerLife>) -> Router {
    let mut routes = routes();
    let mut api = routes.clone();
    if server.world.config.version == ComfyVersion::V0_24_0 {
        let replacements = || async { json_body(&replacements::list()) };
        routes = routes.route("/node_replacements", get(replacements));
        api = routes.clone().route("/jobs", get(jobs::list)).route("/jobs/{id}", get(jobs::one));
    }
    let all = routes.nest("/api", api).fallback(|| async { StatusCode::NOT_FOUND });
    let all = match server.world.config.prefix.as_deref().map(|prefix| prefix.trim_matches('/')) {
        None | Some("") => all,
        Some(prefix) => Router::new().nest(&format!("/{prefix}"), all),
    };
    let app = all
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(middleware::from_fn_with_state(Arc::clone(&server), guard::guard))
        .with_state(Arc::clone(&server));
    if server.world.config.control { app.merge(control::routes(server)) } else { app }
}

fn routes() -> Router<Arc<ServerLife>> {
    Router::new()
        .route("/ws", get(websocket))
        .route("/prompt", get(exec_info).post(prompt::submit))
        .route("/queue", get(queue).post(change_queue))
        .route("/history", get(history).post(change_history))
        .route("/history/{id}", get(history_of))
        .route("/interrupt", post(interrupt))
        .route("/view", get(files_api::view))
        .route("/upload/image", post(files_api::upload))
        .route("/upload/mask", post(files_api::upload))
        .route("/object_info", get(object_info))
        .route("/object_info/{class}", get(object_info_of))
        .route("/system_stats", get(system_stats))
        .route("/free", post(free))
        .route("/features", get(features))
        .route("/embeddings", get(|| async { json_body(&json!([])) }))
}

#[derive(Deserialize)]
struct ClientQuery {
    #[serde(rename = "clientId", default)]
    id: String,
}

async fn websocket(
    State(server): Shared,
    Query(client): Query<ClientQuery>,
    upgrade: Result<WebSocketUpgrade, axum::extract::ws::rejection::WebSocketUpgradeRejection>,
    request: Request,
) -> Response {
    let Ok(upgrade) = upgrade else {
        let body = "No WebSocket UPGRADE hdr: None\n Can \"Upgrade\" only to \"WebSocket\".";
        return (StatusCode::BAD_REQUEST, body).into_response();
    };
    let deaf = request.extensions().get::<DeafSocket>().is_some();
    let sid = if client.id.is_empty() { uuid::Uuid::new_v4().simple().to_string() } else { client.id };
    upgrade.max_message_size(MAX_MESSAGE).on_upgrade(move |socket| async move {
        let mut status = server.status();
        status["sid"] = json!(sid);
        let mut greeting = vec![json!({ "type": "status", "data": status })];
        if let Some(node) = server.running_for(&sid) {
            greeting.push(json!({ "type": "executing", "data": { "node": node } }));
        }
        let admission = server.sockets.admit(&sid, greeting, deaf);
        let recorder = &server.world.recorder;
        recorder.note(|record| {
            *record.connected.entry(sid).or_default() += 1;
            record.open_sockets += 1;
        });
        let features = server.world.features();
        tokio::select! {
            () = server.sockets.serve(socket, admission, &features) => {}
            () = server.end.cancelled() => {}
            () = server.closing.cancelled() => {}
        }
        recorder.note(|record| record.open_sockets -= 1);
    })
}

async fn exec_info(State(server): Shared) -> Response {
    json_body(&json!({ "exec_info": { "queue_remaining": server.queue.remaining() } }))
}

async fn queue(State(server): Shared) -> Response {
    json_body(&server.queue.to_json())
}

/// `{"clear": true}` and `{"delete": [ids]}`, as `/queue` and `/history` take them.
struct ClearOrDelete {
    clear: bool,
    delete: Vec<String>,
}

impl ClearOrDelete {
    fn parse(body: &Bytes) -> Option<Self> {
        let body: Value = pyjson::parse(std::str::from_utf8(body).ok()?).ok()?;
        let body = body.as_object()?;
        let delete = match body.get("delete") {
            Some(Value::Array(ids)) => ids.iter().filter_map(|id| id.as_str().map(str::to_owned)).collect(),
            _ => Vec::new(),
        };
        Some(Self { clear: body.get("clear").is_some_and(|clear| clear == true), delete })
    }

    fn hits(&self, id: &str) -> bool {
        self.clear || self.delete.iter().any(|delete| delete == id)
    }
}

async fn change_queue(State(server): Shared, body: Bytes) -> Response {
    let Some(change) = ClearOrDelete::parse(&body) else { return broken() };
    if server.queue.remove_pending(|id| change.hits(id)) || change.clear {
        server.tell_status();
    }
    StatusCode::OK.into_response()
}

#[derive(Deserialize)]
struct HistoryWindow {
    max_items: Option<usize>,
    offset: Option<usize>,
}

async fn history(State(server): Shared, Query(window): Query<HistoryWindow>) -> Response {
    json_body(&server.queue.history(window.max_items, window.offset).into())
}

async fn history_of(State(server): Shared, Path(id): Path<String>) -> Response {
    let entry = server.queue.history_of(&id).map(|entry| (id, entry));
    json_body(&entry.into_iter().collect::<Map<_, _>>().into())
}

async fn change_history(State(server): Shared, body: Bytes) -> Response {
    let Some(change) = ClearOrDelete::parse(&body) else { return broken() };
    server.queue.remove_history(|id| change.hits(id));
    StatusCode::OK.into_response()
}

/// Interrupts whatever runs, or only the job named: then a job that does not run is left alone.
async fn interrupt(State(server): Shared, body: Bytes) -> Response {
    let body = std::str::from_utf8(&body)
        .ok()
        .and_then(|text| pyjson::parse(text).ok())
        .unwrap_or_else(|| json!({}));
    let Some(body) = body.as_object() else { return broken() };
    match body.get("prompt_id").and_then(Value::as_str) {
        None => server.interrupt(),
        Some(id) if server.queue.running().as_deref() == Some(id) => server.interrupt(),
        Some(_) => {}
    }
    StatusCode::OK.into_response()
}

async fn object_info(State(server): Shared) -> Response {
    json_body(&describe::object_info(&server.world.choices()))
}

async fn object_info_of(State(server): Shared, Path(class): Path<String>) -> Response {
    let choices = server.world.choices();
    let info = choices.find(&class).map(|found| (class, found.info(&choices)));
    json_body(&info.into_iter().collect::<Map<_, _>>().into())
}

async fn system_stats(State(server): Shared) -> Response {
    let config = &server.world.config;
    let os = if config.version == ComfyVersion::V0_3_64 { "posix" } else { "linux" };
    json_body(&json!({
        "system": {
            "os": os,
            "ram_total": 64_u64 << 30,
            "ram_free": 48_u64 << 30,
            "comfyui_version": config.version.number(),
            "required_frontend_version": null,
            "python_version": "3.11.7",
            "pytorch_version": "2.9.1+simulated",
            "embedded_python": false,
            "argv": ["main.py", "--simulated", config.name],
        },
        "devices": [{
            "name": "cuda:0 Simulated GPU : cudaMallocAsync",
            "type": "cuda",
            "index": 0,
            "vram_total": config.vram_total,
            "vram_free": config.vram_free,
            "torch_vram_total": config.vram_total - config.vram_free,
            "torch_vram_free": 0,
        }],
    }))
}

async fn free(State(server): Shared, body: Bytes) -> Response {
    let body: Option<Value> = std::str::from_utf8(&body).ok().and_then(|text| pyjson::parse(text).ok());
    let Some(Value::Object(wishes)) = body else { return broken() };
    if wishes.get("free_memory").is_some_and(|free| free == true) {
        server.cache.clear();
    }
    StatusCode::OK.into_response()
}

async fn features(State(server): Shared) -> Response {
    json_body(&server.world.features())
}
