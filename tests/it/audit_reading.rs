//! Reading the audit trail: listed with and without a gateway, counted, explained, exported.

use std::fs;
use std::path::Path;
use std::process::Stdio;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::{Duration, Instant, sleep};

use crate::api::{ask, command, configured};
use crate::client::{BOUND, Post};
use crate::gateway::secret;
use crate::process::{Process, Said, hookward, run};

/// Two sources, each with a key of its own.
fn two_sources() -> TempDir {
    let dir = configured("", "http://127.0.0.1:1/");
    let file = dir.path().join("hookward.toml");
    let text = fs::read_to_string(&file).unwrap();
    let other = "[source.other]\nauth = { kind = \"api-key\", header = \"X-API-Key\" }\nkeys = [{ env = \"TOKEN\" }]\n";
    fs::write(&file, format!("{text}{other}")).unwrap();
    dir
}

async fn refused(public: std::net::SocketAddr, key: &str) {
    let post = Post::to("/hooks/lab").header("X-API-Key", key).body("{}");
    assert_eq!(post.send(public).await.status, 401);
}

async fn stop(mut process: Process) {
    process.signal("TERM");
    assert_eq!(process.end().await, Some(0));
}

fn parsed(said: &Said) -> Value {
    serde_json::from_str(&said.out).unwrap_or_else(|_| panic!("{said:?}"))
}

fn ids(page: &Value) -> Vec<&str> {
    page["items"].as_array().unwrap().iter().map(|item| item["id"].as_str().unwrap()).collect()
}

/// It said that no gateway runs, and nothing of what is in the files.
#[tokio::test]
async fn without_a_gateway_the_files_are_listed_as_the_gateway_would() {
    let dir = two_sources();
    let dir = dir.path();
    let (process, public, _) = Process::serve(dir).await;
    for n in 0..5 {
        refused(public, &format!("guess {n}")).await;
    }
    let asked = command(dir, &["audit", "list", "--json", "--limit", "2"]).await;
    assert_eq!((asked.code, asked.err.as_str()), (Some(0), ""));
    let first = parsed(&asked);
    let cursor = first["next"].as_str().unwrap().to_owned();
    let all = ask(dir, "GET /api/v1/audit?reason=credential_invalid", "").await.1;
    let credential = all["items"][0]["credential"].as_str().unwrap().to_owned();
    stop(process).await;

    let arguments = ["audit", "list", "--json", "--reason", "credential_invalid"];
    let files = command(dir, &arguments).await;
    assert_eq!((files.code, &parsed(&files)["items"]), (Some(0), &all["items"]), "{files:?}");
    assert!(
        files.err.contains("no gateway answers for this store\nreading the files in"),
        "{files:?}"
    );
    let copy = command(dir, &[&arguments[..], &["--store", "data", "--all"]].concat()).await;
    assert_eq!(ids(&parsed(&copy)), ids(&all));
    assert!(copy.err.starts_with("reading the files in data/audit"), "{copy:?}");
    let second =
        command(dir, &["audit", "list", "--json", "--limit", "2", "--cursor", &cursor]).await;
    assert_eq!(ids(&parsed(&second)), ids(&all)[2..4], "the gateway's cursor");
    let one = ["audit", "list", "--json", "--credential", &credential, "--since", "1h"];
    assert_eq!(ids(&parsed(&command(dir, &one).await)), ids(&all)[..1]);
    let table = command(dir, &["audit", "list", "--reason", "stopped"]).await;
    assert!(table.out.contains("uid ") && table.out.contains("safe true"), "{table:?}");
    for wrong in [
        &["--limit", "501"][..],
        &["--cursor", "1"],
        &["--reason", "forged"],
        &["--since", "yesterday"],
        &["--since", "1h", "--until", "2h"],
        &["--store", "data", "--url", "http://127.0.0.1:1"],
    ] {
        let said = command(dir, &[&["audit", "list"][..], wrong].concat()).await;
        assert_eq!((said.code, said.out.as_str()), (Some(2), ""), "{wrong:?}: {said:?}");
    }
}

