//! Rates, shares and bounds: what one client or one source may have, and that it leaves the rest
//! to the others.

use std::num::NonZeroU32;
use std::sync::Arc;

use hookward::config::{Config, RateLimit};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use crate::client::{Answer, BOUND, Connection, Post};
use crate::gateway::{Running, Setup, secret, setup};
use crate::lines;

const SOURCES: &str = r#"
[source.lab]
auth = { kind = "api-key", header = "X-API-Key" }
keys = [{ env = "LAB" }]

[source.noisy]
auth = { kind = "api-key", header = "X-API-Key" }
keys = [{ env = "NOISY" }]

[source.signed]
auth = { kind = "hmac", header = "X-Signature", signed = "{body}" }
keys = [{ env = "SIGNED" }]

[source.timed]
auth = { kind = "hmac", header = "X-Signature", signed = "{timestamp}.{body}", timestamp = "t", signature = "v1", tolerance = "5m" }
keys = [{ env = "TIMED" }]

[source.standard]
auth = { kind = "standard-webhooks" }
keys = [{ env = "STANDARD" }]

[source.open]
auth = { kind = "none-dangerous" }

[upstream.app]
url = "http://127.0.0.1:1/"
"#;

fn sources() -> Setup {
    setup(SOURCES)
}

fn limit(per_second: u32, burst: u32) -> RateLimit {
    RateLimit {
        per_second: NonZeroU32::new(per_second).unwrap(),
        burst: NonZeroU32::new(burst).unwrap(),
    }
}

fn limit_source(config: &mut Config, name: &str, limit: RateLimit) {
    let source = config.sources.iter_mut().find(|source| source.name.as_str() == name);
    Arc::get_mut(source.unwrap()).unwrap().rate_limit = Some(limit);
}

fn lab() -> Post {
    Post::to("/hooks/lab").header("X-API-Key", &secret("LAB"))
}

fn noisy() -> Post {
    Post::to("/hooks/noisy").header("X-API-Key", &secret("NOISY"))
}

fn forged() -> Post {
    Post::to("/hooks/lab").header("X-API-Key", "not the key")
}

/// Sends until one is refused with 429: what it is told. However slow the machine is, it is faster
/// than one request a second for long enough.
async fn until_limited(gateway: &Running, post: &Post, before: u16) -> Answer {
    let begun = Instant::now();
    while begun.elapsed() < BOUND {
        let answer = gateway.send(post).await;
        answer.assert_well_formed();
        if answer.status == 429 {
            return answer;
        }
        assert_eq!(answer.status, before, "{answer:?}");
    }
    panic!("no limit");
}

