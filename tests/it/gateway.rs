//! A gateway in this process, with a directory of its own.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hookward::clock::Clock;
use hookward::config::{self, Config, Machine};
use hookward::gateway::Gateway;
use hookward::secret::Secret;
use sha2::{Digest, Sha256};
use tempfile::TempDir;
use tokio::task::spawn_blocking;

use crate::client::{Answer, Post};
use crate::leaks::{self, Watched};
use crate::lines;

/// The secret of this name, as every gateway here reads it with `{ env = "NAME" }`: its own for
/// each name, and base64 for those schemes that decode it.
pub fn secret(name: &str) -> String {
    let key = Sha256::digest(name);
    leaks::secret(&format!("{name}, decoded"), &key);
    let secret = STANDARD.encode(key);
    leaks::secret(name, secret.as_bytes());
    secret
}

/// The key behind a secret for the schemes that decode it.
pub fn decoded(name: &str) -> Secret {
    Secret::new(Sha256::digest(name).to_vec())
}

/// What is to be started.
#[derive(Clone, Debug)]
pub struct Setup {
    pub server: String,
    pub store: String,
    pub rest: String,
}

/// Sources, upstreams and routes, and otherwise what suits a test.
pub fn setup(rest: &str) -> Setup {
    Setup {
        server: "listen = \"127.0.0.1:0\"\n".to_owned(),
        store: "min_free = \"0B\"\n".to_owned(),
        rest: rest.to_owned(),
    }
}

impl Setup {
    /// Keys of `[server]`, instead of those that suit a test.
    pub fn server(mut self, keys: &str) -> Self {
        keys.clone_into(&mut self.server);
        self
    }

    /// Keys of `[store]`, instead of those that suit a test.
    pub fn store(mut self, keys: &str) -> Self {
        keys.clone_into(&mut self.store);
        self
    }

    pub fn text(&self) -> String {
        let Self { server, store, rest } = self;
        format!("[server]\n{server}\n[store]\n{store}\n{rest}\n")
    }

    pub fn config(&self, dir: &Path) -> Config {
        let env = |name: &str| Some(OsString::from(secret(name)));
        let text = self.text();
        match config::check_text(&dir.join("hookward.toml"), &text, &Machine { env: &env }) {
            Ok((config, _)) => config,
            Err(invalid) => {
                let problems: Vec<_> = invalid.problems.iter().map(ToString::to_string).collect();
                panic!("{}\n{text}", problems.join("\n"))
            }
        }
    }

    /// Starts it in a new directory.
    pub async fn start(&self) -> Running {
        self.start_in(tempfile::tempdir().unwrap()).await
    }

    /// Starts it in a new directory, with its configuration changed.
    pub async fn start_with(&self, change: impl FnOnce(&mut Config)) -> Running {
        let dir = tempfile::tempdir().unwrap();
        let mut config = self.config(dir.path());
        change(&mut config);
        start(config, dir).await
    }

    /// Starts it with the store of another one that was stopped.
    pub async fn start_in(&self, dir: TempDir) -> Running {
        start(self.config(dir.path()), dir).await
    }
}

async fn start(config: Config, dir: TempDir) -> Running {
    let (gateway, watched) = watched(config, Clock::System, dir.path()).await;
    let address = gateway.public_addr();
    Running { gateway, address, watched, dir }
}

/// Starts a gateway of this process in this directory. What it has left is searched when its watch ends.
pub async fn watched(config: Config, clock: Clock, dir: &Path) -> (Gateway, Watched) {
    lines::collect();
    let watched = Watched::begin(dir);
    (Gateway::start(config, clock).await.unwrap(), watched)
}

/// A gateway that runs.
pub struct Running {
    pub gateway: Gateway,
    pub address: SocketAddr,
    watched: Watched,
    dir: TempDir,
}

impl Running {
    pub async fn send(&self, post: &Post) -> Answer {
        post.send(self.address).await
    }

    /// Sends an event that must be accepted, and returns its id.
    pub async fn accepts(&self, post: &Post) -> String {
        let answer = self.send(post).await;
        assert_eq!(answer.status, 200, "{post:?}: {answer:?}");
        answer.assert_well_formed();
        answer.event_id().to_owned()
    }

    /// Sends a request that must be refused for this reason.
    pub async fn refuses(&self, case: &str, post: &Post, status: u16, reason: &str) -> Answer {
        let answer = self.send(post).await;
        assert_eq!(answer.status, status, "{case}: {answer:?}");
        answer.assert_well_formed();
        let line = lines::refusal(&post.tag).await;
        assert_eq!(line["reason"], reason, "{case}: {line}");
        assert_eq!(line["status"], status, "{case}: {line}");
        answer
    }

    pub fn store(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// Asks it what operators may see without asking for payloads, and stops it gracefully; its store stays.
    pub async fn stop(self) -> TempDir {
        let dir = self.dir.path().to_owned();
        for (question, answer) in spawn_blocking(move || leaks::answers(&dir)).await.unwrap() {
            leaks::answered(&question, &answer);
        }
        assert!(self.gateway.shutdown().await, "not everything is on stable storage");
        drop(self.watched);
        self.dir
    }
}
