//! One HTTP/2 connection: hyper's, with every bound set by us, one timer, and the listener's stop.
//!
//! A connection and all its requests are one task: when it ends, they end.

mod body;
mod discard;
mod frames;
mod head;
mod progress;
#[cfg(test)]
mod tests;
mod watchdog;
mod wire;

use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::stream::{FuturesUnordered, Stream};
use http::{HeaderValue, Method, Request, Response, StatusCode, header, request};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;

use self::body::Held;
use self::discard::discard;
use self::progress::{Expiry, Progress, Turn};
use self::watchdog::Watchdog;
use self::wire::Wire;
use super::body::{Unread, Unwanted};
use super::{Answer, Arrival, Defect, Defective, Ended, Last, Limits, Origin, Settings, Stage};
use crate::audit::{Reason, Refused};

/// Bytes of a frame's payload: the least that may be allowed. Every buffer for one is this large.
const MAX_FRAME: u32 = 16 << 10;

/// Bytes of one body that a client may send before any of it is read: 1 MiB takes eight round
/// trips.
pub(super) const STREAM_WINDOW: u32 = 128 << 10;

/// Bytes of all bodies that a client may send before any of it is read. This bounds what a
/// connection makes the gateway hold, whatever the number of its streams.
pub(super) const CONNECTION_WINDOW: u32 = 256 << 10;

/// Bytes of one answer that h2 takes before the client does. Answers are below 1 KiB: the operators',
/// which are not, go over HTTP/1.1 alone, one at a time.
const MAX_SEND: usize = 16 << 10;

/// Bytes that header compression may refer back to (HPACK): the protocol's default.
const HEADER_TABLE: u32 = 4 << 10;

/// Streams that a client may reset before we have looked at them.
const MAX_RESET_UNSEEN: usize = 20;

/// Streams that we reset over a connection's life because the client broke a rule. What still
/// arrives for a body that was refused long ago counts as well, a frame at a time.
pub(super) const MAX_RESET_BY_US: usize = 256;

