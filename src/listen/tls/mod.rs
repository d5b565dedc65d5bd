//! TLS on the public listener, by rustls: 1.2 and 1.3, HTTP/2 or HTTP/1.1 by ALPN, and client
//! certificates where somebody will judge them. Never says whom to trust: what a client shows is
//! handed on with the connection.

mod clients;
mod config;
mod expiry;
mod failure;
mod sessions;
mod stream;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::{ProtocolVersion, ServerConfig, ServerConnection};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio_rustls::LazyConfigAcceptor;

use super::TlsSession;
use crate::clock::UnixMillis;
use crate::pem::{Facts, Identity};

pub use self::clients::ClientCertificates;
pub use self::expiry::{Expiry, WARN_BEFORE, watch_expiry};

pub(super) use self::failure::Failure;
pub(super) use self::stream::Stream;

/// Makes TLS out of TCP connections.
///
/// A connection keeps the certificate that it began with; the next one gets what was put in place
/// since. Sessions go with the certificate, so that none outlives it.
#[derive(Debug)]
pub struct Acceptor {
    serving: ArcSwap<Serving>,
    replaced: Notify,
}

/// A certificate that is ready to be put in place; `None`: it is in place.
#[derive(Debug)]
pub struct Replacement(Option<Arc<Serving>>);

/// What new connections get.
#[derive(Debug)]
struct Serving {
    config: Arc<ServerConfig>,
    identity: Identity,
    clients: ClientCertificates,
}

impl Serving {
    fn new(identity: Identity, clients: ClientCertificates) -> Result<Self, rustls::Error> {
        let resolver = Arc::new(config::Always(Arc::clone(&identity.pair)));
        let config = Arc::new(config::server(resolver, &clients)?);
        Ok(Self { config, identity, clients })
    }

    fn is(&self, identity: &Identity, clients: &ClientCertificates) -> bool {
        self.identity == *identity && self.clients == *clients
    }
}

impl Acceptor {
    /// Answers every client with this certificate, whatever name it asks for.
    ///
    /// # Errors
    /// When the TLS library does not accept its own defaults.
    pub fn new(identity: Identity, clients: ClientCertificates) -> Result<Self, rustls::Error> {
        let serving = ArcSwap::from_pointee(Serving::new(identity, clients)?);
        Ok(Self { serving, replaced: Notify::new() })
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
        if self.serving.load().is(&identity, &clients) {
            return Ok(Replacement(None));
        }
        Ok(Replacement(Some(Arc::new(Serving::new(identity, clients)?))))
    }

    /// Puts a certificate in place, and says whether it is another one.
    pub fn put(&self, replacement: Replacement) -> bool {
        let Replacement(Some(serving)) = replacement else { return false };
        self.serving.store(serving);
        self.replaced.notify_one();
        true
    }

    /// What the certificate in place says about itself.
    pub fn facts(&self) -> Facts {
        self.serving.load().identity.facts.clone()
    }

    /// When the certificate in place ends.
    pub fn expires_at(&self) -> Option<UnixMillis> {
        Some(self.serving.load().identity.facts.not_after)
    }

    /// The handshake. Whoever waits for it bounds its time.
    ///
    /// # Errors
    /// Why there is none.
    pub(super) async fn accept(&self, stream: TcpStream) -> Result<(Stream, TlsSession), Failure> {
        // With the client's first message at hand another configuration could be chosen for it.
        let begun = LazyConfigAcceptor::new(rustls::server::Acceptor::default(), stream).await?;
        let config = Arc::clone(&self.serving.load().config);
        let stream = begun.into_stream(config).await?;
        let session = session(stream.get_ref().1)?;
        Ok((Stream::new(stream), session))
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
