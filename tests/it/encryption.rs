//! Encryption at rest as an operator meets it: the key in the configuration, what a start and `check`
//! say about it, and a rotation while the gateway runs.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use serde_json::Value;
use tempfile::TempDir;

use crate::app::{App, Down};
use crate::client::Post;
use crate::process::{Process, Said, hookward, run};

const INVALID: Option<i32> = Some(78);
/// A reload that changed something: files are looked at, too, and SIGHUP may come second.
const RELOADED: &str = "\"changed\":\"store.encryption_key\"";

/// Writes a configuration with these keys, all of which have a file each.
fn configure(dir: &Path, url: &str, keys: &[&str]) {
    let keys: Vec<String> = keys.iter().map(|name| format!("{{ file = \"{name}\" }}")).collect();
    let store = match &keys[..] {
        [] => String::new(),
        [key] => format!("encryption_key = {key}\n"),
        keys => format!("encryption_key = [{}]\n", keys.join(", ")),
    };
    let text = format!(
        "[server]\nlisten = \"127.0.0.1:0\"\n\n[store]\nmin_free = \"0B\"\n{store}\n\
         [source.lab]\nauth = {{ kind = \"none-dangerous\" }}\nevent.id = \"/id\"\n\n\
         [upstream.app]\nurl = \"{url}\"\nretry = {{ first = \"1ms\", max = \"2ms\", give_up = \"1h\" }}\n"
    );
    std::fs::write(dir.join("hookward.toml"), text).unwrap();
}

/// A new key from `hookward keygen`, in a file of its owner's.
async fn key(dir: &Path, name: &str, form: &str) {
    let said = run(hookward(dir, &["keygen", "--form", form])).await;
    let path = dir.join(name);
    std::fs::write(&path, said.out).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

async fn directory() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, form) in [("old.key", "hex"), ("new.key", "base64"), ("other.key", "whsec")] {
        key(dir.path(), name, form).await;
    }
    dir
}

async fn command(dir: &TempDir, args: &[&str]) -> Said {
    let args = [args, &["--config", "hookward.toml"]].concat();
    run(hookward(dir.path(), &args)).await
}

/// Starts, stores an event for each id, and stops.
async fn store(dir: &TempDir, ids: &[&str]) {
    let (mut process, public, _) = Process::serve(dir.path()).await;
    for id in ids {
        let body = format!("{{\"id\":\"{id}\"}}");
        assert_eq!(Post::to("/hooks/lab").body(body).send(public).await.status, 200);
    }
    process.signal("TERM");
    assert_eq!(process.end().await, Some(0), "{:#?}", process.said());
}

#[tokio::test]
async fn a_start_without_a_key_that_is_needed_is_refused_in_the_words_of_check() {
    let (dir, down) = (directory().await, Down::new());
    configure(dir.path(), &down.url(), &["old.key"]);
    store(&dir, &["a"]).await;
    for (keys, words) in [
        (&[][..], "store.encryption_key is not set, and 1 segment of the journal is encrypted"),
        (&["other.key"], "store.encryption_key lacks keys that the journal needs: 1 segment needs"),
    ] {
        configure(dir.path(), &down.url(), keys);
        let check = command(&dir, &["check"]).await;
        assert_eq!((check.code, check.out.as_str()), (INVALID, ""), "{check:?}");
        assert!(check.err.contains(words), "{check:?}");
        let run = command(&dir, &["run"]).await;
        assert_eq!(run.code, INVALID, "{run:?}");
        assert!(run.err.contains(check.err.trim()), "{run:?}");
    }
}

#[tokio::test]
async fn what_was_stored_before_the_key_came_is_counted_and_delivered() {
    let (dir, down) = (directory().await, Down::new());
    configure(dir.path(), &down.url(), &[]);
    store(&dir, &["plain"]).await;
    configure(dir.path(), &down.url(), &["old.key"]);
    let check = command(&dir, &["check"]).await;
    assert_eq!(check.code, Some(0), "{check:?}");
    assert!(check.out.contains("encrypted with key "), "{}", check.out);
    assert!(check.out.contains("plain   1 segment from before the encryption"), "{}", check.out);
    let (mut process, public, _) = Process::serve(dir.path()).await;
    let line = process.line("segments from before the encryption").await;
    let line: Value = serde_json::from_str(&line).unwrap();
    assert_eq!((&line["plain"], &line["level"]), (&1.into(), &"WARN".into()));
    let sealed = Post::to("/hooks/lab").body("{\"id\":\"sealed\"}").send(public).await;
    assert_eq!(sealed.status, 200);
    let seen = down.come_up().wait(2).await;
    assert!(seen.iter().any(|delivery| delivery.id() == sealed.event_id()));
    process.signal("TERM");
    assert_eq!(process.end().await, Some(0));
}

