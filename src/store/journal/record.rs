//! What stands inside frames: events, attempts and checkpoints, byte by byte (see
//! docs/storage-format.md). Every decoder takes any bytes and returns `None` for what it does not
//! understand; a checksum has been verified before, so that means a foreign or newer writer.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;

use super::frame::{Header, Kind};
use super::headers;
use super::input::Input;
use crate::clock::UnixMillis;
use crate::event::{BodyHash, DedupeKey, EventId, EventMeta, Sequence, SourceName};
use crate::store::{Attempt, AttemptResult, StoredEvent, Verdict};

/// Stored under another event's key with other content.
const FLAG_CONFLICT: u8 = 1;
/// Kept back until an operator decides.
const FLAG_QUARANTINED: u8 = 2;
/// Headers of the request follow what was read out of the event.
const FLAG_HEADERS: u8 = 4;

/// An event's frame, opened.
#[derive(Clone, Debug, PartialEq)]
pub struct EventRecord {
    /// What makes it one with its repeats.
    pub key: DedupeKey,
    /// Kept back until an operator decides.
    pub quarantined: bool,
    /// Names of the upstreams it goes to; none: it was filtered.
    pub targets: Vec<String>,
    /// The event.
    pub event: StoredEvent,
}

/// The parts of an event's frame that recovery needs, without its body.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct EventHead<'a> {
    /// What makes it one with its repeats.
    pub key: DedupeKey,
    /// When it was received.
    pub received_at: UnixMillis,
    /// Kept back until an operator decides.
    pub quarantined: bool,
    /// Whose it is.
    pub source: &'a str,
    /// The entity it is about.
    pub subject: Option<&'a str>,
    /// Where its own list of upstreams stands.
    targets: &'a [u8],
}

/// Without the subject, which is a patient's.
impl fmt::Debug for EventHead<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("EventHead");
        shown.field("source", &self.source).field("received_at", &self.received_at);
        shown.field("quarantined", &self.quarantined).finish_non_exhaustive()
    }
}

impl<'a> EventHead<'a> {
    /// Names of the upstreams it goes to.
    pub fn targets(&self) -> impl Iterator<Item = &'a str> {
        let mut input = Input(self.targets);
        std::iter::from_fn(move || input.short_str())
    }
}

/// What is written for a new event.
#[derive(Debug)]
pub struct NewEvent<'a> {
    /// What makes it one with its repeats.
    pub key: DedupeKey,
    /// Kept back until an operator decides.
    pub quarantined: bool,
    /// The event. Its sequence is the frame's.
    pub event: &'a StoredEvent,
}

impl NewEvent<'_> {
    /// Writes the payload.
    pub fn encode<'n>(&self, targets: impl Iterator<Item = &'n str>, out: &mut Vec<u8>) {
        let event = self.event;
        let conflict = if event.conflict { FLAG_CONFLICT } else { 0 };
        let quarantined = if self.quarantined { FLAG_QUARANTINED } else { 0 };
        let headers = if event.meta.headers.is_empty() { 0 } else { FLAG_HEADERS };
        out.push(conflict | quarantined | headers);
        out.extend_from_slice(event.id.as_bytes());
        out.extend_from_slice(&event.received_at.0.to_le_bytes());
        out.extend_from_slice(&self.key.0);
        out.extend_from_slice(&event.body_hash.0);
        put_short(out, event.source.as_str());
        let count_at = out.len();
        out.push(0);
        let mut count = 0;
        for name in targets {
            put_short(out, name);
            count += 1;
        }
        if let Some(slot) = out.get_mut(count_at) {
            *slot = count;
        }
        put_meta(out, &event.meta);
        if headers != 0 {
            headers::put(out, &event.meta.headers);
        }
        out.extend_from_slice(&event.body);
    }
}

/// Writes the payload of a copy: the event's number, for the frame has one of its own, and the
/// payload of the frame that it was stored in, as it is.
pub fn encode_carried(event: Sequence, payload: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&event.0.to_le_bytes());
    out.extend_from_slice(payload);
}

/// An event's payload, as that of one that is not kept back.
pub fn as_released(payload: &Bytes) -> Bytes {
    let mut payload = payload.to_vec();
    if let Some(flags) = payload.first_mut() {
        *flags &= !FLAG_QUARANTINED;
    }
    payload.into()
}

/// The number of the event in this frame, and its payload: as it was stored, whether this is the
/// first frame that it stands in or a copy. `None` for frames of other kinds.
pub fn event_in(header: &Header, payload: &Bytes) -> Option<(Sequence, Bytes)> {
    let (sequence, event) = event_in_slice(header, payload)?;
    Some((sequence, payload.slice_ref(event)))
}

/// The same of a frame that is not shared.
pub fn event_in_slice<'a>(header: &Header, payload: &'a [u8]) -> Option<(Sequence, &'a [u8])> {
    match header.kind {
        Kind::Event => Some((header.sequence, payload)),
        Kind::Carried => {
            let mut input = Input(payload);
            Some((Sequence(input.u64()?), input.0))
        }
        Kind::Attempt | Kind::Lane | Kind::CheckpointEnd | Kind::Act | Kind::Presence => None,
    }
}

