mod vectors;

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::MAX_SIGNATURES;
use crate::admit::{Received, Refusal, Verifier, verify};
use crate::audit::Reason::{self, *};
use crate::clock::UnixMillis;
use crate::config::{Algorithm, Auth, Encoding, HmacScheme, SignedPart, Source, TimestampPlace};
use crate::fuzzing;
use crate::listen::Origin;
use crate::secret::Secret;

const NOW: UnixMillis = UnixMillis(1_736_937_000_412);
const NOW_SECS: u64 = 1_736_937_000;
const FIVE_MINUTES: Duration = Duration::from_secs(300);

fn name(name: &str) -> HeaderName {
    HeaderName::from_bytes(name.as_bytes()).unwrap()
}

fn secret(bytes: &[u8]) -> Secret {
    Secret::new(bytes.to_vec())
}

fn source(auth: Auth, keys: &[&[u8]]) -> Arc<Source> {
    let keys = keys.iter().map(|key| secret(key)).collect();
    Arc::new(Source { auth, keys, ..fuzzing::open_source() })
}

fn request(source: &Arc<Source>, headers: &[(&str, &[u8])], body: &[u8]) -> Received {
    let header = |(n, value): &(&str, &[u8])| (name(n), HeaderValue::from_bytes(value).unwrap());
    let mut map = HeaderMap::new();
    for (n, value) in headers.iter().map(header) {
        map.append(n, value);
    }
    let body = Bytes::copy_from_slice(body);
    Received {
        source: Arc::clone(source),
        headers: map,
        body,
        received_at: NOW,
        origin: Origin::nowhere(),
    }
}

/// What the head alone decides, and then all of it: the first must refuse nothing that the second
/// lets through.
fn check_at(
    source: &Arc<Source>,
    headers: &[(&str, &str)],
    body: &[u8],
    now: UnixMillis,
) -> Result<(), Refusal> {
    let headers: Vec<_> = headers.iter().map(|(n, value)| (*n, value.as_bytes())).collect();
    let received = Received { received_at: now, ..request(source, &headers, body) };
    let head = check_head(source, &received);
    let all = verify(received).map(drop);
    match (head, all) {
        (Err(head), Ok(())) => panic!("the head is refused for {head}"),
        (Err(head), Err(all)) if head != all => {
            assert_eq!((head.reason, all.reason), (TimestampOutOfRange, SignatureInvalid));
        }
        (Ok(()), Err(all)) => assert_eq!(all.reason, SignatureInvalid, "the head shows it"),
        (Err(_), Err(_)) | (Ok(()), Ok(())) => {}
    }
    all
}

fn check_head(source: &Arc<Source>, request: &Received) -> Result<(), Refusal> {
    let verifier = Verifier::new(Arc::clone(source)).unwrap();
    verifier.check_head(&request.headers, request.received_at, &request.origin)
}

fn check(source: &Arc<Source>, headers: &[(&str, &str)], body: &[u8]) -> Result<(), Reason> {
    check_at(source, headers, body, NOW).map_err(|refusal| refusal.reason)
}

fn body_scheme(header: &str, prefix: &str) -> HmacScheme {
    HmacScheme {
        header: name(header),
        algorithm: Algorithm::Sha256,
        encoding: Encoding::Hex,
        prefix: prefix.to_owned(),
        signed: vec![SignedPart::Body],
        timestamp: None,
        signature_key: None,
        tolerance: None,
    }
}

fn literal(text: &str) -> SignedPart {
    SignedPart::Literal(text.to_owned())
}

fn stripe(keys: &[&[u8]]) -> Arc<Source> {
    let scheme = HmacScheme {
        signed: vec![SignedPart::Timestamp, literal("."), SignedPart::Body],
        timestamp: Some(TimestampPlace::Item("t".to_owned())),
        signature_key: Some("v1".to_owned()),
        tolerance: Some(FIVE_MINUTES),
        ..body_scheme("stripe-signature", "")
    };
    source(Auth::Hmac(scheme), keys)
}

fn slack(key: &[u8]) -> Arc<Source> {
    let scheme = HmacScheme {
        signed: vec![literal("v0:"), SignedPart::Timestamp, literal(":"), SignedPart::Body],
        timestamp: Some(TimestampPlace::Header(name("x-slack-request-timestamp"))),
        tolerance: Some(FIVE_MINUTES),
        ..body_scheme("x-slack-signature", "v0=")
    };
    source(Auth::Hmac(scheme), &[key])
}

