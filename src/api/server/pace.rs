//! The least that a peer must move: enough bytes within a window of time, or it is given up.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use hyper::body::{Body, Frame, Incoming, SizeHint};

use super::activity::ConnectionActivity;
use crate::clock::Clock;

/// A time on a clock, not yet over.
pub(super) type TransferTimer = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Starts a timer.
pub(super) fn timer(clock: &Arc<dyn Clock>, time: Duration) -> TransferTimer {
    let clock = clock.clone();
    Box::pin(async move { clock.sleep(time).await })
}

/// The least that a peer must send or take while it is waited for.
#[derive(Debug, Clone, Copy)]
pub struct MinimumPace {
    /// The window in which `bytes` must move.
    pub window: Duration,
    /// The bytes.
    pub bytes: u64,
}

/// Measures one direction of one transfer. Its window begins when the peer is first waited for, and anew whenever
/// enough bytes have moved. It is judged only while the peer is waited for: what came while the gateway was busy counts
/// first.
pub(super) struct TransferPace {
    clock: Arc<dyn Clock>,
    minimum: MinimumPace,
    /// The end of the window; none while the peer is not waited for.
    window: Option<TransferTimer>,
    moved: u64,
}

impl TransferPace {
    pub fn new(clock: Arc<dyn Clock>, minimum: MinimumPace) -> Self {
        Self { clock, minimum, window: None, moved: 0 }
    }

    /// The peer moved so many bytes.
    pub fn moved(&mut self, bytes: u64) {
        self.moved += bytes;
        if self.moved >= self.minimum.bytes {
            self.pause();
        }
    }

    /// The peer is not waited for any more.
    pub fn pause(&mut self) {
        self.window = None;
        self.moved = 0;
    }

    /// Whether the peer is waited for.
    pub fn is_running(&self) -> bool {
        self.window.is_some()
    }

    /// The peer is waited for; ready once it has moved too little in a whole window.
    pub fn poll_too_slow(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let window = self.window.get_or_insert_with(|| timer(&self.clock, self.minimum.window));
        ready!(window.as_mut().poll(context));
        self.pause();
        Poll::Ready(())
    }
}

/// The body of a request did not keep up the [`MinimumPace`].
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("less than {} bytes of the body arrived within {} s", .0.bytes, .0.window.as_secs_f64())]
pub struct TooSlow(pub MinimumPace);

impl TooSlow {
    /// The one that `error` comes from.
    #[must_use]
    pub fn of(error: &(dyn std::error::Error + 'static)) -> Option<Self> {
        std::iter::successors(Some(error), |error| error.source())
            .find_map(|error| error.downcast_ref::<Self>())
            .copied()
    }
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The body of a request that must keep up a pace; too slow a one ends with [`TooSlow`].
pub(super) struct PacedBody {
    body: Incoming,
    pace: TransferPace,
    ended: bool,
    activity: Arc<ConnectionActivity>,
}

impl PacedBody {
    pub fn new(body: Incoming, pace: TransferPace, activity: Arc<ConnectionActivity>) -> Self {
        Self { body, pace, ended: false, activity }
    }
}

impl Drop for PacedBody {
    fn drop(&mut self) {
        if !self.ended && !self.body.is_end_stream() {
            self.activity.abandon();
        }
    }
}

impl fmt::Debug for PacedBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PacedBody").field(&self.body).finish()
    }
}

impl Body for PacedBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) else {
            ready!(self.pace.poll_too_slow(context));
            return Poll::Ready(Some(Err(TooSlow(self.pace.minimum).into())));
        };
        self.ended = frame.is_none();
        if let Some(Ok(frame)) = &frame
            && let Some(data) = frame.data_ref()
        {
            self.pace.moved(data.remaining() as u64);
        }
        Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