/// Opens an event's frame. The body is a slice of `payload`, not a copy.
pub fn decode_event(sequence: Sequence, payload: &Bytes) -> Option<EventRecord> {
    let mut input = Input(payload);
    let fixed = event_fixed(&mut input)?;
    let mut names = Vec::new();
    let mut rest = Input(fixed.targets);
    while let Some(name) = rest.short_str() {
        names.push(name.to_owned());
    }
    let mut meta = meta(&mut input)?;
    if fixed.flags & FLAG_HEADERS != 0 {
        meta.headers = headers::read(&mut input)?;
    }
    let body = payload.slice_ref(input.0);
    if meta.data.end as usize > body.len() || meta.data.start > meta.data.end {
        return None;
    }
    let event = StoredEvent {
        sequence,
        id: fixed.id,
        received_at: fixed.received_at,
        source: SourceName::new(fixed.source).ok()?,
        body_hash: fixed.body_hash,
        conflict: fixed.flags & FLAG_CONFLICT != 0,
        meta,
        body,
    };
    let quarantined = fixed.flags & FLAG_QUARANTINED != 0;
    Some(EventRecord { key: fixed.key, quarantined, targets: names, event })
}

/// Opens only what recovery needs.
pub fn decode_event_head(payload: &[u8]) -> Option<EventHead<'_>> {
    let mut input = Input(payload);
    let fixed = event_fixed(&mut input)?;
    let subject = input.text()?;
    Some(EventHead {
        key: fixed.key,
        received_at: fixed.received_at,
        quarantined: fixed.flags & FLAG_QUARANTINED != 0,
        source: fixed.source,
        subject,
        targets: fixed.targets,
    })
}

/// What the catalogue is made of.
pub struct EventSummary<'a> {
    /// Hookward's id.
    pub id: EventId,
    /// What recovery needs, too.
    pub head: EventHead<'a>,
    /// The event's name as the provider wrote it.
    pub provider_type: Option<&'a str>,
}

/// Opens only what the catalogue is made of.
pub fn decode_event_summary(payload: &[u8]) -> Option<EventSummary<'_>> {
    let head = decode_event_head(payload)?;
    let mut input = Input(payload);
    let fixed = event_fixed(&mut input)?;
    let (_subject, _provider_id, provider_type) = (input.text()?, input.text()?, input.text()?);
    Some(EventSummary { id: fixed.id, head, provider_type })
}

/// An attempt's frame, opened.
#[derive(Clone, PartialEq, Eq)]
pub struct AttemptRecord<'a> {
    /// The event's number.
    pub event: Sequence,
    /// The upstream's name.
    pub upstream: &'a str,
    /// Which attempt it was, counted from 1.
    pub number: u32,
    /// What happened, and what follows from it.
    pub attempt: Attempt,
    /// The beginning of what the upstream answered, if it was kept.
    pub excerpt: Option<&'a str>,
}

/// Without the excerpt, which may hold a patient's data.
impl fmt::Debug for AttemptRecord<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("AttemptRecord");
        shown.field("event", &self.event).field("upstream", &self.upstream);
        shown.field("number", &self.number).field("attempt", &self.attempt).finish_non_exhaustive()
    }
}

/// Writes an attempt's payload.
pub fn encode_attempt(record: &AttemptRecord<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(&record.event.0.to_le_bytes());
    out.extend_from_slice(&record.number.to_le_bytes());
    out.extend_from_slice(&record.attempt.started_at.0.to_le_bytes());
    let millis = u32::try_from(record.attempt.duration.as_millis()).unwrap_or(u32::MAX);
    out.extend_from_slice(&millis.to_le_bytes());
    let (result, status) = match record.attempt.result {
        AttemptResult::Answered(status) => (1, status),
        AttemptResult::ConnectFailed => (2, 0),
        AttemptResult::TimedOut => (3, 0),
        AttemptResult::Broken => (4, 0),
        AttemptResult::Panicked => (5, 0),
        AttemptResult::Unreadable => (6, 0),
    };
    out.push(result);
    out.extend_from_slice(&u16::to_le_bytes(status));
    let (verdict, at) = match record.attempt.verdict {
        Verdict::Delivered => (1, 0),
        Verdict::RetryAt(at) => (2, at.0),
        Verdict::Dead => (3, 0),
    };
    out.push(verdict);
    out.extend_from_slice(&u64::to_le_bytes(at));
    put_short(out, record.upstream);
    if record.excerpt.is_some() {
        put_text(out, record.excerpt);
    }
}