fn standard_webhooks(keys: &[&[u8]]) -> Arc<Source> {
    let decoded = keys.iter().map(|key| secret(key)).collect();
    source(Auth::StandardWebhooks { tolerance: FIVE_MINUTES, decoded }, keys)
}

fn mac(key: &[u8], message: &[u8]) -> Vec<u8> {
    use hmac::{Hmac, KeyInit, Mac};
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(key).unwrap();
    mac.update(message);
    mac.finalize().into_bytes().to_vec()
}

fn hex_mac(key: &[u8], message: &str) -> String {
    hex::encode(mac(key, message.as_bytes()))
}

fn v1(key: &[u8], message: &str) -> String {
    format!("v1,{}", STANDARD.encode(mac(key, message.as_bytes())))
}

// ---- published vectors ----

#[test]
fn an_api_key_is_one_of_the_sources_verbatim() {
    let source = source(Auth::ApiKey { header: name("x-api-key") }, &[b"old-key", b"new-key"]);
    let x_api_key = |value| check(&source, &[("X-API-Key", value)], b"{}");
    assert_eq!(x_api_key("old-key"), Ok(()));
    assert_eq!(x_api_key("new-key"), Ok(()));
    for wrong in ["", "old", "old-key2", "OLD-KEY", "old-key,new-key", "Bearer old-key"] {
        assert_eq!(x_api_key(wrong), Err(CredentialInvalid), "{wrong:?}");
    }
    assert_eq!(check(&source, &[], b"{}"), Err(CredentialMissing));
    assert_eq!(check(&source, &[("x-key", "old-key")], b"{}"), Err(CredentialMissing));
    let twice = [("x-api-key", "old-key"), ("x-api-key", "old-key")];
    assert_eq!(check(&source, &twice, b"{}"), Err(CredentialInvalid));
}

#[test]
fn an_api_key_outside_printable_ascii_is_refused_even_if_it_is_right() {
    for key in [&b"caf\xc3\xa9-key"[..], b"tab\tkey", b"\xff\xfe"] {
        let source = source(Auth::ApiKey { header: name("x-api-key") }, &[key]);
        let refusal = verify(request(&source, &[("x-api-key", key)], b"{}")).unwrap_err();
        assert_eq!(refusal.reason, CredentialInvalid);
    }
}

// ---- HMAC ----

#[test]
fn a_signature_must_have_the_schemes_form() {
    let source = source(Auth::Hmac(body_scheme("x-sig", "sha256=")), &[b"key"]);
    let good = hex_mac(b"key", "{}");
    let sig = |value: &str| check(&source, &[("x-sig", value)], b"{}");
    assert_eq!(sig(&format!("sha256={good}")), Ok(()));
    assert_eq!(sig(&format!("sha256={}", good.to_uppercase())), Ok(()));
    for malformed in [
        String::new(),
        good.clone(),
        format!("SHA256={good}"),
        format!("sha1={good}"),
        format!("sha256={}", &good[..62]),
        format!("sha256={}", &good[..63]),
        format!("sha256={good}00"),
        format!("sha256= {good}"),
        format!("sha256={}", good.replace(|c: char| c.is_ascii_digit(), "g")),
        "sha256=".to_owned(),
        "sha256=5d41402abc4b2a76b9719d911017c592".to_owned(),
    ] {
        assert_eq!(sig(&malformed), Err(SignatureMalformed), "{malformed:?}");
    }
    assert_eq!(sig(&format!("sha256={}", hex_mac(b"other", "{}"))), Err(SignatureInvalid));
    assert_eq!(check(&source, &[], b"{}"), Err(SignatureMissing));
    let right = format!("sha256={good}");
    let twice = [("x-sig", right.as_str()), ("x-sig", &right)];
    assert_eq!(check(&source, &twice, b"{}"), Err(SignatureMalformed));
    let bytes = [right.as_bytes(), b",\xff"].concat();
    let refusal = verify(request(&source, &[("x-sig", &bytes)], b"{}")).unwrap_err();
    assert_eq!(refusal.reason, SignatureMalformed);
}

