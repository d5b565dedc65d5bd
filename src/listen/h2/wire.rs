//! A connection's bytes on their way to and from h2: counted, never altered.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::progress::Progress;

/// The stream that h2 reads and writes.
#[derive(Debug)]
pub(super) struct Wire<S> {
    stream: S,
    progress: Arc<Progress>,
    /// Whether the client has said all.
    ended: bool,
}

impl<S> Wire<S> {
    pub(super) fn new(stream: S, progress: Arc<Progress>) -> Self {
        Self { stream, progress, ended: false }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Wire<S> {
    /// The end of what the client says is held back while requests are in hand: h2 would let go
    /// of them, and a client that has only closed its side would never hear that its event is
    /// stored.
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.ended {
            let (before, room) = (buf.filled().len(), buf.remaining());
            ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
            let arrived = buf.filled().get(before..).unwrap_or_default();
            if !arrived.is_empty() || room == 0 {
                return Poll::Ready(self.progress.arrived(arrived).map_err(io::Error::other));
            }
            // Those that h2 has just read are handed over before it asks again.
            self.ended = true;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if self.progress.is_quiet(cx.waker()) { Poll::Ready(Ok(())) } else { Poll::Pending }
    }
}

/// Only a flush says that the client takes what is written: TLS has a buffer of its own.
impl<S: AsyncWrite + Unpin> AsyncWrite for Wire<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(cx, buf);
        if result.is_pending() {
            self.progress.blocked(true);
        }
        result
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        if result.is_pending() {
            self.progress.blocked(true);
        }
        result
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.stream).poll_flush(cx);
        self.progress.blocked(result.is_pending());
        result
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.progress.blocked(result.is_pending());
        result
    }
}
