//! Is the process alive, and does it take events.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use http::StatusCode;

use super::answer;
use crate::audit::chain::Chain;
use crate::listen::Answer;
use crate::store::{AcceptError, Store};

/// What health answers are made from.
#[derive(Debug)]
pub(super) struct Health {
    store: Arc<Store>,
    chain: Arc<Chain>,
    draining: AtomicBool,
}

impl Health {
    /// Health of a gateway with this store, and this audit trail.
    pub(super) fn new(store: Arc<Store>, chain: Arc<Chain>) -> Self {
        Self { store, chain, draining: AtomicBool::new(false) }
    }

    /// From here on the gateway is alive, but not ready.
    pub(super) fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// The answer, if this is a path of health.
    pub(super) fn answer(&self, path: &str) -> Option<Answer> {
        respond(path, || self.ready())
    }

    fn ready(&self) -> Result<(), &'static str> {
        if self.draining.load(Ordering::Relaxed) {
            return Err("shutting down");
        }
        if self.chain.blocks() {
            return Err("the audit trail cannot be written, and audit.required is set");
        }
        self.store.writable().map_err(unavailable)
    }
}

/// The answer of a gateway that starts, if this is a path of health.
pub(super) fn starting(path: &str) -> Option<Answer> {
    respond(path, || Err("starting"))
}

fn respond(path: &str, ready: impl FnOnce() -> Result<(), &'static str>) -> Option<Answer> {
    let found = match path {
        "/healthz" => Ok(()),
        "/readyz" => ready(),
        _ => return None,
    };
    Some(match found {
        Ok(()) => answer::plain(StatusCode::OK, "application/json", Bytes::from_static(ALIVE)),
        Err(reason) => not_ready(reason),
    })
}

const ALIVE: &[u8] = br#"{"status":"ok"}"#;

/// A problem like any other, with the reason once more in a field of its own.
fn not_ready(reason: &'static str) -> Answer {
    let status = StatusCode::SERVICE_UNAVAILABLE;
    let body = serde_json::json!({
        "title": "Service Unavailable",
        "status": status.as_u16(),
        "detail": format!("New events are not taken: {reason}."),
        "reason": reason,
    });
    answer::plain(status, "application/problem+json", body.to_string().into())
}

/// Why nothing is accepted.
fn unavailable(error: AcceptError) -> &'static str {
    match error {
        AcceptError::Overloaded | AcceptError::OverShare => "the journal's queue is full",
        AcceptError::Low => "free space is below store.min_free",
        AcceptError::NoRoom => "the disk is full",
        AcceptError::Failed => "the journal has failed and waits for a restart",
        AcceptError::Unreadable => "the journal cannot be read",
        AcceptError::Closing => "the store is closing",
        AcceptError::Barred => "nothing new is stored now",
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    async fn asked(path: &str, ready: Result<(), AcceptError>) -> Option<(u16, serde_json::Value)> {
        let answer = respond(path, || ready.map_err(unavailable))?;
        let status = answer.status().as_u16();
        let kind = if status == 200 { "application/json" } else { "application/problem+json" };
        assert_eq!(answer.headers()[http::header::CONTENT_TYPE], kind);
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        Some((status, serde_json::from_slice(&body).unwrap()))
    }

    #[tokio::test]
    async fn a_store_that_takes_nothing_is_alive_but_not_ready() {
        for error in [
            AcceptError::Overloaded,
            AcceptError::Low,
            AcceptError::NoRoom,
            AcceptError::Failed,
            AcceptError::Closing,
        ] {
            let (status, body) = asked("/readyz", Err(error)).await.unwrap();
            assert_eq!((status, body["reason"].as_str()), (503, Some(&*error.to_string())));
            assert_eq!(
                (&body["status"], &body["title"]),
                (&503.into(), &"Service Unavailable".into())
            );
            assert!(body["detail"].as_str().unwrap().contains(&error.to_string()), "{body}");
            assert_eq!(asked("/healthz", Err(error)).await.unwrap().0, 200);
        }
        let ready = asked("/readyz", Ok(())).await;
        assert_eq!(ready, Some((200, serde_json::json!({"status": "ok"}))));
    }

    #[tokio::test]
    async fn other_paths_are_none_of_health() {
        for path in ["/", "/healthz/", "/HEALTHZ", "/metrics", "/readyz/x", "/api/v1/events"] {
            assert_eq!(asked(path, Ok(())).await, None, "{path}");
        }
    }
}
