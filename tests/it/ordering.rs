//! In which order events of one subject reach the app.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::app::{App, Delivery, reply};
use crate::client::Post;
use crate::gateway::setup;

fn text(app: &App, ordering: &str) -> String {
    format!(
        "[source.lab]\nauth = {{ kind = \"none-dangerous\" }}\nevent.subject = \"/subject\"\n\n\
         [source.other]\nauth = {{ kind = \"none-dangerous\" }}\nevent.subject = \"/subject\"\n\n\
         [upstream.app]\nurl = \"{}\"\nconcurrency = 8\n{ordering}\n\
         retry = {{ first = \"1ms\", max = \"2ms\", give_up = \"1h\" }}\n",
        app.url()
    )
}

fn post(source: &str, subject: &str, n: u64) -> Post {
    let path = format!("/hooks/{source}");
    Post::to(&path).body(format!(r#"{{"subject":"{subject}","n":{n}}}"#))
}

/// Source, subject and number.
fn name(delivery: &Delivery) -> String {
    let event = delivery.event();
    let text = |value: &serde_json::Value| value.as_str().unwrap_or("-").to_owned();
    let source = text(&event["source"]).replace("urn:hookward:", "");
    format!("{source} {} {}", text(&event["subject"]), event["data"]["n"])
}

fn taken(seen: &[Delivery]) -> Vec<String> {
    seen.iter().filter(|d| d.status == 200).map(name).collect()
}

/// The first of a subject is refused until all that need not wait for it have come. If one of
/// them did wait, this would never end.
#[tokio::test]
async fn a_subject_is_delivered_in_order_and_holds_up_nobody_else() {
    let free = ["lab b 2", "other a 4", "lab - 6"];
    let app = App::answering(move |delivery, before| {
        let taken = taken(before);
        let all_free = free.iter().all(|name| taken.iter().any(|t| t == name));
        reply(if name(delivery) == "lab a 1" && !all_free { 503 } else { 200 })
    })
    .await;
    let gateway = setup(&text(&app, "")).start().await;
    for (source, subject, n) in
        [("lab", "a", 1), ("lab", "b", 2), ("lab", "a", 3), ("other", "a", 4), ("lab", "a", 5)]
    {
        gateway.accepts(&post(source, subject, n)).await;
    }
    gateway.accepts(&Post::to("/hooks/lab").body(r#"{"n":6}"#)).await;
    let seen = app.wait_for(|seen| taken(seen).len() == 6).await;
    let order: Vec<String> =
        taken(&seen).into_iter().filter(|name| name.starts_with("lab a")).collect();
    assert_eq!(order, ["lab a 1", "lab a 3", "lab a 5"]);
    // Nor was any of them tried before its turn.
    let first = seen.iter().position(|d| name(d) == "lab a 1" && d.status == 200).unwrap();
    assert!(seen[..first].iter().all(|d| name(d) != "lab a 3" && name(d) != "lab a 5"));
}

/// One that is dead is out of the way.
#[tokio::test]
async fn a_dead_event_holds_up_its_subject_no_longer() {
    let app =
        App::answering(|delivery, _| reply(if name(delivery) == "lab a 1" { 410 } else { 200 }))
            .await;
    let gateway = setup(&text(&app, "")).start().await;
    for n in 1..=2 {
        gateway.accepts(&post("lab", "a", n)).await;
    }
    let seen = app.wait(2).await;
    assert_eq!(seen.iter().map(name).collect::<Vec<_>>(), ["lab a 1", "lab a 2"]);
}

#[tokio::test]
async fn without_ordering_nobody_waits() {
    let app = App::answering(|delivery, before| {
        let second_taken = taken(before).iter().any(|name| name == "lab a 2");
        reply(if name(delivery) == "lab a 1" && !second_taken { 503 } else { 200 })
    })
    .await;
    let gateway = setup(&text(&app, "ordering = \"none\"")).start().await;
    for n in 1..=2 {
        gateway.accepts(&post("lab", "a", n)).await;
    }
    let seen = app.wait_for(|seen| taken(seen).len() == 2).await;
    assert_eq!(taken(&seen), ["lab a 2", "lab a 1"]);
}

/// Under many events at once, each subject keeps its order.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn order_holds_while_attempts_fail() {
    // Every third request is refused, whatever it is.
    let app =
        App::answering(|_, before| reply(if before.len() % 3 == 2 { 500 } else { 200 })).await;
    let gateway = setup(&text(&app, "")).start().await;
    for n in 0..60 {
        gateway.accepts(&post("lab", &format!("s{}", n % 4), n)).await;
    }
    let seen = app.wait_for(|seen| taken(seen).len() == 60).await;
    for subject in 0..4 {
        let numbers: Vec<u64> = seen
            .iter()
            .filter(|d| d.status == 200 && d.event()["subject"] == *format!("s{subject}"))
            .map(|d| d.event()["data"]["n"].as_u64().unwrap())
            .collect();
        assert!(numbers.is_sorted(), "s{subject}: {numbers:?}");
        assert_eq!(numbers.len(), 15);
    }
}

/// Events that no answer ever settles hold up nobody but their own subjects, whether order is kept or
/// not, and over a restart. Once they are dead, their subjects go on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn poison_events_hold_up_nobody_else_over_restarts() {
    for ordering in ["subject", "none"] {
        let cured = Arc::new(AtomicBool::new(false));
        let refused = Arc::clone(&cured);
        // More of them than workers, and than it takes to suspect the upstream.
        let app = App::answering(move |delivery, _| {
            let poison = delivery.event()["data"]["n"].as_u64().unwrap() < 12;
            reply(match (poison, refused.load(Ordering::SeqCst)) {
                (true, false) => 500,
                (true, true) => 410,
                (false, _) => 200,
            })
        });
        let app = app.await;
        let setup = setup(&text(&app, &format!("ordering = \"{ordering}\"")));
        let mut gateway = setup.start().await;
        // Each poisoned subject has one more event behind.
        for n in 0..24 {
            gateway.accepts(&post("lab", &format!("p{}", n % 12), n)).await;
        }
        let mut free = 0;
        for round in 0..3 {
            for n in 0..20 {
                gateway.accepts(&post("lab", &format!("free{n}"), 1000 + round * 20 + n)).await;
            }
            free += 20;
            let behind = if ordering == "none" { 12 } else { 0 };
            let seen = app.wait_for(|seen| taken(seen).len() == free + behind).await;
            let begun = |d: &&Delivery| d.event()["data"]["n"].as_u64().unwrap() < 1000;
            let subjects = seen.iter().filter(begun).filter(|d| d.status == 200).count();
            assert_eq!(subjects, behind, "{ordering}");
            gateway = setup.start_in(gateway.stop().await).await;
        }
        cured.store(true, Ordering::SeqCst);
        let seen = app.wait_for(|seen| taken(seen).len() == free + 12).await;
        for subject in 0..12 {
            let name = format!("p{subject}");
            let of_it: Vec<_> = seen.iter().filter(|d| d.event()["subject"] == *name).collect();
            let dead = of_it.iter().position(|d| d.status == 410);
            let next = of_it.iter().position(|d| d.status == 200).unwrap();
            if ordering == "subject" {
                assert!(dead.unwrap() < next, "{name} went on before its first event was given up");
            }
        }
    }
}