#[tokio::test]
async fn what_was_refused_most_is_counted_and_exported_within_a_window() {
    let dir = two_sources();
    let dir = dir.path();
    let (process, public, _) = Process::serve(dir).await;
    for _ in 0..3 {
        refused(public, "guess").await;
    }
    assert_eq!(Post::to("/nowhere").body("{}").send(public).await.status, 404);
    let all = ask(dir, "GET /api/v1/audit?reason=credential_invalid", "").await.1;
    let credential = &all["items"][0]["credential"];
    let top = parsed(&command(dir, &["audit", "top", "--json"]).await);
    assert_eq!((&top["count"], &top["records"]), (&json!(4), &json!(4)), "{top}");
    let first = |by: &str| {
        (top["by"][by]["items"][0]["value"].clone(), top["by"][by]["items"][0]["count"].clone())
    };
    assert_eq!(first("reason"), (json!("credential_invalid"), json!(3)));
    assert_eq!(first("client"), (json!("127.0.0.1"), json!(4)));
    assert_eq!(first("source"), (json!("lab"), json!(3)));
    assert_eq!(first("credential"), (credential.clone(), json!(3)));
    let table = command(dir, &["audit", "top", "--by", "source", "--limit", "1"]).await.out;
    assert!(table.starts_with("4 records, from ") && table.contains("1      (others)"), "{table}");
    let none = parsed(&command(dir, &["audit", "top", "--json", "--until", "1h"]).await);
    assert_eq!(none["count"], 0);
    for (window, lines) in [(["--since", "24h"], 4), (["--until", "24h"], 0), (["--limit", "2"], 2)]
    {
        let export = ["audit", "export", "--listener", "public", "--format", "ocsf"];
        let said = command(dir, &[&export[..], &window].concat()).await;
        assert_eq!((said.code, said.out.lines().count()), (Some(0), lines), "{said:?}");
        for line in said.out.lines() {
            let event: Value = serde_json::from_str(line).unwrap();
            assert_eq!((&event["class_uid"], &event["status_id"]), (&json!(6003), &json!(2)));
        }
    }
    stop(process).await;
}