#[test]
fn base64_signatures_are_padded_and_of_the_tags_length() {
    let scheme = HmacScheme { encoding: Encoding::Base64, ..body_scheme("x-sig", "") };
    let source = source(Auth::Hmac(scheme), &[b"key"]);
    let good = STANDARD.encode(mac(b"key", b"{}"));
    let sig = |value: &str| check(&source, &[("x-sig", value)], b"{}");
    assert_eq!(sig(&good), Ok(()));
    let longer = STANDARD.encode([0; 33]);
    let long = STANDARD.encode([0; 600]);
    for malformed in [good.trim_end_matches('='), &good[..40], &longer, &long, "====", "*"] {
        assert_eq!(sig(malformed), Err(SignatureMalformed), "{malformed:?}");
    }
}

#[test]
fn any_of_several_signatures_by_any_of_several_keys_will_do() {
    let source = source(Auth::Hmac(body_scheme("x-sig", "v0=")), &[b"key-1", b"key-2"]);
    let (one, two) = (hex_mac(b"key-1", "{}"), hex_mac(b"key-2", "{}"));
    let other = hex_mac(b"key-3", "{}");
    let sig = |value: &str| check(&source, &[("x-sig", value)], b"{}");
    for good in [
        format!("v0={two}"),
        format!("v0={other},v0={one}"),
        format!("v0={other} v0={two}"),
        format!("v0={other}, v0={one}"),
        format!("v9=zzz,v0={one}"),
    ] {
        assert_eq!(sig(&good), Ok(()), "{good}");
    }
    assert_eq!(sig(&format!("v0={other},v0={other}")), Err(SignatureInvalid));
    let others = |n: usize| vec![format!("v0={other}"); n].join(",");
    assert_eq!(sig(&format!("{},v0={one}", others(MAX_SIGNATURES - 1))), Ok(()));
    assert_eq!(sig(&format!("{},v0={one}", others(MAX_SIGNATURES))), Err(SignatureMalformed));
}

#[test]
fn a_signature_header_with_a_timestamp_is_a_list_of_items() {
    let source = stripe(&[b"key"]);
    let v1 = hex_mac(b"key", &format!("{NOW_SECS}.{{}}"));
    let other = hex_mac(b"other", &format!("{NOW_SECS}.{{}}"));
    let sig = |value: &str| check(&source, &[("Stripe-Signature", value)], b"{}");
    for (header, answer) in [
        (format!("t={NOW_SECS},v1={v1}"), Ok(())),
        (format!("t={NOW_SECS}, v1={v1}"), Ok(())),
        (format!("v1={v1},t={NOW_SECS}"), Ok(())),
        (format!("t={NOW_SECS},v1={other},v1={v1},v0={other}"), Ok(())),
        (format!("t={NOW_SECS},v1={other}"), Err(SignatureInvalid)),
        (format!("t={NOW_SECS},v0={v1}"), Err(SignatureMalformed)),
        (format!("t={NOW_SECS}"), Err(SignatureMalformed)),
        (format!("t={NOW_SECS},v1={v1}00"), Err(SignatureMalformed)),
        (format!("t={NOW_SECS},v1"), Err(SignatureMalformed)),
        (v1.clone(), Err(SignatureMalformed)),
        (format!("v1={v1}"), Err(TimestampMissing)),
        (format!("T={NOW_SECS},v1={v1}"), Err(TimestampMissing)),
        (format!("t={NOW_SECS},t={NOW_SECS},v1={v1}"), Err(TimestampInvalid)),
        (format!("t={NOW_SECS},v1={v1},t=1"), Err(TimestampInvalid)),
        (format!("t=,v1={v1}"), Err(TimestampInvalid)),
        (format!("t={},v1={v1}", NOW_SECS + 1), Err(SignatureInvalid)),
    ] {
        assert_eq!(sig(&header), answer, "{header}");
    }
}

#[test]
fn timestamps_are_digits_within_the_tolerance_both_ways() {
    let source = stripe(&[b"key"]);
    let at = |t: &str| {
        let v1 = hex_mac(b"key", &format!("{t}.{{}}"));
        check(&source, &[("stripe-signature", &format!("t={t},v1={v1}"))], b"{}")
    };
    for (offset, answer) in [
        (0, Ok(())),
        (-300, Ok(())),
        (300, Ok(())),
        (-301, Err(TimestampOutOfRange)),
        (301, Err(TimestampOutOfRange)),
    ] {
        assert_eq!(at(&NOW_SECS.saturating_add_signed(offset).to_string()), answer, "{offset}");
    }
    assert_eq!(at("0"), Err(TimestampOutOfRange));
    assert_eq!(at("18446744073709551615"), Err(TimestampOutOfRange));
    for invalid in [
        "+1736937000",
        "-1736937000",
        "1736937000.5",
        "1e9",
        "0x67",
        "now",
        "18446744073709551616",
        "2025-01-15T10:30:00Z",
    ] {
        assert_eq!(at(invalid), Err(TimestampInvalid), "{invalid}");
    }
}

