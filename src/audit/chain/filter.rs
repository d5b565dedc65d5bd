//! Which records are meant: the filters that the API and the commands have in common, how each is
//! written, and the comparison with a record's bytes.

use std::net::IpAddr;

use memchr::memmem;

use super::super::{ACTS, Reason};
use super::bytes::{Frame, Kind};
use super::read::Listed;
use super::record::Record;
use crate::clock::UnixMillis;

/// Bytes at the beginning of a record in which its time stands: its id is in front of it.
const HEAD: usize = 96;
/// The longest id there is.
const MAX_ID: usize = 36;

/// Which records are meant; what is absent does not narrow them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// The record with this id.
    pub id: Option<String>,
    /// Refused for this reason, or this act.
    pub reason: Option<String>,
    /// Sent to this source.
    pub source: Option<String>,
    /// From this client: an address, `unknown` or `many`; of acts, who asked for them: an address, or `admin.sock`.
    pub client: Option<String>,
    /// With a credential of this fingerprint.
    pub credential: Option<String>,
    /// Where it came in: `public`, `admin` or `socket`.
    pub listener: Option<String>,
    /// At this time or later.
    pub since: Option<UnixMillis>,
    /// Before this time.
    pub until: Option<UnixMillis>,
}

/// A filter that is none. What is accepted instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadFilter {
    /// No reason, and no act.
    #[error("one of {}", known_reasons())]
    Reason,
    /// Nobody's address.
    #[error("an IP address, unknown, many, or admin.sock")]
    Client,
    /// No fingerprint.
    #[error("a fingerprint as records have it: 32 hexadecimal digits")]
    Credential,
    /// No listener.
    #[error("public, admin, or socket")]
    Listener,
    /// No record has such an id.
    #[error("what a record has as its id, such as 01946953-e0ac-7000-8000-000000000000")]
    Id,
}

fn known_reasons() -> String {
    let refused = Reason::ALL.map(Reason::as_str);
    [&refused[..], &ACTS[..]].concat().join(", ")
}

/// A reason, or an act, by its public name.
///
/// # Errors
/// [`BadFilter::Reason`].
pub fn reason(text: &str) -> Result<String, BadFilter> {
    let refused = Reason::ALL.map(Reason::as_str);
    let known = refused.iter().chain(&ACTS).any(|known| *known == text);
    if known { Ok(text.to_owned()) } else { Err(BadFilter::Reason) }
}

/// A client as records have it; an address may be written in any form.
///
/// # Errors
/// [`BadFilter::Client`].
pub fn client(text: &str) -> Result<String, BadFilter> {
    if matches!(text, "unknown" | "many" | "admin.sock") {
        return Ok(text.to_owned());
    }
    let address = text.parse::<IpAddr>().map(|ip| ip.to_canonical().to_string());
    address.map_err(|_| BadFilter::Client)
}

/// The fingerprint of a credential; its digits may be of either case.
///
/// # Errors
/// [`BadFilter::Credential`].
pub fn credential(text: &str) -> Result<String, BadFilter> {
    let hex = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if hex { Ok(text.to_ascii_lowercase()) } else { Err(BadFilter::Credential) }
}

/// A listener's name.
///
/// # Errors
/// [`BadFilter::Listener`].
pub fn listener(text: &str) -> Result<String, BadFilter> {
    let known = matches!(text, "public" | "admin" | "socket");
    if known { Ok(text.to_owned()) } else { Err(BadFilter::Listener) }
}

/// A record's id; its digits may be of either case.
///
/// # Errors
/// [`BadFilter::Id`].
pub fn id(text: &str) -> Result<String, BadFilter> {
    let plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    let fits = plain && (1..=MAX_ID).contains(&text.len());
    if fits { Ok(text.to_ascii_lowercase()) } else { Err(BadFilter::Id) }
}

/// A filter, ready to be compared.
pub(super) struct Wanted<'f> {
    filter: &'f Filter,
    /// What must stand in a record's bytes. It may stand elsewhere than where it counts.
    needles: Vec<memmem::Finder<'static>>,
    time: memmem::Finder<'static>,
    since: Option<String>,
    until: Option<String>,
}

impl<'f> Wanted<'f> {
    pub(super) fn new(filter: &'f Filter) -> Self {
        let texts = filter.texts().into_iter();
        let needle = |(name, text): (&str, &Option<String>)| {
            // As it is written in a record.
            let value = serde_json::to_string(text.as_ref()?).ok()?;
            // Acts have it as the peer.
            let member =
                if name == "client" { format!(":{value}") } else { format!("\"{name}\":{value}") };
            Some(memmem::Finder::new(member.as_bytes()).into_owned())
        };
        Self {
            filter,
            needles: texts.filter_map(needle).collect(),
            time: memmem::Finder::new(b"\"time\":\"").into_owned(),
            since: filter.since.map(|at| at.to_string()),
            until: filter.until.map(|at| at.to_string()),
        }
    }

