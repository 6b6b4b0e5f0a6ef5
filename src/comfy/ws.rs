//! One websocket connection to a backend, from its handshake to its end. Reconnecting is up to the caller.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async_tls_with_config};

use super::client::ComfyClient;
use super::error::{CallFault, ComfyError};
use super::event::ComfyEvent;
use super::routes::{ComfyRoute, RoutePrefix};
use crate::domain::time::UnixMillis;

const WS: ComfyRoute = ComfyRoute::get("/ws");
/// Requests previews that name their job and node. ComfyUI heeds this only as the first message.
const FEATURE_FLAGS: &str = r#"{"type":"feature_flags","data":{"supports_preview_metadata":true}}"#;

/// The events of one websocket connection.
///
/// Read it without pause. ComfyUI sends an event to one client after the other, so a client that does not
/// read blocks all of them.
pub struct EventStream {
    client: ComfyClient,
    socket: Option<WebSocketStream<MaybeTlsStream<TcpStream>>>,
    /// When to send a ping or, after a ping, when to give up.
    deadline: UnixMillis,
    pinged: bool,
}

impl ComfyClient {
    /// Opens a websocket for the events of jobs submitted with `client_id`, and of the queue. Earlier events are not
    /// sent again.
    ///
    /// Two connections with one client id disturb each other. When the older one ends, ComfyUI stops sending to the
    /// newer one, which stays open but is deaf. So after a connection has ended, use another id for the next, or expect
    /// that it may be deaf.
    ///
    /// # Errors
    /// The call fails with any [`CallFault`].
    pub async fn events(&self, client_id: &str) -> Result<EventStream, ComfyError> {
        let socket = match self.routes().ws.get() {
            Some(prefix) => self.handshake(*prefix, client_id).await?,
            None => self.first_handshake(client_id).await?,
        };
        let now = self.clock().now();
        let deadline = now.plus(self.endpoint().timeouts.ping_every);
        let mut events = EventStream { client: self.clone(), socket: Some(socket), deadline, pinged: false };
        events.send(Message::text(FEATURE_FLAGS)).await?;
        Ok(events)
    }

    async fn first_handshake(
        &self,
        client_id: &str,
    ) -> Result<WebSocketStream<MaybeTlsStream<TcpStream>>, ComfyError> {
        let (prefix, socket) = match self.handshake(RoutePrefix::Plain, client_id).await {
            Ok(socket) => (RoutePrefix::Plain, socket),
            Err(plain) if plain.status().is_some() || matches!(plain.fault, CallFault::Malformed { .. }) => {
                (RoutePrefix::Api, self.handshake(RoutePrefix::Api, client_id).await.map_err(|_api| plain)?)
            }
            Err(error) => return Err(error),
        };
        // A concurrent handshake may have set the prefix already, to the same value.
        let _already_known = self.routes().ws.set(prefix);
        Ok(socket)
    }

    async fn handshake(
        &self,
        prefix: RoutePrefix,
        client_id: &str,
    ) -> Result<WebSocketStream<MaybeTlsStream<TcpStream>>, ComfyError> {
        let mut url = prefix.url(self.base(), WS, None, &[("clientId", client_id)]);
        let scheme = if url.scheme() == "https" { "wss" } else { "ws" };
        // This cannot fail: `http` and `ws` are both special schemes, which may replace each other.
        let _replaced = url.set_scheme(scheme);
        let mut request = url.as_str().into_client_request().map_err(|error| self.handshake_failed(error))?;
        request.headers_mut().extend(self.headers().clone());
        let limit = Some(self.endpoint().limits.message);
        let config = WebSocketConfig::default().max_message_size(limit).max_frame_size(limit);
        let after = self.endpoint().timeouts.connect;
        let connecting = connect_async_tls_with_config(request, Some(config), true, None);
        match tokio::time::timeout(after, connecting).await {
            Ok(Ok((socket, _response))) => Ok(socket),
            Ok(Err(error)) => Err(self.handshake_failed(error)),
            Err(_elapsed) => Err(self.error(WS, CallFault::Timeout { after })),
        }
    }

