//! HTTP/2 through the whole gateway: the same road, the same answers.

use std::future::poll_fn;

use bytes::Bytes;
use h2::Reason;
use h2::client::{ResponseFuture, SendRequest};
use http::request::Builder;
use http::{Request, header};
use serde_json::Value;
use tokio::time::timeout;

use crate::client::{BOUND, new_tag};
use crate::leaks;
use crate::lines;
use crate::pki::{Authority, Caller, NAME};
use crate::tls::{Plan, Secured};

const SOURCES: &str = "
[source.open]
auth = { kind = \"none-dangerous\" }
event.id = \"/id\"
[source.lab]
auth = { kind = \"api-key\", header = \"X-Key\" }
keys = [{ env = \"LAB\" }]
[upstream.app]
url = \"http://127.0.0.1:1/\"
";

/// A connection that has agreed on HTTP/2.
async fn connect(gateway: &Secured, authority: &Authority) -> SendRequest<Bytes> {
    let client = Caller::trusting(authority).protocols(&["h2"]).ready();
    let stream = client.connect(gateway.address).await.unwrap();
    let (sender, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    sender
}

fn to(path: &str) -> Builder {
    Request::post(format!("https://{NAME}{path}"))
}

/// What was answered.
#[derive(Debug)]
struct Answer {
    status: u16,
    headers: http::HeaderMap,
    body: Value,
}

async fn send(sender: &SendRequest<Bytes>, head: Builder, body: &'static str) -> Answer {
    let mut sender = sender.clone().ready().await.unwrap();
    let head = head.header("x-canary", leaks::canary("headers"));
    let request = head.body(()).unwrap();
    let declared = request.headers().contains_key(header::CONTENT_LENGTH);
    let (answer, mut stream) = sender.send_request(request, false).unwrap();
    // What is declared stays away, for it would be too long.
    if !declared {
        // A request that is refused by its head may be gone before its body is on its way.
        let _ = stream.send_data(Bytes::from_static(body.as_bytes()), true);
    }
    read(answer).await
}

async fn read(answer: ResponseFuture) -> Answer {
    let answer = tokio::time::timeout(BOUND, answer).await.expect("an answer").unwrap();
    let (head, mut body) = answer.into_parts();
    let mut all = Vec::new();
    while let Some(data) = body.data().await {
        let data = data.unwrap();
        body.flow_control().release_capacity(data.len()).unwrap();
        all.extend_from_slice(&data);
    }
    assert!(!head.headers.contains_key(header::CONNECTION), "{:?}", head.headers);
    leaks::answered(
        "an answer over HTTP/2",
        &format!("{head:?} {}", String::from_utf8_lossy(&all)),
    );
    let body = serde_json::from_slice(&all).unwrap();
    Answer { status: head.status.as_u16(), headers: head.headers, body }
}

#[tokio::test]
async fn events_are_accepted_once_whatever_version_they_come_in() {
    let authority = Authority::new("roots");
    let gateway = Plan::new(SOURCES)
        .with(|config| config.server.max_body = 4096)
        .start(&authority.server(1))
        .await;
    let sender = connect(&gateway, &authority).await;
    let first = send(&sender, to("/hooks/open"), r#"{"id":"e1"}"#).await;
    assert_eq!((first.status, &first.body["received"]), (200, &true.into()));
    let again = send(&sender, to("/hooks/open"), r#"{"id":"e1"}"#).await;
    assert_eq!(again.headers["hookward-event-id"], first.headers["hookward-event-id"]);
    let old = Caller::trusting(&authority).ready();
    let post = crate::client::Post::to("/hooks/open").body(r#"{"id":"e1"}"#);
    let old = old.send(gateway.address, &post).await.unwrap();
    assert!(old.contains(first.headers["hookward-event-id"].to_str().unwrap()), "{old}");
    let line = lines::accepted(first.headers["hookward-event-id"].to_str().unwrap()).await;
    assert_eq!(line["tls"], "TLSv1.3");
}

/// Bytes of a body, and what a stream's window of 128 KiB holds beside them only when some of them
/// were read.
const PART: usize = 100 << 10;
const MORE: usize = 40 << 10;

/// A client that takes a request back in mid-body with NO_ERROR had what was there stored.
#[tokio::test]
async fn a_body_that_is_reset_is_no_event_whatever_the_code() {
    let authority = Authority::new("roots");
    let gateway = Plan::new(SOURCES).start(&authority.server(1)).await;
    let sender = connect(&gateway, &authority).await;
    for (code, length) in [
        (Reason::NO_ERROR, None),
        (Reason::NO_ERROR, Some("200000")),
        (Reason::CANCEL, None),
        (Reason::CANCEL, Some("200000")),
    ] {
        let mut sender = sender.clone().ready().await.unwrap();
        let (tag, id) = (new_tag(), new_tag());
        let mut head = to("/hooks/open").header("user-agent", &tag);
        if let Some(length) = length {
            head = head.header("content-length", length);
        }
        let (answer, mut stream) = sender.send_request(head.body(()).unwrap(), false).unwrap();
        let part = format!(r#"{{"id":"{id}","padding":"{}"}}"#, "a".repeat(PART));
        stream.send_data(Bytes::from(part), false).unwrap();
        stream.reserve_capacity(MORE);
        while stream.capacity() < MORE {
            let more = timeout(BOUND, poll_fn(|cx| stream.poll_capacity(cx))).await;
            more.expect("the body is read").unwrap().unwrap();
        }
        stream.send_reset(code);
        assert!(timeout(BOUND, answer).await.expect("it is over").is_err(), "{code:?}");
        let line = lines::refusal(&tag).await;
        assert_eq!(line["detail"], "the body broke off", "{code:?} {length:?}: {line}");
        // Another event of this id would be a conflict.
        let whole = format!(r#"{{"id":"{id}","whole":true}}"#);
        let whole = send(&sender, to("/hooks/open"), whole.leak()).await;
        assert_eq!(whole.status, 200, "{code:?} {length:?}: {whole:?}");
        let line = lines::accepted(whole.headers["hookward-event-id"].to_str().unwrap()).await;
        assert_eq!(line["outcome"], "stored", "{code:?} {length:?}: {line}");
    }
}

#[tokio::test]
async fn refusals_are_problems_and_leave_the_connection_to_the_others() {
    let authority = Authority::new("roots");
    let gateway = Plan::new(SOURCES)
        .with(|config| config.server.max_body = 4096)
        .start(&authority.server(1))
        .await;
    let sender = connect(&gateway, &authority).await;
    let key = crate::gateway::secret("LAB");
    let get = Request::get(format!("https://{NAME}/hooks/open"));
    let long = format!("/{}", "a".repeat(9 << 10));
    for (case, head, status, reason) in [
        ("unknown", to("/hooks/none"), 404, "unknown_route"),
        ("query only", to("/?hooks/open"), 404, "unknown_route"),
        ("method", get, 405, "method_not_allowed"),
        ("declared", to("/hooks/open").header("content-length", "5000"), 413, "body_too_large"),
        ("no key", to("/hooks/lab"), 401, "credential_missing"),
        ("wrong key", to("/hooks/lab").header("x-key", "no"), 401, "credential_invalid"),
        (
            "two keys",
            to("/hooks/lab").header("x-key", &key).header("x-key", &key),
            401,
            "credential_invalid",
        ),
        (
            "encoded",
            to("/hooks/open").header("content-encoding", "gzip"),
            415,
            "unsupported_media_type",
        ),
        ("other host", to("/hooks/open").header("host", "other"), 400, "protocol_error"),
        ("scheme", Request::post(format!("http://{NAME}/hooks/open")), 400, "protocol_error"),
        ("long target", to(&long), 414, "protocol_error"),
    ] {
        let tag = new_tag();
        let answer = send(&sender, head.header("user-agent", &tag), "{}").await;
        assert_eq!(answer.status, status, "{case}: {answer:?}");
        assert_eq!(answer.headers["content-type"], "application/problem+json", "{case}");
        assert_eq!(answer.body["status"], status, "{case}");
        let line = lines::refusal(&tag).await;
        assert_eq!(line["reason"], reason, "{case}: {line}");
    }
    let right = send(&sender, to("/hooks/lab").header("x-key", key), "{}").await;
    assert_eq!(right.status, 200, "{right:?}");
}
