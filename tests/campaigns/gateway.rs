//! The real binary on one store, started and ended again and again.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The key that valid events are signed with.
pub(crate) const KEY: &[u8] = b"the-key-that-the-senders-share-with-it";
/// The keys that a store is encrypted with, each of one hexadecimal digit.
const STORE_KEYS: [(&str, &str); 2] = [("store-1", "1"), ("store-2", "2")];
/// Where checkpoints of the audit trail go, in a gateway's directory.
const CHECKPOINTS: &str = "checkpoints.jsonl";
/// In each delivery: which of the gateway's lives it comes from, counted from 1.
pub(crate) const LIFE_HEADER: &str = "campaign-life";
/// For a start that replays a small journal, in a debug build on a busy machine.
const LONGEST_START: Duration = Duration::from_secs(60);
/// For a line to get from the gateway to its log.
const LONGEST_WORD: Duration = Duration::from_secs(10);
/// `drain_timeout` and then some.
const LONGEST_STOP: Duration = Duration::from_secs(60);

/// A gateway's place on disk and in the network.
pub(crate) struct Gateway {
    directory: PathBuf,
    public: SocketAddr,
    admin: SocketAddr,
    /// The program, with its arguments, that the gateway is run by; empty for none.
    wrapper: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    process: Option<Child>,
    life: u32,
}

/// What a campaign has configured.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// The store's directory.
    pub(crate) store: PathBuf,
    pub(crate) min_free: &'static str,
    /// Of events, and of deliveries as well.
    pub(crate) retention: &'static str,
    pub(crate) give_up: &'static str,
    /// Whether the store is encrypted.
    pub(crate) encrypted: bool,
}

impl Settings {
    /// The store's directory, and defaults.
    pub(crate) fn new(store: PathBuf) -> Self {
        Self { store, min_free: "0B", retention: "30d", give_up: "1h", encrypted: false }
    }
}

impl Gateway {
    /// A configuration in `directory` with one source, whose events go to `app`.
    pub(crate) fn new(directory: &Path, settings: &Settings, app: SocketAddr) -> Self {
        let [public, admin] = free_addresses();
        let secrets = directory.join("secrets");
        fs::create_dir(&secrets).unwrap();
        fs::set_permissions(&secrets, Permissions::from_mode(0o700)).unwrap();
        let store_keys = STORE_KEYS.map(|(name, digit)| (name, digit.repeat(64).into_bytes()));
        let shared = ["lab", "admin"].map(|name| (name, KEY.to_vec()));
        for (name, bytes) in shared.into_iter().chain(store_keys) {
            let mut options = OpenOptions::new();
            let file = options.write(true).create_new(true).mode(0o600).open(secrets.join(name));
            file.unwrap().write_all(&bytes).unwrap();
        }
        let config = config(settings, public, admin, app, &directory.join(CHECKPOINTS));
        fs::write(directory.join("hookward.toml"), config).unwrap();
        Self {
            directory: directory.to_owned(),
            public,
            admin,
            wrapper: Vec::new(),
            environment: Vec::new(),
            process: None,
            life: 0,
        }
    }

    /// Counts its lives on from another's.
    pub(crate) fn after(mut self, life: u32) -> Self {
        self.life = life;
        self
    }

    /// Where it appends the checkpoints of its audit trail.
    pub(crate) fn checkpoints(&self) -> PathBuf {
        self.directory.join(CHECKPOINTS)
    }

    /// Where events go.
    pub(crate) fn public(&self) -> SocketAddr {
        self.public
    }

    /// Where operators go.
    pub(crate) fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// Which start this is, counted from 1.
    pub(crate) fn life(&self) -> u32 {
        self.life
    }

    /// From the next start on it is run by this program.
    pub(crate) fn wrap(&mut self, wrapper: impl IntoIterator<Item = impl Into<OsString>>) {
        self.wrapper = wrapper.into_iter().map(Into::into).collect();
    }

    /// From the next start on this stands in its environment.
    pub(crate) fn set_environment(&mut self, variables: &[(&str, &Path)]) {
        let owned = |(name, value): &(&str, &Path)| (OsString::from(name), (*value).into());
        self.environment = variables.iter().map(owned).collect();
    }

