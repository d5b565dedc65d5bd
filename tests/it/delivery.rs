//! The app's side: what an attempt looks like, what each answer leads to, and how long it is
//! tried.

use std::collections::BTreeMap;
use std::time::Duration;

use hookward::clock::Clock;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::app::{App, Delivery, Down, Reply, reply};
use crate::client::Post;
use crate::gateway::{Setup, decoded, secret, setup};
use crate::lines;

/// Retries at once, and for long.
const FAST: &str = "retry = { first = \"1ms\", max = \"2ms\", give_up = \"1h\" }";

fn to(url: &str, keys: &str) -> Setup {
    setup(&format!(
        "[source.lab]\nauth = {{ kind = \"none-dangerous\" }}\nevent.subject = \"/subject\"\n\n\
         [upstream.app]\nurl = \"{url}\"\n{keys}\n"
    ))
}

fn post(body: impl Into<Vec<u8>>) -> Post {
    Post::to("/hooks/lab").body(body)
}

/// Every attempt at an event is the same event, signed anew.
#[tokio::test]
async fn attempts_are_signed_counted_and_of_one_id() {
    let app = App::answering(|_, before| reply(if before.len() < 3 { 503 } else { 204 })).await;
    let keys = format!(
        "signing_key = {{ env = \"APP\" }}\nheaders = {{ Authorization = {{ env = \"TOKEN\" }}, X-Static = {{ env = \"OTHER\" }} }}\n{FAST}"
    );
    let gateway = to(&format!("{}?tenant=1&b", app.url()), &keys).start().await;
    let before = Clock::System.now().as_secs();
    let id = gateway.accepts(&post(r#"{"n": 1.0}"#)).await;
    let seen = app.wait(4).await;
    let mut spans = Vec::new();
    for (delivery, attempt) in seen.iter().zip(1..) {
        assert_eq!(delivery.target, "POST /webhooks?tenant=1&b");
        assert_eq!((delivery.id(), delivery.attempt()), (&*id, attempt));
        assert_eq!(delivery.header("hookward-source"), "lab");
        assert_eq!(delivery.header("content-type"), "application/cloudevents+json");
        assert_eq!(delivery.header("host"), app.address.to_string());
        assert_eq!(delivery.header("content-length"), delivery.body.len().to_string());
        assert_eq!(delivery.header("authorization"), secret("TOKEN"));
        assert_eq!(delivery.header("x-static"), secret("OTHER"));
        assert!(delivery.is_signed_with(decoded("APP").expose()), "{delivery:?}");
        assert!(!delivery.is_signed_with(decoded("OTHER").expose()));
        let at: u64 = delivery.header("webhook-timestamp").parse().unwrap();
        assert!((before..=Clock::System.now().as_secs()).contains(&at));
        assert_eq!(delivery.body, seen[0].body, "every attempt has the same bytes");
        let trace: Vec<&str> = delivery.header("traceparent").split('-').collect();
        assert_eq!((trace[0], trace[1], trace[3]), ("00", &*id.replace('-', ""), "01"));
        assert_eq!(trace[2].len(), 16);
        spans.push(trace[2].to_owned());
    }
    spans.sort();
    spans.dedup();
    assert_eq!(spans.len(), 4, "each attempt is a span of its own");
    let line = lines::verdict(&id, "delivered").await;
    assert_eq!((&line["attempt"], &line["status"]), (&4.into(), &204.into()));
    assert_eq!(lines::attempts(&id).len(), 4);
}

#[tokio::test]
async fn without_a_key_nothing_is_signed() {
    let app = App::start().await;
    let gateway = to(&app.url(), "").start().await;
    gateway.accepts(&post("{}")).await;
    let seen = app.wait(1).await;
    assert!(!seen[0].headers.contains_key("webhook-signature"), "{seen:?}");
    assert!(!seen[0].headers.contains_key("authorization"));
    assert!(seen[0].header("webhook-timestamp").parse::<u64>().is_ok());
}

/// The first answer is the one that the event asks for; any further one is 200.
fn as_asked(delivery: &Delivery, before: &[Delivery]) -> Reply {
    let status = delivery.event()["data"]["status"].as_u64().unwrap();
    let first = before.iter().all(|d| d.id() != delivery.id());
    let answer = reply(if first { u16::try_from(status).unwrap() } else { 200 });
    if (300..400).contains(&status) { answer.header("location", "/elsewhere") } else { answer }
}

#[tokio::test]
async fn every_status_leads_where_the_contract_says() {
    let app = App::answering(as_asked).await;
    let gateway = to(&app.url(), &format!("concurrency = 1\n{FAST}")).start().await;
    let settled = [200, 201, 202, 204, 206, 226, 299];
    let dead =
        [400, 401, 402, 403, 404, 405, 406, 410, 411, 413, 415, 418, 422, 426, 428, 451, 499];
    let again = [
        408, 409, 425, 429, 500, 501, 502, 503, 504, 507, 511, 599, 300, 301, 302, 303, 304, 307,
        308,
    ];
    let mut sent = BTreeMap::new();
    for status in settled.into_iter().chain(dead).chain(again) {
        let id = gateway.accepts(&post(format!(r#"{{"status":{status}}}"#))).await;
        sent.insert(status, id);
    }
    for (status, id) in &sent {
        let (verdict, attempts) = match status {
            _ if settled.contains(status) => ("delivered", 1),
            _ if dead.contains(status) => ("dead", 1),
            _ => ("delivered", 2),
        };
        lines::verdict(id, verdict).await;
        let told = lines::attempts(id);
        let last = told.last().unwrap();
        assert_eq!(
            (told.len(), &last["verdict"], &told[0]["status"]),
            (attempts, &verdict.into(), &(*status).into()),
            "{status}"
        );
    }
    // Whatever would be tried again has been due before this one.
    let last = gateway.accepts(&post(r#"{"status":200,"last":1}"#)).await;
    let seen = app.wait_for(|seen| seen.iter().any(|d| d.id() == last)).await;
    assert!(seen.iter().all(|d| d.target == "POST /webhooks"), "a redirect was followed");
    for (status, id) in &sent {
        let expected = if again.contains(status) { 2 } else { 1 };
        assert_eq!(seen.iter().filter(|d| d.id() == id).count(), expected, "{status}");
    }
}

#[tokio::test]
async fn retry_after_is_honoured_up_to_the_longest_wait() {
    for (asked, max, at_least, at_most) in [
        ("1", "10m", 1000, 20_000),
        ("3600", "300ms", 300, 20_000),
        ("Fri, 31 Dec 2100 23:59:59 GMT", "300ms", 300, 20_000),
        ("soon", "2ms", 0, 20_000),
        ("Thu, 01 Jan 1970 00:00:00 GMT", "2ms", 0, 20_000),
    ] {
        let header = asked.to_owned();
        let app = App::answering(move |_, before| match before.len() {
            0 => reply(429).header("retry-after", header.clone()),
            _ => reply(200),
        })
        .await;
        let retry = format!("retry = {{ first = \"1ms\", max = \"{max}\", give_up = \"1h\" }}");
        let gateway = to(&app.url(), &retry).start().await;
        gateway.accepts(&post("{}")).await;
        let seen = app.wait(2).await;
        let waited = seen[1].at - seen[0].at;
        // What is asked for counts from the end of the attempt, in whole milliseconds.
        let least = Duration::from_millis(at_least).saturating_sub(Duration::from_millis(1));
        assert!(waited >= least, "{asked}: {waited:?}");
        assert!(waited < Duration::from_millis(at_most), "{asked}: {waited:?}");
    }
}

#[tokio::test]
async fn an_app_that_is_down_gets_everything_once_it_is_up() {
    let down = Down::new();
    let gateway = to(&down.url(), FAST).start().await;
    let mut ids = Vec::new();
    for n in 0..5 {
        ids.push(gateway.accepts(&post(format!("[{n}]"))).await);
    }
    let line = lines::attempt(&ids[0], 2).await;
    assert_eq!((&line["error"], &line["verdict"]), (&"connect_failed".into(), &"retry".into()));
    let app = down.come_up();
    let mut seen: Vec<String> = app.wait(5).await.iter().map(|d| d.id().to_owned()).collect();
    // Ids of one millisecond are in no order.
    seen.sort();
    ids.sort();
    assert_eq!(seen, ids);
    for id in &ids {
        lines::verdict(id, "delivered").await;
    }
    assert_eq!(app.seen().len(), 5);
}

/// An app that is there and does not speak HTTP, or not in time, has not got the event.
#[tokio::test]
async fn broken_and_missing_answers_are_tried_again() {
    let hangup: &[u8] = b"";
    for (case, answer, error) in [
        ("closed without an answer", Some(hangup), "broken"),
        ("no HTTP", Some(b"200 OK\r\n\r\n".as_slice()), "broken"),
        ("cut off in its head", Some(b"HTTP/1.1 200 OK\r\nA:".as_slice()), "broken"),
        ("silent", None, "timed_out"),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let app = tokio::spawn(async move {
            let mut silent = Vec::new();
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                match answer {
                    Some(answer) => {
                        let _ = stream.read(&mut [0; 4096]).await.unwrap();
                        stream.write_all(answer).await.unwrap();
                    }
                    None => silent.push(stream),
                }
            }
        });
        let limit = if answer.is_none() { "200ms" } else { "20s" };
        let gateway = to(&url, &format!("timeout = \"{limit}\"\n{FAST}")).start().await;
        let id = gateway.accepts(&post("{}")).await;
        let second = lines::attempt(&id, 2).await;
        assert_eq!(
            (&second["error"], &second["verdict"], &second["status"]),
            (&error.into(), &"retry".into(), &serde_json::Value::Null),
            "{case}"
        );
        app.abort();
    }
}

/// An app that hangs costs the senders nothing.
#[tokio::test]
async fn an_app_that_hangs_slows_no_answer() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    // The kernel takes the connections; nobody ever reads from them.
    let gateway = to(&url, "concurrency = 2\ntimeout = \"30s\"")
        .server("listen = \"127.0.0.1:0\"\ndrain_timeout = \"0s\"");
    let gateway = gateway.start().await;
    for n in 0..20 {
        gateway.accepts(&post(format!("[{n}]"))).await;
    }
    drop(gateway.stop().await);
}

#[tokio::test]
async fn what_nobody_takes_is_given_up_in_the_end() {
    let app = App::answering(|_, _| reply(500)).await;
    let retry = "retry = { first = \"50ms\", max = \"100ms\", give_up = \"1s\" }";
    let gateway = to(&app.url(), retry).start().await;
    let id = gateway.accepts(&post("{}")).await;
    let last = lines::verdict(&id, "dead").await;
    let number = last["attempt"].as_u64().unwrap();
    assert!(number > 2, "{last}");
    let seen = app.seen();
    assert_eq!(seen.len() as u64, number);
    let tried = seen.last().unwrap().at - seen[0].at;
    assert!(tried >= Duration::from_millis(500), "the last attempt is at the deadline: {tried:?}");
}
