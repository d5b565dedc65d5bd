//! What the harness itself promises: its seeds get as far as their names say, and it notices what
//! it is there to notice.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::answers::Answer;
use super::reading::{End, Request, read};
use super::*;

fn in_memory() -> InMemory {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    InMemory::new(runtime.enable_time().start_paused(true).build().unwrap())
}

const CORPUS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus/");

fn seed(target: &str, name: &str) -> Vec<u8> {
    std::fs::read(format!("{CORPUS}{target}/{name}")).unwrap()
}

fn seeds(target: &str) -> Vec<String> {
    let files = std::fs::read_dir(format!("{CORPUS}{target}")).unwrap();
    files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect()
}

/// A seed that gets no further than the first check teaches a fuzzer nothing.
#[test]
fn exactly_the_seeds_that_are_called_valid_are_accepted() {
    let InMemory { runtime, mut gateway } = in_memory();
    for name in seeds("request") {
        let connection = runtime.block_on(over_http1(&mut gateway, &seed("request", &name)));
        let statuses = connection.answers.iter().flatten().map(|answer| answer.status);
        check(&name, statuses.collect());
    }
    for name in seeds("http2") {
        let streams = runtime.block_on(over_http2(&mut gateway, &seed("http2", &name)));
        let answers = streams.heard.iter().filter_map(|heard| heard.answer.as_ref());
        check(&name, answers.map(|(status, _)| *status).collect());
    }

    fn check(name: &str, statuses: Vec<u16>) {
        println!("{name}: {statuses:?}");
        assert_eq!(statuses.contains(&200), name.starts_with("valid-"), "{name}: {statuses:?}");
    }
}

/// What must not happen, and how it would look.
type OverHttp1 = (&'static str, fn(&mut Connection<'_>));
type OverHttp2 = (&'static str, fn(&mut Streams<'_>));

/// What could go wrong in the gateway, done to what has happened.
#[test]
fn whatever_must_not_happen_over_http1_is_noticed() {
    let mut gateway = in_memory();
    let mut notices = |seed_name: &str, change: &dyn Fn(&mut Connection<'_>)| {
        let InMemory { runtime, gateway } = &mut gateway;
        let mut connection = runtime.block_on(over_http1(gateway, &seed("request", seed_name)));
        connection.judge();
        change(&mut connection);
        catch_unwind(AssertUnwindSafe(|| connection.judge())).is_err()
    };
    for name in ["key", "lab", "long", "stripe", "webhooks", "github", "slack"] {
        let name = format!("valid-{name}");
        assert!(!notices(&name, &|_| {}));
        let no_credential = |c: &mut Connection<'_>| {
            c.requests[0].fields.retain(|(name, _)| name == b"host");
        };
        assert!(notices(&name, &no_credential), "{name}: accepted without a credential");
        // A MAC that covers no body would be as good as an API key.
        let other_body = |c: &mut Connection<'_>| {
            let other = [&c.stored[0].body[..], b" "].concat();
            c.requests[0].body = Some(other.clone());
            c.stored[0].body = other.into();
        };
        assert_eq!(notices(&name, &other_body), name != "valid-key", "{name}: another body");
        let repeated = |c: &mut Connection<'_>| {
            let again = c.requests[0].fields.clone();
            c.requests[0].fields.extend(again);
        };
        assert!(notices(&name, &repeated), "{name}: accepted with two credentials");
    }
    let changed: [OverHttp1; 10] = [
        ("one request stored twice", |c| c.stored.push(c.stored[0].clone())),
        ("another source's event", |c| c.requests[0].path = b"/hooks/key".to_vec()),
        ("other bytes stored than sent", |c| c.stored[0].body = "{}".into()),
        ("a 200 and nothing stored", |c| c.stored.clear()),
        ("stored and no 200", |c| c.answers = Some(Vec::new())),
        ("stored and nothing sent", |c| c.requests.clear()),
        ("half a body", |c| c.requests[0].body = None),
        ("GET", |c| c.requests[0].method = b"GET".to_vec()),
        ("100 Continue that nobody waits for", |c| {
            c.answers.as_mut().unwrap()[0].continued = true;
        }),
        ("more answers than requests", |c| {
            let again = Answer { continued: false, status: 404, fields: vec![], body: vec![] };
            c.answers.as_mut().unwrap().push(again);
        }),
    ];
    for (what, change) in changed {
        assert!(notices("valid-lab", &change), "{what}");
    }
    let allowed = |c: &mut Connection<'_>| c.answers.as_mut().unwrap()[0].status = 401;
    assert!(notices("elsewhere", &allowed), "a stranger learns more than 403");
}

