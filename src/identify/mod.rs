//! Identification: type, id, time, subject and dedupe key out of a verified body. The only place
//! that makes an [`Identified`]. Never copies the body, and never changes a byte of it.

mod dedupe;
mod kept;
mod media_type;
mod select;
#[cfg(test)]
pub(crate) mod testing;
mod time;

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use crate::admit::{Received, Refusal, Verified};
use crate::audit::Reason;
use crate::clock::UnixMillis;
use crate::config::{EventPaths, Source};
use crate::event::{BodyHash, DedupeKey, EventMeta, normalize_type};
use crate::json::{Document, Malformed};
use crate::provider::Preset;
use select::Reader;

pub(crate) use self::time::NO_TIME;

/// A verified event that is known by a key and ready to be stored. Made by [`identify`] only.
pub struct Identified {
    source: Arc<Source>,
    received_at: UnixMillis,
    body: Bytes,
    body_hash: BodyHash,
    key: DedupeKey,
    meta: EventMeta,
    normalized_type: String,
    wanted: bool,
}

/// Without the payload and what was read out of it.
impl fmt::Debug for Identified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Identified");
        shown.field("source", &self.source.name).field("received_at", &self.received_at);
        shown.field("meta", &self.meta).field("len", &self.body.len());
        shown.field("wanted", &self.wanted).finish_non_exhaustive()
    }
}

impl Identified {
    /// Whose event it is.
    pub fn source(&self) -> &Arc<Source> {
        &self.source
    }

    /// When the request's headers were complete.
    pub fn received_at(&self) -> UnixMillis {
        self.received_at
    }

    /// The raw body.
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// SHA-256 of the body.
    pub fn body_hash(&self) -> BodyHash {
        self.body_hash
    }

    /// What makes it one with its repeats.
    pub fn key(&self) -> DedupeKey {
        self.key
    }

    /// What was read out of it.
    pub fn meta(&self) -> &EventMeta {
        &self.meta
    }

    /// The normalized event name.
    pub fn normalized_type(&self) -> &str {
        &self.normalized_type
    }

    /// What was read out of it and the raw body, for the store to keep.
    pub(crate) fn into_parts(self) -> (EventMeta, Bytes) {
        (self.meta, self.body)
    }

    /// Whether the source's `events` let it through to the upstreams.
    pub fn wanted(&self) -> bool {
        self.wanted
    }
}

/// What a verified request turned out to be.
#[derive(Debug)]
pub enum Identification {
    /// An event.
    Event(Box<Identified>),
    /// Slack's `url_verification`: to be answered with the challenge, and not stored.
    Challenge(String),
}

/// Reads the event out of a verified request: the body must be I-JSON, and everything else that
/// is absent or not usable is left out.
///
/// # Errors
/// `unsupported_media_type`, `malformed_json` and `event_too_old`.
pub fn identify(request: Verified) -> Result<Identification, Refusal> {
    let Received { source, headers, body, received_at, .. } = request.into_request();
    let content_type = media_type::check(&headers)?;
    let document = Document::parse(&body).map_err(malformed)?;
    if let Some(challenge) = slack_challenge(&source, &document) {
        return Ok(Identification::Challenge(challenge));
    }
    let reader = Reader { document: &document, headers: &headers };
    let mut meta = read_meta(&reader, &source.event);
    time::check_age(&source, meta.time, received_at)?;
    let body_hash = BodyHash::of(&body);
    let identity = dedupe::identity(&reader, &source, meta.provider_id.as_deref(), body_hash);
    meta.id_digest = identity.digest;
    meta.content_type = content_type.map(str::to_owned);
    meta.headers = kept::headers(&source, &headers);
    let normalized_type = normalize_type(meta.provider_type.as_deref());
    Ok(Identification::Event(Box::new(Identified {
        wanted: is_wanted(&source, &normalized_type),
        key: identity.key,
        source,
        received_at,
        body,
        body_hash,
        meta,
        normalized_type,
    })))
}

fn malformed(why: Malformed) -> Refusal {
    Refusal::new(Reason::MalformedJson, why.as_str())
}

/// All but what is of the request as a whole.
fn read_meta(reader: &Reader<'_>, event: &EventPaths) -> EventMeta {
    EventMeta {
        provider_id: reader.first(&event.id, select::identifier),
        provider_type: reader.first(&event.kind, select::name),
        subject: reader.first(&event.subject, select::identifier),
        tenant: reader.first(&event.tenant, select::identifier),
        time: reader.first(&event.time, time::read),
        data: reader.data(&event.data),
        ..EventMeta::default()
    }
}

fn is_wanted(source: &Source, normalized_type: &str) -> bool {
    let Some(patterns) = &source.events else { return true };
    patterns.iter().any(|pattern| pattern.matches(normalized_type))
}

/// Longest challenge that is answered, in bytes. Slack's have 52.
const MAX_CHALLENGE: usize = 1024;

/// The challenge of a Slack source's `url_verification`. One that is absent, no string or too long
/// makes the request an event like any other.
fn slack_challenge(source: &Source, document: &Document<'_>) -> Option<String> {
    if source.preset != Some(Preset::Slack) {
        return None;
    }
    let member = |name| document.root().get(name).and_then(|value| value.as_str());
    if member("type")? != "url_verification" {
        return None;
    }
    member("challenge").filter(|c| c.len() <= MAX_CHALLENGE).map(Into::into)
}

#[cfg(test)]
mod tests;
