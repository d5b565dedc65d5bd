//! Requests: JSON, credentials and identification.
//!
//! An input that stands for a request is text: a first line that picks the source by its first
//! byte, header lines, an empty line, the body.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::value::RawValue;

use crate::admit::{self, Received, Refusal, Verified};
use crate::audit::Reason;
use crate::clock::UnixMillis;
use crate::config::{
    Algorithm, Auth, Encoding, EventPaths, HmacScheme, Place, Selector, SignedPart, Source,
    TimestampPlace,
};
use crate::event::SourceName;
use crate::identify::{self, Identification, Identified};
use crate::json::Document;
use crate::listen::Origin;
use crate::provider::Preset;
use crate::secret::Secret;

/// When every request of an input arrives: 2025-01-15T10:30:00.412Z.
pub const NOW: UnixMillis = UnixMillis(1_736_937_000_412);

/// The key of every source of an input.
pub const KEY: &[u8] = b"fuzzing-key-0123456789";

/// JSON: what is accepted, serde_json accepts as well; compacting it changes nothing but its form.
pub fn json(data: &[u8]) {
    let Ok(document) = Document::parse(data) else { return };
    assert!(serde_json::from_slice::<&RawValue>(data).is_ok(), "accepted what is not JSON");
    let mut compact = String::new();
    document.root().write_compact(&mut compact);
    let again = Document::parse(compact.as_bytes());
    let mut twice = String::new();
    if let Ok(again) = &again {
        again.root().write_compact(&mut twice);
    }
    assert_eq!(compact, twice, "the compact form is not its own compact form");
}

/// Credentials: a refusal is one of the credential's own, and a request that a MAC let through
/// does not get through with another body.
pub fn signature_headers(data: &[u8]) {
    let sample = Sample::read(data);
    let source = signed_source(sample.pick);
    let tampered = [&sample.body[..], b"x"].concat().into();
    match verified(&source, &sample, sample.body.clone()) {
        Err(refusal) => assert!(is_credential(refusal.reason), "{refusal}"),
        Ok(_) if matches!(source.auth, Auth::ApiKey { .. }) => {}
        Ok(_) => assert!(verified(&source, &sample, tampered).is_err(), "the MAC covers no body"),
    }
}

/// Identification: what is read out keeps its bounds, the data is JSON within the body, and the
/// same request gets the same key.
pub fn identity(data: &[u8]) {
    let sample = Sample::read(data);
    let source = identified_source(sample.pick);
    let (Some(event), Some(again)) = (identified(&source, &sample), identified(&source, &sample))
    else {
        return;
    };
    assert_eq!(event.key(), again.key(), "the key is not of the request alone");
    assert_eq!(event.meta(), again.meta());
    check_bounds(&event);
}

fn check_bounds(event: &Identified) {
    let meta = event.meta();
    for text in [&meta.provider_id, &meta.subject, &meta.tenant, &meta.provider_type] {
        let text = text.as_deref().unwrap_or("absent");
        assert!(!text.is_empty() && text.len() <= 256, "out of bounds");
        assert!(!text.chars().any(char::is_control), "a control character");
    }
    let data = event.body().get(meta.data.start as usize..meta.data.end as usize);
    let data = data.unwrap_or_default();
    assert!(serde_json::from_slice::<&RawValue>(data).is_ok(), "the data is not a JSON value");
    assert_eq!(data.trim_ascii(), data);
}

fn is_credential(reason: Reason) -> bool {
    use Reason::*;
    matches!(
        reason,
        CredentialMissing
            | CredentialInvalid
            | SignatureMissing
            | SignatureMalformed
            | SignatureInvalid
            | TimestampMissing
            | TimestampInvalid
            | TimestampOutOfRange
    )
}

fn verified(source: &Arc<Source>, sample: &Sample, body: Bytes) -> Result<Verified, Refusal> {
    let request = Received {
        source: Arc::clone(source),
        headers: sample.headers.clone(),
        body,
        received_at: NOW,
        origin: Origin::nowhere(),
    };
    admit::verify(request)
}

fn identified(source: &Arc<Source>, sample: &Sample) -> Option<Box<Identified>> {
    let verified = verified(source, sample, sample.body.clone()).ok()?;
    match identify::identify(verified).ok()? {
        Identification::Event(event) => Some(event),
        Identification::Challenge(_) => None,
    }
}

/// An input that stands for a request.
struct Sample {
    pick: u8,
    headers: HeaderMap,
    body: Bytes,
}

impl Sample {
    fn read(data: &[u8]) -> Self {
        let (head, body) = match memchr::memmem::find(data, b"\n\n") {
            Some(at) => (data.get(..at), data.get(at + 2..)),
            None => (Some(data), None),
        };
        let mut lines = head.unwrap_or_default().split(|b| *b == b'\n');
        let pick = lines.next().and_then(|line| line.first()).copied().unwrap_or_default();
        let body = Bytes::copy_from_slice(body.unwrap_or_default());
        Self { pick, headers: lines.filter_map(header).collect(), body }
    }
}

