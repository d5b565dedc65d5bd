//! A configuration that takes over while `hookward run` goes on: by SIGHUP, and because its files
//! have changed. What is accepted before, during and after is delivered; what is invalid changes
//! nothing.

use std::net::SocketAddr;
use std::os::unix::fs::{OpenOptionsExt as _, symlink};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use serde_json::Value;
use tempfile::TempDir;
use tokio::task::JoinSet;

use crate::app::{App, Down, reply};
use crate::client::{Answer, Connection, Post};
use crate::pki::{self, Authority, Caller, Issued};
use crate::process::Process;

const RELOADED: &str = "\"message\":\"config reloaded\"";
const REJECTED: &str = "config not reloaded";

/// A configuration file and its secrets.
struct Files {
    dir: TempDir,
    server: String,
    admin: String,
    log: String,
    source: String,
    rest: String,
}

impl Files {
    /// One source with the key in `secrets/one`, and one upstream.
    fn new(url: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("secrets")).unwrap();
        let files = Self {
            dir,
            server: "listen = \"127.0.0.1:0\"".to_owned(),
            admin: String::new(),
            log: String::new(),
            source: key_files(&["one"]),
            rest: upstream("app", url),
        };
        files.secret("one", &key("one"));
        files.secret("two", &key("two"));
        files.write();
        files
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn text(&self) -> String {
        let Self { server, admin, log, source, rest, .. } = self;
        format!(
            "[server]\n{server}\n\n[admin]\nlisten = \"127.0.0.1:0\"\n{admin}\n\n[store]\nmin_free = \"0B\"\n\n\
             [log]\n{log}\n\n[source.lab]\nauth = {{ kind = \"api-key\", header = \"X-Key\" }}\n{source}\n\
             event.id = \"/id\"\nevent.subject = \"/subject\"\n\n{rest}"
        )
    }

    fn write(&self) {
        self.write_text(&self.text());
    }

    fn write_text(&self, text: &str) {
        // As careful editors do.
        let new = self.path().join("hookward.toml.new");
        std::fs::write(&new, text).unwrap();
        std::fs::rename(new, self.path().join("hookward.toml")).unwrap();
    }

    fn secret(&self, name: &str, value: &str) {
        use std::io::Write as _;
        let path = self.path().join("secrets").join(name);
        let mut open = std::fs::OpenOptions::new();
        let mut file = open.create(true).truncate(true).write(true).mode(0o600).open(path).unwrap();
        file.write_all(value.as_bytes()).unwrap();
    }
}

impl Files {
    fn pair(&self, issued: &Issued) {
        self.secret("key.pem", &issued.key_pem);
        self.secret("cert.pem", &issued.pem);
    }
}

fn key(name: &str) -> String {
    format!("the-key-of-{name}-0123456789")
}

fn key_files(names: &[&str]) -> String {
    let names: Vec<_> = names.iter().map(|n| format!("{{ file = \"secrets/{n}\" }}")).collect();
    format!("keys = [{}]", names.join(", "))
}

fn upstream(name: &str, url: &str) -> String {
    format!(
        "[upstream.{name}]\nurl = \"{url}\"\nretry = {{ first = \"1ms\", max = \"2ms\", give_up = \"1h\" }}\n"
    )
}

