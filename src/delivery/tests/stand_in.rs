//! Stand-ins for the app behind the gateway: one that speaks HTTP as it should, one that does
//! with a socket whatever a test wants, and one behind TLS.

use std::convert::Infallible;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener as StdListener};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::request::Parts;
use http::{Request, Response};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls::server::WebPkiClientVerifier;
use rustls_pki_types::PrivateKeyDer;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

pub(super) type Answer = Response<BoxBody<Bytes, Infallible>>;

/// What the app was sent.
pub(super) struct Seen {
    /// Which connection it came in on, counted from 1.
    pub(super) connection: usize,
    pub(super) parts: Parts,
    pub(super) body: Bytes,
}

impl Seen {
    pub(super) fn header(&self, name: &str) -> &str {
        let mut values = self.parts.headers.get_all(name).iter();
        let value = values.next().unwrap_or_else(|| panic!("no {name}")).to_str().unwrap();
        assert!(values.next().is_none(), "{name} is there twice");
        value
    }
}

/// An app that speaks HTTP as it should. Dropping it stops it.
pub(super) struct App {
    pub(super) addr: SocketAddr,
    pub(super) seen: mpsc::UnboundedReceiver<Seen>,
    _tasks: JoinSet<()>,
}

impl App {
    /// An app that gives `answer` to every request.
    pub(super) async fn start(answer: impl Fn() -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (tell, seen) = mpsc::unbounded_channel();
        let answer = Arc::new(answer);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            for connection in 1.. {
                let (stream, _) = listener.accept().await.unwrap();
                let (tell, answer) = (tell.clone(), Arc::clone(&answer));
                let service = service_fn(move |request: Request<Incoming>| {
                    let (tell, answer) = (tell.clone(), Arc::clone(&answer));
                    async move {
                        let (parts, body) = request.into_parts();
                        let body = body.collect().await?.to_bytes();
                        let _ = tell.send(Seen { connection, parts, body });
                        Ok::<_, hyper::Error>(answer())
                    }
                });
                connections.spawn(async move {
                    let _ =
                        http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Self { addr, seen, _tasks: tasks }
    }
}

pub(super) fn answer(status: u16, headers: &[(&str, &str)], body: &'static str) -> Answer {
    let mut response = Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(*name, *value);
    }
    response.body(Full::new(Bytes::from(body)).boxed()).unwrap()
}

/// A body that never ends and counts the bytes that are taken from it.
pub(super) struct Endless(pub(super) Arc<AtomicUsize>);

impl Body for Endless {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        static CHUNK: [u8; 16 * 1024] = [b'x'; 16 * 1024];
        self.0.fetch_add(CHUNK.len(), Ordering::SeqCst);
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&CHUNK)))))
    }
}

/// An app that does with each connection whatever `act` does. Lives as long as the set.
pub(super) async fn raw<F>(
    act: impl Fn(TcpStream) -> F + Send + 'static,
) -> (SocketAddr, JoinSet<()>)
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            connections.spawn(act(stream));
        }
    });
    (addr, tasks)
}

/// Reads one whole request; `None` when the connection ends first.
pub(super) async fn read_request(stream: &mut TcpStream) -> Option<()> {
    use tokio::io::AsyncReadExt;
    let mut got = Vec::new();
    while !is_whole(&got) {
        let mut piece = [0; 4096];
        match stream.read(&mut piece).await {
            Ok(0) | Err(_) => return None,
            Ok(n) => got.extend_from_slice(&piece[..n]),
        }
    }
    Some(())
}

fn is_whole(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
    body.len() >= length.parse::<usize>().unwrap()
}

/// A certificate authority and an app behind TLS with a certificate for 127.0.0.1 of its making.
/// Answers 200 to one request a connection; its thread ends with the process.
pub(super) fn tls_app() -> (SocketAddr, String) {
    tls_app_asking(None)
}

/// The same, which asks for a certificate of this authority (in PEM), if there is one.
pub(super) fn tls_app_asking(client_ca: Option<&str>) -> (SocketAddr, String) {
    let ca_key = rcgen::KeyPair::generate().unwrap();
    let mut ca = rcgen::CertificateParams::new(Vec::new()).unwrap();
    ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let ca_pem = ca.self_signed(&ca_key).unwrap().pem();
    let issuer = rcgen::Issuer::new(ca, ca_key);
    let key = rcgen::KeyPair::generate().unwrap();
    let leaf = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    let leaf = leaf.signed_by(&key, &issuer).unwrap();

    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap();
    let config = match client_ca {
        Some(ca) => {
            let roots = Arc::new(crate::pem::roots(ca.as_bytes()).unwrap());
            let builder = WebPkiClientVerifier::builder_with_provider(roots, provider);
            config.with_client_cert_verifier(builder.build().unwrap())
        }
        None => config.with_no_client_auth(),
    };
    let config = config
        .with_single_cert(
            vec![leaf.der().clone()],
            PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
        )
        .unwrap();
    let config = Arc::new(config);
    let listener = StdListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let connection = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
            let mut tls = rustls::StreamOwned::new(connection, stream.unwrap());
            let mut got = Vec::new();
            while !is_whole(&got) {
                let mut piece = [0; 4096];
                match tls.read(&mut piece) {
                    Ok(0) | Err(_) => break,
                    Ok(n) => got.extend_from_slice(&piece[..n]),
                }
            }
            if is_whole(&got) {
                let _ = tls.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
            }
        }
    });
    (addr, ca_pem)
}
