//! The byte stream of a connection. It fails when the peer sends no request in time or does not read its response, and
//! closes in such a way that a peer that is still sending can read its response.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::activity::{ConnectionActivity, ConnectionPhase};
use super::pace::{TransferPace, TransferTimer, timer};
use super::rejection;
use crate::clock::Clock;
use crate::random::Random;

/// The most unsent bytes in the operating system's buffer. A small buffer shows soon whether the peer reads.
const UNSENT: u32 = 64 << 10;

/// The longest times that a connection may go without a complete request.
#[derive(Debug, Clone, Copy)]
pub(super) struct ReadLimits {
    /// From the first byte of a request's head to its end.
    pub head: Duration,
    /// Between two requests.
    pub idle: Duration,
}

/// A connection's stream with its time limits.
pub(super) struct TimedStream {
    stream: TcpStream,
    clock: Arc<dyn Clock>,
    activity: Arc<ConnectionActivity>,
    limits: ReadLimits,
    /// The running time limit, with the phase and request that it belongs to.
    limit: Option<((ConnectionPhase, u64), TransferTimer)>,
    writing: TransferPace,
    /// Whether everything written has been flushed, so that the next write begins a response if no request is in flight.
    flushed: bool,
    random: Arc<Random>,
    /// The unwritten rest of the response that replaces one of hyper's own.
    instead: Bytes,
    closing: ClosingStage,
}

/// The progress of closing a connection.
enum ClosingStage {
    /// The connection is not closing.
    Open,
    /// The gateway sends nothing more, and discards up to `room` bytes that the peer still sends.
    Lingering { timer: TransferTimer, room: usize },
    /// The connection can be dropped.
    Done,
}

/// The time for which bytes of a peer that is still sending are read and discarded. If the connection were closed at
/// once, the operating system would reset it, and the peer might lose the response.
const LINGER: Duration = Duration::from_secs(2);
/// The most bytes that are read and discarded in that time.
const LINGER_BYTES: usize = 64 << 20;

impl TimedStream {
    pub fn new(
        stream: TcpStream,
        clock: Arc<dyn Clock>,
        activity: Arc<ConnectionActivity>,
        limits: ReadLimits,
        writing: TransferPace,
        random: Arc<Random>,
    ) -> Self {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "could not set TCP_NODELAY on a connection");
        }
        if let Err(error) = SockRef::from(&stream).set_tcp_notsent_lowat(UNSENT) {
            tracing::debug!(%error, "could not set TCP_NOTSENT_LOWAT on a connection");
        }
        Self {
            stream,
            clock,
            activity,
            limits,
            limit: None,
            writing,
            flushed: true,
            random,
            instead: Bytes::new(),
            closing: ClosingStage::Open,
        }
    }

    /// Ready when the peer has not sent a request in time.
    fn poll_too_late(&mut self, context: &mut Context<'_>) -> Poll<io::Error> {
        self.activity.register_reader(context.waker());
        let phase = self.activity.phase();
        // The connection is not idle while a response is being written.
        if phase.0 == ConnectionPhase::Busy || self.writing.is_running() {
            self.limit = None;
            return Poll::Pending;
        }
        let (time, reason) = match phase.0 {
            ConnectionPhase::Idle => (self.limits.idle, "no further request arrived in time"),
            _ => (self.limits.head, "the head of a request did not arrive in time"),
        };
        if self.limit.as_ref().is_none_or(|(running, _)| *running != phase) {
            self.limit = Some((phase, timer(&self.clock, time)));
        }
        if let Some((_, timer)) = &mut self.limit {
            ready!(timer.as_mut().poll(context));
        }
        self.limit = None;
        Poll::Ready(io::Error::new(io::ErrorKind::TimedOut, reason))
    }

    /// Accounts for the result of a write. A pending write fails when the peer reads too slowly.
    fn written(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        match written {
            Poll::Ready(Ok(bytes)) => {
                self.flushed = false;
                self.writing.add_moved(bytes as u64);
                Poll::Ready(Ok(bytes))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => {
                ready!(self.writing.poll_too_slow(context));
                // Discard the bytes in the operating system's buffer, which would otherwise be kept until they are read.
                if let Err(error) = self.stream.set_zero_linger() {
                    tracing::debug!(%error, "could not set SO_LINGER to zero on a connection");
                }
                let reason = "the client did not read its response in time";
                Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, reason)))
            }
        }
    }

    /// Replaces `head` if it is a response that hyper wrote itself. Returns whether it did.
    fn replace_rejection(&mut self, head: &[u8]) -> bool {
        // Only the beginning of a response can be recognized; later bytes may be anything.
        if !self.flushed || self.activity.has_in_flight() {
            return false;
        }
        let new_id = || self.random.attempt_id().to_string();
        let Some(answer) = rejection::answer(head, new_id) else { return false };
        self.instead = answer.into();
        self.activity.abandon();
        true
    }

    fn poll_write_instead(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.instead.is_empty() {
            let written = Pin::new(&mut self.stream).poll_write(context, &self.instead);
            let bytes = ready!(self.written(context, written))?;
            self.instead.advance(bytes);
        }
        Poll::Ready(Ok(()))
    }

    /// Reads and discards bytes that the peer still sends. Ready when the peer stops, or after [`LINGER_BYTES`] or [`LINGER`].
    fn poll_linger(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let ClosingStage::Lingering { timer, room } = &mut self.closing else { return Poll::Ready(()) };
        let mut scratch = [0; 16 << 10];
        while *room > 0 && timer.as_mut().poll(context).is_pending() {
            let mut buffer = ReadBuf::new(&mut scratch);
            let read = ready!(Pin::new(&mut self.stream).poll_read(context, &mut buffer));
            match buffer.filled().len() {
                0 => break,
                _ if read.is_err() => break,
                bytes => *room = room.saturating_sub(bytes),
            }
        }
        self.closing = ClosingStage::Done;
        Poll::Ready(())
    }
}

impl AsyncRead for TimedStream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        match Pin::new(&mut this.stream).poll_read(context, buffer) {
            Poll::Ready(read) => {
                if buffer.filled().len() > before {
                    this.activity.mark_received();
                }
                Poll::Ready(read)
            }
            Poll::Pending => Poll::Ready(Err(ready!(this.poll_too_late(context)))),
        }
    }
}

impl AsyncWrite for TimedStream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_write_instead(context))?;
        if this.replace_rejection(bytes) {
            return Poll::Ready(Ok(bytes.len()));
        }
        let written = Pin::new(&mut this.stream).poll_write(context, bytes);
        this.written(context, written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_write_instead(context))?;
        if let [head] = slices
            && this.replace_rejection(head)
        {
            return Poll::Ready(Ok(head.len()));
        }
        let written = Pin::new(&mut this.stream).poll_write_vectored(context, slices);
        this.written(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// Flushes. Everything written is then in the operating system's buffer, so the gateway no longer waits for the peer.
    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_write_instead(context))?;
        ready!(Pin::new(&mut this.stream).poll_flush(context))?;
        this.writing.pause();
        this.flushed = true;
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_write_instead(context))?;
        if matches!(this.closing, ClosingStage::Open) {
            ready!(Pin::new(&mut this.stream).poll_shutdown(context))?;
            this.closing = if this.activity.is_abandoned() {
                ClosingStage::Lingering { timer: timer(&this.clock, LINGER), room: LINGER_BYTES }
            } else {
                ClosingStage::Done
            };
        }
        this.poll_linger(context).map(Ok)
    }
}
