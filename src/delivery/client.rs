//! The HTTP client of one upstream: HTTP/1.1 over TCP or TLS, with a pool of kept-alive
//! connections. Never looks at the environment, never uses a proxy, never follows a redirect.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::Uri;
use http_body_util::Full;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::sign::SingleCertAndKey;
use rustls::{ClientConfig, RootCertStore};
use tower_service::Service;

use super::resolve::{Guarded, check_literal};
use crate::config::{Authorities, Upstream};
use crate::pem::Identity;

type Connector = Bounded<HttpsConnector<HttpConnector<Guarded>>>;

/// Sends one request at a time on each of its connections.
pub(crate) type Client = legacy::Client<Connector, Full<Bytes>>;

/// How long a connection may lie idle. Below the 5 s after which Node.js closes one: a request
/// that meets the close half-way would count as a failed attempt.
const IDLE: Duration = Duration::from_secs(4);

/// Longest head of an answer, in bytes.
const MAX_HEAD: usize = 64 * 1024;

/// Why no upstream can be reached over TLS. All of it is the operator's to mend.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The platform has no usable roots.
    #[error("the platform has no root certificates ({0}); name a CA file")]
    NoPlatformRoots(String),
    /// The TLS library does not accept its own defaults.
    #[error("TLS cannot be set up: {0}")]
    Setup(rustls::Error),
}

/// The platform's roots, read when the first upstream asks for them and never when none does.
#[derive(Debug, Default)]
pub(crate) struct PlatformRoots(Option<Arc<RootCertStore>>);

impl PlatformRoots {
    fn get(&mut self) -> Result<Arc<RootCertStore>, TlsError> {
        if let Some(roots) = &self.0 {
            return Ok(Arc::clone(roots));
        }
        let found = rustls_native_certs::load_native_certs();
        let mut roots = RootCertStore::empty();
        // Platforms ship certificates that no strict parser takes; one such must not cost the rest.
        roots.add_parsable_certificates(found.certs);
        if roots.is_empty() {
            let why: Vec<_> = found.errors.iter().map(ToString::to_string).collect();
            return Err(TlsError::NoPlatformRoots(why.join("; ")));
        }
        Ok(Arc::clone(self.0.insert(Arc::new(roots))))
    }
}

/// Whom a client calls, and how.
#[derive(Debug)]
pub(crate) struct Called<'a> {
    pub(crate) url: &'a Uri,
    /// Whom to trust instead of the platform's roots.
    pub(crate) ca: Option<&'a Authorities>,
    /// What to prove oneself with.
    pub(crate) identity: Option<&'a Identity>,
    /// For connecting.
    pub(crate) timeout: Duration,
    /// Connections that may lie idle.
    pub(crate) idle: usize,
    pub(crate) allow_link_local: bool,
}

impl<'a> From<&'a Upstream> for Called<'a> {
    fn from(upstream: &'a Upstream) -> Self {
        Self {
            url: &upstream.url,
            ca: upstream.ca.as_ref(),
            identity: upstream.client_cert.as_ref(),
            timeout: upstream.timeout,
            idle: upstream.concurrency,
            allow_link_local: upstream.allow_link_local,
        }
    }
}

/// The client for `called`, with a pool of its own.
pub(crate) fn build(called: &Called<'_>, platform: &mut PlatformRoots) -> Result<Client, TlsError> {
    let mut tcp = HttpConnector::new_with_resolver(Guarded::new(called.allow_link_local));
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    // Divided among the host's addresses, so that a second one gets its turn.
    tcp.set_connect_timeout(Some(called.timeout));

    let config = if is_https(called.url) {
        tls_config(called.ca, called.identity, platform)?
    } else {
        client_config(Arc::new(RootCertStore::empty()), None)?
    };
    let connector = HttpsConnectorBuilder::new().with_tls_config(config);
    let connector = if is_https(called.url) {
        connector.https_only().enable_http1().wrap_connector(tcp)
    } else {
        connector.https_or_http().enable_http1().wrap_connector(tcp)
    };
    Ok(legacy::Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE)
        .pool_max_idle_per_host(called.idle)
        .http1_max_buf_size(MAX_HEAD)
        // On purpose: this repeats only a request that hyper hands back whole, because its pooled
        // connection was closed before the first byte was written. A request of which a byte may
        // have left is never handed back; it fails, and counts as an attempt.
        .retry_canceled_requests(true)
        .build(Bounded {
            inner: connector,
            limit: called.timeout.saturating_mul(2),
            allow_link_local: called.allow_link_local,
        }))
}

fn is_https(url: &Uri) -> bool {
    url.scheme() == Some(&http::uri::Scheme::HTTPS)
}

/// TLS with somebody whom these authorities vouch for, or else the platform's roots.
pub(crate) fn tls_config(
    ca: Option<&Authorities>,
    identity: Option<&Identity>,
    platform: &mut PlatformRoots,
) -> Result<ClientConfig, TlsError> {
    let roots = match ca {
        Some(ca) => Arc::clone(&ca.roots),
        None => platform.get()?,
    };
    client_config(roots, identity)
}

fn client_config(
    roots: Arc<RootCertStore>,
    identity: Option<&Identity>,
) -> Result<ClientConfig, TlsError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let versions =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = versions.map_err(TlsError::Setup)?.with_root_certificates(roots);
    Ok(match identity {
        Some(identity) => {
            let pair = SingleCertAndKey::from(Arc::clone(&identity.pair));
            config.with_client_cert_resolver(Arc::new(pair))
        }
        None => config.with_no_client_auth(),
    })
}

/// A connector that gives up after `limit`, and does not call addresses that it must not.
///
/// An attempt has a timeout of its own, which ends the connecting with it. But the pool goes on
/// with a connection in the background when an idle one comes free first, and a peer that accepts
/// and then never ends the TLS handshake would hold that for ever. The limit is longer than an
/// attempt's timeout, so that it never takes an attempt's place.
#[derive(Clone, Debug)]
pub(crate) struct Bounded<C> {
    inner: C,
    limit: Duration,
    allow_link_local: bool,
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

impl<C> Service<Uri> for Bounded<C>
where
    C: Service<Uri, Error = BoxError>,
    C::Future: Send + 'static,
{
    type Response = C::Response;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<C::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, url: Uri) -> Self::Future {
        // The resolver is not asked for what is an address already.
        if let Err(refused) = check_literal(&url, self.allow_link_local) {
            return Box::pin(async move { Err(refused.into()) });
        }
        let connecting = tokio::time::timeout(self.limit, self.inner.call(url));
        Box::pin(async move { connecting.await? })
    }
}
