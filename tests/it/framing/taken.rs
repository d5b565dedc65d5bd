//! Legal oddities that must be taken: another program than ours wrote the request, and the RFCs
//! let it.

use super::{Case, chunked, exactly, fields, good, line, start};
use crate::app::App;
use crate::client::Connection;

fn cases() -> Vec<Case> {
    let mut cases = heads();
    cases.extend(targets());
    cases.extend(bodies());
    cases
}

fn heads() -> Vec<Case> {
    let obs_text =
        b"POST /hooks/open HTTP/1.1\r\nHost: gw\r\nX: \xff\x80\r\nContent-Length: 2\r\n\r\n{}";
    let host = |value: &str| exactly(&format!("Host: {value}\r\nContent-Length: 2\r\n"));
    vec![
        good("no whitespace before a value", "5.1", exactly("Host:gw\r\nContent-Length:2\r\n")),
        good(
            "whitespace around values",
            "5.1",
            exactly("Host: \t gw\t \r\nContent-Length:   2 \r\n"),
        ),
        good("names in lower case", "9110 5.1", exactly("host: gw\r\ncontent-length: 2\r\n")),
        good("names in capitals", "9110 5.1", exactly("HOST: gw\r\nCONTENT-LENGTH: 2\r\n")),
        good("an empty value", "9110 5.5", fields("X:\r\n")),
        good("every token character in a name", "9110 5.6.2", fields("!#$%&'*+-.^_`|~0Az: a\r\n")),
        good("a tab in a value", "9110 5.5", fields("X: a\tb\r\n")),
        good("obs-text in a value", "9110 5.5", obs_text.as_slice()),
        good("a colon in a value", "9110 5.5", fields("X: a:b: c\r\n")),
        good("a repeated field", "9110 5.3", fields("X: a\r\nX: b\r\n")),
        good("a name of 256 bytes", "9110 5.4", fields(&format!("{}: a\r\n", "a".repeat(256)))),
        good("a hundred fields", "9110 5.4", fields(&"a: b\r\n".repeat(98))),
        good("a long head", "9110 5.4", fields(&format!("X: {}\r\n", "a".repeat(32_000)))),
        good("one empty line before it", "2.2", format!("\r\n{}", fields(""))),
        good("four empty lines before it", "2.2", format!("\r\n\r\n\r\n\r\n{}", fields(""))),
        good(
            "HTTP/1.0 without host",
            "3.2",
            "POST /hooks/open HTTP/1.0\r\nContent-Length: 2\r\n\r\n{}",
        ),
        good(
            "HTTP/1.0 with host",
            "3.2",
            "POST /hooks/open HTTP/1.0\r\nHost: gw\r\nContent-Length: 2\r\n\r\n{}",
        ),
        good("a host with a port", "9110 7.2", host("gw:8443")),
        good("a host with an empty port", "9110 7.2", host("gw:")),
        good("an IPv4 address", "9110 7.2", host("127.0.0.1:80")),
        good("an IPv6 address", "9110 7.2", host("[::1]:80")),
        good("a host with an underscore", "9110 7.2", host("my_gw.internal")),
        good("a host as the log file has it", "9110 7.2", host("GW.Example.COM")),
        good("an option that is no upgrade", "7.6.1", fields("Connection: upgrade\r\n")),
        good("transfer codings that are taken", "9110 10.1.4", fields("TE: trailers, gzip\r\n")),
        good(
            "leading zeros in the length",
            "9110 8.6",
            exactly("Host: gw\r\nContent-Length: 0002\r\n"),
        ),
    ]
}

fn targets() -> Vec<Case> {
    let long = format!("POST /hooks/open?{} HTTP/1.1", "a".repeat(8192 - 12));
    vec![
        good("a query", "3.2.1", line("POST /hooks/open?a=b&c=d HTTP/1.1")),
        good("an empty query", "3.2.1", line("POST /hooks/open? HTTP/1.1")),
        good("brackets in a query", "3.2.1", line("POST /hooks/open?a[]={b}|c HTTP/1.1")),
        good("a question mark in a query", "3.2.1", line("POST /hooks/open?a?b HTTP/1.1")),
        good("a target of 8 KiB", "9110 15.5.15", line(&long)),
        good("the absolute form", "3.2.2", line("POST http://gw/hooks/open HTTP/1.1")),
        good("the absolute form of HTTPS", "3.2.2", line("POST https://gw/hooks/open HTTP/1.1")),
        good("the absolute form in capitals", "3.2.2", line("POST HTTP://GW/hooks/open HTTP/1.1")),
        good(
            "the absolute form with a query",
            "3.2.2",
            line("POST http://gw/hooks/open?a HTTP/1.1"),
        ),
        good(
            "the absolute form in HTTP/1.0",
            "3.2.2",
            "POST http://gw/hooks/open HTTP/1.0\r\nContent-Length: 2\r\n\r\n{}",
        ),
    ]
}

