//! The stand-in clinic app: an HTTP server that checks the gateway's signature, keeps what it
//! was sent, and is down until it is told to come up. Shares no code with delivery.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::provider::sign::standard_webhooks_signature;
use crate::secret::Secret;

/// Longest delivery that is read, in bytes.
const MAX_BODY: usize = 16 * 1024 * 1024;

/// The running app; it stops when this is dropped.
#[derive(Debug)]
pub(super) struct Clinic {
    addr: SocketAddr,
    app: Arc<App>,
    /// The server; a set, since that ends with its owner.
    _server: JoinSet<()>,
}

/// One delivery attempt, as the app saw it.
#[derive(Clone, Debug)]
pub(super) struct Arrival {
    /// What the app answered.
    pub(super) status: StatusCode,
    /// Whether the gateway's signature over it is right.
    pub(super) authentic: bool,
    /// The headers.
    pub(super) headers: HeaderMap,
    /// The body.
    pub(super) body: Bytes,
    /// The CloudEvent, if the body is one.
    event: Option<Value>,
}

#[derive(Debug)]
struct App {
    key: Secret,
    up: AtomicBool,
    /// Attempts that it refused because it was down.
    refused: AtomicUsize,
    /// Whether of those nothing is kept but their number.
    forgets_refused: bool,
    arrivals: Mutex<Vec<Arrival>>,
    news: watch::Sender<()>,
}

impl Clinic {
    /// Starts the app, down, on a free port of loopback; `key` is what the gateway signs with.
    pub(super) async fn start(key: Secret) -> std::io::Result<Self> {
        Self::open(key, false).await
    }

    /// The same, for a long outage: of the attempts that it refuses while it is down nothing is
    /// kept but their number.
    pub(super) async fn start_for_long(key: Secret) -> std::io::Result<Self> {
        Self::open(key, true).await
    }

    async fn open(key: Secret, forgets_refused: bool) -> std::io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let addr = listener.local_addr()?;
        let app = Arc::new(App {
            key,
            up: AtomicBool::new(false),
            refused: AtomicUsize::new(0),
            forgets_refused,
            arrivals: Mutex::default(),
            news: watch::Sender::new(()),
        });
        let mut server = JoinSet::new();
        server.spawn(serve(listener, app.clone()));
        Ok(Self { addr, app, _server: server })
    }

    /// Where it listens.
    pub(super) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Ends the outage.
    pub(super) fn come_up(&self) {
        self.app.up.store(true, Ordering::SeqCst);
    }

    /// How many attempts it has refused because it was down.
    pub(super) fn refused(&self) -> usize {
        self.app.refused.load(Ordering::SeqCst)
    }

    /// All attempts so far, in the order of their answers.
    pub(super) fn arrivals(&self) -> Vec<Arrival> {
        self.app.arrivals.lock().clone()
    }

    /// Waits until `enough` holds of the attempts, at most for `limit`; tells whether it does.
    pub(super) async fn wait(&self, limit: Duration, enough: impl Fn(&[Arrival]) -> bool) -> bool {
        let mut news = self.app.news.subscribe();
        let holds = news.wait_for(|()| enough(&self.app.arrivals.lock()));
        tokio::time::timeout(limit, holds).await.is_ok_and(|held| held.is_ok())
    }

    /// Forgets the attempts so far.
    pub(super) fn forget(&self) {
        self.app.arrivals.lock().clear();
    }

    /// Waits for attempts, and takes them out.
    pub(super) async fn take(&self) -> Vec<Arrival> {
        let mut news = self.app.news.subscribe();
        // The sender lives as long as `self`, so there is no error to wait for.
        let _ = news.wait_for(|()| !self.app.arrivals.lock().is_empty()).await;
        std::mem::take(&mut *self.app.arrivals.lock())
    }
}

impl Arrival {
    /// A header's text; empty if there is none.
    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default()
    }

    /// Hookward's id of the event.
    pub(super) fn id(&self) -> &str {
        self.header("webhook-id")
    }

    /// Whether the app took it.
    pub(super) fn taken(&self) -> bool {
        self.status.is_success()
    }

    /// An attribute of the CloudEvent; empty if it has none such.
    pub(super) fn attribute(&self, name: &str) -> &str {
        self.event.as_ref().and_then(|e| e.get(name)).and_then(Value::as_str).unwrap_or_default()
    }
}

#[cfg(test)]
impl Arrival {
    /// An attempt at the event of this id.
    pub(super) fn made_up(id: &str, status: StatusCode, authentic: bool) -> Self {
        let headers = HeaderMap::from_iter([(
            http::HeaderName::from_static("webhook-id"),
            id.parse().unwrap(),
        )]);
        Self { status, authentic, headers, body: Bytes::new(), event: None }
    }
}

