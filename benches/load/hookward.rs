//! The real gateway under load: the binary that cargo built beside this one, with a configuration
//! that sets what it must and leaves everything else at its default.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::process::{Ended, Process};
use crate::{Result, compare, event};

/// How long a start may take, a full rebuild of a large store included.
const LONGEST_START: Duration = Duration::from_secs(600);

/// A gateway's place on disk and in the network; it may be started there any number of times.
pub(crate) struct Hookward {
    directory: PathBuf,
    public: SocketAddr,
    admin: SocketAddr,
    log: String,
    process: Option<Process>,
    /// Bound and never listening: connections to it are refused, and nobody else gets it.
    refusing: TcpSocket,
}

/// Where events go.
#[derive(Clone, Copy)]
pub(crate) struct Upstream {
    pub(crate) name: &'static str,
    pub(crate) address: SocketAddr,
}

impl Hookward {
    /// An empty store under `parent`, and a configuration whose upstream is `upstream`, or one
    /// that refuses connections.
    pub(crate) fn new(parent: &Path, log: &str, upstream: Option<SocketAddr>) -> Result<Self> {
        let directory = parent.join("hookward");
        remove(&directory)?;
        fs::create_dir_all(directory.join("secrets"))?;
        fs::set_permissions(directory.join("secrets"), Permissions::from_mode(0o700))?;
        write_secret(&directory.join("secrets/bench"), event::KEY)?;
        write_secret(&directory.join("secrets/admin"), event::KEY)?;
        let refusing = TcpSocket::new_v4()?;
        refusing.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
        let [public, admin] = free_addresses()?;
        let log = log.to_owned();
        let hookward = Self { directory, public, admin, log, process: None, refusing };
        let address = upstream.map_or_else(|| hookward.refusing(), Ok)?;
        hookward.configure(None, &[Upstream { name: "app", address }])?;
        Ok(hookward)
    }

    /// An address that refuses connections.
    pub(crate) fn refusing(&self) -> Result<SocketAddr> {
        Ok(self.refusing.local_addr()?)
    }

    /// Writes the configuration, with another retention than the default if there is one (seconds).
    /// It holds from the next start on.
    pub(crate) fn configure(&self, retention: Option<u64>, upstreams: &[Upstream]) -> Result<()> {
        let text = config(self, retention, upstreams);
        Ok(fs::write(self.directory.join("hookward.toml"), text)?)
    }

    /// The store's directory.
    pub(crate) fn data(&self) -> PathBuf {
        self.directory.join("data")
    }

    /// From its first start on everything it stores is encrypted.
    pub(crate) fn encrypt(&self) -> Result<()> {
        write_secret(&self.directory.join("secrets/store"), "5a".repeat(32).as_bytes())?;
        let file = self.directory.join("hookward.toml");
        let plain = fs::read_to_string(&file)?;
        let key = "path = \"data\"\nencryption_key = { file = \"secrets/store\" }\n";
        Ok(fs::write(file, plain.replacen("path = \"data\"\n", key, 1))?)
    }

