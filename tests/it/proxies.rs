//! Who is calling behind proxies: X-Forwarded-For and the PROXY protocol, over real sockets. The
//! trusted proxies are 127.0.0.1 and 127.1.0.0/16; providers call from 203.0.113.0/24.

use crate::client::{Answer, Connection, Post};
use crate::gateway::{Running, setup};
use crate::lines;

const SOURCES: &str = "
[source.open]
auth = { kind = \"none-dangerous\" }

[source.lab]
auth = { kind = \"none-dangerous\" }
allow_ips = [\"203.0.113.0/24\", \"2001:db8::/32\"]

[source.all]
auth = { kind = \"none-dangerous\" }
allow_ips = [\"0.0.0.0/0\", \"::/0\"]

[source.local]
auth = { kind = \"none-dangerous\" }
allow_ips = [\"127.0.0.0/8\"]

[upstream.app]
url = \"http://127.0.0.1:1/\"
";

/// A gateway behind the proxies, with further keys of `[server]`.
async fn gateway(keys: &str) -> Running {
    let trusted = "trusted_proxies = [\"127.0.0.1/32\", \"127.1.0.0/16\"]";
    setup(SOURCES).server(&format!("listen = \"127.0.0.1:0\"\n{trusted}\n{keys}\n")).start().await
}

/// The request's answer has this status, and its log line names this client, and the peer unless
/// that is the client.
async fn told(answer: &Answer, post: &Post, status: u16, client: &str, peer: &str) {
    assert_eq!(answer.status, status, "{post:?}: {answer:?}");
    answer.assert_well_formed();
    let line = match status {
        200 => lines::accepted(answer.event_id()).await,
        _ => lines::refusal(&post.tag).await,
    };
    assert_eq!(line["client"], client, "{post:?}");
    if client == peer {
        assert!(line.get("peer").is_none(), "{line}");
    } else {
        assert_eq!(line["peer"], peer, "{post:?}");
    }
}

#[tokio::test]
async fn allowlists_judge_the_first_untrusted_address_from_the_right() {
    let gateway = gateway("").await;
    let mut body = 0;
    for (source, from, forwarded, status, client) in [
        ("lab", "127.0.0.1", ["203.0.113.9"].as_slice(), 200, "203.0.113.9"),
        ("lab", "127.1.2.3", &["203.0.113.9"], 200, "203.0.113.9"),
        ("lab", "127.0.0.1", &["203.0.113.9:4711, 127.1.2.3"], 200, "203.0.113.9"),
        ("lab", "127.0.0.1", &["::ffff:203.0.113.9"], 200, "203.0.113.9"),
        ("lab", "127.0.0.1", &["[2001:db8::9]:4711"], 200, "2001:db8::9"),
        ("lab", "127.0.0.1", &["garbage, 203.0.113.9", "127.1.2.3,127.1.2.4"], 200, "203.0.113.9"),
        // What a client claims stands to the left of where it calls from.
        ("lab", "127.0.0.1", &["203.0.113.9, 198.51.100.1"], 403, "198.51.100.1"),
        ("lab", "127.0.0.1", &["203.0.113.9", "198.51.100.1", "127.1.2.3"], 403, "198.51.100.1"),
        // Nobody is trusted who is not in the list.
        ("lab", "127.0.0.2", &["203.0.113.9"], 403, "127.0.0.2"),
        ("local", "127.0.0.2", &["203.0.113.9"], 200, "127.0.0.2"),
        // The proxy itself, and one behind another.
        ("local", "127.0.0.1", &[], 200, "127.0.0.1"),
        ("local", "127.0.0.1", &["127.1.2.3, 127.1.2.4"], 200, "127.1.2.3"),
        // Who cannot be told is on no list, whatever it holds.
        ("all", "127.0.0.1", &["203.0.113.9, unknown"], 403, "unknown"),
        ("all", "127.0.0.1", &["203.0.113.9", ""], 403, "unknown"),
        ("all", "127.0.0.1", &["\"203.0.113.9\""], 403, "unknown"),
        ("open", "127.0.0.1", &["unknown"], 200, "unknown"),
    ] {
        let mut post = Post::to(&format!("/hooks/{source}")).from(from);
        for line in forwarded {
            post = post.header("X-Forwarded-For", line);
        }
        body += 1;
        let post = post.body(format!("{{\"n\":{body}}}"));
        let answer = gateway.send(&post).await;
        told(&answer, &post, status, client, from).await;
    }
}

#[tokio::test]
async fn a_trusted_proxy_s_other_headers_change_nothing() {
    let gateway = gateway("").await;
    for (name, value) in [
        ("Forwarded", "for=203.0.113.9"),
        ("X-Real-IP", "203.0.113.9"),
        ("CF-Connecting-IP", "203.0.113.9"),
        ("True-Client-IP", "203.0.113.9"),
        ("X-Client-IP", "203.0.113.9"),
        ("X_Forwarded_For", "203.0.113.9"),
    ] {
        let post = Post::to("/hooks/lab").from("127.0.0.1").header(name, value);
        gateway.refuses(name, &post, 403, "ip_not_allowed").await;
    }
    let post = Post::to("/hooks/lab").header("Forwarded", "for=198.51.100.1");
    gateway.accepts(&post.header("X-Forwarded-For", "203.0.113.9")).await;
}

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

fn binary(command: u8, family: u8, block: &[u8]) -> Vec<u8> {
    let length = u16::try_from(block.len()).unwrap().to_be_bytes();
    [SIGNATURE, &[command, family], &length, block].concat()
}

/// The header, in the binary form, of a call from this address to 192.0.2.1:443.
fn binary_from(ip: [u8; 4]) -> Vec<u8> {
    binary(0x21, 0x11, &[ip.as_slice(), &[192, 0, 2, 1, 0xdc, 0x04, 1, 187]].concat())
}

#[tokio::test]
async fn allowlists_judge_whom_the_proxy_header_names() {
    let gateway = gateway("proxy_protocol = true").await;
    let line = |ip: &str| format!("PROXY TCP4 {ip} 192.0.2.1 56324 443\r\n").into_bytes();
    let v6 = b"PROXY TCP6 2001:db8::9 2001:db8::1 56324 443\r\n".to_vec();
    let mut body = 0;
    for (header, source, forwarded, status, client) in [
        (line("203.0.113.9"), "lab", "", 200, "203.0.113.9"),
        (line("198.51.100.1"), "lab", "", 403, "198.51.100.1"),
        (v6, "lab", "", 200, "2001:db8::9"),
        (binary_from([203, 0, 113, 9]), "lab", "", 200, "203.0.113.9"),
        (binary_from([198, 51, 100, 1]), "lab", "", 403, "198.51.100.1"),
        // Only those who are trusted themselves may forward further.
        (line("198.51.100.1"), "lab", "203.0.113.9", 403, "198.51.100.1"),
        (line("127.1.2.3"), "lab", "203.0.113.9", 200, "203.0.113.9"),
        (binary_from([127, 1, 2, 3]), "lab", "unknown", 403, "unknown"),
        // The proxy speaks for itself, and forwards nobody.
        (b"PROXY UNKNOWN\r\n".to_vec(), "local", "", 200, "127.0.0.1"),
        (b"PROXY UNKNOWN\r\n".to_vec(), "lab", "203.0.113.9", 403, "127.0.0.1"),
        (binary(0x20, 0x00, b""), "local", "", 200, "127.0.0.1"),
        (binary(0x20, 0x11, &[0; 12]), "local", "203.0.113.9", 200, "127.0.0.1"),
    ] {
        body += 1;
        let mut post = Post::to(&format!("/hooks/{source}"));
        if !forwarded.is_empty() {
            post = post.header("X-Forwarded-For", forwarded);
        }
        let post = post.body(format!("{{\"n\":{body}}}"));
        let mut connection = Connection::open(gateway.address, None).await;
        connection.write(&post.behind(&header)).await;
        told(&connection.answer().await, &post, status, client, "127.0.0.1").await;
    }
}

#[tokio::test]
async fn a_proxy_header_holds_for_all_requests_of_its_connection() {
    let gateway = gateway("proxy_protocol = true").await;
    let mut connection = Connection::open(gateway.address, None).await;
    for byte in binary_from([203, 0, 113, 9]) {
        connection.write(&[byte]).await;
    }
    for n in 0..3 {
        let post = Post::to("/hooks/lab").body(format!("{{\"n\":{n}}}"));
        connection.write(&post.behind(b"")).await;
        told(&connection.answer().await, &post, 200, "203.0.113.9", "127.0.0.1").await;
    }
    // A second header is no request.
    connection.write(&binary_from([203, 0, 113, 9])).await;
    assert!(connection.rest().await.starts_with("HTTP/1.1 400"), "it is not taken");
}

#[tokio::test]
async fn a_connection_without_its_proxy_header_is_closed_without_an_answer() {
    let gateway = gateway("proxy_protocol = true").await;
    // Each from an address of its own, by which its line is found.
    for (from, bytes, reason) in [
        (
            "127.1.9.1",
            b"POST /hooks/open HTTP/1.1\r\nHost: gw\r\n\r\n".as_slice(),
            "protocol_error",
        ),
        ("127.1.9.2", b"PROXY TCP4 203.0.113.09 192.0.2.1 1 2\r\n", "protocol_error"),
        ("127.1.9.3", b"PROXY UNKNOWN\nPOST / HTTP/1.1\r\n\r\n", "protocol_error"),
        ("127.1.9.4", &binary(0x21, 0x12, &[0; 12]), "protocol_error"),
        ("127.1.9.5", &[SIGNATURE, b"\x21\x11\xff\xff"].concat(), "protocol_error"),
        ("127.1.9.6", &[b'P'; 4000], "protocol_error"),
        // Nobody but the trusted may send one, be it as right as can be.
        ("127.0.9.7", b"PROXY TCP4 203.0.113.9 192.0.2.1 1 2\r\n", "ip_not_allowed"),
        ("127.0.9.8", &binary_from([203, 0, 113, 9]), "ip_not_allowed"),
    ] {
        let mut connection = Connection::open(gateway.address, from.parse().ok()).await;
        connection.write(bytes).await;
        assert_eq!(connection.rest().await, "", "{from}");
        let line = lines::refusal_from(from).await;
        assert_eq!(line["reason"], reason, "{line}");
        assert_eq!((&line["status"], &line["path"]), (&0.into(), &"".into()), "{line}");
    }
    // One who hangs up is let go, and the listener goes on.
    drop(Connection::open(gateway.address, None).await);
    let mut connection = Connection::open(gateway.address, None).await;
    let header = b"PROXY TCP4 203.0.113.9 192.0.2.1 1 2\r\n";
    connection.write(&Post::to("/hooks/lab").behind(header)).await;
    assert_eq!(connection.answer().await.status, 200);
}

#[tokio::test]
async fn a_proxy_header_has_to_come_in_time() {
    let gateway = gateway("proxy_protocol = true\nhandshake_timeout = \"100ms\"").await;
    for begun in [b"".as_slice(), b"PROXY TCP4 203.0.113.9", SIGNATURE] {
        let mut connection = Connection::open(gateway.address, None).await;
        connection.write(begun).await;
        assert_eq!(connection.rest().await, "");
    }
}
