//! The life of the process `hookward run`: how it starts and ends, and what it leaves.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

use crate::app::{App, Down};
use crate::client::{Connection, Post};
use crate::process::{Process, hookward, run};

/// Much longer than a test takes.
const LONG: &str = "2m";
/// What a stop may take beyond its drain timeout, on a machine that is busy.
const MARGIN: Duration = Duration::from_secs(12);

fn write(dir: &Path, listen: &str, url: &str) {
    write_with(dir, listen, url, "10s");
}

fn write_with(dir: &Path, listen: &str, url: &str, drain: &str) {
    let text = format!(
        "[server]\nlisten = \"{listen}\"\ndrain_timeout = \"{drain}\"\n\n[admin]\nlisten = \"127.0.0.1:0\"\n\n\
         [store]\nmin_free = \"0B\"\n\n\
         [source.lab]\nauth = {{ kind = \"none-dangerous\" }}\nevent.id = \"/id\"\n\n\
         [upstream.app]\nurl = \"{url}\"\nretry = {{ first = \"1ms\", max = \"2ms\", give_up = \"1h\" }}\n"
    );
    std::fs::write(dir.join("hookward.toml"), text).unwrap();
}

fn configured(url: &str) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "127.0.0.1:0", url);
    dir
}

fn draining(url: &str, drain: &str) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    write_with(dir.path(), "127.0.0.1:0", url, drain);
    dir
}

/// A request whose body is yet to come.
async fn in_hand(public: SocketAddr) -> Connection {
    let post = Post::to("/hooks/lab").header("Expect", "100-continue");
    let mut connection = post.connect(public).await;
    connection.write(&post.head()).await;
    assert_eq!(connection.status().await, 100, "the request is in hand");
    connection
}

async fn get(admin: SocketAddr, path: &str) -> (u16, String) {
    let mut connection = Connection::open(admin, None).await;
    connection.write(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes()).await;
    let answer = connection.answer().await;
    (answer.status, answer.body)
}

#[tokio::test]
async fn sigterm_and_sigint_finish_what_is_in_hand_and_exit_0() {
    let app = App::start().await;
    for signal in ["TERM", "INT"] {
        let dir = configured(&app.url());
        let (mut process, public, admin) = Process::serve(dir.path()).await;
        let post = Post::to("/hooks/lab").header("Expect", "100-continue");
        let mut connection = post.connect(public).await;
        connection.write(&post.head()).await;
        assert_eq!(connection.status().await, 100, "the request is in hand");
        let mut probe = Connection::open(admin.unwrap(), None).await;
        process.signal(signal);
        process.line("\"message\":\"stopping\"").await;
        // Nobody else is let in; who is in is told that it is going to stop.
        probe.write(b"GET /readyz HTTP/1.1\r\nHost: a\r\n\r\n").await;
        let ready = probe.answer().await;
        assert_eq!(ready.status, 503);
        assert!(ready.body.contains("shutting down"), "{}", ready.body);
        drop(probe);
        connection.write(b"{}").await;
        let answer = connection.answer().await;
        assert_eq!((answer.status, answer.header("connection")), (200, Some("close")));
        assert_eq!(connection.rest().await, "");
        assert_eq!(process.end().await, Some(0), "{:#?}", process.said());
        let stopped: Value = serde_json::from_str(process.said().last().unwrap()).unwrap();
        assert_eq!((&stopped["message"], &stopped["safe"]), (&"stopped".into(), &true.into()));
        // The event is there for the next one, if it was not delivered yet.
        let (mut next, ..) = Process::serve(dir.path()).await;
        let id = answer.event_id().to_owned();
        app.wait_for(|seen| seen.iter().any(|delivery| delivery.id() == id)).await;
        next.signal("TERM");
        assert_eq!(next.end().await, Some(0));
    }
}

/// It stops, and does not begin anything new.
#[tokio::test]
async fn sighup_during_a_stop_is_ignored() {
    let dir = draining("http://127.0.0.1:1/", LONG);
    let (mut process, public, _) = Process::serve(dir.path()).await;
    let mut connection = in_hand(public).await;
    process.signal("TERM");
    process.line("\"message\":\"stopping\"").await;
    write_with(dir.path(), "127.0.0.1:0", "http://127.0.0.1:1/", "1s");
    process.signal("HUP");
    connection.write(b"{}").await;
    assert_eq!(connection.answer().await.status, 200);
    assert_eq!(process.end().await, Some(0), "{:#?}", process.said());
    assert!(!process.said().iter().any(|line| line.contains("reload")), "{:#?}", process.said());
}

