//! A connection's bytes on their way to and from hyper, and what they tell: how far the request
//! is, when the client must have moved on, and whether something was left unread.
//!
//! hyper's own header timeout would cover the idle time as well and costs a timer a request;
//! here the times are only noted, and [`super::connection`] keeps one timer for all of them.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::framing::{Defect, Framing};

/// How long and for how many bytes a closed connection is still read, so that the client gets to
/// read its answer: closing with bytes unread resets the connection, and the answer is lost.
const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES: usize = 8 << 20;

/// How long a client may take for each step.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// From accepting to the end of the PROXY header and the TLS handshake.
    pub handshake: Duration,
    /// To the first byte, and from there to the end of the headers.
    pub header: Duration,
    /// To take what is written.
    pub write: Duration,
    /// Between an answer and the next request.
    pub idle: Duration,
}

/// How far a connection is. Shared by its wire, its requests and its timer, all in one task.
#[derive(Debug)]
pub(super) struct Progress(Mutex<State>);

#[derive(Debug)]
struct State {
    framing: Framing,
    /// Requests that were handed to the handler.
    taken: u64,
    /// Requests that it has answered.
    answered: u64,
    /// When the connection was opened, or the last answer was given.
    since: Instant,
    /// Since when the client has not taken what was written.
    blocked: Option<Instant>,
    /// When writing was over and the rest of what the client sends is being dropped.
    lingering: Option<Instant>,
}

/// What the listener knows of a request beside hyper's head.
#[derive(Clone, Copy, Debug)]
pub(super) struct Turn {
    /// Its number on the connection, counted from 1.
    pub(super) number: u64,
    /// What is ambiguous about it.
    pub(super) defect: Option<Defect>,
}

impl Progress {
    pub(super) fn new() -> Self {
        Self(Mutex::new(State {
            framing: Framing::default(),
            taken: 0,
            answered: 0,
            since: Instant::now(),
            blocked: None,
            lingering: None,
        }))
    }

    /// The next request has come.
    pub(super) fn begin(&self) -> Turn {
        let mut state = self.0.lock();
        state.taken += 1;
        let number = state.taken;
        Turn { number, defect: state.framing.defect(number) }
    }

    /// The request has an answer. Whether the connection must end with it.
    pub(super) fn answer(&self, turn: Turn) -> bool {
        let mut state = self.0.lock();
        let now = Instant::now();
        state.answered += 1;
        state.since = now;
        state.framing.restart_head(now);
        state.framing.is_last(turn.number)
    }

    /// When the connection is to be closed unless something happens before. `None` while a
    /// request is being answered: the handler has a deadline of its own.
    pub(super) fn due(&self, timeouts: &Timeouts) -> Option<Instant> {
        let state = self.0.lock();
        if let Some(since) = state.lingering {
            return Some(since + LINGER);
        }
        if let Some(since) = state.blocked {
            return Some(since + timeouts.write);
        }
        if state.taken > state.answered {
            return None;
        }
        let patience = if state.taken == 0 { timeouts.header } else { timeouts.idle };
        Some(state.framing.head_due(timeouts.header).unwrap_or(state.since + patience))
    }
}

/// The stream that hyper reads and writes.
#[derive(Debug)]
pub(super) struct Wire<S> {
    stream: S,
    progress: Arc<Progress>,
    lingered: usize,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    pub(super) fn new(stream: S, progress: Arc<Progress>) -> Self {
        Self { stream, progress, lingered: 0 }
    }

    /// Notes whether the client takes what is written.
    fn written<T>(&self, result: Poll<T>) -> Poll<T> {
        let mut state = self.progress.0.lock();
        match result {
            Poll::Ready(_) => state.blocked = None,
            Poll::Pending => {
                state.blocked.get_or_insert_with(Instant::now);
            }
        }
        result
    }

    /// Reads what the client still sends, and drops it.
    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut space = [0; 8 << 10];
        while self.lingered < LINGER_BYTES {
            let mut dropped = ReadBuf::new(&mut space);
            let read = ready!(Pin::new(&mut self.stream).poll_read(cx, &mut dropped));
            if read.is_err() || dropped.filled().is_empty() {
                break;
            }
            self.lingered += dropped.filled().len();
        }
        Poll::Ready(())
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Wire<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        let arrived = buf.filled().get(before..).unwrap_or_default();
        self.progress.0.lock().framing.take(arrived);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Wire<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.written(result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.written(result)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // TLS may hold what was written until the client takes it.
        let result = Pin::new(&mut self.stream).poll_flush(cx);
        self.written(result)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let begun = self.progress.0.lock().lingering.is_some();
        if !begun {
            let result = Pin::new(&mut self.stream).poll_shutdown(cx);
            ready!(self.written(result))?;
            let mut state = self.progress.0.lock();
            if !state.framing.is_unread() {
                return Poll::Ready(Ok(()));
            }
            state.lingering = Some(Instant::now());
        }
        ready!(self.poll_linger(cx));
        Poll::Ready(Ok(()))
    }
}
