//! Events for tests of what comes after identification.

use super::*;
use crate::config::{Auth, EventPaths, OnConflict};
use crate::event::{KeyKind, SourceName};

/// An event of `source` that is known by its provider's id.
pub(crate) fn identified(
    source: &str,
    received_at: UnixMillis,
    body: &str,
    meta: EventMeta,
    on_conflict: OnConflict,
) -> Identified {
    let name = SourceName::new(source).unwrap();
    let id = meta.provider_id.clone().unwrap();
    let key = DedupeKey::new(&name, KeyKind::ProviderId, id.as_bytes());
    let source = Source {
        name,
        preset: None,
        path: format!("/hooks/{source}"),
        auth: Auth::NoneDangerous,
        keys: Vec::new(),
        allow_ips: None,
        max_event_age: None,
        require_event_time: false,
        event: EventPaths::default(),
        dedupe: None,
        on_conflict,
        events: None,
    };
    let body = Bytes::copy_from_slice(body.as_bytes());
    Identified {
        source: Arc::new(source),
        received_at,
        body_hash: BodyHash::of(&body),
        body,
        key,
        meta,
        normalized_type: "unknown".to_owned(),
        wanted: true,
    }
}
