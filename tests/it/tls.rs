//! TLS on the public listener: what is agreed on, how connections end, and certificates that are
//! replaced while the gateway runs.

use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use hookward::clock::{Clock, UnixMillis};
use hookward::config::{Config, Source, Tls};
use hookward::gateway::Gateway;
use hookward::pem::{self, Identity};
use rustls::HandshakeKind;
use rustls::version::{TLS12, TLS13};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use crate::client::{BOUND, Post};
use crate::gateway::{Setup, setup, watched};
use crate::leaks::Watched;
use crate::lines;
use crate::pki::{Authority, Caller, Issued, NAME, answer, ask, serial, status};
use crate::process::run;

const OPEN: &str = "
[source.open]
auth = { kind = \"none-dangerous\" }
[upstream.app]
url = \"http://127.0.0.1:1/\"
";

/// A gateway with TLS, and the configuration that it would read again.
pub struct Secured {
    pub gateway: Gateway,
    pub address: SocketAddr,
    pub config: Config,
    _watched: Watched,
    pub dir: TempDir,
}

impl Secured {
    /// Puts in place what the files say now.
    pub fn reload(&mut self) {
        self.config.server.tls = Some(files(&self.dir));
        let next = self.gateway.running().prepare(self.config.clone()).unwrap();
        self.gateway.switch(next, "a test");
    }
}

/// The sources of a setup, behind this certificate.
pub struct Plan {
    setup: Setup,
    clock: Clock,
    plain: bool,
    change: Box<dyn Fn(&mut Config)>,
}

impl Plan {
    pub fn new(rest: &str) -> Self {
        Self { setup: setup(rest), clock: Clock::System, plain: false, change: Box::new(|_| {}) }
    }

    pub fn at(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Without TLS.
    pub fn plain(mut self) -> Self {
        self.plain = true;
        self
    }

    pub fn with(mut self, change: impl Fn(&mut Config) + 'static) -> Self {
        self.change = Box::new(change);
        self
    }

    pub async fn start(self, own: &Issued) -> Secured {
        let dir = tempfile::tempdir().unwrap();
        own.write_to(dir.path());
        let (gateway, watched) = watched(self.config(&dir), self.clock.clone(), dir.path()).await;
        let config = self.config(&dir);
        Secured { address: gateway.public_addr(), gateway, config, _watched: watched, dir }
    }

    fn config(&self, dir: &TempDir) -> Config {
        let mut config = self.setup.config(dir.path());
        config.server.tls = (!self.plain).then(|| files(dir));
        (self.change)(&mut config);
        config
    }
}

fn files(dir: &TempDir) -> Tls {
    let (cert, key) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
    let chain = pem::certificates(&pem::read(&cert).unwrap(), pem::MAX_CHAIN).unwrap();
    let own = pem::private_key(&pem::read(&key).unwrap()).unwrap();
    Tls::Files { cert, key, identity: Identity::new(chain, &own).unwrap() }
}

/// The source of this name, to be changed.
pub fn source<'a>(config: &'a mut Config, name: &str) -> &'a mut Source {
    let source = config.sources.iter_mut().find(|source| source.name.as_str() == name).unwrap();
    Arc::get_mut(source).unwrap()
}

fn post() -> Post {
    Post::to("/hooks/open")
}

/// Reads to the end, whatever kind of end it is.
async fn rest(stream: &mut TcpStream) -> Vec<u8> {
    let mut all = Vec::new();
    let read = timeout(BOUND, stream.read_to_end(&mut all)).await.expect("it ends");
    drop(read);
    all
}

#[tokio::test]
async fn both_versions_are_spoken_and_stand_in_the_log() {
    let authority = Authority::new("roots");
    let gateway = Plan::new(OPEN).start(&authority.server(1)).await;
    for (version, name) in [(&TLS12, "TLSv1.2"), (&TLS13, "TLSv1.3")] {
        let client = Caller::trusting(&authority).version(version).ready();
        // Another body, so that it is no repeat.
        let post = post().body(format!("\"{name}\""));
        let answered = client.send(gateway.address, &post).await.unwrap();
        assert_eq!(status(&answered), Some(200), "{answered}");
        let id = answered.split("hookward-event-id: ").nth(1).unwrap();
        let line = lines::accepted(id.split("\r\n").next().unwrap()).await;
        assert_eq!((&line["tls"], &line["server_name"]), (&name.into(), &NAME.into()));

        let refused = Post::to("/nothing");
        assert_eq!(status(&client.send(gateway.address, &refused).await.unwrap()), Some(404));
        let line = lines::refusal(&refused.tag).await;
        assert_eq!((&line["tls"], &line["server_name"]), (&name.into(), &NAME.into()));
    }
}

