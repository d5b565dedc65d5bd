//! The record of one refusal: for now a structured log line.

use std::borrow::Cow;
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
    /// The other end of the connection, where that is not the client.
    pub peer: Option<IpAddr>,
    /// Its method.
    pub method: &'a str,
    /// Its path, without the query.
    pub path: &'a str,
    /// What the sender calls itself.
    pub user_agent: &'a [u8],
    /// Length of its body, as far as it is known: what was read, or what was declared.
    pub size: u64,
    /// The answer's status; 0: none, the connection was closed before HTTP.
    pub status: u16,
    /// From the end of its headers to the answer.
    pub duration: Duration,
    /// What was agreed on for its connection, if that is TLS.
    pub tls: Option<&'a TlsSession>,
}

impl Refused<'_> {
    /// Writes the record. Who may write it is for [`super::Refusals`] to say.
    pub(super) fn tell(&self) {
        tracing::warn!(
            target: "hookward::request",
            status = self.status,
            reason = self.reason.as_str(),
            detail = self.detail,
            source = self.source.map_or("", SourceName::as_str),
            client = %Client(self.client),
            peer = self.peer.map(tracing::field::display),
            tls = self.tls.map(|session| session.version),
            server_name = ServerName::of(self.tls),
            method = &*bounded::<32>(self.method.as_bytes()),
            path = &*bounded::<256>(self.path.as_bytes()),
            user_agent = &*bounded::<128>(self.user_agent),
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
        f.write_str(&bounded::<128>(self.0.as_bytes()))
    }
}

/// Whole microseconds, for a log field.
pub fn micros(d: Duration) -> u64 {
    u64::try_from(d.as_micros()).unwrap_or(u64::MAX)
}

/// At most `N` bytes that a stranger chose, as text that a log line may hold as a string: control
/// characters of ASCII and quotes are left for the line's format to escape, which each does in its
/// own way; of the rest only letters and digits are shown, so that nothing steers a terminal.
fn bounded<const N: usize>(bytes: &[u8]) -> Cow<'_, str> {
    let cut = bytes.get(..N).filter(|cut| cut.len() < bytes.len());
    let text = String::from_utf8_lossy(cut.unwrap_or(bytes));
    let is_plain = |c: char| c.is_ascii() || c.is_alphanumeric();
    if cut.is_none() && text.chars().all(is_plain) {
        return text;
    }
    let plain = text.chars().map(|c| if is_plain(c) { c } else { char::REPLACEMENT_CHARACTER });
    let dots = if cut.is_some() { "..." } else { "" };
    Cow::Owned(plain.chain(dots.chars()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_stranger_chose_is_bounded_and_steers_no_terminal() {
        for (bytes, text) in [
            (b"/a?b".as_slice(), "/a?b"),
            (b"/abcdefgh", "/abcdefg..."),
            ("/\u{fc}\u{fc}".as_bytes(), "/\u{fc}\u{fc}"),
            ("/\u{9b}2J\u{202e}".as_bytes(), "/\u{fffd}2J\u{fffd}"),
            (b"/\xff", "/\u{fffd}"),
            ("/abcdef\u{fc}".as_bytes(), "/abcdef\u{fffd}..."),
        ] {
            assert_eq!(bounded::<8>(bytes), text);
        }
        assert!(matches!(bounded::<8>(b"curl"), Cow::Borrowed("curl")));
    }

    fn line(json: bool, user_agent: &[u8]) -> String {
        let refused = Refused {
            reason: Reason::UnknownRoute,
            detail: "",
            source: None,
            client: None,
            peer: None,
            method: "GET",
            path: "/",
            user_agent,
            size: 0,
            status: 404,
            duration: Duration::ZERO,
            tls: None,
        };
        let line = crate::log::testing::lines(json, || refused.tell());
        assert_eq!(line.lines().count(), 1, "{line}");
        line
    }

    /// It was escaped for us, and then again for JSON, so that nobody found it as it was sent.
    #[test]
    fn what_a_stranger_chose_is_escaped_once() {
        let sent = b"a \"quoted\" \\ back\x1b[2J\tend";
        let json: serde_json::Value = serde_json::from_str(&line(true, sent)).unwrap();
        assert_eq!(json["user_agent"].as_str().unwrap().as_bytes(), sent);
        let text = line(false, sent);
        let escaped = r#"user_agent="a \"quoted\" \\ back\u{1b}[2J\tend""#;
        assert!(text.contains(escaped), "{text}");
    }

    #[test]
    fn an_address_that_cannot_be_told_is_unknown() {
        assert_eq!(Client(None).to_string(), "unknown");
        assert_eq!(Client(Some([127, 0, 0, 1].into())).to_string(), "127.0.0.1");
    }
}
