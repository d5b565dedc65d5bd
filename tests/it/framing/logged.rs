//! What the log says of requests that never were any: enough to find the sender, and nothing that
//! could be a payload or a password.

use super::start;
use crate::app::App;
use crate::client::{Connection, new_tag};
use crate::lines;

#[tokio::test]
async fn a_refusal_shows_method_path_and_user_agent_as_far_as_they_were_read() {
    let app = App::start().await;
    let gateway = start(&app).await;
    for (target, path) in [
        ("/hooks/open", "/hooks/open"),
        ("/hooks/open?token=secret", "/hooks/open"),
        ("http://user:secret@gw/hooks/open", "/hooks/open"),
    ] {
        let tag = new_tag();
        let mut connection = Connection::open(gateway.address, None).await;
        let head = format!("PUT {target} HTTP/1.1\r\nUser-Agent: {tag}\r\nX : y\r\n\r\n");
        connection.write(head.as_bytes()).await;
        let answer = connection.answer().await;
        assert_eq!(answer.status, 400);
        if target.contains('@') {
            // This one is refused before its User-Agent is read.
            continue;
        }
        let line = lines::refusal(&tag).await;
        assert_eq!((&line["method"], &line["path"]), (&"PUT".into(), &path.into()), "{line}");
        assert!(!line.to_string().contains("secret"), "{line}");
    }
}

/// A sender that declares too short a body leaves its rest on the connection, where the next head
/// is expected.
#[tokio::test]
async fn a_refusal_shows_nothing_of_a_body_in_a_heads_place() {
    let app = App::start().await;
    let gateway = start(&app).await;
    let from = "127.3.0.1";
    let mut connection = Connection::open(gateway.address, Some(from.parse().unwrap())).await;
    let head = "POST /hooks/open HTTP/1.1\r\nHost: gw\r\nContent-Length: 2\r\n\r\n{}";
    let rest = "Doe /born 1970 HTTP/1.1\r\nUser-Agent: Doe\r\n\r\n";
    connection.write(format!("{head}{rest}").as_bytes()).await;
    assert_eq!(connection.answer().await.status, 200);
    assert_eq!(connection.answer().await.status, 400);
    let line = lines::refusal_from(from).await;
    assert!(!line.to_string().contains("Doe") && !line.to_string().contains("born"), "{line}");
}

#[tokio::test]
async fn a_head_that_stays_away_is_408_and_told() {
    let app = App::start().await;
    let rest = format!("{}\n[upstream.app]\nurl = \"{}\"", super::OPEN, app.url());
    let server = "listen = \"127.0.0.1:0\"\nheader_timeout = \"200ms\"\n";
    let gateway = crate::gateway::setup(&rest).server(server).start().await;
    let tag = new_tag();
    let mut connection = Connection::open(gateway.address, None).await;
    let head = format!("POST /hooks/open HTTP/1.1\r\nUser-Agent: {tag}\r\nHost");
    connection.write(head.as_bytes()).await;
    let answer = connection.answer().await;
    assert_eq!((answer.status, answer.header("connection")), (408, Some("close")));
    answer.assert_well_formed();
    let line = lines::refusal(&tag).await;
    assert_eq!((&line["status"], &line["path"]), (&408.into(), &"/hooks/open".into()), "{line}");
    assert_eq!(line["reason"], "protocol_error", "{line}");
    assert_eq!(connection.rest().await, "");
}