#[tokio::test]
async fn a_plain_request_has_nothing_of_tls_in_its_log_line() {
    let gateway = setup(OPEN).start().await;
    let line = lines::accepted(&gateway.accepts(&post()).await).await;
    assert!(line.get("tls").is_none() && line.get("server_name").is_none(), "{line}");
}

#[tokio::test]
async fn a_name_that_the_certificate_does_not_have_and_no_name_get_the_same_certificate() {
    let authority = Authority::new("roots");
    let own = authority.issue(|params| {
        let other = ["other.example", "127.0.0.1"].map(str::to_owned).to_vec();
        let names = rcgen::CertificateParams::new(other).unwrap().subject_alt_names;
        params.subject_alt_names.extend(names);
    });
    let gateway = Plan::new(OPEN).start(&own).await;
    let client = Caller::trusting(&authority).ready();
    // An address is no server name: nothing is said then.
    for name in ["other.example", "127.0.0.1"] {
        let mut stream = client.connect_as(gateway.address, name).await.unwrap();
        assert_eq!(status(&ask(&mut stream, &post()).await.unwrap()), Some(200), "{name}");
    }
}

/// A ClientHello of this version that knows no other, with one cipher suite of that time.
fn old_hello(minor: u8) -> Vec<u8> {
    let body = [&[3, minor][..], &[7; 32], &[0], &[0, 2, 0xc0, 0x13], &[1, 0]].concat();
    let length = u8::try_from(body.len()).unwrap();
    let handshake = [&[1, 0, 0, length][..], &body].concat();
    [&[22, 3, 1, 0, length + 4][..], &handshake].concat()
}

#[tokio::test]
async fn older_versions_and_what_is_no_tls_are_turned_away_with_an_alert() {
    let authority = Authority::new("roots");
    let gateway = Plan::new(OPEN).start(&authority.server(1)).await;
    // rustls misses an extension that was new in 1.2 before it looks at the version.
    const HANDSHAKE_FAILURE: u8 = 40;
    for (case, bytes, alert) in [
        ("TLS 1.1", old_hello(2), Some(HANDSHAKE_FAILURE)),
        ("TLS 1.0", old_hello(1), Some(HANDSHAKE_FAILURE)),
        ("SSL 3", old_hello(0), Some(HANDSHAKE_FAILURE)),
        ("HTTP", b"POST /hooks/open HTTP/1.1\r\nHost: gw\r\n\r\n".to_vec(), None),
        ("HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), None),
        ("nothing", Vec::new(), None),
    ] {
        let mut stream = TcpStream::connect(gateway.address).await.unwrap();
        stream.write_all(&bytes).await.unwrap();
        stream.shutdown().await.unwrap();
        let said = rest(&mut stream).await;
        let is_alert = said.len() == 7 && said.starts_with(&[21, 3]) && said[5] == 2;
        assert!(said.is_empty() || is_alert, "{case}: {said:?}");
        assert!(alert.is_none_or(|alert| said.last() == Some(&alert)), "{case}: {said:?}");
    }
    let not_tls = lines::said("\"failure\":\"not TLS\"", "connections without a request").await;
    assert_eq!(not_tls["listener"], "public", "{not_tls}");
    assert!(not_tls["peer"].as_str().unwrap().starts_with("127.0.0.1:"), "{not_tls}");
    lines::said("\"failure\":\"no TLS version", "connections without a request").await;
    // The listener has not suffered.
    let client = Caller::trusting(&authority).ready();
    let answered = client.send(gateway.address, &post()).await.unwrap();
    assert_eq!(status(&answered), Some(200));
}

#[tokio::test]
async fn a_client_hello_on_the_plain_port_is_a_bad_request() {
    let gateway = setup(OPEN).start().await;
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    stream.write_all(&old_hello(3)).await.unwrap();
    let said = String::from_utf8(rest(&mut stream).await).unwrap();
    assert_eq!(status(&said), Some(400), "{said}");

    let client = Caller::trusting(&Authority::new("roots")).ready();
    let error = client.connect(gateway.address).await.unwrap_err();
    assert!(error.to_string().contains("corrupt message"), "{error}");
}

#[tokio::test]
async fn the_protocol_is_agreed_on_by_alpn() {
    let authority = Authority::new("roots");
    let gateway = Plan::new(OPEN).start(&authority.server(1)).await;
    let http1 = Some(&b"http/1.1"[..]);
    for (offered, agreed) in [
        (&["h2"][..], Some(&b"h2"[..])),
        (&["http/1.1", "h2"], Some(b"h2")),
        (&["http/1.1"], http1),
        (&["http/1.0", "http/1.1"], http1),
        (&[], None),
    ] {
        let client = Caller::trusting(&authority).protocols(offered).ready();
        let mut stream = client.connect(gateway.address).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), agreed, "{offered:?}");
        if agreed != Some(b"h2") {
            let answered = ask(&mut stream, &post()).await.unwrap();
            assert_eq!(status(&answered), Some(200), "{offered:?}");
        }
    }
    for offered in [&["http/1.0"][..], &["acme-tls/1"]] {
        let client = Caller::trusting(&authority).protocols(offered).ready();
        let error = client.connect(gateway.address).await.unwrap_err();
        assert!(error.to_string().contains("NoApplicationProtocol"), "{error}");
    }
}

