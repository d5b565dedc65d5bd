//! The binary, run as a user would.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::{oneshot, watch};
use tokio::time::timeout;

use crate::client::BOUND;
use crate::gateway::secret;
use crate::leaks::{self, Found, Needles, Temporary, Watched};

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
    let temporary = is_ours(&command).then(|| Temporary::of(&mut command));
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let out = all(child.stdout.take().unwrap());
    let err = all(child.stderr.take().unwrap());
    let Ok((Ok(out), Ok(err))) = timeout(bound, async { (out.await, err.await) }).await else {
        drop(child.kill());
        drop(child.wait());
        panic!("{command:?} goes on");
    };
    let code = child.wait().unwrap().code();
    if let Some(temporary) = temporary {
        leaks::printed(&command, &out, &err);
        temporary.assert_clean();
    }
    Said { code, out, err }
}

/// Whether it runs Hookward, and not something that a test needs beside it.
fn is_ours(command: &Command) -> bool {
    command.get_program() == env!("CARGO_BIN_EXE_hookward")
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

/// A process that goes on until it is told to stop. When it has ended, nothing that was secret or payload
/// may stand in what it has said and left.
pub struct Process {
    child: Child,
    said: watch::Receiver<Vec<String>>,
    readers: Vec<JoinHandle<()>>,
    left: Option<Left>,
}

/// Where a gateway leaves something.
struct Left {
    dir: PathBuf,
    files: Watched,
    temporary: Temporary,
    /// What it has answered to the harness: nothing before it was asked.
    answers: Option<Vec<(String, String)>>,
}

impl Drop for Process {
    fn drop(&mut self) {
        if std::thread::panicking() {
            drop(self.child.kill());
            drop(self.child.wait());
            return;
        }
        self.ask();
        drop(self.child.kill());
        drop(self.child.wait());
        for reader in self.readers.drain(..) {
            reader.join().expect("what it says is text");
        }
        let found = self.search(leaks::all());
        assert!(found.is_empty(), "told where it should not be: {found:#?}");
    }
}

impl Process {
    pub fn start(mut command: Command) -> Self {
        let left = is_ours(&command).then(|| {
            let temporary = Temporary::of(&mut command);
            let dir = command.get_current_dir().unwrap().to_owned();
            Left { files: Watched::outside(&dir), dir, temporary, answers: None }
        });
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (sender, said) = watch::channel(Vec::new());
        let sender = Arc::new(sender);
        let readers = vec![
            listen(child.stdout.take().unwrap(), Arc::clone(&sender)),
            listen(child.stderr.take().unwrap(), sender),
        ];
        Self { child, said, readers, left }
    }

    /// Asks a gateway what operators may see without asking for payloads, once, while it runs.
    fn ask(&mut self) {
        if let Some(left) = self.left.as_mut().filter(|left| left.answers.is_none()) {
            left.answers = Some(leaks::answers(&left.dir));
        }
    }

    /// What of this is found in all that it has said, answered and left.
    pub fn search(&self, needles: &Needles) -> Found {
        let mut found = Found::new();
        let Some(left) = &self.left else { return found };
        let said = self.said().into_iter().map(|line| (format!("it said: {line}"), line));
        let answers = left.answers.iter().flatten();
        let answers = answers.map(|(asked, text)| (format!("{asked}: {text}"), text.clone()));
        for (place, text) in said.chain(answers) {
            let hits = needles.search(text.as_bytes());
            if !hits.is_empty() {
                found.insert(place, hits.into_iter().collect());
            }
        }
        left.files.search(needles, &mut found);
        left.temporary.search(needles, &mut found);
        found
    }

    /// Its own directory for what it puts aside.
    pub fn temporary(&self) -> &Path {
        self.left.as_ref().and_then(|left| left.temporary.path()).unwrap()
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
    pub fn signal(&mut self, name: &str) {
        if matches!(name, "TERM" | "INT" | "KILL") {
            self.ask();
        }
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

fn listen(
    output: impl Read + Send + 'static,
    said: Arc<watch::Sender<Vec<String>>>,
) -> JoinHandle<()> {
    std::thread::spawn(move || {
        for line in BufReader::new(output).lines() {
            let line = line.unwrap();
            said.send_modify(|lines| lines.push(line));
        }
    })
}
