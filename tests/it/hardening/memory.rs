//! Who gets at the process's memory, in which keys and patients' data are: no disk by a crash, and nobody but
//! root.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::{chmod, configured, tree};
use crate::client::{BOUND, Post};
use crate::gateway::secret;
use crate::process::hookward;

/// Runs a shell with no limit on core dumps; what it starts inherits that.
fn unlimited(dir: &Path, script: &str) -> Command {
    let plain = hookward(dir, &[]);
    let mut shell = Command::new("sh");
    shell.current_dir(dir).stdin(Stdio::null()).env_clear();
    for (name, value) in plain.get_envs() {
        shell.env(name, value.unwrap());
    }
    shell.arg("-c").arg(format!("ulimit -c unlimited; {script}")).arg("sh");
    shell.arg(plain.get_program());
    shell
}

/// Whether a process that dies of this signal leaves a core where nothing forbids it.
fn leaves_a_core(signal: &str) -> bool {
    let dir = tempfile::tempdir().unwrap();
    let ended = unlimited(dir.path(), &format!("kill -{signal} $$")).status().unwrap();
    ended.core_dumped()
}

/// Memory is full of keys and of patients' data while requests are in hand, and a crash writes none of it
/// to a disk.
#[tokio::test]
async fn a_crash_under_load_leaves_no_core() {
    // Not SIGQUIT: what was started in the background of a shell ignores it.
    for signal in ["ABRT", "SEGV"] {
        if !leaves_a_core(signal) {
            println!("no core of SIG{signal} is written here at all: nothing is shown by that");
        }
        let dir = configured();
        let mut command = unlimited(dir.path(), "exec \"$1\" run --config hookward.toml");
        let mut process = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut log = BufReader::new(process.stderr.take().unwrap()).lines();
        let started = log.find(|line| line.as_ref().unwrap().contains("\"message\":\"started\""));
        let started: Value = serde_json::from_str(&started.unwrap().unwrap()).unwrap();
        let public = started["listen"].as_str().unwrap().parse().unwrap();
        let rest = std::thread::spawn(move || log.map(Result::unwrap).collect::<Vec<_>>());
        let limit = fs::read_to_string(format!("/proc/{}/limits", process.id())).unwrap();
        let core = limit.lines().find(|line| line.starts_with("Max core file size")).unwrap();
        assert!(core.split_whitespace().any(|word| word == "0"), "{core}");
        // In hand: bodies that are not whole yet. Beside them, others come and are stored.
        let mut in_hand = Vec::new();
        for n in 0..8 {
            let body = format!("{{\"patient\":\"Jane Q. Doe the {n}th\"}}");
            let post = Post::to("/hooks/lab").body(body);
            let mut connection = post.connect(public).await;
            connection.write(&post.head()).await;
            connection.write(&post.bytes()[..20]).await;
            in_hand.push(connection);
            assert_eq!(post.send(public).await.status, 200);
        }
        let kill = format!("kill -{signal} {}", process.id());
        let begun = Instant::now();
        // Rust's own handler of SIGSEGV takes the first one, which no fault brought about, for nothing.
        let ended = loop {
            Command::new("sh").args(["-c", &kill]).stderr(Stdio::null()).status().unwrap();
            sleep(Duration::from_millis(50)).await;
            if let Some(ended) = process.try_wait().unwrap() {
                break ended;
            }
            assert!(begun.elapsed() < BOUND, "SIG{signal}: it goes on");
        };
        assert!(ended.signal().is_some(), "SIG{signal}: {ended:?}");
        assert!(!ended.core_dumped(), "SIG{signal}: {ended:?}");
        let cores = tree(dir.path())
            .into_iter()
            .filter(|path| path.file_name().unwrap().to_string_lossy().contains("core"));
        let cores: Vec<_> = cores.collect();
        assert!(cores.is_empty(), "SIG{signal}: {cores:?}");
        crate::leaks::answered("the log of a crash", &rest.join().unwrap().join("\n"));
    }
}

/// Another user, and another process of the same user, can neither read its memory nor its environment,
/// nor trace it.
#[tokio::test]
async fn nobody_but_root_looks_into_the_process() {
    const SERVICE: u32 = 61_990;
    const STRANGER: u32 = 61_991;
    if !rustix::process::geteuid().is_root() {
        println!("skipped: only root can start processes of two other users");
        return;
    }
    let dir = configured();
    // The binary may lie where others cannot go.
    let binary = dir.path().join("gateway");
    fs::copy(hookward(dir.path(), &[]).get_program(), &binary).unwrap();
    for path in tree(dir.path()) {
        std::os::unix::fs::chown(&path, Some(SERVICE), Some(SERVICE)).unwrap();
    }
    chmod(&binary, 0o500);
    let mut command = Command::new(&binary);
    command.args(["run", "--config", "hookward.toml"]).current_dir(dir.path()).env_clear();
    command.env("ADMIN", secret("ADMIN")).uid(SERVICE).gid(SERVICE);
    let mut process = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut log = BufReader::new(process.stderr.take().unwrap()).lines();
    assert!(log.any(|line| line.unwrap().contains("\"message\":\"started\"")), "it runs");
    let of = |uid: u32, script: String| {
        let mut shell = Command::new("sh");
        shell.args(["-c", &script]).env_clear().env("PATH", "/usr/bin:/bin").current_dir("/");
        shell.uid(uid).gid(uid).stdin(Stdio::null()).output().unwrap()
    };
    let id = process.id();
    for uid in [SERVICE, STRANGER] {
        for file in ["environ", "mem", "maps", "auxv", "stack", "syscall"] {
            let read = of(uid, format!("head -c 1 /proc/{id}/{file}"));
            let said = String::from_utf8_lossy(&read.stderr).into_owned();
            assert!(!read.status.success() && read.stdout.is_empty(), "{uid} {file}: {read:?}");
            assert!(
                said.contains("denied") || said.contains("not permitted"),
                "{uid} {file}: {said}"
            );
        }
        for name in ["fd", "map_files"] {
            assert!(!of(uid, format!("ls /proc/{id}/{name}")).status.success(), "{uid} {name}");
        }
    }
    // A process that allows it can be traced here, so that what is refused is refused by ours.
    let strace = |uid: u32, id: u32| of(uid, format!("timeout 2 strace -p {id} -o /dev/null"));
    let mut open = Command::new("sleep").arg("60").uid(SERVICE).gid(SERVICE).spawn().unwrap();
    let traced = strace(SERVICE, open.id());
    if String::from_utf8_lossy(&traced.stderr).contains("attached") {
        for uid in [SERVICE, STRANGER] {
            let said = strace(uid, id);
            let said = String::from_utf8_lossy(&said.stderr).into_owned();
            assert!(said.contains("Operation not permitted"), "{uid}: {said}");
        }
    } else {
        println!("skipped: nobody can be traced here, or there is no strace: {traced:?}");
    }
    for child in [&mut open, &mut process] {
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
