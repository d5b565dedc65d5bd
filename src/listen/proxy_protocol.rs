//! The PROXY protocol, versions 1 and 2: who a trusted proxy says is calling
//! (<https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt>).
//!
//! Where it is asked for, every connection must begin with a header and only trusted peers may
//! send one; anything else is closed without an answer. The header is read to its last byte and
//! not beyond: what follows belongs to TLS or HTTP. Nothing is guessed and nothing mended.

mod v1;
mod v2;

#[cfg(test)]
mod tests;

use std::net::SocketAddr;

use tokio::io::{AsyncRead, AsyncReadExt};

use super::{Origin, Settings};
use crate::audit::{Reason, Refusals, Refused};

/// Bytes by which the versions can be told apart. No header is shorter.
const PREFIX: usize = v2::SIGNATURE.len();

/// A header, as it was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Whose connection the proxy passes on. `None`: it speaks for itself (`LOCAL`), or for
    /// somebody it has no IP address of (`UNKNOWN`, `AF_UNSPEC`, `AF_UNIX`).
    pub source: Option<SocketAddr>,
    /// Bytes that the header takes.
    pub len: usize,
}

/// Why a connection is closed. All of it is the peer's to mend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderError {
    /// The peer is none of `trusted_proxies`.
    NotTrusted,
    /// The connection has ended before the header has.
    Cut,
    /// It does not begin with a header.
    Absent,
    /// Longer than the version allows.
    TooLong,
    /// Version 1: not the words, single spaces and line end that it consists of.
    Line,
    /// Version 1: an address or a port that is none.
    Address,
    /// Version 2: a version or command that does not exist.
    Command,
    /// Version 2: an address family with a transport that does not exist.
    Family,
    /// Version 2: datagrams.
    Datagram,
    /// Version 2: too short for its addresses, or additional fields that do not fill it.
    Length,
    /// Version 2: a checksum that is wrong, or two.
    Checksum,
}

impl HeaderError {
    /// For our own log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotTrusted => "the peer is none of trusted_proxies",
            Self::Cut => "the connection ended before its PROXY header",
            Self::Absent => "no PROXY header",
            Self::TooLong => "PROXY header: too long",
            Self::Line => "PROXY header: malformed line",
            Self::Address => "PROXY header: an address or port that is none",
            Self::Command => "PROXY header: unknown version or command",
            Self::Family => "PROXY header: unknown address family or transport",
            Self::Datagram => "PROXY header: datagrams",
            Self::Length => "PROXY header: lengths that do not add up",
            Self::Checksum => "PROXY header: wrong checksum",
        }
    }
}

enum Version {
    One,
    Two,
}

impl Version {
    /// What a header that begins so is of. `None`: of neither, or not enough to tell.
    fn of(bytes: &[u8]) -> Option<Self> {
        match bytes.get(..PREFIX)? {
            v2::SIGNATURE => Some(Self::Two),
            prefix if prefix.starts_with(v1::START) => Some(Self::One),
            _ => None,
        }
    }
}

/// The header at the beginning of `bytes`. What follows it is not looked at.
///
/// # Errors
/// [`HeaderError::Cut`] when more bytes are needed, else what is wrong.
pub fn parse(bytes: &[u8]) -> Result<Header, HeaderError> {
    match Version::of(bytes) {
        None if bytes.len() < PREFIX => Err(HeaderError::Cut),
        None => Err(HeaderError::Absent),
        Some(Version::One) => v1::parse(bytes),
        Some(Version::Two) => v2::parse(bytes),
    }
}

/// Reads the header that the connection must begin with, and nothing behind it. Whom it names;
/// `None`: nobody. Does not bound the time.
///
/// # Errors
/// When the peer is not trusted, or does not send a header; that is recorded already.
pub(super) async fn read<S: AsyncRead + Unpin>(
    stream: &mut S,
    peer: SocketAddr,
    settings: &Settings,
) -> Result<Option<SocketAddr>, HeaderError> {
    let header = if settings.trusts(peer.ip()) {
        read_header(stream).await
    } else {
        Err(HeaderError::NotTrusted)
    };
    match header {
        Ok(header) => Ok(header.source),
        Err(error) => {
            report(error, peer, &settings.refusals);
            Err(error)
        }
    }
}

/// Reads one header in steps that never go beyond its end.
pub(crate) async fn read_header<S: AsyncRead + Unpin>(
    stream: &mut S,
) -> Result<Header, HeaderError> {
    let mut buffer = Buffer { bytes: [0; v2::MAX_HEADER], len: 0 };
    loop {
        let read = buffer.filled();
        let missing = match Version::of(read) {
            None => PREFIX.saturating_sub(read.len()),
            Some(Version::One) => v1::missing(read),
            Some(Version::Two) => v2::missing(read),
        };
        if missing == 0 {
            return parse(read);
        }
        buffer.read(stream, missing).await?;
    }
}

struct Buffer {
    bytes: [u8; v2::MAX_HEADER],
    len: usize,
}

impl Buffer {
    fn filled(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    /// Reads exactly this many more bytes.
    async fn read<S: AsyncRead + Unpin>(
        &mut self,
        stream: &mut S,
        more: usize,
    ) -> Result<(), HeaderError> {
        let end = self.len + more;
        let space = self.bytes.get_mut(self.len..end).ok_or(HeaderError::TooLong)?;
        stream.read_exact(space).await.map_err(|_| HeaderError::Cut)?;
        self.len = end;
        Ok(())
    }
}

/// A connection that is closed here is a refusal like any other. Only a proxy that hangs up by
/// itself is none: many probe a port by that.
fn report(error: HeaderError, peer: SocketAddr, refusals: &Refusals) {
    let reason = match error {
        HeaderError::Cut => {
            tracing::debug!(%peer, detail = error.as_str(), "connection ended");
            return;
        }
        HeaderError::NotTrusted => Reason::IpNotAllowed,
        _ => Reason::ProtocolError,
    };
    let origin = Origin::plain(peer);
    let refused = Refused::connection(reason, error.as_str(), &origin);
    refusals.record(&refused);
}
