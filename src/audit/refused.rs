//! The record of one refusal: for now a structured log line.

use std::net::IpAddr;
use std::time::Duration;

use tracing::field::{DisplayValue, display};

use super::Reason;
use crate::event::SourceName;
use crate::listen::TlsSession;

/// What is kept of a request that was refused. Nothing in it is a credential or payload, and
/// whatever the sender chose is bounded and escaped.
#[derive(Debug)]
pub struct Refused<'a> {
    /// Why, by its public name.
    pub reason: Reason,
    /// Why exactly. Fixed text.
    pub detail: &'static str,
    /// Whose endpoint it was sent to; `None` for an unknown route.
    pub source: Option<&'a SourceName>,
    /// Who sent it; `None`: it cannot be told.
    pub client: Option<IpAddr>,
    /// Its method.
    pub method: &'a str,
    /// Its path, without the query.
    pub path: &'a str,
    /// What the sender calls itself.
    pub user_agent: &'a [u8],
    /// Length of its body, as far as it is known: what was read, or what was declared.
    pub size: u64,
    /// The answer's status.
    pub status: u16,
    /// From the end of its headers to the answer.
    pub duration: Duration,
    /// What was agreed on for its connection, if that is TLS.
    pub tls: Option<&'a TlsSession>,
}

impl Refused<'_> {
    /// Writes the record.
    pub fn record(&self) {
        tracing::warn!(
            target: "hookward::request",
            status = self.status,
            reason = self.reason.as_str(),
            detail = self.detail,
            source = self.source.map_or("", SourceName::as_str),
            client = %Client(self.client),
            tls = self.tls.map(|session| session.version),
            server_name = ServerName::of(self.tls),
            method = %Bounded::<32>(self.method.as_bytes()),
            path = %Bounded::<256>(self.path.as_bytes()),
            user_agent = %Bounded::<128>(self.user_agent),
            size = self.size,
            duration_us = micros(self.duration),
            "refused"
        );
    }
}

/// An address, or `unknown`.
#[derive(Clone, Copy, Debug)]
pub struct Client(pub Option<IpAddr>);

impl std::fmt::Display for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some(ip) => ip.fmt(f),
            None => f.write_str("unknown"),
        }
    }
}

/// The name that a client asked for in its TLS handshake, for a log field.
#[derive(Clone, Copy, Debug)]
pub struct ServerName<'a>(&'a str);

impl<'a> ServerName<'a> {
    /// `None` without TLS, or when the client asked for none: then there is no field.
    pub fn of(tls: Option<&'a TlsSession>) -> Option<DisplayValue<Self>> {
        tls?.server_name.as_deref().map(|name| display(Self(name)))
    }
}

impl std::fmt::Display for ServerName<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        Bounded::<128>(self.0.as_bytes()).fmt(f)
    }
}

/// Whole microseconds, for a log field.
pub fn micros(d: Duration) -> u64 {
    u64::try_from(d.as_micros()).unwrap_or(u64::MAX)
}

/// At most `N` bytes that a stranger chose, with everything but printable ASCII escaped.
struct Bounded<'a, const N: usize>(&'a [u8]);

impl<const N: usize> std::fmt::Display for Bounded<'_, N> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let shown = self.0.get(..N).unwrap_or(self.0);
        shown.escape_ascii().fmt(f)?;
        if shown.len() < self.0.len() { f.write_str("...") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_stranger_chose_is_bounded_and_escaped() {
        assert_eq!(Bounded::<8>(b"/a\x1b[2J\n").to_string(), "/a\\x1b[2J\\n");
        assert_eq!(Bounded::<4>(b"/abcdef").to_string(), "/abc...");
        assert_eq!(Bounded::<4>("/üü".as_bytes()).to_string(), "/\\xc3\\xbc\\xc3...");
    }

    #[test]
    fn an_address_that_cannot_be_told_is_unknown() {
        assert_eq!(Client(None).to_string(), "unknown");
        assert_eq!(Client(Some([127, 0, 0, 1].into())).to_string(), "127.0.0.1");
    }
}
