//! The audit trail on its way to somebody else: by syslog over TLS and Unix sockets, to a file, and its
//! checkpoints by HTTPS.

mod collector;

use std::convert::Infallible;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use http::Response;
use http_body_util::{BodyExt as _, Full};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixDatagram, UnixListener};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use self::collector::{Collector, Message, Notes, acceptor, local, reserve, wait_for};
use crate::api::{command, configured};
use crate::client::{BOUND, Post};
use crate::gateway::{Running, Setup, secret, setup};
use crate::lines;
use crate::pki::Authority;
use crate::process::{Process, hookward};

fn with(audit: &str) -> Setup {
    setup(&format!(
        "{audit}\n[source.lab]\nauth = {{ kind = \"api-key\", header = \"X-Key\" }}\nkeys = [{{ env = \"LAB\" }}]\n\
         [upstream.app]\nurl = \"http://127.0.0.1:1/\"\n"
    ))
}

/// An output over TLS that trusts `ca.pem`.
fn siem(name: &str, address: SocketAddr, keys: &str) -> Setup {
    with(&format!(
        "[audit.output.{name}]\nkind = \"syslog\"\naddress = \"tls://{address}\"\nca = \"ca.pem\"\n{keys}\n"
    ))
}

/// Requests that are refused, each with a path of its own.
async fn refuse(gateway: &Running, paths: std::ops::Range<u32>) {
    for n in paths {
        assert_eq!(gateway.send(&Post::to(&format!("/n/{n}"))).await.status, 404);
    }
}

fn paths(messages: &[Message]) -> Vec<String> {
    messages.iter().filter_map(Message::path).map(str::to_owned).collect()
}

fn expected(paths: std::ops::Range<u32>) -> Vec<String> {
    paths.map(|n| format!("/n/{n}")).collect()
}

/// Without what was sent again: each at its first time.
fn first_times(messages: &[Message]) -> Vec<Message> {
    let mut seen = std::collections::BTreeSet::new();
    messages.iter().filter(|message| seen.insert(message.sequence())).cloned().collect()
}

fn has(messages: &[Message], path: &str) -> bool {
    messages.iter().any(|message| message.path() == Some(path))
}

#[tokio::test]
async fn records_reach_a_siem_over_tls_where_both_sides_prove_who_they_are() {
    let (servers, clients) = (Authority::new("servers"), Authority::new("clients"));
    let notes = Notes::default();
    let socket = reserve("127.0.0.1:0");
    let acceptor = acceptor(&local(&servers), Some(&clients));
    let collector = Collector::start(socket, acceptor, &notes);
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("ca.pem"), &servers.pem).unwrap();
    clients.client().write_to(dir.path());
    fs::set_permissions(dir.path().join("key.pem"), fs::Permissions::from_mode(0o600)).unwrap();
    let keys = "cert = \"cert.pem\"\nkey = \"key.pem\"";
    let gateway = siem("both", collector.address, keys).start_in(dir).await;
    let odd = "/a%5Dx@1&=";
    let mut post = Post::to(odd).header("X-Key", "wrong");
    post.tag = "f\u{fc}r".to_owned();
    assert_eq!(gateway.send(&post).await.status, 404);
    assert_eq!(gateway.send(&Post::to("/hooks/lab").header("X-Key", "w")).await.status, 401);
    let got = wait_for(&notes, |got| got.len() == 3).await;
    let ids: Vec<&str> = got.iter().map(|message| &*message.id).collect();
    assert_eq!(ids, ["started", "unknown_route", "credential_invalid"]);
    let severities: Vec<u32> = got.iter().map(|message| message.severity).collect();
    assert_eq!(severities, [6, 5, 4]);
    for message in &got {
        assert_eq!((message.facility, &*message.app), (13, "hookward"));
        assert_eq!(message.process, std::process::id().to_string());
        assert_ne!(message.host, "-");
        assert_eq!(message.time, message.body["time"].as_str().unwrap());
        assert_eq!(message.elements["origin"]["software"], "hookward");
        let own = &message.elements["hookward@32473"];
        assert_eq!(own["sequence"], message.sequence().to_string());
        assert_eq!(own["id"], message.body["id"].as_str().unwrap());
    }
    let own = &got[1].elements["hookward@32473"];
    assert_eq!((&*own["path"], got[1].path()), (odd, Some(odd)));
    assert_eq!(got[1].body["user_agent"], "f\u{fc}r");
    assert_eq!(got[2].elements["hookward@32473"]["source"], "lab");
    gateway.stop().await;
    wait_for(&notes, |got| got.last().is_some_and(|last| last.id == "stopped")).await;
}

