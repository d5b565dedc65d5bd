//! What a request asks for: its query, and the filters and reasons in it or in its body. What is not
//! known is refused, for a filter that is misspelt would match everything.

use std::borrow::Cow;
use std::str::FromStr as _;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Number;

use super::fault::Fault;
use crate::clock::UnixMillis;
use crate::config::Pattern;
use crate::config::defaults::MAX_TEXT;
use crate::config::defaults::admin::{MAX_PAGE, MAX_REASON, PAGE};
use crate::config::units::parse_duration;
use crate::event::{Sequence, SourceName, UpstreamName};
use crate::store::query::{Cursor, EventState, Filter};

/// No event has a longer subject, in characters.
const MAX_SUBJECT: usize = 256;

/// The filters of a list of events.
pub(super) const FILTERS: [&str; 7] =
    ["source", "state", "type", "subject", "since", "until", "upstream"];
/// What pages take.
pub(super) const PAGING: [&str; 2] = ["limit", "cursor"];

/// The parameters of a query, decoded.
#[derive(Debug, Default)]
pub(super) struct Params<'a>(Vec<(Cow<'a, str>, String)>);

impl<'a> Params<'a> {
    /// Reads a query: `name=value` joined by `&`, percent-encoded, with `+` for a space.
    pub(super) fn parse(query: Option<&'a str>) -> Result<Self, Fault> {
        let mut found: Vec<(Cow<'a, str>, String)> = Vec::new();
        for pair in query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let decoded = decode(name).zip(decode(value));
            let (name, value) =
                decoded.ok_or_else(|| Fault::bad("The query is not percent-encoded UTF-8."))?;
            if found.iter().any(|(known, _)| *known == name) {
                return Err(Fault::bad(format!("{}: given twice.", shown(&name))));
            }
            found.push((name.into(), value));
        }
        Ok(Self(found))
    }

    /// Refuses all but these.
    pub(super) fn only(&self, known: &[&str]) -> Result<(), Fault> {
        let Some((name, _)) = self.0.iter().find(|(name, _)| !known.contains(&&**name)) else {
            return Ok(());
        };
        if name == "payload" {
            return Err(Fault::bad(
                "payload: payloads are shown for one event at a time, at events/ID.",
            ));
        }
        let accepted = match known {
            [] => "there are no parameters here".to_owned(),
            known => format!("accepted are {}", known.join(", ")),
        };
        Err(Fault::bad(format!("{}: unknown; {accepted}.", shown(name))))
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Which events are meant.
    pub(super) fn filter(&self, now: UnixMillis) -> Result<Filter, Fault> {
        Filters {
            source: self.get("source"),
            state: self.get("state"),
            kind: self.get("type"),
            subject: self.get("subject"),
            since: self.get("since"),
            until: self.get("until"),
            upstream: self.get("upstream"),
        }
        .check(now)
    }

    /// The filters that the audit trail has in common with events.
    pub(super) fn times_and_source(&self, now: UnixMillis) -> Result<Filter, Fault> {
        let (source, since) = (self.get("source"), self.get("since"));
        Filters { source, since, until: self.get("until"), ..Filters::default() }.check(now)
    }

    /// How many of them at once.
    pub(super) fn limit(&self) -> Result<usize, Fault> {
        let Some(text) = self.get("limit") else { return Ok(PAGE) };
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let limit = text.parse().ok().filter(|limit| digits && (1..=MAX_PAGE).contains(limit));
        limit.ok_or_else(|| Fault::bad(format!("limit: a whole number from 1 to {MAX_PAGE}.")))
    }

    /// Where the page begins.
    pub(super) fn cursor(&self) -> Result<Option<Cursor>, Fault> {
        let Some(text) = self.get("cursor") else { return Ok(None) };
        let cursor = read_cursor(text);
        let cursor = cursor
            .ok_or_else(|| Fault::bad("cursor: what an answer has in next, as it stands there."))?;
        Ok(Some(cursor))
    }

    /// Whether payloads are asked for.
    pub(super) fn payload(&self) -> Result<bool, Fault> {
        match self.get("payload") {
            None | Some("0") => Ok(false),
            Some("1") => Ok(true),
            Some(_) => Err(Fault::bad("payload: 1, or 0.")),
        }
    }
}

/// A cursor as it goes out: 16 hexadecimal digits.
pub(super) fn show_cursor(cursor: Cursor) -> String {
    format!("{:016x}", cursor.before.0)
}

fn read_cursor(text: &str) -> Option<Cursor> {
    let hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    let whole = text.len() == 16 && text.bytes().all(hex);
    let before = u64::from_str_radix(text, 16).ok().filter(|_| whole)?;
    Some(Cursor { before: Sequence(before) })
}

/// The filters as they came.
#[derive(Clone, Copy, Debug, Default)]
struct Filters<'a> {
    source: Option<&'a str>,
    state: Option<&'a str>,
    kind: Option<&'a str>,
    subject: Option<&'a str>,
    since: Option<&'a str>,
    until: Option<&'a str>,
    upstream: Option<&'a str>,
}

