//! What a connection is at: nothing, the head of a request, or requests that are being answered.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use axum::body::Body as AnyBody;
use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio_util::sync::CancellationToken;

use crate::lock::LockExt;

/// What a connection waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ConnectionPhase {
    /// Its first request.
    First,
    /// The next request, of which nothing is here yet.
    Idle,
    /// The rest of a request's head.
    Head,
    /// Nothing: requests are being answered.
    Busy,
}

/// The state of one connection, known to its stream, its requests and its responses.
#[derive(Debug, Default)]
pub(super) struct ConnectionActivity {
    /// Requests so far.
    requests: AtomicU64,
    /// Cancelled once the connection is known to be one of HTTP/2.
    multiplexed: CancellationToken,
    in_flight: AtomicUsize,
    head_begun: AtomicBool,
    /// Whether the peer may still be sending what nobody reads.
    abandoned: AtomicBool,
    /// Bodies of which the peer has not taken the last frame yet.
    unread: AtomicUsize,
    /// Frames that were handed out.
    handed_out: AtomicU64,
    /// Reads the stream, and must look again when the last response ends.
    reader: Mutex<Option<Waker>>,
}

impl ConnectionActivity {
    /// What it waits for, and how many requests came before.
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

    /// Bytes came. Over HTTP/2 they may be anything, such as the answer to a ping.
    pub fn received(&self) {
        if self.in_flight.load(Ordering::Acquire) == 0 && !self.multiplexed.is_cancelled() {
            self.head_begun.store(true, Ordering::Relaxed);
        }
    }

    /// The reader found nothing to read.
    pub fn reader_waits(&self, waker: &Waker) {
        let mut reader = self.reader.lock_anyway();
        if !reader.as_ref().is_some_and(|known| known.will_wake(waker)) {
            *reader = Some(waker.clone());
        }
    }

    /// A request came, and is in flight until the guard is dropped.
    pub fn begin(self: &Arc<Self>, multiplexed: bool) -> InFlight {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.head_begun.store(false, Ordering::Relaxed);
        if multiplexed {
            self.multiplexed.cancel();
        }
        self.in_flight.fetch_add(1, Ordering::AcqRel);
        InFlight(self.clone())
    }

    /// Whether a request is being answered.
    pub fn is_answering(&self) -> bool {
        self.in_flight.load(Ordering::Acquire) > 0
    }

    /// The rest of a request will not be read.
    pub fn abandon(&self) {
        self.abandoned.store(true, Ordering::Relaxed);
    }

    /// Whether the rest of a request was not read.
    pub fn is_abandoned(&self) -> bool {
        self.abandoned.load(Ordering::Relaxed)
    }

    /// Returns once a request came over HTTP/2.
    pub async fn until_multiplexed(&self) {
        self.multiplexed.cancelled().await;
    }

    /// How many frames the peer was handed, if it has one to take now.
    pub fn unread(&self) -> Option<u64> {
        let handed_out = self.handed_out.load(Ordering::Acquire);
        (self.unread.load(Ordering::Acquire) > 0).then_some(handed_out)
    }
}

/// A request that is being answered.
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

/// The body of a response, in flight until it is dropped.
#[derive(Debug)]
pub(super) struct InFlightBody {
    body: AnyBody,
    in_flight: InFlight,
    /// Whether a frame was handed out after which none was asked for.
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
