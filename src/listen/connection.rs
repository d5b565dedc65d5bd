//! One connection: HTTP/1.1 by hyper, one timer, and the listener's stop.

use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::{HeaderValue, Request, header};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::time::{Instant, Sleep, sleep_until};

use super::wire::{Progress, Timeouts, Wire};
use super::{Answer, Arrival, Ended, Limits, Origin, Stage};
use crate::audit::{Reason, Refused};

/// The longest head; providers' are below 4 KiB. hyper's own bound on header fields is 100.
const MAX_HEAD: usize = 32 << 10;

/// What hyper buffers of a connection, roughly: its buffer may grow to twice this.
const MAX_BUFFER: usize = 32 << 10;

/// Serves the connection until the client or the listener ends it.
pub(super) async fn serve<S, H, F>(
    stream: S,
    origin: Arc<Origin>,
    limits: &Limits,
    mut stage: watch::Receiver<Stage>,
    handler: &H,
) -> Ended
where
    S: AsyncRead + AsyncWrite + Unpin,
    H: Fn(Arrival) -> F,
    F: Future<Output = Answer>,
{
    let progress = Arc::new(Progress::new());
    let io = TokioIo::new(Wire::new(stream, Arc::clone(&progress)));
    let service = service_fn(|request| answer(request, &origin, &progress, handler));
    let mut http = http1::Builder::new();
    http.half_close(true).pipeline_flush(false);
    http.max_header_size(MAX_HEAD).max_buf_size(MAX_BUFFER);
    let mut connection = pin!(http.serve_connection(io, service));
    let mut watchdog = pin!(Watchdog::new(&progress, limits.timeouts));
    loop {
        tokio::select! {
            biased;
            ended = connection.as_mut() => {
                return match ended {
                    Ok(()) => Ended::Quietly,
                    Err(error) => report(&error, &origin),
                };
            }
            () = poll_fn(|cx| watchdog.as_mut().poll_expired(cx)) => {
                let peer = origin.peer;
                tracing::debug!(%peer, "connection closed: the client took too long");
                return Ended::Quietly;
            }
            changed = stage.changed() => {
                let now = *stage.borrow_and_update();
                match (changed, now) {
                    (Ok(()), Stage::Draining) => connection.as_mut().graceful_shutdown(),
                    (Ok(()), Stage::Serving) => {}
                    (Ok(()), Stage::Forced) | (Err(_), _) => return Ended::Quietly,
                }
            }
        }
    }
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
    let turn = progress.begin();
    let arrival = Arrival { request, origin: Arc::clone(origin), defect: turn.defect };
    let mut answer = handler(arrival).await;
    if progress.answer(turn) {
        answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    Ok(answer)
}

/// What hyper has answered by itself is a refusal like any other; that a client went away is not.
fn report(error: &hyper::Error, origin: &Origin) -> Ended {
    let peer = origin.peer;
    if !error.is_parse() {
        tracing::debug!(%peer, %error, "connection ended");
        return Ended::Quietly;
    }
    let too_large = error.is_parse_too_large();
    let refused = Refused {
        reason: Reason::ProtocolError,
        detail: if too_large { "the head is too large" } else { "malformed head" },
        source: None,
        client: Some(origin.address()),
        method: "",
        path: "",
        user_agent: b"",
        size: 0,
        status: if too_large { 431 } else { 400 },
        duration: std::time::Duration::ZERO,
    };
    refused.record();
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
