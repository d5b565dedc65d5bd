//! Checkpoints on their way to somebody elsewhere: the newest one is sent, and sent again until it is taken
//! or there is a newer one. The trail never waits for it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONNECTION, CONTENT_TYPE, HOST, HeaderValue, USER_AGENT};
use http::{Request, StatusCode};
use http_body_util::Full;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::super::chain::Checkpoint;
use super::follow::Order;
use super::sink::{self, backoff, blocking, session};
use crate::config::CheckpointPost;
use crate::config::defaults::audit::{CONNECT_TIMEOUT, MAX_BACKOFF};
use crate::delivery::client::{PlatformRoots, tls_config};
use crate::delivery::{Causes, TlsError};
use crate::metrics::CheckpointMetrics;

/// How long whoever has answered may take to end the connection.
const ENDING: Duration = Duration::from_millis(500);

/// The port of HTTPS: RFC 9110, section 4.2.2.
const PORT: u16 = 443;

/// Why a checkpoint was not taken. All of it is tried again.
#[derive(Debug, thiserror::Error)]
enum Failure {
    /// There are no roots to trust.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// It cannot be asked for.
    #[error("no request can be made of it")]
    Request,
    /// Nobody answers.
    #[error(transparent)]
    Connect(sink::Failure),
    /// What is answered is none, or too long.
    #[error("{}", Causes(.0))]
    Call(hyper::Error),
    /// It was answered with something else than a 2xx. A redirect is not followed.
    #[error("answered {0}")]
    Answered(StatusCode),
    /// It takes longer than it may.
    #[error("no answer in time")]
    TimedOut,
    /// A defect of ours.
    #[error("a panic, of which another line tells")]
    Panicked,
}

/// Sends each newest checkpoint until it is told to end.
pub(super) async fn run(
    post: CheckpointPost,
    mut newest: watch::Receiver<Option<Checkpoint>>,
    mut orders: watch::Receiver<Order>,
    metrics: Arc<CheckpointMetrics>,
) {
    let (mut tls, mut failed) = (None, 0);
    // Whether the newest one was not taken yet.
    let mut due = true;
    loop {
        let order = *orders.borrow_and_update();
        if order == Order::Leave {
            return;
        }
        due |= newest.has_changed().unwrap_or(false);
        let checkpoint = newest.borrow_and_update().clone().filter(|_| due);
        if let Some(checkpoint) = checkpoint {
            let sent = send(&mut tls, &post, &checkpoint).await;
            due = sent.is_err();
            failed = count(sent, failed, &metrics);
        } else {
            due = false;
        }
        if order == Order::Finish && !newest.has_changed().unwrap_or(false) {
            return;
        }
        tokio::select! {
            () = sleep(backoff(failed, MAX_BACKOFF)), if due => {}
            changed = newest.changed(), if !due => {
                if changed.is_err() {
                    return;
                }
                due = true;
            }
            changed = orders.changed() => {
                if changed.is_err() {
                    return;
                }
            }
        }
    }
}

/// Counts what became of an attempt, and tells when that has changed. How many have failed in a row.
fn count(sent: Result<(), Failure>, failed: u32, metrics: &CheckpointMetrics) -> u32 {
    match sent {
        Ok(()) => {
            metrics.taken.add();
            if failed > 0 {
                tracing::info!(target: "hookward::audit", "checkpoints of the audit trail are sent elsewhere again");
            }
            0
        }
        Err(error) => {
            metrics.failed.add();
            if failed == 0 {
                tracing::error!(
                    target: "hookward::audit", %error,
                    "a checkpoint of the audit trail cannot be sent elsewhere; the newest one is tried again"
                );
            }
            failed.saturating_add(1)
        }
    }
}

async fn send(
    tls: &mut Option<Arc<ClientConfig>>,
    post: &CheckpointPost,
    checkpoint: &Checkpoint,
) -> Result<(), Failure> {
    let request = request(post, checkpoint).ok_or(Failure::Request)?;
    let tls = match tls {
        Some(tls) => Arc::clone(tls),
        None => Arc::clone(tls.insert(setup(post.clone()).await?)),
    };
    let answer = timeout(CONNECT_TIMEOUT, call(post, tls, request)).await;
    // Nothing that is said beside the status matters.
    let status = answer.map_err(|_| Failure::TimedOut)??;
    if status.is_success() { Ok(()) } else { Err(Failure::Answered(status)) }
}

async fn setup(post: CheckpointPost) -> Result<Arc<ClientConfig>, Failure> {
    let built = blocking(move || tls_config(post.ca.as_ref(), None, &mut PlatformRoots::default()));
    Ok(Arc::new(built.await.map_err(|_| Failure::Panicked)??))
}

/// One request over a connection of its own, of which only so much is read: interim answers may come
/// without end.
async fn call(
    post: &CheckpointPost,
    tls: Arc<ClientConfig>,
    request: Request<Full<Bytes>>,
) -> Result<StatusCode, Failure> {
    let host = post.url.host().ok_or(Failure::Request)?.trim_matches(['[', ']']);
    let port = post.url.port_u16().unwrap_or(PORT);
    let stream = session(host, port, tls).await.map_err(Failure::Connect)?;
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(Failure::Call)?;
    // Ends with this, however this ends.
    let mut driver = JoinSet::new();
    driver.spawn(connection);
    let status = sender.send_request(request).await.map_err(Failure::Call)?.status();
    drop(sender);
    let _ = timeout(ENDING, driver.join_next()).await;
    Ok(status)
}

/// A line of JSON, so that bodies that are put one behind the other are what `audit verify` takes.
fn request(post: &CheckpointPost, checkpoint: &Checkpoint) -> Option<Request<Full<Bytes>>> {
    let mut body = serde_json::to_vec(checkpoint).ok()?;
    body.push(b'\n');
    let mut request = Request::post(post.url.path_and_query()?.clone())
        .header(HOST, post.url.authority()?.as_str())
        .header(CONNECTION, "close")
        .header(CONTENT_TYPE, "application/json")
        .header(USER_AGENT, concat!("hookward/", env!("CARGO_PKG_VERSION")));
    if let Some(token) = &post.token {
        let value = [b"Bearer ", token.expose()].concat();
        let mut value = HeaderValue::from_bytes(&value).ok()?;
        value.set_sensitive(true);
        request = request.header(AUTHORIZATION, value);
    }
    request.body(Full::new(Bytes::from(body))).ok()
}
