use std::time::Duration;

use super::*;
use crate::config::Selector;
use crate::event::SourceName;

/// A source that only has its authentication.
pub(crate) fn source(auth: Auth) -> Source {
    Source { auth, ..Source::open(SourceName::new("lab").unwrap()) }
}

fn name(name: &'static str) -> HeaderName {
    HeaderName::from_static(name)
}

/// `HMAC-SHA256(body)` in hex in this header.
pub(crate) fn plain_hmac(header: &'static str, prefix: &str) -> HmacScheme {
    HmacScheme {
        header: name(header),
        algorithm: Algorithm::Sha256,
        encoding: Encoding::Hex,
        prefix: prefix.into(),
        signed: vec![SignedPart::Body],
        timestamp: None,
        signature_key: None,
        tolerance: None,
    }
}

fn event(body: &str) -> Outgoing {
    Outgoing { event_type: "order.made".into(), id: "e1".into(), body: body.into() }
}

fn signed(source: &Source, key: &str, seconds: u64, event: &Outgoing) -> HeaderMap {
    sign(source, &Secret::new(key.into()), UnixMillis(seconds * 1000 + 999), event).unwrap()
}

#[test]
fn signs_githubs_documented_example() {
    let github = source(Auth::Hmac(plain_hmac("x-hub-signature-256", "sha256=")));
    let headers = signed(&github, "It's a Secret to Everybody", 0, &event("Hello, World!"));
    assert_eq!(
        headers["x-hub-signature-256"],
        "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
    );
}

#[test]
fn signs_slacks_documented_example() {
    let mut scheme = plain_hmac("x-slack-signature", "v0=");
    scheme.timestamp = Some(TimestampPlace::Header(name("x-slack-request-timestamp")));
    scheme.tolerance = Some(Duration::from_secs(300));
    scheme.signed = vec![
        SignedPart::Literal("v0:".into()),
        SignedPart::Timestamp,
        SignedPart::Literal(":".into()),
        SignedPart::Body,
    ];
    let body = "token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow\
        &channel_id=G8PSS9T3V&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner\
        &command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands\
        %2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015.47445629121\
        .803a0bc887a14d10d2c447fce8b6703c";
    let slack = source(Auth::Hmac(scheme));
    let headers = signed(&slack, "8f742231b10e8888abcd99yyyzzz85a5", 1_531_420_618, &event(body));
    assert_eq!(headers["x-slack-request-timestamp"], "1531420618");
    assert_eq!(
        headers["x-slack-signature"],
        "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503"
    );
}