#[test]
fn whatever_must_not_happen_over_http2_is_noticed() {
    let mut gateway = in_memory();
    let mut notices = |seed_name: &str, change: &dyn Fn(&mut Streams<'_>)| {
        let InMemory { runtime, gateway } = &mut gateway;
        let mut streams = runtime.block_on(over_http2(gateway, &seed("http2", seed_name)));
        streams.judge();
        change(&mut streams);
        catch_unwind(AssertUnwindSafe(|| streams.judge())).is_err()
    };
    let changed: [OverHttp2; 9] = [
        ("one request stored twice", |c| c.stored.push(c.stored[0].clone())),
        ("no credential", |c| c.heard[0].request.fields.clear()),
        ("another source's event", |c| c.heard[0].request.path = b"/hooks/key".to_vec()),
        ("other bytes stored than sent", |c| c.stored[0].body = "{}".into()),
        ("a 200 and nothing stored", |c| c.stored.clear()),
        ("a body without an end", |c| c.sent.bodies.clear()),
        ("a request that was not sent", |c| c.sent.heads = 0),
        ("GET", |c| c.heard[0].request.method = b"GET".to_vec()),
        ("a status that no one knows", |c| c.heard[0].answer.as_mut().unwrap().0 = 500),
    ];
    assert!(!notices("valid-lab", &|_| {}));
    for (what, change) in changed {
        assert!(notices("valid-lab", &change), "{what}");
    }
    let allowed = |c: &mut Streams<'_>| c.heard[0].answer.as_mut().unwrap().0 = 401;
    assert!(notices("elsewhere", &allowed), "a stranger learns more than 403");
}

#[test]
fn frames_are_made_and_told_apart() {
    let mut frames = frames::Frames::default();
    let long = "a".repeat(300);
    let mut bytes = frames::opening();
    bytes.extend(frames.of(format!("POST /a HTTP/1.1\r\nHost: b\r\nX: {long}\r\n\r\n").as_bytes()));
    bytes.extend(frames.of(b"POST /a HTTP/1.1\r\nAs: dpc\r\n\r\none two three"));
    bytes.extend(frames.of(b"POST /a HTTP/1.1\r\nAs: o\r\n\r\nfour"));
    bytes.extend(frames.of(b"!6 0 0\n12345678"));
    bytes.extend(frames.of(b"!0 1 5\n five"));
    bytes.extend(frames.of(b"POST /a HTTP/1.1\r\nAs: t\r\n\r\nsix"));
    bytes.extend(frames.of(b"#\0\0\x09\0\x01\0\0\0\x01cut"));
    let sent = frames::read(&bytes);
    assert_eq!(sent.heads, 5);
    assert_eq!(sent.bodies, [&b""[..], b"one two three", b"four five", b"six"]);
    // A name of one byte without a colon before it, and a value whose length takes two bytes.
    let block = [b"\0\x01x\x7f\xad\x01", long.as_bytes()].concat();
    assert!(memchr::memmem::find(&bytes, &block).is_some());
}

#[test]
fn bytes_are_read_as_requests() {
    let request = |method: &str, path: &str, body: Option<&str>| Request {
        method: method.into(),
        path: path.into(),
        fields: Vec::new(),
        body: body.map(Into::into),
    };
    let cases: [(&str, &[Request], End); 16] = [
        ("", &[], End::Clean),
        ("\r\n\r\n", &[], End::Clean),
        ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", &[request("GET", "/", Some(""))], End::Clean),
        ("GET http://a?b HTTP/1.0\r\n\r\n\r\n", &[request("GET", "/", Some(""))], End::Clean),
        ("GET / HTTP/1.1\r\nHost: a\r\n", &[], End::Cut),
        ("GET / HTTP/1.1\r\n\r\n", &[], End::UnclearHead),
        ("GET / HTTP/1.1\nHost: a\r\n\r\n", &[], End::UnclearHead),
        ("GET / HTTP/1.1\r\nHost: a\r\n b\r\n\r\n", &[], End::UnclearHead),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", &[], End::UnclearHead),
        ("GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n", &[], End::UnclearHead),
        (
            "PUT /a?b HTTP/1.0\r\nContent-Length: 2\r\n\r\nabGET / HTTP/1.0\r\n\r\n",
            &[request("PUT", "/a", Some("ab")), request("GET", "/", Some(""))],
            End::Clean,
        ),
        ("PUT / HTTP/1.0\r\nContent-Length: 2\r\n\r\na", &[request("PUT", "/", None)], End::Cut),
        (
            "PUT / HTTP/1.0\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\na",
            &[],
            End::UnclearHead,
        ),
        ("PUT / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", &[], End::UnclearHead),
        (
            "PUT / HTTP/1.1\r\nhost:\r\nTransfer-Encoding: Chunked\r\n\r\n1;a\r\nb\r\n0\r\nc: d\r\n\r\n",
            &[request("PUT", "/", Some("b"))],
            End::Clean,
        ),
        (
            "PUT / HTTP/1.1\r\nhost:\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nbc0\r\n\r\n",
            &[request("PUT", "/", None)],
            End::UnclearBody,
        ),
    ];
    for (bytes, expected, end) in cases {
        let (mut requests, found) = read(bytes.as_bytes());
        requests.iter_mut().for_each(|request| request.fields.clear());
        assert_eq!((&requests[..], found), (expected, end), "{bytes:?}");
    }
}
