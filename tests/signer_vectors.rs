//! The providers' own client libraries sign, Hookward verifies. The vectors are made by
//! `tests/signers/run`: those in `tests/vectors` stand in the repository, and
//! `HOOKWARD_SIGNER_VECTORS` names a file of fresh ones.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests may stop at the first surprise"
)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use base64::prelude::{BASE64_STANDARD, Engine};
use bytes::Bytes;
use hookward::admit::{self, Received};
use hookward::audit::Reason;
use hookward::clock::UnixMillis;
use hookward::config::{
    Algorithm, Auth, Encoding, HmacScheme, Place, Selector, SignedPart, Source, TimestampPlace,
};
use hookward::event::SourceName;
use hookward::listen::Origin;
use hookward::provider::sample::Outgoing;
use hookward::provider::sign;
use hookward::secret::Secret;
use http::{HeaderMap, HeaderName, HeaderValue};

const TOLERANCE: Duration = Duration::from_secs(300);

/// One signed request, as `sign.py` prints it.
#[derive(Clone, Debug, serde::Deserialize)]
struct Vector {
    scheme: String,
    signer: String,
    now: u64,
    secret: String,
    headers: BTreeMap<String, String>,
    body: String,
}

fn vectors() -> Vec<Vector> {
    let recorded = include_str!("vectors/signers.jsonl").to_owned();
    let fresh = std::env::var_os("HOOKWARD_SIGNER_VECTORS")
        .map(|file| std::fs::read_to_string(file).expect("HOOKWARD_SIGNER_VECTORS is readable"));
    let lines = [recorded, fresh.unwrap_or_default()].join("\n");
    lines
        .lines()
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_str(line).expect("a vector a line"))
        .collect()
}

/// HMAC-SHA256 of the body, in hex.
fn hmac(header: &'static str, prefix: &str) -> HmacScheme {
    HmacScheme {
        header: HeaderName::from_static(header),
        algorithm: Algorithm::Sha256,
        encoding: Encoding::Hex,
        prefix: prefix.into(),
        signed: vec![SignedPart::Body],
        timestamp: None,
        signature_key: None,
        tolerance: None,
    }
}

fn literal(text: &str) -> SignedPart {
    SignedPart::Literal(text.into())
}

fn at(header: &'static str) -> Option<TimestampPlace> {
    Some(TimestampPlace::Header(HeaderName::from_static(header)))
}

fn auth(scheme: &str, secret: &str) -> Auth {
    use SignedPart::{Body, Timestamp};
    Auth::Hmac(match scheme {
        "standard-webhooks" => {
            let key = BASE64_STANDARD.decode(secret.trim_start_matches("whsec_")).unwrap();
            let decoded = vec![Secret::new(key)];
            return Auth::StandardWebhooks { tolerance: TOLERANCE, decoded };
        }
        "github" => hmac("x-hub-signature-256", "sha256="),
        "c4hxp" => hmac("x-c4hxp-signature", "sha256="),
        "rxscale" => hmac("x-webhook-signature", ""),
        "shopify" => HmacScheme { encoding: Encoding::Base64, ..hmac("x-shopify-hmac-sha256", "") },
        "sha1-upper-hex" => {
            HmacScheme { algorithm: Algorithm::Sha1, ..hmac("x-lab-signature", "") }
        }
        "stripe" => HmacScheme {
            signed: vec![Timestamp, literal("."), Body],
            timestamp: Some(TimestampPlace::Item("t".into())),
            signature_key: Some("v1".into()),
            tolerance: Some(TOLERANCE),
            ..hmac("stripe-signature", "")
        },
        "slack" => HmacScheme {
            signed: vec![literal("v0:"), Timestamp, literal(":"), Body],
            timestamp: at("x-slack-request-timestamp"),
            tolerance: Some(TOLERANCE),
            ..hmac("x-slack-signature", "v0=")
        },
        "sha512-template" => HmacScheme {
            algorithm: Algorithm::Sha512,
            encoding: Encoding::Base64,
            signed: vec![
                Timestamp,
                literal("|"),
                SignedPart::Header(HeaderName::from_static("x-lab-id")),
                literal("|"),
                Body,
            ],
            timestamp: at("x-lab-timestamp"),
            tolerance: Some(TOLERANCE),
            ..hmac("x-lab-signature", "sha512:")
        },
        other => panic!("sign.py makes vectors for {other}, which this test does not know"),
    })
}

fn source(scheme: &str, secret: &str) -> Source {
    let keys = vec![Secret::new(secret.into())];
    Source { auth: auth(scheme, secret), keys, ..Source::open(SourceName::new("signed").unwrap()) }
}

impl Vector {
    fn header_map(&self) -> HeaderMap {
        let header = |(name, value): (&String, &String)| {
            let name: HeaderName = name.to_ascii_lowercase().parse().unwrap();
            (name, HeaderValue::from_str(value).unwrap())
        };
        self.headers.iter().map(header).collect()
    }

    /// The signature header's name: the first that looks like one.
    fn signature_header(&self) -> HeaderName {
        let signature = |name: &&HeaderName| {
            name.as_str().contains("signature") || name.as_str().contains("hmac")
        };
        self.header_map().keys().find(signature).expect("a signature header").clone()
    }

    fn has_timestamp(&self) -> bool {
        matches!(self.scheme.as_str(), "standard-webhooks" | "stripe" | "slack" | "sha512-template")
    }

