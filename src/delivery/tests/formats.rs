//! What an event looks like to the app: the formats, and who has signed what.

use super::*;
use crate::config::{Algorithm, Auth, Encoding, HmacScheme, Resign, SignedPart, TimestampPlace};
use crate::event::KeptHeader;

fn name(name: &'static str) -> HeaderName {
    HeaderName::from_static(name)
}

fn kept(header: &'static str, value: &str, signature: bool) -> KeptHeader {
    KeptHeader { name: name(header), value: value.parse().unwrap(), signature }
}

fn provider_event() -> StoredEvent {
    let mut event = event();
    event.meta.content_type = Some("application/json; charset=utf-8".into());
    event.meta.headers = vec![
        kept("x-c4hxp-signature", "sha256=00", true),
        kept("x-event", "results:ready", false),
        kept("x-many", "1", false),
        kept("x-many", "2", false),
        kept("webhook-id", "never", false),
        kept("x-static", "never", false),
    ];
    event
}

/// What the app sees of one attempt at `event`.
async fn seen(event: &StoredEvent, change: impl FnOnce(&mut Upstream)) -> stand_in::Seen {
    let mut app = App::start(|| answer(204, &[], "")).await;
    let mut upstream = to(app.addr);
    change(&mut upstream);
    let forwarder = forwarder(upstream);
    let left = Duration::from_secs(3600);
    tokio::time::timeout(PATIENCE, attempt(&forwarder, event, 1, left)).await.unwrap();
    app.seen.recv().await.unwrap()
}

fn all<'s>(seen: &'s stand_in::Seen, name: &str) -> Vec<&'s str> {
    seen.parts.headers.get_all(name).iter().map(|value| value.to_str().unwrap()).collect()
}