    /// Starts it and waits until it is ready. Returns how long that took.
    pub(crate) async fn start(&mut self) -> Result<Duration> {
        let log = File::options().create(true).append(true).open(self.log())?;
        let child = Command::new(env!("CARGO_BIN_EXE_hookward"))
            .args(["run", "--config"])
            .arg(self.directory.join("hookward.toml"))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        let begun = Instant::now();
        let process = self.process.insert(Process::new(child));
        while !is_ready(self.admin).await {
            if let Some(status) = process.ended()? {
                return Err(format!("hookward ended with {status}: {}", self.last_words()).into());
            }
            if begun.elapsed() > LONGEST_START {
                return Err("hookward is not ready".into());
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        Ok(begun.elapsed())
    }

    /// Where the providers' requests go.
    pub(crate) fn public(&self) -> SocketAddr {
        self.public
    }

    /// The running process.
    pub(crate) fn process(&mut self) -> Result<&mut Process> {
        self.process.as_mut().ok_or_else(|| "hookward is not running".into())
    }

    /// Deletes the index, which a start then has to rebuild from the journal.
    pub(crate) fn delete_index(&self) -> Result<()> {
        Ok(fs::remove_dir_all(self.directory.join("data/index"))?)
    }

    /// Every ack must have an event behind it, and every event here was acked: as told by something
    /// else than the process that acked them.
    pub(crate) fn check_stored(&self, acked: u64) -> Result<()> {
        let said = self.command(&["store", "stat", "--json"])?.said;
        let stat: serde_json::Value = serde_json::from_str(&said)?;
        let stored = stat["events"]["count"].as_u64().ok_or("a stat without a count")?;
        compare::check_stored(acked, stored)
    }

    /// Runs another command of the binary with this configuration to its end.
    pub(crate) fn command(&self, arguments: &[&str]) -> Result<Ended> {
        let output = self.directory.join("command.out");
        let child = Command::new(env!("CARGO_BIN_EXE_hookward"))
            .args(arguments)
            .arg("--config")
            .arg(self.directory.join("hookward.toml"))
            .stdin(Stdio::null())
            .stdout(File::create(&output)?)
            .spawn()?;
        Process::new(child).end(&output)
    }

    /// Ends it, if it runs, and removes everything it has written.
    pub(crate) fn remove(mut self) -> Result<()> {
        self.process = None;
        remove(&self.directory)
    }

    fn log(&self) -> PathBuf {
        self.directory.join("hookward.log")
    }

    fn last_words(&self) -> String {
        let log = fs::read_to_string(self.log()).unwrap_or_default();
        let lines: Vec<_> = log.lines().rev().take(5).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }
}

fn config(hookward: &Hookward, retention: Option<u64>, upstreams: &[Upstream]) -> String {
    let Hookward { public, admin, log, .. } = hookward;
    let (path, header) = (event::PATH, event::SIGNATURE_HEADER);
    let kept = retention.map_or_else(String::new, |s| format!("retention = \"{s}s\"\n"));
    let retry =
        retention.map_or_else(String::new, |s| format!("retry = {{ give_up = \"{s}s\" }}\n"));
    let upstreams: String = upstreams
        .iter()
        .map(|Upstream { name, address }| {
            format!("\n[upstream.{name}]\nurl = \"http://{address}/webhooks\"\n{retry}")
        })
        .collect();
    format!(
        r#"[server]
listen = "{public}"

[admin]
listen = "{admin}"
token = {{ file = "secrets/admin" }}

[store]
path = "data"
{kept}
[log]
level = "{log}"

[source.bench]
path = "{path}"
auth = {{ kind = "hmac", header = "{header}", algorithm = "sha256", encoding = "hex", prefix = "sha256=", signed = "{{body}}" }}
keys = [{{ file = "secrets/bench" }}]
event.type = "/event"
event.id = "/id"
event.time = "/created"
event.subject = "/data/order_id"
event.data = "/data"
{upstreams}"#
    )
}

/// Two addresses that were free a moment ago: the gateway takes its ports from the configuration.
fn free_addresses() -> Result<[SocketAddr; 2]> {
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let (a, b) = (std::net::TcpListener::bind(any)?, std::net::TcpListener::bind(any)?);
    Ok([a.local_addr()?, b.local_addr()?])
}

fn write_secret(path: &Path, secret: &[u8]) -> Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    Ok(file.write_all(secret)?)
}

fn remove(directory: &Path) -> Result<()> {
    match fs::remove_dir_all(directory) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(e.into()),
        _ => Ok(()),
    }
}

async fn is_ready(admin: SocketAddr) -> bool {
    matches!(get(admin, "/readyz").await, Ok(answer) if answer.starts_with("HTTP/1.1 200"))
}

/// One `GET` on a connection of its own: the whole answer, head and body.
pub(crate) async fn get(server: SocketAddr, path: &str) -> Result<String> {
    let mut stream = TcpStream::connect(server).await?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {server}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}
