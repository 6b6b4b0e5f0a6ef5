//! The websockets: which are registered, which messages they receive, and two quirks of ComfyUI.
//!
//! Registered is one socket a clientId, the newest. When *any* socket of that clientId closes, the
//! registration goes, so a newer socket may stay open and get nothing. And one publishing loop serves all: a
//! reader that does not read holds up everybody.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use axum::extract::ws::{Message, WebSocket};
use bytes::{BufMut, Bytes, BytesMut};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::pyjson;

use crate::lock::LockExt;

/// Messages that wait for the publishing loop. Further ones are lost, where ComfyUI would grow without limit.
const OUTBOX: usize = 65_536;
/// Messages that wait for one socket before it holds up the publishing loop.
const LANE: usize = 8;

/// The recipient of a message.
#[derive(Debug, Clone)]
pub(super) enum Recipient {
    Everybody,
    Client(String),
}

#[derive(Debug, Clone)]
struct SocketPeer {
    lane: mpsc::Sender<Message>,
    metadata: Arc<AtomicBool>,
}

/// The sockets of one life of the server.
#[derive(Debug)]
pub(super) struct OpenSockets {
    registered: Mutex<HashMap<String, SocketPeer>>,
    outbox: mpsc::Sender<(Recipient, Message)>,
    cut: Mutex<CancellationToken>,
}

/// A socket's way in and out, before it is served.
pub(super) struct SocketAdmission {
    sid: String,
    lane: mpsc::Receiver<Message>,
    metadata: Arc<AtomicBool>,
    cut: CancellationToken,
}

impl OpenSockets {
    /// The registry, and the receiver that [`OpenSockets::publish_all`] serves.
    pub(super) fn new() -> (Self, mpsc::Receiver<(Recipient, Message)>) {
        let (outbox, inbox) = mpsc::channel(OUTBOX);
        (Self { registered: Mutex::default(), outbox, cut: Mutex::default() }, inbox)
    }

    /// The publishing loop: one message after the other, each to all it is for.
    pub(super) async fn publish_all(&self, mut inbox: mpsc::Receiver<(Recipient, Message)>) {
        while let Some((to, message)) = inbox.recv().await {
            for lane in self.lanes(&to) {
                // A closed socket is no error: it is about to be unregistered.
                let _closed = lane.send(message.clone()).await;
            }
        }
    }

    fn lanes(&self, to: &Recipient) -> Vec<mpsc::Sender<Message>> {
        let registered = self.registered.lock_anyway();
        match to {
            Recipient::Everybody => registered.values().map(|peer| peer.lane.clone()).collect(),
            Recipient::Client(sid) => registered.get(sid).map(|peer| peer.lane.clone()).into_iter().collect(),
        }
    }

    /// Queues `{type, data}` for publishing.
    pub(super) fn send(&self, to: Recipient, kind: &str, data: &Value) {
        let text = pyjson::render(&json!({ "type": kind, "data": data }));
        self.send_raw(to, Message::Text(text.into()));
    }

    /// Queues any frame for publishing.
    pub(super) fn send_raw(&self, to: Recipient, message: Message) {
        if self.outbox.try_send((to, message)).is_err() {
            tracing::warn!("the simulator's websocket outbox is full; a message is lost");
        }
    }

    /// Whether the client has announced that it accepts previews with metadata.
    pub(super) fn takes_metadata(&self, to: &Recipient) -> bool {
        match to {
            Recipient::Everybody => false,
            Recipient::Client(sid) => self
                .registered
                .lock_anyway()
                .get(sid)
                .is_some_and(|peer| peer.metadata.load(Ordering::Relaxed)),
        }
    }

    /// Lets a socket in, with `greeting` as its first messages, and registers it unless it is to be `deaf`.
    pub(super) fn admit(&self, sid: &str, greeting: Vec<Value>, deaf: bool) -> SocketAdmission {
        let (sender, lane) = mpsc::channel(LANE);
        let metadata = Arc::new(AtomicBool::new(false));
        if !deaf {
            for message in greeting {
                // The lane is new and longer than any greeting.
                let _fits = sender.try_send(Message::Text(pyjson::render(&message).into()));
            }
            let peer = SocketPeer { lane: sender, metadata: Arc::clone(&metadata) };
            self.registered.lock_anyway().insert(sid.to_owned(), peer);
        }
        SocketAdmission { sid: sid.to_owned(), lane, metadata, cut: self.cut.lock_anyway().clone() }
    }

    /// Serves one socket until it closes or is cut.
    pub(super) async fn serve(&self, socket: WebSocket, admission: SocketAdmission, features: &Value) {
        let SocketAdmission { sid, lane, metadata, cut } = admission;
        tokio::select! {
            () = cut.cancelled() => {}
            () = converse(socket, lane, &metadata, features) => {
                self.registered.lock_anyway().remove(&sid);
            }
        }
    }

    /// Breaks every connection without a closing frame.
    pub(super) fn drop_all(&self) {
        self.registered.lock_anyway().clear();
        std::mem::take(&mut *self.cut.lock_anyway()).cancel();
    }

    /// Leaves every socket open, and sends nothing to it any more.
    pub(super) fn deafen_all(&self) {
        self.registered.lock_anyway().clear();
    }
}

