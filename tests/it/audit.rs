//! The audit trail: from a request that is refused to what the API and the commands say of it, and to
//! somebody who changes it.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Instant;

use serde_json::{Value, json};

use crate::api::{ask, command, configured};
use crate::client::{BOUND, Connection, Post};
use crate::gateway::secret;
use crate::pki::Authority;
use crate::process::Process;

/// Stands in credentials, bodies and queries.
const CANARY: &str = "c4n4ry";

fn items(page: &Value) -> &Vec<Value> {
    page["items"].as_array().unwrap()
}

fn reasons(page: &Value) -> Vec<&str> {
    items(page).iter().map(|item| item["reason"].as_str().unwrap()).collect()
}

fn forged() -> Post {
    let body = format!(r#"{{"id":"{CANARY}","event":"order.done"}}"#);
    let mut post = Post::to(&format!("/hooks/lab?token={CANARY}"));
    // The User-Agent is a formula to who opens it in a spreadsheet.
    post.tag = "=cmd|'/c calc'!A1".to_owned();
    post.header("X-API-Key", CANARY).body(body)
}

async fn stopped(mut process: Process) {
    process.signal("TERM");
    assert_eq!(process.end().await, Some(0));
}

/// All files of the trail together.
fn files(dir: &Path) -> Vec<u8> {
    let entries = fs::read_dir(dir.join("data/audit")).unwrap();
    entries.flat_map(|entry| fs::read(entry.unwrap().path()).unwrap()).collect()
}

#[tokio::test]
async fn what_was_refused_and_done_is_listed_with_all_that_is_known_of_it() {
    let dir = configured("", "http://127.0.0.1:1/");
    let dir = dir.path();
    let (process, public, _) = Process::serve(dir).await;
    assert_eq!(forged().send(public).await.status, 401);
    assert_eq!(forged().send(public).await.status, 401);
    assert_eq!(Post::to("/nowhere").body("{}").send(public).await.status, 404);
    let broken = Post::to("/hooks/lab").header("X-API-Key", &secret("LAB")).body("{");
    assert_eq!(broken.send(public).await.status, 400);
    let page = ask(dir, "GET /api/v1/audit", "").await.1;
    assert_eq!(items(&page)[0]["declared"], 1);
    let expected =
        ["malformed_json", "unknown_route", "credential_invalid", "credential_invalid", "started"];
    assert_eq!(reasons(&page), expected);
    let (first, second) = (&items(&page)[3], &items(&page)[2]);
    for (name, value) in [
        ("source", json!("lab")),
        ("listener", json!("public")),
        ("peer", json!("127.0.0.1")),
        ("client", json!("127.0.0.1")),
        ("method", json!("POST")),
        ("path", json!("/hooks/lab")),
        ("user_agent", json!("=cmd|'/c calc'!A1")),
        ("sha256", Value::Null),
        ("status", json!(401)),
        ("count", json!(1)),
        ("tls", Value::Null),
    ] {
        assert_eq!(first[name], value, "{name}: {first}");
    }
    assert_eq!(first["credential"], second["credential"]);
    assert_eq!(first["credential"].as_str().unwrap().len(), 32);
    assert_ne!(first["credential"], items(&page)[0]["credential"]);
    let hash = "021fb596db81e6d02bf3d2586ee3981fe519f275c0ac9ca76bbcf2ebb4097d96";
    assert_eq!(items(&page)[0]["sha256"], hash, "of the body that was read");
    assert!(items(&page)[4]["who"].as_str().unwrap().starts_with("uid "));
    let one = ask(
        dir,
        "GET /api/v1/audit?reason=credential_invalid&source=lab&client=127.0.0.1&limit=1",
        "",
    );
    let one = one.await.1;
    assert_eq!(items(&one)[0]["id"], second["id"], "the newest");
    let next = one["next"].as_str().unwrap();
    let rest =
        ask(dir, &format!("GET /api/v1/audit?reason=credential_invalid&cursor={next}"), "").await.1;
    assert_eq!(
        (items(&rest).len(), &items(&rest)[0]["id"], &rest["next"]),
        (1, &first["id"], &Value::Null)
    );
    assert_eq!(ask(dir, "GET /api/v1/audit?reason=forged", "").await.0, 400);

    let listed = command(dir, &["audit", "list", "--json", "--limit", "2"]).await;
    let listed: Value = serde_json::from_str(&listed.out).unwrap();
    assert_eq!(reasons(&listed), expected[..2]);
    let table = command(dir, &["audit", "list", "--reason", "unknown_route"]).await.out;
    assert!(table.contains("POST /nowhere") && table.lines().count() == 2, "{table}");
    let csv = command(dir, &["audit", "export", "--format", "csv"]).await.out;
    assert!(csv.contains(",\"'=cmd|'/c calc'!A1\",") && !csv.contains(",=cmd"), "{csv}");
    let lines = command(dir, &["audit", "export", "--store", "data"]).await.out;
    assert_eq!(lines.lines().count(), 5, "{lines}");
    stopped(process).await;
    let all = files(dir);
    assert!(!all.windows(CANARY.len()).any(|found| found == CANARY.as_bytes()));
}

#[tokio::test]
async fn a_trail_is_sound_until_somebody_changes_it_and_then_it_is_named() {
    let dir = configured("", "http://127.0.0.1:1/");
    let dir = dir.path();
    let (process, public, _) = Process::serve(dir).await;
    assert_eq!(forged().send(public).await.status, 401);
    let page = ask(dir, "GET /api/v1/audit", "").await.1;
    assert_eq!(items(&page).len(), 2);
    let running = command(dir, &["audit", "verify", "--json"]).await;
    let report: Value = serde_json::from_str(&running.out).unwrap();
    assert_eq!((running.code, &report["sound"]), (Some(0), &json!(true)), "{running:?}");
    stopped(process).await;
    let key = command(dir, &["audit", "key"]).await.out.trim().to_owned();
    let checkpoint = command(dir, &["audit", "checkpoint"]).await.out.trim().to_owned();
    fs::write(dir.join("kept"), format!("{checkpoint}\n")).unwrap();
    let verify =
        ["audit", "verify", "--store", "data", "--public-key", &key, "--checkpoint", "kept"];
    let sound = command(dir, &verify).await;
    assert!(
        sound.code == Some(0) && sound.out.contains("it ends with the checkpoint of a stop"),
        "{sound:?}"
    );

    let segment = dir.join("data/audit/0000000001.audit");
    let whole = fs::read(&segment).unwrap();
    let at = whole.windows(9).position(|found| found == b"127.0.0.1").unwrap();
    let mut edited = whole.clone();
    edited[at] = b'9';
    fs::write(&segment, &edited).unwrap();
    let found = command(dir, &verify).await;
    assert!(
        found.code == Some(1) && found.out.contains("edited: record 3, segment 1"),
        "{found:?}"
    );
    fs::write(&segment, &whole[..at]).unwrap();
    let found = command(dir, &verify).await;
    assert!(found.code == Some(1) && found.out.contains("cut off: record 3"), "{found:?}");
    let unaware = command(dir, &["audit", "verify", "--store", "data"]).await;
    assert!(unaware.code == Some(0) && unaware.out.contains("no record"), "{unaware:?}");
    fs::write(&segment, &whole).unwrap();
    // Of several that were kept, the bad one is named by its line.
    let bad = checkpoint.replace("\"acts\":0", "\"acts\":7");
    fs::write(dir.join("kept"), format!("{checkpoint}\n{bad}\n{{\n")).unwrap();
    let found = command(dir, &verify).await;
    assert!(
        found.code == Some(1)
            && found.err.contains("kept, line 2: this checkpoint")
            && found.err.contains("kept, line 3: this is no checkpoint")
            && found.out.contains("edited: record ")
            && !found.out.contains("offset"),
        "{found:?}"
    );
    let other = "00".repeat(32);
    let found = command(dir, &["audit", "verify", "--store", "data", "--public-key", &other]).await;
    assert_eq!(found.code, Some(1), "{found:?}");
    assert_eq!(found.out.matches("offset").count(), 1, "once, and not at each checkpoint");
    assert!(
        found.out.contains("other key: record 1, segment 1, offset 0: the trail is not signed")
    );
    let wrong = command(dir, &["audit", "verify", "--store", "data", "--public-key", "12"]).await;
    assert_eq!(wrong.code, Some(2), "{wrong:?}");
}

#[tokio::test]
async fn acts_reloads_starts_and_stops_are_in_it_across_restarts() {
    let dir = configured("", "http://127.0.0.1:1/");
    let dir = dir.path();
    let (mut process, public, _) = Process::serve(dir).await;
    let good = Post::to("/hooks/lab")
        .header("X-API-Key", &secret("LAB"))
        .body(r#"{"id":"1","event":"order.done","subject":"s"}"#);
    let id = good.send(public).await.event_id().to_owned();
    let shown = ask(dir, &format!("GET /api/v1/events/{id}?payload=1"), "").await;
    assert_eq!(shown.0, 200);
    process.signal("HUP");
    process.line("config reloaded").await;
    stopped(process).await;
    assert_eq!(command(dir, &["store", "export"]).await.code, Some(0));
    let (process, ..) = Process::serve(dir).await;
    let page = ask(dir, "GET /api/v1/audit", "").await.1;
    let found = reasons(&page);
    let mut sorted = found.clone();
    sorted.sort_unstable();
    let expected = [
        "config_reloaded",
        "exported",
        "exported",
        "payload_viewed",
        "started",
        "started",
        "stopped",
    ];
    assert_eq!(sorted, expected, "{found:?}");
    let viewed = items(&page).iter().find(|item| item["reason"] == "payload_viewed").unwrap();
    assert_eq!((&viewed["details"]["event"], &viewed["peer"]), (&json!(id), &json!("admin.sock")));
    assert_eq!((&viewed["source"], &viewed["listener"]), (&json!("lab"), &json!("socket")));
    assert!(viewed["who"].as_str().unwrap().starts_with("uid "), "{viewed}");
    let reloaded = items(&page).iter().find(|item| item["reason"] == "config_reloaded").unwrap();
    assert_eq!(reloaded["details"], json!({ "cause": "SIGHUP", "changed": [] }));
    stopped(process).await;
    assert_eq!(command(dir, &["audit", "verify"]).await.code, Some(0));
}

#[tokio::test]
async fn a_trail_that_cannot_be_written_stops_events_only_where_it_is_required() {
    for (required, runs) in [(true, false), (false, true)] {
        let dir = configured("", "http://127.0.0.1:1/");
        let file = dir.path().join("hookward.toml");
        let text = fs::read_to_string(&file).unwrap();
        fs::write(&file, format!("{text}\n[audit]\nrequired = {required}\n")).unwrap();
        fs::create_dir(dir.path().join("data")).unwrap();
        fs::set_permissions(
            dir.path().join("data"),
            std::os::unix::fs::PermissionsExt::from_mode(0o700),
        )
        .unwrap();
        fs::write(dir.path().join("data/audit"), "no directory").unwrap();
        fs::set_permissions(
            dir.path().join("data/audit"),
            std::os::unix::fs::PermissionsExt::from_mode(0o600),
        )
        .unwrap();
        if runs {
            let (process, public, _) = Process::serve(dir.path()).await;
            let good = Post::to("/hooks/lab")
                .header("X-API-Key", &secret("LAB"))
                .body(r#"{"id":"1","event":"order.done","subject":"s"}"#);
            assert_eq!(good.send(public).await.status, 200);
            drop(process);
        } else {
            let said = command(dir.path(), &["run"]).await;
            assert_eq!(said.code, Some(1), "{said:?}");
            let why = format!("{}{}", said.out, said.err);
            assert!(why.contains("the audit trail in"), "{why}");
        }
    }
}

/// They had a line in the log once in a while, with one address of many, and no record.
#[tokio::test]
async fn who_was_turned_away_before_http_is_in_the_trail() {
    let dir = configured(
        "max_connections = 1\ntls = { cert = \"cert.pem\", key = \"key.pem\" }",
        "http://127.0.0.1:1/",
    );
    let dir = dir.path();
    Authority::new("roots").server(1).write_to(dir);
    let private = fs::Permissions::from_mode(0o600);
    fs::set_permissions(dir.join("key.pem"), private).unwrap();
    let (process, public, _) = Process::serve(dir).await;
    let first = Connection::open(public, Some([127, 0, 0, 2].into())).await;
    let second = Connection::open(public, Some([127, 0, 0, 3].into())).await;
    assert_eq!(second.rest().await, "", "there is no place for it");
    drop(first);
    let until = Instant::now() + BOUND;
    let page = loop {
        assert!(Instant::now() < until, "the place that is free again is taken by nobody");
        let mut clear = Connection::open(public, Some([127, 0, 0, 4].into())).await;
        clear.write(b"GET / HTTP/1.1\r\nHost: gw\r\n\r\n").await;
        let _ = clear.answer_or_end().await;
        let page = ask(dir, "GET /api/v1/audit?reason=protocol_error", "").await.1;
        if !items(&page).is_empty() {
            break page;
        }
    };
    let record = &items(&page)[0];
    assert_eq!((&record["client"], &record["detail"]), (&json!("127.0.0.4"), &json!("not TLS")));
    assert_eq!((&record["status"], &record["method"]), (&Value::Null, &Value::Null));
    let page = ask(dir, "GET /api/v1/audit?reason=overloaded&client=127.0.0.3", "").await.1;
    assert_eq!(items(&page).len(), 1, "{page}");
    assert_eq!(items(&page)[0]["detail"], "too many connections");
    stopped(process).await;
}

/// Where nothing was declared it said that no bytes had been.
#[tokio::test]
async fn only_a_length_that_was_declared_is_in_the_record() {
    let dir = configured("", "http://127.0.0.1:1/");
    let (_process, public, admin) = Process::serve(dir.path()).await;
    let admin = admin.unwrap();
    let head = "GET /nowhere HTTP/1.1\r\nHost: gw\r\nConnection: close\r\n";
    for (listener, declares, expected) in [
        (public, "", Value::Null),
        (public, "Content-Length: 0\r\n", json!(0)),
        (public, "Transfer-Encoding: chunked\r\n", Value::Null),
        (admin, "", Value::Null),
        (admin, "Content-Length: 0\r\n", json!(0)),
    ] {
        let mut connection = Connection::open(listener, None).await;
        connection.write(format!("{head}{declares}\r\n").as_bytes()).await;
        let status = connection.answer().await.status;
        assert!(matches!(status, 401 | 404), "{status}");
        let page = ask(dir.path(), "GET /api/v1/audit?limit=1", "").await.1;
        assert_eq!(items(&page)[0]["declared"], expected, "{declares:?}: {page}");
    }
}
