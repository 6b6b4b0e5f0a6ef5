//! ComfyUI's websocket: one connection, from its handshake to its end. It must not reconnect.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async_tls_with_config};

use super::client::ComfyClient;
use super::error::{CallFault, ComfyError};
use super::protocol::ComfyEvent;
use super::routes::{ComfyRoute, RoutePrefix};
use crate::domain::time::UnixMillis;

const WS: ComfyRoute = ComfyRoute::get("/ws");
/// Asks for previews that say which job and node they are of. It must be the first message to be heeded.
const FEATURE_FLAGS: &str = r#"{"type":"feature_flags","data":{"supports_preview_metadata":true}}"#;

/// The events of one websocket connection. It must be drained without pause: a server sends its events one
/// client after the other, and one that does not read holds up all.
pub struct EventStream {
    client: ComfyClient,
    socket: Option<WebSocketStream<MaybeTlsStream<TcpStream>>>,
    /// When to ping, or after a ping when to give up.
    deadline: UnixMillis,
    pinged: bool,
}

impl ComfyClient {
    /// Opens a websocket for the events of the jobs submitted with `client_id`, and of the server's queue.
    ///
    /// Two connections of one client id disturb each other: when the older one ends, the server stops sending
    /// to the newer one, which stays open. So after a connection ended, open the next one with another id, or
    /// expect that it may be deaf. Events of what happened before the connection are not sent again.
    ///
    /// # Errors
    /// Every [`CallFault`] of a call.
    pub async fn events(&self, client_id: &str) -> Result<EventStream, ComfyError> {
        let socket = match self.known().ws.get() {
            Some(form) => self.handshake(*form, client_id).await?,
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
        let (form, socket) = match self.handshake(RoutePrefix::Plain, client_id).await {
            Ok(socket) => (RoutePrefix::Plain, socket),
            Err(plain) if plain.status().is_some() || matches!(plain.fault, CallFault::Malformed { .. }) => {
                (RoutePrefix::Api, self.handshake(RoutePrefix::Api, client_id).await.map_err(|_api| plain)?)
            }
            Err(error) => return Err(error),
        };
        // Another handshake may have found it out at the same time: it found the same.
        let _known = self.known().ws.set(form);
        Ok(socket)
    }

    async fn handshake(
        &self,
        form: RoutePrefix,
        client_id: &str,
    ) -> Result<WebSocketStream<MaybeTlsStream<TcpStream>>, ComfyError> {
        let mut url = form.url(self.base(), WS, None, &[("clientId", client_id)]);
        let scheme = if url.scheme() == "https" { "wss" } else { "ws" };
        // Both are of the kind of scheme that can be exchanged for each other.
        let _always = url.set_scheme(scheme);
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
            error => CallFault::of_websocket(error, false),
        };
        self.error(WS, fault)
    }
}

impl EventStream {
    /// The next event. Ends with one error, after which there is only `None`: the connection is lost, or was
    /// silent for too long although it was pinged. Nothing is lost when the future is dropped.
    pub async fn next(&mut self) -> Option<Result<ComfyEvent, ComfyError>> {
        loop {
            let socket = self.socket.as_mut()?;
            let received = tokio::select! {
                biased;
                received = socket.next() => received,
                () = self.client.clock().sleep_until(self.deadline) => {
                    if let Err(error) = self.keep_alive().await {
                        return Some(Err(self.end(error.fault)));
                    }
                    continue;
                }
            };
            match received {
                Some(Ok(message)) => {
                    self.heard();
                    match event(message) {
                        Ok(Some(event)) => return Some(Ok(event)),
                        Ok(None) => {}
                        Err(fault) => return Some(Err(self.end(fault))),
                    }
                }
                Some(Err(error)) => return Some(Err(self.end(CallFault::of_websocket(error, true)))),
                None => return Some(Err(self.end(CallFault::Closed { code: None }))),
            }
        }
    }

    /// Closes the connection and waits, not long, until the server has done so too: only then is it sure that
    /// a new connection with the same client id is not made deaf by the end of this one.
    pub async fn close(mut self) {
        let Some(mut socket) = self.socket.take() else { return };
        let closing = async {
            if socket.close(None).await.is_ok() {
                while let Some(Ok(_)) = socket.next().await {}
            }
        };
        // A server that does not answer loses its connection now.
        let _elapsed = tokio::time::timeout(self.client.endpoint().timeouts.connect, closing).await;
    }

    fn heard(&mut self) {
        self.pinged = false;
        self.deadline = self.after(self.client.endpoint().timeouts.ping_every);
    }

    /// The deadline has come: pings, or gives up when a ping has stayed without an answer.
    async fn keep_alive(&mut self) -> Result<(), ComfyError> {
        let patience = self.client.endpoint().timeouts.pong_within;
        if self.pinged {
            return Err(self.client.error(WS, CallFault::Silent { after: patience }));
        }
        self.pinged = true;
        self.deadline = self.after(patience);
        self.send(Message::Ping(bytes::Bytes::new())).await
    }

    async fn send(&mut self, message: Message) -> Result<(), ComfyError> {
        let Some(socket) = self.socket.as_mut() else {
            return Err(self.client.error(WS, CallFault::Closed { code: None }));
        };
        // What is sent is so small that it waits only when the connection is dead.
        let after = self.client.endpoint().timeouts.connect;
        match tokio::time::timeout(after, socket.send(message)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(self.client.error(WS, CallFault::of_websocket(error, true))),
            Err(_elapsed) => Err(self.client.error(WS, CallFault::Timeout { after })),
        }
    }

    fn after(&self, duration: Duration) -> UnixMillis {
        self.client.clock().now().plus(duration)
    }

    fn end(&mut self, fault: CallFault) -> ComfyError {
        self.socket = None;
        self.client.error(WS, fault)
    }
}

impl std::fmt::Debug for EventStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EventStream")
            .field("server", &self.client.shown_url())
            .field("open", &self.socket.is_some())
            .finish_non_exhaustive()
    }
}

/// What a frame tells; `None` for those that only show that the server lives.
fn event(message: Message) -> Result<Option<ComfyEvent>, CallFault> {
    match message {
        Message::Text(text) => Ok(Some(ComfyEvent::from_text(&text))),
        Message::Binary(bytes) => Ok(Some(ComfyEvent::from_binary(bytes))),
        Message::Close(frame) => Err(CallFault::Closed { code: frame.map(|frame| frame.code.into()) }),
        Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => Ok(None),
    }
}
