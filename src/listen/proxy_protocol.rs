//! The PROXY protocol, versions 1 and 2: who a trusted proxy says is calling.

use std::io;
use std::net::SocketAddr;

use tokio::net::TcpStream;

use super::Settings;

/// Reads the header that the connection must begin with, and nothing behind it. Whom it names;
/// `None` when the proxy speaks for itself (`LOCAL`, `UNKNOWN`).
///
/// # Errors
/// When the peer is not trusted, or what it sends is no PROXY header.
pub(super) async fn read(
    _stream: &mut TcpStream,
    _peer: SocketAddr,
    _settings: &Settings,
) -> io::Result<Option<SocketAddr>> {
    Err(io::ErrorKind::Unsupported.into())
}
