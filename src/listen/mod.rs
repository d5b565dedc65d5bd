//! Sockets: accepting, PROXY headers and TLS, HTTP by hyper, limits and timers, drain. Knows nothing of
//! sources and events: it hands each request to a handler and sends what that answers.
//!
//! Every wait on a client is bounded here but one: from the end of a request's headers to its
//! answer, the handler has a deadline of its own.

mod accept;
mod body;
mod connection;
mod crowd;
pub(crate) mod framing;
mod guard;
mod h2;
pub(crate) mod in_memory;
mod known;
mod local;
mod open;
mod progress;
pub mod proxy_protocol;
mod seats;
#[cfg(test)]
mod tests;
pub mod tls;
mod verdicts;
mod wire;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::{HeaderValue, Request, Response, header};
use http_body_util::Full;
use hyper::body::Body as _;
use ipnet::IpNet;
use rustls_pki_types::CertificateDer;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};

pub use self::accept::{begin, reserve};
pub use self::body::Unread;
pub use self::framing::{Defect, Defective};
pub use self::guard::INTERNAL_ERROR;
pub use self::local::run as run_local;
pub use self::progress::Timeouts;
pub use self::verdicts::{Fault, Verdicts};

use self::accept::Trouble;
use self::crowd::{Crowd, Place};
pub(crate) use self::known::Known;
pub(crate) use self::seats::Seat;
use self::seats::{Seated, Seats};
use crate::audit::{Reason, Refusals, Refused};
use crate::metrics::{ListenerMetrics, Metrics};
use crate::network::{Network, Networks};
use crate::secret::Withdrawal;

/// How long connections that were told to go may take for it: they only have to be polled.
const LAST_CALL: Duration = Duration::from_secs(1);

/// A request as the listener hands it over.
#[derive(Debug)]
pub struct Arrival {
    /// Its head, and its body yet to be read. A `100 Continue` that the client waits for is sent
    /// when the body is first polled.
    pub request: Request<Unread>,
    /// Where its connection comes from.
    pub origin: Arc<Origin>,
    /// What is wrong with its head. Then `request` is a stand-in that says nothing; it must be
    /// refused, and the connection is closed after it whatever the answer.
    pub defect: Option<Box<Defective>>,
}

impl Arrival {
    /// Length of its body that its head declares, in bytes; `None`: it declares none.
    pub fn declared(&self) -> Option<u64> {
        // Without a body hyper knows that it has 0 bytes, whether or not anybody has said so.
        let says = self.request.headers().contains_key(header::CONTENT_LENGTH);
        says.then(|| self.request.body().size_hint().exact()).flatten()
    }
}

/// Which of the gateway's listeners.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listener {
    /// The providers'.
    Public,
    /// The operators'.
    Admin,
    /// The operators' on this machine: a Unix socket.
    Socket,
}

impl Listener {
    /// Its name in records.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Admin => "admin",
            Self::Socket => "socket",
        }
    }
}

/// Where a connection comes from.
#[derive(Debug)]
pub struct Origin {
    /// Where it came in.
    pub listener: Listener,
    /// The other end of the TCP connection; of one over a Unix socket it says nothing.
    pub peer: SocketAddr,
    /// The user at the other end of a Unix socket, as the kernel has it; `None`: the connection came
    /// over TCP.
    pub local: Option<u32>,
    /// Whether a PROXY header came first.
    pub proxy_header: bool,
    /// Whom that names in the peer's place; `None`: nobody, and the proxy speaks for itself.
    pub proxied: Option<SocketAddr>,
    /// Whether the address that it speaks for was a trusted proxy's when it began.
    pub forwards: bool,
    /// What was agreed on in the TLS handshake; `None` on a plain listener.
    pub tls: Option<TlsSession>,
    /// Whether one of its requests waits for the rest of its body in the connection's own place.
    pub body_awaited: AtomicBool,
    /// Whether we have ended it, with what was in hand.
    pub(crate) cut_off: AtomicBool,
    /// Where it is noted that its client has proven itself; `None`: nowhere.
    pub(crate) known: Option<Arc<Known>>,
    /// Whether it was.
    pub(crate) proven: AtomicBool,
    /// Its place where connections give way to others; `None`: it gives way to none.
    pub(crate) seat: Option<Arc<Seat>>,
    /// Whose the client certificates of its TLS session are, as far as it was asked.
    pub verdicts: Verdicts,
}

