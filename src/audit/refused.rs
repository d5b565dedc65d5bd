//! One refusal, as it is handed over to be recorded, and its log line.

use std::borrow::Cow;
use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderValue;
use serde_json::Value;
use tracing::field::{DisplayValue, display};

use super::Reason;
use crate::event::{EventId, SourceName};
use crate::listen::{Listener, Origin, TlsSession};

/// A request that was refused. Of its credential and its body nothing is recorded but a keyed fingerprint
/// and a hash, and whatever else the sender chose is bounded and escaped.
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
    /// Where it came in.
    pub listener: Listener,
    /// Whose credential it showed, where that was right and was not enough.
    pub who: Option<&'a str>,
    /// Length of its body that was declared.
    pub declared: Option<u64>,
    /// Length of its body, as far as it is known: what was read, or what was declared.
    pub size: u64,
    /// Its body as far as it was read; `None`: none of it was asked for.
    pub body: Option<Bytes>,
    /// The values of the header that its source's credential is in.
    pub credential: &'a [HeaderValue],
    /// The answer's status; 0: none, the connection was closed before HTTP.
    pub status: u16,
    /// From the end of its headers to the answer.
    pub duration: Duration,
    /// What was agreed on for its connection, if that is TLS.
    pub tls: Option<&'a TlsSession>,
}

/// What became of an event with the key of a stored one and other content, by the events' ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// The one that was kept back; `None`: it was dropped, and has none.
    pub event: Option<EventId>,
    /// The stored one whose key it has; `None`: it is not known.
    pub against: Option<EventId>,
}

impl Conflict {
    /// For a record's details.
    pub(super) fn details(self) -> Value {
        let ids = [("event", self.event), ("conflicts_with", self.against)];
        let known = ids
            .into_iter()
            .filter_map(|(name, id)| Some((name.to_owned(), Value::from(id?.to_string()))));
        Value::Object(known.collect())
    }
}

/// Without credential and body.
impl std::fmt::Debug for Refused<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = f.debug_struct("Refused");
        shown.field("reason", &self.reason).field("detail", &self.detail).finish_non_exhaustive()
    }
}

impl<'a> Refused<'a> {
    /// A connection that came to nothing, before or without a request that could be read.
    pub fn connection(reason: Reason, detail: &'static str, origin: &'a Origin) -> Self {
        let client = Some(origin.address());
        Self {
            reason,
            detail,
            source: None,
            client,
            peer: origin.peer_beside(client),
            method: "",
            path: "",
            user_agent: b"",
            listener: origin.listener,
            who: None,
            declared: None,
            size: 0,
            body: None,
            credential: &[],
            status: 0,
            duration: Duration::ZERO,
            tls: origin.tls.as_ref(),
        }
    }

    /// Writes the log line, with the id of the record. Who may write it is for [`super::Refusals`] to say.
    pub(super) fn tell(&self, id: EventId) {
        tracing::warn!(
            target: "hookward::request",
            id = %id,
            status = self.status,
            reason = self.reason.as_str(),
            detail = self.detail,
            source = self.source.map_or("", SourceName::as_str),
            listener = (self.listener != Listener::Public).then(|| self.listener.as_str()),
            who = self.who,
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
/// own way; of the rest only Latin letters are shown, so that nothing steers a terminal. Others may be
/// unseen, wider than they count, or turn round what stands beside them.
pub(super) fn bounded<const N: usize>(bytes: &[u8]) -> Cow<'_, str> {
    let cut = bytes.get(..N).filter(|cut| cut.len() < bytes.len());
    let text = String::from_utf8_lossy(cut.unwrap_or(bytes));
    // JSON has no escape for DEL, and its writers leave it as it is.
    let is_latin = |c: char| matches!(c, '\u{c0}'..='\u{24f}') && c.is_alphabetic();
    let is_plain = |c: char| c.is_ascii() && c != '\u{7f}' || is_latin(c);
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
            // In JSON it reached the log, the trail and operators' terminals as it was.
            (b"/a\x7fb", "/a\u{fffd}b"),
            (b"/\xff", "/\u{fffd}"),
            // Letters that nobody sees, that turn the line round, and that are two columns wide.
            ("/\u{3164}".as_bytes(), "/\u{fffd}"),
            ("/\u{5d0}".as_bytes(), "/\u{fffd}"),
            ("/\u{4e2d}".as_bytes(), "/\u{fffd}"),
            ("/abcdef\u{fc}".as_bytes(), "/abcdef\u{fffd}..."),
        ] {
            assert_eq!(bounded::<8>(bytes), text);
        }
        assert!(matches!(bounded::<8>(b"curl"), Cow::Borrowed("curl")));
    }

    fn line(json: bool, user_agent: &[u8]) -> String {
        let origin = Origin::nowhere();
        let connection = Refused::connection(Reason::UnknownRoute, "", &origin);
        let refused = Refused { client: None, method: "GET", path: "/", user_agent, ..connection };
        let id = EventId::from_bytes([7; 16]);
        let line = crate::log::testing::lines(json, || refused.tell(id));
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
