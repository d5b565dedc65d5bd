//! Finding an event's parts: the first of a selector's places that holds something usable.
//!
//! A header place reads exactly one header of visible ASCII; a repeated one holds nothing.

use std::ops::Range;

use http::{HeaderMap, HeaderName};

use crate::config::{Place, Selector};
use crate::json::{Document, Kind, Value};

/// Longest id, name, subject or tenant, in bytes. A longer one counts as absent.
const MAX_TEXT: usize = 256;

/// Where the places of a selector lead.
pub(super) struct Reader<'r> {
    pub(super) document: &'r Document<'r>,
    pub(super) headers: &'r HeaderMap,
}

/// What stands at a place.
#[derive(Clone, Copy)]
pub(super) enum Found<'r> {
    /// A value in the body.
    Json(Value<'r>),
    /// A header's value.
    Header(&'r str),
}

impl<'r> Reader<'r> {
    /// The first thing found that `read` can use.
    pub(super) fn first<T>(
        &self,
        selector: &Selector,
        read: impl Fn(Found<'r>) -> Option<T>,
    ) -> Option<T> {
        selector.0.iter().find_map(|place| read(self.find(place)?))
    }

    /// Where the event's data stands: the first value found, `null` included; if there is none,
    /// the whole body's value. Headers hold no data.
    pub(super) fn data(&self, selector: &Selector) -> Range<u32> {
        let span = self.first(selector, |found| match found {
            Found::Json(value) => Some(value.span()),
            Found::Header(_) => None,
        });
        span.unwrap_or_else(|| self.document.root().span())
    }

    fn find(&self, place: &Place) -> Option<Found<'r>> {
        match place {
            Place::Pointer(tokens) => self.document.pointer(tokens).map(Found::Json),
            Place::Header(name) => self.header(name).map(Found::Header),
        }
    }

    fn header(&self, name: &HeaderName) -> Option<&'r str> {
        let mut values = self.headers.get_all(name).iter();
        let value = values.next()?;
        if values.next().is_some() { None } else { value.to_str().ok() }
    }
}

/// An id, a subject or a tenant: a string of 1 to 256 bytes without control characters, or an
/// integer, whose text it is.
pub(super) fn identifier(found: Found<'_>) -> Option<String> {
    match found {
        Found::Json(value) if value.kind() == Kind::Number => integer(value.raw()),
        other => name(other),
    }
}

/// A string of 1 to 256 bytes without control characters.
pub(super) fn name(found: Found<'_>) -> Option<String> {
    let text = match found {
        Found::Json(value) => value.as_str()?,
        Found::Header(text) => text.into(),
    };
    let usable = (1..=MAX_TEXT).contains(&text.len()) && !text.chars().any(char::is_control);
    usable.then(|| text.into_owned())
}

fn integer(text: &str) -> Option<String> {
    let digits = text.bytes().all(|b| b.is_ascii_digit() || b == b'-');
    (digits && text.len() <= MAX_TEXT).then(|| text.to_owned())
}
