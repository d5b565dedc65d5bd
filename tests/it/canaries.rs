//! No secret and no payload where they do not belong, in the worst cases that a sender and an app can make
//! together, with the most talkative log in both formats. What is looked for and where is the whole
//! suite's rule ([`crate::leaks`]); here is what provokes it.

use std::net::SocketAddr;
use std::path::Path;

use crate::app::{App, reply};
use crate::client::{Connection, Post};
use crate::gateway::secret;
use crate::leaks::{self, Needles};
use crate::process::{Process, hookward, run};

/// What stands in bodies, queries, headers and the app's answers.
fn word() -> String {
    leaks::canary("everything that can be sent")
}

fn write(dir: &Path, url: &str, format: &str) {
    let word = word();
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
url = "{url}?token={word}"
headers = {{ Authorization = {{ env = "TOKEN" }} }}
signing_key = {{ env = "APP" }}
retry = {{ first = "1ms", max = "2ms", give_up = "1h" }}

[upstream.gone]
url = "http://127.0.0.1:1/?token={word}"
retry = {{ first = "1ms", max = "2ms", give_up = "1h" }}
"#
    );
    std::fs::write(dir.join("hookward.toml"), text).unwrap();
}

/// What stands where the event's identity is read: operators see it, the log and files do not have it.
const IDENTITY: &str = "zwqvxkjyzwqvxkjy";

/// Every part that is read out of a NovaMed event, and some that are not.
fn event(n: u32) -> String {
    let word = word();
    format!(
        r#"{{"event_type":"order:shipped","event_id":"{IDENTITY}-{n}","timestamp":"2025-01-15T10:30:00.000Z",
        "clinic_id":"{IDENTITY}","data":{{"order_id":"{IDENTITY}","patient":"{word} {word}","n":"{word}"}}}}"#
    )
}

fn posts() -> Vec<Post> {
    let word = word();
    let key = secret("NOVAMED");
    let right = Post::to(&format!("/hooks/novamed?{word}={word}"))
        .header("x-api-key", &key)
        .header("Cookie", &word)
        .header("Authorization", &word)
        .body(event(1));
    vec![
        right.clone(),
        right.clone(),
        right.clone().body(event(1).replace("shipped", "created")),
        right.clone().body(event(2)),
        right.clone().without("x-api-key"),
        right.clone().without("x-api-key").header("x-api-key", &word),
        right.clone().header("x-api-key", &key),
        right.clone().content_type(&format!("text/{word}")),
        right.clone().content_type(&format!("application/json; charset={word}")),
        right.clone().header("Content-Encoding", &word),
        right.clone().body(format!("{{\"{word}\":1,\"{word}\":2}}")),
        right.clone().body(format!("{{{word}")),
        right.clone().body(format!("\"{word}\u{1}\"")),
        right.clone().method("PUT"),
        right.clone().declares(1 << 30),
        Post::to(&format!("/hooks/lab?{word}")).header("X-Lab-Signature", &word),
        Post::to("/hooks/lab").header("X-Lab-Signature", &format!("sha256={}", "0".repeat(64))),
        Post::to(&format!("/nowhere?{word}")).body(event(3)),
    ]
}

/// Everything that was answered.
async fn provoke(public: SocketAddr) -> String {
    let word = word();
    let mut answers = String::new();
    for post in posts() {
        let answer = post.send(public).await;
        answers += &format!("{answer:?}\n");
    }
    for head in [
        format!(
            "POST /hooks/novamed HTTP/1.1\r\nHost: {word}\r\nHost: {word}\r\nContent-Length: 0\r\n\r\n"
        ),
        format!("POST http://{word}/hooks/lab HTTP/1.1\r\nHost: gw\r\nContent-Length: 0\r\n\r\n"),
        format!("{word}\r\n\r\n"),
        format!("POST /hooks/novamed HTTP/1.1\r\nHost: gw\r\n{word}\r\n\r\n"),
        format!("POST /hooks/novamed HTTP/1.1\r\nHost: gw\r\nContent-Length: {word}\r\n\r\n"),
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
    gone.write(word.as_bytes()).await;
    drop(gone);
    answers
}

#[tokio::test]
async fn neither_secrets_nor_payloads_are_told() {
    // It fails first, with an answer that holds what it was sent.
    let app = App::answering(|_, before| {
        let status = [500, 410, 302][before.len().min(2)];
        let status = if before.len() > 4 { 200 } else { status };
        reply(status).header("location", format!("/{}", word())).header("x-echo", word())
    })
    .await;
    for format in ["json", "text"] {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), &app.url(), format);
        let check = run(hookward(dir.path(), &["check"])).await;
        assert_eq!(check.code, Some(0), "{check:?}");
        let mut process = Process::start(hookward(dir.path(), &["run"]));
        let started = process.line("started").await;
        let (_, listen) = started.split_once("listen").unwrap();
        let listen = listen.trim_start_matches(['"', ':', '=']);
        let end = listen.find(['"', ' ']).unwrap_or(listen.len());
        let public = listen[..end].parse().unwrap();
        let answers = provoke(public).await;
        assert!(answers.contains("200") && answers.contains("401") && answers.contains("415"));
        leaks::answered("an answer", &answers);
        process.line("delivered").await;
        process.line("the body broke off").await;
        process.signal("TERM");
        assert_eq!(process.end().await, Some(0));
        let said = process.said().join("\n");
        for words in ["refused", "accepted", "delivery attempt", "connect_failed", "malformed_json"]
        {
            assert!(said.contains(words), "{format}: the log has no {words}");
        }
        assert_eq!(told(&process), [""; 0]);
        drop(process);
        // A second start reads everything back.
        let mut process = Process::start(hookward(dir.path(), &["run"]));
        process.line("started").await;
        process.signal("TERM");
        assert_eq!(process.end().await, Some(0));
        assert_eq!(told(&process), [""; 0]);
        drop(process);
        journal_has_it(&dir.path().join("data/journal"));
    }
}

/// Where the event's identity stands, but for what operators are answered.
fn told(process: &Process) -> Vec<String> {
    let identity = Needles::default();
    identity.add("the identity", IDENTITY.as_bytes(), 1);
    let found = process.search(&identity).into_keys();
    found.filter(|place| !place.starts_with("/api/v1/")).collect()
}

/// Without it, the search of everything else would prove nothing.
fn journal_has_it(dir: &Path) {
    let files = std::fs::read_dir(dir).unwrap().map(|entry| std::fs::read(entry.unwrap().path()));
    let mut files = files.map(|bytes| String::from_utf8_lossy(&bytes.unwrap()).into_owned());
    assert!(files.any(|text| text.contains(&word())));
}
