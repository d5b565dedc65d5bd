//! The operators' side of the binary: the Unix socket, the token, and commands that ask. What needs
//! stored events is in `api_events`.

use std::fs;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::time::timeout;

use crate::client::{Answer, BOUND, Post};
use crate::gateway::secret;
use crate::leaks;
use crate::process::{Process, Said, hookward, run};

/// A gateway's directory, with these keys of `[server]`.
pub fn configured(server: &str, url: &str) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let retry = "retry = { first = \"1ms\", max = \"2ms\", give_up = \"1s\" }";
    let text = format!(
        "[server]\nlisten = \"127.0.0.1:0\"\n{server}\n\
         [admin]\nlisten = \"127.0.0.1:0\"\ntoken = {{ env = \"ADMIN\" }}\n\
         [store]\nmin_free = \"0B\"\n\
         [source.lab]\nauth = {{ kind = \"api-key\", header = \"X-API-Key\" }}\nkeys = [{{ env = \"LAB\" }}]\n\
         event.id = \"/id\"\nevent.type = \"/event\"\nevent.subject = \"/subject\"\n\
         [upstream.app]\nurl = \"{url}\"\n{retry}\n"
    );
    fs::write(dir.path().join("hookward.toml"), text).unwrap();
    dir
}

pub fn socket(dir: &Path) -> PathBuf {
    dir.join("data/admin.sock")
}

/// What is answered over the socket: status and body.
pub async fn ask(dir: &Path, request: &str, body: &str) -> (u16, Value) {
    let mut stream = UnixStream::connect(socket(dir)).await.unwrap();
    let kind = if body.is_empty() { "" } else { "Content-Type: application/json\r\n" };
    let length = body.len();
    let text = format!(
        "{request} HTTP/1.1\r\nHost: local\r\nConnection: close\r\n{kind}Content-Length: {length}\r\n\r\n{body}"
    );
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut answer = String::new();
    timeout(BOUND, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    if !request.contains("payload=1") {
        leaks::answered(request, &answer);
    }
    (status, serde_json::from_str(body).unwrap())
}

/// A command on the gateway of this directory.
pub async fn command(dir: &Path, args: &[&str]) -> Said {
    run(hookward(dir, args)).await
}

fn get(path: &str) -> Post {
    Post::to(path).method("GET").without("content-type").body("")
}

fn json(answer: &Answer) -> Value {
    serde_json::from_str(&answer.body).unwrap()
}

#[tokio::test]
async fn the_socket_is_its_owner_s_alone_and_goes_at_a_clean_stop() {
    let dir = configured("", "http://127.0.0.1:1/");
    let (mut process, ..) = Process::serve(dir.path()).await;
    let found = fs::symlink_metadata(socket(dir.path())).unwrap();
    assert!(found.file_type().is_socket());
    assert_eq!(found.permissions().mode() & 0o777, 0o600);
    let (status, body) = ask(dir.path(), "GET /api/v1/sources", "").await;
    assert_eq!((status, &body["items"][0]["name"]), (200, &"lab".into()));
    process.signal("TERM");
    assert_eq!(process.end().await, Some(0));
    assert!(!socket(dir.path()).exists());
}

#[tokio::test]
async fn a_socket_that_a_killed_gateway_has_left_is_replaced_and_a_live_one_s_is_not() {
    let dir = configured("", "http://127.0.0.1:1/");
    let (mut process, ..) = Process::serve(dir.path()).await;
    process.signal("KILL");
    process.end().await;
    assert!(socket(dir.path()).exists());
    let said = command(dir.path(), &["events", "list"]).await;
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.err.contains("no gateway runs on this store"), "{}", said.err);

    let (_live, ..) = Process::serve(dir.path()).await;
    let second = command(dir.path(), &["run"]).await;
    assert_eq!(second.code, Some(1), "the store is locked: {second:?}");
    assert_eq!(ask(dir.path(), "GET /api/v1/sources", "").await.0, 200);
}

#[tokio::test]
async fn the_socket_works_in_the_sandbox() {
    let dir = configured("sandbox = true", "http://127.0.0.1:1/");
    let mut process = Process::start(hookward(dir.path(), &["run"]));
    let first = process.lines("\"message\":", 1).await;
    if first[0].contains("server.sandbox") {
        println!("skipped: {}", first[0]);
        return;
    }
    process.line("\"message\":\"started\"").await;
    assert_eq!(ask(dir.path(), "GET /api/v1/sources", "").await.0, 200);
    process.signal("TERM");
    assert_eq!(process.end().await, Some(0));
    assert!(!socket(dir.path()).exists());
}

#[tokio::test]
async fn a_store_too_deep_for_a_socket_runs_without_and_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let deep = dir.path().join("d".repeat(60)).join("e".repeat(60));
    fs::create_dir_all(&deep).unwrap();
    let inner = configured("", "http://127.0.0.1:1/");
    let text = fs::read_to_string(inner.path().join("hookward.toml")).unwrap();
    let named = format!("[store]\npath = \"{}\"", deep.join("data").display());
    fs::write(deep.join("hookward.toml"), text.replace("[store]", &named)).unwrap();
    let (mut process, _, admin) = Process::serve(&deep).await;
    let line = process.line("no Unix socket for operators").await;
    assert!(line.contains("at most 107 bytes") && line.contains("--url"), "{line}");
    let said = command(&deep, &["events", "list"]).await;
    assert!(said.code == Some(1) && said.err.contains("--url"), "{said:?}");
    let bearer = format!("Bearer {}", secret("ADMIN"));
    let answer = get("/api/v1/sources").header("Authorization", &bearer).send(admin.unwrap()).await;
    assert_eq!(answer.status, 200);
}

