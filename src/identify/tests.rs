use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};

use super::*;
use crate::admit::verify;
use crate::config::{Pattern, Selector};
use crate::event::{KeyKind, SourceName};
use crate::fuzzing::{open_source, places};
use crate::listen::Origin;

const NOW: UnixMillis = UnixMillis(1_736_937_000_412);

fn try_identify(
    source: Source,
    headers: &[(&'static str, &str)],
    body: &str,
) -> Result<Identification, Refusal> {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.append(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
    }
    let body = Bytes::copy_from_slice(body.as_bytes());
    let received = Received {
        source: Arc::new(source),
        headers: map,
        body,
        received_at: NOW,
        origin: Origin::nowhere(),
    };
    identify(verify(received).unwrap())
}

fn event_with(source: Source, headers: &[(&'static str, &str)], body: &str) -> Box<Identified> {
    match try_identify(source, headers, body).unwrap() {
        Identification::Event(event) => event,
        Identification::Challenge(_) => panic!("a challenge"),
    }
}

fn event(source: Source, body: &str) -> Box<Identified> {
    event_with(source, &[], body)
}

fn refusal(source: Source, headers: &[(&'static str, &str)], body: &str) -> Reason {
    try_identify(source, headers, body).unwrap_err().reason
}

fn with_paths(paths: impl FnOnce(&mut EventPaths)) -> Source {
    let mut source = open_source();
    paths(&mut source.event);
    source
}

fn with_dedupe(selectors: &[&[&str]]) -> Source {
    Source { dedupe: Some(selectors.iter().map(|s| places(s)).collect()), ..open_source() }
}

fn key_of(kind: KeyKind, value: &[u8]) -> DedupeKey {
    DedupeKey::new(&open_source().name, kind, value)
}

/// Derived, it printed the credential, the body and what was read out of it.
#[test]
fn debug_shows_nothing_of_what_was_sent() {
    let mut source = with_paths(|event| {
        event.kind = places(&["/type"]);
        event.id = places(&["/id"]);
        event.subject = places(&["/patient"]);
        event.tenant = places(&["/tenant"]);
    });
    source.forward_headers = vec![HeaderName::from_static("x-kept")];
    let body = r#"{"type":"a name","id":"a name","patient":"a name","tenant":"a name"}"#;
    let mut headers = HeaderMap::new();
    headers.insert("x-kept", HeaderValue::from_static("a name"));
    headers.insert("x-api-key", HeaderValue::from_static("a name"));
    let (body, source, origin) =
        (Bytes::from_static(body.as_bytes()), Arc::new(source), Origin::nowhere());
    let received = Received { source, headers, body, received_at: NOW, origin };
    let mut shown = format!("{received:?}");
    let verified = verify(received).unwrap();
    shown += &format!("{verified:?}");
    let identified = identify(verified).unwrap();
    shown += &format!("{identified:?}");
    assert!(shown.contains("x-kept"), "{shown}");
    assert!(!shown.contains("a name"), "{shown}");
}

#[test]
fn everything_is_read_out_of_an_event() {
    let source = with_paths(|event| {
        event.kind = places(&["/event_type"]);
        event.id = places(&["/event_id"]);
        event.time = places(&["/timestamp"]);
        event.subject = places(&["/data/order_id"]);
        event.tenant = places(&["/clinic_id"]);
        event.data = places(&["/data"]);
    });
    let body = r#"{"event_type":"order:shipped","event_id":"evt_abc123xyz",
        "timestamp":"2025-01-15T10:30:00.000Z","clinic_id":550,"data": {"order_id":"ord_12345"} }"#;
    let event = event_with(source, &[("content-type", "application/json; charset=utf-8")], body);
    let meta = event.meta();
    assert_eq!(meta.provider_type.as_deref(), Some("order:shipped"));
    assert_eq!(meta.provider_id.as_deref(), Some("evt_abc123xyz"));
    assert_eq!(meta.time, Some("2025-01-15T10:30:00Z".parse().unwrap()));
    assert_eq!(meta.subject.as_deref(), Some("ord_12345"));
    assert_eq!(meta.tenant.as_deref(), Some("550"));
    assert_eq!(meta.content_type.as_deref(), Some("application/json; charset=utf-8"));
    let data = meta.data.start as usize..meta.data.end as usize;
    assert_eq!(&body[data], r#"{"order_id":"ord_12345"}"#);
    assert_eq!(meta.id_digest, BodyHash::of(body.as_bytes()).0);
    assert_eq!(event.body_hash(), BodyHash::of(body.as_bytes()));
    assert_eq!(event.key(), key_of(KeyKind::ProviderId, b"evt_abc123xyz"));
    assert_eq!((event.normalized_type(), event.wanted()), ("order.shipped", true));
    assert_eq!((event.received_at(), event.source().name.as_str()), (NOW, "fuzz"));
}

#[test]
fn any_value_is_an_event_and_what_is_absent_is_left_out() {
    for (body, data) in [("1", 0..1), (" null\n", 1..5), ("\t[1, 2] ", 1..7), (r#""x""#, 0..3)] {
        let source = with_paths(|event| {
            event.kind = places(&["/type"]);
            event.data = places(&["/data", "header:x-data"]);
        });
        let event = event_with(source, &[("x-data", "1")], body);
        let digest = BodyHash::of(body.as_bytes());
        let expected = EventMeta { id_digest: digest.0, data, ..EventMeta::default() };
        assert_eq!(event.meta(), &expected, "{body}");
        assert_eq!(event.key(), key_of(KeyKind::Body, &digest.0));
        assert_eq!(event.normalized_type(), "unknown");
    }
}

#[test]
fn the_body_is_not_copied() {
    let body = Bytes::from_static(br#"{"data":1}"#);
    let received = Received {
        source: Arc::new(open_source()),
        headers: HeaderMap::new(),
        body: body.clone(),
        received_at: NOW,
        origin: Origin::nowhere(),
    };
    let Identification::Event(event) = identify(verify(received).unwrap()).unwrap() else {
        panic!("a challenge");
    };
    assert_eq!(event.body().as_ptr(), body.as_ptr());
}

#[test]
fn data_may_be_any_value_even_null() {
    for data in ["null", "[ 1 ]", "0", "\"\"", "{}"] {
        let body = format!(r#"{{"a":[{{}}],"data": {data} ,"b":1}}"#);
        let event = event(with_paths(|event| event.data = places(&["/nothing", "/data"])), &body);
        let span = event.meta().data.clone();
        assert_eq!(&body[span.start as usize..span.end as usize], data);
    }
}

#[test]
fn an_id_is_a_bounded_string_or_an_integer_and_else_the_next_place_is_tried() {
    let longest = "x".repeat(256);
    let id_of = |json: &str| {
        let source = with_paths(|event| event.id = places(&["/id", "/other"]));
        event(source, &format!(r#"{{"id":{json},"other":"next"}}"#)).meta().provider_id.clone()
    };
    for (json, id) in [
        (r#""evt_1""#, "evt_1"),
        (r#"" ""#, " "),
        (r#""\u0065vt\/1""#, "evt/1"),
        (r#""é😀""#, "é😀"),
        ("12345", "12345"),
        ("-7", "-7"),
        ("123456789012345678901234567890", "123456789012345678901234567890"),
        (&format!("\"{longest}\""), &longest),
        (&format!("\"{longest}x\""), "next"),
        (&format!("\"{}\"", "é".repeat(129)), "next"),
        (&"1".repeat(257), "next"),
        (r#""""#, "next"),
        (r#""a\u0000b""#, "next"),
        (r#""a\nb""#, "next"),
        (r#""a\u007f""#, "next"),
        (r#""a\u0085""#, "next"),
        ("1.0", "next"),
        ("1e3", "next"),
        ("null", "next"),
        ("true", "next"),
        (r#"["evt_1"]"#, "next"),
        (r#"{"id":"evt_1"}"#, "next"),
    ] {
        assert_eq!(id_of(json).as_deref(), Some(id), "{json}");
    }
}

#[test]
fn a_type_is_a_string_only() {
    let type_of = |json: &str| {
        let source = with_paths(|event| event.kind = places(&["/type"]));
        event(source, &format!(r#"{{"type":{json}}}"#)).meta().provider_type.clone()
    };
    assert_eq!(type_of(r#""Waiting Bin""#).as_deref(), Some("Waiting Bin"));
    for absent in ["5", "null", "\"\"", "\"a\\tb\"", "{}", &format!("\"{}\"", "x".repeat(257))] {
        assert_eq!(type_of(absent), None, "{absent}");
    }
}

#[test]
fn a_header_place_reads_exactly_one_header_of_visible_ascii() {
    let id = |headers: &[(&'static str, &str)]| {
        let source = with_paths(|event| event.id = places(&["header:x-delivery-id", "/id"]));
        event_with(source, headers, r#"{"id":"body"}"#).meta().provider_id.clone()
    };
    for (headers, expected) in [
        (vec![("x-delivery-id", "d-1")], "d-1"),
        (vec![("x-delivery-id", "12")], "12"),
        (vec![], "body"),
        (vec![("x-delivery-id", "")], "body"),
        (vec![("x-delivery-id", "d-1"), ("x-delivery-id", "d-1")], "body"),
        (vec![("x-delivery-id", "d\u{e9}")], "body"),
        (vec![("x-delivery-id", "a\tb")], "body"),
    ] {
        assert_eq!(id(&headers).as_deref(), Some(expected), "{headers:?}");
    }
}

#[test]
fn the_first_readable_time_is_taken() {
    let time = |body: &str| {
        let source = with_paths(|event| event.time = places(&["/at", "/meta/at", "header:x-at"]));
        event_with(source, &[("x-at", "1736937000")], body).meta().time.unwrap().to_string()
    };
    assert_eq!(time(r#"{"at":1}"#), "1970-01-01T00:00:01Z");
    assert_eq!(time(r#"{"at":"soon","meta":{"at":2}}"#), "1970-01-01T00:00:02Z");
    assert_eq!(time(r#"{"at":null}"#), "2025-01-15T10:30:00Z");
}

#[test]
fn a_dedupe_value_is_the_compact_array_of_what_is_found() {
    let selectors: [&[&str]; 4] = [&["/event"], &["/data/id"], &["/data/at"], &["/data/status"]];
    let body = r#"{ "event": "order:shipped", "data": {"id": 7, "status": "caf\u00e9"} }"#;
    let event = event(with_dedupe(&selectors), body);
    let array = r#"["order:shipped",7,null,"café"]"#;
    assert_eq!(event.key(), key_of(KeyKind::Values, array.as_bytes()));
    assert_eq!(hex::encode(event.meta().id_digest), ARRAY_SHA256);
}

/// By `printf '["order:shipped",7,null,"café"]' | sha256sum`.
const ARRAY_SHA256: &str = "933a109e36ebf31a176402f41db4a3d49b3c11dbae90cd46ad98e26f4b8e2cc7";

#[test]
fn every_kind_of_dedupe_value_has_one_compact_form() {
    for (found, compact) in [
        (r#""a""#, r#"["a"]"#),
        (r#""\u0061""#, r#"["a"]"#),
        (r#""\"\\\/\u000a\u001F""#, r#"["\"\\/\n\u001f"]"#),
        ("1.50", "[1.50]"),
        ("1E2", "[1E2]"),
        ("false", "[false]"),
        ("0", "[0]"),
        (" { \"b\" : [ 1 , 2 ] , \"a\" : \"x y\" } ", r#"[{"b":[1,2],"a":"x y"}]"#),
        ("{}", "[{}]"),
        ("[]", "[[]]"),
    ] {
        let event = event(with_dedupe(&[&["/v"]]), &format!(r#"{{"v":{found}}}"#));
        assert_eq!(event.key(), key_of(KeyKind::Values, compact.as_bytes()), "{found}");
    }
}

#[test]
fn dedupe_headers_are_strings_and_fallbacks_are_tried() {
    let source = || with_dedupe(&[&["/id", "header:x-id"], &["/status"]]);
    let key = |headers: &[(&'static str, &str)], body| event_with(source(), headers, body).key();
    let of = |array: &str| key_of(KeyKind::Values, array.as_bytes());
    assert_eq!(key(&[("x-id", "h\"1")], "{}"), of(r#"["h\"1",null]"#));
    assert_eq!(key(&[("x-id", "7")], r#"{"id":null,"status":"s"}"#), of(r#"["7","s"]"#));
    assert_eq!(key(&[("x-id", "7")], r#"{"id":"","status":""}"#), of(r#"["7",null]"#));
    assert_eq!(key(&[("x-id", "7")], r#"{"id":7}"#), of("[7,null]"));
}

#[test]
fn where_no_dedupe_value_is_found_the_body_is_the_key() {
    let source = || Source {
        event: EventPaths { id: places(&["/id"]), ..EventPaths::default() },
        ..with_dedupe(&[&["/a"], &["/b", "header:x-b"]])
    };
    for body in [r#"{"id":"1"}"#, r#"{"id":"1","a":null}"#, r#"{"id":"1","a":"","b":null}"#, "[]"] {
        let event = event(source(), body);
        let hash = BodyHash::of(body.as_bytes());
        assert_eq!(event.key(), key_of(KeyKind::Body, &hash.0), "{body}");
        assert_eq!(event.meta().id_digest, hash.0);
    }
}

#[test]
fn keys_are_of_the_source() {
    let named = |name| {
        let source = with_paths(|event| event.id = places(&["/id"]));
        event(Source { name: SourceName::new(name).unwrap(), ..source }, r#"{"id":"1"}"#).key()
    };
    assert_eq!(named("a"), named("a"));
    assert_ne!(named("a"), named("b"));
}

#[test]
fn patterns_over_the_normalized_name_decide_what_is_wanted() {
    let wanted = |patterns: Option<&[&str]>, name: &str| {
        let mut source = with_paths(|event| event.kind = places(&["/type"]));
        source.events = patterns.map(|p| p.iter().map(|p| Pattern((*p).to_owned())).collect());
        event(source, &format!(r#"{{"type":"{name}"}}"#)).wanted()
    };
    assert!(wanted(None, "anything"));
    assert!(wanted(Some(&["refill.*", "order.*"]), "Order:Shipped"));
    assert!(!wanted(Some(&["refill.*", "order.*"]), "kit.registered"));
    assert!(!wanted(Some(&[]), "order.shipped"));
}

#[test]
fn refusals_come_in_the_order_of_the_contract() {
    let day = Duration::from_secs(86_400);
    let strict = || Source {
        event: EventPaths { time: places(&["/at"]), ..EventPaths::default() },
        max_event_age: Some(day),
        require_event_time: true,
        ..open_source()
    };
    let text = [("content-type", "text/plain")];
    assert_eq!(refusal(strict(), &text, "{"), Reason::UnsupportedMediaType);
    let gzip = [("content-encoding", "gzip")];
    assert_eq!(refusal(strict(), &gzip, "{"), Reason::UnsupportedMediaType);
    for malformed in ["", "{", r#"{"a":1,"a":2}"#, "\u{feff}{}", r#""\ud800""#, "{}{}"] {
        assert_eq!(refusal(strict(), &[], malformed), Reason::MalformedJson, "{malformed}");
    }
    for old in ["{}", r#"{"at":"?"}"#, r#"{"at":1736850600}"#, r#"{"at":1737023401}"#] {
        assert_eq!(refusal(strict(), &[], old), Reason::EventTooOld, "{old}");
    }
    assert!(try_identify(strict(), &[], r#"{"at":1736850601}"#).is_ok());
    assert!(try_identify(strict(), &[], r#"{"at":1737023400}"#).is_ok());
}

#[test]
fn slacks_challenge_is_answered_and_only_slacks() {
    let slack = || Source { preset: Some(Preset::Slack), ..open_source() };
    let challenge = |source, body: &str| match try_identify(source, &[], body).unwrap() {
        Identification::Challenge(challenge) => Some(challenge),
        Identification::Event(_) => None,
    };
    let body = r#"{"token":"Jhj5dZrVaK7ZwHHjRyZWjbDl",
        "challenge":"3eZbrw1aBm2rZgRNFdxV2595E9CY3gmdALWMmHkvFXO7tYXAYM8P",
        "type":"url_verification"}"#;
    let expected = "3eZbrw1aBm2rZgRNFdxV2595E9CY3gmdALWMmHkvFXO7tYXAYM8P";
    assert_eq!(challenge(slack(), body).as_deref(), Some(expected));
    assert_eq!(challenge(open_source(), body), None);
    let sized =
        |n: usize| format!(r#"{{"type":"url_verification","challenge":"{}"}}"#, "c".repeat(n));
    assert!(challenge(slack(), &sized(1024)).is_some());
    for event in [
        &*sized(1025),
        r#"{"type":"event_callback","challenge":"c"}"#,
        r#"{"type":"url_verification"}"#,
        r#"{"type":"url_verification","challenge":1}"#,
        r#"{"event":{"type":"url_verification","challenge":"c"}}"#,
        "[]",
    ] {
        assert_eq!(challenge(slack(), event), None, "{event}");
    }
}

#[test]
fn an_empty_selector_finds_nothing() {
    let source = with_paths(|event| event.id = Selector::default());
    assert_eq!(event(source, r#"{"id":"1"}"#).meta().provider_id, None);
}
