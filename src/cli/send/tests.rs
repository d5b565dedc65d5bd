mod rehearsal;

use std::collections::HashSet;
use std::sync::Mutex;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rcgen::{CertificateParams, KeyPair};
use rustls::sign::SingleCertAndKey;
use rustls_pki_types::PrivateKeyDer;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::maker::stable_time;
use super::*;
use crate::clock::UnixMillis;
use crate::config::{
    Acme, Audit, Auth, Authorities, Log, LogFormat, Pattern, Place, Selector, Server, Store,
};
use crate::pem::Identity;
use crate::provider::sign::tests::{plain_hmac, source};
use crate::provider::{Preset, Retries, sample};

const NOW: UnixMillis = UnixMillis(1_800_000_000_123);

/// What a listener was sent.
type Calls = Arc<Mutex<Vec<(HeaderMap, Bytes)>>>;

/// A listener that keeps what it is sent and answers `status`.
async fn listener(status: StatusCode) -> (SocketAddr, Calls) {
    secured(status, None).await
}

/// The same, with this certificate.
async fn secured(status: StatusCode, own: Option<&Identity>) -> (SocketAddr, Calls) {
    let tls = own.map(|own| {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(Arc::clone(&own.pair))));
        TlsAcceptor::from(Arc::new(config))
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let calls = Calls::default();
    let kept = calls.clone();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let kept = kept.clone();
            let service = service_fn(move |request: Request<Incoming>| {
                let kept = kept.clone();
                async move {
                    assert_eq!(request.uri().path(), "/hooks/lab");
                    let (head, body) = request.into_parts();
                    let body = body.collect().await?.to_bytes();
                    kept.lock().unwrap().push((head.headers, body));
                    let answer = Response::builder().status(status);
                    let answer = answer.header("hookward-event-id", "0193");
                    let answer = match status {
                        StatusCode::TOO_MANY_REQUESTS => answer.header("retry-after", "7"),
                        _ => answer,
                    };
                    Ok::<_, hyper::Error>(answer.body(Full::new(Bytes::from("why\n"))).unwrap())
                }
            });
            let http = hyper::server::conn::http1::Builder::new();
            match &tls {
                None => drop(tokio::spawn(http.serve_connection(TokioIo::new(stream), service))),
                Some(tls) => {
                    let Ok(stream) = tls.accept(stream).await else { continue };
                    tokio::spawn(http.serve_connection(TokioIo::new(stream), service));
                }
            }
        }
    });
    (addr, calls)
}

fn config(listen: SocketAddr, source: Source) -> Config {
    let second = Duration::from_secs(1);
    Config {
        file: "hookward.toml".into(),
        files: Vec::new(),
        server: Server { listen, ..Server::defaults() },
        admin: None,
        store: Store {
            path: "data".into(),
            retention: second,
            encryption_keys: Vec::new(),
            min_free: 0,
        },
        audit: Audit::defaults(),
        log: Log { format: LogFormat::Text, level: tracing::level_filters::LevelFilter::OFF },
        sources: vec![Arc::new(source)],
        upstreams: Vec::new(),
        routes: Vec::new(),
    }
}

fn args() -> Args {
    Args {
        source: "lab".into(),
        config: None,
        url: None,
        event: None,
        id: None,
        count: 1,
        tamper: false,
        every: None,
        retries: false,
        schedule: None,
        time_scale: NonZeroU32::MIN,
        json: false,
    }
}

fn novamed() -> Source {
    let header = http::HeaderName::from_static("x-api-key");
    Source {
        preset: Some(Preset::NovaMed),
        keys: vec![Secret::new(b"0123456789abcdef".to_vec())],
        ..source(Auth::ApiKey { header })
    }
}

/// Sends and returns what was printed, what arrived and whether all were answered 200.
async fn send(source: Source, args: Args, status: StatusCode) -> (String, Calls, bool) {
    let (addr, calls) = listener(status).await;
    let mut out = Vec::new();
    let clock = Clock::manual(NOW);
    let taken = send_all(&config(addr, source), &args, &clock, &mut out).await.unwrap();
    (String::from_utf8(out).unwrap(), calls, taken == Sent::All)
}

#[tokio::test]
async fn a_samples_request_is_the_providers() {
    let one = Args { id: Some("evt_1".into()), ..args() };
    let (printed, calls, taken) = send(novamed(), one, StatusCode::OK).await;
    assert!(taken);
    assert_eq!(printed, "200  0193  order:shipped  evt_1\n");
    let calls = calls.lock().unwrap();
    let (headers, body) = &calls[0];
    assert_eq!(headers["x-api-key"], "0123456789abcdef");
    assert_eq!(headers["content-type"], "application/json");
    let guide = sample::find(Preset::NovaMed, "order:shipped").unwrap().body();
    assert_eq!(body, &guide.replace("evt_abc123xyz", "evt_1"));
}