#[tokio::test]
async fn the_listener_asks_for_the_token_and_the_public_one_has_nothing_of_it() {
    let dir = configured("", "http://127.0.0.1:1/");
    let (_process, public, admin) = Process::serve(dir.path()).await;
    let (admin, bearer) = (admin.unwrap(), format!("Bearer {}", secret("ADMIN")));
    for path in ["/api/v1/sources", "/api/v1/events", "/api/v1/openapi.json", "/api/v1/nothing"] {
        let bare = get(path).send(admin).await;
        assert_eq!(bare.status, 401, "{path}");
        let wrong = get(path).header("Authorization", "Bearer wrong").send(admin).await;
        assert_eq!(wrong.status, 401, "{path}");
        let outside = get(path).header("Authorization", &bearer).send(public).await;
        assert_eq!(outside.status, 404, "{path}");
    }
    let answer = get("/api/v1/openapi.json").header("Authorization", &bearer).send(admin).await;
    assert_eq!((answer.status, &json(&answer)["openapi"]), (200, &"3.1.0".into()));
    let answer = get("/api/v1/nothing").header("Authorization", &bearer).send(admin).await;
    assert_eq!(answer.status, 404);
    assert_eq!(answer.header("content-type"), Some("application/problem+json"));
    let post = Post::to("/api/v1/sources").header("Authorization", &bearer).send(admin).await;
    assert_eq!((post.status, post.header("allow")), (405, Some("GET, HEAD")));
    // A body that is too long, or is none, does not reach the store.
    let replay = Post::to("/api/v1/dead-letters/replay").header("Authorization", &bearer);
    let long = replay.clone().declares(64 << 20).body("").send(admin).await;
    assert_eq!(long.status, 413);
    let form = replay.content_type("application/x-www-form-urlencoded").send(admin).await;
    assert_eq!(form.status, 415);
}

#[tokio::test]
async fn a_command_says_in_plain_words_why_it_cannot_ask() {
    let dir = configured("", "http://127.0.0.1:1/");
    let id = "0193f0a0-0000-7000-8000-000000000000";
    let asking: [&[&str]; 7] = [
        &["events", "list"],
        &["events", "show", id],
        &["events", "replay", id, "--reason", "why"],
        &["events", "release", id],
        &["events", "discard", id, "--json"],
        &["dead-letters", "list", "--all"],
        &["dead-letters", "replay", "--dry-run"],
    ];
    for args in asking {
        let said = command(dir.path(), args).await;
        assert_eq!((said.code, said.out.as_str()), (Some(1), ""), "{args:?}: {said:?}");
        assert!(said.err.contains("no gateway runs on this store"), "{args:?}: {}", said.err);
    }
    let url = command(dir.path(), &["events", "list", "--url", "http://127.0.0.1:1"]).await;
    assert!(url.code == Some(1) && url.err.contains("HOOKWARD_ADMIN_TOKEN"), "{url:?}");
    let wrong: [&[&str]; 5] = [
        &["events"],
        &["events", "show"],
        &["events", "list", "--colour"],
        &["events", "list", "--url", "127.0.0.1:9443"],
        &["events", "list", "--url", "http://127.0.0.1:1", "--config", "hookward.toml"],
    ];
    for args in wrong {
        assert_eq!(command(dir.path(), args).await.code, Some(2), "{args:?}");
    }
    fs::write(dir.path().join("hookward.toml"), "[server]\nlisten = 5\n").unwrap();
    assert_eq!(command(dir.path(), &["events", "list"]).await.code, Some(78));
}

#[tokio::test]
async fn commands_reach_the_gateway_by_socket_and_by_url_without_the_sources_secrets() {
    let dir = configured("", "http://127.0.0.1:1/");
    let (_process, _, admin) = Process::serve(dir.path()).await;
    let id = "0193f0a0-0000-7000-8000-000000000000";
    // The secrets are the service's; an operator's shell has none of them.
    let mut bare = hookward(dir.path(), &["events", "list", "--limit", "501"]);
    bare.env_remove("LAB").env_remove("ADMIN");
    let said = run(bare).await;
    assert_eq!(said.code, Some(2), "{said:?}");
    assert!(said.err.contains("limit: a whole number from 1 to 500"), "{}", said.err);

    let url = format!("http://{}", admin.unwrap());
    let mut wrong = hookward(dir.path(), &["events", "show", id, "--url", &url]);
    wrong.env("HOOKWARD_ADMIN_TOKEN", "wrong");
    let said = run(wrong).await;
    assert_eq!(said.code, Some(1));
    assert!(said.err.contains("token is missing or wrong"), "{}", said.err);
    let mut right = hookward(dir.path(), &["events", "list", "--state", "gone", "--url", &url]);
    right.env("HOOKWARD_ADMIN_TOKEN", secret("ADMIN"));
    let said = run(right).await;
    assert_eq!(said.code, Some(2), "{said:?}");
    assert!(said.err.contains("state: one of pending, delivered"), "{}", said.err);
}