/// The rotation as docs/encryption.md has it, step by step, while the gateway runs.
#[tokio::test]
async fn a_key_is_rotated_without_a_stop() {
    let (dir, app) = (directory().await, App::start().await);
    configure(dir.path(), &app.url(), &["old.key"]);
    let (mut process, public, _) = Process::serve(dir.path()).await;
    let first = Post::to("/hooks/lab").body("{\"id\":\"first\"}").send(public).await;
    assert_eq!(first.status, 200);

    // Too early: the running gateway could not read what was put under the new key.
    configure(dir.path(), &app.url(), &["new.key", "old.key"]);
    let early = command(&dir, &["store", "rekey"]).await;
    if early.code != Some(0) {
        assert!(early.err.contains("does not use the key"), "{early:?}");
    }
    process.signal("HUP");
    process.line(RELOADED).await;
    let mut rekeyed = command(&dir, &["store", "rekey"]).await;
    while rekeyed.err.contains("does not use the key") {
        // The next segment is about to begin.
        rekeyed = command(&dir, &["store", "rekey"]).await;
    }
    assert_eq!((rekeyed.code, rekeyed.err.as_str()), (Some(0), ""), "{rekeyed:?}");
    assert!(rekeyed.out.contains("no segment needs any more: "), "{rekeyed:?}");
    let again = command(&dir, &["store", "rekey"]).await;
    assert!(again.out.contains(": 0 segments rewrapped, 2 already current, 0 plain, 0 failed"));

    // Who did it is in the trail, and by which keys, but no key.
    let (_, page) = crate::api::ask(dir.path(), "GET /api/v1/audit?reason=rekeyed", "").await;
    let recorded = page["items"].as_array().unwrap();
    let ended = recorded.iter().rev().find(|item| item["details"]["phase"] == "ended").unwrap();
    assert!(ended["who"].as_str().unwrap().starts_with("uid "), "{ended}");
    let details = &ended["details"];
    assert_eq!((&details["rewrapped"], &details["complete"]), (&1.into(), &true.into()), "{ended}");
    assert_eq!(details["keys"].as_array().unwrap().len(), 2, "{ended}");
    assert_eq!(details["key"], details["keys"][0], "{ended}");
    assert!(rekeyed.out.starts_with(&format!("key {}:", details["key"].as_str().unwrap())));
    let begun = recorded.iter().filter(|item| item["details"]["phase"] == "begun").count();
    let over = recorded.iter().filter(|item| item["details"]["phase"] != "begun").count();
    assert!(begun == over && begun >= 2, "{recorded:?}");
    for name in ["old.key", "new.key"] {
        let key = std::fs::read_to_string(dir.path().join(name)).unwrap();
        assert!(!page.to_string().contains(key.trim()), "{name}");
    }

    configure(dir.path(), &app.url(), &["new.key"]);
    process.signal("HUP");
    process.lines(RELOADED, 2).await;
    let repeat = Post::to("/hooks/lab").body("{\"id\":\"first\"}").send(public).await;
    assert_eq!((repeat.status, repeat.event_id()), (200, first.event_id()), "it is still read");
    process.signal("TERM");
    assert_eq!(process.end().await, Some(0));
    // And with a start that knows the new one alone.
    store(&dir, &["second"]).await;
}

#[tokio::test]
async fn a_reload_that_takes_a_needed_key_away_is_rejected() {
    let (dir, down) = (directory().await, Down::new());
    configure(dir.path(), &down.url(), &["old.key"]);
    let (mut process, ..) = Process::serve(dir.path()).await;
    let mut rejected = 0;
    for (keys, words) in [
        (&[][..], "store.encryption_key is not set, and 1 segment of the journal is encrypted"),
        (&["new.key"], "store.encryption_key lacks keys that the journal needs"),
    ] {
        configure(dir.path(), &down.url(), keys);
        process.signal("HUP");
        rejected += 1;
        process.lines("config not reloaded", rejected).await;
        process.line(words).await;
    }
    process.signal("TERM");
    assert_eq!(process.end().await, Some(0));
}

