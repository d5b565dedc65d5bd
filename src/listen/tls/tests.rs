//! What the listener's limits do to a client behind TLS.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Response, StatusCode};
use http_body_util::Full;
use rcgen::{CertificateParams, KeyPair};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::*;
use crate::listen::progress::Progress;
use crate::listen::wire::Wire;
use crate::listen::{Drained, Limits, Settings, Timeouts, begin, reserve, run};

const SOON: Duration = Duration::from_millis(100);
const NEVER: Duration = Duration::from_secs(3600);
const BOUND: Duration = Duration::from_secs(20);

pub(super) fn limits() -> Limits {
    Limits {
        max_connections: 8,
        max_connections_per_client: 8,
        max_requests: 1000,
        max_headers: 100,
        max_header_bytes: 32 << 10,
        max_target: 8 << 10,
        max_streams: 100,
        timeouts: Timeouts { handshake: NEVER, header: NEVER, write: SOON, idle: NEVER },
        drain_timeout: NEVER,
    }
}

/// For a certificate that is its own root.
fn acceptor() -> (Acceptor, CertificateDer<'static>) {
    let key = KeyPair::generate().unwrap();
    let own = CertificateParams::new(vec!["gw".to_owned()]).unwrap().self_signed(&key).unwrap();
    let der = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let identity = crate::pem::Identity::new(vec![own.der().clone()], &der).unwrap();
    (Acceptor::new(identity, ClientCertificates::none()).unwrap(), own.der().clone())
}

/// Handshakes were begun as they came, all of one client's before another's first.
#[tokio::test]
async fn a_handshake_begins_when_it_is_its_clients_turn() {
    let (acceptor, own) = acceptor();
    let listener = begin(reserve(([127, 0, 0, 1], 0).into()).unwrap()).unwrap();
    let connecting = tokio::spawn(connect(listener.local_addr().unwrap(), own));
    let (stream, _) = listener.accept().await.unwrap();
    let others = acceptor.turns.take_all().await;
    let mut accepting = std::pin::pin!(acceptor.accept(stream, Network::Unknown));
    let in_line = async {
        while acceptor.turns.lines() == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        biased;
        _ = &mut accepting => panic!("it did not wait"),
        () = in_line => {}
    }
    drop(others);
    assert!(timeout(BOUND, accepting).await.expect("it goes on").unwrap().is_some());
    drop(timeout(BOUND, connecting).await.expect("both ends do").unwrap());
    assert_eq!(acceptor.turns.lines(), 0);
}

/// Sends this many requests at once to a listener whose answers have `size` bytes, and never reads
/// one. How the listener's drain ended, which waits for the connection.
async fn never_read(size: usize, requests: usize) -> Drained {
    let (acceptor, own) = acceptor();
    let settings =
        Settings { tls: Some(Arc::new(acceptor)), ..crate::listen::tests::plain(limits()) };

    let listener = begin(reserve(([127, 0, 0, 1], 0).into()).unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let handler = move |_| async move {
        let mut answer = Response::new(Full::new(vec![b'a'; size].into()));
        *answer.status_mut() = StatusCode::OK;
        answer
    };
    let settings = Arc::new(ArcSwap::from_pointee(settings));
    let ended = tokio::spawn(run(listener, settings, handler, async { drop(stopped.await) }));

    let mut stream = connect(address, own).await;
    let request = b"GET / HTTP/1.1\r\nHost: gw\r\n\r\n".repeat(requests);
    drop(timeout(BOUND, stream.write_all(&request)).await.expect("somebody reads"));
    drop(timeout(BOUND, stream.flush()).await.expect("somebody reads"));
    stop.send(()).unwrap();
    let drained = timeout(BOUND, ended).await.expect("the drain ends").unwrap();
    drop(stream);
    drained
}

async fn connect(to: SocketAddr, root: CertificateDer<'static>) -> TlsStream<TcpStream> {
    let mut roots = RootCertStore::empty();
    roots.add(root).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = TcpStream::connect(to).await.unwrap();
    let name = ServerName::try_from("gw").unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap()
}

#[tokio::test]
async fn a_client_that_takes_no_long_answer_is_let_go() {
    assert_eq!(never_read(64 << 20, 1).await, Drained { cut_off: 0 });
}

#[tokio::test]
async fn a_client_that_takes_no_short_answers_is_let_go() {
    assert_eq!(never_read(40 << 10, 500).await, Drained { cut_off: 0 });
}

/// Takes all that is written, and can pass nothing on.
struct Stuck;

impl AsyncRead for Stuck {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        _: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Poll::Pending
    }
}

impl AsyncWrite for Stuck {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Pending
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Pending
    }
}

/// TLS takes a short answer off HTTP's hands at once, and that the client did not take it then
/// went unnoticed: such a connection lasted for the idle time.
#[tokio::test(start_paused = true)]
async fn an_answer_that_is_held_back_by_tls_is_held_against_the_client() {
    let progress = Arc::new(Progress::new(&limits()));
    let mut wire = Wire::new(Stuck, Arc::clone(&progress));
    wire.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
    let soon = Some(Instant::now() + SOON);
    assert_ne!(progress.due(&limits().timeouts), soon);
    assert!(timeout(Duration::ZERO, wire.flush()).await.is_err());
    assert_eq!(progress.due(&limits().timeouts), soon);
}