#[test]
fn signs_the_standard_webhooks_example() {
    let auth = Auth::StandardWebhooks { tolerance: Duration::from_secs(300), decoded: vec![] };
    let mut event = event(r#"{"test": 2432232314}"#);
    event.id = "msg_p5jXN8AQM9LWM0D4loKWxJek".into();
    let key = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    for key in [key, key.strip_prefix("whsec_").unwrap()] {
        let headers = signed(&source(auth.clone()), key, 1_614_265_330, &event);
        assert_eq!(headers["webhook-id"], event.id.as_str());
        assert_eq!(headers["webhook-timestamp"], "1614265330");
        let signature = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
        assert_eq!(headers["webhook-signature"], signature);
    }
}

/// The expected signature is what the `stripe` package of PyPI makes of the same input.
#[test]
fn signs_as_stripes_library_does() {
    let mut scheme = plain_hmac("stripe-signature", "");
    scheme.timestamp = Some(TimestampPlace::Item("t".into()));
    scheme.signature_key = Some("v1".into());
    scheme.signed = vec![SignedPart::Timestamp, SignedPart::Literal(".".into()), SignedPart::Body];
    let stripe = source(Auth::Hmac(scheme));
    let headers = signed(&stripe, "whsec_test_secret", 1_736_937_000, &event(r#"{"a":"é"}"#));
    assert_eq!(
        headers["stripe-signature"],
        "t=1736937000,v1=6168c365a586adf8b64a91a7536ad9b1aa33084a76a9bac908291cc1aae4881c"
    );
}

/// The expected signature is what `openssl dgst -sha256 -hmac KEY -binary | base64` prints.
#[test]
fn signs_as_shopify_documents() {
    let mut scheme = plain_hmac("x-shopify-hmac-sha256", "");
    scheme.encoding = Encoding::Base64;
    let mut shopify = source(Auth::Hmac(scheme));
    shopify.preset = Some(Preset::Shopify);
    let headers = signed(&shopify, "hush-hush-hush-hush", 0, &event(r#"{"id":1}"#));
    assert_eq!(headers["x-shopify-hmac-sha256"], "gqb/mZI8OCf3/j3Ur1xqzHGfmqHHhNnpOakaVHyc9dw=");
    assert_eq!(headers["x-shopify-topic"], "order.made");
    assert_eq!(headers["x-shopify-event-id"], "e1");
}

/// RFC 2202 (SHA-1) and RFC 4231 (SHA-512), test case 2 of each.
#[test]
fn the_other_algorithms_match_their_rfcs() {
    for (algorithm, expected) in [
        (Algorithm::Sha1, "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79"),
        (
            Algorithm::Sha512,
            "164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea2505549758bf75c05a994a6d034f\
             65f8f0e6fdcaeab1a34d4a6b4b636e070a38bce737",
        ),
    ] {
        let scheme = HmacScheme { algorithm, ..plain_hmac("x-signature", "") };
        let body = event("what do ya want for nothing?");
        assert_eq!(signed(&source(Auth::Hmac(scheme)), "Jefe", 0, &body)["x-signature"], expected);
    }
}

#[test]
fn an_api_key_stands_verbatim_in_its_header_and_nowhere_in_debug_output() {
    let lab = source(Auth::ApiKey { header: name("x-api-key") });
    let headers = signed(&lab, "a key with spaces", 0, &event("{}"));
    assert_eq!(headers["x-api-key"], "a key with spaces");
    assert!(!format!("{headers:?}").contains("spaces"));
}

#[test]
fn signed_headers_are_sent_and_covered() {
    let mut scheme = plain_hmac("x-signature", "");
    scheme.signed = vec![SignedPart::Header(name("x-id")), SignedPart::Body];
    let mut lab = source(Auth::Hmac(scheme));
    lab.event.id = Selector(vec![Place::Header(name("x-id"))]);
    let both = signed(&lab, "key", 0, &event("{}"));
    let plain = source(Auth::Hmac(plain_hmac("x-signature", "")));
    let joined = signed(&plain, "key", 0, &event("e1{}"));
    assert_eq!(both["x-id"], "e1");
    assert_eq!(both["x-signature"], joined["x-signature"]);
}

#[test]
fn providers_name_the_event_in_their_headers() {
    for (preset, expected) in [
        (Preset::GitHub, &[("x-github-event", "order.made"), ("x-github-delivery", "e1")][..]),
        (Preset::RxScale, &[("x-webhook-event", "order.made")]),
        (Preset::NovaMed, &[]),
    ] {
        let source = Source { preset: Some(preset), ..source(Auth::NoneDangerous) };
        let headers = signed(&source, "", 0, &event("{}"));
        assert_eq!(headers.len(), expected.len(), "{preset:?}");
        for (name, value) in expected {
            assert_eq!(headers[*name], value, "{preset:?}");
        }
    }
}

#[test]
fn what_the_source_reads_in_headers_is_sent_there() {
    let mut lab = source(Auth::NoneDangerous);
    let header = |at| Selector(vec![Place::Header(name(at))]);
    lab.event.kind = header("x-type");
    lab.event.id = header("x-id");
    lab.event.time = header("x-time");
    let headers = signed(&lab, "", 1_736_937_000, &event("{}"));
    assert_eq!(headers["x-type"], "order.made");
    assert_eq!(headers["x-id"], "e1");
    assert_eq!(headers["x-time"], "2025-01-15T10:30:00.999Z");
}

#[test]
fn what_cannot_be_sent_is_an_error() {
    let try_sign = |auth: Auth, key: &[u8]| {
        sign(&source(auth), &Secret::new(key.to_vec()), UnixMillis(0), &event("{}")).unwrap_err()
    };
    let header = name("x-api-key");
    assert_eq!(try_sign(Auth::ApiKey { header }, b"a\nb"), SignError::KeyInHeader);
    let standard = Auth::StandardWebhooks { tolerance: Duration::ZERO, decoded: vec![] };
    assert_eq!(try_sign(standard, b"not base64!"), SignError::KeyNotBase64);
    let mut lab = source(Auth::NoneDangerous);
    lab.event.id = Selector(vec![Place::Header(name("x-id"))]);
    let bad = Outgoing { id: "a\nb".into(), ..event("{}") };
    let refused = sign(&lab, &Secret::new(vec![]), UnixMillis(0), &bad).unwrap_err();
    assert_eq!(refused, SignError::ValueInHeader);
}

#[test]
fn a_forged_request_has_a_wrong_key_or_another_body() {
    let key = Secret::new(b"0123456789abcdef".to_vec());
    let event = event(r#"{"a":1}"#);
    let by_key = source(Auth::ApiKey { header: name("x-api-key") });
    let (headers, body) = forge(&by_key, &key, UnixMillis(0), &event).unwrap();
    assert_eq!(headers["x-api-key"], "0123456789abcde0");
    assert_eq!(body, event.body);

    let by_signature = source(Auth::Hmac(plain_hmac("x-signature", "")));
    let (headers, body) = forge(&by_signature, &key, UnixMillis(0), &event).unwrap();
    assert_eq!(headers, sign(&by_signature, &key, UnixMillis(0), &event).unwrap());
    assert_eq!(body, br#"{"forged":true,"a":1}"#);
    assert_eq!(altered(b"{ }"), b"{ } ");
    assert_eq!(altered(b"[1]"), b"[1] ");
}
