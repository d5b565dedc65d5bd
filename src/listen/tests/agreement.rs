//! The gatekeeper and hyper agree: what the one lets pass, the other takes, and takes as much of it
//! for a request. hyper's own refusals would be answers that no handler knows of.

use std::sync::atomic::{AtomicU64, Ordering};

use proptest::prelude::*;

use super::super::framing::{Framing, HeadLimits};
use super::*;

/// How often the handler is called for these bytes, and the answers, when no more than so many
/// bytes arrive at once.
async fn served(bytes: &[u8], at_once: usize) -> (u64, String) {
    let calls = AtomicU64::new(0);
    let (client, server) = tokio::io::duplex(at_once);
    let settings = plain(limits());
    let (mut from, mut to) = tokio::io::split(client);
    let (_stage, stage) = watch::channel(Stage::Serving);
    let handler = async |arrival: Arrival| {
        calls.fetch_add(1, Ordering::Relaxed);
        drop(arrival.request.into_body().collect().await);
        says(StatusCode::OK, "")
    };
    let send = async {
        // The other side may have had enough.
        let _ = to.write_all(bytes).await;
        let _ = to.shutdown().await;
    };
    let mut answers = Vec::new();
    let (_, _, read) = tokio::join!(
        send,
        connection::serve(server, Origin::nowhere(), &settings, stage, &handler),
        from.read_to_end(&mut answers),
    );
    read.unwrap();
    (calls.into_inner(), String::from_utf8(answers).unwrap())
}

/// How many heads there are, and whether the first one passes.
fn judged(bytes: &[u8]) -> (u64, bool) {
    let limits = limits();
    let limits = HeadLimits::new(limits.max_header_bytes, limits.max_target, limits.max_headers);
    let mut framing = Framing::new(limits);
    let passed = framing.advance(bytes);
    (framing.heads(), passed > 0)
}

/// Heads that are mostly right, with every byte somewhere that may be there.
fn requests() -> impl Strategy<Value = Vec<u8>> {
    let token = "[!#$%&'*+.^_`|~0-9A-Za-z-]{1,20}";
    let method = prop_oneof![Just("POST".to_owned()), token];
    let target = prop_oneof![
        2 => "/[!$%&-;=@-Z_a-z~]{0,20}",
        2 => "/[a-z/]{0,5}\\?[!$-;=?-~]{0,20}",
        1 => "/[!-~]{0,5}(\\?[!-~]{0,5})?",
        1 => "(http|HTTPS)://[a-z\\[\\]:.%@!$&'()*+,;=_~-]{1,12}(/[!-~]{0,5})?",
        1 => "(http|https)://a:[0-9]{0,6}\\?[!-~]{0,5}",
    ];
    let value = prop::collection::vec(
        prop_oneof![9 => 0x20..=0x7e_u8, 3 => 0x80..=0xff_u8, 1 => Just(b'\t')],
        0..20,
    );
    let known = prop::sample::select(vec![
        ("Content-Length", b" 0".to_vec()),
        ("Content-Length", b"5".to_vec()),
        ("Transfer-Encoding", b"chunked".to_vec()),
        ("Expect", b"100-continue".to_vec()),
        ("Connection", b"keep-alive, upgrade".to_vec()),
        ("TE", b"trailers".to_vec()),
    ]);
    let field = prop_oneof![
        3 => (token, value),
        1 => known.prop_map(|(name, value)| (name.to_owned(), value)),
    ];
    let fields = prop::collection::vec(field, 0..6);
    let body = prop::sample::select(vec![
        "",
        "0\r\n\r\n",
        "abcde",
        "3;a=\"b\"\r\nabc\r\n0\r\nc: d\r\n\r\n",
    ]);
    (method, target, any::<bool>(), fields, body).prop_map(|(method, target, old, fields, body)| {
        let version = if old { "1.0" } else { "1.1" };
        let authority = target.split("//").nth(1).unwrap_or("a");
        let host = authority.split(['/', '?', '#']).next().unwrap_or("a");
        let mut bytes =
            format!("{method} {target} HTTP/{version}\r\nHost: {host}\r\n").into_bytes();
        for (name, value) in fields {
            bytes.extend([name.as_bytes(), b":", &value, b"\r\n"].concat());
        }
        bytes.extend([b"\r\n", body.as_bytes()].concat());
        bytes
    })
}

#[test]
fn whatever_head_passes_hyper_takes_it() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let clean = AtomicU64::new(0);
    proptest!(ProptestConfig::with_cases(2000), |(bytes in requests(), at_once in 1..40_usize)| {
        let (calls, answers) = runtime.block_on(served(&bytes, 1 << 20));
        let (in_pieces, _) = runtime.block_on(served(&bytes, at_once));
        prop_assert_eq!(in_pieces, calls);
        let (heads, passes) = judged(&bytes);
        clean.fetch_add(u64::from(passes), Ordering::Relaxed);
        // What follows a request that ends the connection is not looked at.
        prop_assert!(calls == heads || (calls == 1 && heads > 1), "{calls} {heads} {answers}");
        let all = answers.matches("HTTP/1.1 200 ").count() + answers.matches("HTTP/1.0 200 ").count();
        prop_assert_eq!(u64::try_from(all).unwrap(), calls, "{}", answers);
    });
    assert!(clean.into_inner() > 500, "too few requests pass for this to say much");
}
