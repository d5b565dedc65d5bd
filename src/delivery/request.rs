//! The request of an attempt: what the upstream's format makes of a stored event, with the headers by
//! which the app knows the gateway, the event and the attempt.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri};
use http_body_util::Full;
use zeroize::Zeroizing;

use super::sign::{Signer, Signers};
use super::{StartProblem, normalize};
use crate::clock::UnixMillis;
use crate::config::{Auth, Format, OriginalSignature, Resign, Upstream};
use crate::event::{EventId, SourceName};
use crate::provider::sign::prove;
use crate::store::StoredEvent;

const WEBHOOK_ID: HeaderName = HeaderName::from_static("webhook-id");
const WEBHOOK_TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
const WEBHOOK_SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const HOOKWARD_SOURCE: HeaderName = HeaderName::from_static("hookward-source");
const HOOKWARD_ATTEMPT: HeaderName = HeaderName::from_static("hookward-attempt");
const HOOKWARD_EVENT_ID: HeaderName = HeaderName::from_static("hookward-event-id");

/// Headers that differ from one attempt to the next.
const PER_ATTEMPT: [HeaderName; 6] = [
    WEBHOOK_ID,
    WEBHOOK_TIMESTAMP,
    TRACEPARENT,
    HOOKWARD_SOURCE,
    HOOKWARD_ATTEMPT,
    HOOKWARD_EVENT_ID,
];