impl Origin {
    /// A plain connection from this peer.
    pub fn plain(peer: SocketAddr) -> Self {
        Self {
            listener: Listener::Public,
            peer,
            local: None,
            proxy_header: false,
            proxied: None,
            forwards: false,
            tls: None,
            body_awaited: AtomicBool::new(false),
            cut_off: AtomicBool::new(false),
            known: None,
            proven: AtomicBool::new(false),
            seat: None,
            verdicts: Verdicts::default(),
        }
    }

    /// A connection of this user's over a Unix socket.
    pub fn local(uid: u32) -> Self {
        let nowhere = (std::net::Ipv4Addr::UNSPECIFIED, 0);
        Self { listener: Listener::Socket, local: Some(uid), ..Self::plain(nowhere.into()) }
    }

    /// A connection from this peer that begins under these settings.
    fn begin(peer: SocketAddr, settings: &Settings) -> Self {
        let (listener, forwards) = (settings.listener, settings.trusts(peer.ip()));
        Self { listener, forwards, ..Self::plain(peer) }
    }

    /// Its PROXY header has named this address, or nobody.
    fn name(&mut self, proxied: Option<SocketAddr>, settings: &Settings) {
        self.proxy_header = true;
        self.proxied = proxied;
        self.forwards = settings.trusts(self.address());
    }

    /// Among whose connections it is counted. `None`: nobody's. A trusted proxy that does not say
    /// whom its connection is for brings many clients on few connections.
    pub fn counted_for(&self) -> Option<Network> {
        let is_one_client_s = self.proxied.is_some() || !self.forwards;
        is_one_client_s.then(|| Network::of(Some(self.address())))
    }

    /// A request on the connection was verified: its client is one of those for whom the last places
    /// are kept ([`Limits::max_connections`]). Costs something only the first time.
    pub fn has_proven_itself(&self) {
        let Some(known) = &self.known else { return };
        if !self.proven.swap(true, Ordering::Relaxed) {
            known.note(Network::of(Some(self.address())));
        }
    }

    /// This right token was shown on it, or `None`, one that is not. False: the connection has given way
    /// to another, its client hears no answer, and nothing is to be begun for it.
    pub fn has_shown_a_token(&self, token: Option<&Withdrawal>) -> bool {
        self.seat.as_ref().is_none_or(|seat| seat.judged(token))
    }

    /// The stop does not wait for its requests any longer: they end when this connection's task does.
    fn cut_off(&self) {
        self.cut_off.store(true, Ordering::Relaxed);
    }

    /// Whether we have ended it, with what was in hand, rather than its client.
    pub fn is_cut_off(&self) -> bool {
        self.cut_off.load(Ordering::Relaxed)
    }

    /// From nowhere in particular: for requests that are verified without a connection.
    pub fn nowhere() -> Arc<Self> {
        Arc::new(Self::plain((std::net::Ipv4Addr::UNSPECIFIED, 0).into()))
    }

    /// The address that the connection speaks for: what the PROXY header says, else the peer's.
    /// IPv4-mapped addresses as IPv4.
    pub fn address(&self) -> IpAddr {
        self.proxied.unwrap_or(self.peer).ip().to_canonical()
    }

    /// The peer's address, IPv4-mapped ones as IPv4, unless it is the client's: for records.
    pub fn peer_beside(&self, client: Option<IpAddr>) -> Option<IpAddr> {
        Some(self.peer.ip().to_canonical()).filter(|peer| client != Some(*peer))
    }
}

/// What was agreed on in a TLS handshake.
#[derive(Clone, Debug)]
pub struct TlsSession {
    /// `TLSv1.2` or `TLSv1.3`.
    pub version: &'static str,
    /// The name that the client asked for (SNI).
    pub server_name: Option<String>,
    /// Whether HTTP/2 was chosen (ALPN).
    pub http2: bool,
    /// The client's certificates, its own first; its key's possession is proved, but nothing is
    /// said about who issued them.
    pub client_certificates: Vec<CertificateDer<'static>>,
}

