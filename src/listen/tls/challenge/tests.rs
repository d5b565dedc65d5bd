//! What an authority sees that looks for its challenge, and what others see meanwhile.

#[path = "../../../../tests/it/pki/believer.rs"]
mod believer;

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::Response;
use http_body_util::Full;
use rcgen::{CertificateParams, CustomExtension, KeyPair};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, SupportedProtocolVersion};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::AsyncReadExt;
use tokio::sync::oneshot;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use self::believer::Believer;
use super::*;
use crate::listen::tls::tests::limits;
use crate::listen::tls::{Acceptor, ClientCertificates};
use crate::listen::{self, Settings};
use crate::pem::Identity;

const BOUND: Duration = Duration::from_secs(20);

const NAME: &str = "hooks.clinic.example";

/// A certificate with its key; for an authority if it has something to prove.
fn issue(name: &str, proof: Option<[u8; 32]>) -> (CertificateDer<'static>, PrivateKeyDer<'static>) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new([name.to_owned()]).unwrap();
    let proof = proof.map(|digest| CustomExtension::new_acme_identifier(&digest));
    params.custom_extensions.extend(proof);
    let der = params.self_signed(&key).unwrap().der().clone();
    (der, PrivateKeyDer::Pkcs8(key.serialize_der().into()))
}

fn own(name: &str) -> (CertificateDer<'static>, Identity) {
    let (der, key) = issue(name, None);
    (der.clone(), Identity::new(vec![der], &key).unwrap())
}

fn offer(listening: &Listening, name: &str) -> CertificateDer<'static> {
    let (der, key) = issue(name, Some([7; 32]));
    let key = rustls::crypto::ring::sign::any_ecdsa_type(&key).unwrap();
    let answer = Arc::new(CertifiedKey::new(vec![der.clone()], key));
    listening.acceptor.challenges().offer(name, answer).unwrap();
    der
}

/// A listener, and how many requests have come through to it.
struct Listening {
    address: SocketAddr,
    acceptor: Arc<Acceptor>,
    requests: Arc<AtomicUsize>,
    _stop: oneshot::Sender<()>,
}

fn listen_with(own: Option<Identity>) -> Listening {
    let acceptor = Arc::new(Acceptor::new(own, ClientCertificates::none()).unwrap());
    let plain = listen::tests::plain(limits());
    let settings = Settings { tls: Some(Arc::clone(&acceptor)), ..plain };
    let listener = listen::reserve(([127, 0, 0, 1], 0).into()).and_then(listen::begin).unwrap();
    let address = listener.local_addr().unwrap();
    let requests = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&requests);
    let handler = move |_| {
        counted.fetch_add(1, Ordering::SeqCst);
        async { Response::new(Full::default()) }
    };
    let (stop, stopped) = oneshot::channel::<()>();
    let settings = Arc::new(ArcSwap::from_pointee(settings));
    tokio::spawn(listen::run(listener, settings, handler, async { drop(stopped.await) }));
    Listening { address, acceptor, requests, _stop: stop }
}

async fn connect(
    to: &Listening,
    version: &'static SupportedProtocolVersion,
    name: &str,
    protocols: &[&str],
) -> io::Result<TlsStream<TcpStream>> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let believer = Believer { provider: Arc::clone(&provider), asks_for_key: false };
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(believer))
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|p| p.as_bytes().to_vec()).collect();
    let stream = TcpStream::connect(to.address).await.unwrap();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let connecting = TlsConnector::from(Arc::new(config)).connect(name, stream);
    timeout(BOUND, connecting).await.expect("a handshake in time")
}

fn shown(stream: &TlsStream<TcpStream>) -> &CertificateDer<'static> {
    &stream.get_ref().1.peer_certificates().unwrap()[0]
}

#[tokio::test]
async fn an_authority_gets_the_answer_for_its_name_and_the_connection_ends() {
    // It does not matter whether there is a certificate yet.
    for own in [None, Some(own(NAME).1)] {
        let listening = listen_with(own);
        let answer = offer(&listening, NAME);
        for (version, name) in [(&TLS12, NAME), (&TLS13, NAME), (&TLS13, "HOOKS.Clinic.example")] {
            let mut stream = connect(&listening, version, name, &["acme-tls/1"]).await.unwrap();
            assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"acme-tls/1"[..]));
            assert_eq!(*shown(&stream), answer);
            // What is said on it all the same is not listened to.
            let request = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n";
            drop(stream.write_all(request).await);
            let mut said = Vec::new();
            drop(timeout(BOUND, stream.read_to_end(&mut said)).await.expect("an end"));
            assert_eq!(said, b"");
        }
        assert_eq!(listening.requests.load(Ordering::SeqCst), 0);
    }
}

#[tokio::test]
async fn whoever_asks_for_anything_else_gets_no_answer() {
    let (der, own) = own(NAME);
    let listening = listen_with(Some(own));
    offer(&listening, NAME);
    for name in ["other.example", "sub.hooks.clinic.example", "127.0.0.1"] {
        let error = connect(&listening, &TLS13, name, &["acme-tls/1"]).await.unwrap_err();
        assert!(error.to_string().contains("NoApplicationProtocol"), "{name}: {error}");
    }
    // One protocol among others is no challenge (RFC 8737, section 3).
    for protocols in [&["acme-tls/1", "http/1.1"][..], &["http/1.1", "acme-tls/1"], &[]] {
        let stream = connect(&listening, &TLS13, NAME, protocols).await.unwrap();
        assert_eq!(*shown(&stream), der, "{protocols:?}");
        assert_ne!(stream.get_ref().1.alpn_protocol(), Some(&b"acme-tls/1"[..]));
    }
    listening.acceptor.challenges().withdraw();
    let error = connect(&listening, &TLS13, NAME, &["acme-tls/1"]).await.unwrap_err();
    assert!(error.to_string().contains("NoApplicationProtocol"), "{error}");
}

#[tokio::test]
async fn without_a_certificate_everybody_else_is_turned_away() {
    let listening = listen_with(None);
    offer(&listening, NAME);
    for version in [&TLS12, &TLS13] {
        let error = connect(&listening, version, NAME, &["http/1.1"]).await.unwrap_err();
        assert!(error.to_string().contains("received fatal alert"), "{error}");
    }
    // And with the first one they are let in, by the same listener.
    let (der, own) = own(NAME);
    listening.acceptor.put_certificate(own);
    let stream = connect(&listening, &TLS13, NAME, &["http/1.1"]).await.unwrap();
    assert_eq!(*shown(&stream), der);
}

/// What clients are asked for is changed by a reload, certificates by an authority.
#[test]
fn a_certificate_and_what_clients_are_asked_for_change_without_each_other() {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(issue("a client", None).0).unwrap();
    let asked = ClientCertificates::of([&roots]);
    let acceptor = Acceptor::new(own("one").1, ClientCertificates::none()).unwrap();
    // The authority is faster than the reload, which has begun before.
    let reload = acceptor.prepare_clients(asked.clone()).unwrap();
    acceptor.put_certificate(own("two").1);
    assert!(acceptor.put(reload));
    assert_eq!(acceptor.facts().unwrap().names, ["two"]);
    let again = acceptor.prepare_clients(asked).unwrap();
    assert!(!acceptor.put(again), "they are asked already");
    acceptor.put_certificate(own("three").1);
    assert_eq!(acceptor.facts().unwrap().names, ["three"]);
}