    fn verify(&self) -> Result<(), Reason> {
        self.verify_with(self.header_map(), UnixMillis(self.now * 1000))
    }

    fn verify_with(&self, headers: HeaderMap, received_at: UnixMillis) -> Result<(), Reason> {
        let source = Arc::new(source(&self.scheme, &self.secret));
        let body = Bytes::from(self.body.clone().into_bytes());
        admit::verify(Received { source, headers, body, received_at, origin: Origin::nowhere() })
            .map(drop)
            .map_err(|refusal| refusal.reason)
    }

    fn label(&self) -> String {
        format!("{} by {} at {}: {:?}", self.scheme, self.signer, self.now, self.body)
    }
}

/// `text` with the character in the middle replaced by another hex or base64 digit.
fn altered(text: &str) -> String {
    let middle = text.len() / 2;
    let other = if text[middle..].starts_with(['a', 'A']) { "b" } else { "a" };
    [&text[..middle], other, &text[middle + 1..]].concat()
}

#[test]
fn what_the_providers_libraries_sign_is_verified() {
    let vectors = vectors();
    for vector in &vectors {
        assert_eq!(vector.verify(), Ok(()), "{}", vector.label());
    }
    let schemes: std::collections::BTreeSet<_> = vectors.iter().map(|v| &v.scheme).collect();
    assert_eq!(schemes.len(), 9, "{schemes:?}");
}

/// `send` and `demo` act as the providers: what they sign is what the libraries sign.
#[test]
fn hookwards_own_signer_makes_the_same_signatures() {
    for vector in vectors() {
        let mut source = source(&vector.scheme, &vector.secret);
        source.event.id = Selector(vec![Place::Header(HeaderName::from_static("x-lab-id"))]);
        let id = ["webhook-id", "X-Lab-Id"].iter().find_map(|name| vector.headers.get(*name));
        let event = Outgoing {
            event_type: "any".into(),
            id: id.cloned().unwrap_or_default(),
            body: vector.body.clone().into(),
        };
        let now = UnixMillis(vector.now * 1000 + 500);
        let headers = sign::sign(&source, &source.keys[0], now, &event).unwrap();
        for (name, value) in &vector.header_map() {
            let same = headers[name].as_bytes().eq_ignore_ascii_case(value.as_bytes());
            assert!(same, "{name}: {}", vector.label());
        }
    }
}

#[test]
fn a_changed_body_is_refused() {
    for vector in vectors() {
        let longer = vector.body.clone() + " ";
        let shorter = vector.body.chars().skip(1).collect();
        let other = format!("{}{}", if vector.body.starts_with('0') { '1' } else { '0' }, shorter);
        for body in [longer, shorter, other] {
            let changed = Vector { body, ..vector.clone() };
            assert_eq!(changed.verify(), Err(Reason::SignatureInvalid), "{}", vector.label());
        }
    }
}

#[test]
fn another_key_is_refused() {
    for vector in vectors() {
        let secret = altered(&vector.secret);
        let changed = Vector { secret, ..vector.clone() };
        assert_eq!(changed.verify(), Err(Reason::SignatureInvalid), "{}", vector.label());
    }
}

#[test]
fn a_changed_missing_or_repeated_signature_is_refused() {
    for vector in vectors() {
        let (name, now) = (vector.signature_header(), UnixMillis(vector.now * 1000));
        let value = vector.header_map()[&name].to_str().unwrap().to_owned();
        let mut headers = vector.header_map();
        headers.insert(&name, altered(&value).parse().unwrap());
        let refused = vector.verify_with(headers, now);
        assert_eq!(refused, Err(Reason::SignatureInvalid), "{}", vector.label());

        let mut headers = vector.header_map();
        headers.remove(&name);
        let refused = vector.verify_with(headers, now);
        assert_eq!(refused, Err(Reason::SignatureMissing), "{}", vector.label());

        let mut headers = vector.header_map();
        headers.append(&name, value.parse().unwrap());
        assert!(vector.verify_with(headers, now).is_err(), "{}", vector.label());
    }
}

#[test]
fn every_signed_header_is_covered() {
    for vector in vectors() {
        for name in vector.header_map().keys().filter(|n| **n != vector.signature_header()) {
            let mut headers = vector.header_map();
            let other = match headers[name].to_str().unwrap().parse::<u64>() {
                Ok(timestamp) => (timestamp + 1).to_string(),
                Err(_) => "other".to_owned(),
            };
            headers.insert(name, other.parse().unwrap());
            let refused = vector.verify_with(headers, UnixMillis(vector.now * 1000));
            assert_eq!(refused, Err(Reason::SignatureInvalid), "{name}: {}", vector.label());
        }
    }
}

#[test]
fn a_signature_is_good_for_the_tolerance_and_no_longer() {
    for vector in vectors().iter().filter(|v| v.has_timestamp()) {
        let now = UnixMillis(vector.now * 1000);
        let second = Duration::from_secs(1);
        for (at, expected) in [
            (now.after(TOLERANCE), Ok(())),
            (now.before(TOLERANCE), Ok(())),
            (now.after(TOLERANCE + second), Err(Reason::TimestampOutOfRange)),
            (now.before(TOLERANCE + second), Err(Reason::TimestampOutOfRange)),
        ] {
            let got = vector.verify_with(vector.header_map(), at);
            assert_eq!(got, expected, "{at}: {}", vector.label());
        }
    }
}