/// Opens an attempt's frame.
pub fn decode_attempt(payload: &[u8]) -> Option<AttemptRecord<'_>> {
    let mut input = Input(payload);
    let event = Sequence(input.u64()?);
    let number = input.u32()?;
    let started_at = UnixMillis(input.u64()?);
    let duration = Duration::from_millis(u64::from(input.u32()?));
    let (result, status) = (input.u8()?, input.u16()?);
    let result = match result {
        1 => AttemptResult::Answered(status),
        2 => AttemptResult::ConnectFailed,
        3 => AttemptResult::TimedOut,
        4 => AttemptResult::Broken,
        5 => AttemptResult::Panicked,
        6 => AttemptResult::Unreadable,
        _ => return None,
    };
    let (verdict, at) = (input.u8()?, input.u64()?);
    let verdict = match verdict {
        1 => Verdict::Delivered,
        2 => Verdict::RetryAt(UnixMillis(at)),
        3 => Verdict::Dead,
        _ => return None,
    };
    let attempt = Attempt { started_at, duration, result, verdict };
    let upstream = input.short_str()?;
    // Frames from before there were excerpts end here.
    let excerpt = input.text().flatten();
    Some(AttemptRecord { event, upstream, number, attempt, excerpt })
}

/// Text of up to 255 bytes.
pub(super) fn put_short(out: &mut Vec<u8>, text: &str) {
    let len = u8::try_from(text.len()).unwrap_or(u8::MAX);
    out.push(len);
    out.extend_from_slice(text.as_bytes().get(..len.into()).unwrap_or_default());
}

/// Text of up to 65,534 bytes; a length of 65,535 says that there is none.
pub(super) fn put_text(out: &mut Vec<u8>, text: Option<&str>) {
    match text.and_then(|t| u16::try_from(t.len()).ok().filter(|n| *n != u16::MAX).map(|n| (n, t)))
    {
        Some((len, text)) => {
            out.extend_from_slice(&len.to_le_bytes());
            out.extend_from_slice(text.as_bytes());
        }
        None => out.extend_from_slice(&u16::MAX.to_le_bytes()),
    }
}

fn put_meta(out: &mut Vec<u8>, meta: &EventMeta) {
    put_text(out, meta.subject.as_deref());
    put_text(out, meta.provider_id.as_deref());
    put_text(out, meta.provider_type.as_deref());
    put_text(out, meta.tenant.as_deref());
    put_text(out, meta.content_type.as_deref());
    out.extend_from_slice(&meta.id_digest);
    out.extend_from_slice(&meta.data.start.to_le_bytes());
    out.extend_from_slice(&meta.data.end.to_le_bytes());
    match meta.time {
        Some(time) => {
            out.push(1);
            out.extend_from_slice(&time.as_second().to_le_bytes());
            out.extend_from_slice(&time.subsec_nanosecond().to_le_bytes());
        }
        None => out.push(0),
    }
}

struct EventFixed<'a> {
    flags: u8,
    id: EventId,
    received_at: UnixMillis,
    key: DedupeKey,
    body_hash: BodyHash,
    source: &'a str,
    targets: &'a [u8],
}

fn event_fixed<'a>(input: &mut Input<'a>) -> Option<EventFixed<'a>> {
    let flags = input.u8()?;
    if flags & !(FLAG_CONFLICT | FLAG_QUARANTINED | FLAG_HEADERS) != 0 {
        return None;
    }
    let id = EventId::from_bytes(input.array()?);
    let received_at = UnixMillis(input.u64()?);
    let key = DedupeKey(input.array()?);
    let body_hash = BodyHash(input.array()?);
    let source = input.short_str()?;
    let count = input.u8()?;
    let before = input.0;
    for _ in 0..count {
        input.short_str()?;
    }
    let targets = before.get(..before.len() - input.0.len())?;
    Some(EventFixed { flags, id, received_at, key, body_hash, source, targets })
}

fn meta(input: &mut Input<'_>) -> Option<EventMeta> {
    let owned = |text: Option<&str>| text.map(str::to_owned);
    Some(EventMeta {
        subject: owned(input.text()?),
        provider_id: owned(input.text()?),
        provider_type: owned(input.text()?),
        tenant: owned(input.text()?),
        content_type: owned(input.text()?),
        id_digest: input.array()?,
        data: input.u32()?..input.u32()?,
        time: time(input)?,
        headers: Vec::new(),
    })
}

fn time(input: &mut Input<'_>) -> Option<Option<jiff::Timestamp>> {
    match input.u8()? {
        0 => Some(None),
        1 => {
            let seconds = i64::from_le_bytes(input.array()?);
            let nanos = i32::from_le_bytes(input.array()?);
            jiff::Timestamp::new(seconds, nanos).ok().map(Some)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attempt_is_read_with_and_without_an_excerpt() {
        let attempt = Attempt {
            started_at: UnixMillis(5),
            duration: Duration::from_millis(7),
            result: AttemptResult::Answered(422),
            verdict: Verdict::Dead,
        };
        let record = AttemptRecord {
            event: Sequence(9),
            upstream: "app",
            number: 2,
            attempt,
            excerpt: Some("no such order …"),
        };
        let mut bytes = Vec::new();
        encode_attempt(&record, &mut bytes);
        assert_eq!(decode_attempt(&bytes), Some(record.clone()));
        assert!(!format!("{record:?}").contains("such"));
        let old = AttemptRecord { excerpt: None, ..record };
        let mut shorter = Vec::new();
        encode_attempt(&old, &mut shorter);
        assert_eq!(decode_attempt(&shorter), Some(old));
        assert!(bytes.starts_with(&shorter), "an old reader sees what it knows");
    }
}