async fn converse(
    socket: WebSocket,
    mut lane: mpsc::Receiver<Message>,
    metadata: &AtomicBool,
    features: &Value,
) {
    let (mut sink, mut stream) = socket.split();
    let mut first = true;
    loop {
        tokio::select! {
            // When the lane ends, the socket was deafened or replaced, and only reading is left.
            Some(message) = lane.recv() => {
                if sink.send(message).await.is_err() {
                    return;
                }
            }
            incoming = stream.next() => {
                let Some(Ok(message)) = incoming else { return };
                let wanted = std::mem::take(&mut first).then(|| feature_flags(&message)).flatten();
                if let Some(wanted) = wanted {
                    metadata.store(wanted, Ordering::Relaxed);
                    let reply = json!({ "type": "feature_flags", "data": features });
                    if sink.send(Message::Text(reply.to_string().into())).await.is_err() {
                        return;
                    }
                }
            }
        }
    }
}

/// Whether a client's first message is about features, and if so, whether it takes previews with metadata.
fn feature_flags(message: &Message) -> Option<bool> {
    let Message::Text(text) = message else { return None };
    let value: Value = serde_json::from_str(text).ok()?;
    (value["type"] == "feature_flags").then(|| value["data"]["supports_preview_metadata"] == true)
}

/// A preview without metadata: `[1][2 = png][image]`.
pub(super) fn plain_preview(png: &[u8]) -> Message {
    binary(1, &[&2u32.to_be_bytes(), png])
}

/// A preview with metadata: `[4][length][json][image]`.
pub(super) fn rich_preview(about: &Value, png: &[u8]) -> Message {
    let about = about.to_string();
    binary(4, &[&length(about.as_bytes()), about.as_bytes(), png])
}

/// Text beside the node: `[3][length][node id][text]`.
pub(super) fn progress_text(node: &str, text: &str) -> Message {
    binary(3, &[&length(node.as_bytes()), node.as_bytes(), text.as_bytes()])
}

fn length(bytes: &[u8]) -> [u8; 4] {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes()
}

fn binary(kind: u32, parts: &[&[u8]]) -> Message {
    let mut frame = BytesMut::with_capacity(4 + parts.iter().map(|part| part.len()).sum::<usize>());
    frame.put_u32(kind);
    for part in parts {
        frame.put_slice(part);
    }
    Message::Binary(Bytes::from(frame))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn binary_frames_have_their_headers() {
        assert_eq!(plain_preview(b"P"), Message::Binary(Bytes::from_static(b"\0\0\0\x01\0\0\0\x02P")));
        assert_eq!(
            progress_text("12", "hi"),
            Message::Binary(Bytes::from_static(b"\0\0\0\x03\0\0\0\x0212hi"))
        );
        let Message::Binary(frame) = rich_preview(&json!({"a":1}), b"P") else { panic!("binary") };
        assert_eq!(&frame[..], b"\0\0\0\x04\0\0\0\x07{\"a\":1}P");
    }

    #[test]
    fn feature_flags_are_told_from_other_messages() {
        let text = |text: &str| Message::Text(text.to_owned().into());
        let flags = r#"{"type":"feature_flags","data":{"supports_preview_metadata":true}}"#;
        assert_eq!(feature_flags(&text(flags)), Some(true));
        assert_eq!(feature_flags(&text(r#"{"type":"feature_flags","data":{}}"#)), Some(false));
        assert_eq!(feature_flags(&text("hello")), None);
    }

    #[tokio::test]
    async fn a_message_goes_to_whom_it_is_for_and_the_newest_socket_wins() {
        let (sockets, mut inbox) = OpenSockets::new();
        let mut old = sockets.admit("a", vec![json!(1)], false);
        let mut new = sockets.admit("a", vec![], false);
        sockets.send(Recipient::Client("a".to_owned()), "x", &json!({}));
        sockets.send(Recipient::Client("b".to_owned()), "x", &json!({}));
        sockets.send(Recipient::Everybody, "y", &json!({}));
        inbox.close();
        sockets.publish_all(inbox).await;
        assert_eq!(old.lane.recv().await, Some(Message::Text("1".into())));
        assert_eq!(old.lane.recv().await, None);
        assert_eq!(new.lane.recv().await, Some(Message::Text(r#"{"type":"x","data":{}}"#.into())));
        assert_eq!(new.lane.recv().await, Some(Message::Text(r#"{"type":"y","data":{}}"#.into())));
    }

    #[tokio::test]
    async fn one_reader_that_does_not_read_holds_up_everybody() {
        let (sockets, inbox) = OpenSockets::new();
        let mut slow = sockets.admit("slow", vec![], false);
        let mut other = sockets.admit("other", vec![], false);
        for _ in 0..=LANE {
            sockets.send(Recipient::Client("slow".to_owned()), "x", &json!({}));
        }
        sockets.send(Recipient::Client("other".to_owned()), "y", &json!({}));
        let publishing = sockets.publish_all(inbox);
        tokio::pin!(publishing);
        assert!(futures_util::poll!(&mut publishing).is_pending());
        assert!(other.lane.try_recv().is_err());
        slow.lane.recv().await;
        assert!(futures_util::poll!(&mut publishing).is_pending());
        assert!(other.lane.try_recv().is_ok());
    }
}