/// The explanation of a record that was just made; it may not be in the files yet.
async fn explained(dir: &Path, id: &str) -> Value {
    let begun = Instant::now();
    loop {
        let said = command(dir, &["audit", "explain", id, "--json"]).await;
        if said.code == Some(0) {
            return parsed(&said);
        }
        assert!(begun.elapsed() < BOUND && said.code == Some(1), "{said:?}");
        sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_wrong_key_is_explained_by_whose_it_is_and_never_shown() {
    let dir = two_sources();
    let dir = dir.path();
    let (mut process, public, _) = Process::serve(dir).await;
    let (lab, other) = (secret("LAB"), secret("TOKEN"));
    for (key, words) in [
        (other.clone(), "the key of source other (from the environment variable TOKEN)"),
        (format!("Bearer {lab}"), "with `Bearer ` in front of it"),
        ("guess".to_owned(), "no key that is configured now, at any source"),
    ] {
        refused(public, &key).await;
        let newest = ask(dir, "GET /api/v1/audit?limit=1", "").await.1;
        let explanation = explained(dir, ids(&newest)[0]).await;
        let known = explanation["known"].to_string();
        assert!(known.contains(words), "{words}: {explanation}");
        assert!(known.contains("source lab asks for an API key in x-api-key"), "{known}");
        let text = command(dir, &["audit", "explain", ids(&newest)[0]]).await;
        assert!(text.out.contains("What to check\n  - "), "{text:?}");
        for secret in [&lab, &other] {
            assert!(
                !text.out.contains(secret.as_str())
                    && !explanation.to_string().contains(secret.as_str())
            );
        }
        // The environment of whoever looks at it need not have the secrets.
        let mut bare = hookward(dir, &["audit", "explain", ids(&newest)[0]]);
        bare.env_clear();
        let bare = run(bare).await;
        assert_eq!(bare.code, Some(0), "{bare:?}");
        assert!(
            bare.out.contains("source lab asks for") && !bare.out.contains("what was presented"),
            "{bare:?}"
        );
        let copy = command(dir, &["audit", "explain", ids(&newest)[0], "--store", "data"]).await;
        assert!(copy.code == Some(0) && !copy.out.contains("source lab asks for"), "{copy:?}");
    }
    // The line in the log leads there as well.
    let line = process.line("\"reason\":\"credential_invalid\"").await;
    let line: Value = serde_json::from_str(&line).unwrap();
    assert!(
        explained(dir, line["id"].as_str().unwrap()).await["known"]
            .to_string()
            .contains("source other")
    );
    let started = ask(dir, "GET /api/v1/audit?reason=started", "").await.1;
    let act = explained(dir, ids(&started)[0]).await;
    assert_eq!(act["meaning"], "The gateway was started.");
    for (id, code, words) in [
        ("01946953-e0ac-7000-8000-000000000000", 1, "no record in"),
        ("", 2, "ID is what a record has"),
        ("../x", 2, "ID is what a record has"),
    ] {
        let said = command(dir, &["audit", "explain", id]).await;
        assert_eq!((said.code, said.out.as_str()), (Some(code), ""), "{said:?}");
        assert!(said.err.contains(words), "{said:?}");
    }
    stop(process).await;
}

/// The commands that look at files had no way to a gateway elsewhere.
#[tokio::test]
async fn the_gateway_at_a_url_is_asked_by_whoever_has_a_token() {
    let dir = two_sources();
    let (process, public, admin) = Process::serve(dir.path()).await;
    for n in 0..3 {
        refused(public, &format!("guess {n}")).await;
    }
    let all = ask(dir.path(), "GET /api/v1/audit", "").await.1;
    let url = format!("http://{}", admin.unwrap());
    let elsewhere = tempfile::tempdir().unwrap();
    let asked = async |arguments: &[&str]| {
        let mut command = hookward(elsewhere.path(), &[arguments, &["--url", &url]].concat());
        command.env("HOOKWARD_ADMIN_TOKEN", secret("ADMIN"));
        let said = run(command).await;
        assert_eq!((said.code, said.err.as_str()), (Some(0), ""), "{arguments:?}: {said:?}");
        said
    };
    let list = parsed(&asked(&["audit", "list", "--json"]).await);
    assert_eq!(list["items"], all["items"]);
    let export = asked(&["audit", "export"]).await.out;
    let lines = export.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let exported: Vec<Value> = lines.map(|line| line["id"].clone()).collect();
    let mut oldest: Vec<&str> = ids(&all);
    oldest.reverse();
    assert_eq!(exported, oldest);
    let csv = asked(&["audit", "export", "--format", "csv", "--source", "lab", "--limit", "2"]);
    assert_eq!(csv.await.out.lines().count(), 3);
    let top = parsed(&asked(&["audit", "top", "--json", "--by", "source"]).await);
    assert_eq!(
        (&top["count"], &top["by"]["source"]["items"][0]["value"]),
        (&json!(3), &json!("lab"))
    );
    let told = parsed(&asked(&["audit", "explain", ids(&all)[0], "--json"]).await);
    assert_eq!(told["record"], all["items"][0]);
    assert!(told["known"][0].as_str().unwrap().contains("3 credential_invalid at lab"), "{told}");
    let file = dir.path().join("hookward.toml");
    let file = file.to_str().unwrap();
    let told = asked(&["audit", "explain", ids(&all)[0], "--config", file]).await.out;
    assert!(told.contains("source lab asks for an API key"), "{told}");
    let sources = asked(&["sources"]).await.out;
    assert!(sources.contains("/hooks/other") && sources.contains("LAST EVENT"), "{sources}");
    let gaps = parsed(&asked(&["gaps", "--json"]).await);
    assert_eq!((&gaps["gaps"], &gaps["sources"][1]["name"]), (&json!([]), &json!("other")));
    assert!(asked(&["gaps"]).await.out.starts_with("Gaps are known from "));

    for wrong in [
        &["audit", "top", "--store", "data"][..],
        &["audit", "export", "--config", file],
        &["sources", "--config", file],
        &["gaps", "--store", "data"],
    ] {
        let mut command = hookward(dir.path(), &[wrong, &["--url", &url]].concat());
        command.env("HOOKWARD_ADMIN_TOKEN", secret("ADMIN"));
        let said = run(command).await;
        assert_eq!((said.code, said.out.as_str()), (Some(2), ""), "{wrong:?}: {said:?}");
    }
    let bare = run(hookward(elsewhere.path(), &["gaps", "--url", &url])).await;
    assert!(bare.code == Some(1) && bare.err.contains("HOOKWARD_ADMIN_TOKEN"), "{bare:?}");
    let oldest = ask(dir.path(), "GET /api/v1/audit?order=oldest&limit=3", "").await.1;
    assert_eq!(ids(&oldest)[0], exported[0]);
    let next = oldest["next"].as_str().unwrap();
    let rest =
        ask(dir.path(), &format!("GET /api/v1/audit?order=oldest&cursor={next}"), "").await.1;
    assert_eq!((ids(&rest), &rest["next"]), (ids(&all)[..1].to_vec(), &Value::Null));
    let one = ask(dir.path(), &format!("GET /api/v1/audit?id={}", ids(&all)[1]), "").await.1;
    assert_eq!(ids(&one), [ids(&all)[1]]);
    assert_eq!(ask(dir.path(), "GET /api/v1/audit?order=random", "").await.0, 400);
    stop(process).await;
}

/// A byte was changed in the middle of a segment, and the record was left out of all of these without a word.
#[tokio::test]
async fn what_cannot_be_read_is_told_beside_what_can() {
    let dir = two_sources();
    let dir = dir.path();
    let (process, public, _) = Process::serve(dir).await;
    for n in 0..5 {
        refused(public, &format!("guess {n}")).await;
    }
    let all = ask(dir, "GET /api/v1/audit?reason=credential_invalid", "").await.1;
    assert_eq!((ids(&all).len(), &all["damage"]), (5, &Value::Null));
    stop(process).await;
    let segment = dir.join("data/audit/0000000001.audit");
    let mut bytes = fs::read(&segment).unwrap();
    let damaged = ids(&all)[2].to_owned();
    let at = bytes.windows(damaged.len()).position(|found| found == damaged.as_bytes()).unwrap();
    bytes[at] ^= 1;
    fs::write(&segment, &bytes).unwrap();
    let after = all["items"][3]["sequence"].as_u64().unwrap();
    let damage = json!({ "places": 1, "missing": 1, "segment": 1, "after": after });
    let words = format!("at 1 place (1 number), first in segment 1, behind record {after}; run");
    let left = |ids: &[&str]| {
        assert_eq!((ids.len(), ids.contains(&damaged.as_str())), (4, false), "{ids:?}");
    };
    let only = ["--reason", "credential_invalid"];

    for list in [
        &["audit", "list", "--json"][..],
        &["audit", "list", "--json", "--store", "data"],
        &["audit", "list", "--json", "--all", "--limit", "2"],
    ] {
        let said = command(dir, &[list, &only].concat()).await;
        assert_eq!((said.code, said.err.matches(&words).count()), (Some(0), 1), "{said:?}");
        left(&ids(&parsed(&said)));
        assert_eq!(parsed(&said)["damage"], damage, "{said:?}");
    }
    for told in [&["audit", "list"][..], &["audit", "top"], &["audit", "export"]] {
        let said = command(dir, &[told, &only].concat()).await;
        assert_eq!((said.code, said.err.matches(&words).count()), (Some(0), 1), "{said:?}");
    }
    let export = command(dir, &[&["audit", "export"], &only[..]].concat()).await;
    assert_eq!(export.out.lines().count(), 4, "{export:?}");

    let (process, ..) = Process::serve(dir).await;
    for order in ["newest", "oldest"] {
        let path = format!("GET /api/v1/audit?reason=credential_invalid&order={order}");
        let page = ask(dir, &path, "").await.1;
        left(&ids(&page));
        assert_eq!(page["damage"], damage, "{page}");
    }
    for told in [&["audit", "list"][..], &["audit", "list", "--json", "--all"]] {
        let said = command(dir, &[told, &only].concat()).await;
        assert_eq!((said.code, said.err.matches(&words).count()), (Some(0), 1), "{said:?}");
    }
    // Behind it nothing is missing.
    let newest = command(dir, &["audit", "list", "--limit", "2"]).await;
    assert_eq!((newest.code, newest.err.as_str()), (Some(0), ""), "{newest:?}");
    stop(process).await;
}

/// `| head` ended each of them with "Broken pipe" and exit code 1.
#[tokio::test]
async fn nobody_who_reads_on_is_no_failure() {
    let dir = two_sources();
    let dir = dir.path();
    let (process, public, _) = Process::serve(dir).await;
    refused(public, "guess").await;
    let id = ids(&ask(dir, "GET /api/v1/audit?limit=1", "").await.1)[0].to_owned();
    explained(dir, &id).await;
    for arguments in [
        &["audit", "list"][..],
        &["audit", "list", "--json"],
        &["audit", "list", "--store", "data"],
        &["audit", "top"],
        &["audit", "top", "--json"],
        &["audit", "explain", &id],
        &["audit", "export"],
        &["audit", "export", "--format", "csv"],
        &["audit", "verify"],
        &["audit", "key"],
        &["audit", "checkpoint"],
        &["events", "list"],
        &["sources"],
        &["gaps"],
        &["check"],
        &["keygen"],
        &["store", "stat"],
        &["store", "verify"],
        &["store", "export"],
        &["dead-letters", "list"],
        &["init", "--dir", "new"],
        &["--help"],
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut closed = hookward(dir, arguments);
        let ended = closed.stdout(writer).stderr(Stdio::piped()).output().unwrap();
        let said = String::from_utf8(ended.stderr).unwrap();
        assert_eq!(ended.status.code(), Some(0), "{arguments:?}: {said}");
        assert!(said.is_empty() || said.starts_with("reading the files"), "{arguments:?}: {said}");
    }
    assert!(dir.join("new/hookward.toml").exists(), "all of it is written");
    stop(process).await;
}
