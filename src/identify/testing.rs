//! Events for tests of what comes after identification.

use super::*;
use crate::config::OnConflict;
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
    let source = Source { on_conflict, ..Source::open(name) };
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
