//! Pebble, an ACME server for tests (Debian's package `pebble`), with a name server that sends every
//! name to this machine. Refuses one nonce in six, as an authority may at any time.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::process::{Command, Stdio};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU16, Ordering};

use rcgen::CertificateParams;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use serde_json::json;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Duration, sleep, timeout};

use crate::client::BOUND;
use crate::pki::{Authority, Caller};
use crate::process::Process;

/// A port of this machine that is free, and that the system gives to nobody by itself.
pub fn free_port() -> u16 {
    static NEXT: LazyLock<AtomicU16> = LazyLock::new(|| AtomicU16::new(fastrand::u16(..)));
    loop {
        let port = 20_000 + NEXT.fetch_add(1, Ordering::Relaxed) % 10_000;
        let at = (Ipv4Addr::LOCALHOST, port);
        if TcpListener::bind(at).is_ok() && UdpSocket::bind(at).is_ok() {
            return port;
        }
    }
}

/// An authority that runs, unless it is stopped.
pub struct Pebble {
    /// Whose certificate its own HTTPS has.
    pub https: Authority,
    acme: u16,
    management: u16,
    names: u16,
    dir: TempDir,
    running: Vec<Process>,
}

impl Pebble {
    /// One that looks for names at this port, and issues certificates for so many seconds. `None`,
    /// and a word about it, when pebble is not installed.
    #[expect(clippy::print_stderr, reason = "so that nobody takes it for tested")]
    pub async fn start(tls_port: u16, validity: u32) -> Option<Self> {
        if !is_installed() {
            eprintln!("skipped: pebble is not installed (apt-get install pebble)");
            return None;
        }
        let (dir, https) = (tempfile::tempdir().unwrap(), Authority::new("pebble's HTTPS"));
        let own = https.issue(|params| {
            let names = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
            params.subject_alt_names = names.subject_alt_names;
        });
        own.write_to(dir.path());
        let (acme, management, names) = (free_port(), free_port(), free_port());
        let config = json!({ "pebble": {
            "listenAddress": format!("127.0.0.1:{acme}"),
            "managementListenAddress": format!("127.0.0.1:{management}"),
            "certificate": "cert.pem",
            "privateKey": "key.pem",
            "httpPort": 1,
            "tlsPort": tls_port,
            "certificateValidityPeriod": validity,
        }});
        std::fs::write(dir.path().join("pebble.json"), config.to_string()).unwrap();
        let mut pebble = Self { https, acme, management, names, dir, running: Vec::new() };
        pebble.run().await;
        Some(pebble)
    }

    /// Starts it, with nothing of what it knew before, its own root included.
    pub async fn run(&mut self) {
        let mut names = Command::new("pebble-challtestsrv");
        names.args(["-defaultIPv6", "", "-http01", "", "-https01", "", "-tlsalpn01", ""]);
        names.arg("-dns01").arg(format!("127.0.0.1:{}", self.names));
        names.arg("-management").arg(format!("127.0.0.1:{}", free_port()));
        let mut pebble = Command::new("pebble");
        pebble.args(["-config", "pebble.json"]);
        pebble.arg("-dnsserver").arg(format!("127.0.0.1:{}", self.names));
        pebble.env("PEBBLE_VA_NOSLEEP", "1").env("PEBBLE_WFE_NONCEREJECT", "15");
        for mut command in [names, pebble] {
            command.current_dir(self.dir.path()).stdin(Stdio::null());
            self.running.push(Process::start(command));
        }
        for port in [self.acme, self.management] {
            reachable((Ipv4Addr::LOCALHOST, port).into()).await;
        }
    }

    /// From here on nobody can reach it.
    pub fn stop(&mut self) {
        self.running.clear();
    }

    pub fn directory(&self) -> String {
        format!("https://127.0.0.1:{}/dir", self.acme)
    }

    /// How many orders it has taken.
    pub fn orders(&self) -> usize {
        let said = self.running.iter().flat_map(Process::said);
        said.filter(|line| line.contains("Added order")).count()
    }

    /// The root of what it issues.
    pub async fn root(&self) -> CertificateDer<'static> {
        let client = Caller::trusting(&self.https).ready();
        let to = (Ipv4Addr::LOCALHOST, self.management).into();
        let mut stream = client.connect_as(to, "127.0.0.1").await.unwrap();
        let request = b"GET /roots/0 HTTP/1.1\r\nHost: pebble\r\nConnection: close\r\n\r\n";
        stream.write_all(request).await.unwrap();
        let mut answer = Vec::new();
        drop(timeout(BOUND, stream.read_to_end(&mut answer)).await.expect("an answer in time"));
        CertificateDer::from_pem_slice(&answer).unwrap()
    }
}

fn is_installed() -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let there = |name| std::env::split_paths(&path).any(|dir| dir.join(name).is_file());
    there("pebble") && there("pebble-challtestsrv")
}

async fn reachable(address: SocketAddr) {
    let connect = async {
        while TcpStream::connect(address).await.is_err() {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(BOUND, connect).await.expect("pebble starts");
}
