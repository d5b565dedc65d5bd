//! The public listener's certificate, out of the configuration: at the start, and again whenever
//! its files have changed.

use std::sync::Arc;

use crate::config::{Config, Source, Tls};
use crate::listen::tls::{Acceptor, ClientCertificates};
use crate::pem::Identity;

/// Why the public listener cannot speak TLS. All of it but the last is the operator's to mend.
#[derive(Clone, Debug, thiserror::Error)]
pub enum TlsError {
    /// Certificates by ACME.
    #[error("server.tls.acme is not available in this version; name a certificate and its key")]
    Acme,
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

/// Puts in place what the files say now. Whatever becomes of it is told here.
pub(super) fn reload(acceptor: &Acceptor, config: &Config) -> Result<(), TlsError> {
    match replace(acceptor, config) {
        Ok(true) => acceptor.announce("certificate replaced"),
        Ok(false) => acceptor.announce("certificate unchanged"),
        Err(error) => {
            let serial = acceptor.facts().serial;
            tracing::error!(
                target: "hookward::tls", %error, serial,
                "the new certificate cannot be used; the old one stays in place"
            );
            return Err(error);
        }
    }
    Ok(())
}

fn replace(acceptor: &Acceptor, config: &Config) -> Result<bool, TlsError> {
    let Some(tls) = &config.server.tls else {
        return Ok(false);
    };
    Ok(acceptor.replace(identity(tls)?, client_certificates(&config.sources))?)
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