#[tokio::test]
async fn counted_events_differ_and_take_the_samples_in_turn() {
    let five = Args { count: 5, ..args() };
    let (printed, calls, _) = send(novamed(), five, StatusCode::OK).await;
    assert_eq!(printed.lines().count(), 5);
    let calls = calls.lock().unwrap();
    let bodies: HashSet<_> = calls.iter().map(|(_, body)| body).collect();
    assert_eq!(bodies.len(), 5);
    let types: HashSet<_> = printed.lines().filter_map(|l| l.split("  ").nth(2)).collect();
    assert_eq!(types, HashSet::from(["order:shipped", "medication_request:approved"]));
}

#[tokio::test]
async fn one_id_makes_one_event_however_often_it_is_sent() {
    let three = Args { id: Some("evt_1".into()), count: 3, ..args() };
    let (_, calls, _) = send(novamed(), three, StatusCode::OK).await;
    let calls = calls.lock().unwrap();
    assert_eq!(calls.len(), 3);
    assert!(calls.iter().all(|(_, body)| *body == calls[0].1));
}

#[test]
fn one_id_makes_one_event_within_half_of_the_greatest_age_too() {
    let age = Duration::from_secs(3600);
    let aged = Source { max_event_age: Some(age), ..novamed() };
    let minute = Duration::from_secs(60);
    assert_eq!(stable_time(&aged, NOW), stable_time(&aged, NOW.after(minute)));
    for later in 0..120 {
        let now = NOW.after(minute * later);
        assert!(now.since(stable_time(&aged, now).unwrap()) < age / 2);
    }
    assert_eq!(stable_time(&novamed(), NOW), None);
}

#[tokio::test]
async fn a_refusal_is_printed_with_its_reason_and_fails_the_command() {
    let forged = Args { tamper: true, event: Some("order:shipped".into()), ..args() };
    let (printed, calls, taken) = send(novamed(), forged, StatusCode::UNAUTHORIZED).await;
    assert!(!taken);
    assert!(printed.starts_with("401  0193  order:shipped  evt_"), "{printed}");
    assert!(printed.ends_with("  why\n"), "{printed}");
    assert_eq!(calls.lock().unwrap()[0].0["x-api-key"], "0123456789abcde0");
}

#[tokio::test]
async fn who_has_to_wait_is_told_how_long() {
    let (printed, _, taken) = send(novamed(), args(), StatusCode::TOO_MANY_REQUESTS).await;
    assert!(!taken);
    assert!(printed.starts_with("429  0193  "), "{printed}");
    assert!(printed.ends_with("  Retry-After: 7  why\n"), "{printed}");
}

