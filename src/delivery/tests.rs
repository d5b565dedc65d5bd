//! Attempts over real sockets, and the workers' life.

mod formats;
mod stand_in;
mod tls;
mod workers;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering as AtomicOrdering};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use http::Response;
use http_body_util::BodyExt;
use tokio::io::AsyncWriteExt;
use tokio::sync::Notify;

use self::stand_in::{App, Endless, answer, raw, read_request, tls_app, tls_app_asking};
use super::*;
use crate::clock::Clock;
use crate::clock::UnixMillis;
use crate::config::{Authorities, Format, Ordering, OriginalSignature, Retry, Upstream};
use crate::event::{BodyHash, EventId, EventMeta, KeptHeader, Sequence, SourceName};
use crate::pem::{self, Identity};
use crate::secret::Secret;
use crate::store::{Attempt, AttemptResult, StoredEvent, Verdict};

// 2025-01-15T10:30:00.412Z
const NOW: UnixMillis = UnixMillis(1_736_937_000_412);
const BODY: &str = r#"{"event":"results:ready","data":{"kit" : "k-1"}}"#;
/// Longer than anything here takes, and short enough to tell a hang.
const PATIENCE: Duration = Duration::from_secs(20);

pub(super) fn event() -> StoredEvent {
    let body = Bytes::from_static(BODY.as_bytes());
    StoredEvent {
        sequence: Sequence(7),
        id: EventId::new(NOW, [9; 10]),
        received_at: NOW,
        source: SourceName::new("c4hxp").unwrap(),
        body_hash: BodyHash::of(&body),
        conflict: false,
        meta: EventMeta {
            provider_id: Some("hook-1".into()),
            provider_type: Some("results:ready".into()),
            data: 32..47,
            ..EventMeta::default()
        },
        body,
    }
}

pub(super) fn upstream(url: &str) -> Upstream {
    Upstream {
        name: UpstreamName::new("app").unwrap(),
        url: url.parse().unwrap(),
        headers: BTreeMap::new(),
        format: Format::CloudEvents,
        signing_keys: Vec::new(),
        original_signature: OriginalSignature::Drop,
        resign: BTreeMap::new(),
        ca: None,
        client_cert: None,
        allow_link_local: false,
        rate_limit: None,
        timeout: Duration::from_secs(10),
        concurrency: 4,
        ordering: Ordering::None,
        retry: Retry {
            first: Duration::from_secs(1),
            max: Duration::from_secs(600),
            give_up: Duration::from_secs(72 * 3600),
        },
    }
}

/// A self-signed certificate and its key, in PEM.
fn rcgen_pair() -> (String, String) {
    let pair = rcgen::generate_simple_self_signed(["clinic".to_owned()]).unwrap();
    (pair.cert.pem(), pair.signing_key.serialize_pem())
}

fn identity((cert, key): &(String, String)) -> Identity {
    let chain = pem::certificates(cert.as_bytes(), 1).unwrap();
    Identity::new(chain, &pem::private_key(key.as_bytes()).unwrap()).unwrap()
}

fn authorities(pem: &str) -> Authorities {
    Authorities::new("ca.pem".into(), pem.as_bytes()).unwrap()
}

fn forwarder(upstream: Upstream) -> Forwarder {
    Forwarder::new(Arc::new(upstream), Clock::manual(NOW), 1).unwrap()
}

fn to(addr: std::net::SocketAddr) -> Upstream {
    upstream(&format!("http://{addr}/hooks"))
}

/// One attempt, which must come to an end.
async fn once(forwarder: &Forwarder, number: u32) -> Attempt {
    let event = event();
    let deadline = event.received_at.after(forwarder.upstream().retry.give_up);
    let left = deadline.since(forwarder.clock.now());
    let attempt = attempt(forwarder, &event, number, left);
    tokio::time::timeout(PATIENCE, attempt).await.unwrap().attempt
}

fn retried(attempt: &Attempt) -> bool {
    matches!(attempt.verdict, Verdict::RetryAt(_))
}

pub(super) fn header(name: &str, value: &str) -> (String, (HeaderName, Secret)) {
    (name.to_owned(), (name.parse().unwrap(), Secret::new(value.into())))
}

