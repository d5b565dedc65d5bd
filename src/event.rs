//! The words the whole crate shares about an event: its ids, its names and what was read out of
//! it. Imports nothing of ours but [`crate::clock`].

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use http::{HeaderName, HeaderValue};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::clock::UnixMillis;

/// Hookward's own id of an event: a UUIDv7 (RFC 9562), the same over all attempts and replays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventId(Uuid);

impl EventId {
    /// A new id for an event received at `at`; `random` fills the bits that are not time.
    pub fn new(at: UnixMillis, random: [u8; 10]) -> Self {
        Self(uuid::Builder::from_unix_timestamp_millis(at.0, &random).into_uuid())
    }

    /// The id with these 16 bytes, as they stand in the journal.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(Uuid::from_bytes(bytes))
    }

    /// The 16 bytes that stand in the journal.
    pub fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

impl std::str::FromStr for EventId {
    type Err = uuid::Error;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        Uuid::parse_str(s).map(Self)
    }
}

/// A frame's number in the journal, counted from 1 without gaps; an event is known by its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sequence(pub u64);

impl fmt::Display for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Longest name of a source or an upstream, in bytes.
pub const MAX_NAME_LEN: usize = 64;

/// Why a name was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a name is 1 to 64 of a-z, 0-9, '-' and '_', and starts with a letter or digit")]
pub struct InvalidName;

macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The name, if it is 1 to 64 of `a-z 0-9 - _` and starts with a letter or digit.
            ///
            /// # Errors
            /// [`InvalidName`] when it is not.
            pub fn new(name: &str) -> Result<Self, InvalidName> {
                let first = name.bytes().next().is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
                let all = name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_');
                if first && all && name.len() <= MAX_NAME_LEN { Ok(Self(name.into())) } else { Err(InvalidName) }
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name_type! {
    /// The name of a source, as in `[source.NAME]`.
    SourceName
}
name_type! {
    /// The name of an upstream, as in `[upstream.NAME]`.
    UpstreamName
}
name_type! {
    /// The name of an output of the audit trail, as in `[audit.output.NAME]`.
    OutputName
}

/// SHA-256 of an event's raw body: two events with the same one have the same content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BodyHash(pub [u8; 32]);

impl BodyHash {
    /// The hash of `body`.
    pub fn of(body: &[u8]) -> Self {
        Self(Sha256::digest(body).into())
    }
}

/// What makes two events one: a digest over the source's name and the value it is known by.
/// Two requests with the same key are the same event, or a conflict when their bodies differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DedupeKey(pub [u8; 32]);

impl DedupeKey {
    /// The key of the event that `source` knows by `value`; `kind` keeps apart values of
    /// different origin that happen to have the same bytes.
    pub fn new(source: &SourceName, kind: KeyKind, value: &[u8]) -> Self {
        let mut hash = Sha256::new();
        hash.update([u8::try_from(source.as_str().len()).unwrap_or(u8::MAX)]);
        hash.update(source.as_str());
        hash.update([kind as u8]);
        hash.update(value);
        Self(hash.finalize().into())
    }

    /// The key under which an event is stored whose first key was taken by other content.
    pub fn with_content(&self, body: &BodyHash) -> Self {
        let mut hash = Sha256::new();
        hash.update([KeyKind::Conflict as u8]);
        hash.update(self.0);
        hash.update(body.0);
        Self(hash.finalize().into())
    }
}

/// Where a dedupe key's value came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum KeyKind {
    /// The provider's event id.
    ProviderId = 1,
    /// The compact JSON array of the values that `dedupe` names.
    Values = 2,
    /// SHA-256 of the body.
    Body = 3,
    /// Another key together with the content that conflicted under it.
    Conflict = 4,
}

