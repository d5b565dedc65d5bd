//! No secret and no payload where they do not belong: not in the log, whatever its level and
//! format, not in an answer, not on the commands' screens, and not in the index.

use std::path::Path;

use crate::app::{App, reply};
use crate::client::{Connection, Post};
use crate::gateway::secret;
use crate::process::{Process, VARIABLES, hookward, run};

/// What stands in bodies, queries, headers and the app's answers.
const CANARY: &str = "c4n4ry";

fn write(dir: &Path, url: &str, format: &str) {
    let text = format!(
        r#"
[server]
listen = "127.0.0.1:0"

[admin]
listen = "127.0.0.1:0"
token = {{ env = "ADMIN" }}

[store]
min_free = "0B"

[log]
format = "{format}"
level = "trace"

[source.lab]
auth = {{ kind = "hmac", header = "X-Lab-Signature", prefix = "sha256=" }}
keys = [{{ env = "LAB" }}]

[source.novamed]
preset = "novamed"
keys = [{{ env = "NOVAMED" }}]

[upstream.app]
url = "{url}?token={CANARY}"
headers = {{ Authorization = {{ env = "TOKEN" }} }}
signing_key = {{ env = "APP" }}
retry = {{ first = "1ms", max = "2ms", give_up = "1h" }}

[upstream.gone]
url = "http://127.0.0.1:1/{CANARY}?token={CANARY}"
retry = {{ first = "1ms", max = "2ms", give_up = "1h" }}
"#
    );
    std::fs::write(dir.join("hookward.toml"), text).unwrap();
}

/// Every part that is read out of a NovaMed event, and some that are not.
fn event(n: u32) -> String {
    format!(
        r#"{{"event_type":"order:shipped","event_id":"{CANARY}-{n}","timestamp":"2025-01-15T10:30:00.000Z",
        "clinic_id":"{CANARY}","data":{{"order_id":"{CANARY}","patient":"{CANARY} {CANARY}","n":"{CANARY}"}}}}"#
    )
}

fn posts() -> Vec<Post> {
    let key = secret("NOVAMED");
    let right = Post::to(&format!("/hooks/novamed?{CANARY}={CANARY}"))
        .header("x-api-key", &key)
        .header("Cookie", CANARY)
        .header("Authorization", CANARY)
        .body(event(1));
    vec![
        right.clone(),
        right.clone(),
        right.clone().body(event(1).replace("shipped", "created")),
        right.clone().body(event(2)),
        right.clone().without("x-api-key"),
        right.clone().without("x-api-key").header("x-api-key", CANARY),
        right.clone().header("x-api-key", &key),
        right.clone().content_type(&format!("text/{CANARY}")),
        right.clone().content_type(&format!("application/json; charset={CANARY}")),
        right.clone().header("Content-Encoding", CANARY),
        right.clone().body(format!("{{\"{CANARY}\":1,\"{CANARY}\":2}}")),
        right.clone().body(format!("{{{CANARY}")),
        right.clone().body(format!("\"{CANARY}\u{1}\"")),
        right.clone().method("PUT"),
        right.clone().declares(1 << 30),
        Post::to(&format!("/hooks/lab?{CANARY}")).header("X-Lab-Signature", CANARY),
        Post::to("/hooks/lab").header("X-Lab-Signature", &format!("sha256={}", "0".repeat(64))),
        Post::to(&format!("/nowhere?{CANARY}")).body(event(3)),
    ]
}

