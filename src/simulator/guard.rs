//! What happens to every request before its handler: it is recorded, checked (token, origin), and meets the
//! scripted faults.

use std::sync::Arc;

use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use secrecy::ExposeSecret;

use super::answers::DropConnection;
use super::faults::{FaultRoute, RequestFault};
use super::record::{BODY, SeenRequest};
use super::server::{PersistentWorld, ServerLife};

/// ComfyUI's limit for a request's body in bytes.
pub(super) const MAX_BODY: usize = 104_857_600;

/// Marks a websocket handshake whose socket receives no messages.
#[derive(Debug, Clone, Copy)]
pub(super) struct DeafSocket;

pub(super) async fn guard(State(server): State<Arc<ServerLife>>, request: Request, next: Next) -> Response {
    let world = &server.world;
    let route = classify(world, request.method(), request.uri().path());
    let (request, refused) = record(world, route, request).await;
    if let Some(refused) = refused {
        return refused;
    }
    if !admitted(world, request.headers()) {
        let body = "401: Unauthorized";
        return (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, "Bearer")], body).into_response();
    }
    if cross_site(request.headers()) {
        return StatusCode::FORBIDDEN.into_response();
    }
    match world.faults.take(route) {
        None => next.run(request).await,
        Some(fault) => suffer(&server, fault, request, next).await,
    }
}

/// Carries out a fault.
async fn suffer(server: &ServerLife, fault: RequestFault, mut request: Request, next: Next) -> Response {
    match fault {
        RequestFault::Status(code, body) => {
            (StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), body).into_response()
        }
        RequestFault::Garbage => json_text("<html>\u{1F4A5} this is no JSON".to_owned()),
        RequestFault::Body(body) => json_text(body),
        RequestFault::Endless => endless(),
        RequestFault::Hang => {
            hang(server).await;
            next.run(request).await
        }
        RequestFault::HangAfter => {
            let response = next.run(request).await;
            hang(server).await;
            response
        }
        RequestFault::Slow(time) => {
            let response = next.run(request).await;
            tokio::select! {
                () = server.world.clock.sleep(time) => {}
                () = server.closing.cancelled() => {}
            }
            response
        }
        RequestFault::DropBefore => dropped(),
        RequestFault::DropAfter => {
            let _lost = next.run(request).await;
            dropped()
        }
        RequestFault::Truncate => truncate(next.run(request).await).await,
        RequestFault::Deaf => {
            request.extensions_mut().insert(DeafSocket);
            next.run(request).await
        }
    }
}

/// Waits to be released; a graceful stop releases as well.
async fn hang(server: &ServerLife) {
    let world = &server.world;
    // A test that reads the note may release at once, so listen first.
    let released = world.faults.released();
    let _noted = world.recorder.during(|record| record.hanging += 1, |record| record.hanging -= 1);
    tokio::select! {
        () = released => {}
        () = server.closing.cancelled() => {}
    }
}

/// A response that ends the connection without an answer.
pub(super) fn dropped() -> Response {
    let mut response = Response::new(Body::empty());
    response.extensions_mut().insert(DropConnection);
    response
}

fn json_text(body: String) -> Response {
    ([(header::CONTENT_TYPE, "application/json; charset=utf-8")], body).into_response()
}

/// A body of zeros without end.
fn endless() -> Response {
    let zeros = Bytes::from(vec![0; 64 * 1024]);
    Body::from_stream(stream::repeat_with(move || Ok::<_, std::convert::Infallible>(zeros.clone())))
        .into_response()
}

/// The same response with half of its body, after which the connection breaks.
async fn truncate(response: Response) -> Response {
    let (mut parts, body) = response.into_parts();
    let whole = to_bytes(body, usize::MAX).await.unwrap_or_default();
    let half = whole.slice(..whole.len() / 2);
    parts.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(whole.len()));
    let cut = async {
        // The half is sent only if the body then waits for more.
        tokio::task::yield_now().await;
        Err(std::io::Error::other("cut as scripted"))
    };
    let halves = stream::iter([Ok(half)]).chain(stream::once(cut));
    Response::from_parts(parts, Body::from_stream(halves))
}