/// Requests that are answered before other connections get their turn on the thread.
const AT_ONCE: usize = 8;

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
    H: Fn(Arrival) -> F + Sync,
    F: Future<Output = Answer> + Send,
{
    let limits = &settings.limits;
    let is_shared = origin.counted_for().is_none();
    let clients = if is_shared { limits.max_streams.max(1) } else { 1 };
    let progress = Arc::new(Progress::new(clients.into()));
    let io = TokioIo::new(Wire::new(stream, Arc::clone(&progress)));
    let unwanted = Unwanted::default();
    let service = service_fn(|request: Request<Incoming>| {
        let (head, body) = request.into_parts();
        let body = Unread::or_else(body, &unwanted);
        let turn = progress.begin(head::size(&head));
        answer(head, body, turn, &origin, settings, handler)
    });
    let begun = Begun::default();
    let mut http = builder(limits, begun.clone());
    if is_shared {
        share(&mut http, limits);
    }
    let mut connection = pin!(http.serve_connection(io, service));
    let mut streams = FuturesUnordered::new();
    let mut watchdog = pin!(Watchdog::new(&progress, limits.timeouts));
    // Those that crossed the GOAWAY are answered; a client that goes on after it is cut off.
    let most = limits.max_requests.saturating_add(2 * u64::from(limits.max_streams));
    loop {
        tokio::select! {
            biased;
            ended = poll_fn(|cx| {
                if progress.must_leave(limits.max_requests) && progress.leave() {
                    connection.as_mut().graceful_shutdown();
                }
                let ended = connection.as_mut().poll(cx);
                streams.extend(begun.take());
                if serve_some(&mut streams, &unwanted, cx) {
                    cx.waker().wake_by_ref();
                }
                if progress.taken() > most { Poll::Ready(Ok(())) } else { ended }
            }) => {
                return match ended {
                    Ok(()) => Ended::Quietly,
                    Err(error) => report(&error, &progress, &origin, settings),
                };
            }
            expiry = poll_fn(|cx| watchdog.as_mut().poll_expired(cx)) => {
                let peer = origin.peer;
                match expiry {
                    Expiry::Idle => {
                        progress.leave();
                        connection.as_mut().graceful_shutdown();
                    }
                    Expiry::Gone => return Ended::Quietly,
                    Expiry::LateHead => {
                        let status = StatusCode::REQUEST_TIMEOUT.as_u16();
                        let refused = refused(&origin, Defect::LateHead.as_str());
                        settings.refusals.record(&Refused { status, ..refused });
                        return Ended::Refused(status);
                    }
                    Expiry::Unread => {
                        tracing::debug!(%peer, "connection closed: the client does not read");
                        return Ended::Quietly;
                    }
                }
            }
            changed = stage.changed() => {
                let now = *stage.borrow_and_update();
                match (changed, now) {
                    (Ok(()), Stage::Draining) => {
                        progress.leave();
                        connection.as_mut().graceful_shutdown();
                    }
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

/// Lets requests get on, and what is left of their bodies. Whether there may be more to do at once:
/// then others get their turn first. A hundred requests can come in one packet, and the thread is not
/// theirs alone.
fn serve_some(
    streams: &mut FuturesUnordered<RequestFuture<'_>>,
    unwanted: &Unwanted,
    cx: &mut Context<'_>,
) -> bool {
    for _ in 0..AT_ONCE {
        if let Poll::Ready(Some(())) = Pin::new(&mut *streams).poll_next(cx) {
            continue;
        }
        let left = unwanted.take();
        if left.is_empty() {
            return false;
        }
        streams.extend(left.into_iter().map(|body| Box::pin(discard(body)) as RequestFuture<'_>));
    }
    true
}

/// hyper's server. Keep-alive pings and adaptive windows stay off: the idle timeout does for the
/// one, and the other would let a client grow its window.
fn builder<'a>(limits: &Limits, begun: Begun<'a>) -> http2::Builder<Begun<'a>> {
    let mut http = http2::Builder::new(begun);
    let head = u32::try_from(limits.max_header_bytes).unwrap_or(u32::MAX);
    http.max_concurrent_streams(limits.max_streams)
        .max_header_list_size(head)
        .header_table_size(HEADER_TABLE)
        .max_frame_size(MAX_FRAME)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(MAX_SEND)
        .max_pending_accept_reset_streams(MAX_RESET_UNSEEN)
        .max_local_error_reset_streams(MAX_RESET_BY_US)
        .keep_alive_interval(None);
    http
}

/// Lets a proxy's connection be its clients' together. h2 can only cut a connection off, with all
/// requests on it, for what one client has made the proxy send; on such a connection the counter of
/// frames and `max_requests` end it in good order instead. Streams that are reset before they are
/// looked at are bounded all the same, for each holds a head; where the gateway has stood still for
/// a moment, many have come at once.
fn share(http: &mut http2::Builder<Begun<'_>>, limits: &Limits) {
    let streams = usize::try_from(limits.max_streams).unwrap_or(usize::MAX);
    http.max_local_error_reset_streams(None)
        .max_pending_accept_reset_streams(streams.saturating_mul(10).max(MAX_RESET_UNSEEN));
}

/// One request's turn. It lasts until the client has taken the answer.
async fn answer<H, F>(
    head: request::Parts,
    body: Unread,
    mut turn: Turn,
    origin: &Arc<Origin>,
    settings: &Settings,
    handler: &H,
) -> Result<Response<Held>, Infallible>
where
    H: Fn(Arrival) -> F,
    F: Future<Output = Answer>,
{
    let mut answer = if turn.crowded {
        too_many(&head, origin, settings)
    } else {
        let defect = head::check(&head, &settings.limits, origin.tls.is_some());
        let defect = defect.map(|defect| Box::new(Defective::of(defect, &head)));
        let is_head = head.method == Method::HEAD;
        let (request, sound) = (Request::from_parts(head, body), defect.is_none());
        let answer = handler(Arrival { request, origin: Arc::clone(origin), defect }).await;
        // Who makes us wait for a body, or comes when we have too much in hand, earns nothing.
        let waited = [StatusCode::REQUEST_TIMEOUT, StatusCode::SERVICE_UNAVAILABLE];
        if sound && !waited.contains(&answer.status()) {
            turn.earn();
        }
        // Of an answer to HEAD only the head is sent (RFC 9110, section 9.3.2).
        if is_head { answer.map(|_| Full::default()) } else { answer }
    };
    // A stream ends with its answer anyway (RFC 9113, section 8.2.2).
    answer.headers_mut().remove(header::CONNECTION);
    if answer.extensions_mut().remove::<Last>().is_some() {
        turn.ask_to_leave();
    }
    turn.answer();
    Ok(answer.map(|body| Held::new(body, turn)))
}

/// Refuses a request that the handler does not get to see: the heads of those in hand take too
/// much already.
fn too_many(head: &request::Parts, origin: &Origin, settings: &Settings) -> Answer {
    let user_agent = head.headers.get(header::USER_AGENT);
    settings.refusals.record(&Refused {
        reason: Reason::Overloaded,
        method: head.method.as_str(),
        path: head.uri.path(),
        user_agent: user_agent.map_or(b"", HeaderValue::as_bytes),
        status: StatusCode::SERVICE_UNAVAILABLE.as_u16(),
        ..refused(origin, "the heads of the connection's requests are too large together")
    });
    let mut answer = Answer::new(Full::new(Bytes::from_static(TOO_MANY.as_bytes())));
    *answer.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    let problem = HeaderValue::from_static("application/problem+json");
    answer.headers_mut().insert(header::CONTENT_TYPE, problem);
    answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    answer
}

const TOO_MANY: &str = r#"{"title":"Service Unavailable","status":503,"detail":"Too many requests at once on one connection; try again later."}"#;

/// A connection that we have ended is a refusal like any other; that a client went away is not.
fn report(
    error: &hyper::Error,
    progress: &Progress,
    origin: &Origin,
    settings: &Settings,
) -> Ended {
    let peer = origin.peer;
    let detail = if let Some(flood) = progress.flood() {
        tracing::debug!(%peer, flood, "connection closed: too many frames");
        "a flood of HTTP/2 frames"
    } else if is_ours(error) {
        tracing::debug!(%peer, %error, "connection closed");
        "malformed HTTP/2"
    } else {
        tracing::debug!(%peer, %error, "connection ended");
        return Ended::Quietly;
    };
    let refused = refused(origin, detail);
    settings.refusals.record(&refused);
    Ended::Refused(refused.status)
}

/// What is known of a connection that has ended. The status is HTTP/1's, although nobody hears it:
/// GOAWAY has codes of its own.
fn refused<'a>(origin: &'a Origin, detail: &'static str) -> Refused<'a> {
    let connection = Refused::connection(Reason::ProtocolError, detail, origin);
    Refused { status: StatusCode::BAD_REQUEST.as_u16(), ..connection }
}

/// Whether h2 has ended the connection because of what the client sent.
fn is_ours(error: &hyper::Error) -> bool {
    let cause =
        std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<h2::Error>());
    cause.is_some_and(|cause| cause.is_go_away() && cause.is_library())
}

/// hyper's futures for requests that have come since the connection was last polled.
#[derive(Clone, Default)]
struct Begun<'a>(Arc<Mutex<Vec<RequestFuture<'a>>>>);

type RequestFuture<'a> = Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

impl<'a> Begun<'a> {
    fn take(&self) -> Vec<RequestFuture<'a>> {
        std::mem::take(&mut *self.0.lock())
    }
}

impl<'a, F: Future<Output = ()> + Send + 'a> Executor<F> for Begun<'a> {
    fn execute(&self, request: F) {
        self.0.lock().push(Box::pin(request));
    }
}
