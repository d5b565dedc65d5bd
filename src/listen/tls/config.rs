//! How the TLS library is set up, and why.

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{
    ClientHello, NoServerSessionStorage, ResolvesServerCert, WebPkiClientVerifier,
};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};

use super::clients::ClientCertificates;
use super::sessions::Sessions;

/// ALPN names (RFC 9113, section 3.2, and RFC 7301, section 6).
pub(super) const H2: &[u8] = b"h2";
const HTTP_1_1: &[u8] = b"http/1.1";

/// What a listener speaks, in the order of its preference.
pub(super) type Protocols = &'static [&'static [u8]];
pub(super) const ALL: Protocols = &[H2, HTTP_1_1];
/// Where answers can be long: on an HTTP/2 connection a hundred of them can wait for a client that does
/// not read.
pub(super) const ONE_AT_A_TIME: Protocols = &[HTTP_1_1];

/// By which an authority asks for its challenge (RFC 8737, section 4).
pub(super) const ACME_TLS: &[u8] = b"acme-tls/1";

/// The configuration for one certificate source.
///
/// - ring as the crypto provider: no C++ or CMake to build it, and upstreams use it already. Its
///   suites are AEADs with ephemeral key exchange and nothing else.
/// - TLS 1.2 and 1.3: what is older is broken (RFC 8996), and rustls has nothing older.
/// - ALPN: `h2` before `http/1.1`, or `http/1.1` alone. A client that offers others only is turned away with
///   `no_application_protocol` (RFC 7301, section 3.2); one that offers none speaks HTTP/1.1.
/// - Resumption by a cache on our side ([`Sessions`]) and not by self-contained tickets: a
///   session can be used for a bounded time, in TLS 1.3 once only, and is gone with the
///   certificate. No key exists that would open recorded TLS 1.2 sessions.
/// - One TLS 1.3 ticket a connection: each takes a place in the cache, and the next connection
///   brings a new one.
/// - No early data (0-RTT): it could be replayed, and a webhook is a POST.
/// - No data before the client's Finished (0.5-RTT), no key log, no extraction of secrets.
pub(super) fn server(
    resolver: Arc<dyn ResolvesServerCert>,
    clients: &ClientCertificates,
    protocols: Protocols,
) -> Result<ServerConfig, rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = clients.verifier(&provider);
    let mut config = base(provider, verifier, resolver)?;
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    config.session_storage = Arc::new(Sessions::new());
    config.send_tls13_tickets = 1;
    Ok(config)
}

/// The same with another certificate source, and without the sessions of this one.
pub(super) fn showing(
    config: &ServerConfig,
    resolver: Arc<dyn ResolvesServerCert>,
) -> ServerConfig {
    let mut config = config.clone();
    config.cert_resolver = resolver;
    config.session_storage = Arc::new(Sessions::new());
    config
}

/// The configuration for an authority that looks for its challenge: one protocol, which is never
/// spoken, and nothing to resume.
pub(super) fn challenge(answer: Arc<CertifiedKey>) -> Result<ServerConfig, rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let resolver = Arc::new(Always(Some(answer)));
    let mut config = base(provider, WebPkiClientVerifier::no_client_auth(), resolver)?;
    config.alpn_protocols = vec![ACME_TLS.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

fn base(
    provider: Arc<CryptoProvider>,
    verifier: Arc<dyn ClientCertVerifier>,
    resolver: Arc<dyn ResolvesServerCert>,
) -> Result<ServerConfig, rustls::Error> {
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13, &TLS12])?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(resolver);
    config.max_early_data_size = 0;
    config.send_half_rtt_data = false;
    Ok(config)
}

/// One certificate for every name, and for none: a provider that calls by address, or by a name
/// that the certificate does not have, decides by itself whether it goes on. As long as there is no
/// certificate the handshake fails.
#[derive(Debug)]
pub(super) struct Always(pub(super) Option<Arc<CertifiedKey>>);

impl ResolvesServerCert for Always {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.clone()
    }
}
