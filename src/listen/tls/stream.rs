//! A TLS connection as HTTP sees it: ends of it are told apart as little as those of TCP.

use std::io::{self, Write};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

/// A connection after its handshake.
///
/// It can be closed in one direction: a client that has said all still gets its answer. One that
/// closes TCP without saying so in TLS (`close_notify`) is taken at its word as well: HTTP knows by
/// itself whether a request was cut off, which is what the alert is there for (RFC 9112,
/// section 9.8).
#[derive(Debug)]
pub(in crate::listen) struct Stream {
    inner: TlsStream<TcpStream>,
    /// Whether our side has been closed.
    closed: bool,
}

impl Stream {
    pub(super) fn new(inner: TlsStream<TcpStream>) -> Self {
        Self { inner, closed: false }
    }
}

/// Whoever lets go of a connection that stands idle or is told to go does not wait for its end.
/// The client still learns that it has got everything, if its socket takes the few bytes at once.
impl Drop for Stream {
    fn drop(&mut self) {
        if self.closed {
            return;
        }
        let (stream, session) = self.inner.get_mut();
        session.send_close_notify();
        while session.wants_write() {
            if !matches!(session.write_tls(&mut AtOnce(stream)), Ok(1..)) {
                return;
            }
        }
    }
}

struct AtOnce<'a>(&'a TcpStream);

impl Write for AtOnce<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match ready!(Pin::new(&mut self.inner).poll_read(cx, buf)) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Poll::Ready(Ok(())),
            read => Poll::Ready(read),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.closed = true;
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
