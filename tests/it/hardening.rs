//! What the process `run` gives up, which stores it refuses, and that it works in its sandbox.

mod memory;

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use serde_json::Value;
use tempfile::TempDir;

use crate::app::App;
use crate::client::{Connection, Post};
use crate::gateway::secret;
use crate::process::{Process, hookward, run};

fn configured() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "", "http://127.0.0.1:1/");
    dir
}

fn write(dir: &Path, server: &str, url: &str) {
    let text = format!(
        "[server]\nlisten = \"127.0.0.1:0\"\n{server}\n\
         [admin]\nlisten = \"127.0.0.1:0\"\ntoken = {{ env = \"ADMIN\" }}\n\
         [store]\nmin_free = \"0B\"\n\
         [source.lab]\nauth = {{ kind = \"none-dangerous\" }}\n\
         [upstream.app]\nurl = \"{url}\"\n"
    );
    fs::write(dir.join("hookward.toml"), text).unwrap();
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// The directory and everything beneath it.
fn tree(dir: &Path) -> Vec<PathBuf> {
    let mut all = vec![dir.to_owned()];
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        all.extend(if path.is_dir() { tree(&path) } else { vec![path] });
    }
    all
}

/// The value of a line of a file in `/proc` that begins with this word.
fn field(process: &Process, file: &str, name: &str) -> String {
    let text = fs::read_to_string(format!("/proc/{}/{file}", process.id())).unwrap();
    let value = text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    value.unwrap_or_else(|| panic!("no {name} in {text}")).to_owned()
}

#[tokio::test]
async fn the_process_gives_up_core_dumps_tracing_and_new_privileges() {
    let dir = configured();
    let (mut process, ..) = Process::serve(dir.path()).await;
    process.line("\"message\":\"process hardened\"").await;
    assert_eq!(field(&process, "status", "NoNewPrivs:"), "1");
    assert_eq!(field(&process, "status", "Umask:"), "0077");
    let core = field(&process, "limits", "Max core file size");
    assert_eq!(core.split_whitespace().collect::<Vec<_>>(), ["0", "0", "bytes"]);
    // What nobody of the same user may look into belongs to root.
    let environment = fs::metadata(format!("/proc/{}/environ", process.id())).unwrap();
    assert_eq!(environment.uid(), 0);
    for task in fs::read_dir(format!("/proc/{}/task", process.id())).unwrap() {
        let status = fs::read_to_string(task.unwrap().path().join("status")).unwrap();
        assert!(status.contains("NoNewPrivs:\t1\n"), "every thread: {status}");
    }
    process.signal("TERM");
    assert_eq!(process.end().await, Some(0));
}

#[tokio::test]
async fn all_that_is_stored_is_its_owner_s_alone() {
    let dir = configured();
    for _ in 0..2 {
        let (mut process, public, _) = Process::serve(dir.path()).await;
        assert_eq!(Post::to("/hooks/lab").send(public).await.status, 200);
        process.signal("TERM");
        assert_eq!(process.end().await, Some(0));
        for path in tree(&dir.path().join("data")) {
            let expected = if path.is_dir() { 0o700 } else { 0o600 };
            assert_eq!(mode(&path), expected, "{}", path.display());
        }
    }
}

#[tokio::test]
async fn a_store_that_is_open_to_others_is_refused_with_the_remedy() {
    let dir = configured();
    let data = dir.path().join("data");
    // As an operator, or systemd, makes it by default.
    fs::create_dir(&data).unwrap();
    chmod(&data, 0o755);
    refused(dir.path(), &data, "0755").await;
    chmod(&data, 0o700);
    let (mut process, ..) = Process::serve(dir.path()).await;
    process.signal("TERM");
    assert_eq!(process.end().await, Some(0));

    let segments = tree(&data.join("journal"));
    let segment = segments.last().unwrap();
    chmod(segment, 0o640);
    let said = refused(dir.path(), segment, "0640").await;
    let remedy = said.split_once("; run: ").unwrap().1.split_once(" (").unwrap().0;
    let mended = std::process::Command::new("sh").args(["-c", remedy]).current_dir(&dir).status();
    assert!(mended.unwrap().success(), "{remedy}");
    let (mut process, ..) = Process::serve(dir.path()).await;
    process.signal("TERM");
    assert_eq!(process.end().await, Some(0));
}

