//! HTTPS with a certificate authority: every exchange bounded in time and length. Never follows a
//! redirect, never looks at the environment for a proxy.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};
use parking_lot::Mutex;
use rustls::{ClientConfig, RootCertStore};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::failure::Failure;
use crate::clock::Clock;
use crate::config::Acme;
use crate::delivery::retry_after;

/// From connecting to the end of the answer.
const EXCHANGE: Duration = Duration::from_secs(60);

/// For one of the authority's addresses.
const CONNECT: Duration = Duration::from_secs(10);

/// The longest answer that is read, in bytes. Chains have a few KiB.
const MAX_ANSWER: usize = 1 << 20;

/// The longest wait within an order that an answer can ask for. An attempt has its end anyway; and
/// the library adds what it is told to the time without a look.
const LONGEST_POLL: Duration = Duration::from_secs(24 * 3600);

const USER_AGENT: HeaderValue =
    HeaderValue::from_static(concat!("hookward/", env!("CARGO_PKG_VERSION"), " instant-acme"));

/// How long an authority has last asked to be left alone.
#[derive(Clone, Debug, Default)]
pub(super) struct Asked(Arc<Mutex<Option<Duration>>>);

impl Asked {
    pub(super) fn for_how_long(&self) -> Option<Duration> {
        *self.0.lock()
    }
}

/// Sends the library's requests.
#[derive(Clone)]
pub(super) struct Authority {
    client: Client<HttpsConnector<HttpConnector>, BodyWrapper<Bytes>>,
    clock: Clock,
    asked: Asked,
}

/// Why there is no answer that could be looked at.
#[derive(Debug, thiserror::Error)]
enum ExchangeError {
    #[error("no connection to the authority: {}", innermost(.0))]
    Connection(#[from] hyper_util::client::legacy::Error),
    #[error("the authority's answer broke off: {0}")]
    Answer(Box<dyn std::error::Error + Send + Sync>),
    #[error("the authority has not answered within {} seconds", EXCHANGE.as_secs())]
    TimedOut,
    #[error("the authority answered {0}, without a problem document")]
    Status(StatusCode),
}

impl Authority {
    /// Trusts the roots that `acme` names, else the platform's.
    pub(super) async fn new(acme: &Acme, clock: &Clock, asked: &Asked) -> Result<Self, Failure> {
        let roots = match &acme.ca {
            Some(ca) => Arc::clone(&ca.roots),
            None => {
                let roots = spawn_blocking(platform_roots).await;
                Arc::new(roots.map_err(|_| Failure::Panicked)??)
            }
        };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(CONNECT));
        let connector = HttpsConnectorBuilder::new().with_tls_config(tls).https_only();
        let connector = connector.enable_http1().wrap_connector(tcp);
        let client = Client::builder(TokioExecutor::new()).build(connector);
        Ok(Self { client, clock: clock.clone(), asked: asked.clone() })
    }

    async fn exchange(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Result<Response<Bytes>, ExchangeError> {
        let (mut head, body) = self.client.request(request).await?.into_parts();
        let body = Limited::new(body, MAX_ANSWER).collect().await.map_err(ExchangeError::Answer)?;
        let wait = head.headers.remove(header::RETRY_AFTER);
        if let Some(wait) = wait.and_then(|value| retry_after(&value, self.clock.now())) {
            head.headers.insert(header::RETRY_AFTER, wait.min(LONGEST_POLL).as_secs().into());
            if matches!(
                head.status,
                StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE
            ) {
                *self.asked.0.lock() = Some(wait);
            }
        }
        let body = body.to_bytes();
        if !head.status.is_success()
            && serde_json::from_slice::<serde::de::IgnoredAny>(&body).is_err()
        {
            return Err(ExchangeError::Status(head.status));
        }
        Ok(Response::from_parts(head, body))
    }
}

impl HttpClient for Authority {
    fn request(
        &self,
        mut request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        request.headers_mut().insert(header::USER_AGENT, USER_AGENT);
        let this = self.clone();
        Box::pin(async move {
            let answered = timeout(EXCHANGE, this.exchange(request)).await;
            let answered = answered.unwrap_or(Err(ExchangeError::TimedOut));
            let (parts, body) =
                answered.map_err(|error| Error::Other(Box::new(error)))?.into_parts();
            Ok(BytesResponse { parts, body: Box::new(body) })
        })
    }
}

fn platform_roots() -> Result<RootCertStore, Failure> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let why: Vec<_> = found.errors.iter().map(ToString::to_string).collect();
        return Err(Failure::NoPlatformRoots(why.join("; ")));
    }
    Ok(roots)
}

/// The part of an error that helps.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(inner) = error.source() {
        error = inner;
    }
    error.to_string()
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority").finish_non_exhaustive()
    }
}
