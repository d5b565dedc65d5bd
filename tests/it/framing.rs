//! Where one request ends and the next begins: what could be read in two ways is 400, and the
//! connection ends with it, so that nothing can be smuggled behind it.

use crate::app::App;
use crate::client::{Connection, Post, new_tag};
use crate::gateway::{Running, setup};
use crate::lines;

const OPEN: &str = "
[source.open]
auth = { kind = \"none-dangerous\" }
event.id = \"/id\"
";

/// What is sent behind every bad request: a good one, which must not be read as one.
fn smuggled() -> Vec<u8> {
    let post = Post::to("/hooks/open").body(r#"{"id":"smuggled"}"#);
    [post.head(), br#"{"id":"smuggled"}"#.to_vec()].concat()
}

async fn start(app: &App) -> Running {
    setup(&format!("{OPEN}\n[upstream.app]\nurl = \"{}\"\nconcurrency = 1", app.url()))
        .start()
        .await
}

#[tokio::test]
async fn ambiguous_requests_are_400_and_end_the_connection() {
    let app = App::start().await;
    let gateway = start(&app).await;
    let post = "POST /hooks/open HTTP/1.1\r\nHost: gw";
    for (case, head, body) in [
        (
            "length and encoding",
            format!("{post}\r\nContent-Length: 7\r\nTransfer-Encoding: chunked"),
            "2\r\n{}\r\n0\r\n\r\n",
        ),
        (
            "encoding and length",
            format!("{post}\r\nTransfer-Encoding: chunked\r\nContent-Length: 2"),
            "2\r\n{}\r\n0\r\n\r\n",
        ),
        ("one length twice", format!("{post}\r\nContent-Length: 2\r\nContent-Length: 2"), "{}"),
        ("two hosts", format!("{post}\r\nHost: gw\r\nContent-Length: 2"), "{}"),
        ("two other hosts", format!("{post}\r\nHost: other\r\nContent-Length: 2"), "{}"),
        ("no host", "POST /hooks/open HTTP/1.1\r\nContent-Length: 2".to_owned(), "{}"),
        ("bare LF in the head", format!("{post}\nContent-Length: 2"), "{}"),
        ("bare LF behind the request line", "POST /hooks/open HTTP/1.1\nHost: gw".to_owned(), ""),
        (
            "another authority than the host",
            "POST http://other/hooks/open HTTP/1.1\r\nHost: gw\r\nContent-Length: 2".to_owned(),
            "{}",
        ),
        (
            "another port than the host's",
            "POST http://gw:81/hooks/open HTTP/1.1\r\nHost: gw\r\nContent-Length: 2".to_owned(),
            "{}",
        ),
        ("another coding", format!("{post}\r\nTransfer-Encoding: gzip, chunked"), "0\r\n\r\n"),
        (
            "chunked twice",
            format!("{post}\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked"),
            "0\r\n\r\n",
        ),
    ] {
        let tag = new_tag();
        let mut connection = Connection::open(gateway.address, None).await;
        let request = format!("{head}\r\nUser-Agent: {tag}\r\n\r\n{body}");
        connection.write(&[request.as_bytes(), &smuggled()].concat()).await;
        let answer = connection.answer().await;
        assert_eq!((answer.status, answer.header("connection")), (400, Some("close")), "{case}");
        answer.assert_well_formed();
        assert_eq!(lines::refusal(&tag).await["reason"], "protocol_error", "{case}");
        assert_eq!(connection.rest().await, "", "{case}: something else was answered");
    }
    nothing_was_smuggled(&gateway, &app).await;
}

/// What HTTP's parser refuses by itself, before there is a request that could be looked at.
#[tokio::test]
async fn heads_that_are_none_are_refused_and_end_the_connection() {
    let app = App::start().await;
    let gateway = start(&app).await;
    let long = "a".repeat(70 << 10);
    let lengths =
        |fields: &str| format!("POST /hooks/open HTTP/1.1\r\nHost: gw\r\n{fields}\r\n\r\n{{}}");
    for (n, (case, bytes, status)) in [
        ("two lengths", lengths("Content-Length: 2\r\nContent-Length: 3"), 400),
        ("a list of lengths", lengths("Content-Length: 2, 2"), 400),
        ("a signed length", lengths("Content-Length: +2"), 400),
        ("a length that is none", lengths("Content-Length: two"), 400),
        ("identity", lengths("Transfer-Encoding: identity"), 400),
        ("a hexadecimal length", lengths("Content-Length: 0x2"), 400),
        ("no HTTP at all", "hello\r\n\r\n".to_owned(), 400),
        ("a space in the target", "POST /hooks/open /x HTTP/1.1\r\nHost: gw\r\n\r\n".to_owned(), 400),
        ("another version", "POST /hooks/open HTTP/3.7\r\nHost: gw\r\n\r\n".to_owned(), 400),
        (
            "space before the colon",
            "POST /hooks/open HTTP/1.1\r\nHost: gw\r\nContent-Length : 2\r\n\r\n{}".to_owned(),
            400,
        ),
        (
            "a folded line",
            "POST /hooks/open HTTP/1.1\r\nHost: gw\r\nX: a\r\n b\r\nContent-Length: 2\r\n\r\n{}"
                .to_owned(),
            400,
        ),
        (
            "NUL in a value",
            "POST /hooks/open HTTP/1.1\r\nHost: gw\r\nX: a\0b\r\nContent-Length: 2\r\n\r\n{}"
                .to_owned(),
            400,
        ),
        (
            "bare CR in a value",
            "POST /hooks/open HTTP/1.1\r\nHost: gw\r\nX: a\rb\r\nContent-Length: 2\r\n\r\n{}"
                .to_owned(),
            400,
        ),
        (
            "transfer-encoding in HTTP/1.0",
            "POST /hooks/open HTTP/1.0\r\nHost: gw\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"
                .to_owned(),
            400,
        ),
        (
            "a head without end",
            format!("POST /hooks/open HTTP/1.1\r\nHost: gw\r\nX: {long}\r\n\r\n"),
            431,
        ),
    ]
    .into_iter()
    .enumerate()
    {
        // The log knows these by their address only.
        let from = format!("127.0.1.{}", n + 1);
        let mut connection = Connection::open(gateway.address, Some(from.parse().unwrap())).await;
        connection.write(&[bytes.as_bytes(), &smuggled()].concat()).await;
        assert_eq!(connection.status().await, status, "{case}");
        let rest = connection.rest().await;
        assert!(!rest.contains("HTTP/1.1"), "{case}: something else was answered: {rest}");
        let line = lines::refusal_from(&from).await;
        assert_eq!((&line["reason"], &line["status"]), (&"protocol_error".into(), &status.into()), "{case}");
    }
    nothing_was_smuggled(&gateway, &app).await;
}

async fn nothing_was_smuggled(gateway: &Running, app: &App) {
    gateway.accepts(&Post::to("/hooks/open").body(r#"{"id":"last"}"#)).await;
    let seen = app.wait_for(|seen| seen.iter().any(|d| d.event()["id"] == "last")).await;
    assert_eq!(seen.len(), 1, "{seen:#?}");
}

#[tokio::test]
async fn the_odd_but_unambiguous_is_answered() {
    let app = App::start().await;
    let gateway = start(&app).await;
    for (case, request) in [
        (
            "chunks",
            "POST /hooks/open HTTP/1.1\r\nHost: gw\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n1;a=b\r\n}\r\n0\r\nTrailer: x\r\n\r\n",
        ),
        (
            "the absolute form of the host",
            "POST http://GW/hooks/open HTTP/1.1\r\nHost: gw\r\nContent-Length: 2\r\n\r\n{}",
        ),
        ("HTTP/1.0", "POST /hooks/open HTTP/1.0\r\nContent-Length: 2\r\n\r\n{}"),
        (
            "an empty line before the request",
            "\r\nPOST /hooks/open HTTP/1.1\r\nHost: gw\r\nContent-Length: 2\r\n\r\n{}",
        ),
        ("a query", "POST /hooks/open?a=b HTTP/1.1\r\nHost: gw\r\nContent-Length: 2\r\n\r\n{}"),
    ] {
        let mut connection = Connection::open(gateway.address, None).await;
        connection.write(request.as_bytes()).await;
        let answer = connection.answer().await;
        assert_eq!(answer.status, 200, "{case}");
        answer.assert_well_formed();
    }
}

#[tokio::test]
async fn a_connection_carries_one_request_after_the_other_past_refusals_too() {
    let app = App::start().await;
    let gateway = start(&app).await;
    let posts = [
        (Post::to("/hooks/open").body(r#"{"id":1}"#), 200),
        (Post::to("/hooks/nowhere").body(r#"{"id":2}"#), 404),
        (Post::to("/hooks/open").body("no JSON"), 400),
        (Post::to("/hooks/open").body(r#"{"id":3}"#), 200),
    ];
    let bytes = |post: &Post, body: &str| [post.head(), body.into()].concat();
    let bodies = [r#"{"id":1}"#, r#"{"id":2}"#, "no JSON", r#"{"id":3}"#];
    // First one at a time, then all at once.
    let mut connection = Connection::open(gateway.address, None).await;
    for ((post, status), body) in posts.iter().zip(bodies) {
        connection.write(&bytes(post, body)).await;
        assert_eq!(connection.answer().await.status, *status, "{post:?}");
    }
    let all = posts.iter().zip(bodies).map(|((post, _), body)| bytes(post, body));
    connection.write(&all.collect::<Vec<_>>().concat()).await;
    for (post, status) in &posts {
        assert_eq!(connection.answer().await.status, *status, "{post:?}");
    }
}