/// A start as root in the service's store left files there that the service could not open, and that
/// nothing named.
#[tokio::test]
async fn root_does_not_start_in_another_user_s_store() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: only root can give a directory away");
        return;
    }
    let dir = configured();
    let data = dir.path().join("data");
    fs::create_dir(&data).unwrap();
    chmod(&data, 0o700);
    std::os::unix::fs::chown(&data, Some(990), Some(990)).unwrap();
    let said = run(hookward(dir.path(), &["run", "--config", "hookward.toml"])).await;
    assert_eq!(said.code, Some(1), "{said:?}");
    for part in ["the store data belongs to uid 990", "runs as root", "as that user"] {
        assert!(said.err.contains(part), "{part}: {}", said.err);
    }
    assert_eq!(tree(&data).len(), 1, "something was left there");
    // Who only checks does so for the service, and is told what is in its way.
    let check = ["check", "--config", "hookward.toml"];
    let said = run(hookward(dir.path(), &check)).await;
    assert!(said.code == Some(0) && !said.out.contains("would not start"), "{said:?}");
    let lock = data.join("lock");
    fs::write(&lock, "").unwrap();
    chmod(&lock, 0o600);
    let said = run(hookward(dir.path(), &check)).await;
    let told = "data/lock belongs to root, and uid 990 cannot open it";
    assert!(said.code == Some(0) && said.out.contains(told), "{said:?}");
}

/// Whoever reads a JSON log found in it a line that is none, and it was the one that mattered.
#[tokio::test]
async fn why_the_gateway_does_not_start_is_a_line_of_the_log() {
    let dir = configured();
    fs::create_dir(dir.path().join("data")).unwrap();
    chmod(&dir.path().join("data"), 0o755);
    let file = dir.path().join("hookward.toml");
    let text = fs::read_to_string(&file).unwrap();
    // Before there is a log, and after: the admin listener's address is nobody's here.
    let listen =
        text.replace("[admin]\nlisten = \"127.0.0.1:0\"", "[admin]\nlisten = \"192.0.2.1:9\"");
    for (text, why) in [(&text, "chmod -R go-rwx"), (&listen, "192.0.2.1:9")] {
        for log in ["", "level = \"off\""] {
            fs::write(&file, format!("{text}[log]\n{log}\n")).unwrap();
            let said = run(hookward(dir.path(), &["run", "--config", "hookward.toml"])).await;
            assert_eq!((said.code, said.out.as_str()), (Some(1), ""), "{said:?}");
            let lines = said.err.lines().map(|line| serde_json::from_str(line).unwrap());
            let lines: Vec<Value> = lines.collect();
            let last = lines.last().unwrap();
            let read = |name: &str| last[name].as_str().unwrap_or_default().to_owned();
            assert_eq!((read("level"), read("message")), ("ERROR".into(), "cannot run".into()));
            assert!(read("error").contains(why), "{last}");
        }
        fs::write(&file, format!("{text}[log]\nformat = \"text\"\n")).unwrap();
        let said = run(hookward(dir.path(), &["run", "--config", "hookward.toml"])).await;
        let last = said.err.lines().last().unwrap();
        assert!(last.starts_with("hookward: ") && last.contains(why), "{said:?}");
        chmod(&dir.path().join("data"), 0o700);
    }
}

async fn refused(dir: &Path, path: &Path, mode: &str) -> String {
    let said = run(hookward(dir, &["run", "--config", "hookward.toml"])).await;
    assert_eq!(said.code, Some(1), "{said:?}");
    let path = path.strip_prefix(dir).unwrap().display().to_string();
    for part in [path.as_str(), mode, "chmod -R go-rwx", "StateDirectoryMode=0700"] {
        assert!(said.err.contains(part), "{part}: {}", said.err);
    }
    said.err
}

/// Whether this kernel has Landlock. Where it has not, there is no sandbox to test: the gateway
/// says so, and does not start.
async fn kernel_has_a_sandbox() -> bool {
    let dir = tempfile::tempdir().unwrap();
    // Its store is a file, so that it ends by itself where there is a sandbox.
    fs::write(dir.path().join("data"), "").unwrap();
    write(dir.path(), "sandbox = true", "http://127.0.0.1:1/");
    let said = run(hookward(dir.path(), &["run", "--config", "hookward.toml"])).await;
    assert_eq!(said.code, Some(1), "{said:?}");
    let missing = said.err.contains("but this kernel");
    if missing {
        println!("skipped: {}", said.err);
    }
    !missing
}

