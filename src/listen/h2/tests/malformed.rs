//! Requests that are none (RFC 9113, section 8): refused with 400, or by a reset of the stream.

use super::raw::*;
use super::*;

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Answered(u16),
    /// The stream is reset with this code.
    Reset(u32),
    /// The connection is closed with this code.
    GoAway(u32),
}

use Fate::{Answered, GoAway, Reset};

/// What becomes of a client that sends these frames.
async fn fate(frames: &[u8]) -> Fate {
    let (stream, _served) = serve_one(echo);
    let mut client = Client::new(stream).await;
    client.send(frames).await;
    let outcome = client.outcome().await.expect("an outcome");
    match outcome.kind {
        HEADERS => Answered(outcome.status()),
        RST_STREAM => Reset(outcome.code()),
        _ => GoAway(outcome.code()),
    }
}

/// The usual fields without this one, and these at the end.
fn post_but<'a>(without: &str, and: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let rest = POST.into_iter().filter(|(name, _)| *name != without);
    rest.chain(and.iter().copied()).collect()
}

#[tokio::test(start_paused = true)]
async fn heads_are_held_to_the_rfc() {
    let reset = Reset(PROTOCOL_ERROR);
    for (section, fields, expected) in [
        ("8.3", post_but("", &[]), Answered(200)),
        ("8.3", post_but("", &[("host", "gw"), ("te", "trailers")]), Answered(200)),
        ("8.3.1", post_but(":authority", &[("host", "gw")]), Answered(200)),
        ("8.2.1", post_but("", &[("X-Upper", "a")]), GoAway(PROTOCOL_ERROR)),
        ("8.2.1", post_but("", &[("x y", "a")]), GoAway(PROTOCOL_ERROR)),
        ("8.2.1", post_but("", &[("x:y", "a")]), GoAway(PROTOCOL_ERROR)),
        ("8.2.1", post_but("", &[("", "a")]), GoAway(PROTOCOL_ERROR)),
        ("8.2.1", post_but("", &[("x", "a\r\nb: c")]), GoAway(PROTOCOL_ERROR)),
        ("8.2.1", post_but("", &[("x", "a\0")]), GoAway(PROTOCOL_ERROR)),
        ("8.2.1", post_but("", &[("x", " a")]), Answered(400)),
        ("8.2.1", post_but("", &[("x", "a\t")]), Answered(400)),
        ("8.2.2", post_but("", &[("connection", "close")]), reset),
        ("8.2.2", post_but("", &[("keep-alive", "a")]), reset),
        ("8.2.2", post_but("", &[("proxy-connection", "a")]), reset),
        ("8.2.2", post_but("", &[("transfer-encoding", "chunked")]), reset),
        ("8.2.2", post_but("", &[("upgrade", "h2c")]), reset),
        ("8.2.2", post_but("", &[("te", "gzip")]), reset),
        ("8.2.2", post_but("", &[("te", "trailers, deflate")]), reset),
        ("8.3", post_but("", &[(":path", "/b")]), reset),
        ("8.3", post_but(":path", &[("x", "a"), (":path", "/b")]), reset),
        ("8.3", post_but("", &[(":unknown", "a")]), GoAway(PROTOCOL_ERROR)),
        ("8.3", post_but("", &[(":status", "200")]), reset),
        ("8.3.1", post_but(":method", &[]), reset),
        ("8.3.1", post_but(":scheme", &[]), reset),
        ("8.3.1", post_but(":scheme", &[(":scheme", "https")]), Answered(400)),
        ("8.3.1", post_but(":scheme", &[(":scheme", "")]), Answered(400)),
        ("8.3.1", post_but("", &[(":method", "GET")]), reset),
        ("8.3.1", post_but("", &[(":scheme", "http")]), reset),
        ("8.3.1", post_but("", &[(":authority", "gw")]), reset),
        ("8.3.1", post_but(":authority", &[(":authority", "")]), reset),
        ("8.3.1", post_but(":authority", &[(":authority", "a b")]), reset),
        ("8.3.1", post_but(":authority", &[(":authority", "gw/hooks")]), reset),
        ("8.3.1", post_but(":authority", &[(":authority", "me@gw")]), Answered(400)),
        ("8.3.1", post_but(":path", &[(":path", "")]), reset),
        ("8.3.1", post_but(":path", &[(":path", "*")]), Answered(400)),
        ("8.3.1", post_but(":path", &[(":path", "/a b")]), reset),
        ("8.5", vec![(":method", "CONNECT"), (":authority", "gw:443")], Answered(400)),
        ("8.5", post_but(":method", &[(":method", "CONNECT")]), reset),
        ("8.5", post_but("", &[(":protocol", "websocket")]), reset),
        ("8.1.1", post_but("", &[("content-length", "1")]), reset),
        ("8.1.1", post_but("", &[("content-length", "0")]), Answered(200)),
        ("8.1.1", post_but("", &[("content-length", "x")]), reset),
        ("8.1.1", post_but("", &[("content-length", "+0")]), reset),
        ("8.1.1", post_but("", &[("content-length", "")]), Answered(400)),
        ("8.1.1", post_but("", &[("content-length", "0, 0")]), reset),
        ("8.1.1", post_but("", &[("content-length", "0"), ("content-length", "0")]), Answered(400)),
        ("8.1.1", post_but("", &[("content-length", "0"), ("content-length", "1")]), reset),
    ] {
        assert_eq!(fate(&request(1, &fields)).await, expected, "section {section}: {fields:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn targets_that_are_no_path_are_refused() {
    for path in ["hooks/a", "http://gw/hooks/a", "gw:443", "?a"] {
        let fields = post_but(":path", &[(":path", path)]);
        let fate = fate(&request(1, &fields)).await;
        assert!(matches!(fate, Reset(PROTOCOL_ERROR) | Answered(400)), "{path}: {fate:?}");
    }
    // The `http` crate cuts off a fragment without a trace.
    let fields = post_but(":path", &[(":path", "/hooks/a#b")]);
    assert_eq!(fate(&request(1, &fields)).await, Answered(200));
}

#[tokio::test(start_paused = true)]
async fn bodies_are_held_to_their_length() {
    let with_length = |length| {
        let fields = fields(&[POST.as_slice(), &[("content-length", length)]].concat());
        frame(HEADERS, END_HEADERS, 1, &fields)
    };
    let data = |flags, bytes| frame(DATA, flags, 1, bytes);
    for (name, frames, expected) in [
        ("equal", [with_length("4"), data(0, b"ab"), data(END_STREAM, b"cd")], Answered(200)),
        (
            "short",
            [with_length("4"), data(0, b"ab"), data(END_STREAM, b"c")],
            Reset(PROTOCOL_ERROR),
        ),
        (
            "long",
            [with_length("3"), data(0, b"ab"), data(END_STREAM, b"cd")],
            Reset(PROTOCOL_ERROR),
        ),
    ] {
        assert_eq!(fate(&frames.concat()).await, expected, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn trailers_are_held_to_the_rfc() {
    let trailers =
        |flags, with: &[(&str, &str)]| frame(HEADERS, END_HEADERS | flags, 1, &fields(with));
    let reset = Reset(PROTOCOL_ERROR);
    for (name, trailers, expected) in [
        ("trailers", trailers(END_STREAM, &[("x", "a")]), Answered(200)),
        ("not the end", trailers(0, &[("x", "a")]), reset),
        ("connection-specific", trailers(END_STREAM, &[("connection", "close")]), reset),
    ] {
        let frames = [head(1), frame(DATA, 0, 1, b"{}"), trailers].concat();
        assert_eq!(fate(&frames).await, expected, "{name}");
    }
    // h2 drops them without a trace, unless a field stands before them. Nobody reads trailers.
    let pseudo = trailers(END_STREAM, &[(":path", "/b")]);
    let frames = [head(1), frame(DATA, 0, 1, b"{}"), pseudo].concat();
    assert_eq!(fate(&frames).await, Answered(200));
}

/// An answer to what is not HTTP/2 at all is the end of the connection.
#[tokio::test(start_paused = true)]
async fn what_is_not_http_2_ends_the_connection() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let (mut stream, served) = serve_one(echo);
    stream.write_all(b"POST / HTTP/1.1\r\nHost: gw\r\n\r\n").await.unwrap();
    let mut all = Vec::new();
    timeout(BOUND, stream.read_to_end(&mut all)).await.expect("the end").unwrap();
    served.end().await;
}
