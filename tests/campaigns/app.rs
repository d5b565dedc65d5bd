//! The app behind the gateway: takes events most of the time, and fails the rest.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use fastrand::Rng;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::gateway::LIFE_HEADER;
use crate::ledger::{Delivery, Ledger};

/// Of 256 attempts: how many are refused unseen, and how many are seen and not acknowledged.
const REFUSED: u8 = 24;
const SEEN_AND_FAILED: u8 = 12;

/// The running app; it ends with its owner.
pub(crate) struct App {
    address: SocketAddr,
    down: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

/// What all of its connections share.
struct Shared {
    ledger: Arc<Ledger>,
    down: Arc<AtomicBool>,
    rng: Mutex<Rng>,
}

/// What it needs of a delivery.
#[derive(Deserialize)]
struct CloudEvent<'a> {
    id: &'a str,
    #[serde(borrow)]
    data: &'a RawValue,
}

impl App {
    /// Listens on a port of its own and enters what arrives in the ledger.
    pub(crate) async fn start(ledger: Arc<Ledger>, rng: Rng) -> Self {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let listener = TcpListener::bind(any).await.unwrap();
        let address = listener.local_addr().unwrap();
        let down = Arc::new(AtomicBool::new(false));
        let shared = Shared { ledger, down: Arc::clone(&down), rng: Mutex::new(rng) };
        let task = tokio::spawn(serve(listener, Arc::new(shared)));
        Self { address, down, task }
    }

    /// While it is down it refuses everything, and a backlog builds up behind it.
    pub(crate) fn set_down(&self, down: bool) {
        self.down.store(down, Ordering::SeqCst);
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for App {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            let service = service_fn(|request| async {
                let status = take(request, &shared).await;
                let mut response = Response::new(Empty::<Bytes>::new());
                *response.status_mut() = status;
                Ok::<_, Infallible>(response)
            });
            // The gateway is killed while it delivers: broken connections are the point.
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

async fn take(request: Request<Incoming>, shared: &Shared) -> StatusCode {
    let Shared { ledger, down, rng } = shared;
    let chance = rng.lock().unwrap().u8(..);
    if chance < REFUSED || down.load(Ordering::SeqCst) {
        return StatusCode::SERVICE_UNAVAILABLE;
    }
    let (head, body) = request.into_parts();
    let Ok(body) = body.collect().await else {
        // Cut off by a kill: not a delivery.
        return StatusCode::BAD_REQUEST;
    };
    let body = body.to_bytes();
    let taken = chance >= REFUSED + SEEN_AND_FAILED;
    match delivery(&head.headers, &body, taken) {
        Some(delivery) if ledger.note_delivered(&delivery) => {}
        Some(_) => return StatusCode::SERVICE_UNAVAILABLE,
        None => ledger.note_problem(format!("not a delivery: {head:?}")),
    }
    if taken { StatusCode::OK } else { StatusCode::INTERNAL_SERVER_ERROR }
}

fn delivery<'a>(headers: &'a HeaderMap, body: &'a [u8], taken: bool) -> Option<Delivery<'a>> {
    let header = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let event = serde_json::from_slice::<CloudEvent<'_>>(body).ok()?;
    Some(Delivery {
        id: event.id,
        webhook_id: header("webhook-id")?.parse().ok()?,
        body: event.data.get(),
        life: header(LIFE_HEADER)?.parse().ok()?,
        taken,
    })
}
