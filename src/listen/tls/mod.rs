//! TLS on the listeners, by rustls: 1.2 and 1.3, HTTP/2 or HTTP/1.1 by ALPN, and client
//! certificates where somebody will judge them. Never says whom to trust: what a client shows is
//! handed on with the connection.

mod challenge;
mod clients;
mod config;
mod expiry;
mod failure;
mod sessions;
mod stream;
#[cfg(test)]
mod tests;
mod turns;

use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use rustls::{ProtocolVersion, ServerConfig, ServerConnection};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio_rustls::LazyConfigAcceptor;

use super::TlsSession;
use crate::clock::UnixMillis;
use crate::network::Network;
use crate::pem::{Facts, Identity};

pub use self::challenge::Challenges;
pub use self::clients::ClientCertificates;
pub(crate) use self::expiry::shown;
pub use self::expiry::{Expiry, WARN_BEFORE, watch_expiry};

use self::config::Protocols;
use self::turns::Turns;

pub(super) use self::failure::Failure;
pub(super) use self::stream::Stream;

/// Makes TLS out of TCP connections.
///
/// A connection keeps the certificate that it began with; the next one gets what was put in place
/// since. Sessions go with the certificate, so that none outlives it.
#[derive(Debug)]
pub struct Acceptor {
    protocols: Protocols,
    serving: ArcSwap<Serving>,
    /// Held while what is served is replaced: certificates and those that clients are asked for
    /// come from different sides.
    replacing: Mutex<()>,
    replaced: Notify,
    challenges: Challenges,
    turns: Turns,
}

/// Something that is ready to be put in place; `None`: it is in place.
#[derive(Debug)]
pub struct Replacement(Option<Prepared>);

#[derive(Debug)]
struct Prepared {
    serving: Arc<Serving>,
    /// Whether the certificate is to stay, whichever it is by then.
    stays: bool,
}

/// What new connections get.
#[derive(Debug)]
struct Serving {
    config: Arc<ServerConfig>,
    /// `None` until an authority has issued the first one: then there are no connections.
    identity: Option<Identity>,
    clients: ClientCertificates,
}

impl Serving {
    fn new(
        identity: Option<Identity>,
        clients: ClientCertificates,
        protocols: Protocols,
    ) -> Result<Self, rustls::Error> {
        let pair = identity.as_ref().map(|identity| Arc::clone(&identity.pair));
        let config = config::server(Arc::new(config::Always(pair)), &clients, protocols)?;
        let config = Arc::new(config);
        Ok(Self { config, identity, clients })
    }

    /// The same with another certificate, and without the sessions of this one.
    fn showing(&self, identity: Option<Identity>) -> Self {
        let pair = identity.as_ref().map(|identity| Arc::clone(&identity.pair));
        let config = Arc::new(config::showing(&self.config, Arc::new(config::Always(pair))));
        Self { config, identity, clients: self.clients.clone() }
    }

    fn is(&self, identity: Option<&Identity>, clients: &ClientCertificates) -> bool {
        self.identity.as_ref() == identity && self.clients == *clients
    }
}

impl Acceptor {
    /// Answers every client with this certificate, whatever name it asks for. Without one it turns
    /// all away until there is one, but for an authority that looks for its challenge.
    ///
    /// # Errors
    /// When the TLS library does not accept its own defaults.
    pub fn new(
        identity: impl Into<Option<Identity>>,
        clients: ClientCertificates,
    ) -> Result<Self, rustls::Error> {
        Self::speaking(config::ALL, identity.into(), clients)
    }

    /// The same, without HTTP/2.
    ///
    /// # Errors
    /// As [`Acceptor::new`].
    pub fn without_http2(
        identity: Identity,
        clients: ClientCertificates,
    ) -> Result<Self, rustls::Error> {
        Self::speaking(config::ONE_AT_A_TIME, Some(identity), clients)
    }

    fn speaking(
        protocols: Protocols,
        identity: Option<Identity>,
        clients: ClientCertificates,
    ) -> Result<Self, rustls::Error> {
        let serving = ArcSwap::from_pointee(Serving::new(identity, clients, protocols)?);
        let (replacing, replaced) = (Mutex::default(), Notify::new());
        let (challenges, turns) = (Challenges::default(), Turns::new());
        Ok(Self { protocols, serving, replacing, replaced, challenges, turns })
    }

