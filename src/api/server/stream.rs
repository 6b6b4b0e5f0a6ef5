//! The bytes of one connection: given up when the peer brings no request in time, or does not take its answer, and
//! closed in a way that lets a peer which is still sending read its answer.

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
    activity: Arc<ConnectionActivity>,
    limits: ReadLimits,
    /// The limit that runs now, if there is one.
    limit: Option<((ConnectionPhase, u64), TransferTimer)>,
    writing: TransferPace,
    /// Whether all that was written has been flushed, so that an answer begins next if none is on its way.
    flushed: bool,
    random: Arc<Random>,
    /// What is written instead of an answer of hyper's own, as far as it is not written yet.
    instead: Bytes,
    closing: ClosingStage,
}

/// How far a connection is closed.
enum ClosingStage {
    /// Not yet.
    Open,
    /// Nothing more is sent; what the peer still sends is read and dropped, up to so many bytes.
    Lingering { timer: TransferTimer, room: usize },
    /// Nothing is waited for.
    Done,
}

/// How long a peer that is still sending is read on after its answer: if the connection were closed at once, the
/// operating system would answer what comes with a reset, and the peer might lose the answer by it.
const LINGER: Duration = Duration::from_secs(2);
/// How many bytes are read and dropped meanwhile.
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
            tracing::debug!(%error, "a connection without TCP_NODELAY");
        }
        if let Err(error) = SockRef::from(&stream).set_tcp_notsent_lowat(UNSENT) {
            tracing::debug!(%error, "a connection without TCP_NOTSENT_LOWAT");
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

    /// Ready when the peer has taken too long to bring a request.
    fn poll_too_late(&mut self, context: &mut Context<'_>) -> Poll<io::Error> {
        self.activity.reader_waits(context.waker());
        let phase = self.activity.phase();
        // An answer that is still on its way is no idleness.
        if phase.0 == ConnectionPhase::Busy || self.writing.is_running() {
            self.limit = None;
            return Poll::Pending;
        }
        let (time, told) = match phase.0 {
            ConnectionPhase::Idle => (self.limits.idle, "no further request came in time"),
            _ => (self.limits.head, "the head of a request did not come in time"),
        };
        if self.limit.as_ref().is_none_or(|(running, _)| *running != phase) {
            self.limit = Some((phase, timer(&self.clock, time)));
        }
        if let Some((_, timer)) = &mut self.limit {
            ready!(timer.as_mut().poll(context));
        }
        self.limit = None;
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
                self.flushed = false;
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

    /// Takes an answer that hyper gives by itself, to write one of ours instead; whether it was one.
    fn replaces(&mut self, head: &[u8]) -> bool {
        // Elsewhere than at its beginning, an answer may have any bytes.
        if !self.flushed || self.activity.is_answering() {
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

    /// Reads and drops what the peer still sends; ready when it sends no more, or too much or for too long.
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
        ready!(this.poll_write_instead(context))?;
        if this.replaces(bytes) {
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
            && this.replaces(head)
        {
            return Poll::Ready(Ok(head.len()));
        }
        let written = Pin::new(&mut this.stream).poll_write_vectored(context, slices);
        this.written(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// The operating system has all that was written: the peer is not waited for.
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