#[tokio::test]
async fn the_app_gets_the_event_with_every_header_and_a_signature_that_verifies() {
    let mut app = App::start(|| answer(204, &[], "")).await;
    let mut upstream = upstream(&format!("http://{}/hooks?tenant=1", app.addr));
    upstream.headers.extend([header("authorization", "Bearer app-token")]);
    upstream.signing_keys = vec![Secret::new(b"0123456789abcdef".to_vec())];
    let forwarder = forwarder(upstream);

    let attempt = once(&forwarder, 3).await;
    assert_eq!(attempt.started_at, NOW);
    assert_eq!(attempt.result, AttemptResult::Answered(204));
    assert_eq!(attempt.verdict, Verdict::Delivered);

    let seen = app.seen.recv().await.unwrap();
    assert_eq!(seen.parts.method, "POST");
    assert_eq!(seen.parts.uri, "/hooks?tenant=1");
    assert_eq!(seen.parts.version, http::Version::HTTP_11);
    assert_eq!(seen.body, cloudevent(&event()));
    let id = event().id.to_string();
    for (name, value) in [
        ("host", app.addr.to_string().as_str()),
        ("content-type", "application/cloudevents+json"),
        ("content-length", &seen.body.len().to_string()),
        ("user-agent", concat!("hookward/", env!("CARGO_PKG_VERSION"))),
        ("authorization", "Bearer app-token"),
        ("webhook-id", &id),
        ("webhook-timestamp", "1736937000"),
        ("hookward-event-id", &id),
        ("hookward-source", "c4hxp"),
        ("hookward-attempt", "3"),
    ] {
        assert_eq!(seen.header(name), value, "{name}");
    }

    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(b"0123456789abcdef").unwrap();
    mac.update(format!("{id}.1736937000.").as_bytes());
    mac.update(&seen.body);
    let expected = STANDARD.encode(mac.finalize().into_bytes());
    assert_eq!(seen.header("webhook-signature"), format!("v1,{expected}"));
}

#[tokio::test]
async fn the_trace_is_the_events_and_the_span_the_attempts() {
    let mut app = App::start(|| answer(200, &[], "")).await;
    let forwarder = forwarder(to(app.addr));
    let mut spans = Vec::new();
    for number in 1..=3 {
        once(&forwarder, number).await;
        let seen = app.seen.recv().await.unwrap();
        assert!(seen.parts.headers.get("webhook-signature").is_none(), "no key, no signature");
        let parent = seen.header("traceparent").to_owned();
        let parts: Vec<_> = parent.split('-').collect();
        let [version, trace, span, flags] = parts[..] else { panic!("{parent}") };
        assert_eq!((version, flags), ("00", "01"));
        assert_eq!(trace, event().id.to_string().replace('-', ""));
        assert!(span.len() == 16 && u64::from_str_radix(span, 16).unwrap() != 0, "{span}");
        spans.push(span.to_owned());
    }
    spans.dedup();
    assert_eq!(spans.len(), 3, "{spans:?}");
}