/// What identification read out of a verified event, beside its key.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct EventMeta {
    /// The provider's own event id: 1 to 256 bytes without control characters.
    pub provider_id: Option<String>,
    /// What stands as `sha256:HEX` where there is no provider's id: the digest of the raw body,
    /// or of the compact JSON array of the dedupe values.
    pub id_digest: [u8; 32],
    /// The event's name as the provider wrote it.
    pub provider_type: Option<String>,
    /// The entity the event is about.
    pub subject: Option<String>,
    /// Which of the provider's customers it is for.
    pub tenant: Option<String>,
    /// When it happened, by the provider.
    pub time: Option<jiff::Timestamp>,
    /// The request's content type, for forwarding the body as it came.
    pub content_type: Option<String>,
    /// Where in the body the event's data stands.
    pub data: Range<u32>,
    /// What is kept of the request's headers, for forwarding the body as it came.
    pub headers: Vec<KeptHeader>,
}

/// Shows nothing of what the provider sent.
impl fmt::Debug for EventMeta {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("EventMeta");
        shown.field("time", &self.time).field("data", &self.data);
        shown.field("headers", &self.headers).finish_non_exhaustive()
    }
}

/// A header of the provider's request. Its value is visible ASCII; it is no credential that would
/// authenticate anything but this event.
#[derive(Clone, PartialEq, Eq)]
pub struct KeptHeader {
    /// Its name.
    pub name: HeaderName,
    /// Its value.
    pub value: HeaderValue,
    /// Whether it is part of the provider's proof of who sent it: a signature or its timestamp.
    pub signature: bool,
}

/// Without the value: it is the provider's, and may be a signature.
impl fmt::Debug for KeptHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("KeptHeader");
        shown.field("name", &self.name).field("signature", &self.signature);
        shown.finish_non_exhaustive()
    }
}

/// The normalized form of a provider's event name: ASCII letters in lower case, digits, `_` and
/// `-` are kept, each run of anything else is one dot, dots at both ends go; nothing is `unknown`.
pub fn normalize_type(provider_type: Option<&str>) -> String {
    let mut out = String::new();
    let mut gap = false;
    for c in provider_type.unwrap_or_default().chars() {
        if c.is_ascii_alphanumeric() || c == '_' || c == '-' {
            if gap && !out.is_empty() {
                out.push('.');
            }
            gap = false;
            out.push(c.to_ascii_lowercase());
        } else {
            gap = true;
        }
    }
    if out.is_empty() { "unknown".to_owned() } else { out }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn event_names_are_normalized() {
        for (from, to) in [
            (Some("Waiting Bin"), "waiting.bin"),
            (Some("medication_request:approved"), "medication_request.approved"),
            (Some("order.shipped"), "order.shipped"),
            (Some("..a//b-c_d.."), "a.b-c_d"),
            (Some("Pre-Check"), "pre-check"),
            (Some("über"), "ber"),
            (Some("  "), "unknown"),
            (Some(""), "unknown"),
            (None, "unknown"),
        ] {
            assert_eq!(normalize_type(from), to, "{from:?}");
        }
    }

    #[test]
    fn names_are_bounded_and_plain() {
        assert!(SourceName::new("c4hxp").is_ok());
        assert!(SourceName::new("4lab-x_y").is_ok());
        for bad in ["", "-a", "_a", "A", "a b", "a/b", "ü", &"a".repeat(65)] {
            assert_eq!(SourceName::new(bad), Err(InvalidName), "{bad:?}");
        }
    }

    #[test]
    fn keys_differ_by_source_kind_and_content() {
        let (a, b) = (SourceName::new("a").unwrap(), SourceName::new("b").unwrap());
        let key = DedupeKey::new(&a, KeyKind::ProviderId, b"1");
        assert_eq!(key, DedupeKey::new(&a, KeyKind::ProviderId, b"1"));
        assert_ne!(key, DedupeKey::new(&b, KeyKind::ProviderId, b"1"));
        assert_ne!(key, DedupeKey::new(&a, KeyKind::Values, b"1"));
        assert_ne!(key, DedupeKey::new(&a, KeyKind::ProviderId, b"2"));
        assert_ne!(key, key.with_content(&BodyHash::of(b"{}")));
    }

    #[test]
    fn ids_are_uuids_of_version_7() {
        let id = EventId::new(UnixMillis(1_736_937_000_412), [7; 10]);
        assert_eq!(&id.to_string()[14..15], "7");
        assert_eq!(id.to_string().parse::<EventId>().unwrap(), id);
    }
}
