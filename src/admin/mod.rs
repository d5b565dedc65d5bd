//! The admin listener: is the process alive, and does it take events. Asks the store, and never
//! reaches into the roads. What else it will serve needs the token; these two do not.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use http::{HeaderValue, Method, Response, StatusCode, header};
use http_body_util::Full;

use crate::listen::{Answer, Arrival};
use crate::store::{AcceptError, Store};

/// Connections at once: probes and scrapers are few.
pub const MAX_CONNECTIONS: usize = 64;

const MALFORMED: &str = r#"{"status":"malformed request"}"#;

/// What health answers are made from.
#[derive(Debug)]
pub struct Health {
    store: Arc<Store>,
    draining: AtomicBool,
}

impl Health {
    /// Health of a gateway with this store.
    pub fn new(store: Arc<Store>) -> Self {
        Self { store, draining: AtomicBool::new(false) }
    }

    /// From here on the gateway is alive, but not ready.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Answers a request to the admin listener.
    pub async fn answer(&self, arrival: Arrival) -> Answer {
        let request = &arrival.request;
        match arrival.defect {
            Some(_) => answer(StatusCode::BAD_REQUEST, MALFORMED),
            None => respond(request.method(), request.uri().path(), || self.ready()),
        }
    }

    fn ready(&self) -> Result<(), &'static str> {
        if self.draining.load(Ordering::Relaxed) {
            return Err(r#"{"status":"unavailable","reason":"shutting down"}"#);
        }
        self.store.writable().map_err(unavailable)
    }
}

/// Answers a request while the gateway starts: it is alive, and not ready.
pub fn starting(arrival: &Arrival) -> Answer {
    let (method, path) = (arrival.request.method(), arrival.request.uri().path());
    match arrival.defect {
        Some(_) => answer(StatusCode::BAD_REQUEST, MALFORMED),
        None => respond(method, path, || Err(r#"{"status":"unavailable","reason":"starting"}"#)),
    }
}

fn respond(
    method: &Method,
    path: &str,
    ready: impl FnOnce() -> Result<(), &'static str>,
) -> Answer {
    if !matches!(path, "/healthz" | "/readyz") {
        return answer(StatusCode::NOT_FOUND, r#"{"status":"not found"}"#);
    }
    if !matches!(*method, Method::GET | Method::HEAD) {
        let mut refused = answer(StatusCode::METHOD_NOT_ALLOWED, r#"{"status":"only GET"}"#);
        refused.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
        return refused;
    }
    match if path == "/readyz" { ready() } else { Ok(()) } {
        Ok(()) => answer(StatusCode::OK, r#"{"status":"ok"}"#),
        Err(body) => answer(StatusCode::SERVICE_UNAVAILABLE, body),
    }
}

/// The body that tells why nothing is accepted.
fn unavailable(error: AcceptError) -> &'static str {
    match error {
        AcceptError::Overloaded => {
            r#"{"status":"unavailable","reason":"the journal's queue is full"}"#
        }
        AcceptError::Full => {
            r#"{"status":"unavailable","reason":"free space is below store.min_free"}"#
        }
        AcceptError::Failed => {
            r#"{"status":"unavailable","reason":"the journal has failed and waits for a restart"}"#
        }
        AcceptError::Unreadable => {
            r#"{"status":"unavailable","reason":"the journal cannot be read"}"#
        }
        AcceptError::Closing => r#"{"status":"unavailable","reason":"the store is closing"}"#,
    }
}

fn answer(status: StatusCode, body: &'static str) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from_static(body.as_bytes())));
    *answer.status_mut() = status;
    let json = HeaderValue::from_static("application/json");
    answer.headers_mut().insert(header::CONTENT_TYPE, json);
    answer
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    async fn asked(
        method: Method,
        path: &str,
        ready: Result<(), AcceptError>,
    ) -> (u16, serde_json::Value) {
        let answer = respond(&method, path, || ready.map_err(unavailable));
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&body).unwrap())
    }

    #[tokio::test]
    async fn a_store_that_takes_nothing_is_alive_but_not_ready() {
        for error in
            [AcceptError::Overloaded, AcceptError::Full, AcceptError::Failed, AcceptError::Closing]
        {
            let (status, body) = asked(Method::GET, "/readyz", Err(error)).await;
            assert_eq!((status, body["reason"].as_str()), (503, Some(&*error.to_string())));
            assert_eq!(asked(Method::GET, "/healthz", Err(error)).await.0, 200);
        }
        let (status, body) = asked(Method::GET, "/readyz", Ok(())).await;
        assert_eq!((status, body), (200, serde_json::json!({"status": "ok"})));
    }

    #[tokio::test]
    async fn nothing_else_is_there() {
        for path in ["/", "/healthz/", "/HEALTHZ", "/metrics", "/api/v1/events"] {
            assert_eq!(asked(Method::GET, path, Ok(())).await.0, 404, "{path}");
        }
        assert_eq!(asked(Method::POST, "/readyz", Ok(())).await.0, 405);
        assert_eq!(asked(Method::HEAD, "/readyz", Ok(())).await.0, 200);
    }
}
