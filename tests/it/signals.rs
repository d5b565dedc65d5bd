//! The life of the process `hookward run`: how it ends, and what it leaves.

use std::path::Path;

use serde_json::Value;
use tempfile::TempDir;

use crate::app::{App, Down};
use crate::client::{Connection, Post};
use crate::process::{Process, hookward, run};

fn write(dir: &Path, listen: &str, url: &str) {
    let text = format!(
        "[server]\nlisten = \"{listen}\"\n\n[admin]\nlisten = \"127.0.0.1:0\"\n\n\
         [store]\nmin_free = \"0B\"\n\n\
         [source.lab]\nauth = {{ kind = \"none-dangerous\" }}\nevent.id = \"/id\"\n\n\
         [upstream.app]\nurl = \"{url}\"\nretry = {{ first = \"1ms\", max = \"2ms\", give_up = \"1h\" }}\n"
    );
    std::fs::write(dir.join("hookward.toml"), text).unwrap();
}

fn configured(url: &str) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "127.0.0.1:0", url);
    dir
}

#[tokio::test]
async fn sigterm_and_sigint_finish_what_is_in_hand_and_exit_0() {
    let app = App::start().await;
    for signal in ["TERM", "INT"] {
        let dir = configured(&app.url());
        let (mut process, public, admin) = Process::serve(dir.path()).await;
        let post = Post::to("/hooks/lab").header("Expect", "100-continue");
        let mut connection = post.connect(public).await;
        connection.write(&post.head()).await;
        assert_eq!(connection.status().await, 100, "the request is in hand");
        let mut probe = Connection::open(admin.unwrap(), None).await;
        process.signal(signal);
        process.line("\"message\":\"stopping\"").await;
        // Nobody else is let in; who is in is told that it is going to stop.
        probe.write(b"GET /readyz HTTP/1.1\r\nHost: a\r\n\r\n").await;
        let ready = probe.answer().await;
        assert_eq!(ready.status, 503);
        assert!(ready.body.contains("shutting down"), "{}", ready.body);
        drop(probe);
        connection.write(b"{}").await;
        let answer = connection.answer().await;
        assert_eq!((answer.status, answer.header("connection")), (200, Some("close")));
        assert_eq!(connection.rest().await, "");
        assert_eq!(process.end().await, Some(0), "{:#?}", process.said());
        let stopped: Value = serde_json::from_str(process.said().last().unwrap()).unwrap();
        assert_eq!((&stopped["message"], &stopped["safe"]), (&"stopped".into(), &true.into()));
        // The event is there for the next one, if it was not delivered yet.
        let (mut next, ..) = Process::serve(dir.path()).await;
        let id = answer.event_id().to_owned();
        app.wait_for(|seen| seen.iter().any(|delivery| delivery.id() == id)).await;
        next.signal("TERM");
        assert_eq!(next.end().await, Some(0));
    }
}

#[tokio::test]
async fn sighup_does_no_harm() {
    let dir = configured("http://127.0.0.1:1/");
    let (mut process, public, _) = Process::serve(dir.path()).await;
    process.signal("HUP");
    process.line("SIGHUP").await;
    assert_eq!(Post::to("/hooks/lab").send(public).await.status, 200);
    process.signal("TERM");
    assert_eq!(process.end().await, Some(0));
}

#[tokio::test]
async fn a_second_process_on_the_store_exits_1_and_says_why() {
    let dir = configured("http://127.0.0.1:1/");
    let (mut process, public, _) = Process::serve(dir.path()).await;
    let second = run(hookward(dir.path(), &["run", "--config", "hookward.toml"])).await;
    assert_eq!(second.code, Some(1), "{second:?}");
    assert!(second.err.contains("in use by another process"), "{}", second.err);
    assert!(second.err.contains("data"), "it names the store: {}", second.err);
    // The first one is not disturbed.
    assert_eq!(Post::to("/hooks/lab").send(public).await.status, 200);
    process.signal("TERM");
    assert_eq!(process.end().await, Some(0));
}

#[tokio::test]
async fn an_address_that_is_taken_exits_1_and_says_why() {
    let app = App::start().await;
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), &app.address.to_string(), "http://127.0.0.1:1/");
    let said = run(hookward(dir.path(), &["run", "--config", "hookward.toml"])).await;
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.err.contains(&app.address.to_string()), "{}", said.err);
    assert!(said.err.to_lowercase().contains("in use"), "{}", said.err);
}

/// No goodbye at all: every event that was answered 200 is delivered after a restart.
#[tokio::test]
async fn a_killed_process_has_lost_nothing_that_it_acknowledged() {
    let down = Down::new();
    let dir = configured(&down.url());
    let (mut process, public, _) = Process::serve(dir.path()).await;
    let mut ids = Vec::new();
    for n in 0..20 {
        let answer = Post::to("/hooks/lab").body(format!("{{\"id\":{n}}}")).send(public).await;
        ids.push(answer.event_id().to_owned());
    }
    process.signal("KILL");
    assert_eq!(process.end().await, None);
    let (mut process, public, _) = Process::serve(dir.path()).await;
    let repeat = Post::to("/hooks/lab").body("{\"id\":19}").send(public).await;
    assert_eq!(repeat.event_id(), ids[19]);
    let app = down.come_up();
    let seen = app.wait(20).await;
    let mut delivered: Vec<&str> = seen.iter().map(|d| d.id()).collect();
    // Ids of one millisecond are in no order.
    delivered.sort_unstable();
    ids.sort_unstable();
    assert_eq!(delivered, ids);
    process.signal("TERM");
    assert_eq!(process.end().await, Some(0));
}
