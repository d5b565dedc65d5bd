//! Moments in the report's JSON: RFC 3339 in UTC, with milliseconds.

use serde::{Deserialize, Deserializer, Serializer, de};

use crate::clock::UnixMillis;

pub(super) fn serialize<S: Serializer>(at: &UnixMillis, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(at)
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<UnixMillis, D::Error> {
    let text = String::deserialize(from)?;
    let at: jiff::Timestamp = text.parse().map_err(de::Error::custom)?;
    u64::try_from(at.as_millisecond()).map(UnixMillis).map_err(de::Error::custom)
}

/// The same for one that may be absent: `null`.
pub(super) mod maybe {
    use super::{Deserialize as _, Deserializer, Serializer, UnixMillis};

    pub(in super::super) fn serialize<S: Serializer>(
        at: &Option<UnixMillis>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        match at {
            Some(at) => super::serialize(at, to),
            None => to.serialize_none(),
        }
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<UnixMillis>, D::Error> {
        let Some(text) = Option::<String>::deserialize(from)? else { return Ok(None) };
        let text = serde::de::value::StrDeserializer::<D::Error>::new(&text);
        super::deserialize(text).map(Some)
    }
}