#[tokio::test]
async fn a_new_certificate_is_for_new_connections_and_drops_none() {
    let authority = Authority::new("roots");
    let mut gateway = Plan::new(OPEN).start(&authority.server(0x5e01)).await;
    let client = Caller::trusting(&authority).ready();
    let mut old = client.connect(gateway.address).await.unwrap();
    assert_eq!(status(&ask(&mut old, &post()).await.unwrap()), Some(200));

    authority.server(0x5e02).write_to(gateway.dir.path());
    gateway.reload();
    lines::said("\"serial\":\"5e02\"", "certificate replaced").await;

    assert_eq!(status(&ask(&mut old, &post()).await.unwrap()), Some(200), "it goes on");
    assert_eq!(serial(&old), "5e01");
    // The client's session went with the old certificate: nothing else would show the new one.
    let mut new = client.connect(gateway.address).await.unwrap();
    assert_eq!(serial(&new), "5e02");
    assert_eq!(status(&ask(&mut new, &post()).await.unwrap()), Some(200));
}

#[tokio::test]
async fn the_same_certificate_again_leaves_sessions_alone() {
    let authority = Authority::new("roots");
    let mut gateway = Plan::new(OPEN).start(&authority.server(0x5a01)).await;
    let client = Caller::trusting(&authority).ready();
    client.send(gateway.address, &post()).await.unwrap();
    gateway.reload();
    lines::said("\"serial\":\"5a01\"", "certificate unchanged").await;
    let stream = client.connect(gateway.address).await.unwrap();
    assert_eq!(stream.get_ref().1.handshake_kind(), Some(HandshakeKind::Resumed));
}

#[tokio::test]
async fn the_end_of_the_certificate_is_told_in_time() {
    let authority = Authority::new("roots");
    // 2040-01-01, when it ends.
    let end = UnixMillis(2_208_988_800_000);
    let day = Duration::from_secs(86_400);
    for (serial, now, told) in [
        (0xe01, end.before(day * 20), Some(("WARN", "the certificate will expire"))),
        (0xe02, end.after(day), Some(("ERROR", "the certificate has expired"))),
        (0xe03, end.before(day * 22), None),
    ] {
        let clock = Clock::manual(now);
        let mut gateway = Plan::new(OPEN).at(clock).start(&authority.server(serial)).await;
        let acceptor = gateway.gateway.tls().unwrap();
        assert_eq!(acceptor.expires_at(), Some(end));
        let needle = format!("\"serial\":\"0{serial:x}\"");
        match told {
            Some((level, message)) => {
                assert_eq!(lines::said(&needle, message).await["level"], level);
            }
            None => {
                acceptor.check_expiry(now);
                assert_eq!(lines::count(&needle, "the certificate will expire"), 0);
                // One that is put in place later is looked at as well.
                let near = |params: &mut rcgen::CertificateParams| {
                    params.serial_number = Some(0xe04.into());
                    params.not_after = rcgen::date_time_ymd(2039, 12, 20);
                };
                authority.issue(near).write_to(gateway.dir.path());
                gateway.reload();
                let line = lines::said("\"serial\":\"0e04\"", "the certificate will expire").await;
                assert_eq!(line["days"], 10, "{line}");
            }
        }
        assert!(gateway.gateway.shutdown().await);
    }
}

#[tokio::test]
async fn a_handshake_that_takes_too_long_is_cut_off() {
    let authority = Authority::new("roots");
    let limit = Duration::from_millis(300);
    let plan = Plan::new(OPEN).with(move |config| config.server.handshake_timeout = limit);
    let gateway = plan.start(&authority.server(1)).await;
    let begun = Instant::now();

    let mut silent = TcpStream::connect(gateway.address).await.unwrap();
    assert_eq!(rest(&mut silent).await, b"");
    assert!(begun.elapsed() >= limit, "not before its time");

    // Each byte is early enough, all are not.
    let stream = TcpStream::connect(gateway.address).await.unwrap();
    let (mut read, mut write) = stream.into_split();
    let drip = async move {
        for byte in old_hello(3).into_iter().cycle() {
            if write.write_all(&[byte]).await.is_err() {
                break;
            }
            tokio::time::sleep(limit / 10).await;
        }
    };
    let mut said = Vec::new();
    tokio::select! {
        () = drip => {}
        ended = timeout(BOUND, read.read_to_end(&mut said)) => drop(ended.expect("it ends")),
    }
    assert_eq!(said, b"");
    lines::said("\"failure\":\"too slow\"", "connections without a request").await;
}