#[tokio::test]
async fn the_answers_status_and_retry_after_decide_what_follows() {
    let minute = NOW.after(Duration::from_secs(60));
    const DATE: &str = "Wed, 15 Jan 2025 10:31:01 GMT";
    for (status, headers, expected) in [
        (200, &[][..], Some(Verdict::Delivered)),
        (299, &[], Some(Verdict::Delivered)),
        (400, &[], Some(Verdict::Dead)),
        (410, &[("retry-after", "60")], Some(Verdict::Dead)),
        (408, &[], None),
        (429, &[("retry-after", "60")], Some(Verdict::RetryAt(minute))),
        (503, &[("retry-after", DATE)], Some(Verdict::RetryAt(UnixMillis(1_736_937_061_000)))),
        (503, &[("retry-after", "soon")], None),
        (500, &[], None),
    ] {
        let app = App::start(move || answer(status, headers, "no")).await;
        let attempt = once(&forwarder(to(app.addr)), 1).await;
        assert_eq!(attempt.result, AttemptResult::Answered(status));
        match (expected, attempt.verdict) {
            // Counted from the answer's arrival.
            (Some(Verdict::RetryAt(at)), Verdict::RetryAt(got)) => {
                let late = got.since(at);
                assert!(got >= at && late <= attempt.duration + Duration::from_millis(1));
            }
            (Some(expected), got) => assert_eq!(got, expected, "{status} {headers:?}"),
            (None, Verdict::RetryAt(at)) => assert!(
                at <= NOW.after(attempt.duration + Duration::from_secs(1)),
                "{status}: the first wait is at most a second"
            ),
            (None, got) => panic!("{status}: {got:?}"),
        }
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let mut elsewhere = App::start(|| answer(200, &[], "")).await;
    let location: &'static str = format!("http://{}/", elsewhere.addr).leak();
    for status in [301, 302, 303, 307, 308] {
        let mut app = App::start(move || answer(status, &[("location", location)], "")).await;
        let attempt = once(&forwarder(to(app.addr)), 1).await;
        assert_eq!(attempt.result, AttemptResult::Answered(status));
        assert!(retried(&attempt), "{status}");
        assert!(app.seen.try_recv().is_ok() && app.seen.try_recv().is_err(), "one request");
    }
    assert!(elsewhere.seen.try_recv().is_err());
}

#[tokio::test]
async fn a_refused_connection_is_tried_again() {
    let gone = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let attempt = once(&forwarder(to(gone)), 1).await;
    assert_eq!(attempt.result, AttemptResult::ConnectFailed);
    assert!(retried(&attempt));
}

#[tokio::test]
async fn an_answer_that_does_not_come_is_waited_for_no_longer_than_the_timeout() {
    // Silence; a head that grows by a byte now and then; a TLS handshake that is never answered.
    let (silent, _tasks) = raw(|stream| async move {
        std::future::pending::<()>().await;
        drop(stream);
    })
    .await;
    let (trickling, _more) = raw(|mut stream| async move {
        let _ = read_request(&mut stream).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nx: ").await;
        let mut tick = tokio::time::interval(Duration::from_millis(10));
        while stream.write_all(b"x").await.is_ok() {
            tick.tick().await;
        }
    })
    .await;
    for url in
        [format!("http://{silent}/"), format!("http://{trickling}/"), format!("https://{silent}/")]
    {
        let mut upstream = upstream(&url);
        upstream.ca = Some(authorities(&tls_app().1));
        upstream.timeout = Duration::from_millis(200);
        let attempt = once(&forwarder(upstream), 1).await;
        assert_eq!(attempt.result, AttemptResult::TimedOut, "{url}");
        assert!(retried(&attempt) && attempt.duration >= Duration::from_millis(200), "{url}");
    }
}

#[tokio::test]
async fn what_is_not_http_is_a_broken_attempt() {
    for garbage in [&b"SSH-2.0-OpenSSH_9.9\r\n"[..], b"", b"HTTP/1.1 2"] {
        let (addr, _tasks) = raw(move |mut stream| async move {
            if read_request(&mut stream).await.is_some() {
                let _ = stream.write_all(garbage).await;
            }
        })
        .await;
        let attempt = once(&forwarder(to(addr)), 1).await;
        assert_eq!(attempt.result, AttemptResult::Broken, "{garbage:?}");
        assert!(retried(&attempt));
    }
}

#[tokio::test]
async fn an_endless_head_is_not_buffered() {
    let (addr, _tasks) = raw(|mut stream| async move {
        let _ = read_request(&mut stream).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nx: ").await;
        while stream.write_all(&[b'x'; 4096]).await.is_ok() {}
    })
    .await;
    assert_eq!(once(&forwarder(to(addr)), 1).await.result, AttemptResult::Broken);
}

/// A request of which a byte has left may have been acted on: repeating it behind the store's back
/// would hide an attempt from the count and the log.
#[tokio::test]
async fn a_request_that_was_sent_is_never_repeated_within_an_attempt() {
    let requests = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&requests);
    let (addr, _tasks) = raw(move |mut stream| {
        let count = Arc::clone(&count);
        async move {
            // The first request of a connection is answered, the second read and then cut off.
            while read_request(&mut stream).await.is_some() {
                if count.fetch_add(1, AtomicOrdering::SeqCst) > 0 {
                    return;
                }
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
            }
        }
    })
    .await;
    let forwarder = forwarder(to(addr));
    assert_eq!(once(&forwarder, 1).await.verdict, Verdict::Delivered);
    assert_eq!(once(&forwarder, 2).await.result, AttemptResult::Broken);
    assert_eq!(requests.load(AtomicOrdering::SeqCst), 2);
}