#[test]
fn a_timestamp_header_stands_once_and_is_signed_as_it_was_sent() {
    let slack = slack(b"key");
    let now = NOW_SECS.to_string();
    let signed = |t: &str| format!("v0={}", hex_mac(b"key", &format!("v0:{t}:{{}}")));
    let (good, padded) = (signed(&now), signed("0001736937000"));
    let (sig, at) = ("x-slack-signature", "x-slack-request-timestamp");
    for (headers, answer) in [
        (vec![(sig, good.as_str()), (at, &now)], Ok(())),
        (vec![(sig, &padded), (at, "0001736937000")], Ok(())),
        (vec![(sig, &good), (at, "0001736937000")], Err(SignatureInvalid)),
        (vec![(sig, &good)], Err(TimestampMissing)),
        (vec![(at, &now)], Err(SignatureMissing)),
        (vec![(sig, &good), (at, &now), (at, &now)], Err(TimestampInvalid)),
        (vec![(sig, &good), (at, "1736937000, 1736937000")], Err(TimestampInvalid)),
        (vec![(sig, &good), (at, "")], Err(TimestampInvalid)),
        (vec![(sig, &good), (at, "\u{e9}")], Err(TimestampInvalid)),
    ] {
        assert_eq!(check(&slack, &headers, b"{}"), answer, "{headers:?}");
    }
}

#[test]
fn a_signed_header_is_covered_and_stands_once() {
    let scheme = HmacScheme {
        signed: vec![SignedPart::Header(name("x-id")), literal("|"), SignedPart::Body],
        ..body_scheme("x-sig", "")
    };
    let source = source(Auth::Hmac(scheme), &[b"key"]);
    let sig = hex_mac(b"key", "abc|{}");
    let sig = ("x-sig", sig.as_str());
    assert_eq!(check(&source, &[sig, ("x-id", "abc")], b"{}"), Ok(()));
    assert_eq!(check(&source, &[sig, ("x-id", "abd")], b"{}"), Err(SignatureInvalid));
    assert_eq!(check(&source, &[sig], b"{}"), Err(SignatureMissing));
    let twice = [sig, ("x-id", "abc"), ("x-id", "abc")];
    assert_eq!(check(&source, &twice, b"{}"), Err(SignatureMalformed));
}

#[test]
fn a_genuine_request_that_is_late_is_told_from_a_forged_one() {
    let source = stripe(&[b"key"]);
    let forged = hex_mac(b"other", "1.{}");
    let header = format!("t=1,v1={forged}");
    assert_eq!(check(&source, &[("stripe-signature", &header)], b"{}"), Err(SignatureInvalid));
}

// ---- Standard Webhooks ----

