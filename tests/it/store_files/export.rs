//! `hookward store export`

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use super::{flip, segments, snapshot, stopped, store};
use crate::app::{App, reply};
use crate::client::Post;
use crate::gateway::setup;
use crate::lines;
use crate::process::{Said, hookward, run};

/// What each event of [`every_state`] is called.
const STATES: [&str; 5] = ["delivered", "dead", "pending", "quarantined", "filtered"];

fn body(n: u32, kind: &str, extra: &str) -> String {
    format!(r#"{{"id":"e{n}","subject":"s{n}","type":"{kind}"{extra}}}"#)
}

/// A stopped store with an event in each state, and the ids of the events.
async fn every_state() -> (TempDir, Vec<String>) {
    let app = App::answering(|d, _| match d.event()["id"].as_str().unwrap() {
        "e1" => reply(410),
        "e2" => reply(503),
        _ => reply(202),
    })
    .await;
    let text = format!(
        "[source.lab]\nauth = {{ kind = \"none-dangerous\" }}\nevent.id = \"/id\"\nevent.type = \"/type\"\n\
         event.subject = \"/subject\"\nevents = [\"order.*\"]\non_conflict = \"quarantine\"\n\
         [upstream.app]\nurl = \"{}\"\nretry = {{ first = \"1h\", max = \"1h\", give_up = \"3h\" }}\n",
        app.url()
    );
    let gateway = setup(&text).start().await;
    let mut ids = Vec::new();
    for (n, kind, extra, verdict) in [
        (0, "Order Shipped", "", Some("delivered")),
        (1, "order.late", "", Some("dead")),
        (2, "order.late", "", None),
        (0, "Order Shipped", r#","other":1"#, None),
        (4, "refill", "", None),
    ] {
        let id = gateway.accepts(&Post::to("/hooks/lab").body(body(n, kind, extra))).await;
        match verdict {
            Some(verdict) => drop(lines::verdict(&id, verdict).await),
            None if n == 2 => drop(lines::attempt(&id, 1).await),
            None => {}
        }
        ids.push(id);
    }
    (gateway.stop().await, ids)
}

fn events(said: &Said) -> Vec<Value> {
    said.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn audit(dir: &TempDir) -> Vec<Value> {
    let text = std::fs::read_to_string(dir.path().join("data/audit/acts.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test]
async fn events_come_in_the_apis_form_with_what_became_of_them() {
    let (dir, ids) = every_state().await;
    let said = store(dir.path(), &["export"]).await;
    assert_eq!((said.code, said.err.as_str()), (Some(0), ""), "{said:?}");
    let events = events(&said);
    assert_eq!(events.len(), 5);
    for ((event, id), state) in events.iter().zip(&ids).zip(STATES) {
        assert_eq!((event["id"].as_str(), event["state"].as_str()), (Some(&**id), Some(state)));
        assert_eq!(event["payload"], Value::Null, "only when asked for");
    }
    let bytes = body(0, "Order Shipped", "");
    let received_at = events[0]["received_at"].clone();
    assert!(received_at.as_str().unwrap().ends_with('Z'));
    let delivery =
        json!({"upstream":"app","state":"delivered","attempts":1,"last_status":202,"next_at":null});
    let expected = json!({
        "id": ids[0], "source": "lab", "provider_id": "e0", "type": "lab.order.shipped",
        "provider_type": "Order Shipped", "subject": "s0", "state": "delivered",
        "received_at": received_at, "size": bytes.len(),
        "sha256": hex::encode(Sha256::digest(&bytes)), "deliveries": [delivery],
    });
    assert_eq!(events[0], expected);
    let pending = &events[2]["deliveries"][0];
    assert_eq!((&pending["attempts"], &pending["last_status"]), (&1.into(), &503.into()));
    assert!(pending["next_at"].is_string(), "{pending}");
    assert_eq!(events[1]["deliveries"][0]["last_status"], 410);
    assert_eq!(events[4]["deliveries"], json!([]));

    let said = store(dir.path(), &["export", "--payload"]).await;
    let first: Value = serde_json::from_str(said.out.lines().next().unwrap()).unwrap();
    assert_eq!(first["payload"], bytes);
}

#[tokio::test]
async fn filters_say_which_events() {
    let (dir, ids) = every_state().await;
    let said = store(dir.path(), &["export"]).await;
    let second = events(&said)[1]["received_at"].as_str().unwrap().to_owned();
    let many: Vec<usize> = (0..5).collect();
    let since = events(&said).iter().position(|e| e["received_at"] == *second).unwrap();
    let later: Vec<usize> = (since..5).collect();
    let earlier: Vec<usize> = (0..since).collect();
    let cases: [(&[&str], &[usize]); 12] = [
        (&["--since", "2020-01-01"], &many),
        (&["--since", "2120-01-01"], &[]),
        (&["--until", "2020-01-01T00:00:00Z"], &[]),
        (&["--since", &second], &later),
        (&["--until", &second], &earlier),
        (&["--source", "lab"], &many),
        (&["--source", "other"], &[]),
        (&["--type", "order.*"], &[0, 1, 2, 3]),
        (&["--type", "refill"], &[4]),
        (&["--state", "dead"], &[1]),
        (&["--state", "unknown"], &[]),
        (&["--type", "order.late", "--state", "pending"], &[2]),
    ];
    for (filter, expected) in cases {
        let said = store(dir.path(), &[&["export"], filter].concat()).await;
        assert_eq!(said.code, Some(0), "{filter:?}: {said:?}");
        let found: Vec<String> =
            events(&said).iter().map(|e| e["id"].as_str().unwrap().to_owned()).collect();
        let expected: Vec<String> = expected.iter().map(|n| ids[*n].clone()).collect();
        assert_eq!(found, expected, "{filter:?}");
    }
}

#[tokio::test]
async fn who_exports_what_is_recorded_before_and_after() {
    let (dir, _) = every_state().await;
    let mut before = snapshot(dir.path());
    let export = ["export", "--payload", "--type", "order.*", "--state", "dead"];
    let said = store(dir.path(), &export).await;
    assert_eq!(said.out.lines().count(), 1);
    let acts = audit(&dir);
    let [begun, ended] = &acts[..] else { panic!("{acts:?}") };
    for act in [begun, ended] {
        assert_eq!(act["reason"], "exported");
        assert_eq!(act["uid"], rustix::process::getuid().as_raw());
        let filter = json!({
            "since": null, "until": null, "source": null, "type": "order.*", "state": "dead",
            "payload": true,
        });
        assert_eq!(act["filter"], filter);
        assert_eq!(act["id"], begun["id"]);
    }
    assert_eq!((&begun["phase"], &ended["phase"]), (&"begun".into(), &"ended".into()));
    assert_eq!((&ended["count"], &ended["complete"]), (&1.into(), &true.into()));
    // Nothing else is touched.
    let mut after = snapshot(dir.path());
    let acts = dir.path().join("data/audit/acts.jsonl");
    assert!(after.remove(&acts).is_some_and(|(written, _)| !written.is_empty()));
    for files in [&mut before, &mut after] {
        files.remove(&dir.path().join("data/audit"));
    }
    assert_eq!(after, before);

    // What cannot be recorded is not done.
    std::fs::remove_file(&acts).unwrap();
    std::fs::create_dir(&acts).unwrap();
    let said = store(dir.path(), &export).await;
    assert_eq!((said.code, said.out.as_str()), (Some(1), ""), "{said:?}");
    assert!(said.err.contains("nothing is exported"), "{said:?}");
}

#[tokio::test]
async fn damage_is_told_and_left_out() {
    let (dir, ids, _down) = stopped(3, 3).await;
    flip(&segments(dir.path())[1], r#""n":4}"#);
    let said = store(dir.path(), &["export"]).await;
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.err.starts_with("damage: segment 2, offset "), "{said:?}");
    let found: Vec<String> =
        events(&said).iter().map(|e| e["id"].as_str().unwrap().to_owned()).collect();
    let expected: Vec<String> =
        ids.iter().enumerate().filter(|(n, _)| *n != 4).map(|(_, id)| id.clone()).collect();
    assert_eq!(found, expected);
    let acts = audit(&dir);
    assert_eq!((&acts[1]["damages"], &acts[1]["count"]), (&1.into(), &8.into()));
}

/// Whoever reads may stop reading; the record says that it was not all.
#[tokio::test]
async fn an_output_that_is_closed_ends_it() {
    let (dir, _, _down) = stopped(1, 3).await;
    let mut command = hookward(dir.path(), &["store", "export", "--store", "data"]);
    command.stdout(std::fs::File::create("/dev/full").unwrap());
    let mut child = command.stderr(std::process::Stdio::null()).spawn().unwrap();
    let status = tokio::task::spawn_blocking(move || child.wait().unwrap()).await.unwrap();
    assert_eq!(status.code(), Some(1));
    assert_eq!(audit(&dir)[1]["complete"], false);
}

/// It is there for when no gateway can be had, and for when one runs.
#[tokio::test]
async fn a_running_gateways_events_are_exported_up_to_now() {
    let down = crate::app::Down::new();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_owned();
    let gateway = super::lab(&down.url()).start_in(dir).await;
    for n in 1..=3 {
        gateway.accepts(&super::post(n)).await;
        let said = run(hookward(&path, &["store", "export", "--store", "data"])).await;
        assert_eq!((said.code, said.out.lines().count()), (Some(0), n), "{said:?}");
    }
    gateway.stop().await;
}