#[tokio::test]
async fn connections_are_used_again() {
    for body in ["", "thanks"] {
        let mut app = App::start(move || answer(200, &[], body)).await;
        let forwarder = forwarder(to(app.addr));
        let mut connections = Vec::new();
        for number in 1..=50 {
            assert_eq!(once(&forwarder, number).await.verdict, Verdict::Delivered);
            connections.push(app.seen.recv().await.unwrap().connection);
        }
        // A connection that comes free while another is being made leaves one to spare.
        assert!(connections.iter().max().unwrap() <= &3, "{connections:?}");
    }
}

#[tokio::test]
async fn an_endless_answer_is_neither_buffered_nor_waited_for() {
    let given = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&given);
    let mut app = App::start(move || Response::new(Endless(Arc::clone(&count)).boxed())).await;
    let forwarder = forwarder(to(app.addr));
    for number in 1..=2 {
        let attempt = once(&forwarder, number).await;
        assert_eq!(attempt.verdict, Verdict::Delivered);
        assert_eq!(app.seen.recv().await.unwrap().connection, usize::try_from(number).unwrap());
    }
    // 64 KiB were read of each; the rest lies in buffers of the system and of the app.
    let given = given.load(AtomicOrdering::SeqCst);
    assert!(given < 32 << 20, "{given} bytes were taken");
}

#[tokio::test]
async fn an_answer_whose_body_stalls_is_settled_by_its_head() {
    for length in ["10", "1099511627776"] {
        let (addr, _tasks) = raw(move |mut stream| async move {
            while read_request(&mut stream).await.is_some() {
                let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\nx");
                let _ = stream.write_all(head.as_bytes()).await;
            }
        })
        .await;
        let forwarder = forwarder(to(addr));
        for number in 1..=2 {
            assert_eq!(once(&forwarder, number).await.verdict, Verdict::Delivered);
        }
    }
}

/// A name is judged by what it leads to: `2852039166` is 169.254.169.254 to the system's resolver.
#[tokio::test]
async fn a_metadata_service_is_not_called() {
    for url in ["http://169.254.169.254/", "http://2852039166/", "https://[fd00:ec2::254]/"] {
        let mut upstream = upstream(url);
        upstream.ca = Some(authorities(&certificate()));
        // Were it called, the attempt would end another way, or take this long.
        upstream.timeout = PATIENCE;
        let attempt = once(&forwarder(upstream), 1).await;
        assert_eq!(attempt.result, AttemptResult::ConnectFailed, "{url}");
        assert!(retried(&attempt) && attempt.duration < PATIENCE / 2, "{url}");
    }
}

#[test]
fn what_cannot_be_delivered_to_does_not_start() {
    let with_header = |name, value| Upstream {
        headers: BTreeMap::from([header(name, value)]),
        ..upstream("http://app/")
    };
    for (upstream, message) in [
        (with_header("webhook-id", "x"), "upstream.app: header webhook-id is set by hookward"),
        (with_header("content-length", "1"), "upstream.app: header content-length is set"),
        (with_header("x-key", "hunter2\n"), "upstream.app: the value of header x-key has"),
        (upstream("http://user:hunter2@app/"), "upstream.app: the URL must be"),
        (upstream("ftp://app/"), "upstream.app: the URL must be"),
        (upstream("/hooks"), "upstream.app: the URL must be"),
    ] {
        let error = Forwarder::new(Arc::new(upstream), Clock::System, 1).unwrap_err();
        assert!(error.to_string().starts_with(message), "{error}");
        assert!(!format!("{error:?}").contains("hunter2"));
    }
}

