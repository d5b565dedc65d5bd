//! The binary, run as a user would.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::{oneshot, watch};
use tokio::time::timeout;

use crate::client::BOUND;
use crate::gateway::secret;

/// The environment that holds secrets: every one of these is set, and nothing else is.
pub const VARIABLES: [&str; 5] = ["LAB", "APP", "TOKEN", "ADMIN", "NOVAMED"];

/// The command, with nothing of this process's environment.
pub fn hookward(dir: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hookward"));
    command.args(args).current_dir(dir).stdin(Stdio::null()).env_clear();
    command.envs(VARIABLES.map(|name| (name, secret(name))));
    command
}

/// What a command that ends by itself has said.
#[derive(Debug, PartialEq, Eq)]
pub struct Said {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

/// Runs a command to its end. One that does not end is killed: then the test has failed.
pub async fn run(command: Command) -> Said {
    run_within(BOUND, command).await
}

/// The same, for one that takes its time.
pub async fn run_within(bound: Duration, mut command: Command) -> Said {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let out = all(child.stdout.take().unwrap());
    let err = all(child.stderr.take().unwrap());
    let Ok((Ok(out), Ok(err))) = timeout(bound, async { (out.await, err.await) }).await else {
        drop(child.kill());
        drop(child.wait());
        panic!("{command:?} goes on");
    };
    Said { code: child.wait().unwrap().code(), out, err }
}

fn all(mut output: impl Read + Send + 'static) -> oneshot::Receiver<String> {
    let (said, all) = oneshot::channel();
    std::thread::spawn(move || {
        let mut text = String::new();
        output.read_to_string(&mut text).unwrap();
        drop(said.send(text));
    });
    all
}

/// A process that goes on until it is told to stop.
pub struct Process {
    child: Child,
    said: watch::Receiver<Vec<String>>,
}

impl Drop for Process {
    fn drop(&mut self) {
        // Only when a test has failed is it still there.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Process {
    pub fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (sender, said) = watch::channel(Vec::new());
        let sender = Arc::new(sender);
        listen(child.stdout.take().unwrap(), Arc::clone(&sender));
        listen(child.stderr.take().unwrap(), sender);
        Self { child, said }
    }

    /// Starts `run` and waits until it takes requests. Returns where it listens, publicly and for
    /// operators.
    pub async fn serve(dir: &Path) -> (Self, SocketAddr, Option<SocketAddr>) {
        let mut process = Self::start(hookward(dir, &["run", "--config", "hookward.toml"]));
        let started = process.line("\"message\":\"started\"").await;
        let started: Value = serde_json::from_str(&started).unwrap();
        let address = |name: &str| started[name].as_str().map(|address| address.parse().unwrap());
        let public = address("listen").unwrap();
        (process, public, address("admin"))
    }

    /// Waits until it has said this, and returns the line.
    pub async fn line(&mut self, needle: &str) -> String {
        let fits = |line: &&String| line.contains(needle);
        let found = |lines: &Vec<String>| lines.iter().any(|line| line.contains(needle));
        let waited = timeout(BOUND, self.said.wait_for(found)).await;
        let is_there = matches!(waited, Ok(Ok(_)));
        drop(waited);
        assert!(is_there, "{needle} was not said: {:#?}", self.said());
        self.said().iter().find(fits).unwrap().clone()
    }

    /// Waits until it has said this so often, and returns the lines.
    pub async fn lines(&mut self, needle: &str, times: usize) -> Vec<String> {
        let fits = |line: &&String| line.contains(needle);
        let enough = |lines: &Vec<String>| lines.iter().filter(fits).count() >= times;
        let waited = timeout(BOUND, self.said.wait_for(enough)).await;
        let is_enough = matches!(waited, Ok(Ok(_)));
        drop(waited);
        assert!(is_enough, "{needle} was not said {times} times: {:#?}", self.said());
        self.said().into_iter().filter(|line| line.contains(needle)).collect()
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn said(&self) -> Vec<String> {
        self.said.borrow().clone()
    }

    /// Sends a signal, by the name that `kill` knows it by.
    pub fn signal(&self, name: &str) {
        let kill = format!("kill -{name} {}", self.child.id());
        assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
    }

    /// Waits for its end, which is close, and returns its exit code.
    pub async fn end(&mut self) -> Option<i32> {
        // Its output is closed when it ends, and not before.
        let silent = async { while self.said.changed().await.is_ok() {} };
        let ended = timeout(BOUND, silent).await.is_ok();
        assert!(ended, "it goes on: {:#?}", self.said());
        self.child.wait().unwrap().code()
    }
}

fn listen(output: impl Read + Send + 'static, said: Arc<watch::Sender<Vec<String>>>) {
    std::thread::spawn(move || {
        for line in BufReader::new(output).lines() {
            let line = line.unwrap();
            said.send_modify(|lines| lines.push(line));
        }
    });
}
