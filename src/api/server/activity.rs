//! Tracks whether a connection is idle, is receiving the head of a request, or has requests in flight.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use axum::body::Body as AnyBody;
use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio_util::sync::CancellationToken;

use crate::lock::LockExt;

/// The phase of a connection, which selects its time limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ConnectionPhase {
    /// Waiting for the first request.
    First,
    /// Waiting for the first byte of the next request.
    Idle,
    /// Waiting for the rest of a request's head.
    Head,
    /// At least one request is in flight.
    Busy,
}

/// The state of a connection, shared by its stream, its requests and its responses.
#[derive(Debug, Default)]
pub(super) struct ConnectionActivity {
    /// The number of requests so far.
    requests: AtomicU64,
    /// Cancelled by the first HTTP/2 request.
    multiplexed: CancellationToken,
    in_flight: AtomicUsize,
    head_begun: AtomicBool,
    /// Whether the peer may still be sending a body that the gateway no longer reads.
    abandoned: AtomicBool,
    /// The number of response bodies whose latest frame the peer has not taken yet.
    unread: AtomicUsize,
    /// The number of response frames handed to hyper.
    handed_out: AtomicU64,
    /// Wakes the reader of the stream when the last response ends, because its time limit changes then.
    reader: Mutex<Option<Waker>>,
}

impl ConnectionActivity {
    /// The current phase, and the number of requests so far.
    pub fn phase(&self) -> (ConnectionPhase, u64) {
        let requests = self.requests.load(Ordering::Relaxed);
        let phase = if requests == 0 {
            ConnectionPhase::First
        } else if self.in_flight.load(Ordering::Acquire) > 0 {
            ConnectionPhase::Busy
        } else if self.head_begun.load(Ordering::Relaxed) {
            ConnectionPhase::Head
        } else {
            ConnectionPhase::Idle
        };
        (phase, requests)
    }

    /// Notes that bytes arrived. Over HTTP/2 they do not begin a request's head: they may be any frame, such as a ping.
    pub fn mark_received(&self) {
        if self.in_flight.load(Ordering::Acquire) == 0 && !self.multiplexed.is_cancelled() {
            self.head_begun.store(true, Ordering::Relaxed);
        }
    }

    /// Registers the reader of the stream, which found nothing to read.
    pub fn register_reader(&self, waker: &Waker) {
        let mut reader = self.reader.lock_anyway();
        if !reader.as_ref().is_some_and(|known| known.will_wake(waker)) {
            *reader = Some(waker.clone());
        }
    }

    /// Counts a request, which is in flight until the guard is dropped.
    pub fn begin(self: &Arc<Self>, multiplexed: bool) -> InFlight {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.head_begun.store(false, Ordering::Relaxed);
        if multiplexed {
            self.multiplexed.cancel();
        }
        self.in_flight.fetch_add(1, Ordering::AcqRel);
        InFlight(self.clone())
    }

    /// Whether a request is in flight.
    pub fn has_in_flight(&self) -> bool {
        self.in_flight.load(Ordering::Acquire) > 0
    }

    /// Notes that the rest of a request's body stays unread.
    pub fn abandon(&self) {
        self.abandoned.store(true, Ordering::Relaxed);
    }

    /// Whether the rest of a request's body stayed unread.
    pub fn is_abandoned(&self) -> bool {
        self.abandoned.load(Ordering::Relaxed)
    }

    /// Waits for the first HTTP/2 request.
    pub async fn until_multiplexed(&self) {
        self.multiplexed.cancelled().await;
    }

    /// The number of frames handed out, if the peer has not taken one of them yet.
    pub fn unread(&self) -> Option<u64> {
        let handed_out = self.handed_out.load(Ordering::Acquire);
        (self.unread.load(Ordering::Acquire) > 0).then_some(handed_out)
    }
}

/// Keeps a request counted as in flight until it is dropped.
#[derive(Debug)]
pub(super) struct InFlight(Arc<ConnectionActivity>);

impl Drop for InFlight {
    fn drop(&mut self) {
        if self.0.in_flight.fetch_sub(1, Ordering::AcqRel) == 1
            && let Some(reader) = self.0.reader.lock_anyway().take()
        {
            reader.wake();
        }
    }
}

/// The body of a response. Its request is in flight until the body is dropped.
#[derive(Debug)]
pub(super) struct InFlightBody {
    body: AnyBody,
    in_flight: InFlight,
    /// Whether the latest frame may not have been taken yet, because hyper has not asked for the next one.
    unread: bool,
}

impl InFlightBody {
    pub fn new(body: AnyBody, in_flight: InFlight) -> Self {
        Self { body, in_flight, unread: false }
    }

    fn mark_read(&mut self) {
        if std::mem::take(&mut self.unread) {
            self.in_flight.0.unread.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

impl Drop for InFlightBody {
    fn drop(&mut self) {
        self.mark_read();
    }
}

impl Body for InFlightBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        self.mark_read();
        let frame = Pin::new(&mut self.body).poll_frame(context);
        if let Poll::Ready(Some(Ok(_))) = frame {
            self.unread = true;
            let activity = &self.in_flight.0;
            activity.unread.fetch_add(1, Ordering::AcqRel);
            activity.handed_out.fetch_add(1, Ordering::AcqRel);
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