#[tokio::test]
async fn nothing_is_sent_to_whom_the_certificate_does_not_name_and_nothing_is_lost_by_it() {
    let servers = Authority::new("servers");
    let notes = Notes::default();
    let socket = reserve("127.0.0.1:0");
    // Of the right authority, for another name.
    let other = Collector::start(socket, acceptor(&servers.server(1), None), &notes);
    let address = other.address;
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("ca.pem"), &servers.pem).unwrap();
    let gateway = siem("names", address, "").start_in(dir).await;
    let failed = "an output of the audit trail fails; it is tried again, and sends what waits then";
    let line = lines::said("\"output\":\"names\"", failed).await;
    assert!(line["error"].as_str().unwrap().contains("not valid for name"), "{line}");
    refuse(&gateway, 0..5).await;
    other.vanish().await;
    let right = acceptor(&local(&servers), None);
    let _right = Collector::start(reserve(&address.to_string()), right, &notes);
    let got = wait_for(&notes, |got| has(got, "/n/4")).await;
    assert_eq!(paths(&got), expected(0..5));
    assert_eq!(got[0].id, "started");
    lines::said("\"output\":\"names\"", "an output of the audit trail works again").await;
    assert_eq!(lines::count("\"output\":\"names\"", failed), 1, "once, however often it is tried");
    gateway.stop().await;
}

#[tokio::test]
async fn a_siem_that_was_away_gets_everything_afterwards_in_order() {
    let servers = Authority::new("servers");
    let notes = Notes::default();
    let own = acceptor(&local(&servers), None);
    let first = Collector::start(reserve("127.0.0.1:0"), own.clone(), &notes);
    let address = first.address;
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("ca.pem"), &servers.pem).unwrap();
    let gateway = siem("away", address, "").start_in(dir).await;
    refuse(&gateway, 0..10).await;
    wait_for(&notes, |got| has(got, "/n/5")).await;
    // In the middle of it: what it had not read yet is gone with it.
    first.vanish().await;
    refuse(&gateway, 10..40).await;
    let _second = Collector::start(reserve(&address.to_string()), own, &notes);
    refuse(&gateway, 40..50).await;
    let got = wait_for(&notes, |got| has(got, "/n/49")).await;
    let got = first_times(&got);
    assert_eq!(paths(&got), expected(0..50));
    assert!(got.is_sorted_by_key(Message::sequence));
    gateway.stop().await;
}

#[tokio::test]
async fn a_restart_goes_on_where_the_last_one_has_ended() {
    let servers = Authority::new("servers");
    let notes = Notes::default();
    let own = acceptor(&local(&servers), None);
    let first = Collector::start(reserve("127.0.0.1:0"), own.clone(), &notes);
    let address = first.address;
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("ca.pem"), &servers.pem).unwrap();
    let setup = siem("restart", address, "");
    let gateway = setup.start_in(dir).await;
    refuse(&gateway, 0..5).await;
    let dir = gateway.stop().await;
    // It has got all of it, and has said so.
    let got = wait_for(&notes, |got| got.last().is_some_and(|last| last.id == "stopped")).await;
    assert_eq!(paths(&got), expected(0..5));
    first.vanish().await;
    // Without it, and stopped again before it is back.
    let gateway = setup.start_in(dir).await;
    refuse(&gateway, 5..10).await;
    let since = Instant::now();
    let dir = gateway.stop().await;
    assert!(since.elapsed() < BOUND, "a stop does not wait for it");
    let _second = Collector::start(reserve(&address.to_string()), own, &notes);
    let gateway = setup.start_in(dir).await;
    refuse(&gateway, 10..15).await;
    let got = wait_for(&notes, |got| has(got, "/n/14")).await;
    assert_eq!(paths(&got), expected(0..15), "each once");
    let ids = got.iter().map(|message| &*message.id).filter(|id| *id != "unknown_route");
    let ids: Vec<&str> = ids.collect();
    assert_eq!(ids, ["started", "stopped", "started", "stopped", "started"]);
    gateway.stop().await;
}