async fn serve(listener: TcpListener, app: Arc<App>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        let app = app.clone();
        let service = service_fn(move |request| {
            let app = app.clone();
            async move { app.receive(request).await }
        });
        // A connection that breaks is the gateway's to notice.
        tokio::spawn(
            http1::Builder::new()
                .timer(TokioTimer::new())
                .serve_connection(TokioIo::new(stream), service),
        );
    }
}

impl App {
    async fn receive(
        &self,
        request: Request<Incoming>,
    ) -> Result<Response<Empty<Bytes>>, Box<dyn std::error::Error + Send + Sync>> {
        let (head, body) = request.into_parts();
        let body = Limited::new(body, MAX_BODY).collect().await?.to_bytes();
        let event = serde_json::from_slice(&body).ok();
        let mut arrival = Arrival {
            status: StatusCode::OK,
            authentic: false,
            headers: head.headers,
            body,
            event,
        };
        arrival.authentic = self.is_authentic(&arrival);
        if !arrival.authentic {
            arrival.status = StatusCode::UNAUTHORIZED;
        } else if !self.up.load(Ordering::SeqCst) {
            arrival.status = StatusCode::SERVICE_UNAVAILABLE;
        }
        let mut answer = Response::new(Empty::new());
        *answer.status_mut() = arrival.status;
        if arrival.status == StatusCode::SERVICE_UNAVAILABLE {
            self.refused.fetch_add(1, Ordering::SeqCst);
            if self.forgets_refused {
                return Ok(answer);
            }
        }
        self.arrivals.lock().push(arrival);
        self.news.send_replace(());
        Ok(answer)
    }

    fn is_authentic(&self, arrival: &Arrival) -> bool {
        let (id, timestamp) = (arrival.id(), arrival.header("webhook-timestamp"));
        let expected = standard_webhooks_signature(&self.key, id, timestamp, &arrival.body);
        let mut signatures = arrival.header("webhook-signature").split(' ');
        signatures
            .any(|presented| Secret::new(expected.clone().into()).matches(presented.as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::caller::Caller;

    async fn deliver(clinic: &Clinic, key: &Secret, body: &str) -> StatusCode {
        let signature = standard_webhooks_signature(key, "0193", "17", body.as_bytes());
        let mut headers = HeaderMap::new();
        headers.insert("webhook-id", "0193".parse().unwrap());
        headers.insert("webhook-timestamp", "17".parse().unwrap());
        headers.insert("webhook-signature", signature.parse().unwrap());
        let url = format!("http://{}/webhooks", clinic.addr()).parse().unwrap();
        let caller = Caller::plain(None).unwrap();
        caller.post(&url, headers, body.into()).await.unwrap().status
    }

    #[tokio::test]
    async fn takes_signed_deliveries_once_it_is_up() {
        let key = Secret::new(b"the key".to_vec());
        let clinic = Clinic::start(key.clone()).await.unwrap();
        let event = r#"{"type":"drx.sold"}"#;
        assert_eq!(deliver(&clinic, &key, event).await, StatusCode::SERVICE_UNAVAILABLE);
        clinic.come_up();
        assert_eq!(deliver(&clinic, &key, event).await, StatusCode::OK);
        let other = Secret::new(b"another key".to_vec());
        assert_eq!(deliver(&clinic, &other, event).await, StatusCode::UNAUTHORIZED);

        let arrivals = clinic.take().await;
        let seen: Vec<_> = arrivals.iter().map(|a| (a.taken(), a.authentic)).collect();
        assert_eq!(seen, [(false, true), (true, true), (false, false)]);
        assert_eq!((arrivals[1].id(), arrivals[1].attribute("type")), ("0193", "drx.sold"));
        assert!(clinic.arrivals().is_empty());
    }

    #[tokio::test]
    async fn waiting_ends_with_the_condition_or_the_limit() {
        let key = Secret::new(b"the key".to_vec());
        let clinic = Clinic::start(key.clone()).await.unwrap();
        let one = |arrivals: &[Arrival]| arrivals.len() == 1;
        assert!(!clinic.wait(Duration::from_millis(10), one).await);
        let (held, _) =
            tokio::join!(clinic.wait(Duration::from_secs(20), one), deliver(&clinic, &key, "{}"));
        assert!(held);
    }

    #[tokio::test]
    async fn over_a_long_outage_refused_deliveries_are_only_counted() {
        let key = Secret::new(b"the key".to_vec());
        let clinic = Clinic::start_for_long(key.clone()).await.unwrap();
        deliver(&clinic, &key, "{}").await;
        deliver(&clinic, &key, "{}").await;
        clinic.come_up();
        deliver(&clinic, &key, "{}").await;
        assert_eq!((clinic.refused(), clinic.arrivals().len()), (2, 1));
    }
}
