//! HTTP/2 connections in memory, with handlers that stand in for the gateway: good clients by the
//! `h2` crate, bad ones frame by frame. Time is paused: it passes when nothing else can happen.

mod floods;
mod malformed;
mod proxies;
mod raw;
mod requests;
mod time;
mod unwanted;

use std::time::Duration;

use http::StatusCode;
use http_body_util::BodyExt;
use tokio::io::{DuplexStream, duplex};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::super::{Timeouts, end_with};
use super::*;

/// A client's patience, in paused time.
const BOUND: Duration = Duration::from_secs(600);

const HEADER: Duration = Duration::from_secs(5);
const WRITE: Duration = Duration::from_secs(10);
const IDLE: Duration = Duration::from_secs(60);

pub(super) fn limits() -> Limits {
    let timeouts = Timeouts { handshake: HEADER, header: HEADER, write: WRITE, idle: IDLE };
    Limits {
        max_connections: 8,
        max_connections_per_client: 8,
        max_requests: 100_000,
        max_headers: 100,
        max_header_bytes: 32 << 10,
        max_target: 8 << 10,
        max_streams: 100,
        timeouts,
        drain_timeout: BOUND,
    }
}

/// A connection that is being served.
struct Served {
    stage: watch::Sender<Stage>,
    ended: JoinHandle<Ended>,
}

fn serve_with<H, F>(limits: Limits, buffer: usize, handler: H) -> (DuplexStream, Served)
where
    H: Fn(Arrival) -> F + Send + Sync + 'static,
    F: Future<Output = Answer> + Send + 'static,
{
    serve_from(Origin::nowhere(), limits, buffer, handler)
}

/// A connection of a proxy, on which it brings many clients.
fn serve_proxy<H, F>(handler: H) -> (DuplexStream, Served)
where
    H: Fn(Arrival) -> F + Send + Sync + 'static,
    F: Future<Output = Answer> + Send + 'static,
{
    let proxy = Origin { forwards: true, ..Origin::plain(([10, 0, 0, 1], 1).into()) };
    serve_from(Arc::new(proxy), limits(), 64 << 10, handler)
}

fn serve_from<H, F>(
    origin: Arc<Origin>,
    limits: Limits,
    buffer: usize,
    handler: H,
) -> (DuplexStream, Served)
where
    H: Fn(Arrival) -> F + Send + Sync + 'static,
    F: Future<Output = Answer> + Send + 'static,
{
    let (client, server) = duplex(buffer);
    let (stage, receiver) = watch::channel(Stage::Serving);
    let ended = tokio::spawn(async move {
        let settings = crate::listen::tests::plain(limits);
        serve(server, origin, &settings, receiver, &handler).await
    });
    (client, Served { stage, ended })
}

fn serve_one<H, F>(handler: H) -> (DuplexStream, Served)
where
    H: Fn(Arrival) -> F + Send + Sync + 'static,
    F: Future<Output = Answer> + Send + 'static,
{
    serve_with(limits(), 64 << 10, handler)
}

impl Served {
    async fn end(self) -> Ended {
        timeout(BOUND, self.ended).await.expect("the connection ends").unwrap()
    }
}

fn says(status: StatusCode, body: impl Into<Bytes>) -> Answer {
    let mut answer = Answer::new(Full::new(body.into()));
    *answer.status_mut() = status;
    answer
}

/// Answers with the body that was sent, or with what is wrong with the request.
async fn echo(arrival: Arrival) -> Answer {
    if let Some(defect) = arrival.defect {
        return says(defect.defect.status(), defect.defect.as_str());
    }
    match arrival.request.into_body().collect().await {
        Ok(body) => says(StatusCode::OK, body.to_bytes()),
        Err(_) => says(StatusCode::BAD_REQUEST, "body"),
    }
}

/// Answers without looking at the body.
async fn refuse_body(_: Arrival) -> Answer {
    says(StatusCode::PAYLOAD_TOO_LARGE, "no")
}

/// Never answers.
async fn hang(_: Arrival) -> Answer {
    std::future::pending().await
}