#[tokio::test]
async fn a_unix_socket_gets_datagrams_or_a_stream() {
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = (dir.path().join("datagrams"), dir.path().join("stream"));
    let datagrams = UnixDatagram::bind(&one).unwrap();
    let stream = UnixListener::bind(&two).unwrap();
    let outputs = [("one", &one), ("two", &two)].map(|(name, path)| {
        let address = path.display();
        format!("[audit.output.{name}]\nkind = \"syslog\"\naddress = \"unix:{address}\"\nfacility = \"authpriv\"\n")
    });
    let gateway = with(&outputs.concat()).start_in(dir).await;
    let (stream, _) = timeout(BOUND, stream.accept()).await.unwrap().unwrap();
    let mut lines = tokio::io::BufReader::new(stream).lines();
    refuse(&gateway, 0..2).await;
    for reason in ["started", "unknown_route", "unknown_route"] {
        let mut message = vec![0; 1 << 16];
        let read = timeout(BOUND, datagrams.recv(&mut message)).await.unwrap().unwrap();
        let datagram = Message::read(&message[..read]);
        let line = timeout(BOUND, lines.next_line()).await.unwrap().unwrap().unwrap();
        let line = Message::read(line.as_bytes());
        for message in [datagram, line] {
            assert_eq!((message.facility, &*message.id), (10, reason));
        }
    }
    gateway.stop().await;
}

/// The paths in the lines of these files.
fn in_files(files: &[&Path]) -> Vec<String> {
    let mut found = Vec::new();
    for file in files {
        for line in fs::read_to_string(file).unwrap_or_default().lines() {
            let Ok(record) = serde_json::from_str::<Value>(line) else { continue };
            found.extend(record["path"].as_str().map(str::to_owned));
        }
    }
    found
}

