//! What must be refused is, with the right status and reason, and what follows it on the connection
//! is never read as a request.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicU16, Ordering};

use super::{Case, bodies, heads, start};
use crate::app::App;
use crate::client::{Connection, Post};
use crate::gateway::Running;
use crate::lines;

/// What is sent behind every bad request: a good one, which must not be read as one.
fn smuggled() -> Vec<u8> {
    post(r#"{"id":"smuggled"}"#)
}

fn post(body: &str) -> Vec<u8> {
    [Post::to("/hooks/open").body(body).head(), body.into()].concat()
}

/// An address that no other request of this run comes from: the log knows some only by theirs.
fn new_client() -> IpAddr {
    static NEXT: AtomicU16 = AtomicU16::new(1);
    let [high, low] = NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes();
    Ipv4Addr::new(127, 2, high, low).into()
}

fn all() -> Vec<Case> {
    heads::all().into_iter().chain(bodies::all()).collect()
}

/// Sends a case in pieces, behind other bytes, and looks what becomes of it.
async fn refuse(gateway: &Running, case: &Case, before: &[u8], pieces: usize) {
    let Case { name, section, bytes, status, detail } = case;
    let from = new_client();
    let mut connection = Connection::open(gateway.address, Some(from)).await;
    let bytes = [before, bytes, &smuggled()].concat();
    for piece in bytes.chunks(bytes.len().div_ceil(pieces)) {
        connection.write(piece).await;
    }
    if !before.is_empty() {
        assert_eq!(connection.answer().await.status, 200, "{name}: the request before it");
    }
    let answer = connection.answer().await;
    assert_eq!(
        (answer.status, answer.header("connection")),
        (*status, Some("close")),
        "{name} ({section})"
    );
    answer.assert_well_formed();
    let line = lines::refusal_from(&from.to_string()).await;
    assert_eq!(line["reason"], "protocol_error", "{name}: {line}");
    assert_eq!(line["detail"], *detail, "{name}: {line}");
    assert_eq!(line["status"], *status, "{name}: {line}");
    assert_eq!(connection.rest().await, "", "{name}: something else was answered");
}

/// The app has got what was accepted and nothing else.
async fn nothing_was_smuggled(gateway: &Running, app: &App) {
    gateway.accepts(&Post::to("/hooks/open").body(r#"{"id":"last"}"#)).await;
    let seen = app.wait_for(|seen| seen.iter().any(|d| d.event()["id"] == "last")).await;
    let wrong = seen.iter().filter(|d| d.event()["id"] != "last" && d.event()["id"] != "before");
    assert_eq!(wrong.count(), 0, "{seen:#?}");
}

#[test]
fn the_table_is_long_and_each_row_is_its_own() {
    let cases = all();
    assert!(cases.len() >= 130, "{}", cases.len());
    let mut seen = HashSet::new();
    for case in &cases {
        assert!(seen.insert(&case.bytes), "{} is there twice", case.name);
        assert!(!case.section.is_empty());
    }
}

#[tokio::test]
async fn what_is_not_http_is_refused_and_ends_the_connection() {
    let app = App::start().await;
    let gateway = start(&app).await;
    for case in all() {
        refuse(&gateway, &case, b"", 1).await;
    }
    nothing_was_smuggled(&gateway, &app).await;
}

#[tokio::test]
async fn what_is_not_http_is_refused_behind_a_good_request_too() {
    let app = App::start().await;
    let gateway = start(&app).await;
    for case in all() {
        refuse(&gateway, &case, &post(r#"{"id":"before"}"#), 1).await;
    }
    nothing_was_smuggled(&gateway, &app).await;
}

#[tokio::test]
async fn what_is_not_http_is_refused_in_pieces_too() {
    let app = App::start().await;
    let gateway = start(&app).await;
    for case in all() {
        refuse(&gateway, &case, b"", 7).await;
    }
    nothing_was_smuggled(&gateway, &app).await;
}
