//! What commonly goes wrong, done to signed requests, and found again.

use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;

use super::super::tests::{NOW, args, config, raw, secret, source, told};
use crate::cli::verify::{Args, time::Given};
use crate::clock::UnixMillis;
use crate::config::{Config, Source};
use crate::provider::sample::Outgoing;
use crate::provider::sign;
use crate::secret::Secret;

const SOURCES: &str = "\
    [source.lab]\nkeys = [{ env = \"OLD\" }, { env = \"LAB\" }]\n\
    auth = { kind = \"hmac\", header = \"X-Lab-Signature\", prefix = \"sha256=\", signed = \"{body}\" }\n\
    [source.timed]\nkeys = [{ env = \"TIMED\" }]\n\
    auth = { kind = \"hmac\", header = \"X-Sig\", signed = \"{timestamp}.{body}\", timestamp = \"t\", signature = \"v1\", tolerance = \"5m\" }\n\
    [source.standard]\nkeys = [{ env = \"STANDARD\" }]\nauth = { kind = \"standard-webhooks\", tolerance = \"5m\" }\n\
    [source.key]\nkeys = [{ env = \"KEY\" }]\nauth = { kind = \"api-key\", header = \"X-Key\" }\n";

const BODY: &str = "{\n  \"id\": \"é/1\",\n  \"n\": [1, {}]\n}";

fn signed(source: &Source, key: &Secret, body: &[u8]) -> HeaderMap {
    let event = Outgoing { event_type: "a".into(), id: "e1".into(), body: body.to_vec() };
    sign::sign(source, key, NOW, &event).unwrap()
}

/// The changes that are named for a request with these headers and this body: of each way, joined.
fn ways(config: &Config, name: &str, headers: &HeaderMap, body: &[u8]) -> Vec<String> {
    let capture = raw(&source(config, name).path, headers, body);
    let (said, words) = told(config, args(name), &capture);
    assert_eq!(said["accepted"], false, "{words}");
    let changes = |way: &Value| {
        let changes = way["changes"].as_array().unwrap().iter();
        changes.map(|change| change["change"].as_str().unwrap()).collect::<Vec<_>>().join("+")
    };
    said["would_pass"].as_array().unwrap().iter().map(changes).collect()
}

fn set(headers: &mut HeaderMap, name: &'static str, change: impl Fn(&str) -> String) {
    let value = change(headers.get(name).unwrap().to_str().unwrap());
    headers.insert(name, HeaderValue::from_str(&value).unwrap());
}