/// Headers beside our own that the configuration must not set, because the body's framing or the
/// connection's life hang on them, or what the body is.
const RESERVED: [&str; 11] = [
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "expect",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// What all requests to one upstream have in common.
#[derive(Debug)]
pub(super) struct Template {
    url: Uri,
    format: Format,
    /// The headers, with empty values for those in [`PER_ATTEMPT`]: a copy of it has room for all
    /// of them.
    headers: HeaderMap,
    signers: Signers,
    keep_signature: bool,
    resign: BTreeMap<SourceName, Resigner>,
}

/// How events of one source are signed for the app, beside Hookward's own signature.
#[derive(Debug)]
enum Resigner {
    /// One more signature beside Hookward's own, over Hookward's own id.
    Standard(Signer),
    /// As the provider would.
    Provider(Resign),
}

impl Template {
    /// The template of requests to `upstream`.
    ///
    /// # Errors
    /// [`StartProblem`] when a configured header cannot be sent.
    pub(super) fn new(upstream: &Upstream) -> Result<Self, StartProblem> {
        let resigner = |(source, resign): (&SourceName, &Resign)| {
            let resigner = match &resign.auth {
                Auth::StandardWebhooks { .. } => Resigner::Standard(Signer::new(&resign.key)),
                _ => Resigner::Provider(resign.clone()),
            };
            (source.clone(), resigner)
        };
        Ok(Self {
            url: upstream.url.clone(),
            format: upstream.format,
            headers: base_headers(upstream)?,
            signers: Signers::new(&upstream.signing_keys),
            keep_signature: upstream.original_signature == OriginalSignature::Keep,
            resign: upstream.resign.iter().map(resigner).collect(),
        })
    }

    /// The request of the attempt with this number, begun at `at`.
    pub(super) fn request(
        &self,
        event: &StoredEvent,
        number: u32,
        at: UnixMillis,
        rng: &mut fastrand::Rng,
    ) -> Request<Full<Bytes>> {
        let mut headers = self.headers.clone();
        let body = self.body(event, &mut headers);
        let resigner = self.resign.get(&event.source);
        if let Some(Resigner::Provider(Resign { auth, key })) = resigner {
            // It fails only where a header that the signature covers was not kept, as for an event
            // from before the source had such a scheme: then there is no signature.
            let _ = prove(auth, key, at, &body, &mut headers);
        }
        let more = match resigner {
            Some(Resigner::Standard(signer)) => Some(signer),
            Some(Resigner::Provider(_)) | None => None,
        };
        let id = event.id.to_string();
        let signature = self.signers.sign(more, &id, at.as_secs(), &body);

        let id = text(id);
        headers.insert(WEBHOOK_ID, id.clone());
        headers.insert(HOOKWARD_EVENT_ID, id);
        headers.insert(WEBHOOK_TIMESTAMP, at.as_secs().into());
        headers.insert(TRACEPARENT, text(traceparent(event.id, rng)));
        headers.insert(HOOKWARD_SOURCE, text(event.source.as_str().to_owned()));
        headers.insert(HOOKWARD_ATTEMPT, number.into());
        if let Some(signature) = signature {
            headers.insert(WEBHOOK_SIGNATURE, text(signature));
        }

        let mut request = Request::new(Full::new(body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.url.clone();
        *request.headers_mut() = headers;
        request
    }

    /// The body, and the headers that go with it.
    fn body(&self, event: &StoredEvent, headers: &mut HeaderMap) -> Bytes {
        match self.format {
            Format::CloudEvents => normalize::cloudevent(event).into(),
            Format::CloudEventsBinary => normalize::binary(event, headers),
            Format::Passthrough => {
                let content_type = event.meta.content_type.as_deref();
                if let Some(Ok(value)) = content_type.map(HeaderValue::from_str) {
                    headers.insert(CONTENT_TYPE, value);
                }
                for kept in &event.meta.headers {
                    // What the configuration or Hookward itself sets stands above it.
                    let ours = self.headers.contains_key(&kept.name) || is_reserved(&kept.name);
                    if !ours && (self.keep_signature || !kept.signature) {
                        headers.append(kept.name.clone(), kept.value.clone());
                    }
                }
                event.body.clone()
            }
        }
    }
}

/// W3C Trace Context, level 1. The trace is the event: its id's 16 bytes, over all attempts; the
/// span is the attempt.
fn traceparent(event: EventId, rng: &mut fastrand::Rng) -> String {
    let trace = u128::from_be_bytes(*event.as_bytes());
    // A span id of zeros is invalid.
    let span = rng.u64(1..);
    format!("00-{trace:032x}-{span:016x}-01")
}

/// A header value out of text of our own making.
#[expect(
    clippy::expect_used,
    reason = "ids, names and signatures are printable ASCII by their types"
)]
fn text(value: String) -> HeaderValue {
    HeaderValue::from_maybe_shared(Bytes::from(value)).expect("printable ASCII")
}

fn base_headers(upstream: &Upstream) -> Result<HeaderMap, StartProblem> {
    // Every name once, with room for the map's load factor.
    let mut headers = HeaderMap::with_capacity(2 * (upstream.headers.len() + 10));
    headers.insert(HOST, host(&upstream.url)?);
    headers.insert(
        USER_AGENT,
        HeaderValue::from_static(concat!("hookward/", env!("CARGO_PKG_VERSION"))),
    );
    for (name, value) in upstream.headers.values() {
        if is_reserved(name) {
            return Err(StartProblem::ReservedHeader(name.clone()));
        }
        // Every request shares these bytes, and the last that lets go of them wipes them.
        let wiped = Bytes::from_owner(Zeroizing::new(value.expose().to_vec()));
        let mut value = HeaderValue::from_maybe_shared(wiped)
            .map_err(|_| StartProblem::HeaderValue(name.clone()))?;
        value.set_sensitive(true);
        headers.insert(name.clone(), value);
    }
    let content_type = match upstream.format {
        Format::CloudEvents => normalize::CONTENT_TYPE,
        Format::CloudEventsBinary | Format::Passthrough => normalize::DATA_CONTENT_TYPE,
    };
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    for name in PER_ATTEMPT {
        headers.insert(name, HeaderValue::from_static(""));
    }
    if !upstream.signing_keys.is_empty() {
        headers.insert(WEBHOOK_SIGNATURE, HeaderValue::from_static(""));
    }
    Ok(headers)
}

fn is_reserved(name: &HeaderName) -> bool {
    PER_ATTEMPT.contains(name) || *name == WEBHOOK_SIGNATURE || RESERVED.contains(&name.as_str())
}

/// The Host header: the URL's authority without a default port. Userinfo is no way to give a
/// secret; it would be dropped without a word, so it is refused.
fn host(url: &Uri) -> Result<HeaderValue, StartProblem> {
    let authority = url.authority().ok_or(StartProblem::Url)?;
    if authority.as_str().contains('@') {
        return Err(StartProblem::Url);
    }
    let host = match (url.scheme_str(), authority.port_u16()) {
        (Some("http"), None | Some(80)) | (Some("https"), None | Some(443)) => {
            authority.host().to_owned()
        }
        (Some("http" | "https"), Some(port)) => format!("{}:{port}", authority.host()),
        _ => return Err(StartProblem::Url),
    };
    HeaderValue::try_from(host).map_err(|_| StartProblem::Url)
}
