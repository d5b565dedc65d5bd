//! What is kept of a request's headers with its event, for upstreams that get the provider's bytes as
//! they came: what the source's `forward_headers` names, what its signature covers beside the body
//! and, if an upstream is to get it, the signature itself. Never a key: that is the same for all events.

use http::{HeaderMap, HeaderName};

use crate::config::defaults::{MAX_FORWARD_BYTES, MAX_FORWARD_HEADERS};
use crate::config::{Auth, HmacScheme, SignedPart, Source, TimestampPlace, is_credential};
use crate::event::KeptHeader;

/// The headers to keep, signatures first. What is not visible ASCII, or beyond the bounds, is left out:
/// an event is not refused for it.
pub(super) fn headers(source: &Source, headers: &HeaderMap) -> Vec<KeptHeader> {
    let scheme = match &source.auth {
        Auth::Hmac(scheme) => Some(scheme),
        // Hookward's own signature stands in those of Standard Webhooks.
        Auth::ApiKey { .. } | Auth::StandardWebhooks { .. } | Auth::NoneDangerous => None,
    };
    let mut kept = Kept { headers, list: Vec::new(), bytes: 0 };
    for name in scheme.into_iter().flat_map(proof).filter(|_| source.keep_signature) {
        kept.add(name, true);
    }
    for name in scheme.into_iter().flat_map(covered).chain(&source.forward_headers) {
        kept.add(name, false);
    }
    kept.list
}

/// Where the scheme's signature and timestamp stand.
fn proof(scheme: &HmacScheme) -> impl Iterator<Item = &HeaderName> {
    let timestamp = match &scheme.timestamp {
        Some(TimestampPlace::Header(name)) => Some(name),
        Some(TimestampPlace::Item(_)) | None => None,
    };
    std::iter::once(&scheme.header).chain(timestamp)
}

/// What else the scheme signs, but for credentials.
fn covered(scheme: &HmacScheme) -> impl Iterator<Item = &HeaderName> {
    let headers = scheme.signed.iter().filter_map(|part| match part {
        SignedPart::Header(name) => Some(name),
        SignedPart::Literal(_) | SignedPart::Timestamp | SignedPart::Body => None,
    });
    headers.filter(|name| !is_credential(name))
}

struct Kept<'h> {
    headers: &'h HeaderMap,
    list: Vec<KeptHeader>,
    bytes: usize,
}

impl Kept<'_> {
    /// Keeps all lines of this header, once.
    fn add(&mut self, name: &HeaderName, signature: bool) {
        if self.list.iter().any(|known| known.name == name) {
            return;
        }
        for value in self.headers.get_all(name) {
            let bytes = self.bytes + name.as_str().len() + value.len();
            let room = bytes <= MAX_FORWARD_BYTES && self.list.len() < MOST;
            if room && value.to_str().is_ok() {
                self.bytes = bytes;
                // A slice of the connection's buffer would hold all of it for as long as the event.
                let Ok(value) = value.as_bytes().try_into() else { continue };
                self.list.push(KeptHeader { name: name.clone(), value, signature });
            }
        }
    }
}

/// Lines at most: the journal counts them in a byte.
const MOST: usize = 2 * MAX_FORWARD_HEADERS;

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;
    use crate::config::{Algorithm, Encoding};
    use crate::event::SourceName;

    fn name(name: &'static str) -> HeaderName {
        HeaderName::from_static(name)
    }

    fn source(auth: Auth) -> Source {
        let forward_headers = vec![name("x-event"), name("x-many"), name("x-absent")];
        Source { auth, forward_headers, ..Source::open(SourceName::new("lab").unwrap()) }
    }

    fn hmac() -> Auth {
        Auth::Hmac(HmacScheme {
            header: name("x-signature"),
            algorithm: Algorithm::Sha256,
            encoding: Encoding::Hex,
            prefix: String::new(),
            signed: vec![
                SignedPart::Header(name("x-nonce")),
                SignedPart::Header(name("x-api-key")),
                SignedPart::Header(name("authorization")),
                SignedPart::Body,
            ],
            timestamp: Some(TimestampPlace::Header(name("x-timestamp"))),
            signature_key: None,
            tolerance: None,
        })
    }

    fn request() -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("x-signature", "abc"),
            ("x-timestamp", "17"),
            ("x-nonce", "n"),
            ("x-event", "order.made"),
            ("x-many", "1"),
            ("x-many", "2"),
            ("x-api-key", "hunter2"),
            ("authorization", "hunter2"),
        ] {
            headers.append(name, HeaderValue::from_static(value));
        }
        headers
    }

    fn shown(source: &Source) -> Vec<String> {
        let kept = headers(source, &request());
        let line = |kept: &KeptHeader| {
            let mark = if kept.signature { "!" } else { "" };
            format!("{mark}{}: {}", kept.name, kept.value.to_str().unwrap())
        };
        kept.iter().map(line).collect()
    }

    #[test]
    fn chosen_headers_are_kept_and_no_key_ever_is() {
        let chosen = ["x-event: order.made", "x-many: 1", "x-many: 2"];
        for auth in [Auth::ApiKey { header: name("x-api-key") }, Auth::NoneDangerous] {
            let mut source = source(auth);
            assert_eq!(shown(&source), chosen);
            source.keep_signature = true;
            assert_eq!(shown(&source), chosen);
        }
    }

    #[test]
    fn a_signature_is_kept_only_when_an_upstream_is_to_get_it() {
        let mut source = source(hmac());
        let rest = ["x-nonce: n", "x-event: order.made", "x-many: 1", "x-many: 2"];
        assert_eq!(shown(&source), rest);
        source.keep_signature = true;
        assert_eq!(shown(&source)[..2], ["!x-signature: abc", "!x-timestamp: 17"]);
        assert_eq!(shown(&source)[2..], rest);
    }

    #[test]
    fn what_is_too_much_or_no_text_is_left_out() {
        let source = source(Auth::NoneDangerous);
        let mut request = HeaderMap::new();
        request.append("x-event", HeaderValue::from_bytes(b"\xff").unwrap());
        request.append("x-event", "y".repeat(MAX_FORWARD_BYTES - 6).parse().unwrap());
        request.append("x-event", "short".parse().unwrap());
        for n in 0..100 {
            request.append("x-many", n.into());
        }
        let kept = headers(&source, &request);
        assert_eq!(kept.len(), MOST);
        assert_eq!((&kept[0].name, kept[0].value.as_bytes()), (&name("x-event"), &b"short"[..]));
        assert_eq!(kept[1].value, "0");
    }
}