#[test]
fn a_body_that_was_changed_on_the_way_is_found() {
    let config = config(SOURCES);
    let compact = "{\"id\":\"é/1\",\"n\":[1,{}]}";
    for (sent, captured, way) in [
        (format!("{BODY}\n"), BODY.to_owned(), "body_with_lf"),
        (BODY.to_owned(), format!("{BODY}\n"), "body_without_newline"),
        (BODY.replace('\n', "\r\n"), BODY.to_owned(), "body_lf_to_crlf"),
        (BODY.to_owned(), BODY.replace('\n', "\r\n"), "body_crlf_to_lf"),
        (compact.to_owned(), BODY.to_owned(), "body_compact_json"),
        (r#"{"id":"\u00e9\/1","n":[1,{}]}"#.to_owned(), BODY.to_owned(), "body_compact_json"),
        (r#"{"id": "\u00e9/1", "n": [1, {}]}"#.to_owned(), compact.to_owned(), "body_spaced_json"),
        (
            format!(
                "{}\n",
                serde_json::to_string_pretty(&serde_json::json!({"id": "é/1"})).unwrap()
            ),
            "{\"id\":\"é/1\"}".to_owned(),
            "body_pretty_json",
        ),
    ] {
        for name in ["lab", "timed", "standard"] {
            let source = source(&config, name);
            let key = source.keys.last().unwrap();
            let headers = signed(source, key, sent.as_bytes());
            assert_eq!(
                ways(&config, name, &headers, captured.as_bytes()),
                [way],
                "{name} {sent:?}"
            );
        }
    }
}

#[test]
fn another_key_is_named_by_its_place() {
    let config = config(SOURCES);
    let lab = source(&config, "lab");
    for (key, way) in [
        (secret("TIMED").into_bytes(), "other_source_key"),
        (<sha2::Sha256 as sha2::Digest>::digest("LAB").to_vec(), "key_form"),
        (format!("{}\n", secret("LAB")).into_bytes(), "key_form"),
    ] {
        let headers = signed(lab, &Secret::new(key), BODY.as_bytes());
        assert_eq!(ways(&config, "lab", &headers, BODY.as_bytes()), [way]);
    }
    let headers = signed(lab, &Secret::new(secret("TIMED").into_bytes()), BODY.as_bytes());
    let (said, _) = told(&config, args("lab"), &raw(&lab.path, &headers, BODY.as_bytes()));
    let key = &said["would_pass"][0]["key"];
    assert_eq!((&key["source"], &key["number"]), (&"timed".into(), &1.into()));
    assert_eq!(key["place"], "the environment variable TIMED");
    // Two things at once: the other key, and a newline that an editor has added.
    let more = format!("{BODY}\n");
    assert_eq!(
        ways(&config, "lab", &headers, more.as_bytes()),
        ["body_without_newline+other_source_key"]
    );
}

#[test]
fn a_request_to_the_wrong_source_is_told_where_it_belongs() {
    let config = config(SOURCES);
    let timed = source(&config, "timed");
    let headers = signed(timed, &timed.keys[0], BODY.as_bytes());
    assert_eq!(ways(&config, "standard", &headers, BODY.as_bytes()), ["other_source"]);
}

#[test]
fn a_signature_that_is_written_in_another_way_is_found() {
    let config = config(SOURCES);
    let lab = source(&config, "lab");
    let right = || signed(lab, &lab.keys[1], BODY.as_bytes());
    let name = "x-lab-signature";
    let base64 = |hex: &str| {
        base64::Engine::encode(&base64::prelude::BASE64_STANDARD, hex::decode(hex).unwrap())
    };
    let mut missing = right();
    set(&mut missing, name, |value| value.replace("sha256=", ""));
    let mut encoded = right();
    set(&mut encoded, name, |value| format!("sha256={}", base64(&value["sha256=".len()..])));
    let mut both = right();
    set(&mut both, name, |value| base64(&value["sha256=".len()..]));
    let mut moved = right();
    let value = moved.remove(name).unwrap();
    moved.insert(HeaderName::from_static("x-signature"), value);
    for (headers, way) in [
        (missing, "prefix"),
        (encoded, "encoding"),
        (both, "encoding+prefix"),
        (moved, "other_header"),
    ] {
        assert_eq!(ways(&config, "lab", &headers, BODY.as_bytes()), [way]);
    }
    let standard = source(&config, "standard");
    let right = || signed(standard, &standard.keys[0], BODY.as_bytes());
    let mut missing = right();
    set(&mut missing, "webhook-signature", |value| value.replace("v1,", ""));
    let mut svix = HeaderMap::new();
    for part in ["id", "timestamp", "signature"] {
        let name = HeaderName::from_bytes(format!("svix-{part}").as_bytes()).unwrap();
        svix.insert(name, right()[format!("webhook-{part}").as_str()].clone());
    }
    for (headers, way) in [(missing, "prefix"), (svix, "other_header")] {
        assert_eq!(ways(&config, "standard", &headers, BODY.as_bytes()), [way]);
    }
    let verbatim = Secret::new(
        base64::Engine::encode(&base64::prelude::BASE64_STANDARD, secret("STANDARD")).into_bytes(),
    );
    let headers = signed(standard, &verbatim, BODY.as_bytes());
    assert_eq!(ways(&config, "standard", &headers, BODY.as_bytes()), ["key_form"]);
}

#[test]
fn an_api_key_that_is_written_in_another_way_is_found() {
    let config = config(SOURCES);
    let key = secret("KEY");
    for (name, value, way) in [
        ("x-key", format!("Bearer {key}"), "word_before"),
        ("x-key", format!("\"{key}\""), "quoted"),
        ("x-api-key", key.clone(), "other_header"),
        ("authorization", format!("Bearer {key}"), "other_header+word_before"),
        ("x-key", secret("LAB"), "other_source_key"),
    ] {
        let mut headers = HeaderMap::new();
        headers.insert(HeaderName::from_static(name), HeaderValue::from_str(&value).unwrap());
        assert_eq!(ways(&config, "key", &headers, b"{}"), [way], "{name}");
    }
}

#[test]
fn timestamps_are_judged_apart_from_the_signature() {
    let config = config(SOURCES);
    for (name, unit) in [("timed", "x-sig"), ("standard", "webhook-timestamp")] {
        let source = source(&config, name);
        let key = &source.keys[0];
        // Signed as it should be, and judged ten minutes later.
        let headers = signed(source, key, BODY.as_bytes());
        let capture = raw(&source.path, &headers, BODY.as_bytes());
        assert_eq!(told(&config, args(name), &capture).0["accepted"], true);
        let later = Some(Given::At(UnixMillis(NOW.0 + 600_000)));
        let (said, words) = told(&config, Args { at: later, ..args(name) }, &capture);
        assert_eq!(said["reason"], "timestamp_out_of_range", "{words}");
        assert_eq!(said["would_pass"][0]["changes"][0]["change"], "time", "{words}");
        // Milliseconds, signed as they are sent.
        let event = Outgoing { event_type: "a".into(), id: "e1".into(), body: BODY.into() };
        let headers = sign::sign(source, key, UnixMillis(NOW.0 * 1000), &event).unwrap();
        assert_eq!(ways(&config, name, &headers, BODY.as_bytes()), ["timestamp_unit"]);
        // Milliseconds sent, and seconds signed.
        let mut headers = signed(source, key, BODY.as_bytes());
        let (seconds, millis) = (NOW.as_secs().to_string(), NOW.0.to_string());
        set(&mut headers, unit, |value| value.replace(&seconds, &millis));
        assert_eq!(ways(&config, name, &headers, BODY.as_bytes()), ["timestamp_signed_in_s"]);
    }
}

/// A head full of signatures that could each be meant took 400 MB: each way to read one had a copy of the
/// head, and all that could be tried together was listed before anything was tried.
#[test]
fn a_head_full_of_signatures_is_bounded() {
    let config = config(SOURCES);
    let timed = source(&config, "timed");
    let right = signed(timed, &timed.keys[0], BODY.as_bytes())["x-sig"].clone();
    let mut headers = HeaderMap::new();
    for n in 0..90 {
        let name = HeaderName::from_bytes(format!("x-sig-{n}").as_bytes()).unwrap();
        headers.insert(name, right.clone());
    }
    let all = super::shapes::shapes(timed, &headers, &|_| true);
    assert_eq!(all.len(), super::shapes::MOST_SHAPES);
    let copies = all.iter().filter(|shape| !Arc::ptr_eq(&shape.headers, &all[0].headers));
    assert!(copies.count() < all.len() / 2, "those alone that differ in it");
    let body = format!("{BODY} ");
    assert_eq!(ways(&config, "timed", &headers, body.as_bytes()).len(), super::MOST_HINTS);
}
