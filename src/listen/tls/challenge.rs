//! Answers to a certificate authority that looks whether a name is ours (TLS-ALPN-01, RFC 8737):
//! a handshake of its own, with a certificate made for it. No such connection comes to HTTP.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::server::ClientHello;
use rustls::sign::CertifiedKey;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_rustls::StartHandshake;

use super::Failure;
use super::config::{self, ACME_TLS};

#[cfg(test)]
mod tests;

/// The names that an authority is to look for, mostly none.
#[derive(Debug, Default)]
pub struct Challenges {
    offered: ArcSwap<BTreeMap<String, Arc<ServerConfig>>>,
}

impl Challenges {
    /// Answers for this name, in lower case, with this certificate from here on.
    ///
    /// # Errors
    /// When the TLS library does not accept its own defaults.
    pub fn offer(&self, name: &str, answer: Arc<CertifiedKey>) -> Result<(), rustls::Error> {
        let config = Arc::new(config::challenge(answer)?);
        self.offered.rcu(|offered| {
            let mut offered = BTreeMap::clone(offered);
            offered.insert(name.to_owned(), Arc::clone(&config));
            offered
        });
        Ok(())
    }

    /// Answers for no name any more.
    pub fn withdraw(&self) {
        self.offered.store(Arc::default());
    }

    /// The answer, if that is what the client wants: it must offer the one protocol and no other
    /// (RFC 8737, section 3). What is not on offer is a handshake like any other, and will find no
    /// protocol in common.
    pub(super) fn asked_for(&self, hello: &ClientHello<'_>) -> Option<Arc<ServerConfig>> {
        let mut protocols = hello.alpn()?;
        if protocols.next() != Some(ACME_TLS) || protocols.next().is_some() {
            return None;
        }
        // rustls hands names on in lower case.
        self.offered.load().get(hello.server_name()?).cloned()
    }
}

/// Ends the handshake, and then the connection: nothing is said on it.
pub(super) async fn answer(
    begun: StartHandshake<TcpStream>,
    config: Arc<ServerConfig>,
) -> Result<(), Failure> {
    let mut stream = begun.into_stream(config).await?;
    // The authority has seen what it came for; it may have gone already.
    drop(stream.shutdown().await);
    Ok(())
}