    /// Makes another certificate ready to be put in place. The same one again will change nothing:
    /// then clients can go on with their sessions.
    ///
    /// # Errors
    /// As [`Acceptor::new`].
    pub fn prepare(
        &self,
        identity: Identity,
        clients: ClientCertificates,
    ) -> Result<Replacement, rustls::Error> {
        self.ready(Some(identity), clients, false)
    }

    /// [`Acceptor::prepare`], but the certificate is somebody else's to replace: the one that will
    /// be in place then stays.
    ///
    /// # Errors
    /// As [`Acceptor::new`].
    pub fn prepare_clients(
        &self,
        clients: ClientCertificates,
    ) -> Result<Replacement, rustls::Error> {
        self.ready(self.serving.load().identity.clone(), clients, true)
    }

    fn ready(
        &self,
        identity: Option<Identity>,
        clients: ClientCertificates,
        stays: bool,
    ) -> Result<Replacement, rustls::Error> {
        if self.serving.load().is(identity.as_ref(), &clients) {
            return Ok(Replacement(None));
        }
        let serving = Arc::new(Serving::new(identity, clients, self.protocols)?);
        Ok(Replacement(Some(Prepared { serving, stays })))
    }

    /// Puts in place what was made ready, and says whether that is another.
    pub fn put(&self, replacement: Replacement) -> bool {
        let Replacement(Some(Prepared { serving, stays })) = replacement else { return false };
        let _replacing = self.replacing.lock();
        let held = self.serving.load_full();
        let serving = if stays && serving.identity != held.identity {
            Arc::new(serving.showing(held.identity.clone()))
        } else {
            serving
        };
        self.serving.store(serving);
        self.replaced.notify_one();
        true
    }

    /// Puts another certificate in place. What clients are asked for stays.
    pub fn put_certificate(&self, identity: Identity) {
        let _replacing = self.replacing.lock();
        let held = self.serving.load_full();
        if held.identity.as_ref() != Some(&identity) {
            self.serving.store(Arc::new(held.showing(Some(identity))));
            self.replaced.notify_one();
        }
    }

    /// What the certificate in place says about itself; `None`: there is none yet.
    pub fn facts(&self) -> Option<Facts> {
        self.serving.load().identity.as_ref().map(|identity| identity.facts.clone())
    }

    /// When the certificate in place ends.
    pub fn expires_at(&self) -> Option<UnixMillis> {
        self.serving.load().identity.as_ref().map(|identity| identity.facts.not_after)
    }

    /// What an authority that looks for a challenge is answered.
    pub fn challenges(&self) -> &Challenges {
        &self.challenges
    }

    /// The handshake with this client. Whoever waits for it bounds its time. `None`: it was an
    /// authority's, which has its answer, and the connection is closed.
    ///
    /// # Errors
    /// Why there is none.
    pub(super) async fn accept(
        &self,
        stream: TcpStream,
        client: Network,
    ) -> Result<Option<(Stream, TlsSession)>, Failure> {
        let begun = LazyConfigAcceptor::new(rustls::server::Acceptor::default(), stream).await?;
        if let Some(config) = self.challenges.asked_for(&begun.client_hello()) {
            let answered = self.turns.run(client, challenge::answer(begun, config)).await;
            return answered.map(|()| None);
        }
        let serving = self.serving.load_full();
        // What is costly begins with this call, so it is a part of the turn.
        let handshake = async { begun.into_stream(Arc::clone(&serving.config)).await };
        let opened = self.turns.run(client, handshake).await;
        if serving.identity.is_none() {
            return Err(Failure::NoCertificate);
        }
        let stream = opened?;
        let session = session(stream.get_ref().1)?;
        Ok(Some((Stream::new(stream), session)))
    }
}

fn session(connection: &ServerConnection) -> Result<TlsSession, Failure> {
    let version = match connection.protocol_version() {
        Some(ProtocolVersion::TLSv1_2) => "TLSv1.2",
        Some(ProtocolVersion::TLSv1_3) => "TLSv1.3",
        Some(_) | None => return Err(Failure::Version),
    };
    let certificates = connection.peer_certificates().unwrap_or_default();
    Ok(TlsSession {
        version,
        // A DNS name of at most 253 bytes: rustls has checked it.
        server_name: connection.server_name().map(str::to_owned),
        http2: connection.alpn_protocol() == Some(config::H2),
        client_certificates: certificates.to_vec(),
    })
}