#[tokio::test]
async fn a_stop_does_not_wait_for_handshakes() {
    let authority = Authority::new("roots");
    let hour = Duration::from_secs(3600);
    let gateway = Plan::new(OPEN)
        .with(move |config| {
            config.server.handshake_timeout = hour;
            config.server.drain_timeout = hour;
        })
        .start(&authority.server(1))
        .await;
    let mut silent = TcpStream::connect(gateway.address).await.unwrap();
    // Its place in the accept queue is before that of the connection that is answered.
    let client = Caller::trusting(&authority).ready();
    client.send(gateway.address, &post()).await.unwrap();
    assert!(timeout(BOUND, gateway.gateway.shutdown()).await.expect("it stops"));
    assert_eq!(rest(&mut silent).await, b"");
}

#[tokio::test]
async fn a_client_that_has_said_all_still_gets_its_answer() {
    let authority = Authority::new("roots");
    let gateway = Plan::new(OPEN).start(&authority.server(1)).await;
    for version in [&TLS12, &TLS13] {
        let client = Caller::trusting(&authority).version(version).ready();
        // With a close_notify, as it should be.
        let mut stream = client.connect(gateway.address).await.unwrap();
        stream.write_all(&[post().head(), b"{}".to_vec()].concat()).await.unwrap();
        stream.shutdown().await.unwrap();
        assert_eq!(status(&answer(&mut stream).await.unwrap()), Some(200), "{version:?}");
        assert_eq!(stream.read(&mut [0; 1]).await.unwrap(), 0, "an orderly end");

        // And by closing TCP only.
        let mut stream = client.connect(gateway.address).await.unwrap();
        stream.write_all(&[post().head(), b"{}".to_vec()].concat()).await.unwrap();
        stream.flush().await.unwrap();
        stream.get_mut().0.shutdown().await.unwrap();
        assert_eq!(status(&answer(&mut stream).await.unwrap()), Some(200), "{version:?}");

        // A request that was cut off is none.
        let mut stream = client.connect(gateway.address).await.unwrap();
        let cut_off = post().declares(100);
        stream.write_all(&[cut_off.head(), b"{}".to_vec()].concat()).await.unwrap();
        stream.flush().await.unwrap();
        stream.get_mut().0.shutdown().await.unwrap();
        let answered = answer(&mut stream).await.unwrap_or_default();
        assert_ne!(status(&answered), Some(200), "{version:?}: {answered}");
    }
}

#[tokio::test]
async fn a_connection_that_is_let_go_is_closed_in_order() {
    let authority = Authority::new("roots");
    let gateway = Plan::new(OPEN)
        .with(|config| config.server.idle_timeout = Duration::from_millis(100))
        .start(&authority.server(1))
        .await;
    for version in [&TLS12, &TLS13] {
        let client = Caller::trusting(&authority).version(version).ready();
        let mut stream = client.connect(gateway.address).await.unwrap();
        assert_eq!(status(&ask(&mut stream, &post()).await.unwrap()), Some(200));
        // rustls calls an end without close_notify an error.
        let end = timeout(BOUND, stream.read(&mut [0; 1])).await.expect("it ends");
        assert_eq!(end.unwrap(), 0, "{version:?}: after standing idle");

        let mut stream = client.connect(gateway.address).await.unwrap();
        let last = post().header("Connection", "close");
        assert_eq!(status(&ask(&mut stream, &last).await.unwrap()), Some(200));
        let end = timeout(BOUND, stream.read(&mut [0; 1])).await.expect("it ends");
        assert_eq!(end.unwrap(), 0, "{version:?}: after the last answer");
    }
}

#[tokio::test]
async fn curl_is_answered() {
    let authority = Authority::new("roots");
    let gateway = Plan::new(OPEN).start(&authority.server(1)).await;
    let roots = gateway.dir.path().join("roots.pem");
    std::fs::write(&roots, &authority.pem).unwrap();
    let (port, address) = (gateway.address.port(), gateway.address);
    let mut curl = Command::new("curl");
    if curl.arg("--version").output().is_err() {
        return eprintln!("there is no curl on this machine");
    }
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--show-error", "--http1.1", "--max-time", "20", "--cacert"]);
    curl.arg(&roots).args(["--connect-to", &format!("{NAME}:{port}:{address}")]);
    curl.args(["--header", "Content-Type: application/json", "--data", "{}"]);
    curl.arg(format!("https://{NAME}:{port}/hooks/open"));
    let said = run(curl).await;
    assert_eq!(said.out, r#"{"received":true}"#, "{}", said.err);
}
