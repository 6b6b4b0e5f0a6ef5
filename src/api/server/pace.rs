//! Detects transfers that are too slow: the peer must move enough bytes within a window of time.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use hyper::body::{Body, Frame, Incoming, SizeHint};

use super::activity::ConnectionActivity;
use crate::clock::Clock;

/// Completes when a time on a clock is over.
pub(super) type TransferTimer = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Starts a timer.
pub(super) fn timer(clock: &Arc<dyn Clock>, time: Duration) -> TransferTimer {
    let clock = clock.clone();
    Box::pin(async move { clock.sleep(time).await })
}

/// The slowest transfer that is tolerated while the gateway waits for the peer.
#[derive(Debug, Clone, Copy)]
pub struct MinimumPace {
    /// The window in which `bytes` must move.
    pub window: Duration,
    /// The bytes to move within the window.
    pub bytes: u64,
}

/// Measures one direction of a transfer. A window begins when the gateway first waits for the peer, and anew whenever enough
/// bytes have moved. The pace is checked only while the gateway waits, so bytes that arrived while the gateway was busy
/// count first.
pub(super) struct TransferPace {
    clock: Arc<dyn Clock>,
    minimum: MinimumPace,
    /// The end of the window; `None` while the gateway does not wait for the peer.
    window: Option<TransferTimer>,
    moved: u64,
}

impl TransferPace {
    pub fn new(clock: Arc<dyn Clock>, minimum: MinimumPace) -> Self {
        Self { clock, minimum, window: None, moved: 0 }
    }

    /// Counts bytes that the peer moved.
    pub fn add_moved(&mut self, bytes: u64) {
        self.moved += bytes;
        if self.moved >= self.minimum.bytes {
            self.pause();
        }
    }

    /// Ends the window, because the gateway no longer waits for the peer.
    pub fn pause(&mut self) {
        self.window = None;
        self.moved = 0;
    }

    /// Whether the gateway waits for the peer.
    pub fn is_running(&self) -> bool {
        self.window.is_some()
    }

    /// Begins a window if there is none. Ready when the window has ended without enough bytes.
    pub fn poll_too_slow(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let window = self.window.get_or_insert_with(|| timer(&self.clock, self.minimum.window));
        ready!(window.as_mut().poll(context));
        self.pause();
        Poll::Ready(())
    }
}

/// A request body arrived more slowly than the [`MinimumPace`].
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("less than {} bytes of the body arrived within {} s", .0.bytes, .0.window.as_secs_f64())]
pub struct TooSlow(pub MinimumPace);

impl TooSlow {
    /// Finds this error in the source chain of `error`.
    #[must_use]
    pub fn of(error: &(dyn std::error::Error + 'static)) -> Option<Self> {
        std::iter::successors(Some(error), |error| error.source())
            .find_map(|error| error.downcast_ref::<Self>())
            .copied()
    }
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A request body with a [`MinimumPace`]. A body that is too slow ends with [`TooSlow`].
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
            self.pace.add_moved(data.remaining() as u64);
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
