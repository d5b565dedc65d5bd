//! The provider, on several connections: sends until the gateway is gone.

use std::net::SocketAddr;
use std::sync::Arc;
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

use crate::event::TestEvent;
use crate::gateway::{Gateway, KEY};
use crate::ledger::Ledger;
use crate::operator;

/// The longest an answer may take is `ack_deadline`, at most 4.5 s; more is silence.
const LONGEST_ANSWER: Duration = Duration::from_secs(20);

/// An answer's status and `Hookward-Event-Id`.
struct Answer {
    status: StatusCode,
    event_id: String,
}

/// One connection to the gateway.
pub(crate) struct Sender {
    connection: SendRequest<Full<Bytes>>,
    /// Which of the gateway's lives it is a connection to.
    life: u32,
    ledger: Arc<Ledger>,
    rng: Rng,
    user_agent: Option<String>,
}

/// Starts the senders, and an operator beside them; they end when the gateway does.
pub(crate) fn start(
    connections: usize,
    gateway: &Gateway,
    ledger: &Arc<Ledger>,
    rng: &mut Rng,
) -> JoinSet<()> {
    let mut senders = JoinSet::new();
    for _ in 0..connections {
        let (place, life) = (gateway.public(), gateway.life());
        senders.spawn(send_until_gone(place, life, Arc::clone(ledger), rng.fork()));
    }
    let (admin, life) = (gateway.admin(), gateway.life());
    senders.spawn(operator::replay_until_gone(admin, life, Arc::clone(ledger), rng.fork()));
    senders
}

/// A gateway that merely closes a connection is there for the next one.
async fn send_until_gone(gateway: SocketAddr, life: u32, ledger: Arc<Ledger>, mut rng: Rng) {
    while let Some(mut sender) = Sender::connect(gateway, life, &ledger, &mut rng).await {
        while sender.send_something().await.is_some() {}
    }
}

impl Sender {
    /// A connection; `None` when nobody listens.
    pub(crate) async fn connect(
        gateway: SocketAddr,
        life: u32,
        ledger: &Arc<Ledger>,
        rng: &mut Rng,
    ) -> Option<Self> {
        let stream = TcpStream::connect(gateway).await.ok()?;
        let (connection, driver) = handshake(TokioIo::new(stream)).await.ok()?;
        tokio::spawn(driver);
        let (ledger, rng) = (Arc::clone(ledger), rng.fork());
        Some(Self { connection, life, ledger, rng, user_agent: None })
    }

    /// Sends a new event; the answer's status, `None` without an answer.
    pub(crate) async fn send_fresh(&mut self) -> Option<StatusCode> {
        let event = self.ledger.fresh(&mut self.rng);
        self.send(event).await
    }

    /// Sends an event again that was acknowledged before.
    pub(crate) async fn send_repeat(&mut self) -> Option<StatusCode> {
        let event = self.ledger.any_acknowledged(&mut self.rng)?;
        self.send(event).await
    }

    /// Sends a new event, and another one under its id, which is to be kept back: the first, and
    /// what the gateway calls the other. `None` if either is not acknowledged.
    pub(crate) async fn send_conflict(&mut self) -> Option<(TestEvent, String)> {
        let event = self.ledger.fresh(&mut self.rng);
        let first = self.send(event).await.filter(|status| *status == StatusCode::OK);
        first?;
        Some((event, self.send_other(event).await?))
    }

    /// Sends the other one: what the gateway calls it, if it is acknowledged.
    pub(crate) async fn send_other(&mut self, event: TestEvent) -> Option<String> {
        let body = event.body().replacen("order.updated", "order.altered", 1);
        let answer = self.post(Some(sign(KEY, &body)), body).await?;
        (answer.status == StatusCode::OK).then_some(answer.event_id)
    }

    /// `None` when the connection is gone.
    async fn send_something(&mut self) -> Option<()> {
        match self.rng.u8(..16) {
            0..2 => return self.forge().await,
            2..4 => {
                if let Some(event) = self.ledger.any_acknowledged(&mut self.rng) {
                    return self.send(event).await.map(drop);
                }
            }
            4..6 => {
                if let Some(event) = self.ledger.take_unanswered() {
                    return self.send_or_pause(event).await;
                }
            }
            _ => {}
        }
        let event = self.ledger.fresh(&mut self.rng);
        self.send_or_pause(event).await
    }

    /// Who is answered 503 does not come back at once.
    async fn send_or_pause(&mut self, event: TestEvent) -> Option<()> {
        if self.send(event).await? == StatusCode::SERVICE_UNAVAILABLE {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Some(())
    }

    async fn send(&mut self, event: TestEvent) -> Option<StatusCode> {
        let body = event.body();
        let signature = sign(KEY, &body);
        let Some(answer) = self.post(Some(signature), body).await else {
            self.ledger.note_unanswered(event);
            return None;
        };
        match answer.status {
            StatusCode::OK => self.ledger.note_acknowledged(event, &answer.event_id, self.life),
            StatusCode::SERVICE_UNAVAILABLE => self.ledger.note_unavailable(event),
            other => self.ledger.note_problem(format!("a valid event was answered with {other}")),
        }
        Some(answer.status)
    }

    /// Sends a forgery under this name.
    pub(crate) async fn forge_as(&mut self, user_agent: &str) -> Option<()> {
        self.user_agent = Some(user_agent.to_owned());
        let forged = self.forge().await;
        self.user_agent = None;
        forged
    }

    async fn forge(&mut self) -> Option<()> {
        let mut body = TestEvent::new(0, &mut self.rng).body();
        body = body.replacen("evt_", "forged_", 1);
        let signature = match self.rng.u8(..3) {
            0 => None,
            1 => Some(sign(b"a-key-that-the-gateway-has-never-seen", &body)),
            _ => Some(sign(KEY, &body[1..])),
        };
        let answer = self.post(signature, body).await?;
        match answer.status {
            // Who tries often is not even looked at for a while.
            StatusCode::UNAUTHORIZED | StatusCode::TOO_MANY_REQUESTS => self.ledger.note_refused(),
            other => self.ledger.note_problem(format!("a forgery was answered with {other}")),
        }
        Some(())
    }

    /// `None` when the connection is gone.
    async fn post(&mut self, signature: Option<String>, body: String) -> Option<Answer> {
        let mut request = Request::post("/hooks/lab")
            .header("host", "gateway.example")
            .header("content-type", "application/json");
        if let Some(signature) = signature {
            request = request.header("x-lab-signature", signature);
        }
        if let Some(user_agent) = &self.user_agent {
            request = request.header("user-agent", user_agent);
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

fn sign(key: &[u8], body: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    mac.update(body.as_bytes());
    format!("sha256={}", hex::encode(mac.finalize().into_bytes()))
}
