//! The simulator's own routes below `/simulator`, for a simulator that runs as a process of its own. They
//! script faults, return the record, and wait for events. They exist only with [`SimulatorConfig::control`],
//! and no scripted fault affects them.
//!
//! [`SimulatorConfig::control`]: super::SimulatorConfig::control

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::JsonRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};

use super::answers::json_body;
use super::faults::{FaultRoute, RequestFault};
use super::record::ServerRecord;
use super::server::ServerLife;

/// `POST /simulator/faults`, `GET /simulator/report` and `GET /simulator/until`.
pub(super) fn routes(server: Arc<ServerLife>) -> Router {
    Router::new()
        .route("/simulator/faults", post(order))
        .route("/simulator/report", get(report))
        .route("/simulator/until", get(until))
        .with_state(server)
}

/// An order of faults. A field that is missing changes nothing.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct FaultOrder {
    /// Clears everything scripted first.
    clear: bool,
    requests: Vec<ScriptedOrder>,
    jobs: JobFaultsJson,
    /// Whether the worker is stuck.
    stuck: Option<bool>,
    sockets: Option<SocketFault>,
}

/// The faults of the next requests for a route.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ScriptedOrder {
    route: FaultRoute,
    /// How many requests; without it, all until the next `clear`.
    times: Option<usize>,
    fault: FaultJson,
}

/// A [`RequestFault`] in JSON: `"hang"`, `{"status": 503}`, `{"slow": 200}` in milliseconds.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum FaultJson {
    Status(u16),
    Hang,
    HangAfter,
    Slow(u64),
    Garbage,
    Truncate,
    DropBefore,
    DropAfter,
    Deaf,
}

impl From<FaultJson> for RequestFault {
    fn from(kind: FaultJson) -> Self {
        match kind {
            FaultJson::Status(code) => Self::Status(code, "scripted".to_owned()),
            FaultJson::Hang => Self::Hang,
            FaultJson::HangAfter => Self::HangAfter,
            FaultJson::Slow(millis) => Self::Slow(Duration::from_millis(millis)),
            FaultJson::Garbage => Self::Garbage,
            FaultJson::Truncate => Self::Truncate,
            FaultJson::DropBefore => Self::DropBefore,
            FaultJson::DropAfter => Self::DropAfter,
            FaultJson::Deaf => Self::Deaf,
        }
    }
}

/// The faults of the next jobs.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct JobFaultsJson {
    out_of_memory: Option<usize>,
    node_error: Option<usize>,
    crash_after: Option<usize>,
}

/// A fault of the websockets that are open.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum SocketFault {
    Drop,
    Deafen,
}

async fn order(
    State(server): State<Arc<ServerLife>>,
    order: Result<Json<FaultOrder>, JsonRejection>,
) -> Response {
    let Json(order) = match order {
        Ok(order) => order,
        Err(refused) => return (StatusCode::BAD_REQUEST, refused.body_text()).into_response(),
    };
    let faults = &server.world.faults;
    if order.clear {
        faults.clear();
    }
    for ScriptedOrder { route, times, fault } in order.requests {
        match times {
            Some(times) => faults.next(route, times, fault.into()),
            None => faults.always(route, fault.into()),
        }
    }
    if let Some(jobs) = order.jobs.out_of_memory {
        faults.out_of_memory(jobs);
    }
    if let Some(jobs) = order.jobs.node_error {
        faults.node_error(jobs);
    }
    if let Some(nodes) = order.jobs.crash_after {
        faults.crash_after(nodes);
    }
    match order.stuck {
        Some(true) => faults.stick_worker(),
        Some(false) => faults.unstick(),
        None => {}
    }
    match order.sockets {
        Some(SocketFault::Drop) => server.sockets.drop_all(),
        Some(SocketFault::Deafen) => server.sockets.deafen_all(),
        None => {}
    }
    json_body(&report_of(&server))
}

async fn report(State(server): State<Arc<ServerLife>>) -> Response {
    json_body(&report_of(&server))
}

fn report_of(server: &ServerLife) -> Value {
    let world = &server.world;
    let mut report = world.run_log.report(world.clock.now().as_millis());
    world.recorder.read(|record| {
        let runs = record.runs.iter().map(|(id, runs)| {
            let runs = json!({ "queued": runs.queued, "started": runs.started, "succeeded": runs.succeeded, "failed": runs.failed });
            (id.clone(), runs)
        });
        report["runs"] = runs.collect::<serde_json::Map<_, _>>().into();
        report["sockets_open"] = record.open_sockets.into();
        report["sockets_opened"] = record.connected.values().sum::<usize>().into();
        report["requests"] = record.counts.values().sum::<usize>().into();
        report["hanging"] = record.hanging.into();
    });
    report
}

/// `?route=prompt&more=3`, `?started=2`, `?ended=1`: waits for that many more from now on.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct CountQuery {
    route: Option<FaultRoute>,
    more: usize,
    started: usize,
    ended: usize,
}

/// Answers once the count is reached. A crash ends the wait without an answer.
async fn until(State(server): State<Arc<ServerLife>>, Query(wait): Query<CountQuery>) -> Response {
    let mut begin = None;
    server
        .world
        .recorder
        .until(|record| {
            let seen = seen(record, wait.route);
            let first = *begin.get_or_insert(seen);
            seen.0 >= first.0 + wait.more
                && seen.1 >= first.1 + wait.started
                && seen.2 >= first.2 + wait.ended
        })
        .await;
    json_body(&report_of(&server))
}

fn seen(record: &ServerRecord, route: Option<FaultRoute>) -> (usize, usize, usize) {
    let runs: &HashMap<_, _> = &record.runs;
    let sum = |count: fn(&super::RunCount) -> u32| runs.values().map(|runs| count(runs) as usize).sum();
    let requests = route.map_or(0, |route| record.requests(route));
    (requests, sum(|runs| runs.started), sum(|runs| runs.finished()))
}