async fn eventually(what: &str, holds: impl Fn() -> bool) {
    let since = Instant::now();
    while !holds() {
        assert!(since.elapsed() < BOUND, "{what}");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_file_is_written_across_rotations_and_restarts() {
    let dir = tempfile::tempdir().unwrap();
    let (file, old) = (dir.path().join("audit.jsonl"), dir.path().join("audit.jsonl.1"));
    let setup = with("[audit.output.file]\nkind = \"file\"\npath = \"audit.jsonl\"");
    let gateway = setup.start_in(dir).await;
    refuse(&gateway, 0..5).await;
    eventually("the first five", || in_files(&[&file]) == expected(0..5)).await;
    fs::rename(&file, &old).unwrap();
    refuse(&gateway, 5..10).await;
    eventually("the next five", || in_files(&[&file]) == expected(5..10)).await;
    assert_eq!(in_files(&[&old]), expected(0..5));
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let dir = gateway.stop().await;
    let last = fs::read_to_string(&file).unwrap();
    assert!(last.lines().last().unwrap().contains("\"reason\":\"stopped\""), "{last}");
    let gateway = setup.start_in(dir).await;
    refuse(&gateway, 10..12).await;
    eventually("the last two", || in_files(&[&file]).len() == 7).await;
    assert_eq!(in_files(&[&old, &file]), expected(0..12), "each once");
    gateway.stop().await;
}

fn append(dir: &Path, text: &str) {
    let file = dir.join("hookward.toml");
    let new = dir.join("hookward.toml.new");
    fs::write(&new, format!("{}\n{text}\n", fs::read_to_string(&file).unwrap())).unwrap();
    fs::rename(new, file).unwrap();
}

#[tokio::test]
async fn a_reload_takes_up_an_output_and_lets_go_of_it() {
    let dir = configured("", "http://127.0.0.1:1/");
    let dir = dir.path();
    let text = fs::read_to_string(dir.join("hookward.toml")).unwrap();
    let (mut process, public, _) = Process::serve(dir).await;
    assert_eq!(Post::to("/n/0").send(public).await.status, 404);
    let (late, all) = (dir.join("late.jsonl"), dir.join("all.jsonl"));
    append(dir, "[audit.output.all]\nkind = \"file\"\npath = \"all.jsonl\"\nfrom = \"beginning\"");
    process.signal("HUP");
    eventually("all of it", || in_files(&[&all]) == expected(0..1)).await;
    // What was recorded before is not for it: it has not asked.
    append(dir, "[audit.output.late]\nkind = \"file\"\npath = \"late.jsonl\"");
    process.signal("HUP");
    process.line("audit.output.late (added)").await;
    let reloaded = || {
        let text = fs::read_to_string(&all).unwrap_or_default();
        text.contains("config_reloaded") && text.contains("audit.output.late (added)")
    };
    eventually("the reload", reloaded).await;
    assert_eq!(Post::to("/n/1").send(public).await.status, 404);
    eventually("what came later", || in_files(&[&late]) == expected(1..2)).await;
    fs::write(dir.join("hookward.toml"), &text).unwrap();
    process.signal("HUP");
    process.line("audit.output.late (removed)").await;
    assert_eq!(Post::to("/n/2").send(public).await.status, 404);
    process.signal("TERM");
    assert_eq!(process.end().await, Some(0));
    assert_eq!(in_files(&[&late]), expected(1..2));
    let invalid = "[audit.output.x]\nkind = \"syslog\"\naddress = \"tcp://127.0.0.1:514\"";
    append(dir, invalid);
    let said = command(dir, &["check"]).await;
    assert!(said.code == Some(78) && said.err.contains("in clear over a network"), "{said:?}");
}

#[tokio::test]
async fn outputs_work_in_the_sandbox() {
    let dir = configured("sandbox = true", "http://127.0.0.1:1/");
    let other = tempfile::tempdir().unwrap();
    let (socket, file) = (other.path().join("log"), other.path().join("log.d/audit.jsonl"));
    let datagrams = UnixDatagram::bind(&socket).unwrap();
    append(
        dir.path(),
        &format!(
            "[audit.output.one]\nkind = \"syslog\"\naddress = \"unix:{}\"\n\
             [audit.output.two]\nkind = \"file\"\npath = \"{}\"\n",
            socket.display(),
            file.display()
        ),
    );
    let mut process = Process::start(hookward(dir.path(), &["run"]));
    let first = process.lines("\"message\":", 1).await;
    if first[0].contains("server.sandbox") {
        println!("skipped: {}", first[0]);
        return;
    }
    process.line("\"message\":\"started\"").await;
    let mut message = vec![0; 1 << 16];
    let read = timeout(BOUND, datagrams.recv(&mut message)).await.unwrap().unwrap();
    assert_eq!(Message::read(&message[..read]).id, "started");
    let begun = || fs::read_to_string(&file).unwrap_or_default().contains("started");
    eventually("a record in the file", begun).await;
    // Its directory may be written to as a whole, so that a new file can be made there.
    fs::rename(&file, file.with_extension("1")).unwrap();
    process.signal("TERM");
    assert_eq!(process.end().await, Some(0));
    assert!(fs::read_to_string(&file).unwrap().contains("stopped"));
}

/// A body as it was sent, and the header with its token.
type Posted = (String, String);

/// Who keeps checkpoints: takes the third request and all after it.
async fn notary(
    authority: &Authority,
    posted: Arc<watch::Sender<Vec<Posted>>>,
) -> (SocketAddr, JoinSet<()>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let acceptor = acceptor(&local(authority), None);
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let (acceptor, posted) = (acceptor.clone(), Arc::clone(&posted));
            tokio::spawn(async move {
                let Ok(stream) = acceptor.accept(stream).await else { return };
                let service = service_fn(|request: http::Request<hyper::body::Incoming>| async {
                    let token = request.headers()["authorization"].to_str().unwrap().to_owned();
                    assert_eq!(request.headers()["content-type"], "application/json");
                    let body = request.into_body().collect().await.unwrap().to_bytes();
                    let body = String::from_utf8(body.to_vec()).unwrap();
                    posted.send_modify(|posted| posted.push((body, token)));
                    let response = Response::builder();
                    let response = match posted.borrow().len() {
                        1 => response.status(503),
                        2 => response.status(307).header("location", "/elsewhere"),
                        _ => response.status(204),
                    };
                    Ok::<_, Infallible>(response.body(Full::<Bytes>::default()).unwrap())
                });
                let http = hyper::server::conn::http1::Builder::new();
                drop(http.serve_connection(TokioIo::new(stream), service).await);
            });
        }
    });
    (address, tasks)
}