/// Records the request, with its body if that is small. A body above the limit is refused at once.
async fn record(world: &PersistentWorld, route: FaultRoute, request: Request) -> (Request, Option<Response>) {
    let (parts, body) = request.into_parts();
    // Uploads and handshakes are not read here.
    let streamed = matches!(route, FaultRoute::Upload | FaultRoute::Ws);
    let (body, read) = if streamed {
        (body, Ok(Bytes::new()))
    } else {
        match to_bytes(body, MAX_BODY).await {
            Ok(bytes) => (Body::from(bytes.clone()), Ok(bytes)),
            Err(error) => (Body::empty(), Err(error)),
        }
    };
    let kept = read.as_ref().ok().filter(|bytes| bytes.len() <= BODY).cloned().unwrap_or_default();
    world.recorder.note(|record| {
        record.saw(SeenRequest {
            route,
            method: parts.method.clone(),
            uri: parts.uri.to_string(),
            headers: parts.headers.clone(),
            body: kept,
        });
    });
    let refused = read.is_err().then(|| {
        let message = format!("Maximum request body size {MAX_BODY} exceeded.");
        (StatusCode::PAYLOAD_TOO_LARGE, message).into_response()
    });
    (Request::from_parts(parts, body), refused)
}

fn admitted(world: &PersistentWorld, headers: &HeaderMap) -> bool {
    let Some(token) = &world.config.bearer else { return true };
    let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    given.and_then(|value| value.strip_prefix("Bearer ")) == Some(token.expose_secret())
}

/// Whether a browser sent this from another site. As in ComfyUI, origins are compared only for requests to
/// the local machine.
/// very machine.
fn cross_site(headers: &HeaderMap) -> bool {
    let text = |name: header::HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    if headers.get("sec-fetch-site").is_some_and(|site| site == "cross-site") {
        return true;
    }
    let (Some(host), Some(origin)) = (text(header::HOST), text(header::ORIGIN)) else { return false };
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    let local = name == "localhost" || name == "[::1]" || name.starts_with("127.");
    let origin = origin.split_once("://").map(|(_, origin)| origin);
    local && origin.is_some_and(|origin| origin != host)
}

/// What a request is for.
fn classify(world: &PersistentWorld, method: &Method, path: &str) -> FaultRoute {
    let path = path.strip_prefix(world.config.prefix.as_deref().unwrap_or_default()).unwrap_or(path);
    let path = path.strip_prefix("/api").filter(|rest| !rest.starts_with("/jobs")).unwrap_or(path);
    let first = path.trim_start_matches('/').split('/').next().unwrap_or_default();
    match first {
        "ws" => FaultRoute::Ws,
        "prompt" if method == Method::POST => FaultRoute::Prompt,
        "prompt" | "queue" => FaultRoute::Queue,
        "history" => FaultRoute::History,
        "interrupt" => FaultRoute::Interrupt,
        "view" => FaultRoute::View,
        "upload" => FaultRoute::Upload,
        "object_info" => FaultRoute::ObjectInfo,
        "system_stats" => FaultRoute::SystemStats,
        "free" => FaultRoute::Free,
        "api" => FaultRoute::Jobs,
        _ => FaultRoute::All,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (header::HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect()
    }

    #[test]
    fn browsers_on_other_sites_are_refused_and_others_are_not() {
        let site = |pairs: &[_]| cross_site(&headers(pairs));
        assert!(site(&[("host", "127.0.0.1:8188"), ("origin", "http://evil.example")]));
        assert!(site(&[("host", "127.0.0.1:8188"), ("origin", "http://localhost:3000")]));
        assert!(site(&[("sec-fetch-site", "cross-site")]));
        assert!(!site(&[("host", "127.0.0.1:8188"), ("origin", "http://127.0.0.1:8188")]));
        assert!(!site(&[("host", "127.0.0.1:8188"), ("origin", "null")]));
        assert!(!site(&[("host", "gw.internal:8188"), ("origin", "http://other")]));
        assert!(!site(&[("sec-fetch-site", "same-origin")]));
    }
}
