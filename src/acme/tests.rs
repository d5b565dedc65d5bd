//! What authorities may answer that are broken, or not well disposed. What a sound one does is
//! tested with a real one.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rcgen::{CertificateParams, KeyPair};
use rustls_pki_types::PrivateKeyDer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::failure::Failure;
use super::schedule::Patience;
use super::*;
use crate::config::Authorities;
use crate::listen::tls::ClientCertificates;

const NOWHERE: &str = "https://127.0.0.1:1/";

/// An authority that answers each path with the bytes that are here for it.
async fn authority(
    answer: impl Fn(&str, SocketAddr) -> String + Send + 'static,
) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let own = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap().self_signed(&key).unwrap();
    let pem = own.pem();
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(
        rustls::crypto::ring::default_provider(),
    ));
    let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
    let config = config.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    let config = config.with_single_cert(vec![own.der().clone()], key).unwrap();
    let tls = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut stream) = tls.accept(stream).await else { continue };
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                match stream.read_u8().await {
                    Ok(byte) => head.push(byte),
                    Err(_) => break,
                }
            }
            let head = String::from_utf8(head).unwrap();
            let path = head.split(' ').nth(1).unwrap_or_default();
            drop(stream.write_all(answer(path, address).as_bytes()).await);
            drop(stream.shutdown().await);
        }
    });
    (format!("https://{address}/dir"), pem)
}

fn http(status: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n{headers}\r\n{body}"
    )
}

fn directory(new_nonce: &str, url: &str) -> String {
    let body = format!(
        "{{\"newNonce\":\"{new_nonce}\",\"newAccount\":\"{url}\",\"newOrder\":\"{url}\",\
         \"revokeCert\":\"{url}\"}}"
    );
    http("200 OK", "", &body)
}

/// What becomes of an order with this authority, and how long it asks to be left alone.
async fn attempt(directory: String, ca: &str) -> (Failure, Option<Duration>) {
    let dir = tempfile::tempdir().unwrap();
    let acme = Acme {
        domains: vec!["hooks.clinic.example".to_owned()],
        contact: Vec::new(),
        directory,
        cache: dir.path().join("acme"),
        ca: Some(Authorities::new("ca.pem".into(), ca.as_bytes()).unwrap()),
    };
    let acceptor = Arc::new(Acceptor::new(None, ClientCertificates::none()).unwrap());
    let (_settings, changed) = watch::channel(acme.clone());
    let (clock, metrics) = (Clock::System, Arc::new(Metrics::new()));
    let mut work = Work { settings: changed, held: None, failures: 0, acceptor, clock, metrics };
    let asked = Asked::default();
    let failure = work.order(&acme, &asked).await.unwrap_err();
    (failure, asked.for_how_long())
}

#[tokio::test]
async fn whatever_an_authority_answers_the_attempt_ends_and_says_why() {
    let long = "a".repeat((1 << 20) + 1);
    for (answer, said, patience) in [
        (http("200 OK", "", "hello"), "JSON", Patience::Unreachable),
        (http("200 OK", "", &long), "the authority's answer broke off", Patience::Unreachable),
        (http("301 Moved", "Location: https://127.0.0.1:1/\r\n", ""), "301", Patience::Unreachable),
        (http("503 Busy", "", "<p>busy"), "the authority answered 503", Patience::Unreachable),
        ("no HTTP\r\n\r\n".to_owned(), "no connection to the authority", Patience::Unreachable),
        (String::new(), "no connection to the authority", Patience::Unreachable),
        (directory("http://127.0.0.1:1/", NOWHERE), "scheme", Patience::Unreachable),
        // The library takes it for granted that this is a URL.
        (directory("https://a b/", NOWHERE), "the attempt has panicked", Patience::Refused),
    ] {
        let (url, ca) = authority(move |_, _| answer.clone()).await;
        let (failure, asked) = attempt(url, &ca).await;
        assert!(failure.told().contains(said), "{said}: {}", failure.told());
        assert_eq!((failure.patience(), asked), (patience, None), "{said}");
    }
}

#[tokio::test]
async fn an_authority_that_asks_to_be_left_alone_is_heard() {
    const LIMITED: &str =
        r#"{"type":"urn:ietf:params:acme:error:rateLimited","detail":"too many","status":429}"#;
    let (url, ca) = authority(|path, address| match path {
        "/dir" => {
            let at = |path| format!("https://{address}/{path}");
            directory(&at("nonce"), &at("account"))
        }
        "/nonce" => http("200 OK", "Replay-Nonce: abc\r\n", ""),
        // Beyond all bounds: the library would add it to the time.
        _ => http("429 Slow Down", "Retry-After: 18446744073709551615\r\n", LIMITED),
    })
    .await;
    let (failure, asked) = attempt(url, &ca).await;
    assert!(failure.told().contains("too many"), "{}", failure.told());
    assert_eq!(failure.patience(), Patience::Refused);
    assert!(asked.unwrap() > Duration::from_secs(86_400));
}

#[tokio::test]
async fn an_authority_whose_certificate_is_not_trusted_is_not_asked() {
    let (url, _) = authority(|_, _| directory(NOWHERE, NOWHERE)).await;
    let (_, other) = authority(|_, _| String::new()).await;
    let (failure, _) = attempt(url, &other).await;
    assert!(failure.told().contains("invalid peer certificate"), "{}", failure.told());
}

#[test]
fn a_certificate_must_be_for_all_the_names_and_may_be_for_more() {
    let facts = |names: &[&str]| Facts {
        names: names.iter().map(|&name| name.to_owned()).collect(),
        serial: String::new(),
        not_before: crate::clock::UnixMillis(0),
        not_after: crate::clock::UnixMillis(0),
        rsa_bits: None,
    };
    let wanted = ["a.example".to_owned(), "b.example".to_owned()];
    assert!(covers(&facts(&["b.example", "c.example", "A.example"]), &wanted));
    assert!(!covers(&facts(&["a.example"]), &wanted));
    assert!(!covers(&facts(&[]), &wanted));
}
