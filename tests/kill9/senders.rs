//! The provider, on several connections: sends until the gateway is gone.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use fastrand::Rng;
use hmac::{Hmac, KeyInit, Mac};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use sha2::Sha256;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::gateway::{Gateway, KEY};
use crate::ledger::Ledger;

/// The longest an answer may take is `ack_deadline`, at most 4.5 s; more is silence.
const LONGEST_ANSWER: Duration = Duration::from_secs(10);

/// An answer's status and `Hookward-Event-Id`.
struct Answer {
    status: StatusCode,
    event_id: String,
}

/// One connection to the gateway.
struct Sender {
    connection: SendRequest<Full<Bytes>>,
    ledger: Arc<Ledger>,
    rng: Rng,
}

/// Starts the senders; they end when the gateway does.
pub(crate) fn start(
    connections: usize,
    gateway: &Gateway,
    ledger: &Arc<Ledger>,
    rng: &mut Rng,
) -> JoinSet<()> {
    let mut senders = JoinSet::new();
    for _ in 0..connections {
        senders.spawn(send_until_gone(gateway.public(), Arc::clone(ledger), rng.fork()));
    }
    senders
}

/// A gateway that merely closes a connection is there for the next one.
async fn send_until_gone(gateway: SocketAddr, ledger: Arc<Ledger>, mut rng: Rng) {
    while let Ok(stream) = TcpStream::connect(gateway).await {
        if let Ok((connection, driver)) = handshake(TokioIo::new(stream)).await {
            tokio::spawn(driver);
            let mut sender = Sender { connection, ledger: Arc::clone(&ledger), rng: rng.fork() };
            while sender.send_something().await.is_some() {}
        }
    }
}

impl Sender {
    /// `None` when the connection is.
    async fn send_something(&mut self) -> Option<()> {
        match self.rng.u8(..16) {
            0..2 => self.forge().await,
            2..4 => match self.ledger.any_acknowledged(&mut self.rng) {
                Some((id, body)) => self.send(&id, body).await,
                None => Some(()),
            },
            4..6 => match self.ledger.take_unanswered() {
                Some((id, body)) => self.send(&id, body).await,
                None => Some(()),
            },
            _ => {
                let id = next_id("evt");
                let body = self.body(&id);
                self.ledger.note_sent(&id, &body);
                self.send(&id, body).await
            }
        }
    }

    async fn send(&mut self, id: &str, body: String) -> Option<()> {
        let signature = sign(KEY, &body);
        let Some(answer) = self.post(Some(signature), body).await else {
            self.ledger.note_unanswered(id);
            return None;
        };
        match answer.status {
            StatusCode::OK => self.ledger.note_acknowledged(id, &answer.event_id),
            StatusCode::SERVICE_UNAVAILABLE => self.ledger.note_unanswered(id),
            other => self.ledger.note_problem(format!("a valid event was answered with {other}")),
        }
        Some(())
    }

    async fn forge(&mut self) -> Option<()> {
        let id = next_id("forged");
        let body = self.body(&id);
        let signature = match self.rng.u8(..3) {
            0 => None,
            1 => Some(sign(b"a-key-that-the-gateway-has-never-seen", &body)),
            _ => Some(sign(KEY, &self.body("another"))),
        };
        let answer = self.post(signature, body).await?;
        match answer.status {
            StatusCode::UNAUTHORIZED => self.ledger.note_refused(),
            other => self.ledger.note_problem(format!("{id} was answered with {other}")),
        }
        Some(())
    }

    /// Few orders, so that order of delivery matters, and bodies of very different length.
    fn body(&mut self, id: &str) -> String {
        let order = self.rng.u8(..50);
        let note = if self.rng.u8(..32) == 0 { 20_000 } else { self.rng.usize(..600) };
        let note = "n".repeat(note);
        format!(
            r#"{{"id":"{id}","event":"order.updated","order_id":"ord_{order}","note":"{note}"}}"#
        )
    }

    /// `None` when the connection is.
    async fn post(&mut self, signature: Option<String>, body: String) -> Option<Answer> {
        let mut request = Request::post("/hooks/lab")
            .header("host", "gateway.example")
            .header("content-type", "application/json");
        if let Some(signature) = signature {
            request = request.header("x-lab-signature", signature);
        }
        let request = request.body(Full::from(body)).unwrap();
        let answer = async {
            self.connection.ready().await.ok()?;
            let response = self.connection.send_request(request).await.ok()?;
            let event_id = response.headers().get("hookward-event-id");
            let event_id = event_id.and_then(|value| value.to_str().ok()).unwrap_or_default();
            let answer = Answer { status: response.status(), event_id: event_id.to_owned() };
            // An answer counts when it has arrived whole.
            response.into_body().collect().await.ok()?;
            Some(answer)
        };
        match tokio::time::timeout(LONGEST_ANSWER, answer).await {
            Ok(answer) => answer,
            Err(_) => {
                self.ledger.note_problem("a request got no answer at all".to_owned());
                None
            }
        }
    }
}

fn next_id(kind: &str) -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("{kind}_{:08}", NEXT.fetch_add(1, Ordering::Relaxed))
}

fn sign(key: &[u8], body: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    mac.update(body.as_bytes());
    format!("sha256={}", hex::encode(mac.finalize().into_bytes()))
}
