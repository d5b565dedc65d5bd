//! TLS on the public listener.

use std::io;

use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use super::TlsSession;

/// Makes TLS out of TCP connections.
#[derive(Debug)]
pub struct Acceptor(());

impl Acceptor {
    /// The handshake.
    ///
    /// # Errors
    /// When the client does not manage it.
    pub(super) async fn accept(
        &self,
        _stream: TcpStream,
    ) -> io::Result<(TlsStream<TcpStream>, TlsSession)> {
        Err(io::ErrorKind::Unsupported.into())
    }
}