fn post(n: usize, key_name: &str) -> Post {
    let body = format!(r#"{{"id":"e{n}","subject":"s{}","n":{n}}}"#, n % 3);
    Post::to("/hooks/lab").header("X-Key", &key(key_name)).body(body)
}

async fn accepted(public: SocketAddr, n: usize) -> Answer {
    let answer = post(n, "one").send(public).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer
}

async fn end(mut process: Process) {
    process.signal("TERM");
    assert_eq!(process.end().await, Some(0), "{:#?}", process.said());
}

fn field(line: &str, name: &str) -> Value {
    serde_json::from_str::<Value>(line).unwrap()[name].clone()
}

/// Sends with this key, one request after the other on new connections, until it is told to stop.
struct Sender {
    key: &'static str,
    numbers: Arc<AtomicUsize>,
    sent: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
}

impl Sender {
    fn new(key: &'static str, numbers: &Arc<AtomicUsize>) -> Self {
        let numbers = Arc::clone(numbers);
        Self { key, numbers, sent: Arc::default(), stop: Arc::default() }
    }

    fn start(&self, public: SocketAddr, tasks: &mut JoinSet<Vec<String>>) {
        for _ in 0..4 {
            let (key, numbers) = (self.key, Arc::clone(&self.numbers));
            let (sent, stop) = (Arc::clone(&self.sent), Arc::clone(&self.stop));
            tasks.spawn(async move {
                let mut ids = Vec::new();
                let mut kept = post(0, key).connect(public).await;
                while !stop.load(Ordering::SeqCst) {
                    for on_kept in [true, false] {
                        let post = post(numbers.fetch_add(1, Ordering::SeqCst), key);
                        let answer =
                            if on_kept { kept.send(&post).await } else { post.send(public).await };
                        assert_eq!(answer.status, 200, "{key}: {answer:?}");
                        ids.push(answer.event_id().to_owned());
                        sent.fetch_add(1, Ordering::SeqCst);
                    }
                }
                ids
            });
        }
    }

    /// Waits until so many more requests have been answered.
    async fn more(&self, count: usize) {
        let goal = self.sent.load(Ordering::SeqCst) + count;
        let more = async {
            while self.sent.load(Ordering::SeqCst) < goal {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(crate::client::BOUND, more).await.expect("requests are answered");
    }

    fn stop(&self) {
        self.stop.store(true, Ordering::SeqCst);
    }
}

/// A key that the configurations before and after both have is good all the time: not one request
/// is refused, and every event arrives.
#[tokio::test(flavor = "multi_thread")]
async fn keys_are_rotated_under_load_without_a_refusal() {
    let app = App::start().await;
    let mut files = Files::new(&app.url());
    let (mut process, public, _) = Process::serve(files.path()).await;
    let (numbers, mut tasks) = (Arc::new(AtomicUsize::new(0)), JoinSet::new());
    let (old, new) = (Sender::new("one", &numbers), Sender::new("two", &numbers));
    old.start(public, &mut tasks);
    old.more(20).await;
    assert_eq!(post(1, "two").send(public).await.status, 401);

    files.source = key_files(&["one", "two"]);
    files.write();
    process.signal("HUP");
    let line = process.line(RELOADED).await;
    assert_eq!(field(&line, "changed"), "source.lab.keys");
    new.start(public, &mut tasks);
    // Over and over: with both keys before and after.
    for n in 0..5 {
        files.server = format!("listen = \"127.0.0.1:0\"\nmax_body = \"{}KiB\"", 10 + n);
        files.write();
        process.signal("HUP");
        process.lines(RELOADED, 2 + n).await;
        old.more(10).await;
        new.more(10).await;
    }
    old.stop();
    old.more(0).await;
    files.source = key_files(&["two"]);
    files.write();
    // Until then the old key's last requests may be on their way.
    let mut ids = Vec::new();
    while ids.len() < 4 {
        ids.push(tasks.join_next().await.unwrap().unwrap());
    }
    process.lines(RELOADED, 7).await;
    new.more(20).await;
    new.stop();
    while let Some(more) = tasks.join_next().await {
        ids.push(more.unwrap());
    }
    assert_eq!(post(1, "one").send(public).await.status, 401);
    let mut ids: Vec<String> = ids.into_iter().flatten().collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), numbers.load(Ordering::SeqCst));
    let seen = app.wait(ids.len()).await;
    let mut delivered: Vec<&str> = seen.iter().map(|d| d.id()).collect();
    delivered.sort_unstable();
    delivered.dedup();
    assert_eq!(delivered, ids);
    end(process).await;
}

#[tokio::test]
async fn a_secret_that_changes_in_its_file_is_taken_without_a_signal() {
    let app = App::start().await;
    let files = Files::new(&app.url());
    // As secrets are mounted: links to a directory that is exchanged as a whole.
    let path = |name: &str| files.path().join("secrets").join(name);
    for (version, value) in [("v1", key("one")), ("v2", key("two"))] {
        std::fs::create_dir(path(version)).unwrap();
        files.secret(&format!("{version}/one"), &value);
    }
    std::fs::remove_file(path("one")).unwrap();
    symlink("v1", path("..data")).unwrap();
    symlink("..data/one", path("one")).unwrap();
    let (mut process, public, _) = Process::serve(files.path()).await;
    assert_eq!(post(1, "one").send(public).await.status, 200);
    symlink("v2", path("..next")).unwrap();
    std::fs::rename(path("..next"), path("..data")).unwrap();
    let line = process.line(RELOADED).await;
    assert_eq!(field(&line, "changed"), "source.lab.keys");
    assert_eq!(post(2, "two").send(public).await.status, 200);
    assert_eq!(post(3, "one").send(public).await.status, 401);
    end(process).await;
}

#[tokio::test]
async fn a_broken_file_changes_nothing_and_is_told_once_with_every_problem() {
    let app = App::start().await;
    let mut files = Files::new(&app.url());
    let (mut process, public, _) = Process::serve(files.path()).await;
    files.source = "keys = [{ file = \"secrets/none\" }]\nkeyz = 1".to_owned();
    files.write();
    process.signal("HUP");
    let line = process.line(REJECTED).await;
    assert_eq!(field(&line, "errors"), 2);
    let path = files.path().join("hookward.toml").display().to_string();
    let said = process.said();
    for problem in ["source.lab.keyz: unknown key", "secrets/none: entity not found"] {
        let told = said.iter().find(|line| line.contains(problem));
        let told = told.unwrap_or_else(|| panic!("{problem}: {said:#?}"));
        assert_eq!(field(told, "level"), "ERROR");
        let message = field(told, "message").as_str().unwrap().to_owned();
        assert!(message.starts_with("hookward.toml:"), "{message} in {path}");
    }
    accepted(public, 1).await;
    // What was missing comes: that is a change.
    files.source = "keys = [{ file = \"secrets/none\" }]".to_owned();
    files.write();
    process.lines(REJECTED, 2).await;
    accepted(public, 2).await;
    files.secret("none", &key("two"));
    process.line(RELOADED).await;
    assert_eq!(post(3, "two").send(public).await.status, 200);
    // The file is gone: tried once.
    std::fs::remove_file(files.path().join("hookward.toml")).unwrap();
    process.lines(REJECTED, 3).await;
    assert_eq!(post(4, "two").send(public).await.status, 200);
    files.write();
    // It is what it was.
    let line = process.lines(RELOADED, 2).await.pop().unwrap();
    assert_eq!(field(&line, "changed"), "nothing");
    let rejected = process.said().iter().filter(|line| line.contains(REJECTED)).count();
    assert_eq!(rejected, 3, "{:#?}", process.said());
    end(process).await;
}

#[tokio::test]
async fn what_cannot_change_is_named_and_nothing_else_of_it_taken() {
    let app = App::start().await;
    let mut files = Files::new(&app.url());
    let (mut process, public, _) = Process::serve(files.path()).await;
    files.log = "format = \"text\"".to_owned();
    files.server = "listen = \"127.0.0.1:1\"\nmax_body = \"1KiB\"".to_owned();
    files.source = key_files(&["two"]);
    let text = files.text();
    let text = text.replace("[admin]\nlisten = \"127.0.0.1:0\"\n", "");
    files.write_text(&text.replace("min_free", "path = \"elsewhere\"\nmin_free"));
    process.signal("HUP");
    process.line(REJECTED).await;
    for fixed in ["server.listen", "admin", "store.path", "log.format"] {
        let line = process.line(&format!("\"message\":\"{fixed}: a change needs a restart")).await;
        assert_eq!(field(&line, "level"), "ERROR");
    }
    accepted(public, 1).await;
    assert_eq!(post(1, "two").send(public).await.status, 401);
    end(process).await;
}

/// Added, removed and back again, over a kill: each upstream gets its own, and nothing twice that
/// it has settled.
#[tokio::test]
async fn upstreams_come_and_go_with_what_waits_for_them() {
    let down = Down::new();
    let other = App::start().await;
    let mut files = Files::new(&down.url());
    let (mut process, public, _) = Process::serve(files.path()).await;
    let mut for_app = Vec::new();
    for n in 0..6 {
        for_app.push(accepted(public, n).await.event_id().to_owned());
    }
    files.rest = upstream("app", &down.url()) + &upstream("other", &other.url());
    files.write();
    process.signal("HUP");
    let line = process.line(RELOADED).await;
    assert_eq!(field(&line, "changed"), "upstream.other (added)");
    let for_both = accepted(public, 6).await.event_id().to_owned();
    for_app.push(for_both.clone());
    other.wait(1).await;

    files.rest = upstream("other", &other.url());
    files.write();
    process.signal("HUP");
    let line = process.line("not configured any more").await;
    assert_eq!((field(&line, "upstream"), field(&line, "waiting")), ("app".into(), 7.into()));
    process.lines(RELOADED, 2).await;
    let for_other = accepted(public, 7).await.event_id().to_owned();
    let seen = other.wait(2).await;
    assert_eq!([seen[0].id(), seen[1].id()], [&*for_both, &*for_other]);
    process.signal("KILL");
    process.end().await;

    let (mut process, public, _) = Process::serve(files.path()).await;
    process.line("deliveries wait for an upstream that is not configured").await;
    files.rest = upstream("first", &other.url()) + &upstream("app", &down.url());
    files.write();
    process.signal("HUP");
    process.line(RELOADED).await;
    let last = accepted(public, 8).await.event_id().to_owned();
    for_app.push(last.clone());
    let app = down.come_up();
    let seen = app.wait(for_app.len()).await;
    let mut delivered: Vec<&str> = seen.iter().map(|d| d.id()).collect();
    for subject in 0..3 {
        let subject = format!("s{subject}");
        let of_it = seen.iter().filter(|d| d.event()["subject"] == subject);
        let numbers: Vec<_> = of_it.map(|d| d.event()["data"]["n"].as_u64().unwrap()).collect();
        assert!(numbers.is_sorted(), "{numbers:?}");
    }
    delivered.sort_unstable();
    for_app.sort_unstable();
    assert_eq!(delivered, for_app);
    let seen = other.wait_for(|seen| seen.iter().any(|d| d.id() == last)).await;
    let to_first: Vec<_> = seen.iter().filter(|d| for_app.contains(&d.id().to_owned())).collect();
    assert_eq!(to_first.len(), 2, "only what it was configured for: {seen:#?}");
    end(process).await;
}

/// An upstream that moves gets what waited for it at its new address, and one that was being
/// delivered to elsewhere is not disturbed.
#[tokio::test]
async fn an_upstream_that_moves_gets_its_backlog_where_it_is_now() {
    let (down, steady, moved) = (Down::new(), App::start().await, App::start().await);
    let mut files = Files::new("");
    files.rest = upstream("app", &down.url()) + &upstream("steady", &steady.url());
    files.write();
    let (mut process, public, _) = Process::serve(files.path()).await;
    for n in 0..12 {
        accepted(public, n).await;
    }
    steady.wait(12).await;
    files.rest = upstream("app", &moved.url()) + &upstream("steady", &steady.url());
    files.write();
    let line = process.line(RELOADED).await;
    assert_eq!(field(&line, "changed"), "upstream.app.url");
    accepted(public, 12).await;
    assert_eq!(moved.wait(13).await.len(), 13);
    assert_eq!(steady.wait(13).await.len(), 13);
    end(process).await;
}

/// A stranger kept a connection through a TCP proxy open until a reload trusted that proxy: what the
/// stranger had written into X-Forwarded-For then passed the allowlist.
#[tokio::test]
async fn older_connections_are_not_believed_what_newer_ones_are() {
    let app = App::start().await;
    let mut files = Files::new(&app.url());
    files.source += "\nallow_ips = [\"203.0.113.9/32\"]";
    files.write();
    let (mut process, public, _) = Process::serve(files.path()).await;
    let forged = |n| post(n, "one").header("X-Forwarded-For", "203.0.113.9");
    let mut kept = forged(0).connect(public).await;
    assert_eq!(kept.send(&forged(0)).await.status, 403);
    let mut proxied = forged(0).connect(public).await;
    assert_eq!(proxied.send(&forged(0)).await.status, 403);

    files.server += "\ntrusted_proxies = [\"127.0.0.1/32\"]";
    files.write();
    process.signal("HUP");
    process.line(RELOADED).await;
    let answer = kept.send(&forged(1)).await;
    assert_eq!((answer.status, answer.header("connection")), (403, Some("close")));
    let mut trusted = forged(2).connect(public).await;
    assert_eq!(trusted.send(&forged(2)).await.status, 200);

    files.server += "\nproxy_protocol = true";
    files.write();
    process.signal("HUP");
    process.lines(RELOADED, 2).await;
    for mut older in [proxied, trusted] {
        let answer = older.send(&forged(3)).await;
        assert_eq!((answer.status, answer.header("connection")), (403, Some("close")));
    }
    let mut named = forged(4).connect(public).await;
    named.write(&forged(4).behind(b"PROXY TCP4 203.0.113.9 192.0.2.1 1 2\r\n")).await;
    assert_eq!(named.answer().await.status, 200);
    assert_eq!(named.send(&forged(5)).await.status, 200);
    end(process).await;
}

#[tokio::test]
async fn sources_limits_and_routes_change() {
    let (app, lab) = (App::start().await, App::start().await);
    let mut files = Files::new(&app.url());
    let (mut process, public, _) = Process::serve(files.path()).await;
    accepted(public, 0).await;
    app.wait(1).await;
    files.server += "\nmax_body = \"1KiB\"";
    files.source +=
        "\npath = \"/elsewhere\"\nallow_ips = [\"127.0.0.1/32\"]\nevent.type = \"/type\"";
    files.rest += &upstream("lab", &lab.url());
    files.rest += "[[route]]\ntype = \"results.*\"\nto = [\"lab\"]\n";
    files.rest += "[source.new]\nauth = { kind = \"none-dangerous\" }\n";
    files.write();
    process.signal("HUP");
    process.line(RELOADED).await;
    assert_eq!(post(1, "one").send(public).await.status, 404);
    let elsewhere = Post::to("/elsewhere").header("X-Key", &key("one"));
    let long = elsewhere.clone().body(format!("\"{}\"", "x".repeat(1024)));
    assert_eq!(long.send(public).await.status, 413);
    assert_eq!(elsewhere.clone().from("127.0.0.2").send(public).await.status, 403);
    let routed = elsewhere.body(r#"{"id":"r","type":"results.ready"}"#).send(public).await;
    assert_eq!(routed.status, 200);
    assert_eq!(lab.wait(1).await[0].id(), routed.event_id());
    assert_eq!(Post::to("/hooks/new").send(public).await.status, 200);
    end(process).await;
    assert_eq!(app.seen().len(), 1, "no route leads there any more");
}

#[tokio::test]
async fn the_logs_level_changes() {
    let app = App::start().await;
    let mut files = Files::new(&app.url());
    let (mut process, public, _) = Process::serve(files.path()).await;
    files.log = "level = \"error\"".to_owned();
    files.source = key_files(&["one", "two"]);
    files.write();
    process.signal("HUP");
    // It says nothing any more, not even that.
    while post(0, "two").send(public).await.status != 200 {
        tokio::task::yield_now().await;
    }
    let quiet = post(1, "two").send(public).await;
    files.log = "level = \"info\"".to_owned();
    files.write();
    process.signal("HUP");
    let line = process.line(RELOADED).await;
    assert_eq!(field(&line, "changed"), "log.level");
    let heard = post(2, "two").send(public).await;
    process.line(heard.event_id()).await;
    // Its delivery may have been told since.
    let told = |line: &String| line.contains("\"accepted\"") && line.contains(quiet.event_id());
    assert!(!process.said().iter().any(told));
    end(process).await;
}

#[tokio::test]
async fn the_admin_token_changes_and_reloads_are_counted() {
    let app = App::start().await;
    let mut files = Files::new(&app.url());
    files.admin = "token = { file = \"secrets/one\" }".to_owned();
    files.write();
    let (mut process, _, admin) = Process::serve(files.path()).await;
    assert_eq!(metrics(admin.unwrap(), "one").await.status, 200);
    files.admin = "token = { file = \"secrets/two\" }".to_owned();
    files.write();
    process.signal("HUP");
    let line = process.line(RELOADED).await;
    assert_eq!(field(&line, "changed"), "admin.token");
    assert_eq!(metrics(admin.unwrap(), "one").await.status, 401);
    files.write_text("nothing");
    process.signal("HUP");
    process.line(REJECTED).await;
    let counted = metrics(admin.unwrap(), "two").await.body;
    for (result, times) in [("ok", 1), ("rejected", 1)] {
        let sample = format!("hookward_config_reloads_total{{result=\"{result}\"}} {times}\n");
        assert!(counted.contains(&sample), "{counted}");
    }
    end(process).await;
}

async fn metrics(admin: SocketAddr, token: &str) -> Answer {
    let mut connection = Connection::open(admin, None).await;
    let authorization = format!("Authorization: Bearer {}", key(token));
    let get = format!("GET /metrics HTTP/1.1\r\nHost: a\r\n{authorization}\r\n\r\n");
    connection.write(get.as_bytes()).await;
    connection.answer().await
}

/// Renewed in its files without a word to anyone, as those that renew do; half of a pair keeps the
/// old one in place.
#[tokio::test]
async fn a_renewed_certificate_is_taken_and_half_a_pair_is_not() {
    let (app, authority) = (App::start().await, Authority::new("roots"));
    let mut files = Files::new(&app.url());
    files.pair(&authority.server(0x5c01));
    files.server += "\ntls = { cert = \"secrets/cert.pem\", key = \"secrets/key.pem\" }";
    files.write();
    let (mut process, public, _) = Process::serve(files.path()).await;
    let client = Caller::trusting(&authority).ready();
    let mut kept = client.connect(public).await.unwrap();
    assert_eq!(pki::status(&pki::ask(&mut kept, &post(1, "one")).await.unwrap()), Some(200));
    files.secret("cert.pem", &authority.server(0x5c02).pem);
    let rejected = process.line(REJECTED).await;
    assert_eq!(field(&rejected, "errors"), 1);
    assert_eq!(pki::serial(&client.connect(public).await.unwrap()), "5c01");
    files.pair(&authority.server(0x5c03));
    let line = process.line(RELOADED).await;
    assert_eq!(field(&line, "changed"), "server.tls.cert");
    assert_eq!(pki::serial(&client.connect(public).await.unwrap()), "5c03");
    assert_eq!(pki::status(&pki::ask(&mut kept, &post(2, "one")).await.unwrap()), Some(200));
    // TLS itself stays on until a restart.
    files.server = "listen = \"127.0.0.1:0\"".to_owned();
    files.write();
    process.signal("HUP");
    process.line("server.tls: a change needs a restart").await;
    assert_eq!(pki::serial(&client.connect(public).await.unwrap()), "5c03");
    end(process).await;
}

/// A request that is on its way keeps to the rules that it began with.
#[tokio::test]
async fn a_request_in_hand_keeps_its_rules() {
    let app = App::answering(|_, _| reply(200)).await;
    let mut files = Files::new(&app.url());
    let (mut process, public, _) = Process::serve(files.path()).await;
    let begun = post(1, "one").header("Expect", "100-continue");
    let mut connection = begun.connect(public).await;
    connection.write(&begun.head()).await;
    assert_eq!(connection.status().await, 100);
    files.source = key_files(&["two"]);
    files.rest = upstream("other", &app.url());
    files.write();
    process.signal("HUP");
    process.line(RELOADED).await;
    connection.write(br#"{"id":"e1","subject":"s1","n":1}"#).await;
    assert_eq!(connection.answer().await.status, 200);
    assert_eq!(post(1, "one").send(public).await.status, 401);
    // It went to the upstream that is gone, and waits for it.
    files.rest = upstream("other", &app.url()) + &upstream("app", &app.url());
    files.write();
    process.signal("HUP");
    assert_eq!(app.wait(1).await.len(), 1);
    end(process).await;
}
