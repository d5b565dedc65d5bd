//! One connection: HTTP/1.1 by hyper, one timer, and the listener's stop.

use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::{HeaderValue, Request, StatusCode, header};
use hyper::body::{Body, Incoming};
use hyper::ext::ReasonPhrase;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::time::{Instant, Sleep, sleep_until};

use super::body::Unread;
use super::progress::{Progress, Timeouts};
use super::wire::Wire;
use super::{Answer, Arrival, Ended, Limits, Origin, Settings, Stage};
use crate::audit::{Reason, Refusals, Refused};

/// What hyper buffers of a connection at least, roughly: its buffer may grow to twice this.
const MIN_BUFFER: usize = 32 << 10;

/// What hyper may see of a head besides what our own limits count: line breaks before it.
const SLACK: usize = 64;

/// The fields for which hyper needs no allocation.
const FIELDS_IN_PLACE: usize = 100;

/// Serves the connection until the client or the listener ends it.
pub(super) async fn serve<S, H, F>(
    stream: S,
    origin: Arc<Origin>,
    settings: &Settings,
    mut stage: watch::Receiver<Stage>,
    handler: &H,
) -> Ended
where
    S: AsyncRead + AsyncWrite + Unpin,
    H: Fn(Arrival) -> F,
    F: Future<Output = Answer>,
{
    let limits = &settings.limits;
    let progress = Arc::new(match origin.counted_for() {
        Some(_) => Progress::new(limits),
        None => Progress::of_proxy(limits),
    });
    let io = TokioIo::new(Wire::new(stream, Arc::clone(&progress)));
    let service = service_fn(|request| answer(request, &origin, &progress, handler));
    let mut connection = pin!(http(limits).serve_connection(io, service));
    let mut watchdog = pin!(Watchdog::new(&progress, limits.timeouts));
    loop {
        tokio::select! {
            biased;
            ended = connection.as_mut() => {
                return match ended {
                    Ok(()) => Ended::Quietly,
                    Err(error) => report(&error, &origin, &settings.refusals),
                };
            }
            () = poll_fn(|cx| watchdog.as_mut().poll_expired(cx)) => {
                // A head that has begun is answered; the connection reads on and finds it so.
                if !progress.give_up_head() {
                    let peer = origin.peer;
                    tracing::debug!(%peer, "connection closed: the client took too long");
                    return Ended::Quietly;
                }
            }
            changed = stage.changed() => {
                let now = *stage.borrow_and_update();
                match (changed, now) {
                    (Ok(()), Stage::Draining) => connection.as_mut().graceful_shutdown(),
                    (Ok(()), Stage::Serving) => {}
                    (Ok(()), Stage::Forced) | (Err(_), _) => {
                        // Before its requests are dropped.
                        origin.cut_off();
                        return Ended::Quietly;
                    }
                }
            }
        }
    }
}

/// hyper, with limits that nothing exceeds that has passed ours.
fn http(limits: &Limits) -> http1::Builder {
    let head = limits.max_header_bytes.saturating_add(SLACK);
    let mut http = http1::Builder::new();
    http.half_close(true).pipeline_flush(false);
    http.max_header_size(head).max_buf_size(head.max(MIN_BUFFER));
    if limits.max_headers > FIELDS_IN_PLACE {
        http.max_headers(limits.max_headers);
    }
    http
}

/// One request's turn.
async fn answer<H, F>(
    request: Request<Incoming>,
    origin: &Arc<Origin>,
    progress: &Progress,
    handler: &H,
) -> Result<Answer, Infallible>
where
    H: Fn(Arrival) -> F,
    F: Future<Output = Answer>,
{
    let mut turn = progress.begin();
    let chunked = request.body().size_hint().exact().is_none();
    let request = request.map(Unread::new);
    let arrival = Arrival { request, origin: Arc::clone(origin), defect: turn.defect.take() };
    let mut answer = handler(arrival).await;
    // Whoever refuses a request may have left its body. One of known length hyper can skip; of a
    // chunked one it skips no more than a chunk.
    let unread = chunked && !answer.status().is_success();
    if progress.answer(&turn, unread) {
        answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    if answer.status() == StatusCode::PAYLOAD_TOO_LARGE {
        // hyper still has the phrase of RFC 7231; this is RFC 9110's, as in the body.
        answer.extensions_mut().insert(ReasonPhrase::from_static(b"Content Too Large"));
    }
    Ok(answer)
}

/// That a client went away is no refusal. That hyper refuses a head which we let pass should not
/// happen; it is one all the same.
fn report(error: &hyper::Error, origin: &Origin, refusals: &Refusals) -> Ended {
    let peer = origin.peer;
    tracing::debug!(%peer, %error, "connection ended");
    if !error.is_parse() {
        return Ended::Quietly;
    }
    let connection = Refused::connection(Reason::ProtocolError, "hyper refused the head", origin);
    let refused = Refused { status: 400, ..connection };
    refusals.record(&refused);
    Ended::Refused(refused.status)
}

/// The connection's one timer. It is set anew only when it fires too early, or would fire too
/// late; most requests never touch it.
struct Watchdog<'a> {
    progress: &'a Progress,
    timeouts: Timeouts,
    timer: Pin<Box<Sleep>>,
}

impl<'a> Watchdog<'a> {
    fn new(progress: &'a Progress, timeouts: Timeouts) -> Self {
        let first = Instant::now() + timeouts.header;
        Self { progress, timeouts, timer: Box::pin(sleep_until(first)) }
    }

    /// Ready when the client has taken too long. To be polled after the connection.
    fn poll_expired(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let due = self.progress.due(&self.timeouts);
            if let Some(due) = due.filter(|due| *due < self.timer.deadline()) {
                self.timer.as_mut().reset(due);
            }
            ready!(self.timer.as_mut().poll(cx));
            let now = Instant::now();
            match due {
                Some(due) if due <= now => return Poll::Ready(()),
                Some(due) => self.timer.as_mut().reset(due),
                None => {
                    let again = now + self.timeouts.header;
                    self.timer.as_mut().reset(again);
                }
            }
        }
    }
}