    fn handshake_failed(&self, error: tungstenite::Error) -> ComfyError {
        let fault = match error {
            tungstenite::Error::Protocol(error) => CallFault::Malformed { reason: error.to_string() },
            error => CallFault::from_websocket(error, false),
        };
        self.error(WS, fault)
    }
}

impl EventStream {
    /// The next event. A lost connection or an unanswered ping gives one error, and `None` from then on.
    /// Dropping the future loses no event.
    pub async fn next(&mut self) -> Option<Result<ComfyEvent, ComfyError>> {
        loop {
            let socket = self.socket.as_mut()?;
            let received = tokio::select! {
                biased;
                received = socket.next() => received,
                () = self.client.clock().sleep_until(self.deadline) => {
                    if let Err(error) = self.keep_alive().await {
                        return Some(Err(self.fail(error.fault)));
                    }
                    continue;
                }
            };
            match received {
                Some(Ok(message)) => {
                    self.postpone_ping();
                    match decode(message) {
                        Ok(Some(event)) => return Some(Ok(event)),
                        Ok(None) => {}
                        Err(fault) => return Some(Err(self.fail(fault))),
                    }
                }
                Some(Err(error)) => return Some(Err(self.fail(CallFault::from_websocket(error, true)))),
                None => return Some(Err(self.fail(CallFault::Closed { code: None }))),
            }
        }
    }

    /// Closes the connection and waits, within the connect timeout, until the backend has closed it too. Only
    /// then can its end not make a new connection with the same client id deaf.
    pub async fn close(mut self) {
        let Some(mut socket) = self.socket.take() else { return };
        let closing = async {
            if socket.close(None).await.is_ok() {
                while let Some(Ok(_)) = socket.next().await {}
            }
        };
        // After the timeout the connection is dropped.
        let _elapsed = tokio::time::timeout(self.client.endpoint().timeouts.connect, closing).await;
    }

    fn postpone_ping(&mut self) {
        self.pinged = false;
        self.deadline = self.after(self.client.endpoint().timeouts.ping_every);
    }

    /// Sends a ping at the deadline, or gives up if the last ping is unanswered.
    async fn keep_alive(&mut self) -> Result<(), ComfyError> {
        let pong_within = self.client.endpoint().timeouts.pong_within;
        if self.pinged {
            return Err(self.client.error(WS, CallFault::Silent { after: pong_within }));
        }
        self.pinged = true;
        self.deadline = self.after(pong_within);
        self.send(Message::Ping(bytes::Bytes::new())).await
    }

    async fn send(&mut self, message: Message) -> Result<(), ComfyError> {
        let Some(socket) = self.socket.as_mut() else {
            return Err(self.client.error(WS, CallFault::Closed { code: None }));
        };
        // The messages are so small that sending blocks only on a dead connection.
        let after = self.client.endpoint().timeouts.connect;
        match tokio::time::timeout(after, socket.send(message)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(self.client.error(WS, CallFault::from_websocket(error, true))),
            Err(_elapsed) => Err(self.client.error(WS, CallFault::Timeout { after })),
        }
    }

    fn after(&self, duration: Duration) -> UnixMillis {
        self.client.clock().now().plus(duration)
    }

    fn fail(&mut self, fault: CallFault) -> ComfyError {
        self.socket = None;
        self.client.error(WS, fault)
    }
}

impl std::fmt::Debug for EventStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EventStream")
            .field("backend", &self.client.shown_url())
            .field("open", &self.socket.is_some())
            .finish_non_exhaustive()
    }
}

/// The event in a frame; `None` for pings and pongs, which only show that the backend is alive.
fn decode(message: Message) -> Result<Option<ComfyEvent>, CallFault> {
    match message {
        Message::Text(text) => Ok(Some(ComfyEvent::from_text(&text))),
        Message::Binary(bytes) => Ok(Some(ComfyEvent::from_binary(bytes))),
        Message::Close(frame) => Err(CallFault::Closed { code: frame.map(|frame| frame.code.into()) }),
        Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => Ok(None),
    }
}
