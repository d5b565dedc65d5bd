//! The stand-in for the app behind the gateway: takes note of what arrives, and answers as its
//! test wants.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use sha2::Sha256;
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use crate::client::BOUND;
use crate::leaks;

/// A request as the app got it.
#[derive(Clone, Debug)]
pub struct Delivery {
    pub at: Instant,
    pub target: String,
    pub headers: HeaderMap,
    pub body: Bytes,
    /// What it was answered.
    pub status: u16,
    /// How many the app had in hand when it came, itself included.
    pub in_hand: usize,
}

impl Delivery {
    pub fn header(&self, name: &str) -> &str {
        let mut values = self.headers.get_all(name).iter();
        let value = values.next().unwrap_or_else(|| panic!("no {name}: {self:?}"));
        assert_eq!(values.next(), None, "{name} is repeated");
        value.to_str().unwrap()
    }

    pub fn id(&self) -> &str {
        self.header("webhook-id")
    }

    pub fn attempt(&self) -> u32 {
        self.header("hookward-attempt").parse().unwrap()
    }

    pub fn event(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// The `data` of the CloudEvent, byte for byte. It is the last member.
    pub fn data(&self) -> &str {
        let body = str::from_utf8(&self.body).unwrap();
        body.split_once(",\"data\":").unwrap().1.strip_suffix('}').unwrap()
    }

    /// Whether it carries the Standard Webhooks signature of the holder of this key.
    pub fn is_signed_with(&self, key: &[u8]) -> bool {
        let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
        for part in [self.id(), ".", self.header("webhook-timestamp"), "."] {
            mac.update(part.as_bytes());
        }
        mac.update(&self.body);
        let expected = format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()));
        self.header("webhook-signature") == expected
    }
}

/// What the app answers.
#[derive(Clone, Debug)]
pub struct Reply {
    status: u16,
    headers: Vec<(&'static str, String)>,
    takes: Duration,
}

pub fn reply(status: u16) -> Reply {
    Reply { status, headers: Vec::new(), takes: Duration::ZERO }
}

impl Reply {
    pub fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// The app works on it for so long before it answers.
    pub fn takes(mut self, time: Duration) -> Self {
        self.takes = time;
        self
    }
}

/// An address on which nobody listens yet: connections are refused, and nobody else can take it.
pub struct Down(TcpSocket);

impl Down {
    pub fn new() -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_reuseaddr(true).unwrap();
        socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
        Self(socket)
    }

    pub fn address(&self) -> SocketAddr {
        self.0.local_addr().unwrap()
    }

    pub fn url(&self) -> String {
        format!("http://{}/webhooks", self.address())
    }

    /// The app comes up, and answers 200 to everything.
    pub fn come_up(self) -> App {
        App::on(self.0.listen(128).unwrap(), |_, _| reply(200))
    }
}

/// An app that is up.
pub struct App {
    pub address: SocketAddr,
    seen: Arc<watch::Sender<Vec<Delivery>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for App {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl App {
    /// Answers 200 to everything.
    pub async fn start() -> Self {
        Self::answering(|_, _| reply(200)).await
    }

    /// Answers with what `script` makes of a delivery and all that were before it.
    pub async fn answering(
        script: impl Fn(&Delivery, &[Delivery]) -> Reply + Send + Sync + 'static,
    ) -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").await.unwrap(), script)
    }

    fn on(
        listener: TcpListener,
        script: impl Fn(&Delivery, &[Delivery]) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(watch::Sender::new(Vec::new()));
        let in_hand = AtomicUsize::new(0);
        let desk = Arc::new(Desk { seen: Arc::clone(&seen), script, in_hand });
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let desk = Arc::clone(&desk);
                tokio::spawn(async move {
                    let service = service_fn(|request| desk.take(request));
                    let http = hyper::server::conn::http1::Builder::new();
                    drop(http.serve_connection(TokioIo::new(stream), service).await);
                });
            }
        });
        Self { address, seen, task }
    }

    pub fn url(&self) -> String {
        format!("http://{}/webhooks", self.address)
    }

    pub fn seen(&self) -> Vec<Delivery> {
        self.seen.borrow().clone()
    }

    /// Waits until the app has got this many deliveries, and returns all that it has.
    pub async fn wait(&self, count: usize) -> Vec<Delivery> {
        self.wait_for(|seen| seen.len() >= count).await
    }

    /// Waits until what the app has got is as it should be, and returns it.
    pub async fn wait_for(&self, enough: impl Fn(&[Delivery]) -> bool) -> Vec<Delivery> {
        let mut seen = self.seen.subscribe();
        // No guard is kept: the app waits for it to take its next delivery, and whoever looks again
        // would wait behind the app.
        let waited =
            timeout(BOUND, seen.wait_for(|seen| enough(seen))).await.map(|seen| match seen {
                Ok(seen) => seen.clone(),
                Err(_) => unreachable!("the app holds the sender"),
            });
        waited.unwrap_or_else(|_| {
            let seen = self.seen();
            panic!("the app has got only {} deliveries: {seen:#?}", seen.len())
        })
    }
}

struct Desk<S> {
    seen: Arc<watch::Sender<Vec<Delivery>>>,
    script: S,
    in_hand: AtomicUsize,
}

impl<S: Fn(&Delivery, &[Delivery]) -> Reply> Desk<S> {
    async fn take(&self, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
        let (head, body) = request.into_parts();
        let Ok(body) = body.collect().await else {
            return Ok(Response::new(Full::default()));
        };
        let mut delivery = Delivery {
            at: Instant::now(),
            target: format!("{} {}", head.method, head.uri),
            headers: head.headers,
            body: body.to_bytes(),
            status: 0,
            in_hand: 0,
        };
        let mut response = Response::new(Full::default());
        let mut takes = Duration::ZERO;
        let answer = leaks::canary("the app's answers");
        self.seen.send_modify(|seen| {
            delivery.in_hand = self.in_hand.fetch_add(1, Ordering::SeqCst) + 1;
            let reply = (self.script)(&delivery, seen);
            delivery.status = reply.status;
            takes = reply.takes;
            *response.status_mut() = StatusCode::from_u16(reply.status).unwrap();
            response.headers_mut().insert("x-canary", answer.parse().unwrap());
            if !matches!(reply.status, 204 | 304) {
                response.headers_mut().insert("content-type", "text/plain".parse().unwrap());
                *response.body_mut() = Full::from(answer);
            }
            for (name, value) in reply.headers {
                response.headers_mut().append(name, value.parse().unwrap());
            }
            seen.push(delivery);
        });
        tokio::time::sleep(takes).await;
        self.in_hand.fetch_sub(1, Ordering::SeqCst);
        Ok(response)
    }
}
