//! The same key with other content, and the ids that keep events apart.

use sha2::{Digest, Sha256};

use crate::app::App;
use crate::client::Post;
use crate::gateway::setup;
use crate::lines;

fn source(name: &str, keys: &str) -> String {
    format!(
        "[source.{name}]\nauth = {{ kind = \"none-dangerous\" }}\nevent.subject = \"/subject\"\n{keys}\n"
    )
}

/// All of one subject, so that the app gets what it gets in order.
fn body(id: u32, n: u32) -> String {
    format!(r#"{{"id":"e{id}","subject":"s","n":{n}}}"#)
}

fn hash(text: &str) -> String {
    hex::encode(Sha256::digest(text))
}

async fn outcome(id: &str, outcome: &str) {
    let line = lines::accepted(id).await;
    assert_eq!(line["outcome"], outcome, "{line}");
    // That of its record in the trail, where it has one.
    assert_eq!(line["id"].is_string(), outcome == "conflict_quarantined", "{line}");
}

#[tokio::test]
async fn conflicts_are_kept_back_delivered_or_dropped() {
    let app = App::start().await;
    let mut text = format!("[upstream.app]\nurl = \"{}\"\nconcurrency = 1\n", app.url());
    for on_conflict in ["quarantine", "deliver", "drop"] {
        let keys = format!("event.id = \"/id\"\non_conflict = \"{on_conflict}\"");
        text += &source(on_conflict, &keys);
    }
    text += &source("default", "event.id = \"/id\"");
    let gateway = setup(&text).start().await;
    for name in ["quarantine", "deliver", "drop", "default"] {
        let send = |n| Post::to(&format!("/hooks/{name}")).body(body(1, n));
        let first = gateway.accepts(&send(1)).await;
        let conflict = gateway.accepts(&send(2)).await;
        let other_conflict = gateway.accepts(&send(3)).await;
        // Each of them is known when it comes again.
        assert_eq!(gateway.accepts(&send(1)).await, first, "{name}");
        assert_eq!(gateway.accepts(&send(2)).await, conflict, "{name}");
        assert_eq!(gateway.accepts(&send(3)).await, other_conflict, "{name}");
        if name == "drop" {
            assert_eq!((&conflict, &other_conflict), (&first, &first));
        } else {
            assert_ne!(conflict, first);
            assert_ne!(other_conflict, first);
            assert_ne!(other_conflict, conflict);
            let told =
                if name == "deliver" { "conflict_delivered" } else { "conflict_quarantined" };
            outcome(&conflict, told).await;
        }
        outcome(&first, "stored").await;
        // The last of the subject: what was to come before it has come.
        let last = gateway.accepts(&Post::to(&format!("/hooks/{name}")).body(body(2, 1))).await;
        let seen = app.wait_for(|seen| seen.iter().any(|d| d.id() == last)).await;
        let source = format!("urn:hookward:{name}");
        let ids: Vec<String> = seen
            .iter()
            .map(|delivery| delivery.event())
            .filter(|event| event["source"] == *source)
            .map(|event| event["id"].as_str().unwrap().to_owned())
            .collect();
        if name == "deliver" {
            let second = format!("e1.{}", &hash(&body(1, 2))[..16]);
            let third = format!("e1.{}", &hash(&body(1, 3))[..16]);
            assert_eq!(ids, ["e1", &second, &third, "e2"]);
        } else {
            assert_eq!(ids, ["e1", "e2"], "{name}");
        }
    }
}

/// Without a provider's id, a conflict's CloudEvents id is its own body's hash, and the first's
/// that of the values that are its key.
#[tokio::test]
async fn composite_keys_are_hashed_as_compact_arrays() {
    let app = App::start().await;
    let keys = r#"dedupe = ["/event", "/data/id", "/data/at", "header:X-Part"]
on_conflict = "deliver""#;
    let upstream = format!("[upstream.app]\nurl = \"{}\"\nconcurrency = 1\n", app.url());
    let gateway = setup(&format!("{upstream}{}", source("lab", keys))).start().await;
    let first = r#"{"event": "caf\u00e9", "data": {"id": 7, "x": 1}, "subject": "s"}"#;
    let same_key = r#"{"event": "café", "data": {"id": 7, "x": 2}, "subject": "s"}"#;
    let nothing = r#"{"subject":"s"}"#;
    for body in [first, same_key, nothing, first] {
        gateway.accepts(&Post::to("/hooks/lab").header("X-Part", "p\"1").body(body)).await;
    }
    let no_part = Post::to("/hooks/lab").body(nothing);
    gateway.accepts(&no_part).await;
    let seen = app.wait(4).await;
    let ids: Vec<_> = seen.iter().map(|delivery| delivery.event()["id"].clone()).collect();
    let of = |text: &str| format!("sha256:{}", hash(text));
    assert_eq!(
        ids,
        [
            of(r#"["café",7,null,"p\"1"]"#),
            of(same_key),
            of(r#"[null,null,null,"p\"1"]"#),
            of(nothing),
        ]
    );
}

/// Many at once with one key: one of them is the event, and all of them are told its id.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn repeats_at_the_same_moment_are_one_event() {
    let app = App::start().await;
    let upstream = format!("[upstream.app]\nurl = \"{}\"\nconcurrency = 1\n", app.url());
    let text = format!("{upstream}{}", source("lab", "event.id = \"/id\""));
    let gateway = setup(&text).start().await;
    let address = gateway.address;
    let send = |_| {
        tokio::spawn(async move {
            let post = Post::to("/hooks/lab").body(body(1, 1));
            post.send(address).await.event_id().to_owned()
        })
    };
    let mut ids = Vec::new();
    for sent in (0..16).map(send).collect::<Vec<_>>() {
        ids.push(sent.await.unwrap());
    }
    ids.dedup();
    assert_eq!(ids.len(), 1, "{ids:?}");
    let last = gateway.accepts(&Post::to("/hooks/lab").body(body(2, 1))).await;
    let seen = app.wait_for(|seen| seen.iter().any(|d| d.id() == last)).await;
    assert_eq!(seen.len(), 2);
}

#[tokio::test]
async fn one_key_is_two_events_in_two_sources() {
    let app = App::start().await;
    let upstream = format!("[upstream.app]\nurl = \"{}\"\n", app.url());
    let keys = "event.id = \"/id\"";
    let gateway = setup(&format!("{upstream}{}{}", source("a", keys), source("b", keys)));
    let gateway = gateway.start().await;
    let a = gateway.accepts(&Post::to("/hooks/a").body(body(1, 1))).await;
    let b = gateway.accepts(&Post::to("/hooks/b").body(body(1, 1))).await;
    assert_ne!(a, b);
    assert_eq!(app.wait(2).await.len(), 2);
}
