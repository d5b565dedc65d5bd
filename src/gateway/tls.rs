//! The listeners' certificates, out of the configuration: at the start, and again whenever a
//! configuration takes over. What ACME has issued meanwhile is not lost by that.

use std::sync::Arc;

use crate::acme::{self, CacheError, Keeper};
use crate::clock::Clock;
use crate::config::{Acme, AdminTls, Config, Source, Tls};
use crate::listen::tls::{Acceptor, ClientCertificates, Replacement};
use crate::metrics::Metrics;

/// Why a listener cannot speak TLS. All of it but the last is the operator's to mend.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// Certificates by ACME cannot be kept.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// It has spoken TLS so far, and is to no more: that is decided at the start.
    #[error("{0}: a change needs a restart")]
    Off(&'static str),
    /// The TLS library does not accept its own defaults.
    #[error("TLS cannot be set up: {0}")]
    Setup(#[from] rustls::Error),
}

/// What makes TLS on the public listener, if the configuration has it.
pub(super) fn acceptor(config: &Config) -> Result<Option<Arc<Acceptor>>, TlsError> {
    let Some(tls) = &config.server.tls else {
        return Ok(None);
    };
    let identity = match tls {
        Tls::Files { identity, .. } => Some(identity.clone()),
        Tls::Acme(acme) => acme::kept(acme)?,
    };
    let acceptor = Acceptor::new(identity, client_certificates(&config.sources))?;
    acceptor.announce("certificate loaded");
    Ok(Some(Arc::new(acceptor)))
}

/// Makes ready what the configuration says now.
pub(super) fn prepare(acceptor: &Acceptor, config: &Config) -> Result<Replacement, TlsError> {
    let tls = config.server.tls.as_ref().ok_or(TlsError::Off("server.tls"))?;
    let clients = client_certificates(&config.sources);
    Ok(match tls {
        Tls::Files { identity, .. } => acceptor.prepare(identity.clone(), clients)?,
        Tls::Acme(_) => acceptor.prepare_clients(clients)?,
    })
}

/// What makes TLS on the admin listener, if the configuration has it.
pub(super) fn admin_acceptor(config: &Config) -> Result<Option<Arc<Acceptor>>, TlsError> {
    let Some(tls) = admin_tls(config) else { return Ok(None) };
    let acceptor = Acceptor::without_http2(tls.identity.clone(), operators(tls))?;
    acceptor.announce("certificate of the admin listener loaded");
    Ok(Some(Arc::new(acceptor)))
}

/// Makes ready what the configuration says now of the admin listener.
pub(super) fn prepare_admin(acceptor: &Acceptor, config: &Config) -> Result<Replacement, TlsError> {
    let tls = admin_tls(config).ok_or(TlsError::Off("admin.tls"))?;
    Ok(acceptor.prepare(tls.identity.clone(), operators(tls))?)
}

fn admin_tls(config: &Config) -> Option<&AdminTls> {
    config.admin.as_ref()?.tls.as_ref()
}

fn operators(tls: &AdminTls) -> ClientCertificates {
    ClientCertificates::of(tls.client_ca.as_ref().map(|authorities| &*authorities.roots))
}

/// Puts it in place.
pub(super) fn put(acceptor: &Acceptor, replacement: Replacement) {
    let message =
        if acceptor.put(replacement) { "certificate replaced" } else { "certificate unchanged" };
    acceptor.announce(message);
}

/// Who looks after the certificate, if the configuration has it by ACME, and the work to be run.
pub(super) fn keeper(
    config: &Config,
    acceptor: Option<&Arc<Acceptor>>,
    clock: &Clock,
    metrics: &Arc<Metrics>,
) -> Option<(Keeper, impl Future<Output = ()> + Send + use<>)> {
    let (acme, acceptor) = acme(config).zip(acceptor)?;
    Some(Keeper::new(acme, Arc::clone(acceptor), clock.clone(), Arc::clone(metrics)))
}

/// What `config` says about ACME.
pub(super) fn acme(config: &Config) -> Option<&Acme> {
    match &config.server.tls {
        Some(Tls::Acme(acme)) => Some(acme),
        Some(Tls::Files { .. }) | None => None,
    }
}

fn client_certificates(sources: &[Arc<Source>]) -> ClientCertificates {
    let asked = sources.iter().filter_map(|source| source.client_ca.as_ref());
    ClientCertificates::of(asked.map(|authorities| &*authorities.roots))
}
