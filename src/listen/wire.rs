//! A connection's bytes on their way to and from hyper. What comes in passes [`Framing`] first:
//! whole heads and bodies go on to hyper where they were read to, without a copy; a head that is
//! not complete yet is kept back here, and one with a defect never gets there.

use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

use super::progress::{Entry, Progress};

/// What hyper gets to see of a request whose head has a defect, so that its answer keeps its place
/// behind those before it. It asks for nothing; the handler is told what it stands for.
const STAND_IN: &[u8] = b"GET / HTTP/1.1\r\nHost: gateway\r\nConnection: close\r\n\r\n";

/// The same for a client that expects no body in the answer.
const HEAD_STAND_IN: &[u8] = b"HEAD / HTTP/1.1\r\nHost: gateway\r\nConnection: close\r\n\r\n";

/// What is read at once while a head is not complete.
const READ_AT_ONCE: usize = 2 << 10;

/// For how many bytes a closed connection is still read, so that the client gets to read its
/// answer: closing with bytes unread resets the connection, and the answer is lost.
const LINGER_BYTES: usize = 8 << 20;

/// The stream that hyper reads and writes.
#[derive(Debug)]
pub(super) struct Wire<S> {
    stream: S,
    progress: Arc<Progress>,
    /// What was read and not handed on: first what may pass, then the beginning of a head.
    held: BytesMut,
    /// How much of it may pass.
    cleared: usize,
    /// Whether the defective request's stand-in was put in its place.
    stood_in: bool,
    /// Whether the client does not take what is written.
    blocked: bool,
    lingered: usize,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    pub(super) fn new(stream: S, progress: Arc<Progress>) -> Self {
        let held = BytesMut::new();
        Self { stream, progress, held, cleared: 0, stood_in: false, blocked: false, lingered: 0 }
    }

    /// Hands on what may pass.
    fn give(&mut self, buf: &mut ReadBuf<'_>) {
        let length = self.cleared.min(buf.remaining());
        buf.put_slice(self.held.get(..length).unwrap_or_default());
        self.held.advance(length);
        self.cleared -= length;
        if self.held.is_empty() {
            self.held = BytesMut::new();
        }
    }

    /// Puts the stand-in where the defective head was.
    fn stand_in(&mut self, head: bool) {
        let bytes = if head { HEAD_STAND_IN } else { STAND_IN };
        self.held = BytesMut::from(bytes);
        self.cleared = bytes.len();
        self.stood_in = true;
    }

    /// Reads where hyper wants the bytes, and takes back what must not get there yet. Ready with
    /// false: there is nothing for hyper in it.
    fn poll_read_through(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<bool>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        let arrived = buf.filled().get(before..).unwrap_or_default();
        if arrived.is_empty() {
            return Poll::Ready(Ok(true));
        }
        let (passed, keep) = self.progress.arrived(arrived);
        if passed < arrived.len() {
            let kept = arrived.get(passed..).filter(|_| keep).unwrap_or_default();
            self.held = BytesMut::from(kept);
            buf.set_filled(before + passed);
        }
        Poll::Ready(Ok(passed > 0))
    }

    /// Goes on with the head whose beginning is held. Ready with false: the client has ended.
    fn poll_read_head(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        self.held.reserve(READ_AT_ONCE);
        let read = pin!(self.stream.read_buf(&mut self.held)).poll(cx);
        if ready!(read)? == 0 {
            return Poll::Ready(Ok(false));
        }
        let (passed, keep) = self.progress.arrived(&self.held);
        self.cleared = passed;
        if !keep {
            self.held.truncate(passed);
        }
        Poll::Ready(Ok(true))
    }

    /// Notes whether the client takes what is written, as far as it is known.
    fn note<T>(&mut self, result: &Poll<T>) {
        if result.is_pending() && !self.blocked {
            self.blocked = true;
            self.progress.blocked();
        }
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
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            if this.cleared > 0 {
                this.give(buf);
                return Poll::Ready(Ok(()));
            }
            match this.progress.entry(&this.held) {
                Entry::Open => {}
                Entry::BadHead { .. } if this.stood_in => return Poll::Ready(Ok(())),
                Entry::BadHead { head } => {
                    this.stand_in(head);
                    continue;
                }
                Entry::BadBody(defect) => {
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, defect)));
                }
            }
            if !this.held.is_empty() {
                if !ready!(this.poll_read_head(cx))? {
                    this.held = BytesMut::new();
                    return Poll::Ready(Ok(()));
                }
            } else if ready!(this.poll_read_through(cx, buf))? {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Wire<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.note(&result);
        result
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.note(&result);
        result
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// hyper flushes when it has written all there is: only then has the client caught up.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.stream).poll_flush(cx);
        self.note(&result);
        if result.is_ready() && self.blocked {
            self.blocked = false;
            self.progress.caught_up();
        }
        result
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.progress.lingers() {
            let result = Pin::new(&mut self.stream).poll_shutdown(cx);
            self.note(&result);
            ready!(result)?;
            if !self.progress.linger() {
                return Poll::Ready(Ok(()));
            }
        }
        ready!(self.poll_linger(cx));
        Poll::Ready(Ok(()))
    }
}
