//! What the road's own parts promise; the road as a whole is tested over real sockets.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::config::{Log, LogFormat, Ordering, Retry, Route, Server, Source, Upstream};
use crate::event::{SourceName, UpstreamName};

/// A configuration with these sources, `n` upstreams and these routes.
pub(super) fn config(sources: &[&str], n: usize, routes: Vec<Route>) -> Config {
    Config {
        file: PathBuf::new(),
        files: Vec::new(),
        server: Server::defaults(),
        admin: None,
        store: crate::config::Store {
            encryption_keys: Vec::new(),
            path: PathBuf::new(),
            retention: Duration::from_secs(86_400),
            min_free: 0,
        },
        audit: crate::config::Audit::defaults(),
        log: Log { format: LogFormat::Text, level: tracing::level_filters::LevelFilter::OFF },
        sources: sources.iter().map(|name| Arc::new(source(name))).collect(),
        upstreams: (0..n).map(|n| Arc::new(upstream(n))).collect(),
        routes,
    }
}

fn source(name: &str) -> Source {
    Source::open(SourceName::new(name).unwrap())
}

fn upstream(n: usize) -> Upstream {
    Upstream {
        name: UpstreamName::new(&format!("u{n}")).unwrap(),
        url: http::Uri::from_static("http://127.0.0.1:1/"),
        headers: Default::default(),
        format: crate::config::Format::CloudEvents,
        signing_keys: Vec::new(),
        original_signature: crate::config::OriginalSignature::Drop,
        resign: Default::default(),
        ca: None,
        client_cert: None,
        allow_link_local: false,
        rate_limit: None,
        timeout: Duration::from_secs(10),
        concurrency: 1,
        ordering: Ordering::None,
        retry: Retry {
            first: Duration::from_secs(1),
            max: Duration::from_secs(600),
            give_up: Duration::from_secs(3600),
        },
    }
}

#[test]
fn every_method_but_post_is_refused() {
    assert!(check_method(&Method::POST).is_ok());
    for method in ["GET", "HEAD", "PUT", "DELETE", "OPTIONS", "CONNECT", "post", "PURGE"] {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let refusal = check_method(&method).unwrap_err();
        assert_eq!(refusal.reason, Reason::MethodNotAllowed, "{method}");
    }
}

#[test]
fn what_the_store_cannot_take_is_ours() {
    for (error, reason) in [
        (AcceptError::Overloaded, Reason::Overloaded),
        (AcceptError::OverShare, Reason::Overloaded),
        (AcceptError::Low, Reason::StoreUnavailable),
        (AcceptError::NoRoom, Reason::StoreUnavailable),
        (AcceptError::Failed, Reason::StoreUnavailable),
        (AcceptError::Closing, Reason::StoreUnavailable),
    ] {
        let stop = Stop::from(error);
        assert_eq!(stop.reason(), reason);
        assert_eq!(answer::refused(stop.reason(), None).status(), 503);
        assert!(error.to_string().starts_with(stop.detail()), "{error}: {}", stop.detail());
    }
    assert_eq!(answer::refused(Stop::Late.reason(), None).status(), 503);
}

#[tokio::test(start_paused = true)]
async fn work_has_until_the_deadline_and_is_begun_even_after_it() {
    let mut deadline = pin!(tokio::time::sleep(Duration::from_secs(4)));
    assert_eq!(by(deadline.as_mut(), async { 1 }).await, Some(1));
    let begun = tokio::time::Instant::now();
    assert_eq!(by(deadline.as_mut(), std::future::pending::<()>()).await, None);
    assert_eq!(begun.elapsed(), Duration::from_secs(4));
}

#[tokio::test(start_paused = true)]
async fn work_that_is_ready_is_done_after_the_deadline_too() {
    let deadline = pin!(tokio::time::sleep(Duration::from_secs(4)));
    tokio::time::advance(Duration::from_secs(5)).await;
    assert_eq!(by(deadline, async { 1 }).await, Some(1));
}
