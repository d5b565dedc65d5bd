//! One attempt: a stored event becomes a request, the upstream's answer becomes an [`Attempt`].
//! Decides nothing about order or due times and writes nothing down.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST, RETRY_AFTER, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, Uri};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Incoming};
use hyper_util::client::legacy;
use tokio::time::{Instant, timeout};
use zeroize::Zeroizing;

use super::client::{self, Client, PlatformRoots};
use super::report::report;
use super::retry::{self, Ended};
use super::sign::Signer;
use super::{StartError, StartProblem, normalize};
use crate::clock::{Clock, UnixMillis};
use crate::config::Upstream;
use crate::event::EventId;
use crate::store::{Attempt, AttemptResult, StoredEvent};

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

/// What keeps an attempt's jitter apart from its span's id.
const JITTER: u64 = 0x5DEE_CE66_D1CE_4E5B;

/// How much of an answer's body is read so that its connection can be used again. Nothing is done
/// with it.
const DRAIN_BYTES: u64 = 64 * 1024;
/// How long that may take.
const DRAIN_TIME: Duration = Duration::from_millis(250);

/// Everything attempts at one upstream have in common, set up once.
#[derive(Debug)]
pub struct Forwarder {
    pub(super) upstream: Arc<Upstream>,
    client: Client,
    signer: Option<Signer>,
    /// The request's headers, with empty values for those in [`PER_ATTEMPT`]: a copy of it has
    /// room for all of them.
    headers: HeaderMap,
    pub(super) clock: Clock,
    pub(super) seed: u64,
}

impl Forwarder {
    /// A forwarder to `upstream`. `seed` is where all its randomness (jitter, span ids) comes from.
    ///
    /// # Errors
    /// [`StartError`] when the CA file or the platform's roots cannot be used, or a configured
    /// header cannot be sent.
    pub fn new(upstream: Arc<Upstream>, clock: Clock, seed: u64) -> Result<Self, StartError> {
        Self::with_roots(upstream, clock, seed, &mut PlatformRoots::default())
    }

    /// [`Forwarder::new`], sharing the platform's roots with other upstreams.
    pub(super) fn with_roots(
        upstream: Arc<Upstream>,
        clock: Clock,
        seed: u64,
        roots: &mut PlatformRoots,
    ) -> Result<Self, StartError> {
        let failed = |problem| StartError { upstream: upstream.name.clone(), problem };
        let headers = base_headers(&upstream).map_err(failed)?;
        let client = client::build(&upstream, roots).map_err(|e| failed(e.into()))?;
        let signer = upstream.signing_key.as_ref().map(Signer::new);
        Ok(Self { upstream, client, signer, headers, clock, seed })
    }

    /// The upstream it forwards to.
    pub fn upstream(&self) -> &Arc<Upstream> {
        &self.upstream
    }
}