#[tokio::test]
async fn a_key_for_a_store_that_runs_without_needs_a_restart() {
    let (dir, down) = (directory().await, Down::new());
    configure(dir.path(), &down.url(), &[]);
    let (mut process, ..) = Process::serve(dir.path()).await;
    configure(dir.path(), &down.url(), &["old.key"]);
    process.signal("HUP");
    process.line("store.encryption_key: a change needs a restart").await;
    let rekey = command(&dir, &["store", "rekey"]).await;
    assert_eq!(rekey.code, Some(1), "{rekey:?}");
    assert!(rekey.err.contains("is not encrypted"), "{rekey:?}");
    process.signal("TERM");
    assert_eq!(process.end().await, Some(0));
}

/// The tools for a store's files read an encrypted one with the configuration's keys, and a copy of it as
/// well; without keys they say which are missing.
#[tokio::test]
async fn the_store_tools_need_the_keys() {
    let (dir, down) = (directory().await, Down::new());
    configure(dir.path(), &down.url(), &["old.key"]);
    store(&dir, &["a", "b"]).await;
    for (tool, words) in [
        ("verify", "with 2 events"),
        ("rebuild-index", "index of 2 events made"),
        ("stat", "2 events"),
        ("export", "\"provider_id\":\"b\""),
    ] {
        let said = command(&dir, &["store", tool]).await;
        assert_eq!(said.code, Some(0), "{tool}: {said:?}");
        let out = said.out.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(out.contains(words), "{tool}: {out}");
        let without = run(hookward(dir.path(), &["store", tool, "--store", "data"])).await;
        assert_eq!((without.code, without.out.as_str()), (Some(1), ""), "{tool}: {without:?}");
        assert!(without.err.contains("store.encryption_key is not set"), "{tool}: {without:?}");
    }
    assert!(!dir.path().join("data/index.unusable").exists(), "nothing in clear is kept");
    std::fs::rename(dir.path().join("data"), dir.path().join("copy")).unwrap();
    let copy = command(&dir, &["store", "verify", "--store", "copy"]).await;
    assert!(copy.code == Some(0) && copy.out.contains("2 events"), "{copy:?}");
    // The index that was made again is the one that a start goes on with.
    std::fs::rename(dir.path().join("copy"), dir.path().join("data")).unwrap();
    let (mut process, ..) = Process::serve(dir.path()).await;
    let opened = process.line("store opened").await;
    assert!(opened.contains("\"index_rebuilt\":false"), "{opened}");
    process.signal("TERM");
    assert_eq!(process.end().await, Some(0));
}

#[tokio::test]
async fn rekeying_says_what_is_missing() {
    let (dir, down) = (directory().await, Down::new());
    configure(dir.path(), &down.url(), &[]);
    let no_key = command(&dir, &["store", "rekey"]).await;
    assert_eq!((no_key.code, no_key.out.as_str()), (INVALID, ""), "{no_key:?}");
    configure(dir.path(), &down.url(), &["old.key"]);
    let no_store = command(&dir, &["store", "rekey"]).await;
    assert_eq!(no_store.code, Some(1), "{no_store:?}");
    assert!(no_store.err.contains("there is no store in "), "{no_store:?}");
    store(&dir, &["a"]).await;
    configure(dir.path(), &down.url(), &["new.key"]);
    let no_old = command(&dir, &["store", "rekey"]).await;
    assert_eq!(no_old.code, Some(1), "{no_old:?}");
    assert!(no_old.err.contains("segment 1 is under the key "), "{no_old:?}");
}

/// It left a lock of root's, and the service was refused at its next start.
#[tokio::test]
async fn root_leaves_nothing_of_its_own_in_the_service_s_store() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: only root can give a directory away");
        return;
    }
    let (dir, down) = (directory().await, Down::new());
    configure(dir.path(), &down.url(), &["old.key"]);
    store(&dir, &["a"]).await;
    configure(dir.path(), &down.url(), &["new.key", "old.key"]);
    let data = dir.path().join("data");
    let files = || std::fs::read_dir(&data).unwrap().map(|e| e.unwrap().path());
    let before: std::collections::BTreeSet<_> = files().collect();
    std::os::unix::fs::chown(&data, Some(990), Some(990)).unwrap();
    let said = command(&dir, &["store", "rekey"]).await;
    assert_eq!((said.code, said.out.as_str()), (Some(1), ""), "{said:?}");
    for part in ["the store data belongs to uid 990", "only that user", "run it as that user"] {
        assert!(said.err.contains(part), "{part}: {}", said.err);
    }
    assert_eq!(files().collect::<std::collections::BTreeSet<_>>(), before);
}
