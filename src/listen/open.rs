//! What comes before HTTP on a connection: the PROXY header, the client's share of connections,
//! and the TLS handshake, all under one deadline; then the version of HTTP that was agreed on.
//!
//! A plain listener speaks HTTP/1.1 and looks for nothing else: a TLS ClientHello there is a
//! malformed request.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use super::accept::Occasionally;
use super::crowd::{ClientPlace, Crowd, Place};
use super::{Answer, Arrival, Ended, Origin, Settings, Stage, connection, h2, proxy_protocol, tls};
use crate::audit::{Reason, Refused};
use crate::network::Network;

/// A connection that is ready for HTTP.
enum Opened {
    Plain(TcpStream),
    Tls(Box<tls::Stream>),
    /// It never was to come to HTTP: an authority's, which has its answer.
    Over,
}

/// Why a connection never came to HTTP.
#[derive(Clone, Copy)]
enum Failure {
    /// The PROXY header that it must begin with is missing, malformed, or not from a trusted peer.
    /// That is recorded already.
    ProxyHeader,
    /// PROXY header and handshake were not over by the deadline.
    TooSlow,
    /// The client has its share of connections already, or what is left is for others, which the
    /// crowd has told.
    Share,
    /// The TLS handshake.
    Tls(tls::Failure),
}

impl Failure {
    fn as_str(self) -> &'static str {
        match self {
            Self::ProxyHeader => "no valid PROXY header",
            Self::TooSlow => "too slow",
            Self::Share => "too many connections",
            Self::Tls(failure) => failure.as_str(),
        }
    }
}

/// The connections of one listener that never came to HTTP: anybody can make as many as they
/// like, so of each kind only one is told once in a while, with the number of those before it.
#[derive(Debug, Default)]
pub(super) struct Failures(Mutex<BTreeMap<&'static str, Occasionally>>);

impl Failures {
    fn note(&self, failure: Failure, origin: &Origin) {
        if matches!(failure, Failure::Share | Failure::ProxyHeader) {
            return;
        }
        let failure = failure.as_str();
        let told = self.0.lock().entry(failure).or_default().now(Instant::now());
        if let Some(times) = told {
            let (peer, client) = (origin.peer, origin.address());
            let listener = origin.listener.as_str();
            tracing::warn!(%peer, %client, listener, failure, times, "connections without a request");
        }
    }
}

/// What all connections of a listener come through.
#[derive(Clone, Copy)]
pub(super) struct Door<'a> {
    pub(super) settings: &'a Settings,
    pub(super) crowd: &'a Arc<Crowd>,
    pub(super) failures: &'a Failures,
    pub(super) place: &'a Place,
}

/// Serves the connection until the client or the listener ends it.
pub(super) async fn serve<H, F>(
    stream: TcpStream,
    mut origin: Origin,
    door: Door<'_>,
    mut stage: watch::Receiver<Stage>,
    handler: &H,
) -> Ended
where
    H: Fn(Arrival) -> F + Sync,
    F: Future<Output = Answer> + Send,
{
    let opened = tokio::select! {
        biased;
        opened = open(stream, &mut origin, door) => opened,
        // Nothing has been asked yet that would have to be answered.
        _ = stage.wait_for(|stage| *stage != Stage::Serving) => return Ended::Quietly,
    };
    let (opened, _place) = match opened {
        Ok(opened) => opened,
        Err(failure) => {
            door.failures.note(failure, &origin);
            record(failure, &origin, door.settings);
            return Ended::Quietly;
        }
    };
    let http2 = origin.tls.as_ref().is_some_and(|session| session.http2);
    let (origin, settings) = (Arc::new(origin), door.settings);
    match opened {
        Opened::Over => Ended::Quietly,
        Opened::Plain(stream) => connection::serve(stream, origin, settings, stage, handler).await,
        Opened::Tls(stream) if http2 => h2::serve(stream, origin, settings, stage, handler).await,
        Opened::Tls(stream) => connection::serve(stream, origin, settings, stage, handler).await,
    }
}

/// Who came with something, and was not served. The log has a line of these once in a while; of a
/// certificate that its client could not prove to be its own it has each.
fn record(failure: Failure, origin: &Origin, settings: &Settings) {
    let reason = match failure {
        Failure::Share => Reason::Overloaded,
        Failure::Tls(tls::Failure::ClientCertificate) => {
            let (reason, detail) = (Reason::CredentialInvalid, failure.as_str());
            return settings.refusals.record(&Refused::connection(reason, detail, origin));
        }
        Failure::Tls(failure) if failure.is_refusal() => Reason::ProtocolError,
        // Recorded already; or nothing that was refused.
        Failure::ProxyHeader | Failure::TooSlow | Failure::Tls(_) => return,
    };
    let refused = Refused::connection(reason, failure.as_str(), origin);
    settings.refusals.record_silently(&refused);
}

/// Everything before HTTP. However the client divides its time, there is one deadline for all.
async fn open(
    mut stream: TcpStream,
    origin: &mut Origin,
    door: Door<'_>,
) -> Result<(Opened, ClientPlace), Failure> {
    let Door { settings, crowd, place, .. } = door;
    let deadline = Instant::now() + settings.limits.timeouts.handshake;
    if settings.proxy_protocol {
        let header = proxy_protocol::read(&mut stream, origin.peer, settings);
        let header = timeout_at(deadline, header).await.map_err(|_| Failure::TooSlow)?;
        origin.name(header.map_err(|_| Failure::ProxyHeader)?, settings);
        if !crowd.may_stay(place, origin, settings) {
            return Err(Failure::Share);
        }
    }
    let place = crowd.enter_client(origin, settings).ok_or(Failure::Share)?;
    let Some(acceptor) = &settings.tls else {
        return Ok((Opened::Plain(stream), place));
    };
    // Boxed: plain connections need not carry room for a handshake.
    let client = Network::of(Some(origin.address()));
    let handshake = Box::pin(acceptor.accept(stream, client));
    let handshake = timeout_at(deadline, handshake).await.map_err(|_| Failure::TooSlow)?;
    let Some((stream, session)) = handshake.map_err(Failure::Tls)? else {
        return Ok((Opened::Over, place));
    };
    origin.tls = Some(session);
    Ok((Opened::Tls(Box::new(stream)), place))
}