    /// Starts the process and does not wait for anything. Each life has a log of its own.
    pub(crate) fn spawn(&mut self) {
        assert!(self.process.is_none(), "it is running already");
        self.life += 1;
        let _ = fs::rename(self.log_file(), self.directory.join("hookward.log.before"));
        let log = File::create(self.log_file()).unwrap();
        let binary = binary();
        let mut command = match self.wrapper.split_first() {
            None => Command::new(binary),
            Some((program, arguments)) => {
                let mut command = Command::new(program);
                command.args(arguments).arg(binary);
                command
            }
        };
        command
            .args(["run", "--config"])
            .arg(self.directory.join("hookward.toml"))
            .env("CAMPAIGN_LIFE", self.life.to_string())
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        self.process = Some(command.spawn().unwrap());
    }

    /// Starts it and waits until it is ready.
    pub(crate) async fn start(&mut self) {
        self.spawn();
        self.wait_until_ready().await;
    }

    /// Returns once `/readyz` says 200.
    pub(crate) async fn wait_until_ready(&mut self) {
        let ready = async {
            while self.readiness().await != Some(200) {
                let status = self.process.as_mut().unwrap().try_wait().unwrap();
                assert!(status.is_none(), "it ended by itself: {}", self.last_words());
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let in_time = tokio::time::timeout(LONGEST_START, ready).await;
        assert!(in_time.is_ok(), "it does not get ready: {}", self.last_words());
    }

    /// Returns once it listens to providers, or has ended, with its status then. It may refuse all
    /// that they send.
    pub(crate) async fn wait_until_it_listens(&mut self) -> Option<ExitStatus> {
        let decided = async {
            loop {
                if let Some(status) = self.process.as_mut().unwrap().try_wait().unwrap() {
                    self.process = None;
                    return Some(status);
                }
                if TcpStream::connect(self.public).await.is_ok() {
                    return None;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let decided = tokio::time::timeout(LONGEST_START, decided).await;
        decided.unwrap_or_else(|_| panic!("neither runs nor ends"))
    }

    /// What `/readyz` answers; `None` for nothing.
    pub(crate) async fn readiness(&self) -> Option<u16> {
        let answer = self.ask("/readyz").await?;
        answer.get(9..12)?.parse().ok()
    }

    /// How many deliveries wait, as the metrics say.
    pub(crate) async fn backlog(&self) -> Option<u64> {
        let answer = self.ask("/metrics").await?;
        let line = answer.lines().find(|line| line.starts_with("hookward_backlog_events{"))?;
        line.split(' ').next_back()?.parse().ok()
    }

    async fn ask(&self, path: &str) -> Option<String> {
        let token = std::str::from_utf8(KEY).unwrap();
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n\
             Connection: close\r\n\r\n"
        );
        let mut stream = TcpStream::connect(self.admin).await.ok()?;
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.ok()?;
        Some(answer)
    }

    /// SIGKILL, and waits until the process is gone.
    pub(crate) fn kill(&mut self) {
        let mut child = self.process.take().unwrap();
        let ended = child.try_wait().unwrap();
        assert!(ended.is_none(), "it ended by itself: {}", self.last_words());
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// SIGTERM, without waiting.
    pub(crate) fn ask_to_stop(&self) {
        self.signal(Signal::TERM);
    }

    fn signal(&self, signal: Signal) {
        let pid = self.process.as_ref().unwrap().id();
        let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// SIGTERM, and waits until it has ended in order.
    pub(crate) async fn stop(&mut self) {
        self.ask_to_stop();
        let ended = async {
            loop {
                if let Some(status) = self.process.as_mut().unwrap().try_wait().unwrap() {
                    return status;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let status = tokio::time::timeout(LONGEST_STOP, ended).await.unwrap();
        self.process = None;
        assert!(status.success(), "it stopped with {status}: {}", self.last_words());
    }

    /// From the next reload on new segments are under the other one of the store's keys.
    pub(crate) fn turn_keys(&self) {
        let path = self.directory.join("hookward.toml");
        let config = fs::read_to_string(&path).unwrap();
        let [first, second] = STORE_KEYS.map(|(name, _)| key_file(name));
        let keys = |a: &str, b: &str| format!("encryption_key = [{a}, {b}]");
        let (now, other) = (keys(&first, &second), keys(&second, &first));
        let turned = match config.contains(&now) {
            true => config.replace(&now, &other),
            false => config.replace(&other, &now),
        };
        assert_ne!(turned, config, "the store is encrypted");
        fs::write(path, turned).unwrap();
    }

    /// SIGHUP, without waiting.
    pub(crate) fn ask_to_reload(&self) {
        self.signal(Signal::HUP);
    }

    /// Starts `hookward store rekey`.
    pub(crate) fn rekey(&self) -> Child {
        let mut command = Command::new(binary());
        command.args(["store", "rekey", "--config"]).arg(self.directory.join("hookward.toml"));
        command.env("CAMPAIGN_LIFE", "0").stdin(Stdio::null());
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    }

    /// Whatever is left of the process is ended.
    pub(crate) fn end(&mut self) {
        if let Some(mut child) = self.process.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// What this life has logged.
    pub(crate) fn log(&self) -> String {
        let log = fs::read(self.log_file()).unwrap_or_default();
        String::from_utf8_lossy(&log).into_owned()
    }

    /// Whether this life says so in its log, which is written a little later than it is told.
    pub(crate) async fn says(&self, words: &str) -> bool {
        let said = async {
            while !self.log().contains(words) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(LONGEST_WORD, said).await.is_ok()
    }

    /// What it has complained of, and its last lines.
    pub(crate) fn last_words(&self) -> String {
        let log = self.log();
        let (mut lines, all): (Vec<_>, _) = (Vec::new(), log.lines().count());
        for (at, line) in log.lines().enumerate() {
            let told = !line.contains(r#""INFO""#) && !line.contains("hookward::config");
            if (told && lines.len() < 40) || at + 5 >= all {
                lines.push(line);
            }
        }
        lines.join("\n")
    }

    fn log_file(&self) -> PathBuf {
        self.directory.join("hookward.log")
    }
}

/// The one that was built with this, or another to be put to the test.
pub(crate) fn binary() -> OsString {
    std::env::var_os("HOOKWARD_CAMPAIGN_BINARY")
        .unwrap_or_else(|| env!("CARGO_BIN_EXE_hookward").into())
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // The test has failed already; what matters is that nothing is left behind.
        self.end();
    }
}

fn config(
    settings: &Settings,
    public: SocketAddr,
    admin: SocketAddr,
    app: SocketAddr,
    checkpoints: &Path,
) -> String {
    let Settings { store, min_free, retention, give_up, encrypted } = settings;
    let (store, checkpoints) = (store.display(), checkpoints.display());
    let [first, second] = STORE_KEYS.map(|(name, _)| key_file(name));
    let encryption = match encrypted {
        true => format!("encryption_key = [{first}, {second}]"),
        false => String::new(),
    };
    format!(
        r#"[server]
listen = "{public}"

[admin]
listen = "{admin}"
token = {{ file = "secrets/admin" }}

[store]
path = "{store}"
min_free = "{min_free}"
retention = "{retention}"
{encryption}

[audit]
checkpoints = {{ file = "{checkpoints}" }}

[source.lab]
auth = {{ kind = "hmac", header = "X-Lab-Signature", algorithm = "sha256", encoding = "hex", prefix = "sha256=", signed = "{{body}}" }}
keys = [{{ file = "secrets/lab" }}]
event.type = "/event"
event.id = "/id"
event.subject = "/order_id"

[upstream.app]
url = "http://{app}/webhooks"
headers = {{ {LIFE_HEADER} = {{ env = "CAMPAIGN_LIFE" }} }}
timeout = "30s"
retry = {{ first = "50ms", max = "500ms", give_up = "{give_up}" }}
"#
    )
}

fn key_file(name: &str) -> String {
    format!("{{ file = \"secrets/{name}\" }}")
}

/// Addresses that were free a moment ago: the gateway takes its ports from the configuration.
fn free_addresses() -> [SocketAddr; 2] {
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let listeners = [TcpListener::bind(any).unwrap(), TcpListener::bind(any).unwrap()];
    listeners.map(|listener| listener.local_addr().unwrap())
}
