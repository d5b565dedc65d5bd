//! The key that makes two requests one event.
//!
//! - Without `dedupe`, it is the provider's event id; without one, SHA-256 of the raw body.
//! - With `dedupe`, it is the compact JSON array of the values that its selectors find, in their
//!   order. A value from the body stands in its compact form: no whitespace outside strings,
//!   strings written as RFC 8785 (and `JSON.stringify`) writes them, numbers as they were sent,
//!   members in the order in which they were sent. A header's value stands as a JSON string. What
//!   is absent stands as `null`; `null` and the empty string count as absent, since neither tells
//!   one event from another. If all are absent, it is SHA-256 of the raw body.
//!
//! For `{"event": "order:shipped", "data": {"id": 7, "status": "caf\u00e9"}}` and `dedupe =
//! ["/event", "/data/id", "/data/at", "/data/status"]`, the array is
//! `["order:shipped",7,null,"café"]`.

use sha2::{Digest, Sha256};

use super::select::{Found, Reader};
use crate::config::{Selector, Source};
use crate::event::{BodyHash, DedupeKey, KeyKind};
use crate::json::{self, Kind};

/// What an event is known by.
pub(super) struct Identity {
    pub(super) key: DedupeKey,
    /// What stands as `sha256:HEX` where there is no provider's id: of the array, if the key is
    /// one, or else of the body.
    pub(super) digest: [u8; 32],
}

pub(super) fn identity(
    reader: &Reader<'_>,
    source: &Source,
    provider_id: Option<&str>,
    body: BodyHash,
) -> Identity {
    let key = |kind, value: &[u8]| DedupeKey::new(&source.name, kind, value);
    let values = source.dedupe.as_deref().and_then(|selectors| values(reader, selectors));
    match (&source.dedupe, values, provider_id) {
        (_, Some(values), _) => Identity {
            key: key(KeyKind::Values, values.as_bytes()),
            digest: Sha256::digest(&values).into(),
        },
        (None, None, Some(id)) => {
            Identity { key: key(KeyKind::ProviderId, id.as_bytes()), digest: body.0 }
        }
        _ => Identity { key: key(KeyKind::Body, &body.0), digest: body.0 },
    }
}

/// The compact JSON array of what the selectors find. `None`: none of them finds anything.
fn values(reader: &Reader<'_>, selectors: &[Selector]) -> Option<String> {
    let found = selectors.iter().map(|selector| reader.first(selector, compact));
    let found: Vec<Option<String>> = found.collect();
    if found.iter().all(Option::is_none) {
        return None;
    }
    let texts: Vec<&str> = found.iter().map(|value| value.as_deref().unwrap_or("null")).collect();
    Some(format!("[{}]", texts.join(",")))
}

/// A value's compact form. `None`: it is `null` or empty.
fn compact(found: Found<'_>) -> Option<String> {
    let mut out = String::new();
    match found {
        Found::Json(value) if value.kind() == Kind::Null => return None,
        Found::Json(value) => value.write_compact(&mut out),
        Found::Header(text) => json::write_string(text, &mut out),
    }
    (out != r#""""#).then_some(out)
}