/// Everything that was answered.
async fn provoke(public: std::net::SocketAddr) -> String {
    let mut answers = String::new();
    for post in posts() {
        let answer = post.send(public).await;
        answers += &format!("{answer:?}\n");
    }
    for head in [
        format!(
            "POST /hooks/novamed HTTP/1.1\r\nHost: {CANARY}\r\nHost: {CANARY}\r\nContent-Length: 0\r\n\r\n"
        ),
        format!("POST http://{CANARY}/hooks/lab HTTP/1.1\r\nHost: gw\r\nContent-Length: 0\r\n\r\n"),
        format!("{CANARY}\r\n\r\n"),
        format!("POST /hooks/novamed HTTP/1.1\r\nHost: gw\r\n{CANARY}\r\n\r\n"),
        format!("POST /hooks/novamed HTTP/1.1\r\nHost: gw\r\nContent-Length: {CANARY}\r\n\r\n"),
    ] {
        let mut connection = Connection::open(public, None).await;
        connection.write(head.as_bytes()).await;
        answers += &connection.rest().await;
    }
    // One that goes away in the middle.
    let post = Post::to("/hooks/novamed").header("x-api-key", &secret("NOVAMED"));
    let post = post.header("Expect", "100-continue").declares(100);
    let mut gone = post.connect(public).await;
    gone.write(&post.head()).await;
    assert_eq!(gone.status().await, 100);
    gone.write(CANARY.as_bytes()).await;
    drop(gone);
    answers
}

fn assert_clean(what: &str, text: &str) {
    let text = text.to_lowercase();
    assert!(!text.contains(CANARY), "payload in {what}: {}", around(&text, CANARY));
    for name in VARIABLES {
        let secret = secret(name).to_lowercase();
        assert!(!text.contains(&secret), "a secret in {what}: {}", around(&text, &secret));
        // Not even a part of it.
        let part = &secret[8..20];
        assert!(!text.contains(part), "part of a secret in {what}: {}", around(&text, part));
    }
}

fn around<'t>(text: &'t str, needle: &str) -> &'t str {
    text.lines().find(|line| line.contains(needle)).unwrap_or_default()
}

#[tokio::test]
async fn neither_secrets_nor_payloads_are_told() {
    // It fails first, with an answer that holds what it was sent.
    let app = App::answering(|_, before| {
        let status = [500, 410, 302][before.len().min(2)];
        let status = if before.len() > 4 { 200 } else { status };
        reply(status).header("location", format!("/{CANARY}")).header("x-echo", CANARY)
    })
    .await;
    for format in ["json", "text"] {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), &app.url(), format);
        let check = run(hookward(dir.path(), &["check"])).await;
        assert_eq!(check.code, Some(0), "{check:?}");
        // The upstream's path is shown, and its query is not.
        let shown = check.out.replace(&format!("127.0.0.1:1/{CANARY}\n"), "");
        assert_clean("what check prints", &shown);
        let mut process = Process::start(hookward(dir.path(), &["run"]));
        let started = process.line("started").await;
        let (_, listen) = started.split_once("listen").unwrap();
        let listen = listen.trim_start_matches(['"', ':', '=']);
        let end = listen.find(['"', ' ']).unwrap_or(listen.len());
        let public = listen[..end].parse().unwrap();
        let answers = provoke(public).await;
        assert!(answers.contains("200") && answers.contains("401") && answers.contains("415"));
        assert_clean("an answer", &answers);
        process.line("delivered").await;
        process.line("the body broke off").await;
        process.signal("TERM");
        assert_eq!(process.end().await, Some(0));
        let said = process.said().join("\n");
        for words in ["refused", "accepted", "delivery attempt", "connect_failed", "malformed_json"]
        {
            assert!(said.contains(words), "{format}: the log has no {words}");
        }
        assert_clean("the log", &said);
        // A second start reads everything back.
        let mut process = Process::start(hookward(dir.path(), &["run"]));
        process.line("started").await;
        process.signal("TERM");
        assert_eq!(process.end().await, Some(0));
        assert_clean("the log of a restart", &process.said().join("\n"));
        index_is_clean(&dir.path().join("data/index"));
        journal_has_it(&dir.path().join("data/journal"));
    }
}

/// The index holds no payload: it needs no protection of its own.
fn index_is_clean(dir: &Path) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            index_is_clean(&path);
        } else {
            let bytes = std::fs::read(&path).unwrap();
            assert_clean(&path.display().to_string(), &String::from_utf8_lossy(&bytes));
        }
    }
}

/// Without it, the look at the index would prove nothing.
fn journal_has_it(dir: &Path) {
    let files = std::fs::read_dir(dir).unwrap().map(|entry| std::fs::read(entry.unwrap().path()));
    let mut files = files.map(|bytes| String::from_utf8_lossy(&bytes.unwrap()).into_owned());
    assert!(files.any(|text| text.contains(CANARY)));
}