/// What was cut off was told as if the client had gone away, and the sums of refusals were lost.
#[tokio::test]
async fn a_second_signal_cuts_off_what_is_in_hand_and_keeps_what_is_stored() {
    let down = Down::new();
    let dir = draining(&down.url(), LONG);
    let (mut process, public, _) = Process::serve(dir.path()).await;
    let stored = Post::to("/hooks/lab").body(r#"{"id":1}"#).send(public).await;
    // More than stand singly in a minute, even if another one begins meanwhile.
    for _ in 0..300 {
        assert_eq!(Post::to("/nowhere").send(public).await.status, 404);
    }
    let connection = in_hand(public).await;
    for (signal, said) in [("TERM", "\"message\":\"stopping\""), ("INT", "told again to stop")] {
        process.signal(signal);
        process.line(said).await;
    }
    assert_eq!(connection.rest().await, "", "it gets no answer");
    assert_eq!(process.end().await, Some(0), "{:#?}", process.said());
    process.line("\"outcome\":\"cut_off\"").await;
    process.line("\"message\":\"refused further\"").await;
    assert!(!process.said().iter().any(|line| line.contains("client_gone")));
    let (mut process, ..) = Process::serve(dir.path()).await;
    let app = down.come_up();
    assert_eq!(app.wait(1).await[0].id(), stored.event_id());
    process.signal("TERM");
    assert_eq!(process.end().await, Some(0));
}

/// Kept-alive connections are let go; who asks on one in that moment is not left to wait.
#[tokio::test]
async fn who_is_idle_when_it_stops_is_let_go_and_nobody_is_let_in() {
    let dir = draining("http://127.0.0.1:1/", LONG);
    let (mut process, public, _) = Process::serve(dir.path()).await;
    let mut idle = Vec::new();
    for _ in 0..8 {
        let post = Post::to("/hooks/lab");
        let mut connection = post.connect(public).await;
        assert_eq!(connection.send(&post).await.status, 200);
        idle.push(connection);
    }
    let mut connection = in_hand(public).await;
    process.signal("TERM");
    for mut idle in idle {
        let post = Post::to("/hooks/lab");
        idle.write(&[post.head(), b"{}".to_vec()].concat()).await;
        let rest = idle.rest().await;
        let answered = rest.starts_with("HTTP/1.1 200") || rest.starts_with("HTTP/1.1 503");
        assert!(rest.is_empty() || answered, "{rest}");
    }
    process.line("\"message\":\"stopping\"").await;
    // The listening socket is closed a moment later.
    while TcpStream::connect(public).await.is_ok() {
        tokio::task::yield_now().await;
    }
    connection.write(b"{}").await;
    assert_eq!(connection.answer().await.status, 200);
    assert_eq!(process.end().await, Some(0), "{:#?}", process.said());
}

/// Whoever hangs, or is slow on purpose, is cut off when the drain timeout is over: a body that
/// comes byte by byte, an app that takes an event and never answers, a probe that is never ready
/// with its question.
#[tokio::test]
async fn a_stop_takes_no_longer_than_the_drain_timeout_and_a_little() {
    let app = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let dir = draining(&format!("http://{}/", app.local_addr().unwrap()), "1s");
    let (mut process, public, admin) = Process::serve(dir.path()).await;
    let answer = Post::to("/hooks/lab").body(r#"{"id":1}"#).send(public).await;
    assert_eq!(answer.status, 200);
    let (mut attempt, _) = app.accept().await.unwrap();
    assert!(attempt.read_u8().await.is_ok(), "the attempt is in flight");
    let mut slow = Post::to("/hooks/lab").declares(1_000_000).connect(public).await;
    slow.write(&Post::to("/hooks/lab").declares(1_000_000).head()).await;
    let mut probe = Connection::open(admin.unwrap(), None).await;
    probe.write(b"GET /healthz HTTP/1.1\r\nHo").await;
    let _silent = Connection::open(admin.unwrap(), None).await;
    let _also_silent = Connection::open(public, None).await;
    process.signal("TERM");
    process.line("\"message\":\"stopping\"").await;
    let begun = Instant::now();
    let dribble = tokio::spawn(async move {
        for _ in 0..600 {
            slow.write(b" ").await;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    assert_eq!(process.end().await, Some(0), "{:#?}", process.said());
    let took = begun.elapsed();
    dribble.abort();
    assert!(took < Duration::from_secs(1) + MARGIN, "{took:?}");
    process.line("attempts given up").await;
}

/// The probe's connection had a whole drain timeout of its own.
#[tokio::test]
async fn an_admin_connection_does_not_hold_up_a_stop() {
    let dir = draining("http://127.0.0.1:1/", LONG);
    let (mut process, _, admin) = Process::serve(dir.path()).await;
    let mut probe = Connection::open(admin.unwrap(), None).await;
    probe.write(b"GET /healthz HTTP/1.1\r\nHo").await;
    process.signal("TERM");
    assert_eq!(process.end().await, Some(0), "{:#?}", process.said());
}

/// An index in a pipe that nobody ever writes to: reading it takes for ever.
fn endless_recovery(dir: &Path) {
    let index = dir.join("data/index");
    std::fs::create_dir_all(&index).unwrap();
    // What sled reads first, and does not look at before it opens it.
    let fifo = index.join("conf");
    let private = "mkfifo \"$1\" && chmod -R go-rwx \"$2\"";
    let mut make = std::process::Command::new("sh");
    make.args(["-c", private, "sh"]).args([&fifo, &dir.join("data")]);
    assert!(make.status().unwrap().success());
}

#[tokio::test]
async fn while_the_store_opens_it_is_alive_and_not_ready_and_lets_nobody_in() {
    let dir = tempfile::tempdir().unwrap();
    // An address of our own, which nobody can take before: it is bound without listening.
    let down = Down::new();
    write(dir.path(), &down.address().to_string(), "http://127.0.0.1:1/");
    endless_recovery(dir.path());
    let command = hookward(dir.path(), &["run", "--config", "hookward.toml"]);
    let mut process = Process::start(command);
    let opening = process.line("opening the store").await;
    let opening: Value = serde_json::from_str(&opening).unwrap();
    let admin = opening["admin"].as_str().unwrap().parse().unwrap();
    assert_eq!(get(admin, "/healthz").await.0, 200);
    let (status, body) = get(admin, "/readyz").await;
    assert_eq!((status, body.contains("starting")), (503, true), "{body}");
    assert_eq!(get(admin, "/metrics").await.0, 404);
    let refused = TcpStream::connect(down.address()).await.unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    // And it is told to stop, though its thread is stuck in the file system.
    process.signal("HUP");
    process.signal("TERM");
    assert_eq!(process.end().await, Some(0), "{:#?}", process.said());
    process.line("stopped while starting").await;
}

#[tokio::test]
async fn a_second_process_on_the_store_exits_1_and_says_why() {
    let dir = configured("http://127.0.0.1:1/");
    let (mut process, public, _) = Process::serve(dir.path()).await;
    let second = run(hookward(dir.path(), &["run", "--config", "hookward.toml"])).await;
    assert_eq!(second.code, Some(1), "{second:?}");
    assert!(second.err.contains("in use by another process"), "{}", second.err);
    assert!(second.err.contains("data"), "it names the store: {}", second.err);
    // The first one is not disturbed.
    assert_eq!(Post::to("/hooks/lab").send(public).await.status, 200);
    process.signal("TERM");
    assert_eq!(process.end().await, Some(0));
}

#[tokio::test]
async fn an_address_that_is_taken_exits_1_and_says_why() {
    let app = App::start().await;
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), &app.address.to_string(), "http://127.0.0.1:1/");
    let said = run(hookward(dir.path(), &["run", "--config", "hookward.toml"])).await;
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.err.contains(&app.address.to_string()), "{}", said.err);
    assert!(said.err.to_lowercase().contains("in use"), "{}", said.err);
}

/// No goodbye at all: every event that was answered 200 is delivered after a restart.
#[tokio::test]
async fn a_killed_process_has_lost_nothing_that_it_acknowledged() {
    let down = Down::new();
    let dir = configured(&down.url());
    let (mut process, public, _) = Process::serve(dir.path()).await;
    let mut ids = Vec::new();
    for n in 0..20 {
        let answer = Post::to("/hooks/lab").body(format!("{{\"id\":{n}}}")).send(public).await;
        ids.push(answer.event_id().to_owned());
    }
    process.signal("KILL");
    assert_eq!(process.end().await, None);
    let (mut process, public, _) = Process::serve(dir.path()).await;
    let repeat = Post::to("/hooks/lab").body("{\"id\":19}").send(public).await;
    assert_eq!(repeat.event_id(), ids[19]);
    let app = down.come_up();
    let seen = app.wait(20).await;
    let mut delivered: Vec<&str> = seen.iter().map(|d| d.id()).collect();
    // Ids of one millisecond are in no order.
    delivered.sort_unstable();
    ids.sort_unstable();
    assert_eq!(delivered, ids);
    process.signal("TERM");
    assert_eq!(process.end().await, Some(0));
}
