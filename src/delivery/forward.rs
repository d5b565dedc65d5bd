//! One attempt: the request is sent, and the upstream's answer becomes an [`Attempt`]. Decides
//! nothing about order or due times and writes nothing down.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use http::Response;
use http::header::{HeaderValue, RETRY_AFTER};
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use hyper_util::client::legacy;
use tokio::time::{Instant, timeout};

use super::StartError;
use super::client::{self, Called, Client, PlatformRoots};
use super::excerpt;
use super::report::report;
use super::request::Template;
use super::retry::{self, Ended};
use crate::clock::{Clock, UnixMillis};
use crate::config::Upstream;
use crate::event::EventId;
use crate::store::{Attempt, AttemptResult, StoredEvent};

/// What keeps an attempt's jitter apart from its span's id.
const JITTER: u64 = 0x5DEE_CE66_D1CE_4E5B;

/// How much of an answer's body is read so that its connection can be used again. Of one that is not 2xx
/// the beginning is kept ([`excerpt`]).
const DRAIN_BYTES: u64 = 64 * 1024;
/// How long that may take.
const DRAIN_TIME: Duration = Duration::from_millis(250);

/// What an attempt came to.
#[derive(Debug, PartialEq, Eq)]
pub struct Made {
    /// The attempt.
    pub attempt: Attempt,
    /// The beginning of what was answered instead of a 2xx, without what looks like a secret. It may hold a
    /// patient's data: for the journal alone.
    pub excerpt: Option<Box<str>>,
}

impl From<Attempt> for Made {
    fn from(attempt: Attempt) -> Self {
        Self { attempt, excerpt: None }
    }
}

/// Everything attempts at one upstream have in common, set up once.
#[derive(Debug)]
pub struct Forwarder {
    pub(super) upstream: Arc<Upstream>,
    client: Client,
    template: Template,
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
        let template = Template::new(&upstream).map_err(failed)?;
        let client =
            client::build(&Called::from(&*upstream), roots).map_err(|e| failed(e.into()))?;
        Ok(Self { upstream, client, template, clock, seed })
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
) -> Made {
    let begun = Begun::now(forwarder, event, number, left);
    let mut rng = rng(forwarder.seed, event.id, number);
    let request = forwarder.template.request(event, number, begun.at, &mut rng);
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
    let excerpt = match answer {
        Ok(Ok(response)) => rest(response, event, &forwarder.upstream).await,
        Ok(Err(_)) | Err(_) => None,
    };
    Made { attempt, excerpt }
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
/// the body is dropped, and its connection closed with it. What is kept of it.
async fn rest(
    response: Response<Incoming>,
    event: &StoredEvent,
    upstream: &Upstream,
) -> Option<Box<str>> {
    let (head, mut body) = response.into_parts();
    let wanted = if head.status.is_success() { 0 } else { excerpt::BYTES };
    let is_long = body.size_hint().lower() > DRAIN_BYTES;
    if body.is_end_stream() || (is_long && wanted == 0) {
        return None;
    }
    let (mut kept, mut cut) = (Vec::new(), true);
    let read = async {
        let mut left = DRAIN_BYTES;
        loop {
            let Some(frame) = body.frame().await else {
                cut = left < DRAIN_BYTES.saturating_sub(kept.len() as u64);
                return;
            };
            let Ok(frame) = frame else { return };
            let Some(data) = frame.data_ref() else { continue };
            let room = wanted.saturating_sub(kept.len()).min(data.len());
            kept.extend_from_slice(data.get(..room).unwrap_or_default());
            match left.checked_sub(data.len() as u64) {
                Some(_) if is_long && kept.len() >= wanted => return,
                Some(rest) => left = rest,
                None => return,
            }
        }
    };
    // Too slow is as good as too long.
    let _ = timeout(DRAIN_TIME, read).await;
    excerpt::of(&head.headers, &kept, !cut, event, upstream)
}