/// Everything that the gateway does, in the sandbox: accepting, resolving a name and delivering,
/// starting again on its store (with what was waiting, and without the index too), its metrics. A
/// part of the store lies elsewhere.
#[tokio::test]
async fn the_gateway_works_in_its_sandbox() {
    if !kernel_has_a_sandbox().await {
        return;
    }
    let app = App::start().await;
    let dir = tempfile::tempdir().unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let (data, journal) = (dir.path().join("data"), elsewhere.path().join("journal"));
    for path in [&data, &journal] {
        fs::create_dir(path).unwrap();
        chmod(path, 0o700);
    }
    std::os::unix::fs::symlink(&journal, data.join("journal")).unwrap();
    let port = app.address.port();
    write(dir.path(), "sandbox = true", &format!("http://localhost:{port}/webhooks"));
    for n in 0..3 {
        let (mut process, public, admin) = Process::serve(dir.path()).await;
        let entered: Value = serde_json::from_str(&process.line("sandbox entered").await).unwrap();
        assert_eq!(entered["level"], "INFO", "{entered}");
        let answer = Post::to("/hooks/lab").body(format!("{{\"n\":{n}}}")).send(public).await;
        assert_eq!(answer.status, 200);
        app.wait_for(|seen| seen.iter().any(|delivery| delivery.id() == answer.event_id())).await;
        let mut probe = Connection::open(admin.unwrap(), None).await;
        let request = format!(
            "GET /metrics HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {}\r\n\r\n",
            secret("ADMIN")
        );
        probe.write(request.as_bytes()).await;
        let metrics = probe.answer().await;
        for name in ["process_open_fds ", "process_start_time_seconds ", "process_max_fds "] {
            assert!(metrics.body.contains(name), "{name}: {}", metrics.body);
        }
        drop(probe);
        process.signal("TERM");
        assert_eq!(process.end().await, Some(0), "{:#?}", process.said());
        let worse = |line: &&String| line.contains("\"ERROR\"") || line.contains("denied");
        assert_eq!(process.said().iter().find(worse), None);
        if n == 1 {
            fs::remove_dir_all(data.join("index")).unwrap();
        }
    }
    assert!(!tree(&journal).is_empty());
}

/// A part of the journal that is a link to somewhere else can be read, but not in the sandbox.
#[tokio::test]
async fn outside_its_sandbox_the_gateway_can_touch_nothing() {
    if !kernel_has_a_sandbox().await {
        return;
    }
    let dir = configured();
    let elsewhere = tempfile::tempdir().unwrap();
    let (mut process, public, _) = Process::serve(dir.path()).await;
    assert_eq!(Post::to("/hooks/lab").send(public).await.status, 200);
    process.signal("TERM");
    assert_eq!(process.end().await, Some(0));
    let segments = tree(&dir.path().join("data/journal"));
    let (segment, moved) = (segments.last().unwrap(), elsewhere.path().join("segment"));
    fs::rename(segment, &moved).unwrap();
    std::os::unix::fs::symlink(&moved, segment).unwrap();

    write(dir.path(), "sandbox = true", "http://127.0.0.1:1/");
    let sandboxed = run(hookward(dir.path(), &["run", "--config", "hookward.toml"])).await;
    assert_eq!(sandboxed.code, Some(1), "{sandboxed:?}");
    assert!(sandboxed.err.contains("Permission denied"), "{}", sandboxed.err);
    assert!(sandboxed.err.contains("server.sandbox = true may be why"), "{}", sandboxed.err);
    write(dir.path(), "", "http://127.0.0.1:1/");
    let (mut process, public, _) = Process::serve(dir.path()).await;
    assert_eq!(Post::to("/hooks/lab").send(public).await.status, 200);
    process.signal("TERM");
    assert_eq!(process.end().await, Some(0));
}

/// A renewed key is a new file, and gets in. A file elsewhere does not: the configuration that
/// names it is refused, and the old one goes on.
#[tokio::test]
async fn a_reload_keeps_to_the_sandbox() {
    if !kernel_has_a_sandbox().await {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let outside = elsewhere.path().join("key");
    fs::create_dir(dir.path().join("secrets")).unwrap();
    let replace = |path: &Path, key: &str| {
        let new = path.with_extension("new");
        fs::write(&new, key).unwrap();
        chmod(&new, 0o600);
        fs::rename(&new, path).unwrap();
    };
    let write = |key: &Path| {
        let text = format!(
            "[server]\nlisten = \"127.0.0.1:0\"\nsandbox = true\n[store]\nmin_free = \"0B\"\n\
             [source.lab]\nauth = {{ kind = \"api-key\", header = \"X-Key\" }}\n\
             keys = [{{ file = \"{}\" }}]\n\
             [upstream.app]\nurl = \"http://127.0.0.1:1/\"\n",
            key.display()
        );
        fs::write(dir.path().join("hookward.toml"), text).unwrap();
    };
    let key = dir.path().join("secrets/key");
    let keys =
        ["the-first-key-of-the-lab", "the-second-key-of-the-lab", "the-third-key-of-the-lab"];
    replace(&key, keys[0]);
    replace(&outside, keys[2]);
    write(&key);
    let (mut process, public, _) = Process::serve(dir.path()).await;
    let works = async |key: usize| {
        let post = Post::to("/hooks/lab").header("X-Key", keys[key]);
        post.send(public).await.status
    };
    assert_eq!((works(0).await, works(1).await), (200, 401));

    replace(&key, keys[1]);
    process.signal("HUP");
    process.line("\"message\":\"config reloaded\"").await;
    assert_eq!((works(0).await, works(1).await), (401, 200));

    write(&outside);
    process.signal("HUP");
    process.line("permission denied").await;
    let why = process.line("server.sandbox = true may be why").await;
    assert!(why.contains(&*outside.to_string_lossy()), "{why}");
    process.line("config not reloaded").await;
    assert_eq!((works(1).await, works(2).await), (200, 401));
    process.signal("TERM");
    assert_eq!(process.end().await, Some(0));
}