/// Sends the event once and says what came of it and what follows. Takes no longer than the
/// upstream's `timeout` and a quarter of a second. One that fails when `left` has passed is the
/// last. Logs one line. Dropping the future gives the attempt up; the upstream may have got the
/// event all the same.
pub async fn attempt(
    forwarder: &Forwarder,
    event: &StoredEvent,
    number: u32,
    left: Duration,
) -> Attempt {
    let begun = Begun::now(forwarder, event, number, left);
    let request = request(forwarder, event, number, begun.at);
    let answer = timeout(forwarder.upstream.timeout, forwarder.client.request(request)).await;
    let (result, asked, error) = match &answer {
        Ok(Ok(response)) => {
            let asked = response.headers().get(RETRY_AFTER);
            (AttemptResult::Answered(response.status().as_u16()), asked, None)
        }
        Ok(Err(error)) => (failure(error), None, Some(error as &(dyn Error + 'static))),
        Err(_) => (AttemptResult::TimedOut, None, None),
    };
    let attempt = begun.ended(result, asked, error);
    if let Ok(Ok(response)) = answer {
        drain(response).await;
    }
    attempt
}

/// An attempt under way.
pub(crate) struct Begun<'a> {
    forwarder: &'a Forwarder,
    event: &'a StoredEvent,
    number: u32,
    left: Duration,
    at: UnixMillis,
    since: Instant,
}

impl<'a> Begun<'a> {
    /// One that begins now.
    pub(crate) fn now(
        forwarder: &'a Forwarder,
        event: &'a StoredEvent,
        number: u32,
        left: Duration,
    ) -> Self {
        let (at, since) = (forwarder.clock.now(), Instant::now());
        Self { forwarder, event, number, left, at, since }
    }

    /// It ends now: what follows from `result` and the answer's Retry-After. Logs one line.
    pub(crate) fn ended(
        self,
        result: AttemptResult,
        retry_after: Option<&HeaderValue>,
        error: Option<&(dyn Error + 'static)>,
    ) -> Attempt {
        let Self { forwarder, event, number, left, at: started_at, since } = self;
        let duration = since.elapsed();
        let at = started_at.after(duration);
        let retry_after = retry_after.and_then(|value| retry::retry_after(value, at));
        let deadline = started_at.after(left);
        let ended = Ended { result, retry_after, attempt: number, at, deadline };
        let mut rng = rng(forwarder.seed ^ JITTER, event.id, number);
        let verdict = retry::judge(ended, &forwarder.upstream.retry, &mut rng);
        let attempt = Attempt { started_at, duration, result, verdict };
        report(&forwarder.upstream.name, event, number, &attempt, error);
        attempt
    }
}

/// A source of randomness for this attempt alone: no state that workers would have to share, and
/// a test that owns the seed owns the outcome.
fn rng(seed: u64, event: EventId, attempt: u32) -> fastrand::Rng {
    let [.., a, b, c, d, e, f, g, h] = *event.as_bytes();
    let event = u64::from_le_bytes([a, b, c, d, e, f, g, h]);
    let attempt = u64::from(attempt).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    fastrand::Rng::with_seed(seed ^ event ^ attempt)
}

fn failure(error: &legacy::Error) -> AttemptResult {
    if error.is_connect() { AttemptResult::ConnectFailed } else { AttemptResult::Broken }
}

/// Reads a short rest of the answer, so that its connection goes back to the pool. Past the bounds
/// the body is dropped, and its connection closed with it.
async fn drain(response: Response<Incoming>) {
    let mut body = response.into_body();
    if body.is_end_stream() || body.size_hint().lower() > DRAIN_BYTES {
        return;
    }
    let read = async {
        let mut left = DRAIN_BYTES;
        while let Some(Ok(frame)) = body.frame().await {
            let len = frame.data_ref().map_or(0, |data| data.len() as u64);
            match left.checked_sub(len) {
                Some(rest) => left = rest,
                None => return,
            }
        }
    };
    // Too slow is as good as too long.
    let _ = timeout(DRAIN_TIME, read).await;
}

fn request(
    forwarder: &Forwarder,
    event: &StoredEvent,
    number: u32,
    at: UnixMillis,
) -> Request<Full<Bytes>> {
    let body = normalize::cloudevent(event);
    let id = event.id.to_string();
    let signature = forwarder.signer.as_ref().map(|signer| signer.sign(&id, at.as_secs(), &body));

    let mut headers = forwarder.headers.clone();
    let traceparent = traceparent(event.id, &mut rng(forwarder.seed, event.id, number));
    let id = text(id);
    headers.insert(WEBHOOK_ID, id.clone());
    headers.insert(HOOKWARD_EVENT_ID, id);
    headers.insert(WEBHOOK_TIMESTAMP, at.as_secs().into());
    headers.insert(TRACEPARENT, text(traceparent));
    headers.insert(HOOKWARD_SOURCE, text(event.source.as_str().to_owned()));
    headers.insert(HOOKWARD_ATTEMPT, number.into());
    if let Some(signature) = signature {
        headers.insert(WEBHOOK_SIGNATURE, text(signature));
    }

    let mut request = Request::new(Full::new(Bytes::from(body)));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = forwarder.upstream.url.clone();
    *request.headers_mut() = headers;
    request
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
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(normalize::CONTENT_TYPE));
    for name in PER_ATTEMPT {
        headers.insert(name, HeaderValue::from_static(""));
    }
    if upstream.signing_key.is_some() {
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