    /// The record in the frame, if it is one that is wanted.
    pub(super) fn of(&self, frame: &Frame<'_>) -> Option<Listed> {
        let is_record = matches!(frame.kind, Some(Kind::Record | Kind::Shortened));
        let may_fit = is_record
            && self.needles.iter().all(|needle| needle.find(frame.body).is_some())
            && self.may_be_in_time(frame.body);
        let record = may_fit.then(|| serde_json::from_slice(frame.body).ok())??;
        self.takes(&record).then_some(Listed { sequence: frame.sequence.0, record })
    }

    /// By the time at its beginning, before it is read as a whole.
    fn may_be_in_time(&self, body: &[u8]) -> bool {
        if self.since.is_none() && self.until.is_none() {
            return true;
        }
        let head = body.get(..HEAD).unwrap_or(body);
        let time = self.time.find(head).and_then(|at| head.get(at + 8..at + 32));
        let Some(time) = time else { return true };
        self.since.as_ref().is_none_or(|since| time >= since.as_bytes())
            && self.until.as_ref().is_none_or(|until| time < until.as_bytes())
    }

    fn takes(&self, record: &Record) -> bool {
        let Filter { id, reason, source, client, credential, listener, .. } = self.filter;
        let is = |wanted: &Option<String>, found: Option<&str>| {
            wanted.as_deref().is_none_or(|wanted| found == Some(wanted))
        };
        // All times are of one form, so that their texts sort as they do.
        is(id, Some(&record.id))
            && is(reason, Some(&record.reason))
            && is(source, record.source.as_deref())
            && is(client, record.client.as_deref().or(record.peer.as_deref()))
            && is(credential, record.credential.as_deref())
            && is(listener, record.listener.as_deref())
            && self.since.as_ref().is_none_or(|since| record.time >= *since)
            && self.until.as_ref().is_none_or(|until| record.time < *until)
    }
}

impl Filter {
    fn texts(&self) -> [(&'static str, &Option<String>); 6] {
        let Self { id, reason, source, client, credential, listener, since: _, until: _ } = self;
        [
            ("id", id),
            ("reason", reason),
            ("source", source),
            ("client", client),
            ("credential", credential),
            ("listener", listener),
        ]
    }

    /// Those that are given, by their names in the API; times in RFC 3339.
    pub fn pairs(&self) -> Vec<(&'static str, String)> {
        let texts = self.texts().into_iter().map(|(name, text)| (name, text.clone()));
        let times = [("since", self.since), ("until", self.until)];
        let times = times.into_iter().map(|(name, at)| (name, at.map(|at| at.to_string())));
        texts.chain(times).filter_map(|(name, value)| Some((name, value?))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_that_is_misspelt_is_none() {
        assert_eq!(reason("signature_invalid").as_deref(), Ok("signature_invalid"));
        assert_eq!(reason("started").as_deref(), Ok("started"));
        assert_eq!(reason("forged"), Err(BadFilter::Reason));
        assert_eq!(client("::ffff:192.0.2.1").as_deref(), Ok("192.0.2.1"));
        assert_eq!(client("unknown").as_deref(), Ok("unknown"));
        assert_eq!(client("localhost"), Err(BadFilter::Client));
        assert_eq!(credential(&"aB".repeat(16)), Ok("ab".repeat(16)));
        assert_eq!(credential("ab"), Err(BadFilter::Credential));
        assert_eq!(id("01946953-E0AC").as_deref(), Ok("01946953-e0ac"));
        assert_eq!(
            (id(""), id("../x"), id(&"1".repeat(37))),
            (Err(BadFilter::Id), Err(BadFilter::Id), Err(BadFilter::Id))
        );
        assert_eq!(listener("socket").as_deref(), Ok("socket"));
        assert_eq!(listener("internal"), Err(BadFilter::Listener));
        assert!(BadFilter::Reason.to_string().starts_with("one of unknown_route, "));
    }

    #[test]
    fn what_is_given_is_what_is_asked_for() {
        let text = |text: &str| Some(text.to_owned());
        let filter = Filter {
            credential: text("ab"),
            listener: text("public"),
            since: Some(UnixMillis(1_736_937_000_412)),
            ..Filter::default()
        };
        let since = "2025-01-15T10:30:00.412Z".to_owned();
        let expected =
            [("credential", "ab".to_owned()), ("listener", "public".to_owned()), ("since", since)];
        assert_eq!(filter.pairs(), expected);
    }
}
