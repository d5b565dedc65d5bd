//! A stop and a start with work left over.

use crate::app::{App, Down, reply};
use crate::client::Post;
use crate::gateway::{Setup, setup};
use crate::lines;

fn to(url: &str) -> Setup {
    setup(&format!(
        "[source.lab]\nauth = {{ kind = \"none-dangerous\" }}\nevent.id = \"/id\"\nevent.subject = \"/subject\"\n\n\
         [upstream.app]\nurl = \"{url}\"\nretry = {{ first = \"1ms\", max = \"2ms\", give_up = \"1h\" }}\n"
    ))
}

fn post(n: u32) -> Post {
    let body = format!(r#"{{"id":"e{n}","subject":"s{}","n":{n}}}"#, n % 3);
    Post::to("/hooks/lab").body(body)
}

/// Accepted while the app was down, delivered after a restart: once each, in order, under the
/// ids that the senders were told.
#[tokio::test]
async fn a_backlog_survives_a_restart() {
    let down = Down::new();
    let setup = to(&down.url());
    let gateway = setup.start().await;
    let mut ids = Vec::new();
    for n in 0..30 {
        ids.push(gateway.accepts(&post(n)).await);
    }
    lines::attempt(&ids[0], 2).await;
    let gateway = setup.start_in(gateway.stop().await).await;
    let tried = lines::attempts(&ids[0]).len();
    for n in [0, 29] {
        let again = gateway.accepts(&post(n)).await;
        assert_eq!(again, ids[n as usize], "what is stored is known");
    }
    ids.push(gateway.accepts(&post(30)).await);
    let first = ids[0].clone();
    let app = down.come_up();
    let seen = app.wait(31).await;
    let mut delivered: Vec<&str> = seen.iter().map(|d| d.id()).collect();
    // Ids of one millisecond are in no order.
    delivered.sort_unstable();
    ids.sort_unstable();
    assert_eq!(delivered, ids);
    for subject in 0..3 {
        let of_it = seen.iter().filter(|d| d.event()["subject"] == *format!("s{subject}"));
        let numbers: Vec<u64> = of_it.map(|d| d.event()["data"]["n"].as_u64().unwrap()).collect();
        assert!(numbers.is_sorted(), "{numbers:?}");
    }
    // Attempts are counted on from those before the restart.
    let first = seen.iter().find(|d| d.id() == first).unwrap();
    assert!(first.attempt() as usize > tried, "{} after {tried}", first.attempt());
    assert_eq!(first.attempt() as usize, lines::attempts(first.id()).len().max(tried + 1));
}

/// What was settled, either way, stays settled.
#[tokio::test]
async fn what_is_settled_is_not_delivered_again() {
    let app = App::answering(|d, _| reply(if d.event()["id"] == "e1" { 410 } else { 200 })).await;
    let setup = to(&app.url());
    let gateway = setup.start().await;
    let [delivered, dead] = [gateway.accepts(&post(0)).await, gateway.accepts(&post(1)).await];
    lines::verdict(&delivered, "delivered").await;
    lines::verdict(&dead, "dead").await;
    let gateway = setup.start_in(gateway.stop().await).await;
    assert_eq!(gateway.accepts(&post(1)).await, dead);
    // Of the dead one's subject, so it would come behind it.
    let last = gateway.accepts(&post(4)).await;
    let seen = app.wait_for(|seen| seen.iter().any(|d| d.id() == last)).await;
    assert_eq!(seen.len(), 3);
}

/// The index holds nothing that the journal does not.
#[tokio::test]
async fn the_index_may_be_deleted() {
    let down = Down::new();
    let setup = to(&down.url());
    let gateway = setup.start().await;
    let mut ids = Vec::new();
    for n in 0..10 {
        ids.push(gateway.accepts(&post(n)).await);
    }
    let index = gateway.store().join("index");
    let dir = gateway.stop().await;
    assert!(index.exists());
    std::fs::remove_dir_all(index).unwrap();
    let gateway = setup.start_in(dir).await;
    for (n, id) in (0..10).zip(&ids) {
        assert_eq!(&gateway.accepts(&post(n)).await, id);
    }
    let app = down.come_up();
    assert_eq!(app.wait(10).await.len(), 10);
}

/// A gateway that stops answers what it has begun with, and what it has not it does not take.
#[tokio::test]
async fn a_stop_waits_for_requests_and_attempts_in_hand() {
    let app = App::start().await;
    let setup = to(&app.url());
    let gateway = setup.start().await;
    let address = gateway.address;
    let announced = post(1).body(r#"{"id":"e1"}"#).header("Expect", "100-continue");
    let mut connection = announced.connect(address).await;
    connection.write(&announced.head()).await;
    assert_eq!(connection.status().await, 100, "the request is in hand");
    let idle = post(2).connect(address).await;
    let stopping = tokio::spawn(gateway.stop());
    assert_eq!(idle.rest().await, "", "who has not begun is let go");
    connection.write(br#"{"id":"e1"}"#).await;
    let answer = connection.answer().await;
    assert_eq!((answer.status, answer.header("connection")), (200, Some("close")));
    assert_eq!(connection.rest().await, "");
    let dir = stopping.await.unwrap();
    assert!(tokio::net::TcpStream::connect(address).await.is_err(), "nobody listens any more");
    let gateway = setup.start_in(dir).await;
    let seen = app.wait(1).await;
    assert_eq!(seen[0].id(), answer.event_id());
    let repeat = gateway.send(&post(1).body(r#"{"id":"e1"}"#)).await;
    assert_eq!(repeat.event_id(), answer.event_id());
}
