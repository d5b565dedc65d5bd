//! Sizes, times and the order in which a request is judged.

use std::time::Duration;

use tokio::time::Instant;

use crate::client::{Connection, Post};
use crate::gateway::{Running, Setup, secret, setup};
use crate::lines;

const SOURCES: &str = "
[source.open]
auth = { kind = \"none-dangerous\" }

[source.lab]
auth = { kind = \"api-key\", header = \"X-API-Key\" }
keys = [{ env = \"LAB\" }]
allow_ips = [\"127.0.0.2/32\"]
event.time = \"/created\"
max_event_age = \"1d\"

[source.key]
auth = { kind = \"api-key\", header = \"X-API-Key\" }
keys = [{ env = \"LAB\" }]

[upstream.app]
url = \"http://127.0.0.1:1/\"
";

fn small(server: &str) -> Setup {
    setup(SOURCES).server(&format!("listen = \"127.0.0.1:0\"\nmax_body = \"1KiB\"\n{server}"))
}

/// A JSON body of this many bytes.
fn body(length: usize) -> String {
    format!("\"{}\"", "a".repeat(length - 2))
}

fn chunked(body: &str) -> Vec<u8> {
    let post = Post::to("/hooks/open").header("Transfer-Encoding", "chunked");
    let (first, second) = body.split_at(body.len() / 2);
    let chunks =
        format!("{:x}\r\n{first}\r\n{:x}\r\n{second}\r\n0\r\n\r\n", first.len(), second.len());
    [post.head(), chunks.into_bytes()].concat()
}

#[tokio::test]
async fn bodies_may_be_as_long_as_max_body_and_no_longer() {
    let gateway = small("").start().await;
    gateway.accepts(&Post::to("/hooks/open").body(body(1024))).await;
    let long = Post::to("/hooks/open").body(body(1025));
    let answer = gateway.refuses("one byte more", &long, 413, "body_too_large").await;
    assert_eq!(answer.header("connection"), None, "the body was there, nothing is left unread");

    let mut connection = Connection::open(gateway.address, None).await;
    connection.write(&chunked(&body(1024))).await;
    let answer = connection.answer().await;
    assert_eq!((answer.status, answer.header("connection")), (200, None));
    connection.write(&chunked(&body(1025))).await;
    let answer = connection.answer().await;
    assert_eq!((answer.status, answer.header("connection")), (413, Some("close")));
    answer.assert_well_formed();
    assert_eq!(connection.rest().await, "");
}

#[tokio::test]
async fn a_refusal_does_not_wait_for_the_body_and_ends_the_connection() {
    let gateway = small("").start().await;
    for (case, post, status) in [
        ("too long", Post::to("/hooks/open").declares(1025), 413),
        ("far too long", Post::to("/hooks/open").declares(u64::MAX - 2), 413),
        ("no route", Post::to("/nowhere").declares(100), 404),
        ("not POST", Post::to("/hooks/open").method("PUT").declares(100), 405),
        ("another address", Post::to("/hooks/lab").declares(100), 403),
    ] {
        let mut connection = post.connect(gateway.address).await;
        connection.write(&post.head()).await;
        let answer = connection.answer().await;
        assert_eq!((answer.status, answer.header("connection")), (status, Some("close")), "{case}");
        answer.assert_well_formed();
        assert_eq!(connection.rest().await, "", "{case}");
    }
}

#[tokio::test]
async fn a_body_that_is_announced_is_asked_for_only_if_it_is_wanted() {
    let gateway = small("").start().await;
    for (case, post, status) in [
        ("wanted", Post::to("/hooks/open"), 200),
        ("too long", Post::to("/hooks/open").declares(1025), 413),
        ("no route", Post::to("/nowhere"), 404),
        ("not POST", Post::to("/hooks/open").method("PUT"), 405),
        ("another address", Post::to("/hooks/lab"), 403),
    ] {
        let post = post.header("Expect", "100-continue");
        let mut connection = post.connect(gateway.address).await;
        connection.write(&post.head()).await;
        if status == 200 {
            assert_eq!(connection.status().await, 100, "{case}");
            connection.write(b"{}").await;
        }
        let answer = connection.answer().await;
        assert_eq!((answer.status, answer.interim.as_slice()), (status, [].as_slice()), "{case}");
        if status != 200 {
            assert_eq!(answer.header("connection"), Some("close"), "{case}");
            assert_eq!(connection.rest().await, "", "{case}");
        }
    }
}

#[tokio::test]
async fn a_body_that_stays_away_is_408_at_the_deadline() {
    let gateway = small("ack_deadline = \"100ms\"").start().await;
    let post = Post::to("/hooks/open").declares(10);
    let mut connection = post.connect(gateway.address).await;
    connection.write(&post.head()).await;
    connection.write(b"{\"a\":").await;
    let begun = Instant::now();
    let answer = connection.answer().await;
    assert_eq!((answer.status, answer.header("connection")), (408, Some("close")));
    answer.assert_well_formed();
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    assert_eq!(lines::refusal(&post.tag).await["reason"], "body_timeout");
    assert_eq!(connection.rest().await, "");
}

#[tokio::test]
async fn silent_and_slow_clients_are_let_go() {
    let gateway = small("header_timeout = \"1s\"\nidle_timeout = \"1s\"").start().await;
    let silent = async {
        let silent = Connection::open(gateway.address, None).await;
        assert_eq!(silent.rest().await, "");
    };
    let slow = async {
        let mut slow = Connection::open(gateway.address, None).await;
        slow.write(b"POST /hooks/open HTTP/1.1\r\nHost: gw\r\n").await;
        slow.rest().await;
    };
    let idle = async {
        let mut idle = Connection::open(gateway.address, None).await;
        idle.write(&[Post::to("/hooks/open").head(), b"{}".to_vec()].concat()).await;
        assert_eq!(idle.answer().await.status, 200);
        assert_eq!(idle.rest().await, "");
    };
    tokio::join!(silent, slow, idle);
}

#[tokio::test]
async fn connections_beyond_the_limit_are_closed_at_once() {
    let gateway = small("max_connections = 1").start().await;
    let mut first = Connection::open(gateway.address, None).await;
    first.write(&[Post::to("/hooks/open").head(), b"{}".to_vec()].concat()).await;
    assert_eq!(first.answer().await.status, 200);
    let second = Connection::open(gateway.address, None).await;
    assert_eq!(second.rest().await, "");
    // The first one is not disturbed.
    first.write(&[Post::to("/hooks/open").head(), b"{}".to_vec()].concat()).await;
    assert_eq!(first.answer().await.status, 200);
}

/// Everything is wrong, and one thing after the other is mended: the checks come in the
/// contract's order.
#[tokio::test]
async fn requests_are_judged_in_order() {
    let gateway = small("").store("min_free = \"1048576GiB\"").start().await;
    let wrong = Post::to("/hooks/Lab").method("PUT").content_type("text/plain").body(body(1025));
    let long = |post: Post| post.body(body(1025));
    let key = secret("LAB");

    expect(&gateway, "route", &wrong, 404, "unknown_route").await;
    let wrong = Post::to("/hooks/lab").content_type("text/plain");
    let put = long(wrong.clone().method("PUT"));
    expect(&gateway, "method", &put, 405, "method_not_allowed").await;
    expect(&gateway, "address", &long(wrong.clone()), 403, "ip_not_allowed").await;
    let wrong = wrong.from("127.0.0.2").body("no JSON");
    expect(&gateway, "size", &long(wrong.clone()), 413, "body_too_large").await;
    expect(&gateway, "credential", &wrong, 401, "credential_missing").await;
    let wrong = wrong.header("X-API-Key", &key);
    expect(&gateway, "content type", &wrong, 415, "unsupported_media_type").await;
    let wrong = wrong.content_type("application/json");
    expect(&gateway, "JSON", &wrong, 400, "malformed_json").await;
    let wrong = wrong.body(r#"{"created":"2001-01-01T00:00:00Z"}"#);
    expect(&gateway, "age", &wrong, 400, "event_too_old").await;
    let right = wrong.body("{}");
    expect(&gateway, "store", &right, 503, "store_unavailable").await;
}

async fn expect(gateway: &Running, case: &str, post: &Post, status: u16, reason: &str) {
    let mut post = post.clone();
    post.tag = crate::client::new_tag();
    gateway.refuses(case, &post, status, reason).await;
}

#[tokio::test]
async fn paths_match_byte_for_byte_and_only_posts_are_taken() {
    let gateway = small("").start().await;
    for path in [
        "/",
        "/hooks",
        "/hooks/",
        "/hooks/Open",
        "/hooks/open/",
        "//hooks/open",
        "/hooks//open",
        "/hooks/%6fpen",
        "/hooks/./open",
        "/hooks/x/../open",
        "/hooks/open;a",
        "/healthz",
        "/readyz",
        "/metrics",
        "/api/v1/events",
    ] {
        gateway.refuses(path, &Post::to(path), 404, "unknown_route").await;
    }
    for method in ["GET", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "post", "PURGE"] {
        let post = Post::to("/hooks/open").method(method);
        gateway.refuses(method, &post, 405, "method_not_allowed").await;
    }
}

/// Four addresses with a quarter of the places each could hold all of them, on next to no requests.
#[tokio::test]
async fn strangers_cannot_hold_all_places() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let files = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: files.maximum, ..files }).unwrap();
    let server = "max_connections = 512\nmax_connections_per_client = 112";
    let gateway = small(server).start().await;
    let key = secret("LAB");
    let open = Post::to("/hooks/open").from("127.0.0.9");
    gateway.accepts(&open).await;

    let mut strangers = Vec::new();
    for n in 0..448 {
        let nowhere = Post::to("/nowhere").from(&format!("127.0.3.{}", n % 4));
        let mut connection = nowhere.connect(gateway.address).await;
        assert_eq!(connection.send(&nowhere).await.status, 404, "{n}");
        strangers.push(connection);
    }
    // Nothing is asked of whom the source without credentials takes, so nothing is proven.
    assert_eq!(open.connect(gateway.address).await.rest().await, "");
    // The allowlist names this one.
    let lab = Post::to("/hooks/lab").header("X-API-Key", &key).from("127.0.0.2");
    gateway.accepts(&lab).await;
    strangers.truncate(447);
    let proven = Post::to("/hooks/key").header("X-API-Key", &key).from("127.0.0.8");
    let deadline = Instant::now() + crate::client::BOUND;
    let mut first = loop {
        let mut connection = proven.connect(gateway.address).await;
        connection.write(&[proven.head(), proven.bytes().to_vec()].concat()).await;
        if connection.answer_or_end().await {
            assert_eq!(connection.answer().await.status, 200);
            break connection;
        }
        assert!(Instant::now() < deadline, "the place is never given back");
    };
    // With the first still there, the second is one of the last.
    gateway.accepts(&proven).await;
    assert_eq!(first.send(&proven).await.status, 200);
    assert_eq!(open.connect(gateway.address).await.rest().await, "");
}