fn wait_of(answer: &Answer) -> u64 {
    answer.header("retry-after").unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_client_that_sends_too_often_is_429_and_the_others_are_not() {
    let change = |config: &mut Config| config.server.client_rate_limit = Some(limit(1, 5));
    let gateway = sources().start_with(change).await;
    let limited = until_limited(&gateway, &lab(), 200).await;
    assert_eq!(wait_of(&limited), 1);
    // It is limited whatever it sends, and wherever.
    until_limited(&gateway, &forged(), 401).await;
    until_limited(&gateway, &Post::to("/hooks/open"), 200).await;
    for _ in 0..3 {
        gateway.accepts(&lab().from("127.0.0.2")).await;
    }
    // What is refused earlier is not counted: it need not be told that it exists.
    gateway.refuses("route", &Post::to("/nowhere"), 404, "unknown_route").await;
}

#[tokio::test]
async fn a_source_that_sends_too_often_is_429_and_forged_requests_do_not_count() {
    let change = |config: &mut Config| {
        limit_source(config, "lab", limit(1, 20));
        config.server.failure_rate_limit = limit(1, 1000);
    };
    let gateway = sources().start_with(change).await;
    for _ in 0..50 {
        assert_eq!(gateway.send(&forged()).await.status, 401);
    }
    for _ in 0..20 {
        gateway.accepts(&lab()).await;
    }
    until_limited(&gateway, &lab(), 200).await;
    gateway.accepts(&noisy()).await;
}

#[tokio::test]
async fn failed_authentications_become_429_and_lock_nobody_out() {
    let change = |config: &mut Config| config.server.failure_rate_limit = limit(1, 5);
    let gateway = sources().start_with(change).await;
    for round in 0..3 {
        let answer = until_limited(&gateway, &forged(), 401).await;
        assert_eq!(wait_of(&answer), 1);
        // The provider calls through the same proxy, let us say.
        gateway.accepts(&lab().body(format!("{{\"round\":{round}}}"))).await;
    }
    let forged = forged();
    until_limited(&gateway, &forged, 401).await;
    assert_eq!(gateway.send(&forged.clone().from("127.0.0.3")).await.status, 401);
}

/// Whoever has no credential to show does not get to send a body, and is not asked for one.
#[tokio::test]
async fn a_head_without_a_credential_is_refused_before_the_body() {
    let gateway = sources().start().await;
    let signature = "0".repeat(64);
    let now = hookward::clock::Clock::System.now().as_secs();
    let timed = |t: u64| format!("t={t},v1={signature}");
    let standard = |timestamp: u64| {
        Post::to("/hooks/standard")
            .header("webhook-id", "msg_1")
            .header("webhook-timestamp", &timestamp.to_string())
            .header("webhook-signature", &format!("v1,{}=", "A".repeat(43)))
    };
    let cases = [
        ("no key", Post::to("/hooks/lab"), "credential_missing"),
        ("a wrong key", forged(), "credential_invalid"),
        ("two keys", lab().header("X-API-Key", &secret("LAB")), "credential_invalid"),
        ("no signature", Post::to("/hooks/signed"), "signature_missing"),
        (
            "no signature that could be one",
            Post::to("/hooks/signed").header("X-Signature", "zz"),
            "signature_malformed",
        ),
        (
            "two signature headers",
            Post::to("/hooks/signed")
                .header("X-Signature", &signature)
                .header("X-Signature", &signature),
            "signature_malformed",
        ),
        (
            "no timestamp",
            Post::to("/hooks/timed").header("X-Signature", &format!("v1={signature}")),
            "timestamp_missing",
        ),
        (
            "a timestamp long ago",
            Post::to("/hooks/timed").header("X-Signature", &timed(now - 3600)),
            "timestamp_out_of_range",
        ),
        ("no id", standard(now).without("webhook-id"), "signature_missing"),
        ("a timestamp to come", standard(now + 3600), "timestamp_out_of_range"),
    ];
    for (case, post, reason) in cases {
        let post = post.declares(1000).header("Expect", "100-continue");
        let mut connection = post.connect(gateway.address).await;
        connection.write(&post.head()).await;
        let answer = connection.answer().await;
        assert_eq!((answer.status, answer.interim.as_slice()), (401, [].as_slice()), "{case}");
        assert_eq!(answer.header("connection"), Some("close"), "{case}");
        assert_eq!(lines::refusal(&post.tag).await["reason"], reason, "{case}");
        assert_eq!(connection.rest().await, "", "{case}");
    }
    // Of a signature only the body can tell whether it is right.
    let forged = Post::to("/hooks/signed").header("X-Signature", &signature);
    let post = forged.clone().header("Expect", "100-continue");
    let mut connection = post.connect(gateway.address).await;
    connection.write(&post.head()).await;
    assert_eq!(connection.status().await, 100);
    connection.write(b"{}").await;
    assert_eq!(connection.answer().await.status, 401);
}

#[tokio::test]
async fn encodings_and_types_are_judged_after_the_credential() {
    let gateway = sources().start().await;
    let gzip = |post: Post| post.header("Content-Encoding", "gzip").content_type("text/plain");
    gateway.refuses("forged", &gzip(forged()), 401, "credential_invalid").await;
    gateway.refuses("genuine", &gzip(lab()), 415, "unsupported_media_type").await;
}

#[tokio::test]
async fn bodies_of_one_client_leave_memory_to_the_others() {
    let change = |config: &mut Config| {
        config.server.body_memory = 4 << 20;
        config.server.max_body = 1 << 20;
    };
    let gateway = sources().start_with(change).await;
    let large = |n: u32| {
        let body = format!("\"{n}{}\"", "a".repeat((1 << 20) - 16));
        Post::to("/hooks/open").body(body).from("127.0.0.4")
    };
    let others = |n: u32| large(n).from("127.0.0.5");
    let begun = Instant::now();
    let mut held = Vec::new();
    let refused = loop {
        assert!(begun.elapsed() < BOUND, "a client gets more than its share");
        // All but a byte: it stays in memory, until the deadline at most.
        let post = large(0).declares(1 << 20);
        let mut connection = post.connect(gateway.address).await;
        connection.write(&post.head()).await;
        connection.write(&vec![b' '; (1 << 20) - 1]).await;
        held.push(connection);
        let post = large(1);
        let answer = gateway.send(&post).await;
        answer.assert_well_formed();
        if answer.status == 503 {
            break (post, answer);
        }
        assert_eq!(answer.status, 200, "{answer:?}");
    };
    let (post, answer) = refused;
    assert!(answer.header("retry-after").is_some());
    assert_eq!(lines::refusal(&post.tag).await["reason"], "overloaded");
    gateway.accepts(&others(2)).await;
    gateway.accepts(&Post::to("/hooks/open").body("\"small\"").from("127.0.0.4")).await;
    // It is given back when the requests are gone.
    drop(held);
    while gateway.send(&large(3)).await.status != 200 {
        assert!(begun.elapsed() < 2 * BOUND, "the memory is not given back");
    }
}

/// A proxy opens a connection for each request, and none of them is counted for its client: two
/// hundred slow bodies of one took all of two hundred connections.
#[tokio::test]
async fn slow_bodies_of_one_client_behind_a_proxy_leave_connections_to_the_others() {
    let server = "listen = \"127.0.0.1:0\"\ntrusted_proxies = [\"127.0.0.1/32\"]\n\
                  max_connections = 8\nmax_connections_per_client = 4";
    let gateway = sources().server(server).start().await;
    let through = |client: &str| Post::to("/hooks/open").header("X-Forwarded-For", client);
    let mut waiting = Vec::new();
    for _ in 0..4 {
        let post = through("203.0.113.66").header("Expect", "100-continue").declares(5000);
        let mut connection = post.connect(gateway.address).await;
        connection.write(&post.head()).await;
        assert_eq!(connection.status().await, 100);
        waiting.push(connection);
    }
    let slow = through("203.0.113.66").declares(5000);
    gateway.refuses("the fifth", &slow, 503, "overloaded").await;
    gateway.accepts(&through("203.0.113.77")).await;
    drop(waiting);
}

#[tokio::test]
async fn a_body_that_drips_is_408_before_the_deadline() {
    let change = |config: &mut Config| config.server.min_body_rate = 1 << 10;
    let gateway = sources().start_with(change).await;
    let post = lab().declares(100_000);
    let mut connection = post.connect(gateway.address).await;
    connection.write(&post.head()).await;
    connection.write(b"{\"a\":").await;
    let answer = connection.answer().await;
    assert_eq!((answer.status, answer.header("connection")), (408, Some("close")));
    answer.assert_well_formed();
    assert_eq!(lines::refusal(&post.tag).await["reason"], "body_timeout");
    assert_eq!(connection.rest().await, "");
}

#[tokio::test]
async fn a_client_has_its_share_of_connections() {
    let change = |config: &mut Config| config.server.max_connections_per_client = 1;
    let gateway = sources().start_with(change).await;
    let post = lab();
    let whole = [post.head(), b"{}".to_vec()].concat();
    let mut first = post.connect(gateway.address).await;
    first.write(&whole).await;
    assert_eq!(first.answer().await.status, 200);
    assert_eq!(Connection::open(gateway.address, None).await.rest().await, "");
    gateway.accepts(&lab().from("127.0.0.2")).await;
    first.write(&whole).await;
    assert_eq!(first.answer().await.status, 200);
}

/// One source that floods: with verified events, with forged ones, and with bodies that never end.
/// Another one's requests are all answered with 200 while that goes on.
#[tokio::test]
async fn a_flood_on_one_source_starves_no_other() {
    let change = |config: &mut Config| {
        limit_source(config, "noisy", limit(50, 50));
        config.server.failure_rate_limit = limit(1, 20);
        config.server.max_connections_per_client = 24;
    };
    let gateway = sources().start_with(change).await;
    let address = gateway.address;
    let mut flood = JoinSet::new();
    for n in 0..8 {
        flood.spawn(async move {
            loop {
                for post in [noisy().body(format!("{{\"n\":{n}}}")), forged()] {
                    let post = post.from("127.0.0.6");
                    let whole = [post.head(), b"{}".to_vec()].concat();
                    let mut connection = post.connect(address).await;
                    connection.write(&whole).await;
                    connection.answer_or_end().await;
                }
            }
        });
        flood.spawn(async move {
            loop {
                let post = noisy().declares(1000).from("127.0.0.6");
                let mut connection = post.connect(address).await;
                connection.write(&post.head()).await;
                drop(connection.rest().await);
            }
        });
    }
    for n in 0..100 {
        let post = lab().body(format!("{{\"n\":{n}}}"));
        timeout(BOUND, gateway.accepts(&post)).await.expect("an answer in time");
    }
    flood.shutdown().await;
    gateway.stop().await;
}

/// The first hundred refusals of a client and reason in a clock minute have a line each, the others
/// one together.
#[tokio::test]
async fn a_flood_of_refusals_is_summed_in_the_log() {
    const SENT: usize = 250;
    let change = |config: &mut Config| config.server.failure_rate_limit = limit(1, 1_000_000);
    let gateway = sources().start_with(change).await;
    let post = forged().from("127.0.7.7");
    let mut connection = post.connect(gateway.address).await;
    for _ in 0..SENT {
        connection.write(&[post.head(), b"{}".to_vec()].concat()).await;
        assert_eq!(connection.answer().await.status, 401);
    }
    drop(connection);
    gateway.stop().await;
    let lines = lines::of_client("127.0.7.7");
    let (single, summed): (Vec<_>, Vec<_>) =
        lines.iter().partition(|line| line["message"] == "refused");
    let counts = summed.iter().map(|line| line["count"].as_u64().unwrap());
    assert_eq!(single.len() as u64 + counts.sum::<u64>(), SENT as u64);
    // A minute may have ended meanwhile, so there may be two of them.
    assert!(single.len() <= 200 && !summed.is_empty(), "{} lines", single.len());
    for line in summed {
        assert_eq!(line["message"], "refused further");
        assert_eq!(line["reason"], "credential_invalid");
        assert_eq!(line["source"], "lab");
        assert!(line["first"].as_str().unwrap() <= line["last"].as_str().unwrap());
    }
}
