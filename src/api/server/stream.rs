//! The bytes of one connection: given up when the peer brings no request in time, or does not take its answer.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::activity::{Activity, Phase};
use super::pace::{Pace, Timer, timer};
use crate::clock::Clock;

/// Unsent bytes that the operating system takes in, so that it is known soon whether the peer takes them.
const UNSENT: u32 = 64 << 10;

/// How long a connection may go without a request.
#[derive(Debug, Clone, Copy)]
pub(super) struct ReadLimits {
    /// From the first byte of a request's head to its end.
    pub head: Duration,
    /// Between requests.
    pub idle: Duration,
}

/// A connection's stream with its time limits.
pub(super) struct TimedStream {
    stream: TcpStream,
    clock: Arc<dyn Clock>,
    activity: Arc<Activity>,
    limits: ReadLimits,
    /// The limit that runs now, if there is one.
    limit: Option<((Phase, u64), Timer)>,
    writing: Pace,
}

impl TimedStream {
    pub fn new(
        stream: TcpStream,
        clock: Arc<dyn Clock>,
        activity: Arc<Activity>,
        limits: ReadLimits,
        writing: Pace,
    ) -> Self {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "a connection without TCP_NODELAY");
        }
        if let Err(error) = SockRef::from(&stream).set_tcp_notsent_lowat(UNSENT) {
            tracing::debug!(%error, "a connection without TCP_NOTSENT_LOWAT");
        }
        Self { stream, clock, activity, limits, limit: None, writing }
    }

    /// Ready when the peer has taken too long to bring a request.
    fn poll_too_late(&mut self, context: &mut Context<'_>) -> Poll<io::Error> {
        self.activity.reader_waits(context.waker());
        let phase = self.activity.phase();
        // An answer that is still on its way is no idleness.
        if phase.0 == Phase::Busy || self.writing.is_running() {
            self.limit = None;
            return Poll::Pending;
        }
        let (time, told) = match phase.0 {
            Phase::Idle => (self.limits.idle, "no further request came in time"),
            _ => (self.limits.head, "the head of a request did not come in time"),
        };
        if self.limit.as_ref().is_none_or(|(running, _)| *running != phase) {
            self.limit = Some((phase, timer(&self.clock, time)));
        }
        if let Some((_, timer)) = &mut self.limit {
            ready!(timer.as_mut().poll(context));
        }
        Poll::Ready(io::Error::new(io::ErrorKind::TimedOut, told))
    }

    /// What a write came to; one that waits is given up when the peer takes too little.
    fn written(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        match written {
            Poll::Ready(Ok(bytes)) => {
                self.writing.moved(bytes as u64);
                Poll::Ready(Ok(bytes))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => {
                ready!(self.writing.poll_too_slow(context));
                // What lies in the operating system's buffers would be kept for as long again.
                if let Err(error) = self.stream.set_zero_linger() {
                    tracing::debug!(%error, "a connection that lingers");
                }
                let told = "the client did not take its answer in time";
                Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, told)))
            }
        }
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
                    this.activity.received();
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
        let written = Pin::new(&mut this.stream).poll_write(context, bytes);
        this.written(context, written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write_vectored(context, slices);
        this.written(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// The operating system has all that was written: the peer is not waited for.
    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(Pin::new(&mut this.stream).poll_flush(context))?;
        this.writing.pause();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}
