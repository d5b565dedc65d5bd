//! The real binary on one store, started and killed again and again.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The key that valid events are signed with.
pub(crate) const KEY: &[u8] = b"the-key-that-the-senders-share-with-it";
/// For a start that replays a small journal, in a debug build on a busy machine.
const LONGEST_START: Duration = Duration::from_secs(60);

/// A gateway's place on disk and in the network.
pub(crate) struct Gateway {
    directory: PathBuf,
    public: SocketAddr,
    admin: SocketAddr,
    process: Option<Child>,
}

impl Gateway {
    /// A configuration with one source, whose events go to `app`.
    pub(crate) fn new(directory: &Path, app: SocketAddr) -> Self {
        let [public, admin] = free_addresses();
        let secrets = directory.join("secrets");
        fs::create_dir(&secrets).unwrap();
        fs::set_permissions(&secrets, Permissions::from_mode(0o700)).unwrap();
        for name in ["lab", "admin"] {
            let mut options = OpenOptions::new();
            let file = options.write(true).create_new(true).mode(0o600).open(secrets.join(name));
            file.unwrap().write_all(KEY).unwrap();
        }
        fs::write(directory.join("hookward.toml"), config(public, admin, app)).unwrap();
        Self { directory: directory.to_owned(), public, admin, process: None }
    }

    /// Where events go.
    pub(crate) fn public(&self) -> SocketAddr {
        self.public
    }

    /// Starts the process and does not wait for anything.
    pub(crate) fn spawn(&mut self) {
        assert!(self.process.is_none(), "it is running already");
        let log = File::options().create(true).append(true).open(self.log()).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_hookward"))
            .args(["run", "--config"])
            .arg(self.directory.join("hookward.toml"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn();
        self.process = Some(child.unwrap());
    }

    /// Returns once `/readyz` says 200.
    pub(crate) async fn wait_until_ready(&mut self) {
        let ready = async {
            while !is_ready(self.admin).await {
                let status = self.process.as_mut().unwrap().try_wait().unwrap();
                assert!(status.is_none(), "it ended by itself: {}", self.last_words());
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let in_time = tokio::time::timeout(LONGEST_START, ready).await;
        assert!(in_time.is_ok(), "it is not ready: {}", self.last_words());
    }

    /// SIGKILL, and waits until the process is gone.
    pub(crate) fn kill(&mut self) {
        let mut child = self.process.take().unwrap();
        let ended = child.try_wait().unwrap();
        assert!(ended.is_none(), "it ended by itself: {}", self.last_words());
        child.kill().unwrap();
        child.wait().unwrap();
    }

    fn log(&self) -> PathBuf {
        self.directory.join("hookward.log")
    }

    fn last_words(&self) -> String {
        let log = fs::read_to_string(self.log()).unwrap_or_default();
        let from = log.lines().count().saturating_sub(10);
        log.lines().skip(from).collect::<Vec<_>>().join("\n")
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        if let Some(mut child) = self.process.take() {
            // The test has failed already; what matters is that nothing is left behind.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn config(public: SocketAddr, admin: SocketAddr, app: SocketAddr) -> String {
    format!(
        r#"[server]
listen = "{public}"

[admin]
listen = "{admin}"
token = {{ file = "secrets/admin" }}

[store]
path = "data"

[source.lab]
auth = {{ kind = "hmac", header = "X-Lab-Signature", algorithm = "sha256", encoding = "hex", prefix = "sha256=", signed = "{{body}}" }}
keys = [{{ file = "secrets/lab" }}]
event.type = "/event"
event.id = "/id"
event.subject = "/order_id"

[upstream.app]
url = "http://{app}/webhooks"
timeout = "2s"
retry = {{ first = "50ms", max = "500ms", give_up = "1h" }}
"#
    )
}

/// Addresses that were free a moment ago: the gateway takes its ports from the configuration.
fn free_addresses() -> [SocketAddr; 2] {
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let listeners = [TcpListener::bind(any).unwrap(), TcpListener::bind(any).unwrap()];
    listeners.map(|listener| listener.local_addr().unwrap())
}

async fn is_ready(admin: SocketAddr) -> bool {
    let ask = async {
        let mut stream = TcpStream::connect(admin).await?;
        stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        std::io::Result::Ok(answer)
    };
    ask.await.is_ok_and(|answer| answer.starts_with(b"HTTP/1.1 200"))
}