impl Filters<'_> {
    fn check(self, now: UnixMillis) -> Result<Filter, Fault> {
        const NAME: &str = "1 to 64 of a-z, 0-9, - and _, beginning with a letter or digit";
        let named = |what: &str| Fault::bad(format!("{what}: {NAME}."));
        let source = self.source.map(|name| SourceName::new(name).map_err(|_| named("source")));
        let upstream =
            self.upstream.map(|name| UpstreamName::new(name).map_err(|_| named("upstream")));
        Ok(Filter {
            source: source.transpose()?.map(|name| name.as_str().to_owned()),
            state: self.state.map(state).transpose()?,
            kind: self.kind.map(pattern).transpose()?,
            subject: self.subject.map(subject).transpose()?,
            since: self.since.map(|text| time("since", text, now)).transpose()?,
            until: self.until.map(|text| time("until", text, now)).transpose()?,
            upstream: upstream.transpose()?.map(|name| name.as_str().to_owned()),
        })
    }
}

fn state(text: &str) -> Result<EventState, Fault> {
    let found = EventState::ALL.into_iter().find(|state| state.as_str() == text);
    found.ok_or_else(|| {
        let known = EventState::ALL.map(EventState::as_str).join(", ");
        Fault::bad(format!("state: one of {known}."))
    })
}

fn pattern(text: &str) -> Result<Pattern, Fault> {
    let normal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "_-.*".contains(c);
    if (1..=MAX_TEXT).contains(&text.len()) && text.chars().all(normal) {
        return Ok(Pattern(text.to_owned()));
    }
    Err(Fault::bad(format!(
        "type: a pattern over normalized event names without the source, such as order.*: 1 to {MAX_TEXT} of a-z, 0-9, _, -, . and * for anything."
    )))
}

fn subject(text: &str) -> Result<String, Fault> {
    if (1..=MAX_SUBJECT).contains(&text.chars().count()) {
        return Ok(text.to_owned());
    }
    Err(Fault::bad(format!("subject: 1 to {MAX_SUBJECT} characters.")))
}

/// A point in time, or how long ago. Before 1970 nothing was received.
fn time(what: &str, text: &str, now: UnixMillis) -> Result<UnixMillis, Fault> {
    if let Ok(ago) = parse_duration(text) {
        return Ok(now.before(ago));
    }
    // An offset's plus sign that was not encoded has become a space.
    let restored = text.rsplit_once(' ').map(|(time, offset)| format!("{time}+{offset}"));
    let read = |text: &str| {
        let whole = text.contains(['T', 't']) && !text.contains('[');
        Timestamp::from_str(text).ok().filter(|_| whole)
    };
    let time = read(text).or_else(|| read(restored.as_deref()?));
    let millis = time.map(|time| u64::try_from(time.as_millisecond()).unwrap_or(0));
    millis.map(UnixMillis).ok_or_else(|| {
        Fault::bad(format!(
            "{what}: a time (RFC 3339) such as 2025-01-15T10:30:00Z, or how long ago, such as 24h (ms, s, m, h, d)."
        ))
    })
}

/// The body of an operator's act on one event.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ActBody {
    pub(super) reason: Option<String>,
}

/// The same of a replay.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ReplayBody {
    pub(super) reason: Option<String>,
    pub(super) upstream: Option<String>,
}

/// The body of a replay of many dead letters.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BulkBody {
    source: Option<String>,
    state: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
    subject: Option<String>,
    since: Option<String>,
    until: Option<String>,
    pub(super) upstream: Option<String>,
    pub(super) dry_run: Option<bool>,
    pub(super) per_second: Option<Number>,
    pub(super) reason: Option<String>,
}

impl BulkBody {
    /// Which dead letters are meant.
    pub(super) fn filter(&self, now: UnixMillis) -> Result<Filter, Fault> {
        let filters = Filters {
            source: self.source.as_deref(),
            state: self.state.as_deref(),
            kind: self.kind.as_deref(),
            subject: self.subject.as_deref(),
            since: self.since.as_deref(),
            until: self.until.as_deref(),
            upstream: self.upstream.as_deref(),
        };
        dead(filters.check(now)?)
    }
}

/// The filter, for dead letters.
pub(super) fn dead(filter: Filter) -> Result<Filter, Fault> {
    match filter.state {
        None | Some(EventState::Dead) => Ok(Filter { state: Some(EventState::Dead), ..filter }),
        Some(_) => Err(Fault::bad("state: dead letters are dead; leave it out.")),
    }
}

/// An operator's reason, as it is kept.
pub(super) fn reason(text: Option<String>) -> Result<Option<String>, Fault> {
    match text {
        Some(text) if text.len() > MAX_REASON || text.chars().any(misleads) => Err(Fault::bad(
            format!("reason: at most {MAX_REASON} bytes, without control characters."),
        )),
        text => Ok(text.filter(|text| !text.is_empty())),
    }
}

/// Whether a record with this character in it could read as another one where it is shown: control
/// characters, and those that end a line or change the direction of writing.
fn misleads(c: char) -> bool {
    let turns = matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    c.is_control() || turns
}