/// What a handler answers: always short, always of known length.
pub type Answer = Response<Full<Bytes>>;

/// In an answer's extensions: it is its connection's last one, but for requests in hand over HTTP/2.
#[derive(Clone, Copy, Debug)]
struct Last;

/// Makes this its connection's last answer.
pub fn end_with(answer: &mut Answer) {
    answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    answer.extensions_mut().insert(Last);
}

/// What a listener does that may change while it runs. A connection keeps to the settings that
/// it began with.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Which it is.
    pub listener: Listener,
    /// What it allows.
    pub limits: Limits,
    /// The TLS side. Whether there is one does not change.
    pub tls: Option<Arc<tls::Acceptor>>,
    /// Peers that speak for others. They are not counted as clients.
    pub trusted_proxies: Vec<IpNet>,
    /// Whether each connection begins with a PROXY header, from one of the trusted.
    pub proxy_protocol: bool,
    /// Whose connections are expected, whether anything of theirs was verified yet or not.
    pub expected: Networks,
    /// Where requests are recorded that are refused before a handler sees them.
    pub refusals: Arc<Refusals>,
}

impl Settings {
    /// A plain listener with these limits.
    pub fn plain(limits: Limits, refusals: Arc<Refusals>) -> Self {
        Self {
            listener: Listener::Public,
            limits,
            tls: None,
            trusted_proxies: Vec::new(),
            proxy_protocol: false,
            expected: Networks::default(),
            refusals,
        }
    }

    /// Whether this peer may speak for others.
    fn trusts(&self, peer: IpAddr) -> bool {
        let peer = peer.to_canonical();
        self.trusted_proxies.iter().any(|net| net.contains(&peer))
    }
}

/// What one listener allows.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at once; further ones are closed at once, but on the admin listener, where another
    /// gives way. From 512 on, the last eighth of the places is kept for trusted proxies, for
    /// [`Settings::expected`] clients, and for those of whom a request was verified within a week.
    pub max_connections: usize,
    /// Connections at once from one client address.
    pub max_connections_per_client: usize,
    /// Requests on one connection.
    pub max_requests: u64,
    /// Fields in a header section.
    pub max_headers: usize,
    /// Bytes of a request's head.
    pub max_header_bytes: usize,
    /// Bytes of a request target.
    pub max_target: usize,
    /// Requests at once on an HTTP/2 connection.
    pub max_streams: u32,
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

/// How a connection came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    /// As the client or the listener wanted, or for want of either.
    Quietly,
    /// With a request whose head no handler got to see, and that was answered with this status.
    Refused(u16),
}

/// How a drain ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drained {
    /// Connections that were cut off at the deadline.
    pub cut_off: usize,
}

/// What ends a listener.
#[derive(Debug)]
pub struct Stop<S, N> {
    /// Ready when no further connection is to be taken.
    pub soon: S,
    /// Ready when nothing in hand is to be waited for either. Polled after `soon` only.
    pub now: N,
}

/// Serves `listener` until `shutdown` is ready. Then no further connection is taken, idle ones
/// close, requests that are being answered finish, and what is left after `drain_timeout` is
/// cut off. A handler that panics costs its own request an answer of 500.
pub async fn run<H, F>(
    listener: TcpListener,
    settings: Arc<ArcSwap<Settings>>,
    handler: H,
    shutdown: impl Future<Output = ()>,
) -> Drained
where
    H: Fn(Arrival) -> F + Send + Sync + 'static,
    F: Future<Output = Answer> + Send,
{
    let uncounted = Metrics::new().listener(|_| 400);
    let stop = Stop { soon: shutdown, now: std::future::pending() };
    run_counted(listener, settings, handler, uncounted, stop).await
}