#[tokio::test]
async fn checkpoints_are_sent_until_they_are_taken_and_prove_what_they_should() {
    let authority = Authority::new("notaries");
    let posted = Arc::new(watch::Sender::new(Vec::new()));
    let (address, _tasks) = notary(&authority, Arc::clone(&posted)).await;
    let dir = configured("", "http://127.0.0.1:1/");
    let dir = dir.path();
    fs::write(dir.join("ca.pem"), &authority.pem).unwrap();
    append(
        dir,
        &format!(
            "[audit]\ncheckpoints = {{ file = \"kept\", url = \"https://{address}/c\", token = {{ env = \"TOKEN\" }}, ca = \"ca.pem\" }}"
        ),
    );
    let (mut process, public, _) = Process::serve(dir).await;
    let mut seen = posted.subscribe();
    // Refused, redirected and taken: one checkpoint, three times.
    timeout(BOUND, seen.wait_for(|posted| posted.len() == 3)).await.unwrap().unwrap();
    assert_eq!(Post::to("/n/0").send(public).await.status, 404);
    process.signal("TERM");
    assert_eq!(process.end().await, Some(0));
    let posted = posted.borrow().clone();
    assert_eq!(posted.len(), 4, "the one of the stop got out: {posted:#?}");
    assert!(posted[..3].iter().all(|(body, _)| *body == posted[0].0));
    assert!(posted.iter().all(|(_, token)| *token == format!("Bearer {}", secret("TOKEN"))));
    let said = process.said().join("\n");
    assert!(said.contains("answered 503") && said.contains("are sent elsewhere again"), "{said}");
    assert!(!said.contains(&secret("TOKEN")));

    let bodies: String = posted.into_iter().map(|(body, _)| body).collect();
    assert!(bodies.ends_with('\n') && bodies.lines().count() == 4, "{bodies}");
    fs::write(dir.join("saved"), &bodies).unwrap();
    let last = bodies.lines().last();
    assert_eq!(
        fs::read_to_string(dir.join("kept")).unwrap().lines().last(),
        last,
        "in the file too"
    );
    let verify = ["audit", "verify", "--checkpoint", "saved"];
    let sound = command(dir, &verify).await;
    assert_eq!(sound.code, Some(0), "{sound:?}");
    // The end is cut off: what was sent away tells.
    let segment = dir.join("data/audit/0000000001.audit");
    let whole = fs::read(&segment).unwrap();
    let at = whole.windows(4).position(|found| found == b"/n/0").unwrap();
    fs::write(&segment, &whole[..at]).unwrap();
    let found = command(dir, &verify).await;
    assert!(found.code == Some(1) && found.out.contains("cut off"), "{found:?}");
}

/// What does not stop talking, once somebody is connected.
async fn talker(
    authority: &Authority,
    listens: bool,
    says: &'static [u8],
) -> (SocketAddr, JoinSet<()>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let acceptor = acceptor(&local(authority), None);
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            if listens {
                drop(stream.read(&mut [0; 8192]).await);
            }
            let much = says.repeat(100);
            // Until it is hung up.
            while stream.write_all(&much).await.is_ok() {}
        }
    });
    (address, tasks)
}

/// Who never stopped talking at the other end had a core of this one.
#[tokio::test]
async fn who_talks_without_end_at_the_other_side_is_hung_up_on() {
    let authority = Authority::new("talkers");
    let (receiver, _one) = talker(&authority, false, &[b'x'; 100]).await;
    let (notary, _other) = talker(&authority, true, b"HTTP/1.1 100 Continue\r\n\r\n").await;
    let dir = configured("", "http://127.0.0.1:1/");
    let dir = dir.path();
    fs::write(dir.join("ca.pem"), &authority.pem).unwrap();
    append(
        dir,
        &format!(
            "[audit]\ncheckpoints = {{ url = \"https://{notary}/\", ca = \"ca.pem\" }}\n\
             [audit.output.siem]\nkind = \"syslog\"\naddress = \"tls://{receiver}\"\nca = \"ca.pem\"\n"
        ),
    );
    let (mut process, _, _) = Process::serve(dir).await;
    for message in
        ["a checkpoint of the audit trail cannot be sent", "an output of the audit trail fails"]
    {
        let line = process.line(message).await;
        assert!(line.contains("it says more than 131072 bytes, which nobody asked for"), "{line}");
    }
    process.signal("TERM");
    assert_eq!(process.end().await, Some(0));
}