fn bodies() -> Vec<Case> {
    let encoding = |value: &str| {
        format!(
            "POST /hooks/open HTTP/1.1\r\nHost: gw\r\nTransfer-Encoding:{value}\r\n\r\n2\r\n{{}}\r\n0\r\n\r\n"
        )
    };
    let many = "1\r\n \r\n".repeat(500);
    vec![
        good("one chunk", "7.1", chunked("2\r\n{}\r\n0\r\n\r\n")),
        good("a chunk a byte", "7.1", chunked("1\r\n{\r\n1\r\n}\r\n0\r\n\r\n")),
        good("hundreds of chunks", "7.1", chunked(format!("{many}2\r\n{{}}\r\n0\r\n\r\n"))),
        good("sizes in capitals", "7.1", chunked("A\r\n{\"a\":\"bcd\"\r\n1\r\n}\r\n0\r\n\r\n")),
        good(
            "sizes in small letters",
            "7.1",
            chunked("a\r\n{\"a\":\"bcd\"\r\n1\r\n}\r\n0\r\n\r\n"),
        ),
        good("zeros before a size", "7.1", chunked("0000000000000002\r\n{}\r\n000\r\n\r\n")),
        good("line ends as data", "7.1", chunked("4\r\n\r\n{}\r\n2\r\n\r\n\r\n0\r\n\r\n")),
        good("an extension", "7.1.1", chunked("2;a\r\n{}\r\n0\r\n\r\n")),
        good("an extension with a value", "7.1.1", chunked("2;a=b;c=d\r\n{}\r\n0;e=f\r\n\r\n")),
        good("a quoted extension", "7.1.1", chunked("2;a=\"b \\\" ; c\"\r\n{}\r\n0\r\n\r\n")),
        good("an extension with bad whitespace", "7.1.1", chunked("2 ; a = b\r\n{}\r\n0\r\n\r\n")),
        good("a trailer", "7.1.2", chunked("2\r\n{}\r\n0\r\nX: a\r\n\r\n")),
        good("trailers", "7.1.2", chunked("2\r\n{}\r\n0\r\nX: a\r\ny:\r\nZ:\t b \r\n\r\n")),
        good(
            "a trailer that says nothing here",
            "9110 6.5.1",
            chunked("2\r\n{}\r\n0\r\nContent-Length: 9\r\n\r\n"),
        ),
        good("the coding in capitals", "6.1", encoding(" CHUNKED")),
        good("the coding with whitespace", "6.1", encoding("\t chunked \t")),
    ]
}

/// Whether the connection goes on behind it.
fn goes_on(case: &Case) -> bool {
    !case.bytes.windows(8).any(|bytes| bytes == b"HTTP/1.0")
}

#[tokio::test]
async fn the_odd_but_legal_is_taken() {
    let app = App::start().await;
    let gateway = start(&app).await;
    for case in cases() {
        for pieces in [1, 5] {
            let mut connection = Connection::open(gateway.address, None).await;
            for piece in case.bytes.chunks(case.bytes.len().div_ceil(pieces)) {
                connection.write(piece).await;
            }
            let answer = connection.answer().await;
            assert_eq!(answer.status, case.status, "{} ({})", case.name, case.section);
            answer.assert_well_formed();
            if goes_on(&case) {
                assert_eq!(answer.header("connection"), None, "{}", case.name);
            }
        }
    }
}

/// All of them on one connection, sent before the first is answered.
#[tokio::test]
async fn the_odd_but_legal_is_taken_one_behind_the_other() {
    let app = App::start().await;
    let gateway = start(&app).await;
    let cases: Vec<_> = cases().into_iter().filter(goes_on).collect();
    let all: Vec<_> = cases.iter().map(|case| &case.bytes[..]).collect();
    let mut connection = Connection::open(gateway.address, None).await;
    connection.write(&all.concat()).await;
    for case in &cases {
        let answer = connection.answer().await;
        assert_eq!((answer.status, answer.header("connection")), (200, None), "{}", case.name);
    }
}
