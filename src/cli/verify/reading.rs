//! What the source would read out of a request, and where: found by identification itself, which is
//! asked for one place after the other.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use serde_json::{Value, json};

use super::tries::offline;
use crate::admit::{self, Received, Refusal};
use crate::clock::UnixMillis;
use crate::config::{Auth, EventPaths, Place, Selector, Source};
use crate::event::EventMeta;
use crate::identify::{self, Identification, Identified};
use crate::listen::Origin;

/// A part of the event.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) name: &'static str,
    /// Where it was found, as the configuration writes it; `None`: nowhere.
    pub(super) place: Option<String>,
    /// Where the source looks.
    pub(super) looked: Vec<String>,
    /// What stands there. Payload: shown only where that was asked for.
    pub(super) value: Option<String>,
}

/// What makes it one with its repeats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    /// The provider's event id.
    Id,
    /// The values that `dedupe` names.
    Values,
    /// The body's SHA-256.
    Body,
}

/// An event as its source reads it.
#[derive(Debug)]
pub(super) struct Event {
    pub(super) parts: Vec<Part>,
    pub(super) data: Range<u32>,
    pub(super) key: Key,
    /// The selectors of `dedupe`, and whether each finds something.
    pub(super) values: Vec<(String, bool)>,
    pub(super) id_digest: [u8; 32],
    /// The normalized name. Payload, as `value`.
    pub(super) kind: String,
    pub(super) wanted: bool,
    pub(super) event: Box<Identified>,
}

/// What came of reading it.
#[derive(Debug)]
pub(super) enum Reading {
    Event(Box<Event>),
    /// Slack's `url_verification`.
    Challenge,
}

/// A request whose credential is not looked at: that is judged elsewhere.
#[derive(Clone, Copy)]
pub(super) struct Content<'r> {
    pub(super) source: &'r Source,
    pub(super) headers: &'r HeaderMap,
    pub(super) body: &'r Bytes,
    pub(super) at: UnixMillis,
}

impl Content<'_> {
    /// What identification says of it.
    ///
    /// # Errors
    /// Why it is refused.
    pub(super) fn identify(&self) -> Result<Identification, Refusal> {
        self.identify_as(self.open())
    }

    /// The source without authentication.
    fn open(&self) -> Source {
        Source { auth: Auth::NoneDangerous, ..offline(self.source) }
    }

    fn identify_as(&self, source: Source) -> Result<Identification, Refusal> {
        let received = Received {
            source: Arc::new(source),
            headers: self.headers.clone(),
            body: self.body.clone(),
            received_at: self.at,
            origin: Origin::nowhere(),
        };
        identify::identify(admit::verify(received)?)
    }

    /// The same whatever its content type says.
    pub(super) fn as_json(&self) -> HeaderMap {
        let mut headers = self.headers.clone();
        headers.remove(CONTENT_TYPE);
        headers.remove(CONTENT_ENCODING);
        headers
    }

    /// When the event happened, by its provider.
    pub(super) fn event_time(&self) -> Option<UnixMillis> {
        let meta = self.meta(self.lenient())?;
        u64::try_from(meta.time?.as_millisecond()).ok().map(UnixMillis)
    }

    /// The source without authentication and without asking for a time.
    fn lenient(&self) -> Source {
        Source { max_event_age: None, require_event_time: false, ..self.open() }
    }

    fn event(&self, source: Source) -> Option<Box<Identified>> {
        match self.identify_as(source).ok()? {
            Identification::Event(event) => Some(event),
            Identification::Challenge(_) => None,
        }
    }

    fn meta(&self, source: Source) -> Option<EventMeta> {
        self.event(source).map(|event| event.meta().clone())
    }

    /// What the source reads; `None`: it is no JSON.
    pub(super) fn read(&self) -> Option<Reading> {
        let event = match self.identify_as(self.lenient()).ok()? {
            Identification::Event(event) => event,
            Identification::Challenge(_) => return Some(Reading::Challenge),
        };
        let meta = event.meta();
        let paths = &self.source.event;
        let time = meta.time.map(|time| time.to_string());
        let parts = vec![
            self.part(
                "id",
                &paths.id,
                meta.provider_id.clone(),
                |one| EventPaths { id: one, ..Default::default() },
                |m| m.provider_id.is_some(),
            ),
            self.part(
                "type",
                &paths.kind,
                meta.provider_type.clone(),
                |one| EventPaths { kind: one, ..Default::default() },
                |m| m.provider_type.is_some(),
            ),
            self.part(
                "time",
                &paths.time,
                time,
                |one| EventPaths { time: one, ..Default::default() },
                |m| m.time.is_some(),
            ),
            self.part(
                "subject",
                &paths.subject,
                meta.subject.clone(),
                |one| EventPaths { subject: one, ..Default::default() },
                |m| m.subject.is_some(),
            ),
            self.part(
                "tenant",
                &paths.tenant,
                meta.tenant.clone(),
                |one| EventPaths { tenant: one, ..Default::default() },
                |m| m.tenant.is_some(),
            ),
            self.data(paths, meta.data.clone()),
        ];
        let values = self.values();
        let key = match (
            values.iter().any(|(_, found)| *found),
            &self.source.dedupe,
            &meta.provider_id,
        ) {
            (true, _, _) => Key::Values,
            (false, None, Some(_)) => Key::Id,
            (false, _, _) => Key::Body,
        };
        Some(Reading::Event(Box::new(Event {
            data: meta.data.clone(),
            id_digest: meta.id_digest,
            kind: event.normalized_type().to_owned(),
            wanted: event.wanted(),
            parts,
            key,
            values,
            event,
        })))
    }

    fn part(
        &self,
        name: &'static str,
        selector: &Selector,
        value: Option<String>,
        only: impl Fn(Selector) -> EventPaths,
        found: impl Fn(&EventMeta) -> bool,
    ) -> Part {
        let here = |place: &&Place| {
            let event = only(Selector(vec![(*place).clone()]));
            let source = Source { event, dedupe: None, ..self.lenient() };
            self.meta(source).is_some_and(|meta| found(&meta))
        };
        let place = value.as_ref().and_then(|_| selector.0.iter().find(here)).map(shown);
        Part { name, place, looked: selector.0.iter().map(shown).collect(), value }
    }

    /// Data is all of the body where no place has any: that is told apart by looking where it stands.
    fn data(&self, paths: &EventPaths, range: Range<u32>) -> Part {
        let whole =
            self.meta(Source { event: EventPaths::default(), dedupe: None, ..self.lenient() });
        let elsewhere = whole.is_some_and(|whole| whole.data != range);
        let at = |place: &&Place| {
            let event = EventPaths { data: Selector(vec![(*place).clone()]), ..Default::default() };
            let meta = self.meta(Source { event, dedupe: None, ..self.lenient() });
            meta.is_some_and(|meta| meta.data == range)
        };
        let place = paths.data.0.iter().find(at).filter(|_| elsewhere).map(shown);
        let bytes = self.body.get(range.start as usize..range.end as usize).unwrap_or_default();
        let value = Some(String::from_utf8_lossy(bytes).into_owned());
        Part { name: "data", place, looked: paths.data.0.iter().map(shown).collect(), value }
    }

    fn values(&self) -> Vec<(String, bool)> {
        let nothing = Source { event: EventPaths::default(), dedupe: None, ..self.lenient() };
        let body = self.event(nothing).map(|event| event.key());
        let found = |selector: &Selector| {
            let dedupe = Some(vec![selector.clone()]);
            let source = Source { event: EventPaths::default(), dedupe, ..self.lenient() };
            self.event(source).map(|event| event.key()) != body
        };
        let name =
            |selector: &Selector| selector.0.iter().map(shown).collect::<Vec<_>>().join(" or ");
        let selectors = self.source.dedupe.iter().flatten();
        selectors.map(|selector| (name(selector), found(selector))).collect()
    }
}

