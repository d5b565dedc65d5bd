//! The public listener's certificate, out of the configuration: at the start, and again whenever
//! a configuration takes over.

use std::sync::Arc;

use crate::config::{Config, Source, Tls};
use crate::listen::tls::{Acceptor, ClientCertificates, Replacement};
use crate::pem::Identity;

/// Why the public listener cannot speak TLS. All of it but the last is the operator's to mend.
#[derive(Clone, Debug, thiserror::Error)]
pub enum TlsError {
    /// Certificates by ACME.
    #[error("server.tls.acme is not available in this version; name a certificate and its key")]
    Acme,
    /// It has spoken TLS so far, and is to no more: that is decided at the start.
    #[error("server.tls: a change needs a restart")]
    Off,
    /// The TLS library does not accept its own defaults.
    #[error("TLS cannot be set up: {0}")]
    Setup(#[from] rustls::Error),
}

/// What makes TLS on the public listener, if the configuration has it.
pub(super) fn acceptor(config: &Config) -> Result<Option<Arc<Acceptor>>, TlsError> {
    let Some(tls) = &config.server.tls else {
        return Ok(None);
    };
    let acceptor = Acceptor::new(identity(tls)?, client_certificates(&config.sources))?;
    acceptor.announce("certificate loaded");
    Ok(Some(Arc::new(acceptor)))
}

/// Makes ready what the configuration says now.
pub(super) fn prepare(acceptor: &Acceptor, config: &Config) -> Result<Replacement, TlsError> {
    let tls = config.server.tls.as_ref().ok_or(TlsError::Off)?;
    Ok(acceptor.prepare(identity(tls)?, client_certificates(&config.sources))?)
}

/// Puts it in place.
pub(super) fn put(acceptor: &Acceptor, replacement: Replacement) {
    let message =
        if acceptor.put(replacement) { "certificate replaced" } else { "certificate unchanged" };
    acceptor.announce(message);
}

fn identity(tls: &Tls) -> Result<Identity, TlsError> {
    match tls {
        Tls::Files { identity, .. } => Ok(identity.clone()),
        Tls::Acme(_) => Err(TlsError::Acme),
    }
}

fn client_certificates(sources: &[Arc<Source>]) -> ClientCertificates {
    let asked = sources.iter().filter_map(|source| source.client_ca.as_ref());
    ClientCertificates::of(asked.map(|authorities| &*authorities.roots))
}
