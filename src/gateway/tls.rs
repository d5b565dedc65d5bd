//! The public listener's certificate, out of the configuration: at the start, and again whenever
//! its files have changed.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::RootCertStore;

use crate::config::{Config, Source, Tls};
use crate::event::SourceName;
use crate::listen::tls::{Acceptor, ClientCertificates, Identity};
use crate::pem::{self, PemError};

/// Why the public listener cannot speak TLS. All of it but the last is the operator's to mend.
#[derive(Clone, Debug, thiserror::Error)]
pub enum TlsError {
    /// The certificate file.
    #[error("server.tls.cert: {}: {error}", path.display())]
    Certificate {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        error: PemError,
    },
    /// The key file, or the pair of both.
    #[error("server.tls.key: {}: {error}", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        error: PemError,
    },
    /// A source's roots.
    #[error("source {name}: client_ca: {}: {error}", path.display())]
    ClientCa {
        /// Whose they are.
        name: SourceName,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        error: PemError,
    },
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
    let acceptor = Acceptor::new(identity(tls)?, client_certificates(&config.sources)?)?;
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
    Ok(acceptor.replace(identity(tls)?, client_certificates(&config.sources)?)?)
}

fn identity(tls: &Tls) -> Result<Identity, TlsError> {
    match tls {
        Tls::Files { cert, key } => files(cert, key),
        Tls::Acme(_) => Err(TlsError::Acme),
    }
}

fn files(cert: &Path, key: &Path) -> Result<Identity, TlsError> {
    let wrong_chain = |error| TlsError::Certificate { path: cert.into(), error };
    let wrong_key = |error| TlsError::Key { path: key.into(), error };
    let chain = pem::read(cert).and_then(|pem| pem::certificates(&pem, pem::MAX_CHAIN));
    let chain = chain.map_err(wrong_chain)?;
    let key = pem::read(key).and_then(|pem| pem::private_key(&pem)).map_err(wrong_key)?;
    Identity::new(chain, &key).map_err(|error| match error {
        PemError::BadCertificate(_) => wrong_chain(error),
        _ => wrong_key(error),
    })
}

fn client_certificates(sources: &[Arc<Source>]) -> Result<ClientCertificates, TlsError> {
    let roots: Result<Vec<_>, _> = sources.iter().filter_map(|source| roots(source)).collect();
    Ok(ClientCertificates::of(&roots?))
}

fn roots(source: &Source) -> Option<Result<RootCertStore, TlsError>> {
    let path = source.client_ca.as_ref()?;
    let roots = pem::read(path).and_then(|pem| pem::roots(&pem));
    let wrong = |error| TlsError::ClientCa { name: source.name.clone(), path: path.clone(), error };
    Some(roots.map_err(wrong))
}
