//! Posts a provider's request over HTTP/1.1, as `send` and `demo` do. Never follows a redirect
//! and never tries again: what the gateway answered is what is being looked at.

use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::{FixedServerNameResolver, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

use super::trust::Trust;
use crate::config::units::show_duration;

/// How long a request may take from connecting to the end of its answer, where nobody says
/// otherwise. The gateway answers within 4.5 seconds.
pub const TIMEOUT: Duration = Duration::from_secs(15);

/// The longest answer that is read, in bytes.
const MAX_ANSWER: usize = 64 * 1024;

/// Somebody who calls the gateway.
#[derive(Clone, Debug)]
pub struct Caller {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
}

/// What was answered.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status code.
    pub status: StatusCode,
    /// `Hookward-Event-Id`
    pub event_id: Option<String>,
    /// `Retry-After`, as it came.
    pub retry_after: Option<String>,
    /// The answer's body.
    pub body: Bytes,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The TLS client cannot be set up.
    #[error("cannot set up TLS: {0}")]
    Tls(#[from] rustls::Error),
    /// The request is no request.
    #[error("cannot build the request: {0}")]
    Request(#[from] http::Error),
    /// No connection, or it broke.
    #[error("{}", with_cause(.0))]
    Connection(#[from] hyper_util::client::legacy::Error),
    /// The answer broke off or is too long.
    #[error("cannot read the answer: {0}")]
    Answer(Box<dyn std::error::Error + Send + Sync>),
    /// It took too long.
    #[error("no answer within {}", show_duration(*.0))]
    TimedOut(Duration),
}

impl Caller {
    /// A caller whose connections start at `from`, or wherever the system likes, and who believes
    /// whom it is told to, if the URL says `https`.
    ///
    /// # Errors
    /// [`CallError::Tls`] when TLS cannot be set up.
    pub fn new(from: Option<IpAddr>, trust: Trust) -> Result<Self, CallError> {
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_local_address(from);
        http.set_nodelay(true);
        let name = trust.name();
        let connector =
            HttpsConnectorBuilder::new().with_tls_config(trust.into_config()?).https_or_http();
        let connector = match name {
            Some(name) => connector.with_server_name_resolver(FixedServerNameResolver::new(name)),
            None => connector,
        };
        let connector = connector.enable_http1().wrap_connector(http);
        Ok(Self { client: Client::builder(TokioExecutor::new()).build(connector) })
    }

    /// A caller over plain HTTP.
    ///
    /// # Errors
    /// As [`Caller::new`].
    pub fn plain(from: Option<IpAddr>) -> Result<Self, CallError> {
        Self::new(from, Trust::nobody())
    }

    /// Posts `body` as JSON with these headers.
    ///
    /// # Errors
    /// [`CallError`] when no whole answer came.
    pub async fn post(
        &self,
        url: &Uri,
        headers: HeaderMap,
        body: Vec<u8>,
    ) -> Result<Answer, CallError> {
        self.post_within(TIMEOUT, url, headers, body).await
    }

    /// The same, with so much time for it.
    ///
    /// # Errors
    /// As [`Caller::post`].
    pub async fn post_within(
        &self,
        timeout: Duration,
        url: &Uri,
        headers: HeaderMap,
        body: Vec<u8>,
    ) -> Result<Answer, CallError> {
        let mut request =
            Request::builder().method(Method::POST).uri(url).body(Full::new(Bytes::from(body)))?;
        *request.headers_mut() = headers;
        let json = HeaderValue::from_static("application/json");
        request.headers_mut().insert(header::CONTENT_TYPE, json);
        let agent = HeaderValue::from_static(concat!("hookward-send/", env!("CARGO_PKG_VERSION")));
        request.headers_mut().insert(header::USER_AGENT, agent);
        tokio::time::timeout(timeout, self.exchange(request))
            .await
            .unwrap_or(Err(CallError::TimedOut(timeout)))
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> Result<Answer, CallError> {
        let (head, body) = self.client.request(request).await?.into_parts();
        let body = Limited::new(body, MAX_ANSWER).collect().await.map_err(CallError::Answer)?;
        let header = |name: &str| {
            let value = head.headers.get(name).and_then(|value| value.to_str().ok());
            value.map(str::to_owned)
        };
        Ok(Answer {
            status: head.status,
            event_id: header("hookward-event-id"),
            retry_after: header("retry-after"),
            body: body.to_bytes(),
        })
    }
}

/// The error with its innermost cause, which is the part that helps.
fn with_cause(error: &hyper_util::client::legacy::Error) -> String {
    let mut cause: Option<&dyn std::error::Error> = std::error::Error::source(error);
    while let Some(inner) = cause.and_then(std::error::Error::source) {
        cause = Some(inner);
    }
    let what = if error.is_connect() { "cannot connect" } else { "no answer" };
    cause.map_or_else(|| what.to_owned(), |cause| format!("{what}: {cause}"))
}
