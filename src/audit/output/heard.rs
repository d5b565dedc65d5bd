//! A connection to somebody who has little to say: what comes back is bounded, so that a peer that never
//! stops talking costs nothing.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::config::defaults::audit::MAX_HEARD;

/// A stream of which only so much is read, of TLS and all that is below it.
#[derive(Debug)]
pub(super) struct Heard<S> {
    stream: S,
    left: usize,
}

impl<S> Heard<S> {
    /// Of this stream [`MAX_HEARD`] bytes are read, however long it stands.
    pub(super) fn new(stream: S) -> Self {
        Self { stream, left: MAX_HEARD }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Heard<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.left == 0 {
            let why = format!("it says more than {MAX_HEARD} bytes, which nobody asked for");
            return Poll::Ready(Err(io::Error::other(why)));
        }
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        self.left = self.left.saturating_sub(buf.filled().len().saturating_sub(before));
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Heard<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::*;

    #[tokio::test]
    async fn so_much_is_read_and_no_more_and_writing_goes_on() {
        let (ours, mut theirs) = duplex(4 * MAX_HEARD);
        theirs.write_all(&vec![b'x'; 3 * MAX_HEARD]).await.unwrap();
        let mut heard = Heard::new(ours);
        let (mut read, mut chunk) = (0, [0; 1000]);
        let error = loop {
            let next =
                tokio::time::timeout(std::time::Duration::from_secs(20), heard.read(&mut chunk));
            match next.await.expect("no more than that is read") {
                Ok(some) => read += some,
                Err(error) => break error,
            }
        };
        assert!((MAX_HEARD..MAX_HEARD + chunk.len()).contains(&read), "{read}");
        assert!(error.to_string().contains("nobody asked for"), "{error}");
        heard.write_all(b"y").await.unwrap();
        let mut said = [0];
        theirs.read_exact(&mut said).await.unwrap();
        assert_eq!(said, *b"y");
    }
}