#[test]
fn debug_shows_no_secret() {
    let mut upstream = upstream("http://app/");
    upstream.headers.extend([header("authorization", "Bearer hunter2")]);
    upstream.signing_keys = vec![Secret::new(b"hunter2hunter2".to_vec())];
    let shown = format!("{:?}", forwarder(upstream));
    assert!(!shown.contains("hunter2") && !shown.contains("104, 117, 110"), "{shown}");
}

#[test]
fn debug_shows_no_payload() {
    let mut event = event();
    event.meta.subject = Some("a name".into());
    let kept = |signature| KeptHeader {
        name: HeaderName::from_static("x-signature"),
        value: "a name".parse().unwrap(),
        signature,
    };
    event.meta.headers = vec![kept(true), kept(false)];
    let shown = format!("{event:?}");
    assert!(shown.contains("c4hxp") && shown.contains("x-signature"), "{shown}");
    for hidden in ["a name", "kit", "results:ready", "hook-1"] {
        assert!(!shown.contains(hidden), "{hidden}: {shown}");
    }
}

/// Connections, and workers, stay where nothing has changed.
#[test]
fn who_has_not_changed_keeps_its_forwarder() {
    let named = |name: &str, url: &str| {
        let name = UpstreamName::new(name).unwrap();
        Arc::new(Upstream { name, ..upstream(url) })
    };
    let with_ca = |pem: &str| {
        let name = UpstreamName::new("tls").unwrap();
        Arc::new(Upstream { name, ca: Some(authorities(pem)), ..upstream("https://app/") })
    };
    let prepare = |upstreams: &[Arc<Upstream>], running: &Plan| {
        Plan::prepare(upstreams, &running.0, &Clock::System).unwrap()
    };
    let (first, second) = (certificate(), certificate());
    let before = [named("a", "http://a/"), named("b", "http://b/"), with_ca(&first)];
    let before = prepare(&before, &Plan(Vec::new()));
    let stay = |upstreams: [Arc<Upstream>; 3]| {
        let stays = |f: &Arc<Forwarder>| before.0.iter().any(|other| Arc::ptr_eq(f, other));
        prepare(&upstreams, &before).0.iter().map(stays).collect::<Vec<_>>()
    };
    let (b, moved) = (named("b", "http://b/"), named("a", "http://elsewhere/"));
    let stayed = stay([with_ca(&first), Arc::clone(&b), Arc::clone(&moved)]);
    assert_eq!(stayed, [true, true, false]);
    assert_eq!(stay([with_ca(&second), b, moved]), [false, true, false], "its roots changed");

    let showing = |pair: &(String, String), key: &[u8]| {
        let name = UpstreamName::new("showing").unwrap();
        let (ca, client_cert) = (Some(authorities(&first)), Some(identity(pair)));
        let signing_keys = vec![Secret::new(key.to_vec())];
        Arc::new(Upstream { name, ca, client_cert, signing_keys, ..upstream("https://app/") })
    };
    let (own, renewed) = (rcgen_pair(), rcgen_pair());
    let before = prepare(&[showing(&own, b"old")], &Plan(Vec::new()));
    for (pair, key, stays) in
        [(&own, b"old", true), (&renewed, b"old", false), (&own, b"new", false)]
    {
        let after = prepare(&[showing(pair, key)], &before);
        assert_eq!(Arc::ptr_eq(&after.0[0], &before.0[0]), stays);
    }
}

fn certificate() -> String {
    rcgen::generate_simple_self_signed(["app".to_owned()]).unwrap().cert.pem()
}

#[tokio::test]
async fn of_an_answer_that_is_not_2xx_the_beginning_is_kept() {
    let answers = [
        (422, "text/plain", Some("no such order")),
        (500, "application/octet-stream", None),
        (200, "text/plain", None),
    ];
    for (status, kind, kept) in answers {
        let app =
            App::start(move || answer(status, &[("content-type", kind)], "no such order")).await;
        let forwarder = forwarder(to(app.addr));
        let (event, left) = (event(), Duration::from_secs(3600));
        let made = tokio::time::timeout(PATIENCE, attempt(&forwarder, &event, 1, left));
        let made = made.await.unwrap();
        assert_eq!(made.excerpt.as_deref(), kept, "{status}");
        assert_eq!(made.attempt.result, AttemptResult::Answered(status));
    }
}
