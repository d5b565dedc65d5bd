//! From a stored event to CloudEvents 1.0: structured JSON, or binary mode, whose attributes are HTTP
//! headers (HTTP Protocol Binding 1.0.2, section 3.1).
//!
//! `data` is copied byte for byte out of the provider's body and never parsed or re-serialized.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::Write;
use std::ops::Range;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::event::{EventMeta, normalize_type};
use crate::store::StoredEvent;

/// The media type of [`cloudevent`]'s bytes.
pub(super) const CONTENT_TYPE: &str = "application/cloudevents+json";

/// The media type of an event's data: identification takes nothing else.
pub(super) const DATA_CONTENT_TYPE: &str = "application/json";

/// Room for everything that is not `data` in an ordinary event.
const ENVELOPE: usize = 768;

/// The event as CloudEvents 1.0 structured JSON.
pub fn cloudevent(event: &StoredEvent) -> Vec<u8> {
    let meta = &event.meta;
    let data = data_of(event);
    let mut out = Vec::with_capacity(ENVELOPE + data.len());
    out.extend_from_slice(br#"{"specversion":"1.0","id":"#);
    push_string(&mut out, &id_of(event));
    out.extend_from_slice(br#","source":"urn:hookward:"#);
    out.extend_from_slice(event.source.as_str().as_bytes());
    out.extend_from_slice(br#"","type":""#);
    out.extend_from_slice(event.source.as_str().as_bytes());
    out.push(b'.');
    out.extend_from_slice(normalize_type(meta.provider_type.as_deref()).as_bytes());
    out.push(b'"');
    push_attribute(&mut out, r#","subject":"#, meta.subject.as_deref());
    if let Some(time) = time_of(meta) {
        print(&mut out, format_args!(r#","time":"{time}""#));
    }
    out.extend_from_slice(br#","datacontenttype":"application/json","recordedtime":""#);
    print(&mut out, format_args!("{}\"", event.received_at));
    push_attribute(&mut out, r#","providertype":"#, meta.provider_type.as_deref());
    push_attribute(&mut out, r#","tenant":"#, meta.tenant.as_deref());
    push_attribute(&mut out, r#","partitionkey":"#, meta.subject.as_deref());
    print(&mut out, format_args!(r#","sequence":"{:020}","data":"#, event.sequence.0));
    out.extend_from_slice(data);
    out.push(b'}');
    out
}

/// The event in binary mode: its attributes go into `headers`, its data is the body.
pub(super) fn binary(event: &StoredEvent, headers: &mut HeaderMap) -> Bytes {
    let meta = &event.meta;
    let source = event.source.as_str();
    let kind = format!("{source}.{}", normalize_type(meta.provider_type.as_deref()));
    let time = time_of(meta).map(|time| time.to_string());
    let required = [
        ("ce-specversion", "1.0"),
        ("ce-id", &id_of(event)),
        ("ce-source", &format!("urn:hookward:{source}")),
        ("ce-type", &kind),
        ("ce-recordedtime", &event.received_at.to_string()),
        ("ce-sequence", &format!("{:020}", event.sequence.0)),
    ];
    let optional = [
        ("ce-subject", meta.subject.as_deref()),
        ("ce-time", time.as_deref()),
        ("ce-providertype", meta.provider_type.as_deref()),
        ("ce-tenant", meta.tenant.as_deref()),
        ("ce-partitionkey", meta.subject.as_deref()),
    ];
    for (name, value) in required {
        put_header(headers, name, value);
    }
    for (name, value) in optional {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            put_header(headers, name, &attribute_text(value));
        }
    }
    event.body.slice(data_range(event))
}

/// Sets the header of an attribute. Its value is UTF-8 in which a space, `"`, `%` and whatever is no
/// printable ASCII is percent-encoded (HTTP Protocol Binding, section 3.1.3.2).
fn put_header(headers: &mut HeaderMap, name: &'static str, value: &str) {
    let mut encoded = String::with_capacity(value.len());
    for byte in value.bytes() {
        if matches!(byte, b'!'..=b'~') && byte != b'"' && byte != b'%' {
            encoded.push(byte.into());
        } else {
            // Writing into a string cannot fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    // It is printable ASCII now, so that this cannot fail either.
    if let Ok(value) = HeaderValue::from_maybe_shared(Bytes::from(encoded)) {
        headers.insert(HeaderName::from_static(name), value);
    }
}

fn data_of(event: &StoredEvent) -> &[u8] {
    event.body.get(data_range(event)).unwrap_or(&event.body)
}

/// The bytes identification named, or the whole body where the range holds nothing: an empty
/// `data` would not be JSON.
fn data_range(event: &StoredEvent) -> Range<usize> {
    let range = &event.meta.data;
    let found = usize::try_from(range.start).ok().zip(usize::try_from(range.end).ok());
    match found {
        Some((start, end)) if start < end && end <= event.body.len() => start..end,
        _ => 0..event.body.len(),
    }
}

/// `source` and `id` together are unique: where another event has this one's key and other
/// content, the body's hash keeps them apart.
fn id_of(event: &StoredEvent) -> Cow<'_, str> {
    match (&event.meta.provider_id, event.conflict) {
        (Some(id), false) => id.into(),
        (Some(id), true) => {
            let [a, b, c, d, e, f, g, h, ..] = event.body_hash.0;
            format!("{id}.{}", hex::encode([a, b, c, d, e, f, g, h])).into()
        }
        (None, conflict) => {
            let digest = if conflict { &event.body_hash.0 } else { &event.meta.id_digest };
            format!("sha256:{}", hex::encode(digest)).into()
        }
    }
}

/// RFC 3339 has no years before 0000; a provider's time that has one is left out.
fn time_of(meta: &EventMeta) -> Option<jiff::Timestamp> {
    const YEAR_0: i64 = -62_167_219_200;
    meta.time.filter(|time| time.as_second() >= YEAR_0)
}

/// An optional attribute of type String; an empty one is an absent one (CloudEvents 1.0, 3.1).
fn push_attribute(out: &mut Vec<u8>, name: &str, value: Option<&str>) {
    if let Some(value) = value.filter(|value| !value.is_empty()) {
        out.extend_from_slice(name.as_bytes());
        push_string(out, &attribute_text(value));
    }
}

/// `value` with each character that a CloudEvents String must not hold (control characters and
/// Unicode's noncharacters) as U+FFFD. An `id` is not treated so, for that could make two ids one;
/// identification has seen to it that it holds no control characters.
fn attribute_text(value: &str) -> Cow<'_, str> {
    if value.bytes().all(|b| (b' '..=b'~').contains(&b)) || !value.contains(is_disallowed) {
        return Cow::Borrowed(value);
    }
    Cow::Owned(value.replace(is_disallowed, "\u{FFFD}"))
}

fn is_disallowed(c: char) -> bool {
    let code = u32::from(c);
    c.is_control() || (0xFDD0..=0xFDEF).contains(&code) || code & 0xFFFE == 0xFFFE
}

fn push_string(out: &mut Vec<u8>, value: &str) {
    let plain = |b: u8| matches!(b, b' '..=b'~') && b != b'"' && b != b'\\';
    if value.bytes().all(plain) {
        out.push(b'"');
        out.extend_from_slice(value.as_bytes());
        out.push(b'"');
    } else {
        // Writing text into a vector cannot fail.
        let _ = serde_json::to_writer(out, value);
    }
}

fn print(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    // Writing into a vector cannot fail.
    let _ = out.write_fmt(text);
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::clock::UnixMillis;
    use crate::event::{BodyHash, EventId, Sequence, SourceName};

    const BODY: &str =
        r#"{"event_type":"order:shipped","data":{"order_id" : "ord_12345",  "n":1.10}}"#;

    fn event() -> StoredEvent {
        let body = Bytes::from_static(BODY.as_bytes());
        let start = BODY.find(r#"{"order_id""#).unwrap();
        StoredEvent {
            sequence: Sequence(42),
            id: EventId::new(UnixMillis(1_736_937_000_412), [7; 10]),
            received_at: UnixMillis(1_736_937_000_412),
            source: SourceName::new("novamed").unwrap(),
            body_hash: BodyHash::of(&body),
            conflict: false,
            meta: EventMeta {
                provider_id: Some("evt_abc123xyz".into()),
                id_digest: [0xab; 32],
                provider_type: Some("order:shipped".into()),
                subject: Some("ord_12345".into()),
                tenant: Some("550e8400-e29b-41d4-a716-446655440000".into()),
                time: Some("2025-01-15T10:30:00Z".parse().unwrap()),
                content_type: None,
                data: u32::try_from(start).unwrap()..u32::try_from(BODY.len() - 1).unwrap(),
                headers: Vec::new(),
            },
            body,
        }
    }

    fn text(event: &StoredEvent) -> String {
        String::from_utf8(cloudevent(event)).unwrap()
    }

    fn value(event: &StoredEvent) -> serde_json::Value {
        serde_json::from_slice(&cloudevent(event)).unwrap()
    }

    #[test]
    fn a_whole_event_is_written_in_the_contracts_order() {
        assert_eq!(
            text(&event()),
            concat!(
                r#"{"specversion":"1.0","id":"evt_abc123xyz","source":"urn:hookward:novamed","#,
                r#""type":"novamed.order.shipped","subject":"ord_12345","#,
                r#""time":"2025-01-15T10:30:00Z","datacontenttype":"application/json","#,
                r#""recordedtime":"2025-01-15T10:30:00.412Z","providertype":"order:shipped","#,
                r#""tenant":"550e8400-e29b-41d4-a716-446655440000","partitionkey":"ord_12345","#,
                r#""sequence":"00000000000000000042","#,
                r#""data":{"order_id" : "ord_12345",  "n":1.10}}"#,
            )
        );
    }

    #[test]
    fn absent_attributes_are_left_out() {
        let mut bare = event();
        let data = bare.meta.data.clone();
        bare.meta = EventMeta { id_digest: [0xab; 32], data, ..EventMeta::default() };
        bare.meta.subject = Some(String::new());
        assert_eq!(
            text(&bare),
            format!(
                concat!(
                    r#"{{"specversion":"1.0","id":"sha256:{}","source":"urn:hookward:novamed","#,
                    r#""type":"novamed.unknown","datacontenttype":"application/json","#,
                    r#""recordedtime":"2025-01-15T10:30:00.412Z","#,
                    r#""sequence":"00000000000000000042","#,
                    r#""data":{{"order_id" : "ord_12345",  "n":1.10}}}}"#,
                ),
                "ab".repeat(32)
            )
        );
    }

    #[test]
    fn a_conflicts_id_tells_it_from_the_event_whose_key_it_has() {
        let mut conflict = event();
        conflict.conflict = true;
        let hash = hex::encode(conflict.body_hash.0);
        assert_eq!(value(&conflict)["id"], format!("evt_abc123xyz.{}", &hash[..16]));
        conflict.meta.provider_id = None;
        assert_eq!(value(&conflict)["id"], format!("sha256:{hash}"));
    }

    #[test]
    fn text_survives_json_and_stays_valid_in_cloudevents() {
        for (given, attribute) in [
            ("plain", "plain"),
            ("quote \" backslash \\ slash /", "quote \" backslash \\ slash /"),
            ("ünïcode 漢字 🏥", "ünïcode 漢字 🏥"),
            ("\u{2028}", "\u{2028}"),
            ("a\nb\tc\u{0}d\u{7f}e\u{85}f", "a\u{fffd}b\u{fffd}c\u{fffd}d\u{fffd}e\u{fffd}f"),
            ("\u{fdd0}\u{fffe}\u{1ffff}\u{10fffd}", "\u{fffd}\u{fffd}\u{fffd}\u{10fffd}"),
        ] {
            let mut odd = event();
            odd.meta.provider_type = Some(given.into());
            odd.meta.subject = Some(given.into());
            odd.meta.tenant = Some(given.into());
            let value = value(&odd);
            for name in ["providertype", "subject", "tenant", "partitionkey"] {
                assert_eq!(value[name], attribute, "{name} of {given:?}");
            }
        }
    }

    #[test]
    fn ids_are_never_changed() {
        for id in ["1", "a\"b\\c", "ü 🏥", "\u{fffe}x", &"\"".repeat(256)] {
            let mut odd = event();
            odd.meta.provider_id = Some(id.into());
            assert_eq!(value(&odd)["id"], id);
        }
    }

    #[test]
    fn times_are_rfc_3339_or_left_out() {
        for (given, written) in [
            ("2025-01-15T10:30:00.123456789Z", Some("2025-01-15T10:30:00.123456789Z")),
            ("2025-01-15T10:30:00+02:00", Some("2025-01-15T08:30:00Z")),
            ("0000-01-01T00:00:00Z", Some("0000-01-01T00:00:00Z")),
            ("-000001-12-31T23:59:59Z", None),
        ] {
            let mut timed = event();
            timed.meta.time = Some(given.parse().unwrap());
            assert_eq!(value(&timed).get("time").and_then(|t| t.as_str()), written, "{given}");
        }
    }

    #[test]
    fn a_range_that_holds_nothing_gives_the_whole_body() {
        let len = u32::try_from(BODY.len()).unwrap();
        #[expect(clippy::reversed_empty_ranges, reason = "what damage could look like")]
        for range in [0..0, 5..len + 1, 9..3, u32::MAX..u32::MAX] {
            let mut odd = event();
            odd.meta.data = range.clone();
            assert!(text(&odd).ends_with(&format!(r#""data":{BODY}}}"#)), "{range:?}");
        }
    }

    fn in_binary(event: &StoredEvent) -> (HeaderMap, Bytes) {
        let mut headers = HeaderMap::new();
        let body = binary(event, &mut headers);
        (headers, body)
    }

    #[test]
    fn both_modes_say_the_same() {
        let mut bare = event();
        bare.meta = EventMeta { id_digest: [0xab; 32], ..EventMeta::default() };
        let mut conflict = event();
        conflict.conflict = true;
        for event in [event(), bare, conflict] {
            let structured = value(&event);
            let structured = structured.as_object().unwrap();
            let (headers, body) = in_binary(&event);
            // Byte for byte, and not a copy.
            assert_eq!(body, data_of(&event));
            let mut names: Vec<_> =
                headers.keys().map(|k| k.as_str().strip_prefix("ce-").unwrap()).collect();
            names.extend(["data", "datacontenttype"]);
            names.sort_unstable();
            assert_eq!(names, structured.keys().collect::<Vec<_>>());
            for (name, value) in &headers {
                let same = &structured[&name.as_str()[3..]];
                assert_eq!(value.to_str().unwrap(), same.as_str().unwrap(), "{name}");
            }
        }
    }

    #[test]
    fn attributes_are_percent_encoded_in_headers() {
        for (given, id, attribute) in [
            ("order:shipped/1~", "order:shipped/1~", "order:shipped/1~"),
            ("a b\"c%d", "a%20b%22c%25d", "a%20b%22c%25d"),
            ("Euro € 😀", "Euro%20%E2%82%AC%20%F0%9F%98%80", "Euro%20%E2%82%AC%20%F0%9F%98%80"),
            ("\u{7f}", "%7F", "%EF%BF%BD"),
            ("a\r\nx: y", "a%0D%0Ax:%20y", "a%EF%BF%BD%EF%BF%BDx:%20y"),
        ] {
            let mut odd = event();
            odd.meta.provider_id = Some(given.into());
            odd.meta.subject = Some(given.into());
            let (headers, _) = in_binary(&odd);
            assert_eq!(headers["ce-id"], id);
            assert_eq!(
                (&headers["ce-subject"], &headers["ce-partitionkey"]),
                (&attribute.parse().unwrap(), &attribute.parse().unwrap())
            );
        }
    }

    #[test]
    fn sequences_have_twenty_digits() {
        let mut last = event();
        last.sequence = Sequence(u64::MAX);
        assert_eq!(value(&last)["sequence"], "18446744073709551615");
    }
}