#[tokio::test]
async fn tampered_bodies_no_longer_fit_their_signature() {
    let key = Secret::new(b"0123456789abcdef".to_vec());
    let hmac = || Auth::Hmac(plain_hmac("x-signature", ""));
    let lab = Source { keys: vec![key.clone()], preset: Some(Preset::C4hxp), ..source(hmac()) };
    let forged = Args { tamper: true, ..args() };
    let (_, calls, _) = send(lab, forged, StatusCode::OK).await;
    let (headers, body) = calls.lock().unwrap()[0].clone();
    let of = |body: Bytes| {
        let event = Outgoing { event_type: String::new(), id: String::new(), body: body.into() };
        sign::sign(&source(hmac()), &key, NOW, &event).unwrap()["x-signature"].clone()
    };
    assert_ne!(of(body.clone()), headers["x-signature"]);
    let original = body.strip_prefix(br#"{"forged":true,"#).unwrap();
    assert_eq!(of([b"{", original].concat().into()), headers["x-signature"]);
}

#[tokio::test]
async fn a_source_without_preset_gets_a_body_of_its_own_shape() {
    let pointer = |token: &str| Selector(vec![Place::Pointer(vec![token.into()])]);
    let mut lab = source(Auth::NoneDangerous);
    lab.event.kind = pointer("what");
    lab.event.id = pointer("which");
    lab.events = Some(vec![Pattern("order.*".into())]);
    let (printed, calls, _) = send(lab, args(), StatusCode::OK).await;
    assert!(printed.starts_with("200  0193  order.sample  sample_"), "{printed}");
    let body: Value = serde_json::from_slice(&calls.lock().unwrap()[0].1).unwrap();
    assert_eq!(body["what"], "order.sample");
    assert!(body["which"].as_str().unwrap().starts_with("sample_"));
}

#[tokio::test]
async fn an_unknown_source_is_named_with_the_known_ones() {
    let config = config(([127, 0, 0, 1], 1).into(), novamed());
    let other = Args { source: "labs".into(), ..args() };
    let error = send_all(&config, &other, &Clock::System, &mut Vec::new()).await.unwrap_err();
    assert_eq!(error.to_string(), "no source is named \"labs\"; configured are lab");
}

#[tokio::test]
async fn a_gateway_that_is_not_there_is_an_error() {
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let config = config(free, novamed());
    let error = send_all(&config, &args(), &Clock::System, &mut Vec::new()).await.unwrap_err();
    assert!(error.to_string().starts_with("cannot connect: "), "{error}");
}

#[test]
fn the_target_is_the_listener_or_what_the_user_says() {
    let url = |listen: &str, url: Option<&str>| {
        let url = url.map(|u| u.parse().unwrap());
        let server = Server { listen: listen.parse().unwrap(), ..Server::defaults() };
        let target = target(&server, "/hooks/lab", url.as_ref());
        target.map_or_else(|e| e.to_string(), |u| u.to_string())
    };
    assert_eq!(url("10.1.2.3:8443", None), "http://10.1.2.3:8443/hooks/lab");
    assert_eq!(url("0.0.0.0:80", None), "http://127.0.0.1:80/hooks/lab");
    assert_eq!(url("[::]:80", None), "http://[::1]:80/hooks/lab");
    assert_eq!(url("0.0.0.0:80", Some("https://h:1")), "https://h:1/hooks/lab");
    assert_eq!(url("0.0.0.0:80", Some("https://h:1/")), "https://h:1/hooks/lab");
    assert_eq!(url("0.0.0.0:80", Some("http://h/other?x=1")), "http://h/other?x=1");
    for bad in ["ftp://h/", "h:80", "/hooks/lab"] {
        assert!(url("0.0.0.0:80", Some(bad)).starts_with("--url takes"), "{bad}");
    }
}

/// A self-signed certificate for this name, as PEM too.
fn certificate(name: &str) -> (Identity, String) {
    let key = KeyPair::generate().unwrap();
    let own = CertificateParams::new([name.to_owned()]).unwrap().self_signed(&key).unwrap();
    let der = PrivateKeyDer::Pkcs8(key.serialize_der().into());
    (Identity::new(vec![own.der().clone()], &der).unwrap(), own.pem())
}

/// Sends to a listener with the certificate `shown`, with this configuration of TLS.
async fn send_over(tls: Tls, shown: &Identity, url: Option<&str>) -> Result<bool, String> {
    let (addr, calls) = secured(StatusCode::OK, Some(shown)).await;
    let mut config = config(addr, novamed());
    config.server.tls = Some(tls);
    let url = url.map(|scheme| format!("{scheme}://{addr}").parse().unwrap());
    let one = Args { url, ..args() };
    let taken = send_all(&config, &one, &Clock::manual(NOW), &mut Vec::new()).await;
    let taken = taken.map_err(|error| error.to_string())?;
    assert_eq!(calls.lock().unwrap().len(), 1);
    Ok(taken == Sent::All)
}

#[tokio::test]
async fn with_tls_the_configured_certificate_is_the_one_that_is_trusted() {
    let (own, _) = certificate("hooks.clinic.example");
    let (other, _) = certificate("hooks.clinic.example");
    let files = |identity: &Identity| Tls::Files {
        cert: "cert.pem".into(),
        key: "key.pem".into(),
        identity: identity.clone(),
    };
    // Whatever its names are: the address is not among them.
    assert_eq!(send_over(files(&own), &own, None).await, Ok(true));
    assert_eq!(send_over(files(&own), &own, Some("https")).await, Ok(true));
    for url in [None, Some("https")] {
        let error = send_over(files(&own), &other, url).await.unwrap_err();
        assert!(error.starts_with("cannot connect: invalid peer certificate: "), "{error}");
    }
    let error = send_over(files(&own), &own, Some("http")).await.unwrap_err();
    assert!(error.starts_with("no answer: "), "{error}");
}

#[tokio::test]
async fn with_acme_the_gateway_is_believed_by_its_name_and_its_authority() {
    let acme = |ca: Option<&str>, domain: &str| {
        Tls::Acme(Acme {
            domains: vec![domain.to_owned()],
            contact: Vec::new(),
            directory: "https://acme.example/".into(),
            cache: "acme".into(),
            ca: ca.map(|pem| Authorities::new("ca.pem".into(), pem.as_bytes()).unwrap()),
        })
    };
    let (own, pem) = certificate("hooks.clinic.example");
    let known = acme(Some(&pem), "hooks.clinic.example");
    assert_eq!(send_over(known.clone(), &own, None).await, Ok(true));
    for (tls, url) in [
        (acme(None, "hooks.clinic.example"), None),
        (acme(Some(&pem), "other.clinic.example"), None),
        // A URL is taken at its word: the address is not among the names.
        (known, Some("https")),
    ] {
        let error = send_over(tls, &own, url).await.unwrap_err();
        assert!(error.starts_with("cannot connect: invalid peer certificate: "), "{error}");
    }
}

#[test]
fn pauses_have_a_unit_and_an_end() {
    assert_eq!(pause("20m"), Ok(Duration::from_secs(1200)));
    assert_eq!(pause("0s"), Ok(Duration::ZERO));
    for text in ["", "20", "20 m", "1.5h", "soon", "31d", "99999999999999999999d"] {
        assert!(pause(text).unwrap_err().ends_with("such as 20m, at most 30d"), "{text}");
    }
}
