//! Where it is looked: all that a gateway has said and left.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use serde_json::Value;
use tempfile::TempDir;

use super::needles::Needles;
use super::{ALL, secret};
use crate::lines;

/// What a gateway that runs may take for an answer. One that does not answer in that time is not asked
/// any more.
const ASKING: Duration = Duration::from_secs(2);
/// Questions to every gateway that runs when its test is over, beside the histories of some events.
const QUESTIONS: [&str; 5] = [
    "/metrics",
    "/api/v1/sources",
    "/api/v1/events?limit=500",
    "/api/v1/dead-letters?limit=500",
    "/api/v1/audit?limit=500",
];
/// So many of the newest events are asked for.
const HISTORIES: usize = 3;
/// The beginning of a segment of the journal whose frames are encrypted.
const ENCRYPTED: &[u8] = b"HOOKWARD\x02\0";

/// How many lines of this process's log were searched already.
static SEARCHED: Mutex<usize> = Mutex::new(0);

/// Each place in which something was found, and what.
pub type Found = BTreeMap<String, Vec<String>>;

/// A directory of its own for what a command puts aside, which goes with this.
pub struct Temporary(Option<TempDir>);

impl Temporary {
    /// Gives the command one, unless its test did.
    pub fn of(command: &mut Command) -> Self {
        if command.get_envs().any(|(name, _)| name == "TMPDIR") {
            return Self(None);
        }
        let dir = tempfile::tempdir().unwrap();
        command.env("TMPDIR", dir.path());
        Self(Some(dir))
    }

    pub fn path(&self) -> Option<&Path> {
        self.0.as_ref().map(TempDir::path)
    }

    /// What is found in it.
    pub fn search(&self, needles: &Needles, found: &mut Found) {
        for file in self.path().iter().flat_map(|path| files(path)) {
            look(needles, &file, found);
        }
    }

    /// To be called when the command has ended.
    pub fn assert_clean(&self) {
        let mut found = Found::new();
        self.search(&ALL, &mut found);
        assert!(found.is_empty(), "left behind: {found:#?}");
    }
}

/// A gateway's directory, from its start to its end. Dropped, it sees to it that nothing is found in what
/// the gateway has left there and in the log of this process.
pub struct Watched {
    dir: PathBuf,
    before: BTreeMap<PathBuf, (u64, Option<SystemTime>)>,
    /// The end of what is searched by itself.
    ends: bool,
}

impl Drop for Watched {
    fn drop(&mut self) {
        if self.ends && !std::thread::panicking() {
            let mut found = Found::new();
            self.search(&ALL, &mut found);
            lines::search(&SEARCHED, |line| ALL.search(line), &mut found);
            assert!(found.is_empty(), "told where it should not be: {found:#?}");
        }
    }
}

impl Watched {
    /// A gateway of this process begins in this directory.
    pub fn begin(dir: &Path) -> Self {
        let mut watched = Self::outside(dir);
        watched.ends = true;
        watched
    }

    /// A process begins in this directory, whose owner searches it.
    pub fn outside(dir: &Path) -> Self {
        note_secrets(dir);
        let before = files(dir).into_iter().map(|path| (path.clone(), state(&path))).collect();
        Self { dir: dir.to_owned(), before, ends: false }
    }

    /// What is found in files that are new or have changed.
    pub fn search(&self, needles: &Needles, found: &mut Found) {
        for path in files(&self.dir) {
            if self.before.get(&path) != Some(&state(&path)) && !self.is_the_tests(&path) {
                look(needles, &path, found);
            }
        }
    }

    /// Whether the test itself writes such files.
    fn is_the_tests(&self, path: &Path) -> bool {
        let own = path.strip_prefix(&self.dir).unwrap_or(path);
        let text = own.to_string_lossy();
        let in_store = own.starts_with("data");
        let config = [".toml", ".toml.new", ".pem", ".key"].iter().any(|end| text.ends_with(end));
        !in_store && (config || own.starts_with("secrets"))
    }
}

fn state(path: &Path) -> (u64, Option<SystemTime>) {
    path.metadata().map_or((0, None), |found| (found.len(), found.modified().ok()))
}

/// The regular files below, but for those of a journal that is not encrypted: they hold payload.
fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let (mut files, mut directories) = (Vec::new(), Vec::new());
    for path in entries.map(|entry| entry.path()) {
        // Neither links nor pipes: these are the test's.
        match path.symlink_metadata().map(|found| found.file_type()) {
            Ok(kind) if kind.is_dir() => directories.push(path),
            Ok(kind) if kind.is_file() => files.push(path),
            Ok(_) | Err(_) => {}
        }
    }
    // What was cut off a plain segment, or has lost its beginning, lies among the others.
    let plain = dir.ends_with("journal") && files.iter().any(|file| is_plain_segment(file));
    files.retain(|file| !is_plain_segment(file) && (!plain || is_encrypted(file)));
    directories.iter().for_each(|directory| files.extend(self::files(directory)));
    files
}

/// Whether this is a segment of a journal that is not encrypted.
fn is_plain_segment(file: &Path) -> bool {
    let is_named_so = file.extension().is_some_and(|extension| extension == "journal");
    (is_named_so || begins(file, &ENCRYPTED[..8])) && !is_encrypted(file)
}

fn is_encrypted(file: &Path) -> bool {
    begins(file, ENCRYPTED)
}

fn begins(file: &Path, expected: &[u8]) -> bool {
    let mut begin = vec![0; expected.len()];
    let read = std::fs::File::open(file).and_then(|mut file| file.read_exact(&mut begin));
    read.is_ok() && begin == expected
}

fn look(needles: &Needles, file: &Path, found: &mut Found) {
    // It may go at any moment.
    let Ok(bytes) = std::fs::read(file) else { return };
    let hits = needles.search(&bytes);
    if !hits.is_empty() {
        found.insert(file.display().to_string(), hits.into_iter().collect());
    }
}

/// Takes note of the secrets that the configuration in this directory names by files.
fn note_secrets(dir: &Path) {
    let text = std::fs::read_to_string(dir.join("hookward.toml")).unwrap_or_default();
    for name in text.split("file = \"").skip(1).filter_map(|rest| rest.split('"').next()) {
        if let Ok(value) = std::fs::read(dir.join(name)) {
            secret(&format!("in {name}"), &value);
        }
    }
}

/// What a running gateway answers over the socket in this directory, if it does: the question and the
/// whole answer.
pub fn answers(dir: &Path) -> Vec<(String, String)> {
    let mut answers = Vec::new();
    let mut questions: Vec<String> = QUESTIONS.map(str::to_owned).to_vec();
    while !questions.is_empty() {
        let question = questions.remove(0);
        let Ok(answer) = ask(dir, &question) else { break };
        if question.starts_with("/api/v1/events?") {
            let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
            let page: Value = serde_json::from_str(body).unwrap_or_default();
            let items = page["items"].as_array().into_iter().flatten();
            let ids = items.take(HISTORIES).filter_map(|item| item["id"].as_str());
            questions.extend(ids.map(|id| format!("/api/v1/events/{id}")));
        }
        answers.push((question, answer));
    }
    answers
}

fn ask(dir: &Path, question: &str) -> std::io::Result<String> {
    let mut stream = UnixStream::connect(dir.join("data/admin.sock"))?;
    stream.set_read_timeout(Some(ASKING))?;
    stream.set_write_timeout(Some(ASKING))?;
    let request = format!("GET {question} HTTP/1.1\r\nHost: local\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}