#[tokio::test]
async fn binary_mode_has_the_attributes_in_headers_and_the_data_as_its_body() {
    let seen = seen(&provider_event(), |u| u.format = Format::CloudEventsBinary).await;
    assert_eq!(seen.body, r#"{"kit" : "k-1"}"#);
    for (name, value) in [
        ("content-type", "application/json"),
        ("content-length", "15"),
        ("ce-specversion", "1.0"),
        ("ce-id", "hook-1"),
        ("ce-type", "c4hxp.results.ready"),
        ("ce-source", "urn:hookward:c4hxp"),
        ("webhook-id", &event().id.to_string()),
    ] {
        assert_eq!(seen.header(name), value, "{name}");
    }
    assert!(all(&seen, "x-event").is_empty(), "a provider's headers are not CloudEvents'");
}

#[tokio::test]
async fn what_is_passed_through_is_what_the_provider_sent() {
    let event = provider_event();
    for keep in [false, true] {
        let seen = seen(&event, |upstream| {
            upstream.format = Format::Passthrough;
            upstream.headers.extend([header("x-static", "ours")]);
            if keep {
                upstream.original_signature = OriginalSignature::Keep;
            }
        });
        let seen = seen.await;
        assert_eq!(seen.body, BODY);
        assert_eq!(seen.header("content-type"), "application/json; charset=utf-8");
        assert_eq!(seen.header("x-event"), "results:ready");
        assert_eq!(all(&seen, "x-many"), ["1", "2"]);
        assert_eq!(seen.header("x-static"), "ours");
        assert_eq!(seen.header("webhook-id"), event.id.to_string());
        assert_eq!(seen.header("hookward-source"), "c4hxp");
        let signature = if keep { &["sha256=00"][..] } else { &[] };
        assert_eq!(all(&seen, "x-c4hxp-signature"), signature);
        assert!(!seen.parts.headers.keys().any(|name| name.as_str().starts_with("ce-")));
    }
}

#[tokio::test]
async fn without_a_content_type_of_the_providers_it_is_json() {
    let seen = seen(&event(), |upstream| upstream.format = Format::Passthrough).await;
    assert_eq!(seen.header("content-type"), "application/json");
}

fn c4hxp() -> HmacScheme {
    HmacScheme {
        header: name("x-c4hxp-signature"),
        algorithm: Algorithm::Sha256,
        encoding: Encoding::Hex,
        prefix: "sha256=".into(),
        signed: vec![SignedPart::Body],
        timestamp: None,
        signature_key: None,
        tolerance: None,
    }
}

fn mac(key: &[u8], content: &[u8]) -> Vec<u8> {
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(key).unwrap();
    mac.update(content);
    mac.finalize().into_bytes().to_vec()
}

/// The signature is over the provider's bytes with the app's key, and takes the original's place.
#[tokio::test]
async fn a_source_is_signed_anew_as_its_provider_signs() {
    let resign = |auth| {
        let key = Secret::new(b"the app's key".to_vec());
        let source = SourceName::new("c4hxp").unwrap();
        move |upstream: &mut Upstream| {
            upstream.format = Format::Passthrough;
            upstream.original_signature = OriginalSignature::Keep;
            upstream.resign = BTreeMap::from([(source, Resign { auth, key })]);
        }
    };
    let event = provider_event();
    let hmac = seen(&event, resign(Auth::Hmac(c4hxp()))).await;
    let expected = format!("sha256={}", hex::encode(mac(b"the app's key", BODY.as_bytes())));
    assert_eq!(hmac.header("x-c4hxp-signature"), expected);

    let stripe = HmacScheme {
        prefix: String::new(),
        signed: vec![
            SignedPart::Timestamp,
            SignedPart::Literal(".".into()),
            SignedPart::Header(name("x-event")),
            SignedPart::Body,
        ],
        timestamp: Some(TimestampPlace::Item("t".into())),
        signature_key: Some("v1".into()),
        ..c4hxp()
    };
    let content = format!("1736937000.results:ready{BODY}");
    let expected =
        format!("t=1736937000,v1={}", hex::encode(mac(b"the app's key", content.as_bytes())));
    let timed = seen(&event, resign(Auth::Hmac(stripe.clone()))).await;
    assert_eq!(timed.header("x-c4hxp-signature"), expected, "at the time of the attempt");

    let key = seen(&event, resign(Auth::ApiKey { header: name("x-api-key") })).await;
    assert_eq!(key.header("x-api-key"), "the app's key");

    let tolerance = Duration::from_secs(300);
    let auth = Auth::StandardWebhooks { tolerance, decoded: Vec::new() };
    let standard = seen(&event, resign(auth)).await;
    let content = format!("{}.1736937000.{BODY}", event.id);
    let expected = format!("v1,{}", STANDARD.encode(mac(b"the app's key", content.as_bytes())));
    assert_eq!(standard.header("webhook-signature"), expected);

    let mut other = provider_event();
    other.source = SourceName::new("other").unwrap();
    let other = seen(&other, resign(Auth::Hmac(c4hxp()))).await;
    assert_eq!(other.header("x-c4hxp-signature"), "sha256=00", "another source's is as it was");

    let mut bare = provider_event();
    bare.meta.headers.clear();
    let bare = seen(&bare, resign(Auth::Hmac(stripe))).await;
    assert!(all(&bare, "x-c4hxp-signature").is_empty(), "what it covers is not there");
}

#[tokio::test]
async fn a_delivery_has_a_signature_of_each_key() {
    let keys = [b"new", b"old"].map(|key| Secret::new(key.to_vec()));
    for format in [Format::CloudEvents, Format::CloudEventsBinary, Format::Passthrough] {
        let event = provider_event();
        let seen = seen(&event, |upstream| {
            upstream.format = format;
            upstream.signing_keys = keys.to_vec();
        });
        let seen = seen.await;
        let content = [format!("{}.1736937000.", event.id).as_bytes(), &seen.body].concat();
        let [new, old] = [&b"new"[..], b"old"].map(|key| STANDARD.encode(mac(key, &content)));
        assert_eq!(seen.header("webhook-signature"), format!("v1,{new} v1,{old}"), "{format:?}");
    }
}
