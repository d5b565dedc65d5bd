//! Upstreams that come, go and move, with what waits for them.

use super::*;
use crate::app::{Down, reply};

/// Added, removed and back again, over a kill: each upstream gets its own, and nothing twice that
/// it has settled.
#[tokio::test]
async fn upstreams_come_and_go_with_what_waits_for_them() {
    let down = Down::new();
    let other = App::start().await;
    let mut files = Files::new(&down.url());
    let (mut process, public, _) = Process::serve(files.path()).await;
    let mut for_app = Vec::new();
    for n in 0..6 {
        for_app.push(accepted(public, n).await.event_id().to_owned());
    }
    files.rest = upstream("app", &down.url()) + &upstream("other", &other.url());
    files.write();
    process.signal("HUP");
    let line = process.line(RELOADED).await;
    assert_eq!(field(&line, "changed"), "upstream.other (added)");
    let for_both = accepted(public, 6).await.event_id().to_owned();
    for_app.push(for_both.clone());
    other.wait(1).await;

    files.rest = upstream("other", &other.url());
    files.write();
    process.signal("HUP");
    let line = process.line("not configured any more").await;
    assert_eq!((field(&line, "upstream"), field(&line, "waiting")), ("app".into(), 7.into()));
    process.lines(RELOADED, 2).await;
    let for_other = accepted(public, 7).await.event_id().to_owned();
    let seen = other.wait(2).await;
    assert_eq!([seen[0].id(), seen[1].id()], [&*for_both, &*for_other]);
    process.signal("KILL");
    process.end().await;

    let (mut process, public, _) = Process::serve(files.path()).await;
    process.line("deliveries wait for an upstream that is not configured").await;
    files.rest = upstream("first", &other.url()) + &upstream("app", &down.url());
    files.write();
    process.signal("HUP");
    process.line(RELOADED).await;
    let last = accepted(public, 8).await.event_id().to_owned();
    for_app.push(last.clone());
    let app = down.come_up();
    let seen = app.wait(for_app.len()).await;
    let mut delivered: Vec<&str> = seen.iter().map(|d| d.id()).collect();
    for subject in 0..3 {
        let subject = format!("s{subject}");
        let of_it = seen.iter().filter(|d| d.event()["subject"] == subject);
        let numbers: Vec<_> = of_it.map(|d| d.event()["data"]["n"].as_u64().unwrap()).collect();
        assert!(numbers.is_sorted(), "{numbers:?}");
    }
    delivered.sort_unstable();
    for_app.sort_unstable();
    assert_eq!(delivered, for_app);
    let seen = other.wait_for(|seen| seen.iter().any(|d| d.id() == last)).await;
    let to_first: Vec<_> = seen.iter().filter(|d| for_app.contains(&d.id().to_owned())).collect();
    assert_eq!(to_first.len(), 2, "only what it was configured for: {seen:#?}");
    end(process).await;
}

/// An upstream that moves gets what waited for it at its new address, and one that was being
/// delivered to elsewhere is not disturbed.
#[tokio::test]
async fn an_upstream_that_moves_gets_its_backlog_where_it_is_now() {
    let (down, steady, moved) = (Down::new(), App::start().await, App::start().await);
    let mut files = Files::new("");
    files.rest = upstream("app", &down.url()) + &upstream("steady", &steady.url());
    files.write();
    let (mut process, public, _) = Process::serve(files.path()).await;
    for n in 0..12 {
        accepted(public, n).await;
    }
    steady.wait(12).await;
    files.rest = upstream("app", &moved.url()) + &upstream("steady", &steady.url());
    files.write();
    let line = process.line(RELOADED).await;
    assert_eq!(field(&line, "changed"), "upstream.app.url");
    accepted(public, 12).await;
    assert_eq!(moved.wait(13).await.len(), 13);
    assert_eq!(steady.wait(13).await.len(), 13);
    end(process).await;
}

/// A request that is on its way keeps to the rules that it began with.
#[tokio::test]
async fn a_request_in_hand_keeps_its_rules() {
    let app = App::answering(|_, _| reply(200)).await;
    let mut files = Files::new(&app.url());
    let (mut process, public, _) = Process::serve(files.path()).await;
    let begun = post(1, "one").header("Expect", "100-continue");
    let mut connection = begun.connect(public).await;
    connection.write(&begun.head()).await;
    assert_eq!(connection.status().await, 100);
    files.source = key_files(&["two"]);
    files.rest = upstream("other", &app.url());
    files.write();
    process.signal("HUP");
    process.line(RELOADED).await;
    connection.write(br#"{"id":"e1","subject":"s1","n":1}"#).await;
    assert_eq!(connection.answer().await.status, 200);
    assert_eq!(post(1, "one").send(public).await.status, 401);
    // It went to the upstream that is gone, and waits for it.
    files.rest = upstream("other", &app.url()) + &upstream("app", &app.url());
    files.write();
    process.signal("HUP");
    assert_eq!(app.wait(1).await.len(), 1);
    end(process).await;
}