/// An upstream's name out of a body.
pub(super) fn upstream(name: Option<String>) -> Result<Option<String>, Fault> {
    let filters = Filters { upstream: name.as_deref(), ..Filters::default() };
    Ok(filters.check(UnixMillis(0))?.upstream)
}

/// What a message shows of a name that somebody sent.
fn shown(name: &str) -> String {
    name.chars().take(64).collect()
}

/// `None`: not percent-encoded UTF-8.
fn decode(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digit = |byte: u8| char::from(byte).to_digit(16);
                let (high, low) = (digit(bytes.next()?)?, digit(bytes.next()?)?);
                u8::try_from(high * 16 + low).ok()?
            }
            byte => byte,
        });
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixMillis = UnixMillis(1_736_937_000_000);

    fn filter(query: &str) -> Result<Filter, Fault> {
        let params = Params::parse(Some(query))?;
        params.only(&FILTERS)?;
        params.filter(NOW)
    }

    #[test]
    fn filters_are_read_out_of_a_query() {
        let found = filter(
            "source=c4hxp&state=dead&type=order.*&subject=A%20b+%C3%BC&since=24h&until=2025-01-15T10:30:00%2B02:00&upstream=app",
        )
        .unwrap();
        assert_eq!(found.source.as_deref(), Some("c4hxp"));
        assert_eq!(found.state, Some(EventState::Dead));
        assert_eq!(found.kind, Some(Pattern("order.*".into())));
        assert_eq!(found.subject.as_deref(), Some("A b ü"));
        assert_eq!(found.since, Some(UnixMillis(NOW.0 - 86_400_000)));
        assert_eq!(found.until, Some(UnixMillis(NOW.0 - 7_200_000)));
        assert_eq!(found.upstream.as_deref(), Some("app"));
        // As curl sends it when nobody thinks of it.
        assert_eq!(filter("until=2025-01-15T10:30:00+02:00").unwrap().until, found.until);
        assert_eq!(filter("since=0001-01-01T00:00:00Z").unwrap().since, Some(UnixMillis(0)));
    }

    #[test]
    fn what_is_wrong_is_refused_with_what_is_accepted() {
        for (query, words) in [
            ("sorce=a", "sorce: unknown; accepted are source, state"),
            ("payload=1", "payload: payloads are shown for one event at a time"),
            ("source=A", "source: 1 to 64 of a-z"),
            ("source=", "source: 1 to 64 of a-z"),
            ("source=a&source=b", "source: given twice"),
            ("state=gone", "state: one of pending, delivered, dead"),
            ("type=Order", "type: a pattern over normalized event names"),
            ("type=", "type: a pattern"),
            ("subject=", "subject: 1 to 256 characters"),
            ("since=yesterday", "since: a time (RFC 3339) such as"),
            ("since=2025-01-15", "since: a time"),
            ("until=2025-01-15 10:30:00Z", "until: a time"),
            ("until=2025-13-15T10:30:00Z", "until: a time"),
            ("until=2025-01-15T10:30:00Z[UTC]", "until: a time"),
            ("until=24hours", "until: a time"),
            ("upstream=a b", "upstream: 1 to 64"),
            ("subject=%zz", "not percent-encoded UTF-8"),
            ("subject=%ff", "not percent-encoded UTF-8"),
        ] {
            let fault = filter(query).unwrap_err();
            assert!(format!("{fault:?}").contains(words), "{query}: {fault:?}");
        }
    }

    #[test]
    fn pages_are_bounded_and_cursors_come_back_as_they_went() {
        let read = |query| Params::parse(Some(query)).unwrap();
        assert_eq!(read("").limit(), Ok(50));
        assert_eq!(read("limit=500").limit(), Ok(500));
        for wrong in [
            "limit=0",
            "limit=501",
            "limit=",
            "limit=+1",
            "limit=-1",
            "limit=1.0",
            "limit=99999999999999999999",
        ] {
            assert!(read(wrong).limit().is_err(), "{wrong}");
        }
        let cursor = Cursor { before: Sequence(u64::MAX - 1) };
        let query = format!("cursor={}", show_cursor(cursor));
        assert_eq!(read(&query).cursor(), Ok(Some(cursor)));
        for wrong in [
            "cursor=",
            "cursor=1",
            "cursor=000000000000000G",
            "cursor=+00000000000000f",
            "cursor=000000000000000F",
        ] {
            assert!(read(wrong).cursor().is_err(), "{wrong}");
        }
    }

    #[test]
    fn reasons_are_short_and_plain() {
        assert_eq!(reason(Some("ü".repeat(512))), Ok(Some("ü".repeat(512))));
        assert_eq!(reason(Some(String::new())), Ok(None));
        for wrong in [
            "ü".repeat(513),
            "a\nb".into(),
            "\u{1b}[31m".into(),
            "\u{9b}".into(),
            "a\u{202e}b".into(),
        ] {
            assert!(reason(Some(wrong)).is_err());
        }
    }
}