/// [`run`], with its connections and what never reaches the handler counted in `metrics`, and with a
/// drain that can be cut short.
pub async fn run_counted<H, F>(
    listener: TcpListener,
    settings: Arc<ArcSwap<Settings>>,
    handler: H,
    metrics: ListenerMetrics,
    stop: Stop<impl Future<Output = ()>, impl Future<Output = ()>>,
) -> Drained
where
    H: Fn(Arrival) -> F + Send + Sync + 'static,
    F: Future<Output = Answer> + Send,
{
    let mut shutdown = std::pin::pin!(stop.soon);
    let serving = Serving::new(settings, handler, metrics);
    let mut trouble = Trouble::default();
    loop {
        tokio::select! {
            biased;
            () = &mut shutdown => break,
            (stream, peer) = accept::next(&listener, &mut trouble) => serving.admit(stream, peer),
        }
    }
    drop(listener);
    serving.drain(stop.now).await
}

/// One listener at work.
struct Serving<H> {
    settings: Arc<ArcSwap<Settings>>,
    handler: Arc<H>,
    metrics: ListenerMetrics,
    crowd: Arc<Crowd>,
    seats: Arc<Seats>,
    failures: Arc<open::Failures>,
    stage: watch::Sender<Stage>,
}

impl<H, F> Serving<H>
where
    H: Fn(Arrival) -> F + Send + Sync + 'static,
    F: Future<Output = Answer> + Send,
{
    fn new(settings: Arc<ArcSwap<Settings>>, handler: H, metrics: ListenerMetrics) -> Self {
        let (stage, _) = watch::channel(Stage::Serving);
        Self {
            settings,
            handler: Arc::new(handler),
            metrics,
            crowd: Arc::default(),
            seats: Arc::default(),
            failures: Arc::default(),
            stage,
        }
    }

    /// Serves the connection in a task of its own, or closes it when there are too many.
    fn admit(&self, stream: TcpStream, peer: SocketAddr) {
        let settings = self.settings.load_full();
        if settings.listener == Listener::Admin {
            return self.admit_operator(stream, peer, settings);
        }
        let origin = Origin { known: Some(self.crowd.known()), ..Origin::begin(peer, &settings) };
        let place = self.crowd.enter(settings.limits.max_connections);
        // Whom a PROXY header names is judged when it is there.
        let place = place.filter(|place| {
            settings.proxy_protocol || self.crowd.may_stay(place, &origin, &settings)
        });
        match place {
            Some(place) => self.serve(stream, origin, settings, (place, None)),
            // The log has a line of these once in a while.
            None => overloaded("too many connections", &origin, &settings),
        }
    }

    fn serve(
        &self,
        stream: TcpStream,
        origin: Origin,
        settings: Arc<Settings>,
        (place, seated): (Place, Option<Seated>),
    ) {
        let (handler, metrics) = (Arc::clone(&self.handler), self.metrics.clone());
        let shared = (Arc::clone(&self.crowd), Arc::clone(&self.failures));
        let stage = self.stage.subscribe();
        tokio::spawn(async move {
            let opened = metrics.opened();
            let handler = &*handler;
            let guarded = |arrival| guard::answer(handler, arrival);
            let (crowd, failures) = &shared;
            let door = open::Door { settings: &settings, crowd, failures, place: &place };
            let serving = open::serve(stream, origin, door, stage, &guarded);
            let ended = tokio::select! {
                biased;
                () = seats::displaced(seated.as_ref()) => Ended::Quietly,
                ended = serving => ended,
            };
            if let Ended::Refused(status) = ended {
                metrics.head_refused(status);
            }
            drop((opened, place, seated));
        });
    }

    async fn drain(self, now: impl Future<Output = ()>) -> Drained {
        let deadline = Instant::now() + self.settings.load().limits.drain_timeout;
        self.stage.send_replace(Stage::Draining);
        tokio::select! {
            biased;
            () = self.crowd.all_gone() => return Drained { cut_off: 0 },
            () = sleep_until(deadline) => {}
            () = now => {}
        }
        let cut_off = self.crowd.connections();
        self.stage.send_replace(Stage::Forced);
        let _ = timeout(LAST_CALL, self.crowd.all_gone()).await;
        Drained { cut_off }
    }
}

/// Records a connection that is closed for want of a place. The log has a line of these once in a while.
fn overloaded(detail: &'static str, origin: &Origin, settings: &Settings) {
    let refused = Refused::connection(Reason::Overloaded, detail, origin);
    settings.refusals.record_silently(&refused);
}
