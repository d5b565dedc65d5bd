//! Events as operators see them, and what they do with them: from a request that is accepted to what
//! the API, the commands, the app and the audit trail say of it.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::api::{ask, command, configured};
use crate::app::{App, reply};
use crate::client::{BOUND, Post};
use crate::gateway::secret;
use crate::process::Process;

fn lab(id: &str, more: &str) -> Post {
    let body = format!(r#"{{"id":"{id}","event":"Order:Done","subject":"o-{id}"{more}}}"#);
    Post::to("/hooks/lab").header("X-API-Key", &secret("LAB")).body(body)
}

async fn accepted(post: Post, public: std::net::SocketAddr) -> String {
    let answer = post.send(public).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.event_id().to_owned()
}

/// Waits until the event is in this state, and returns it.
async fn in_state(dir: &Path, id: &str, state: &str) -> Value {
    let begun = Instant::now();
    loop {
        let (status, event) = ask(dir, &format!("GET /api/v1/events/{id}"), "").await;
        if status == 200 && event["state"] == state {
            return event;
        }
        assert!(begun.elapsed() < BOUND, "{id} does not become {state}: {status} {event}");
        sleep(Duration::from_millis(20)).await;
    }
}

/// The audit trail, without its times.
fn recorded(dir: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(dir.join("data/audit/acts.jsonl")).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test]
async fn an_event_is_found_shown_and_replayed() {
    let app = App::start().await;
    let dir = configured("", &app.url());
    let dir_path = dir.path();
    let (_process, public, _) = Process::serve(dir_path).await;
    let first = accepted(lab("1", ""), public).await;
    let second = accepted(lab("2", ""), public).await;
    let event = in_state(dir_path, &first, "delivered").await;
    in_state(dir_path, &second, "delivered").await;
    assert_eq!(event["type"], "lab.order.done");
    assert_eq!((&event["provider_id"], &event["subject"]), (&json!("1"), &json!("o-1")));
    assert_eq!(event["deliveries"][0]["last_status"], 200);
    let what: Vec<_> = event["timeline"].as_array().unwrap().iter().map(|m| &m["what"]).collect();
    assert_eq!(what, ["received", "stored", "attempt"]);
    assert!(event.get("payload").is_none() && recorded(dir_path).is_empty());

    let list = ask(dir_path, "GET /api/v1/events?type=order.*&source=lab&since=1h", "").await.1;
    let ids: Vec<_> = list["items"].as_array().unwrap().iter().map(|item| &item["id"]).collect();
    assert_eq!(ids, [&json!(second), &json!(first)], "newest first");
    let one = ask(dir_path, "GET /api/v1/events?limit=1", "").await.1;
    let next = one["next"].as_str().unwrap();
    let rest = ask(dir_path, &format!("GET /api/v1/events?cursor={next}"), "").await.1;
    assert_eq!((&rest["items"][0]["id"], &rest["next"]), (&json!(first), &Value::Null));
    let none = ask(dir_path, "GET /api/v1/events?subject=o-3", "").await.1;
    assert_eq!(none, json!({ "items": [], "next": null }));
    let sources = ask(dir_path, "GET /api/v1/sources", "").await.1;
    assert!(sources["items"][0]["last_event_at"].is_string(), "{sources}");

    let said = command(dir_path, &["events", "list", "--json"]).await;
    assert_eq!(
        serde_json::from_str::<Value>(&said.out).unwrap()["items"].as_array().unwrap().len(),
        2
    );
    let table = command(dir_path, &["events", "list", "--subject", "o-1"]).await.out;
    assert!(table.contains(&first) && !table.contains(&second), "{table}");

    let shown = command(dir_path, &["events", "show", &first, "--payload"]).await;
    assert!(
        shown.out.contains("\"event\":\"Order:Done\"")
            && shown.out.contains("attempt 1 to app: 200"),
        "{shown:?}"
    );
    let replayed = command(dir_path, &["events", "replay", &first, "--reason", "asked for"]).await;
    assert_eq!(replayed.code, Some(0), "{replayed:?}");
    let seen = app.wait(3).await;
    assert_eq!((seen[2].id(), seen[2].attempt()), (first.as_str(), 2));
    let event = in_state(dir_path, &first, "delivered").await;
    let act = &event["timeline"][3];
    assert_eq!((&act["what"], &act["reason"]), (&json!("replayed"), &json!("asked for")));
    let records = recorded(dir_path);
    let reasons: Vec<_> = records.iter().map(|record| &record["reason"]).collect();
    assert_eq!(reasons, ["payload_viewed", "replayed"]);
    for record in &records {
        assert_eq!((&record["event"], &record["peer"]), (&json!(first), &json!("admin.sock")));
        assert!(record["who"].as_str().unwrap().starts_with("uid "), "{record}");
    }
    assert_eq!(records[1]["why"], "asked for");
    let acts = ask(dir_path, "GET /api/v1/audit?source=lab&reason=replayed", "").await.1;
    assert_eq!(acts["items"].as_array().unwrap().len(), 1, "by the event's source: {acts}");
    assert_eq!(acts["items"][0]["source"], "lab");
}

#[tokio::test]
async fn dead_letters_are_counted_replayed_and_discarded() {
    let app =
        App::answering(|delivery, _| reply(if delivery.attempt() == 1 { 410 } else { 200 })).await;
    let dir = configured("", &app.url());
    let dir_path = dir.path();
    let (_process, public, _) = Process::serve(dir_path).await;
    let mut ids = Vec::new();
    for n in 1..=4 {
        ids.push(accepted(lab(&n.to_string(), ""), public).await);
    }
    for id in &ids {
        in_state(dir_path, id, "dead").await;
    }
    let dry = command(dir_path, &["dead-letters", "replay", "--dry-run", "--json"]).await;
    assert_eq!(
        serde_json::from_str::<Value>(&dry.out).unwrap(),
        json!({ "matched": 4, "replayed": 0 })
    );
    let dropped = command(dir_path, &["events", "discard", &ids[3]]).await;
    assert_eq!(dropped.code, Some(0), "{dropped:?}");
    in_state(dir_path, &ids[3], "discarded").await;
    let none = command(dir_path, &["dead-letters", "replay", &ids[3]]).await;
    assert!(none.code == Some(1) && none.err.contains("it is no dead letter"), "{none:?}");
    let one = command(dir_path, &["dead-letters", "replay", &ids[0]]).await;
    assert_eq!(one.code, Some(0), "{one:?}");
    in_state(dir_path, &ids[0], "delivered").await;
    let rest = command(dir_path, &["dead-letters", "replay", "--per-second", "50"]).await;
    assert_eq!((rest.code, rest.out.as_str()), (Some(0), "2 dead letters match; 2 replayed\n"));
    for id in &ids[..3] {
        in_state(dir_path, id, "delivered").await;
    }
    let again = command(dir_path, &["events", "release", &ids[0]]).await;
    assert!(again.code == Some(1) && again.err.contains("The event is delivered"), "{again:?}");
    let none = ask(dir_path, "GET /api/v1/dead-letters", "").await.1;
    assert_eq!(none["items"], json!([]));
}

#[tokio::test]
async fn a_quarantined_event_waits_for_an_operator() {
    let app = App::start().await;
    let dir = configured("", &app.url());
    let dir_path = dir.path();
    let (_process, public, _) = Process::serve(dir_path).await;
    accepted(lab("1", ""), public).await;
    let released = accepted(lab("1", ",\"n\":2"), public).await;
    let dropped = accepted(lab("1", ",\"n\":3"), public).await;
    in_state(dir_path, &released, "quarantined").await;
    let early = command(dir_path, &["events", "replay", &released]).await;
    assert!(early.code == Some(1) && early.err.contains("released or discarded"), "{early:?}");
    assert_eq!(command(dir_path, &["events", "release", &released]).await.code, Some(0));
    assert_eq!(command(dir_path, &["events", "discard", &dropped]).await.code, Some(0));
    in_state(dir_path, &released, "delivered").await;
    in_state(dir_path, &dropped, "discarded").await;
    let seen = app.wait(2).await;
    assert_eq!(seen[1].id(), released);
    let listed = ask(dir_path, "GET /api/v1/events?state=quarantined", "").await.1;
    assert_eq!(listed["items"], json!([]));
}
