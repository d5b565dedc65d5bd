//! Who may do what on the operators' side: tokens with roles, what the trail says of those who were
//! turned away, TLS and client certificates there, and that neither listener answers for the other.

mod crowded;
mod secured;

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::api;
use crate::client::{Answer, BOUND, Post};
use crate::gateway::{Running, secret, setup};
use crate::lines;
use crate::process::{Process, hookward, run};

const TOKENS: &str = "
[admin]
listen = \"127.0.0.1:0\"
token = { env = \"ADMIN\" }
[admin.tokens.vera]
role = \"viewer\"
secret = { env = \"VIEWER\" }
[admin.tokens.olga]
role = \"operator\"
secret = { env = \"OPERATOR\" }
[admin.tokens.anna]
role = \"auditor\"
secret = { env = \"AUDITOR\" }
";

const SOURCES: &str = "
[source.lab]
auth = { kind = \"api-key\", header = \"X-API-Key\" }
keys = [{ env = \"LAB\" }]
event.id = \"/id\"
[upstream.app]
url = \"http://127.0.0.1:1/\"
";

/// In the order of the tables' columns.
const HOLDERS: [(&str, &str); 4] =
    [("vera", "VIEWER"), ("olga", "OPERATOR"), ("anna", "AUDITOR"), ("admin", "ADMIN")];

async fn start(server: &str) -> Running {
    let server = format!("listen = \"127.0.0.1:0\"\n{server}");
    setup(&format!("{TOKENS}\n{SOURCES}")).server(&server).start().await
}

fn admin(gateway: &Running) -> SocketAddr {
    gateway.gateway.admin_addr().unwrap()
}

fn asking(method: &str, path: &str, body: &str) -> Post {
    let post = Post::to(path).method(method).body(body);
    if body.is_empty() { post.without("content-type") } else { post }
}

fn with(token: &str, post: Post) -> Post {
    post.header("Authorization", &format!("Bearer {token}"))
}

fn lab(body: &str) -> Post {
    Post::to("/hooks/lab").header("X-API-Key", &secret("LAB")).body(body)
}

/// The records of the trail with this reason, newest first, once there are so many.
async fn records(gateway: &Running, reason: &str, many: usize) -> Vec<Value> {
    let until = Instant::now() + BOUND;
    loop {
        let path = format!("/api/v1/audit?limit=500&reason={reason}");
        let answer = with(&secret("AUDITOR"), asking("GET", &path, "")).send(admin(gateway)).await;
        let page: Value = serde_json::from_str(&answer.body).unwrap();
        let items = page["items"].as_array().unwrap().clone();
        if items.len() >= many {
            return items;
        }
        assert!(Instant::now() < until, "{reason}: {items:#?}");
        sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn each_role_gets_what_is_its_own_and_no_more() {
    let gateway = start("").await;
    let id = gateway.accepts(&lab(r#"{"id":"1"}"#)).await;
    let event = format!("/api/v1/events/{id}");
    let (payload, without) = (format!("{event}?payload=1"), format!("{event}?payload=0"));
    let (discard, release) = (format!("{event}/discard"), format!("{event}/release"));
    let dry = r#"{"dry_run":true}"#;
    let (all, acts, trail) = ([200; 4], [403, 200, 403, 200], [403, 403, 200, 200]);
    // It waits for its upstream, and nothing can be done about that.
    let waits = [403, 409, 403, 409];
    let mut refused = 0;
    for (method, path, body, expected) in [
        ("GET", "/healthz", "", all),
        ("GET", "/readyz", "", all),
        ("GET", "/api/v1/sources", "", all),
        ("GET", "/api/v1/events", "", all),
        ("GET", "/api/v1/dead-letters", "", all),
        ("GET", "/api/v1/gaps", "", all),
        ("GET", "/api/v1/openapi.json", "", all),
        ("GET", &event, "", all),
        ("GET", &without, "", all),
        ("GET", &payload, "", [403, 200, 403, 200]),
        ("GET", "/metrics", "", [200, 200, 403, 200]),
        ("GET", "/api/v1/audit", "", trail),
        ("GET", "/api/v1/audit?reason=rate_limited", "", trail),
        ("POST", "/api/v1/dead-letters/replay", dry, acts),
        ("POST", &discard, "", waits),
        ("POST", &release, r#"{"reason":"why"}"#, waits),
        // What there is, and by which method, is no secret to who is let in.
        ("GET", "/nothing", "", [404; 4]),
        ("GET", "/api/v1/nothing", "", [404; 4]),
        ("POST", "/api/v1/audit", "", [405; 4]),
        ("GET", &discard, "", [405; 4]),
        ("GET", "/api/v1/events?payload=1", "", [400; 4]),
    ] {
        for ((who, token), status) in HOLDERS.into_iter().zip(expected) {
            let post = with(&secret(token), asking(method, path, body));
            let answer = post.send(admin(&gateway)).await;
            assert_eq!(answer.status, status, "{who}: {method} {path}: {answer:?}");
            if status == 403 {
                refused += 1;
                assert_eq!(answer.header("content-type"), Some("application/problem+json"));
                let challenge = answer.header("www-authenticate");
                assert_eq!(challenge, Some("Bearer error=\"insufficient_scope\""));
                assert!(!answer.body.contains("items"), "{answer:?}");
            }
        }
    }
    let recorded = records(&gateway, "not_permitted", refused).await;
    assert_eq!(recorded.len(), refused);
    let last = &recorded[0];
    for (name, value) in [
        ("who", json!("anna")),
        ("listener", json!("admin")),
        ("client", json!("127.0.0.1")),
        ("method", json!("POST")),
        ("path", json!(release)),
        ("status", json!(403)),
        ("count", json!(1)),
    ] {
        assert_eq!(last[name], value, "{name}: {last}");
    }
    assert_eq!(last["detail"], "the token's role does not include acts", "{last}");
    assert_eq!(last["credential"].as_str().unwrap().len(), 32);
    // A look that was let through carries the name of the token.
    let looked = records(&gateway, "payload_viewed", 2).await;
    let who: Vec<_> = looked.iter().rev().map(|record| record["who"].as_str().unwrap()).collect();
    assert_eq!(who, ["olga", "admin"]);
    // The socket needs no token, and may do everything.
    let dir = gateway.store();
    let audit = api::ask(dir.parent().unwrap(), "GET /api/v1/audit", "").await;
    assert_eq!(audit.0, 200);
}

/// Stands in credentials that are wrong, and in queries.
const CANARY: &str = "c4n4ry-of-a-token";

#[tokio::test]
async fn who_is_not_let_in_is_in_the_trail_and_what_was_shown_is_not() {
    let gateway = start("").await;
    let at = admin(&gateway);
    // The same wrong key at a source: attempts can be put together.
    let forged = Post::to("/hooks/lab").header("X-API-Key", CANARY);
    assert_eq!(gateway.send(&forged).await.status, 401);
    let wrong = |path: &str| with(CANARY, asking("GET", path, ""));
    for (post, status) in [
        (asking("GET", "/metrics", ""), 401),
        (wrong("/api/v1/audit?token=c4n4ry-of-a-token"), 401),
        (with("another", asking("GET", "/nothing", "")), 401),
        (wrong("/healthz"), 200),
        (asking("GET", "/readyz", ""), 200),
    ] {
        assert_eq!(post.send(at).await.status, status, "{post:?}");
    }
    let twice = with(CANARY, wrong("/metrics"));
    assert_eq!(twice.send(at).await.status, 401);
    let missing = records(&gateway, "credential_missing", 1).await;
    assert_eq!((missing.len(), &missing[0]["detail"]), (1, &json!("no credential")));
    assert_eq!(
        (&missing[0]["listener"], &missing[0]["path"]),
        (&json!("admin"), &json!("/metrics"))
    );
    assert_eq!((&missing[0]["credential"], &missing[0]["who"]), (&Value::Null, &Value::Null));
    let invalid = records(&gateway, "credential_invalid", 4).await;
    let detail: Vec<_> = invalid.iter().map(|record| record["detail"].as_str().unwrap()).collect();
    assert_eq!(detail[..3], ["a repeated Authorization header", "a wrong token", "a wrong token"]);
    let (other, same, public) = (&invalid[1], &invalid[2], &invalid[3]);
    assert_eq!((&same["path"], &same["status"]), (&json!("/api/v1/audit"), &json!(401)));
    assert_eq!((&public["listener"], &same["listener"]), (&json!("public"), &json!("admin")));
    assert_eq!(same["credential"], public["credential"]);
    assert_ne!(same["credential"], other["credential"]);
    let dir = gateway.stop().await;
    for entry in std::fs::read_dir(dir.path().join("data/audit")).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        assert!(!bytes.windows(CANARY.len()).any(|found| found == CANARY.as_bytes()));
    }
}

#[tokio::test]
async fn guesses_are_limited_for_their_client_and_for_nobody_else() {
    let limit = "failure_rate_limit = { per_second = 1, burst = 3 }";
    let gateway = start(limit).await;
    let at = admin(&gateway);
    let guess = |from: &str| with("wrong", asking("GET", "/metrics", "")).from(from);
    let mut limited: Option<Answer> = None;
    for _ in 0..50 {
        let answer = guess("127.0.0.77").send(at).await;
        if answer.status == 429 {
            limited = Some(answer);
            break;
        }
        assert_eq!(answer.status, 401);
    }
    let limited = limited.expect("a limit");
    let wait: u64 = limited.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=60).contains(&wait), "{limited:?}");
    let right = with(&secret("VIEWER"), asking("GET", "/metrics", "")).from("127.0.0.77");
    let begun = Instant::now();
    assert_eq!(right.send(at).await.status, 200, "it is let in");
    assert!(begun.elapsed() >= Duration::from_millis(900), "not faster than a wrong one");
    let line = lines::said("127.0.0.77", "a right token after wrong ones").await;
    assert!(line["failures"].as_u64().unwrap() >= 4, "{line}");
    assert_eq!(line["who"], "vera", "{line}");
    assert_eq!(guess("127.0.0.78").send(at).await.status, 401, "another client");
    // Who shows nothing does not guess.
    for _ in 0..10 {
        let nothing = asking("GET", "/metrics", "").from("127.0.0.77").send(at).await;
        assert_eq!(nothing.status, 401);
    }
    let store = gateway.store();
    let through = api::ask(store.parent().unwrap(), "GET /api/v1/sources", "").await;
    assert_eq!(through.0, 200, "the socket");
    let recorded = records(&gateway, "rate_limited", 1).await;
    assert_eq!(recorded[0]["status"], 429);
    assert_eq!(
        (&recorded[0]["client"], &recorded[0]["listener"]),
        (&json!("127.0.0.77"), &json!("admin"))
    );
    assert_eq!(recorded[0]["detail"], "a wrong token");
}

#[tokio::test]
async fn a_flood_of_wrong_tokens_becomes_single_records_and_a_sum() {
    let gateway = start("").await;
    let wrong = with("wrong", asking("GET", "/metrics", "")).from("127.0.0.79");
    for _ in 0..130 {
        assert_eq!(wrong.send(admin(&gateway)).await.status, 401);
    }
    // The sums of the minute are written at a stop at the latest.
    let dir = gateway.stop().await;
    let said = run(hookward(dir.path(), &["audit", "export", "--store", "data"])).await;
    let records = said.out.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let from_there: Vec<Value> =
        records.filter(|record| record["client"] == "127.0.0.79").collect();
    let count: u64 = from_there.iter().map(|record| record["count"].as_u64().unwrap()).sum();
    assert_eq!(count, 130);
    let sums: Vec<_> = from_there.iter().filter(|record| !record["first"].is_null()).collect();
    // A clock minute may have ended meanwhile.
    let singly = from_there.len() - sums.len();
    assert!((1..=2).contains(&sums.len()) || singly == 130, "{sums:?}");
    assert!(sums.iter().all(|sum| sum["listener"] == "admin"), "{sums:?}");
}

#[tokio::test]
async fn neither_listener_answers_for_the_other() {
    let gateway = start("").await;
    let at = admin(&gateway);
    let token = secret("ADMIN");
    let document = with(&token, asking("GET", "/api/v1/openapi.json", "")).send(at).await;
    let document: Value = serde_json::from_str(&document.body).unwrap();
    let documented = document["paths"].as_object().unwrap().keys();
    let id = "0193f0a0-0000-7000-8000-000000000000";
    let mut paths: Vec<String> = documented.map(|path| path.replace("{id}", id)).collect();
    assert!(paths.len() > 8, "{paths:?}");
    let others =
        ["/", "/healthz", "/readyz", "/metrics", "/login", "/console", "/api/v1", "/api/v1/"];
    paths.extend(others.map(str::to_owned));
    for path in &paths {
        for method in ["GET", "POST", "PUT", "DELETE"] {
            let post = with(&token, asking(method, path, "{}")).send(gateway.address).await;
            assert_eq!(post.status, 404, "{method} {path}: {post:?}");
        }
    }
    for method in ["GET", "POST"] {
        let bare = asking(method, "/hooks/lab", "{}").header("X-API-Key", &secret("LAB"));
        assert_eq!(bare.clone().send(at).await.status, 401, "{method}");
        assert_eq!(with(&token, bare).send(at).await.status, 404, "{method}");
    }
    let store = gateway.store();
    let local = api::ask(store.parent().unwrap(), "POST /hooks/lab", "{}").await;
    assert_eq!(local.0, 404);
}

#[tokio::test]
async fn a_token_that_is_taken_out_of_the_file_is_nobody_s_after_a_reload() {
    let dir = api::configured("", "http://127.0.0.1:1/");
    let file = dir.path().join("hookward.toml");
    let without = std::fs::read_to_string(&file).unwrap();
    let named = "[admin.tokens.vera]\nrole = \"viewer\"\nsecret = { env = \"TOKEN\" }\n";
    std::fs::write(&file, format!("{without}{named}")).unwrap();
    let (mut process, _, at) = Process::serve(dir.path()).await;
    let at = at.unwrap();
    let metrics = with(&secret("TOKEN"), asking("GET", "/metrics", ""));
    assert_eq!(metrics.send(at).await.status, 200);
    let auditor = named.replace("viewer", "auditor");
    std::fs::write(&file, format!("{without}{auditor}")).unwrap();
    process.signal("HUP");
    process.line("admin.tokens.vera.role").await;
    assert_eq!(metrics.send(at).await.status, 403);
    std::fs::write(&file, without).unwrap();
    process.signal("HUP");
    process.line("admin.tokens.vera (removed)").await;
    assert_eq!(metrics.send(at).await.status, 401);
    process.signal("TERM");
    assert_eq!(process.end().await, Some(0));
}