#[test]
fn standard_webhooks_headers_stand_once_and_have_their_form() {
    let source = standard_webhooks(&[b"key-1", b"key-2"]);
    let now = NOW_SECS.to_string();
    let content = format!("msg_1.{now}.{{}}");
    let (good, second) = (v1(b"key-1", &content), v1(b"key-2", &content));
    let other = v1(b"key-3", &content);
    let unpadded = good.trim_end_matches('=');
    let v1a = good.replacen("v1,", "v1a,", 1);
    let (id, at, sig) = ("webhook-id", "webhook-timestamp", "webhook-signature");
    let both = format!("{other} {second}");
    let mixed = format!("v1a,abc {other} v1,??? {good} v2,xyz");
    let many = format!("{}{good}", format!("{other} ").repeat(MAX_SIGNATURES));
    for (headers, answer) in [
        (vec![(id, "msg_1"), (at, &*now), (sig, &*good)], Ok(())),
        (vec![(id, "msg_1"), (at, &now), (sig, &second)], Ok(())),
        (vec![(id, "msg_1"), (at, &now), (sig, &both)], Ok(())),
        (vec![(id, "msg_1"), (at, &now), (sig, &mixed)], Ok(())),
        (vec![(id, "msg_1"), (at, &now), (sig, &other)], Err(SignatureInvalid)),
        (vec![(id, "msg_2"), (at, &now), (sig, &good)], Err(SignatureInvalid)),
        (vec![(id, "msg_1"), (at, &now), (sig, &many)], Err(SignatureMalformed)),
        (vec![(id, "msg_1"), (at, &now), (sig, unpadded)], Err(SignatureMalformed)),
        (vec![(id, "msg_1"), (at, &now), (sig, &v1a)], Err(SignatureMalformed)),
        (vec![(id, "msg_1"), (at, &now), (sig, &good[3..])], Err(SignatureMalformed)),
        (vec![(id, "msg_1"), (at, &now), (sig, "v1,")], Err(SignatureMalformed)),
        (vec![(id, "msg_1"), (at, &now), (sig, "")], Err(SignatureMalformed)),
        (vec![], Err(SignatureMissing)),
        (vec![(id, "msg_1"), (at, &now)], Err(SignatureMissing)),
        (vec![(at, &now), (sig, &good)], Err(SignatureMissing)),
        (vec![(id, "msg_1"), (sig, &good)], Err(TimestampMissing)),
        (vec![(id, ""), (at, &now), (sig, &good)], Err(SignatureMalformed)),
        (vec![(id, "m\u{e9}"), (at, &now), (sig, &good)], Err(SignatureMalformed)),
        (vec![(id, "msg_1"), (id, "msg_1"), (at, &now), (sig, &good)], Err(SignatureMalformed)),
        (vec![(id, "msg_1"), (at, &now), (at, &now), (sig, &good)], Err(TimestampInvalid)),
        (vec![(id, "msg_1"), (at, &now), (sig, &good), (sig, &good)], Err(SignatureMalformed)),
        (vec![(id, "msg_1"), (at, "1736937000.4"), (sig, &good)], Err(TimestampInvalid)),
    ] {
        assert_eq!(check(&source, &headers, b"{}"), answer, "{headers:?}");
    }
}

#[test]
fn a_late_standard_webhook_is_refused() {
    let source = standard_webhooks(&[b"key"]);
    for (offset, answer) in [
        (-301, Err(TimestampOutOfRange)),
        (-300, Ok(())),
        (300, Ok(())),
        (301, Err(TimestampOutOfRange)),
    ] {
        let at = NOW_SECS.saturating_add_signed(offset).to_string();
        let sig = v1(b"key", &format!("m.{at}.{{}}"));
        let headers =
            [("webhook-id", "m"), ("webhook-timestamp", at.as_str()), ("webhook-signature", &sig)];
        assert_eq!(check(&source, &headers, b"{}"), answer, "{offset}");
    }
}

// ---- all of them ----

#[test]
fn no_scheme_lets_anything_through_without_keys() {
    let api_key = source(Auth::ApiKey { header: name("x-sig") }, &[]);
    let hmac = source(Auth::Hmac(body_scheme("x-sig", "")), &[]);
    assert_eq!(check(&api_key, &[("x-sig", "")], b""), Err(CredentialInvalid));
    assert_eq!(check(&hmac, &[("x-sig", &hex_mac(b"", ""))], b""), Err(SignatureInvalid));
    assert_eq!(check(&source(Auth::NoneDangerous, &[]), &[], b"anything"), Ok(()));
}

#[test]
fn a_verifier_refuses_requests_to_another_source() {
    let (one, two) = (source(Auth::NoneDangerous, &[]), source(Auth::NoneDangerous, &[]));
    let verifier = Verifier::new(Arc::clone(&one)).unwrap();
    assert!(verifier.verify(request(&one, &[], b"{}")).is_ok());
    let refusal = verifier.verify(request(&two, &[], b"{}")).unwrap_err();
    assert_eq!(refusal.reason, CredentialInvalid);
}

#[test]
fn neither_a_refusal_nor_a_verifier_shows_anything_of_key_or_request() {
    let source = source(Auth::ApiKey { header: name("x-api-key") }, &[b"hunter2-hunter2"]);
    let refusal = verify(request(&source, &[("x-api-key", b"presented")], b"{}")).unwrap_err();
    let verifier = Verifier::new(Arc::clone(&source)).unwrap();
    let shown = format!("{refusal} {refusal:?} {verifier:?}");
    assert!(!shown.contains("hunter2") && !shown.contains("presented"), "{shown}");
    assert_eq!(refusal.to_string(), "credential_invalid: the API key is none of the source's");
}