fn header(line: &[u8]) -> Option<(HeaderName, HeaderValue)> {
    let colon = memchr::memchr(b':', line)?;
    let name = HeaderName::from_bytes(line.get(..colon)?).ok()?;
    let value = HeaderValue::from_bytes(line.get(colon + 1..)?.trim_ascii()).ok()?;
    Some((name, value))
}

fn signed_source(pick: u8) -> Arc<Source> {
    let key = || Secret::new(KEY.to_vec());
    let auth = match pick {
        b'a' => Auth::ApiKey { header: HeaderName::from_static("x-api-key") },
        b'w' => {
            Auth::StandardWebhooks { tolerance: Duration::from_secs(300), decoded: vec![key()] }
        }
        _ => Auth::Hmac(hmac_scheme(pick)),
    };
    Arc::new(Source { auth, keys: vec![key()], ..open_source() })
}

fn hmac_scheme(pick: u8) -> HmacScheme {
    let body = HmacScheme {
        header: HeaderName::from_static("x-signature"),
        algorithm: Algorithm::Sha256,
        encoding: Encoding::Hex,
        prefix: "sha256=".to_owned(),
        signed: vec![SignedPart::Body],
        timestamp: None,
        signature_key: None,
        tolerance: None,
    };
    let timed = |timestamp, separator: &str| HmacScheme {
        signed: vec![
            SignedPart::Timestamp,
            SignedPart::Literal(separator.to_owned()),
            SignedPart::Body,
        ],
        timestamp: Some(timestamp),
        tolerance: Some(Duration::from_secs(300)),
        prefix: String::new(),
        ..body.clone()
    };
    match pick {
        b'i' => HmacScheme {
            signature_key: Some("v1".to_owned()),
            ..timed(TimestampPlace::Item("t".to_owned()), ".")
        },
        b'h' => timed(TimestampPlace::Header(HeaderName::from_static("x-timestamp")), ":"),
        b'1' => HmacScheme {
            algorithm: Algorithm::Sha1,
            encoding: Encoding::Base64,
            prefix: String::new(),
            ..body
        },
        b'5' => HmacScheme {
            algorithm: Algorithm::Sha512,
            encoding: Encoding::Base64,
            signed: vec![SignedPart::Header(HeaderName::from_static("x-id")), SignedPart::Body],
            prefix: String::new(),
            ..body
        },
        _ => body,
    }
}

fn identified_source(pick: u8) -> Arc<Source> {
    let event = EventPaths {
        kind: places(&["/type", "/event", "header:x-event"]),
        id: places(&["/id", "/meta/id", "header:x-id"]),
        time: places(&["/time", "/meta/time", "header:x-time"]),
        subject: places(&["/data/subject", "/data/0/id"]),
        tenant: places(&["/tenant"]),
        data: places(&["/data"]),
    };
    let source = Source { event, ..open_source() };
    Arc::new(match pick {
        b'd' => Source {
            dedupe: Some(vec![places(&["/id", "header:x-id"]), places(&["/data"])]),
            ..source
        },
        b'o' => Source { max_event_age: Some(Duration::from_secs(86_400)), ..source },
        b's' => Source { preset: Some(Preset::Slack), ..source },
        _ => source,
    })
}

/// Places as a configuration writes them, for pointers without `~`.
pub(crate) fn places(written: &[&str]) -> Selector {
    let place = |written: &&str| match written.strip_prefix("header:") {
        Some(name) => HeaderName::from_bytes(name.as_bytes()).ok().map(Place::Header),
        None => Some(Place::Pointer(written.split('/').skip(1).map(str::to_owned).collect())),
    };
    Selector(written.iter().filter_map(place).collect())
}

/// A source that anyone may send to, and that looks for nothing.
#[expect(clippy::expect_used, reason = "the name is a constant, and valid")]
pub(crate) fn open_source() -> Source {
    Source::open(SourceName::new("fuzz").expect("a valid name"))
}

#[cfg(test)]
mod tests {
    use super::*;

    type GetsThrough = fn(&[u8]) -> bool;

    /// A seed that gets no further than the first check teaches a fuzzer nothing.
    #[test]
    fn exactly_the_seeds_that_are_called_valid_get_through() {
        let gets_through: [(&str, GetsThrough); 3] = [
            ("json", |data| Document::parse(data).is_ok()),
            ("signature_headers", |data| {
                let sample = Sample::read(data);
                verified(&signed_source(sample.pick), &sample, sample.body.clone()).is_ok()
            }),
            ("identity", |data| {
                let sample = Sample::read(data);
                identified(&identified_source(sample.pick), &sample).is_some()
            }),
        ];
        for (target, gets_through) in gets_through {
            let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus/").to_owned() + target;
            for file in std::fs::read_dir(corpus).unwrap() {
                let path = file.unwrap().path();
                let valid = path.file_name().unwrap().to_str().unwrap().starts_with("valid-");
                assert_eq!(gets_through(&std::fs::read(&path).unwrap()), valid, "{path:?}");
            }
        }
    }
}