/// A place as the configuration writes it.
fn shown(place: &Place) -> String {
    match place {
        Place::Header(name) => format!("header:{name}"),
        Place::Pointer(tokens) if tokens.is_empty() => "\"\" (the whole body)".to_owned(),
        Place::Pointer(tokens) => {
            let escaped =
                |token: &String| format!("/{}", token.replace('~', "~0").replace('/', "~1"));
            tokens.iter().map(escaped).collect()
        }
    }
}

impl Event {
    /// In words what its key is made of.
    pub(super) fn key_words(&self) -> String {
        match self.key {
            Key::Id => "the provider's event id".to_owned(),
            Key::Body => "SHA-256 of the body, as nothing else is found".to_owned(),
            Key::Values => {
                let value = |(place, found): &(String, bool)| {
                    if *found { place.clone() } else { format!("{place} (absent)") }
                };
                self.values.iter().map(value).collect::<Vec<_>>().join(", ")
            }
        }
    }

    /// As JSON; values only where they are asked for.
    pub(super) fn json(&self, payload: bool) -> Value {
        let part = |part: &Part| {
            let found = part.place.is_some();
            let mut value = json!({ "found": found, "place": part.place, "looked": part.looked });
            if payload {
                value["value"] = part.value.clone().into();
            }
            (part.name.to_owned(), value)
        };
        let mut value = Value::Object(self.parts.iter().map(part).collect());
        value["data"]["size"] = (self.data.end - self.data.start).into();
        let kind = match self.key {
            Key::Id => "id",
            Key::Values => "values",
            Key::Body => "body",
        };
        let dedupe =
            self.values.iter().map(|(place, found)| json!({ "place": place, "found": found }));
        value["dedupe"] = json!({ "by": kind, "values": dedupe.collect::<Vec<_>>() });
        value["forwarded"] = self.wanted.into();
        if payload {
            value["normalized_type"] = self.kind.clone().into();
            value["digest"] = format!("sha256:{}", hex::encode(self.id_digest)).into();
        }
        value
    }
}
