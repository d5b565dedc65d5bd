//! Sockets: accepting, HTTP/1.1 by hyper, limits and timers, drain. Knows nothing of sources and
//! events: it hands each request to a handler and sends what that answers.
//!
//! Every wait on a client is bounded here but one: from the end of a request's headers to its
//! answer, the handler has a deadline of its own.

mod accept;
mod connection;
mod framing;
#[cfg(test)]
mod tests;
mod wire;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, timeout, timeout_at};

pub use self::accept::bind;
pub use self::framing::Defect;
pub use self::wire::Timeouts;

use self::accept::{Occasionally, Trouble};

/// How long connections that were told to go may take for it: they only have to be polled.
const LAST_CALL: Duration = Duration::from_secs(1);

/// A request as the listener hands it over.
#[derive(Debug)]
pub struct Arrival {
    /// Its head, and its body yet to be read. A `100 Continue` that the client waits for is sent
    /// when the body is first polled.
    pub request: Request<Incoming>,
    /// The other end of the connection.
    pub peer: SocketAddr,
    /// What is ambiguous about its framing. Such a request must be refused; the connection is
    /// closed after it whatever the answer.
    pub defect: Option<Defect>,
}

/// What a handler answers: always short, always of known length.
pub type Answer = Response<Full<Bytes>>;

/// What one listener allows.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at once; further ones are closed at once.
    pub max_connections: usize,
    /// How long a client may take.
    pub timeouts: Timeouts,
    /// How long a stop waits for requests that are being answered.
    pub drain_timeout: Duration,
}

/// Where a listener is in its life, as its connections see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Requests are taken.
    Serving,
    /// The request in hand is finished, then the connection closes.
    Draining,
    /// The connection closes now.
    Forced,
}

/// How a drain ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drained {
    /// Connections that were cut off at the deadline.
    pub cut_off: usize,
}

/// Serves `listener` until `shutdown` is ready. Then no further connection is taken, idle ones
/// close, requests that are being answered finish, and what is left after `drain_timeout` is
/// cut off.
pub async fn run<H, F>(
    listener: TcpListener,
    limits: Limits,
    handler: H,
    shutdown: impl Future<Output = ()>,
) -> Drained
where
    H: Fn(Arrival) -> F + Send + Sync + 'static,
    F: Future<Output = Answer> + Send,
{
    let mut shutdown = std::pin::pin!(shutdown);
    let mut crowd = Crowd::new(limits, handler);
    let mut trouble = Trouble::default();
    loop {
        tokio::select! {
            biased;
            () = &mut shutdown => break,
            (stream, peer) = accept::next(&listener, &mut trouble) => crowd.admit(stream, peer),
        }
    }
    drop(listener);
    crowd.drain().await
}

/// The connections of one listener.
struct Crowd<H> {
    limits: Limits,
    handler: Arc<H>,
    permits: Arc<Semaphore>,
    stage: watch::Sender<Stage>,
    full: Occasionally,
}

impl<H, F> Crowd<H>
where
    H: Fn(Arrival) -> F + Send + Sync + 'static,
    F: Future<Output = Answer> + Send,
{
    fn new(mut limits: Limits, handler: H) -> Self {
        let most = usize::try_from(u32::MAX).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
        limits.max_connections = limits.max_connections.min(most);
        let permits = Arc::new(Semaphore::new(limits.max_connections));
        let (stage, _) = watch::channel(Stage::Serving);
        Self { limits, handler: Arc::new(handler), permits, stage, full: Occasionally::default() }
    }

    /// Serves the connection in a task of its own, or closes it when there are too many.
    fn admit(&mut self, stream: TcpStream, peer: SocketAddr) {
        match Arc::clone(&self.permits).try_acquire_owned() {
            Ok(permit) => self.serve(stream, peer, permit),
            Err(_) => {
                if let Some(times) = self.full.now(Instant::now()) {
                    let most = self.limits.max_connections;
                    tracing::warn!(times, most, "connections closed: there are too many");
                }
            }
        }
    }

    fn serve(&self, stream: TcpStream, peer: SocketAddr, permit: OwnedSemaphorePermit) {
        let (timeouts, stage) = (self.limits.timeouts, self.stage.subscribe());
        let handler = Arc::clone(&self.handler);
        tokio::spawn(async move {
            connection::serve(stream, peer, timeouts, stage, &*handler).await;
            drop(permit);
        });
    }

    async fn drain(self) -> Drained {
        let deadline = Instant::now() + self.limits.drain_timeout;
        self.stage.send_replace(Stage::Draining);
        if timeout_at(deadline, self.all_gone()).await.is_ok() {
            return Drained { cut_off: 0 };
        }
        let cut_off = self.limits.max_connections - self.permits.available_permits();
        self.stage.send_replace(Stage::Forced);
        let _ = timeout(LAST_CALL, self.all_gone()).await;
        Drained { cut_off }
    }

    /// Ready when no connection is left: then all permits are back.
    async fn all_gone(&self) {
        let all = u32::try_from(self.limits.max_connections).unwrap_or(u32::MAX);
        let _ = self.permits.acquire_many(all).await;
    }
}
